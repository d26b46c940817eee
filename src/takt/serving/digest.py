"""A histogram of nanoseconds in bounded memory: as many values as come, quantiles that are off by at most one part in 2,048.

Buckets are log-linear, as in HdrHistogram (Tene): each doubling of v + 2,048 is cut into 2,048 equal ones. So values below
2,048 are exact, and a bucket above is at most 1/2,048 of its values wide. Count, sum, least and most are exact. A digest of
latencies up to a day takes 0.6 MB. Knows nothing of requests.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError

__all__ = ["RELATIVE_ERROR", "Digest"]

_BITS = 11
_FINE = 1 << _BITS
RELATIVE_ERROR = 1 / _FINE
# The leading bits of a float are its exponent, then its mantissa: kept to 11 bits of it they number log-linear buckets.
_SHIFT = 52 - _BITS
_FIRST = int(np.float64(_FINE).view(np.int64)) >> _SHIFT
_EXACT = 1 << 53  # up to here a float holds every whole number
_MOST = 1 << 62

Ints = NDArray[np.int64]


class Digest:
    """Counts of values by bucket; `add` and `merge` fill it, the rest only reads."""

    __slots__ = ("_counts", "count", "least", "most", "total")

    def __init__(self) -> None:
        self._counts: Ints = np.zeros(0, np.int64)
        self.count = 0
        self.total = 0  # sum of all values
        self.least = 0  # 0 while there are none
        self.most = 0

    def add(self, values: NDArray[np.integer]) -> None:
        """Count each of `values`: whole nanoseconds from 0 to 2^62 - 1. UsageError for others, and nothing is counted."""
        if not len(values):
            return
        whole = np.ascontiguousarray(values, np.int64)
        low, high = int(whole.min()), int(whole.max())
        if low < 0 or high >= _MOST:
            raise UsageError(f"a duration of {low if low < 0 else high:,} ns cannot be counted")
        first, last = _bucket(low), _bucket(high)
        self._grow(last + 1)
        self._counts[first : last + 1] += np.bincount(_buckets(whole, high) - first)
        self._join(len(whole), _exact_sum(whole, high), low, high)

    def merge(self, other: "Digest") -> None:
        """Count all that another has counted."""
        if other.count:
            self._grow(len(other._counts))
            self._counts[: len(other._counts)] += other._counts
            self._join(other.count, other.total, other.least, other.most)

    @classmethod
    def merged(cls, digests: Sequence["Digest"]) -> "Digest":
        """A new one with all that the given ones have counted."""
        out = cls()
        for digest in digests:
            out.merge(digest)
        return out

    @property
    def mean(self) -> float:
        """Exact up to the last bit; UsageError of an empty one, as of its quantiles."""
        self._need_values()
        return self.total / self.count

    def quantile(self, share: float) -> float:
        """The value that `share` (0 to 1) of the values are at most, between ranks as `numpy.quantile` does.

        Within `RELATIVE_ERROR` of what numpy would give for the values themselves; exact at 0 and 1.
        """
        return float(self.quantiles([share])[0])

    def quantiles(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """`quantile` of several shares at once."""
        self._need_values()
        wanted = np.asarray(shares, np.float64)
        if not bool(np.all((wanted >= 0) & (wanted <= 1))):
            raise UsageError("a quantile is of a share from 0 to 1")
        rank = wanted * (self.count - 1)
        lower = np.minimum(np.floor(rank).astype(np.int64), max(self.count - 2, 0))
        below, above = self._ranked(lower), self._ranked(np.minimum(lower + 1, self.count - 1))
        part, apart = rank - lower, above - below
        # From the nearer end, as numpy does: else rounding keeps a share of 1 from its own value.
        return np.where(part < 0.5, below + apart * part, above - apart * (1 - part))

    def cdf(self, n_points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(ns, share of values at most that long), each of `n_points`, at evenly spaced shares from 0 to 1."""
        if n_points < 2:
            raise UsageError("a distribution is drawn through at least 2 points")
        shares = np.linspace(0.0, 1.0, n_points)
        return self.quantiles(shares.tolist()), shares

    def _ranked(self, ranks: Ints) -> NDArray[np.float64]:
        """The value of each rank (from 0), those of one bucket taken as evenly spread over it."""
        ends = np.cumsum(self._counts)
        bucket = np.searchsorted(ends, ranks, side="right")
        inside = self._counts[bucket]
        place = (ranks - (ends[bucket] - inside) + 0.5) / inside
        octave, offset = bucket >> _BITS, bucket & (_FINE - 1)
        width = np.left_shift(np.int64(1), octave)
        value = (_FINE + offset) * width - _FINE + place * (width - 1)
        value = np.clip(value, self.least, self.most)
        return np.where(ranks == 0, self.least, np.where(ranks == self.count - 1, self.most, value))

    def _grow(self, n_buckets: int) -> None:
        if n_buckets > len(self._counts):
            wider = np.zeros(-(-n_buckets // _FINE) * _FINE, np.int64)
            wider[: len(self._counts)] = self._counts
            self._counts = wider

    def _join(self, count: int, total: int, least: int, most: int) -> None:
        self.least = min(self.least, least) if self.count else least
        self.most = max(self.most, most)
        self.count += count
        self.total += total

    def _need_values(self) -> None:
        if not self.count:
            raise UsageError("nothing was counted: there is no mean and no quantile")


def _bucket(value: int) -> int:
    """Number of the bucket that holds a value."""
    octave = (value + _FINE).bit_length() - 1 - _BITS
    return (octave << _BITS) + ((value + _FINE) >> octave) - _FINE


def _buckets(values: Ints, most: int) -> Ints:
    """`_bucket` of each value; `most` is the largest."""
    moved = values + _FINE
    if most + _FINE >= _EXACT:  # else the float would be rounded, and up into the next bucket
        moved = np.where(moved >= _EXACT, moved & ~np.int64(1023), moved)
    return (moved.astype(np.float64).view(np.int64) >> _SHIFT) - _FIRST


def _exact_sum(values: Ints, most: int) -> int:
    if most * len(values) < _MOST:
        return int(values.sum())
    return (int((values >> 31).sum()) << 31) + int((values & ((1 << 31) - 1)).sum())
