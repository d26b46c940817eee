"""The histogram of durations against numpy on the values themselves."""

import pickle

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from takt.errors import UsageError
from takt.serving.digest import RELATIVE_ERROR, Digest

SIZES = st.integers(0, 62).flatmap(lambda bits: st.integers(0, (1 << bits) - 1))
MANY = st.lists(SIZES, min_size=1, max_size=80)
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def digest_of(values: list[int]) -> Digest:
    digest = Digest()
    digest.add(np.asarray(values, np.int64))
    return digest


def exact_quantile(values: list[int], share: float) -> float:
    """numpy's linear rule, in whole numbers as far as they go."""
    ranked = sorted(values)
    rank = np.float64(share) * (len(ranked) - 1)
    lower = min(int(rank), max(len(ranked) - 2, 0))
    above = ranked[min(lower + 1, len(ranked) - 1)]
    return ranked[lower] + (above - ranked[lower]) * (float(rank) - lower)


@given(MANY, SHARES)
@settings(max_examples=300, deadline=None)
def test_quantiles_are_within_the_stated_error(values: list[int], shares: list[float]) -> None:
    found = digest_of(values).quantiles(shares)
    for share, estimate in zip(shares, found.tolist(), strict=True):
        exact = exact_quantile(values, share)
        assert abs(estimate - exact) <= exact * RELATIVE_ERROR * (1 + 1e-9) + 1e-6
        assert exact == pytest.approx(float(np.quantile(np.asarray(values), share)), rel=1e-9)


@given(MANY)
@example([0, 2048, 4503599627372545])  # most - least is no float
@settings(deadline=None)
def test_count_sum_least_and_most_are_exact(values: list[int]) -> None:
    digest = digest_of(values)
    assert (digest.count, digest.total) == (len(values), sum(values))
    assert (digest.least, digest.most) == (min(values), max(values))
    assert digest.mean == sum(values) / len(values)
    assert digest.quantile(0) == float(min(values))
    assert digest.quantile(1) == float(max(values))


@given(MANY, st.lists(st.lists(SIZES, max_size=20), max_size=4), SHARES)
@settings(deadline=None)
def test_parts_merge_to_the_whole(
    first: list[int], others: list[list[int]], shares: list[float]
) -> None:
    whole = digest_of([*first, *(value for part in others for value in part)])
    merged = Digest.merged([digest_of(first), *map(digest_of, others)])
    assert merged.quantiles(shares).tolist() == whole.quantiles(shares).tolist()
    assert (merged.total, merged.count) == (whole.total, whole.count)
    assert (merged.least, merged.most) == (whole.least, whole.most)


def test_small_values_are_exact() -> None:
    values = np.random.default_rng(3).integers(0, 2049, 5_001)
    digest = digest_of(values.tolist())
    shares = np.linspace(0, 1, 101)
    assert digest.quantiles(shares.tolist()).tolist() == np.quantile(values, shares).tolist()


def test_quantiles_never_fall_as_the_share_grows() -> None:
    values = np.random.default_rng(5).lognormal(18, 2, 4_000).astype(np.int64)
    nanoseconds, shares = digest_of(values.tolist()).cdf(400)
    assert (np.diff(nanoseconds) >= 0).all()
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert (nanoseconds[0], nanoseconds[-1]) == (values.min(), values.max())


def test_memory_is_bounded_whatever_comes() -> None:
    digest = digest_of([86_400 * 10**9])
    before = len(pickle.dumps(digest))
    digest.add(np.random.default_rng(0).integers(0, 86_400 * 10**9, 500_000))
    assert len(pickle.dumps(digest)) < 1.01 * before < 700_000


def test_it_survives_the_way_to_another_process() -> None:
    digest = digest_of([5, 70_000, 3])
    again = pickle.loads(pickle.dumps(digest))
    assert again.quantile(0.5) == digest.quantile(0.5) == 5.0


@pytest.mark.parametrize("values", [[-1], [4, 1 << 62]])
def test_what_is_no_duration_is_refused_whole(values: list[int]) -> None:
    digest = digest_of([7])
    with pytest.raises(UsageError, match="cannot be counted"):
        digest.add(np.asarray(values, np.int64))
    assert (digest.count, digest.total) == (1, 7)


def test_an_empty_one_has_no_quantile() -> None:
    digest = Digest()
    digest.add(np.zeros(0, np.int64))
    with pytest.raises(UsageError, match="nothing was counted"):
        digest.quantile(0.5)
    with pytest.raises(UsageError, match="nothing was counted"):
        _ = digest.mean


def test_shares_and_points_that_make_no_sense_are_refused() -> None:
    digest = digest_of([1, 2])
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="from 0 to 1"):
            digest.quantile(share)
    with pytest.raises(UsageError, match="2 points"):
        digest.cdf(1)
