"""Failures drawn over a run: how many there are, that none overlap, and that each replica has its own."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.errors import UsageError
from takt.serving.failures import MOST_FAILURES, failures_of


@given(
    replicas=st.integers(1, 20),
    mtbf_s=st.floats(1.0, 1e4),
    repair_s=st.floats(1e-3, 1e4),
    span_s=st.floats(1.0, 1e5),
    seed=st.integers(0, 2**63 - 1),
)
def test_failures_come_in_order_within_the_span_and_never_while_a_replica_is_down(
    replicas: int, mtbf_s: float, repair_s: float, span_s: float, seed: int
) -> None:
    if replicas * span_s / (mtbf_s + repair_s) > 2000:
        return
    found = failures_of(replicas, mtbf_s=mtbf_s, repair_s=repair_s, span_s=span_s, seed=seed)
    times = [(failure.at_ns, failure.replica) for failure in found]
    assert times == sorted(times)
    assert all(0 <= at_ns <= span_s * 1e9 + 1 for at_ns, _ in times)
    for replica in range(replicas):
        mine = [failure for failure in found if failure.replica == replica]
        assert all(b.at_ns >= a.at_ns + a.down_ns for a, b in pairwise(mine))


def test_as_many_fail_as_renewal_theory_says() -> None:
    n, span_s, mtbf_s, repair_s = 400, 10_000.0, 700.0, 300.0
    found = failures_of(n, mtbf_s=mtbf_s, repair_s=repair_s, span_s=span_s, seed=7)
    cycle_s = mtbf_s + repair_s
    # Renewals of exponential up times and constant repairs, beginning up: t/μ + (σ² − μ²)/2μ² + repair/μ in the long run.
    expected = n * (
        span_s / cycle_s + (mtbf_s**2 - cycle_s**2) / (2 * cycle_s**2) + repair_s / cycle_s
    )
    assert len(found) == pytest.approx(expected, rel=0.03)


def test_the_same_seed_gives_the_same_failures_and_more_replicas_leave_the_others_alone() -> None:
    few = failures_of(3, mtbf_s=50, repair_s=5, span_s=1000, seed=1)
    assert few == failures_of(3, mtbf_s=50, repair_s=5, span_s=1000, seed=1)
    assert few != failures_of(3, mtbf_s=50, repair_s=5, span_s=1000, seed=2)
    more = failures_of(9, mtbf_s=50, repair_s=5, span_s=1000, seed=1)
    assert tuple(failure for failure in more if failure.replica < 3) == few
    streams = [{f.at_ns for f in more if f.replica == replica} for replica in range(9)]
    assert len(set.union(*streams)) == len(more)


@pytest.mark.parametrize(
    ("mtbf_s", "repair_s", "span_s"),
    [(0, 1, 1), (-1, 1, 1), (np.inf, 1, 1), (1, 0, 1), (1, np.nan, 1), (1, 1, 0), (1, 1, 2e9)],
)
def test_times_that_are_none_are_refused(mtbf_s: float, repair_s: float, span_s: float) -> None:
    with pytest.raises(UsageError, match="expected more than 0"):
        failures_of(1, mtbf_s=mtbf_s, repair_s=repair_s, span_s=span_s, seed=0)


def test_too_many_are_refused_before_they_are_drawn() -> None:
    with pytest.raises(UsageError, match=f"at most {MOST_FAILURES:,}"):
        failures_of(1000, mtbf_s=1e-6, repair_s=1e-6, span_s=1e9, seed=0)
