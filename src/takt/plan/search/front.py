"""What plans are compared by, and which of them no other beats.

Five figures: dollars an hour, seconds a token, joules a token, megawatts, floor. A figure that is unknown of a plan is not
compared: it must stand by the others, and never beats a plan in what is unknown of itself. So of plans of unknown price those
stay that something else speaks for. Two with chips of unknown price of the same kinds are compared by how many they
take. Knows no chips.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Point", "beats", "hides", "unbeaten"]

_SAME = 0.05  # figures closer than this are no difference that anyone would act on


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A plan's figures, or the least that they can be. `usd_per_h` is of the priced chips only."""

    usd_per_h: float
    unpriced: Mapping[str, int]
    pace_s: float
    j_per_token: float | None
    mw: float | None
    m2: float | None


def _pairs(a: Point, b: Point) -> list[tuple[float, float]]:
    pairs = [(a.pace_s, b.pace_s)]
    if a.unpriced.keys() == b.unpriced.keys():
        pairs.append((a.usd_per_h, b.usd_per_h))
        pairs += [(float(a.unpriced[kind]), float(b.unpriced[kind])) for kind in b.unpriced]
    elif not b.unpriced:
        pairs.append((float("inf"), b.usd_per_h))
    for name in ("j_per_token", "mw", "m2"):
        theirs, ours = getattr(b, name), getattr(a, name)
        if theirs is not None:
            pairs.append((float("inf") if ours is None else ours, theirs))
    return pairs


def hides(simulated: Point, bound: Point) -> bool:
    """Whether a plan that was simulated is at least as good as another can ever be."""
    return all(ours <= theirs for ours, theirs in _pairs(simulated, bound))


def beats(a: Point, b: Point) -> bool:
    """Whether a is better somewhere by a difference that counts, and nowhere worse by one."""
    pairs = _pairs(a, b)
    return all(ours <= theirs * (1 + _SAME) for ours, theirs in pairs) and any(
        ours < theirs * (1 - _SAME) for ours, theirs in pairs
    )


def unbeaten(points: Sequence[Point]) -> list[int]:
    """Indices of the points that none kept before them beats or equals, in their order; the first is always kept."""
    kept: list[int] = []
    for i, point in enumerate(points):
        if not any(beats(points[j], point) or _alike(points[j], point) for j in kept):
            kept.append(i)
    return kept


def _alike(a: Point, b: Point) -> bool:
    """No difference that counts in any figure: the first of them will do."""
    return all(abs(x - y) <= _SAME * max(abs(x), abs(y)) for x, y in _pairs(a, b) if x != y)
