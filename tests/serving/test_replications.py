"""Intervals against scipy and by hand; comparisons of systems whose difference is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from takt.errors import UsageError
from takt.serving.outcome import Latency, Outcome
from takt.serving.replications import Comparison, Interval, Replicated, compare, replicate
from takt.serving.student_t import half_width_95, t_quantile_975

LATENCY = Latency(mean=1.0, p50=1.0, p90=1.0, p99=1.0, min=1.0, max=1.0)
PLAIN = Outcome(
    requests=10, completed=10, rejected=0, too_long=0, ttft_ms=LATENCY, tpot_ms=LATENCY, e2e_ms=LATENCY,
    queue_ms=LATENCY, throughput_tok_s=100.0, requests_per_s=1.0, goodput=1.0, goodput_per_s=1.0,
    prompt_tokens=1, output_tokens=1, cached_tokens=0, preemptions=0, warmup=0, span_s=10.0, tiers=(),
    pools=(), energy_j=None, energy_j_per_token=None, mw=None, usd=None, usd_per_h=None,
    usd_per_mtok=1.0, basis=frozenset(), expected_error={}, digests={},
)  # fmt: skip


def costs(*usd: float | None) -> Replicated:
    return replicate(lambda seed: replace(PLAIN, usd_per_mtok=usd[seed]), range(len(usd)))


def compared(ours: list[float], theirs: list[float]) -> Comparison:
    return compare(costs(*ours), costs(*theirs), "usd_per_mtok", names=("8 H200", "4 B200"))


@pytest.mark.parametrize("degrees", [*range(1, 61), 100, 1000, 10**6])
def test_quantiles_are_those_of_scipy(degrees: int) -> None:
    assert t_quantile_975(degrees) == pytest.approx(float(stats.t.ppf(0.975, degrees)), abs=6e-4)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_half_widths_are_those_of_scipy(values: list[float]) -> None:
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    exact = spread * float(stats.t.ppf(0.975, len(values) - 1))
    assert half_width_95(values) == pytest.approx(exact, rel=5e-4, abs=1e-6)


def test_intervals_hold_the_true_mean_19_times_in_20() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(2_000):
        got = Interval.of(rng.normal(7, 3, 10).tolist())
        assert got.low is not None and got.high is not None
        hits += got.low <= 7 <= got.high
    assert 0.935 <= hits / 2_000 <= 0.965


def test_an_interval_by_hand() -> None:
    got = costs(1.0, 2.0, 3.0).interval("usd_per_mtok")
    assert got is not None
    assert (got.mean, got.n) == (2.0, 3)
    assert got.half_width == pytest.approx(4.303 / 3**0.5)  # spread 1, two degrees of freedom


def test_one_run_has_a_mean_and_no_interval() -> None:
    got = costs(2.0).interval("usd_per_mtok")
    assert got == Interval(mean=2.0, half_width=None, n=1)
    assert got is not None and (got.low, got.high, got.sign) == (None, None, 0)


def test_a_figure_that_a_run_lacks_has_no_interval() -> None:
    assert costs(1.0, None).interval("usd_per_mtok") is None
    assert costs(1.0, 2.0).interval("usd") is None
    with pytest.raises(UsageError, match="has no usd_per_mtok"):
        compare(costs(1.0, None), costs(1.0, 2.0), "usd_per_mtok")


def test_pairs_show_what_the_noise_of_seeds_would_hide() -> None:
    theirs = [1.0, 2.0, 4.0, 8.0]  # seeds differ by far more than systems
    got = compared([0.9 * x for x in theirs], theirs)
    assert got.sign == -1
    assert got.relative is not None
    assert got.relative.mean == pytest.approx(-0.1)
    assert got.verdict == "8 H200 is 10 % cheaper than 4 B200 (95 %: 10–10 %)"
    assert got.difference.sign == 0  # in dollars, the pairs disagree on how much


def test_a_verdict_says_how_much_and_how_sure() -> None:
    got = compared([1.10, 1.14, 1.12], [1.0, 1.0, 1.0])
    assert got.sign == 1
    assert got.verdict == "8 H200 is 12 % dearer than 4 B200 (95 %: 7.03–17 %)"


def test_noise_is_called_noise() -> None:
    got = compared([1.1, 0.9, 1.0], [1.0, 1.0, 1.0])
    assert got.sign == 0
    assert got.verdict == (
        "usd_per_mtok: no difference beyond noise between 8 H200 and 4 B200 (95 %: −25 to +25 %)"
    )


def test_other_figures_are_lower_or_higher() -> None:
    slow = replicate(
        lambda seed: replace(PLAIN, ttft_ms=replace(LATENCY, p99=2.0 + seed / 10)), range(3)
    )
    plain = replicate(lambda _: PLAIN, range(3))
    got = compare(plain, slow, "ttft_ms.p99")
    assert got.sign == -1
    assert got.verdict.startswith("ttft_ms.p99 of A is 52.3 % lower than of B (95 %: ")


def test_where_the_other_is_zero_differences_are_absolute() -> None:
    some = replicate(lambda seed: replace(PLAIN, preemptions=5 + seed), range(3))
    none = replicate(lambda _: PLAIN, range(3))
    got = compare(some, none, "preemptions")
    assert got.relative is None
    assert got.verdict == "preemptions of A is 6 higher than of B (95 %: 3.52–8.48)"


def test_one_seed_decides_nothing() -> None:
    got = compared([1.5], [1.0])
    assert got.sign == 0
    assert "one seed says nothing about noise" in got.verdict


def test_equal_systems_do_not_differ() -> None:
    assert compared([1.0, 2.0], [1.0, 2.0]).sign == 0


def test_seeds_must_be_there_differ_and_be_the_same() -> None:
    with pytest.raises(UsageError, match="same seeds"):
        compare(costs(1.0, 2.0), costs(1.0), "usd_per_mtok")
    runs = []
    for seeds in ([], [1, 1]):
        with pytest.raises(UsageError, match="seeds"):
            replicate(lambda seed: runs.append(seed) or PLAIN, seeds)  # type: ignore[func-returns-value]
    assert runs == []
    with pytest.raises(UsageError, match="outcome each"):
        Replicated(seeds=(1, 2), outcomes=(PLAIN,))
    with pytest.raises(UsageError, match="no figure 'usd_per_mtoken'"):
        costs(1.0).interval("usd_per_mtoken")
