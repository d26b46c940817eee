"""Scales of plots: where a value lies, in percent of the plot, and which values are marked.

A scale is logarithmic where its values span more than a factor of eight. Shares have a scale of their own, by the
normal quantile: it stretches both ends, so that the slowest hundredth of requests can be seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from statistics import NormalDist

__all__ = ["LEAST_SHARE", "MOST_SHARE", "Scale", "Tick", "between", "position_of_share", "scale_of"]

_SPAN_FOR_LOG = 8.0
_MARGIN = (
    0.09  # of the plot, beyond the first and the last value: half a point's width on a telephone
)
MOST_TICKS = 8
_FEW_TICKS = 4  # as many fit a narrow screen
LEAST_SHARE, MOST_SHARE = 0.01, 0.999
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A marked value: its place in percent, its text; `minor` ones are left out where there is little room."""

    at: float
    text: str
    minor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From `low` to `high`, in logarithms if `is_log`; `place` turns a value into percent from the low end."""

    low: float
    high: float
    is_log: bool

    def place(self, value: float) -> float:
        """Percent of the way from the low to the high end; below 0 or above 100 outside."""
        low, high, here = (_forward(v, self.is_log) for v in (self.low, self.high, value))
        return round(100 * (here - low) / (high - low), 3)

    def ticks(self, text: Callable[[float], str], *, most: int = MOST_TICKS) -> tuple[Tick, ...]:
        """Round values within the scale, on a logarithmic one no more than `most`."""
        values = _log_values(self.low, self.high, most) if self.is_log else []
        if len(values) < 3:
            values = _even_values(self.low, self.high)
        minor = _left_out(len(values))
        return tuple(
            Tick(at=self.place(value), text=text(value), minor=i in minor)
            for i, value in enumerate(values)
        )


def scale_of(values: Sequence[float], *, margin: float = _MARGIN) -> Scale:
    """A scale that holds all `values` with a margin at both ends; `values` are at least one."""
    low, high = min(values), max(values)
    is_log = low > 0 and high / low > _SPAN_FOR_LOG
    if high - low <= 1e-9 * abs(high):
        span = abs(high) * 0.5 or 1.0
        return Scale(low=low - span, high=high + span, is_log=False)
    start, end = _forward(low, is_log), _forward(high, is_log)
    span = (end - start) * margin / (1 - 2 * margin)
    if not is_log:
        return Scale(low=max(start - span, min(0.0, low)), high=end + span, is_log=False)
    return Scale(low=10 ** (start - span), high=10 ** (end + span), is_log=True)


def position_of_share(value: float) -> float:
    """Percent from the bottom of a share of requests, by the normal quantile; the ends are cut off."""
    low, high = _NORMAL.inv_cdf(LEAST_SHARE), _NORMAL.inv_cdf(MOST_SHARE)
    inside = min(max(value, LEAST_SHARE), MOST_SHARE)
    return round(100 * (_NORMAL.inv_cdf(inside) - low) / (high - low), 3)


def between(low: tuple[float, float], high: tuple[float, float], share: float) -> float:
    """The seconds at `share` on a straight line between two (seconds, share)."""
    (start, low_share), (end, high_share) = low, high
    return start + (end - start) * (share - low_share) / (high_share - low_share)


def _forward(value: float, is_log: bool) -> float:
    return log10(value) if is_log else value


def _log_values(low: float, high: float, most: int) -> list[float]:
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        values = [step * 10.0**decade for decade in decades for step in steps]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= most:
            return inside
    return inside[:: ceil(len(inside) / most)]


def _even_values(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    unit = 10.0 ** floor(log10(rough))
    step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough)
    return [i * step for i in range(ceil(low / step), floor(high / step) + 1)]


def _left_out(count: int) -> set[int]:
    """Of so many ticks in a row, which to leave out on a narrow screen."""
    every = ceil(count / _FEW_TICKS)
    return {i for i in range(count) if i % every}
