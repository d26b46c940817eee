"""Plans against each other: four views, each with its axes, points and the line of those that no other beats.

Places are in percent of the plot, from the left and from the top, so that one drawing fits any width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import isfinite
from typing import TypeGuard

from takt.plan.plans import Plan
from takt.report.plan_page.axes import Scale, Tick, scale_of
from takt.report.plan_page.words import amount, duration, usd

__all__ = ["Dot", "Segment", "View", "views_of"]

Figure = Callable[[Plan], float | None]
_KW_BELOW_MW = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A plan in a view: `index` counts in the list of all plans of the page."""

    index: int
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A straight piece of the line of the best."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Two figures against each other. `left_out`: plans without one of the two; `better`: where the best lie."""

    id: str
    name: str
    x_name: str
    y_name: str
    better: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    dots: tuple[Dot, ...]
    front: tuple[Segment, ...]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    id: str
    name: str
    x: Figure
    y: Figure
    x_name: str
    y_name: str
    x_text: Callable[[float], str]
    y_text: Callable[[float], str]
    right_is_better: bool


def views_of(plans: Sequence[Plan], ttft_at: str) -> tuple[View, ...]:
    """Cost, energy and power against speed for each user, and cost against the wait for the first token.

    A view without any plan that has both figures is left out.
    """
    views = (_view(plans, axes) for axes in _all_axes(plans, ttft_at))
    return tuple(view for view in views if view.dots)


def _speed(plan: Plan) -> float | None:
    return plan.figures.tokens_per_s_user


def _cost(plan: Plan) -> float | None:
    return plan.figures.usd_per_mtok


def _energy(plan: Plan) -> float | None:
    return plan.figures.j_per_token


def _power(plan: Plan, factor: float) -> float | None:
    return None if plan.figures.mw is None else plan.figures.mw * factor


def _wait(plan: Plan, at: str) -> float | None:
    measure = plan.figures.ttft_s.get(at)
    return None if measure is None else measure.mean


def _all_axes(plans: Sequence[Plan], ttft_at: str) -> tuple[_Axes, ...]:
    most = max((plan.figures.mw or 0.0 for plan in plans), default=0.0)
    factor, unit = (1e3, "kW") if most < _KW_BELOW_MW else (1.0, "MW")
    speed = "tokens a second for each user"
    dollars = "$ per million output tokens"
    first = f"time to the first token ({ttft_at})"
    return (
        _Axes(id="usd", name="Cost", x=_speed, y=_cost, x_name=speed, y_name=dollars,
              x_text=amount, y_text=usd, right_is_better=True),
        _Axes(id="energy", name="Energy", x=_speed, y=_energy, x_name=speed,
              y_name="joules per output token", x_text=amount, y_text=amount, right_is_better=True),
        _Axes(id="power", name="Power", x=_speed, y=partial(_power, factor=factor), x_name=speed,
              y_name=f"{unit} for the whole system", x_text=amount, y_text=amount, right_is_better=True),
        _Axes(id="wait", name="Cost by wait", x=partial(_wait, at=ttft_at), y=_cost, x_name=first,
              y_name=dollars, x_text=duration, y_text=usd, right_is_better=False),
    )  # fmt: skip


def _view(plans: Sequence[Plan], axes: _Axes) -> View:
    places = ((i, axes.x(plan), axes.y(plan)) for i, plan in enumerate(plans))
    points = [(i, x, y) for i, x, y in places if _known(x) and _known(y)]
    x_scale = scale_of([x for _, x, _ in points] or [1.0])
    y_scale = scale_of([y for _, _, y in points] or [1.0])
    good = [(x, y) for i, x, y in points if plans[i].meets]
    return View(
        id=axes.id,
        name=axes.name,
        x_name=axes.x_name,
        y_name=axes.y_name,
        better="right" if axes.right_is_better else "left",
        x_ticks=x_scale.ticks(axes.x_text),
        y_ticks=y_scale.ticks(axes.y_text),
        dots=tuple(Dot(index=i, x=x_scale.place(x), y=_from_top(y_scale, y)) for i, x, y in points),
        front=_front(good, x_scale, y_scale, axes.right_is_better),
        left_out=len(plans) - len(points),
    )


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and isfinite(value)


def _from_top(scale: Scale, value: float) -> float:
    return round(100 - scale.place(value), 3)


def _front(
    points: Sequence[tuple[float, float]], x_scale: Scale, y_scale: Scale, right_is_better: bool
) -> tuple[Segment, ...]:
    """Steps through the points that no other beats in both figures."""
    sign = -1.0 if right_is_better else 1.0
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (sign * point[0], point[1])):
        if not best or y < best[-1][1]:
            best.append((x, y))
    segments = []
    for (x1, y1), (x2, y2) in pairwise(best):
        left, right = x_scale.place(x1), x_scale.place(x2)
        top, bottom = _from_top(y_scale, y1), _from_top(y_scale, y2)
        segments.append(Segment(x1=left, y1=top, x2=right, y2=top))
        segments.append(Segment(x1=right, y1=top, x2=right, y2=bottom))
    return tuple(segments)
