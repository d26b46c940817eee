"""Fleets of more than one kind of replica behind one router, for when there are not enough chips of the best kind.

How many of each kind: a small integer programme over what each kind was found to serve alone, solved exactly; then the
fleet is simulated and, where it misses the targets, asked to serve a little more. Knows no single kind's search.
"""

from .finder import Finder
from .size import Sized
from .solver import Kind, solve
from .ways import Way

__all__ = ["mixed_fleets"]

_HEADROOM = (1.0, 1.05, 1.1, 1.2, 1.35, 1.5)
_MOST_KINDS = 12


def mixed_fleets(finder: Finder) -> None:
    """The cheapest mixture within supply and limits, into the finder's front where it belongs."""
    alone = _alone(finder)
    if len(alone) < 2:
        return
    question = finder.question
    for headroom in _HEADROOM:
        kinds = [_kind(sized, question.traffic.rate) for sized in alone]
        counts = solve(kinds, question.traffic.rate * headroom, question.limits)
        if counts is None:
            return
        used = [(sized, n) for sized, n in zip(alone, counts, strict=True) if n]
        if len(used) < 2:
            return
        way = Way(
            tuple(part for sized, _ in used for part in sized.way.parts),
            rate=question.traffic.rate,
            output=finder.sizes.output,
            router=finder.sizes.router,
        )
        if finder.fits(way, tuple(n for _, n in used)):
            return


def _alone(finder: Finder) -> list[Sized]:
    """Ways of one part with a price, as many replicas as would do: the best for each chip first."""
    found = [*finder.short, *finder.sized]
    found = [each for each in found if len(each.way.parts) == 1 and not each.way.parts[0].unpriced]
    found.sort(key=lambda each: (each.way.usd_per_h(each.counts), each.way.words))
    return found[:_MOST_KINDS]


def _kind(sized: Sized, rate: float) -> Kind:
    part, n = sized.way.parts[0], sized.counts[0]
    return Kind(
        rate=rate / n, usd_per_h=part.usd_per_h, meter_w=part.meter_w, chips=dict(part.chips)
    )
