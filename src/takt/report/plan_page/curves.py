"""Latency distributions: for each figure a panel with a curve for each plan, and the target in it.

Places are in the thousand units of a drawing that is stretched to its panel, or in percent of it. The curve of a plan
that meets a target passes above and to the left of the target's mark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, isfinite

from takt.plan.plans import Plan, Targets
from takt.report.plan_page.axes import (
    LEAST_SHARE,
    MOST_SHARE,
    Scale,
    Tick,
    between,
    position_of_share,
    scale_of,
)
from takt.report.plan_page.words import duration

__all__ = ["MOST_CURVES", "Curve", "Panel", "Target", "panels_of", "plans_with_curves"]

MOST_CURVES = 8  # lines that can be told apart
_MOST_POINTS = 160
_MOST_TICKS = 5  # panels are narrow
_SHARES = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
_NAMES = {
    "ttft": "Time to the first token",
    "tpot": "Time per further token",
    "e2e": "Time to the whole answer",
}
_SHARE_AT = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line of a panel: the place of its plan in the list, and the drawing's path."""

    index: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a target lies: `y` in percent from the top, None for a mean, which is no share of requests."""

    x: float
    y: float | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The curves of one figure."""

    id: str
    name: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    curves: tuple[Curve, ...]
    target: Target | None


def plans_with_curves(plans: Sequence[Plan]) -> tuple[int, ...]:
    """Places in the list of the first plans that have curves, no more than can be told apart."""
    return tuple(i for i, plan in enumerate(plans) if plan.figures.curves)[:MOST_CURVES]


def panels_of(plans: Sequence[Plan], targets: Targets) -> tuple[Panel, ...]:
    """Panels for the first token, further tokens and the whole answer, as far as there are curves."""
    panels = []
    for name in _NAMES:
        curves = {i: _curve(plans[i].figures.curves, name) for i in plans_with_curves(plans)}
        if any(curves.values()):
            panels.append(_panel(name, curves, targets))
    return tuple(panels)


def _curve(
    curves: Mapping[str, tuple[tuple[float, float], ...]], name: str
) -> tuple[tuple[float, float], ...]:
    """The pairs between the shares that are drawn, with the ends where the line crosses these."""
    given = curves.get(f"{name}_s", curves.get(name, ()))
    pairs = sorted((pair for pair in given if isfinite(pair[0])), key=lambda pair: pair[::-1])
    inside = [pair for pair in pairs if LEAST_SHARE <= pair[1] <= MOST_SHARE]
    every = ceil(len(inside) / _MOST_POINTS) or 1
    ends = [
        (between(low, high, share), share)
        for low, high in pairwise(pairs)
        for share in (LEAST_SHARE, MOST_SHARE)
        if low[1] < share < high[1]
    ]
    return tuple(sorted({*inside[::every], *inside[-1:], *ends}, key=lambda pair: pair[::-1]))


def _panel(
    name: str, curves: Mapping[int, tuple[tuple[float, float], ...]], targets: Targets
) -> Panel:
    seconds = [s for pairs in curves.values() for s, _ in pairs]
    limit, at = getattr(targets, f"{name}_s"), getattr(targets, f"{name}_at")
    scale = scale_of([*seconds, limit] if limit is not None else seconds, margin=0.05)
    return Panel(
        id=name,
        name=_NAMES[name],
        x_ticks=scale.ticks(duration, most=_MOST_TICKS),
        y_ticks=tuple(
            Tick(at=position_of_share(each), text=f"{100 * each:g} %", minor=False)
            for each in _SHARES
        ),
        curves=tuple(
            Curve(index=i, path=_path(pairs, scale)) for i, pairs in curves.items() if pairs
        ),
        target=None if limit is None else _target(limit, at, scale),
    )


def _target(limit: float, at: str, scale: Scale) -> Target:
    share = _SHARE_AT.get(at)
    return Target(
        x=scale.place(limit),
        y=None if share is None else round(100 - position_of_share(share), 3),
        text=f"{at} ≤ {duration(limit)}",
    )


def _path(pairs: Sequence[tuple[float, float]], scale: Scale) -> str:
    points = [
        f"{10 * scale.place(s):.1f} {1000 - 10 * position_of_share(share):.1f}"
        for s, share in pairs
    ]
    return f"M{'L'.join(points)}"
