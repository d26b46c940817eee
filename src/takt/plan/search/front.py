"""What plans are compared by, and which of them no other beats.

Five figures: dollars an hour, seconds a token, joules a token, megawatts, floor. A figure that is unknown of a plan is not
compared: it must stand by the others, and never beats a plan in what is unknown of itself. So of plans of unknown price those
stay that something else speaks for. Two with chips of unknown price of the same kinds are compared by how many they
take. Knows no chips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log

__all__ = ["Point", "beats", "hides", "unbeaten"]

_SAME = 0.05  # figures closer than this are no difference that anyone would act on


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A plan's figures, or the least that they can be. `usd_per_h` is of the priced chips only.

    `first_s`, to the first token, decides only between plans that are alike in the rest.
    """

    usd_per_h: float
    unpriced: Mapping[str, int]
    pace_s: float
    j_per_token: float | None
    mw: float | None
    m2: float | None
    first_s: float = 0.0


def _costs(a: Point, b: Point) -> list[tuple[float, float]]:
    """What both cost, as far as it can be compared: dollars, and chips of unknown price where they are of the same kinds."""
    if a.unpriced.keys() == b.unpriced.keys():
        counts = [(float(a.unpriced[kind]), float(b.unpriced[kind])) for kind in b.unpriced]
        return [(a.usd_per_h, b.usd_per_h), *counts]
    return [] if b.unpriced else [(inf, b.usd_per_h)]


def _figures(a: Point, b: Point) -> list[tuple[float, float]]:
    """The other figures of b that are known, and a's."""
    pairs = [(a.pace_s, b.pace_s)]
    for name in ("j_per_token", "mw", "m2"):
        ours, theirs = getattr(a, name), getattr(b, name)
        if theirs is not None:
            pairs.append((inf if ours is None else ours, theirs))
    return pairs


def hides(simulated: Point, bound: Point) -> bool:
    """Whether a plan that was simulated is at least as good as another can ever be."""
    pairs = _costs(simulated, bound) + _figures(simulated, bound)
    return all(ours <= theirs for ours, theirs in pairs)


def beats(a: Point, b: Point) -> bool:
    """Whether a costs no more, is better somewhere by a difference that counts, and nowhere worse by one."""
    costs, figures = _costs(a, b), _figures(a, b)
    if any(ours > theirs for ours, theirs in costs):
        return False
    return all(ours <= theirs * (1 + _SAME) for ours, theirs in figures) and any(
        ours < theirs * (1 - _SAME) for ours, theirs in costs + figures
    )


def unbeaten(points: Sequence[Point]) -> list[int]:
    """Indices of the points that none of these beats, in their order; of those that differ by nothing that counts the
    cheapest, and of as cheap ones the better.

    Differences that do not count add up along a chain of plans, so each is held against those kept, the cheapest first: what
    is left out is beaten by one that is kept.
    """
    order = sorted(range(len(points)), key=lambda i: (_dear(points[i]), _size(points[i]), i))
    kept: list[int] = []
    for i in order:
        if not any(beats(points[j], points[i]) or _alike(points[j], points[i]) for j in kept):
            kept.append(i)
    # Of two that cost the same the later may be the better.
    return sorted(i for i in kept if not any(beats(points[j], points[i]) for j in kept))


def _dear(point: Point) -> tuple[bool, float, int]:
    """What beats a plan never comes after it, but where both cost the same."""
    return bool(point.unpriced), point.usd_per_h, sum(point.unpriced.values())


def _size(point: Point) -> float:
    """All figures but dollars as one, each by its relative size."""
    figures = (point.pace_s, point.j_per_token, point.mw, point.m2, point.first_s)
    return sum(log(figure) for figure in figures if figure)


def _alike(a: Point, b: Point) -> bool:
    """No difference that counts in any figure."""
    pairs = _costs(a, b) + _figures(a, b)
    return all(abs(x - y) <= _SAME * max(abs(x), abs(y)) for x, y in pairs if x != y)
