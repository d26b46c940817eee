"""The slow engine and the fast one write the same events, finished requests and sums, byte for byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.fleets import fleets, requests, table

from takt.errors import DataError
from takt.serving import EVENT, FINISHED, REQUEST, Fleet, Policy, Pool, Tier, fast, reference


def outcome(engine, rows, fleet, seed, chunk=10**9):
    finished, events = [np.empty(0, FINISHED)], [np.empty(0, EVENT)]
    chunks = [rows[i : i + chunk] for i in range(0, len(rows), chunk)]
    totals = engine.run(chunks, fleet, seed=seed, finished=finished.append, events=events.append)
    return totals, np.concatenate(finished), np.concatenate(events)


def assert_same(rows, fleet, seed, chunk=10**9):
    slow, fast_ = (outcome(engine, rows, fleet, seed, chunk) for engine in (reference, fast))
    n = min(len(slow[2]), len(fast_[2]))
    apart = np.flatnonzero(slow[2][:n] != fast_[2][:n])
    assert not len(apart), (slow[2][apart[0]], fast_[2][apart[0]])
    assert slow[2].tobytes() == fast_[2].tobytes()
    assert slow[1].tobytes() == fast_[1].tobytes()
    assert slow[0].replicas.tobytes() == fast_[0].replicas.tobytes()
    for name in ("start_ns", "end_ns", "arrived", "done", "rejected"):
        assert getattr(slow[0], name) == getattr(fast_[0], name)
    return slow


@settings(max_examples=100, deadline=None)
@given(
    fleet=fleets(),
    n=st.integers(1, 90),
    seed=st.integers(0, 2**32),
    gap=st.sampled_from([1e5, 2e7, 2e8]),
)
def test_random_small_workloads_have_identical_event_logs(fleet, n, seed, gap):
    totals, finished, _ = assert_same(requests(n, seed, gap), fleet, seed)
    assert totals.arrived == n == len(finished)
    assert sorted(finished["request"]) == list(range(n))


def test_events_do_not_depend_on_how_requests_are_cut_into_chunks():
    fleet = Fleet(
        pools=(Pool(name="a", replicas=2, table=table(), policy=Policy(n_blocks=200)),),
        tiers=(Tier(),) * 3,
    )
    rows = requests(400, 5)
    whole = outcome(fast, rows, fleet, 1)
    assert outcome(fast, rows, fleet, 1, chunk=7)[2].tobytes() == whole[2].tobytes()


def test_the_seed_changes_drafts_and_nothing_else_does():
    policy = Policy(draft_tokens=3, acceptance=0.5)
    fleet = Fleet(
        pools=(Pool(name="a", replicas=2, table=table(), policy=policy),), tiers=(Tier(),) * 3
    )
    rows = requests(100, 5)
    once, again, other = (outcome(fast, rows, fleet, seed)[2].tobytes() for seed in (1, 1, 2))
    assert once == again != other


@pytest.mark.parametrize("engine", [reference, fast])
@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prompt_tokens", 0, "prompt_tokens"),
        ("output_tokens", -4, "output_tokens"),
        ("tier", 9, "tier"),
        ("arrival_ns", -1, "arrival_ns"),
        ("group_tokens", 10**6, "group_tokens"),
        ("turn", 1, "later turn"),
    ],
)
def test_rows_that_cannot_be_are_refused(engine, field, value, says):
    fleet = Fleet(pools=(Pool(name="a", replicas=1, table=table()),), tiers=(Tier(),) * 3)
    rows = requests(3, 1)
    rows[field][0] = value
    with pytest.raises(DataError, match=says):
        outcome(engine, rows, fleet, 0)


@pytest.mark.parametrize("engine", [reference, fast])
def test_unsorted_arrivals_are_refused(engine):
    fleet = Fleet(pools=(Pool(name="a", replicas=1, table=table()),))
    rows = np.zeros(3, REQUEST)
    rows["prompt_tokens"] = rows["output_tokens"] = 5
    rows["session"] = rows["group"] = -1
    rows["arrival_ns"] = [5, 9, 7]
    with pytest.raises(DataError, match="sorted"):
        outcome(engine, rows, fleet, 0)


@pytest.mark.parametrize("engine", [reference, fast])
def test_what_a_sink_raises_comes_out(engine):
    fleet = Fleet(pools=(Pool(name="a", replicas=1, table=table()),), tiers=(Tier(),) * 3)

    def full(_):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        engine.run([requests(50, 1)], fleet, seed=0, finished=full)
