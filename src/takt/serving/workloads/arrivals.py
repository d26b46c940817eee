"""When requests are sent: evenly, as Poisson or bursty streams, at rates that change, all at once, or as recorded.

Times are integer nanoseconds and never fall. Gaps are rounded one by one, so that times do not depend on the pieces in which
they are drawn. Knows no requests.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from takt.errors import UsageError
from takt.units import NS_PER_S

from .lengths import Generator, Ints, between

__all__ = ["Arrivals", "AtOnce", "Process", "Recorded"]

LATEST_NS = 1 << 61
LEAST_RATE, MOST_RATE = 1e-6, 1e9
MOST_PIECES = 100_000
# Gaps of a stream of changing rate are drawn at rate 1 in units of 2⁻³⁰, then stretched.
_UNITS = float(1 << 30)
_MOST_CV = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Independent gaps with a mean of 1 ÷ `rate_per_s`: gamma distributed.

    - `cv` of a gap, its standard deviation ÷ its mean: 1 is a Poisson stream, 0 even spacing, more is bursty.
    - `curve`: (start_s, factor) pieces from 0 on; the rate is `rate_per_s` × factor until the next piece starts.
      `period_s` after 0 the curve begins anew; None: the last piece stays. `cv` holds for time stretched by the curve.
    """

    rate_per_s: float
    cv: float = 1.0
    curve: tuple[tuple[float, float], ...] = ()
    period_s: float | None = None

    def __post_init__(self) -> None:
        between("a rate (requests/s)", self.rate_per_s, LEAST_RATE, MOST_RATE)
        between("cv of arrivals", self.cv, 0, _MOST_CV)
        if not self.curve:
            if self.period_s is not None:
                raise UsageError("a period of arrivals needs a curve")
            return
        starts = [start for start, _ in self.curve]
        between("pieces of a rate curve", len(starts), 1, MOST_PIECES)
        ends = [*starts[1:], self.period_s if self.period_s is not None else starts[-1] + 1]
        if starts[0] != 0 or any(not a < b < 1e10 for a, b in zip(starts, ends, strict=True)):
            raise UsageError("a rate curve starts at 0 s and its times rise, up to its period")
        for _, factor in self.curve:
            between("factor of a rate curve", factor, 0, 1e6)
        last = self.curve[-1][1] if self.period_s is None else max(f for _, f in self.curve)
        if not last > 0:
            raise UsageError(
                "a rate curve must not end in silence", hint="give its last piece a factor"
            )

    @property
    def mean_rate_per_s(self) -> float:
        """Over one period of the curve; without a period, that of its last piece."""
        if not self.curve:
            return self.rate_per_s
        if self.period_s is None:
            return self.rate_per_s * self.curve[-1][1]
        return self.rate_per_s * self._due()[1][-1] / self.period_s

    def at_rate(self, rate_per_s: float) -> "Arrivals":
        """The same process with another mean rate."""
        return replace(self, rate_per_s=self.rate_per_s * rate_per_s / self.mean_rate_per_s)

    def times_ns(self, stream: Generator, chunk: int) -> Iterator[Ints]:
        """Endless pieces of [chunk] times. Raises UsageError where they leave the clock's range."""
        unit = _UNITS if self.curve else NS_PER_S / self.rate_per_s
        last = floor = 0
        while True:
            gaps = np.rint(self._gaps(stream, chunk) * unit)
            if not last + gaps.sum() < float(LATEST_NS):
                raise UsageError(
                    "requests arrive later than the clock can tell",
                    hint="a higher rate, or fewer requests",
                )
            times = last + np.cumsum(gaps.astype(np.int64))
            last = int(times[-1])
            if self.curve:
                # Rounding may swap neighbours by a nanosecond where a round begins.
                times = np.maximum.accumulate(np.maximum(self._stretched(times), floor))
                floor = int(times[-1])
            yield times

    def _gaps(self, stream: Generator, n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        if self.cv == 0:
            return np.ones(n)
        if self.cv == 1:
            return stream.standard_exponential(n)
        return stream.standard_gamma(1 / self.cv**2, n) * self.cv**2

    def _due(self) -> tuple[list[float], list[float]]:
        """(times of the pieces' starts and of the curve's end, arrivals ÷ `rate_per_s` expected until then)."""
        times = [start for start, _ in self.curve]
        times.append(self.period_s if self.period_s is not None else times[-1] + 1.0)
        due = [0.0]
        for i, (_, factor) in enumerate(self.curve):
            due.append(due[-1] + factor * (times[i + 1] - times[i]))
        return times, due

    def _stretched(self, units: Ints) -> Ints:
        """Times at which so many arrivals are due: the curve's integral, inverted."""
        wanted = units / (_UNITS * self.rate_per_s)
        times, due = self._due()
        rounds = np.zeros(len(wanted))
        if self.period_s is not None:
            rounds = np.floor(wanted / due[-1])
            wanted = np.clip(wanted - rounds * due[-1], 0.0, due[-1])
        # The piece that an arrival falls into has a rate: one with none has no arrivals due.
        factors = np.asarray([factor for _, factor in self.curve])
        first = int(np.flatnonzero(factors)[0])
        piece = np.clip(np.searchsorted(due, wanted, side="left") - 1, first, len(factors) - 1)
        seconds = np.asarray(times)[piece] + (wanted - np.asarray(due)[piece]) / factors[piece]
        if self.period_s is not None:
            seconds = seconds + rounds * self.period_s
        if not float(seconds[-1]) * NS_PER_S < LATEST_NS:
            raise UsageError(
                "requests arrive later than the clock can tell",
                hint="a higher rate, or fewer requests",
            )
        times_ns: Ints = np.rint(seconds * NS_PER_S).astype(np.int64)
        return times_ns

    def __str__(self) -> str:
        kind = {0.0: "evenly spaced", 1.0: "Poisson"}.get(self.cv, f"gamma, cv {self.cv:.3g}")
        curve = f", {len(self.curve)} rates in turn" if self.curve else ""
        return f"{self.mean_rate_per_s:.4g}/s ({kind}{curve})"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOnce:
    """All requests are there at 0; `concurrency` of the fleet holds back those beyond so many (0: none)."""

    concurrency: int = 0

    def __post_init__(self) -> None:
        between("concurrency", self.concurrency, 0, (1 << 31) - 1)

    @property
    def mean_rate_per_s(self) -> None:
        """No rate: the fleet sets the pace."""
        return None

    def times_ns(self, stream: Generator, chunk: int) -> Iterator[Ints]:
        """Endless pieces of [chunk] zeros."""
        while True:
            yield np.zeros(chunk, dtype=np.int64)

    def __str__(self) -> str:
        return f"{self.concurrency:,} at a time" if self.concurrency else "all at once"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """Times of a recording, in ascending nanoseconds from 0, `speed` times as fast, once over or again and again."""

    recorded_ns: Ints
    speed: float = 1.0
    loop: bool = False
    name: str = "a recording"
    _span_ns: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        between("speed of a recording", self.speed, 1e-9, 1e9)
        times = self.recorded_ns
        if not len(times) or int(times[0]) < 0 or (np.diff(times) < 0).any():
            raise UsageError(f"arrivals of {self.name} ascend from 0")
        if not float(times[-1]) / self.speed < LATEST_NS:
            raise UsageError(
                f"arrivals of {self.name} at speed {self.speed:g} leave the clock's range"
            )
        # A round ends one mean gap after its last arrival.
        object.__setattr__(
            self, "_span_ns", int(times[-1]) + int(times[-1]) // max(len(times) - 1, 1)
        )

    @property
    def mean_rate_per_s(self) -> float | None:
        """Arrivals a second; None for arrivals of one moment."""
        return (
            len(self.recorded_ns) * NS_PER_S * self.speed / self._span_ns if self._span_ns else None
        )

    def at_rate(self, rate_per_s: float) -> "Recorded":
        """The same arrivals, faster or slower."""
        if self.mean_rate_per_s is None:
            raise UsageError(f"all of {self.name} arrives at once: it has no rate to change")
        return replace(self, speed=self.speed * rate_per_s / self.mean_rate_per_s)

    def times_ns(self, stream: Generator, chunk: int) -> Iterator[Ints]:
        """Pieces of at most [chunk] times, which end with the recording unless it loops."""
        for shift in self.rounds_ns():
            for start in range(0, len(self.recorded_ns), chunk):
                yield self.scaled(self.recorded_ns[start : start + chunk] + shift)

    def rounds_ns(self) -> Iterator[int]:
        """When each round begins, in recorded time: one, or round after round where it loops."""
        shift = 0
        yield shift
        while self.loop:
            shift += self._span_ns
            if self._span_ns == 0 or (shift + self._span_ns) / min(self.speed, 1.0) >= LATEST_NS:
                raise UsageError(f"{self.name} can't go on for so long")
            yield shift

    def scaled(self, times_ns: Ints) -> Ints:
        """Times of the recording as they are when it is played at `speed`."""
        return times_ns if self.speed == 1 else np.rint(times_ns / self.speed).astype(np.int64)

    def __str__(self) -> str:
        rate = (
            f"{self.mean_rate_per_s:.4g}/s" if self.mean_rate_per_s is not None else "all at once"
        )
        return f"{rate} (as in {self.name})"


Process = Arrivals | AtOnce | Recorded
