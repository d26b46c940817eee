"""Recipes for requests: their statistics, their streams, their turns, their words."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.errors import UsageError
from takt.serving.records import NOBODY, REQUEST
from takt.serving.workloads import Arrivals, AtOnce, Lengths, Workload, length_of, workload_of
from takt.serving.workloads.arrivals import Recorded
from takt.serving.workloads.lengths import (
    Constant,
    Exponential,
    Lognormal,
    Pairs,
    Quantiles,
    Uniform,
)
from takt.serving.workloads.sessions import Group, Sessions, Think, TierShare

N = 200_000
S = 1_000_000_000
SHORT = Lengths(prompt=Constant(tokens=100), output=Constant(tokens=10))


def rows_of(workload: Workload, seed: int = 0, chunk_rows: int = 65_536) -> np.ndarray:
    return np.concatenate(list(workload.requests(seed, chunk_rows)))


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


# -- lengths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "mean", "cv"),
    [
        (Constant(tokens=1137), 1137, 0),
        (Uniform(least=500, most=1500), 1000, 0.2889),
        (Exponential(mean=212), 212, (1 - 1 / 212) ** 0.5),
        (Exponential(mean=1), 1, 0),
        (Lognormal(mean=1137, cv=0.8), 1137, 0.8),
        (Lognormal(mean=300, cv=0), 300, 0),
    ],
    ids=str,
)
def test_a_length_has_the_mean_and_spread_it_says(length, mean: float, cv: float) -> None:
    tokens = length.sample(stream(), N)
    # Five standard errors of a mean; those of a spread are a few times larger for skewed lengths.
    assert tokens.mean() == pytest.approx(mean, abs=5 * mean * cv / N**0.5 + 1e-9)
    assert tokens.std() / tokens.mean() == pytest.approx(cv, rel=0.03, abs=1e-9)
    assert length.mean_tokens == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize(
    "length", [Exponential(mean=212, most=300), Lognormal(mean=1137, cv=1.5, most=2000)]
)
def test_a_cut_length_has_the_mean_of_what_is_left(length) -> None:
    tokens = length.sample(stream(), N)
    assert tokens.max() == length.most
    assert tokens.mean() == pytest.approx(length.mean_tokens, rel=0.01)


def test_quantiles_are_drawn_as_measured() -> None:
    measured = stream(1).integers(1, 5000, 4000)
    length = Quantiles(tokens=tuple(np.quantile(measured, np.linspace(0, 1, 101)).tolist()))
    tokens = length.sample(stream(), N)
    shares = [0.1, 0.5, 0.9]
    assert np.quantile(tokens, shares) == pytest.approx(np.quantile(measured, shares), rel=0.02)
    assert tokens.mean() == pytest.approx(length.mean_tokens, rel=0.01)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.integers(1, 1 << 20).map(lambda n: Constant(tokens=n)),
        st.tuples(st.integers(1, 1000), st.integers(1000, 2000)).map(
            lambda p: Uniform(least=p[0], most=p[1])
        ),
        st.floats(1, 1e6).map(lambda mean: Exponential(mean=mean)),
        st.tuples(st.floats(1, 1e6), st.floats(0, 100), st.integers(1, 1 << 20)).map(
            lambda p: Lognormal(mean=p[0], cv=p[1], most=p[2])
        ),
    )
)
def test_a_length_reads_back_from_its_text_and_stays_in_bounds(length) -> None:
    assert length_of(str(length)) == length
    tokens = length.sample(stream(), 100)
    assert tokens.min() >= 1 and tokens.max() <= 1 << 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no length ''"),
        ("0", "a length is 0"),
        ("-5", "no length '-5'"),
        ("1500-500", "the shortest length is 1,500"),
        ("lognormal:1137", "has 1 numbers, expected 2"),
        ("exp:nan", "expected a number"),
        ("exp:1e30", "a mean length is 1e+30"),
        ("exp:212,max=x", "expected a number"),
        ("uniform:1,2,max=3.5", "whole numbers"),
        ("12.5", "no length"),
        ("9" * 30, "whole numbers"),
        ("9" * 400, "no length"),
    ],
)
def test_a_length_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        length_of(text)
    assert said in str(caught.value)


def test_a_length_that_was_nearly_right_gets_a_hint() -> None:
    with pytest.raises(UsageError) as caught:
        length_of("lognorml:1,2")
    assert caught.value.hint == "did you mean 'lognormal'?"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789-.,:=exploguniformax e+", max_size=25))
def test_any_text_is_a_length_or_a_usage_error(text: str) -> None:
    try:
        length = length_of(text)
    except UsageError:
        return
    assert length.sample(stream(), 3).min() >= 1


# -- arrivals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 2.0])
def test_arrivals_have_their_rate_and_spread(cv: float) -> None:
    rows = rows_of(Workload(arrivals=Arrivals(rate_per_s=20, cv=cv), lengths=SHORT, n_requests=N))
    gaps = np.diff(rows["arrival_ns"]) / S
    assert gaps.mean() == pytest.approx(1 / 20, abs=5 * cv / 20 / N**0.5 + 1e-9)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03, abs=1e-6)
    assert (gaps >= 0).all()


def test_a_poisson_stream_has_as_many_arrivals_in_a_second_as_poisson_says() -> None:
    rows = rows_of(Workload(arrivals=Arrivals(rate_per_s=20), lengths=SHORT, n_requests=N))
    counts = np.bincount(rows["arrival_ns"] // S)[:-1]
    # Variance equals the mean; the standard error of a variance is about var·√(2/n).
    assert counts.var() == pytest.approx(20, abs=5 * 20 * (2 / len(counts)) ** 0.5)


def test_a_curve_makes_the_rate_follow_it_round_after_round() -> None:
    arrivals = Arrivals(rate_per_s=10, curve=((0, 1), (100, 0), (150, 3)), period_s=200)
    rows = rows_of(Workload(arrivals=arrivals, lengths=SHORT, duration_s=20_000))
    place = rows["arrival_ns"] / S % 200
    counts = np.histogram(place, bins=[0, 100, 150, 200])[0]
    expected = np.array([100 * 10 * 100, 0, 100 * 30 * 50])
    assert (np.abs(counts - expected) <= 5 * expected**0.5).all()
    assert arrivals.mean_rate_per_s == pytest.approx((100 * 10 + 50 * 30) / 200)
    assert arrivals.at_rate(50).mean_rate_per_s == pytest.approx(50)


def test_a_curve_without_a_period_keeps_its_last_rate() -> None:
    arrivals = Arrivals(rate_per_s=10, cv=0, curve=((0, 1), (10, 4)))
    times = rows_of(Workload(arrivals=arrivals, lengths=SHORT, n_requests=500))["arrival_ns"] / S
    assert np.count_nonzero(times <= 10) == 100
    assert np.diff(times[110:]) == pytest.approx(1 / 40, abs=1e-6)


def test_a_duration_ends_a_workload() -> None:
    rows = rows_of(Workload(arrivals=Arrivals(rate_per_s=10, cv=0), lengths=SHORT, duration_s=7))
    assert len(rows) == 69 and rows["arrival_ns"].max() < 7 * S


def test_recorded_times_are_played_faster_and_again() -> None:
    times = np.array([0, 2, 6], dtype=np.int64) * S
    recorded = Recorded(recorded_ns=times, speed=2.0, loop=True)
    rows = rows_of(Workload(arrivals=recorded, lengths=SHORT, n_requests=7))
    # A round lasts the last arrival and a mean gap: 9 s, half of that when played twice as fast.
    assert (rows["arrival_ns"] / S).tolist() == [0, 1, 3, 4.5, 5.5, 7.5, 9]
    assert recorded.mean_rate_per_s == pytest.approx(3 / 4.5)


def test_requests_at_once_wait_for_the_fleet() -> None:
    workload = Workload(arrivals=AtOnce(concurrency=8), lengths=SHORT, n_requests=100, duration_s=5)
    assert not rows_of(workload)["arrival_ns"].any()
    assert (workload.concurrency, workload.requests_per_s) == (8, None)
    with pytest.raises(UsageError, match="no rate"):
        workload.at_rate(5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Arrivals(rate_per_s=0), "a rate"),
        (lambda: Arrivals(rate_per_s=float("inf")), "a rate"),
        (lambda: Arrivals(rate_per_s=float("nan")), "a rate"),
        (lambda: Arrivals(rate_per_s=1, cv=-1), "cv of arrivals"),
        (lambda: Arrivals(rate_per_s=1, curve=((5, 1),)), "starts at 0"),
        (lambda: Arrivals(rate_per_s=1, curve=((0, 1), (5, 0))), "silence"),
        (lambda: Arrivals(rate_per_s=1, curve=((0, 1), (5, 2)), period_s=4), "rise"),
        (lambda: Workload(arrivals=Arrivals(rate_per_s=1), lengths=SHORT), "has an end"),
        (lambda: Workload(arrivals=AtOnce(), lengths=SHORT, duration_s=5), "has an end"),
        (lambda: Workload(arrivals=AtOnce(), lengths=SHORT, n_requests=0), "requests is 0"),
        (
            lambda: rows_of(
                Workload(arrivals=Arrivals(rate_per_s=1e-6), lengths=SHORT, n_requests=100_000)
            ),
            "clock",
        ),
        (
            lambda: Workload(
                arrivals=AtOnce(),
                lengths=SHORT,
                n_requests=1,
                tiers=(TierShare(name="a", share=0.5),),
            ),
            "add up to 0.5",
        ),
        (
            lambda: Workload(
                arrivals=AtOnce(),
                lengths=SHORT,
                n_requests=1,
                max_context=50,
                groups=(Group(tokens=60, share=1),),
            ),
            "no room",
        ),
    ],
)
def test_a_workload_that_makes_no_sense_is_refused(make, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert said in str(caught.value)


# -- streams and chunks ----------------------------------------------------------------------------

PLAIN = workload_of(
    rate=20,
    prompt="lognormal:500,1",
    output="exp:80",
    cv=1.5,
    requests=30_000,
    tiers="paid:0.7,free:0.3",
    prefix="64:0.5",
)
CHATS = workload_of(
    rate=20, prompt="exp:300", output="exp:80", turns="exp:5", think="8,1.2", new="50-150", requests=30_000,
    max_context=4000, prefix="200:0.5,300:0.25",
)  # fmt: skip


@pytest.mark.parametrize("workload", [PLAIN, CHATS], ids=["plain", "chats"])
def test_the_same_seed_gives_the_same_bytes_whatever_the_chunks(workload: Workload) -> None:
    whole = rows_of(workload, 7)
    assert whole.dtype == REQUEST and len(whole) == 30_000
    for chunk_rows in (1024, 5000):
        chunks = list(workload.requests(7, chunk_rows))
        assert max(map(len, chunks)) <= chunk_rows
        assert all(chunk["turn"][0] == 0 for chunk in chunks)
        assert np.concatenate(chunks).tobytes() == whole.tobytes()
    assert rows_of(workload, 8).tobytes() != whole.tobytes()


def test_other_lengths_leave_arrivals_and_tiers_as_they_were() -> None:
    one = rows_of(PLAIN)
    other = rows_of(replace(PLAIN, lengths=SHORT, groups=()))
    for column in ("arrival_ns", "tier"):
        assert (one[column] == other[column]).all()
    assert (
        rows_of(replace(PLAIN, arrivals=AtOnce()))["prompt_tokens"] == one["prompt_tokens"]
    ).all()


def test_fewer_requests_are_the_first_of_more() -> None:
    for workload in (PLAIN, CHATS):
        few = rows_of(workload.limited(1234))
        assert len(few) == 1234 and few.tobytes() == rows_of(workload)[:1234].tobytes()


def test_tiers_and_groups_have_their_shares_and_tiers_their_own_lengths() -> None:
    free = Lengths(prompt=Constant(tokens=7), output=Exponential(mean=3))
    tiers = (
        TierShare(name="paid", share=0.7),
        TierShare(name="free", share=0.3, priority=1, lengths=free),
    )
    rows = rows_of(replace(PLAIN, tiers=tiers))
    error = 5 * (0.25 / len(rows)) ** 0.5
    assert (rows["tier"] == 1).mean() == pytest.approx(0.3, abs=error)
    assert (rows["group"] == 0).mean() == pytest.approx(0.5, abs=error)
    assert set(rows["prompt_tokens"][(rows["tier"] == 1) & (rows["group"] == NOBODY)].tolist()) == {
        7
    }
    inside = rows["group"] == 0
    assert (rows["group_tokens"][inside] == 64).all() and not rows["group_tokens"][~inside].any()
    assert (rows["prompt_tokens"][inside] > 64).all()


def test_pairs_are_drawn_together() -> None:
    pairs = Pairs(
        prompt_tokens=np.array([10, 20, 30]),
        output_tokens=np.array([1, 2, 3]),
        seen_tokens=np.array([0, 5, 30]),
    )
    rows = rows_of(Workload(arrivals=AtOnce(), lengths=pairs, n_requests=9000))
    assert (rows["prompt_tokens"] == 10 * rows["output_tokens"]).all()
    assert set(zip(rows["prompt_tokens"].tolist(), rows["seen_tokens"].tolist(), strict=True)) == {
        (10, 0), (20, 5), (30, 30),
    }  # fmt: skip
    assert np.bincount(rows["output_tokens"])[1:] == pytest.approx(3000, abs=5 * 3000**0.5)


# -- sessions --------------------------------------------------------------------------------------


def sessions_of(rows: np.ndarray) -> list[np.ndarray]:
    cuts = np.flatnonzero(rows["turn"] == 0)
    return np.split(rows, cuts[1:])


def test_a_turn_reads_all_that_was_said_before_and_something_new() -> None:
    rows = rows_of(CHATS)
    for session in sessions_of(rows):
        assert session["turn"].tolist() == list(range(len(session)))
        assert len(set(session["session"].tolist())) == len(set(session["group"].tolist())) == 1
        for before, turn in pairwise(session):
            new = (
                int(turn["prompt_tokens"])
                - int(before["prompt_tokens"])
                - int(before["output_tokens"])
            )
            assert 50 <= new <= 150
    assert (rows["prompt_tokens"] + rows["output_tokens"] <= 4000).all()
    starts = rows["arrival_ns"][rows["turn"] == 0]
    assert (np.diff(starts) >= 0).all()


def test_think_times_have_their_mean_and_turns_theirs() -> None:
    sessions = Sessions(turns=Exponential(mean=5), think=Think(mean_s=8, cv=1.2))
    rows = rows_of(
        Workload(
            arrivals=Arrivals(rate_per_s=4), lengths=SHORT, sessions=sessions, n_requests=100_000
        )
    )
    later = rows["turn"] > 0
    waits = rows["arrival_ns"][later] / S
    assert waits.mean() == pytest.approx(8, abs=5 * 8 * 1.2 / len(waits) ** 0.5)
    n = np.count_nonzero(~later)
    assert len(rows) / n == pytest.approx(5, abs=5 * 5 / n**0.5)


def test_a_rate_counts_all_turns() -> None:
    rows = rows_of(CHATS)
    span_s = rows["arrival_ns"][rows["turn"] == 0].max() / S
    assert len(rows) / span_s == pytest.approx(20, rel=0.1)
    assert CHATS.requests_per_s == pytest.approx(20, rel=1e-9)
    assert CHATS.at_rate(3).requests_per_s == pytest.approx(3, rel=1e-9)


@pytest.mark.parametrize("workload", [PLAIN, CHATS], ids=["plain", "chats"])
def test_means_are_those_of_the_rows(workload: Workload) -> None:
    rows, means = rows_of(workload), workload.means()
    assert rows["prompt_tokens"].mean() == pytest.approx(means.prompt_tokens, rel=0.05)
    assert rows["output_tokens"].mean() == pytest.approx(means.output_tokens, rel=0.05)
    assert means.new_tokens <= means.prompt_tokens
    assert len(rows) / np.count_nonzero(rows["turn"] == 0) == pytest.approx(means.turns, rel=0.05)


def test_long_texts_are_cut_to_the_context() -> None:
    rows = rows_of(workload_of(rate=1, prompt="5000", output="500", requests=10, max_context=4096))
    assert set(rows["prompt_tokens"].tolist()) == {4095} and set(
        rows["output_tokens"].tolist()
    ) == {1}


# -- a command line's words ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({}, "how long are the prompts"),
        ({"prompt": "100"}, "how long are the outputs"),
        ({"prompt": "100", "output": "10"}, "how often"),
        ({"prompt": "100", "output": "10", "rate": 5.0}, "has an end"),
        ({"prompt": "100", "output": "10", "rate": 5.0, "concurrency": 3, "requests": 9}, "--rate"),
        (
            {"prompt": "100", "output": "10", "rate": 5.0, "arrivals": "gamma", "requests": 9},
            "have a cv",
        ),
        (
            {"prompt": "100", "output": "10", "rate": 5.0, "arrivals": "poison", "requests": 9},
            "no arrivals",
        ),
        (
            {
                "prompt": "100",
                "output": "10",
                "rate": 5.0,
                "arrivals": "poisson",
                "cv": 2.0,
                "requests": 9,
            },
            "--cv",
        ),
        ({"prompt": "100", "output": "10", "rate": 5.0, "think": "3", "requests": 9}, "--think"),
        ({"prompt": "100", "output": "10", "rate": 5.0, "speed": 3.0, "requests": 9}, "--speed"),
        ({"prompt": "100", "output": "10", "rate": 1e300, "requests": 9}, "a rate"),
        ({"prompt": "100", "output": "10", "rate": -1.0, "requests": 9}, "a rate"),
        ({"prompt": "100", "output": "10", "rate": 5.0, "requests": -9}, "requests is -9"),
        ({"prompt": "100", "output": "10", "rate": 5.0, "requests": 9, "tiers": "paid"}, "no tier"),
        (
            {"prompt": "100", "output": "10", "rate": 5.0, "requests": 9, "tiers": "a:0.5,a:0.5"},
            "names of their own",
        ),
        (
            {"prompt": "100", "output": "10", "rate": 5.0, "requests": 9, "prefix": "x:1"},
            "no shared prefix",
        ),
        (
            {"prompt": "100", "output": "10", "rate": 5.0, "requests": 9, "max_context": 0},
            "longest context",
        ),
    ],
)
def test_words_that_do_not_go_together_are_refused(wishes: dict, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        workload_of(**wishes)
    assert said in str(caught.value)


def test_words_make_the_workload_they_say() -> None:
    workload = workload_of(
        rate=5.0, prompt="100", output="exp:10", requests=9, tiers="paid:0.8,free:0.2:7", cv=2.0
    )
    assert workload.arrivals == Arrivals(rate_per_s=5, cv=2)
    assert [(tier.name, tier.share, tier.priority) for tier in workload.tiers] == [
        ("paid", 0.8, 0),
        ("free", 0.2, 7),
    ]
    assert workload.lengths == Lengths(prompt=Constant(tokens=100), output=Exponential(mean=10))
    assert workload_of(prompt="1", output="1", requests=1, concurrency=4).arrivals == AtOnce(
        concurrency=4
    )
    constant = workload_of(rate=5.0, prompt="1", output="1", requests=1, arrivals="constant")
    assert constant.arrivals == Arrivals(rate_per_s=5, cv=0)
