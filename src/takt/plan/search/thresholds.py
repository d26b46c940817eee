"""From which price on another plan is the cheapest: dollars an hour of plans as lines over one price.

Exact for the plans that were simulated; for ways that were not, their bounds say up to where they cannot undercut the
winner. Knows prices and numbers of chips only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..plans import WhatIf
from .finder import Found
from .ways import Counts, Way

__all__ = [
    "Line",
    "break_even",
    "cheapest",
    "line_of",
    "lines_of_chip",
    "next_change",
    "prices_in",
    "thresholds",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A plan's dollars an hour against one price: `at_zero` + `slope` × price. `words`: of its way."""

    words: str
    id: str
    at_zero: float
    slope: float

    def usd_per_h(self, price: float) -> float:
        """At a price."""
        return self.at_zero + self.slope * price


def thresholds(
    priced: Sequence[Found],
    winner: Found,
    bounds: Sequence[tuple[Way, Counts]],
) -> Iterator[WhatIf]:
    """From which price of each chip on another plan is the cheapest."""
    own = prices_in(winner)
    every = {chip: price for found in priced for chip, price in prices_in(found).items()}
    for chip, now in sorted(every.items(), key=lambda pair: (pair[0] not in own, pair[0])):
        lines = lines_of_chip(priced, chip, now)
        mine = next(line for line in lines if line.id == winner.plan.id)
        bound = _bound_lines(bounds, chip, now)
        texts = []
        for upwards in (True, False):
            change = next_change(lines, mine, now, upwards=upwards)
            surely = next_change(bound, mine, now, upwards=upwards)
            texts.append(_threshold_text(chip, change, surely, upwards=upwards))
        known = [text for text in texts if text]
        yield WhatIf(
            name=f"price of {chip}", value=f"${now:.4g} an hour", winner=winner.plan.id,
            usd_per_mtok=winner.plan.figures.usd_per_mtok,
            threshold="changes only if " + "; or if ".join(known)
            if known
            else f"no price of {chip} changes the winner",
        )  # fmt: skip


def _threshold_text(
    chip: str,
    change: tuple[float, Line] | None,
    surely: tuple[float, Line] | None,
    *,
    upwards: bool,
) -> str:
    """Where the winner changes on one side; where plans that were not simulated might undercut it before, how far it is safe."""
    word = "more" if upwards else "less"
    if change is None or change[0] <= 0:
        if surely is None or surely[0] <= 0:
            return ""
        return f"{chip} costs {word} than ${surely[0]:.4g} an hour, at most: {surely[1].id}, by its bound"
    text = f"{chip} costs {word} than ${change[0]:.4g} an hour: then {change[1].id}"
    before = surely is not None and (surely[0] < change[0] if upwards else surely[0] > change[0])
    if surely is not None and before:
        side = "up to" if upwards else "down to"
        text += (
            f" ({side} ${surely[0]:.4g} surely not, by the bounds of plans that were not simulated)"
        )
    return text


def _bound_lines(bounds: Sequence[tuple[Way, Counts]], chip: str, now: float) -> list[Line]:
    """Priced ways with the fewest replicas that they can do with."""
    out = []
    for way, counts in bounds:
        if not way.unpriced(counts):
            n = way.chips(counts).get(chip, 0)
            at_zero = way.usd_per_h(counts) - n * now
            out.append(Line(words=way.base, id=way.id_of(counts), at_zero=at_zero, slope=float(n)))
    return out


def break_even(
    plans: Sequence[Found], winner: Found, bounds: Sequence[tuple[Way, Counts]]
) -> Iterator[WhatIf]:
    """What chips of unknown price may cost for a plan with them to be the cheapest."""
    limit = winner.plan.figures.usd_per_h or 0.0
    simulated: dict[str, tuple[float, str]] = {}
    for found in plans:
        kinds = found.way.unpriced(found.counts)
        if len(kinds) == 1:
            ((chip, n),) = kinds.items()
            price = (limit - found.way.usd_per_h(found.counts)) / n
            simulated[chip] = max(simulated.get(chip, (-1.0, "")), (price, found.plan.id))
    at_best: dict[str, tuple[float, str]] = {}
    for way, counts in bounds:
        kinds = way.unpriced(counts)
        if len(kinds) == 1:
            ((chip, n),) = kinds.items()
            price = (limit - way.usd_per_h(counts)) / n
            at_best[chip] = max(at_best.get(chip, (-1.0, "")), (price, way.id_of(counts)))
    for chip in sorted(simulated.keys() | at_best.keys()):
        price, words = simulated.get(chip) or at_best[chip]
        if price <= 0:
            text = f"no price of {chip} makes it the cheapest: the chips beside it cost more than the winner"
        elif chip in simulated:
            text = f"wins if {chip} costs less than ${price:.3g} an hour"
        else:
            text = f"could only win if {chip} cost less than ${price:.3g} an hour, by its bound"
        yield WhatIf(
            name=f"price of {chip}", value="unknown", winner=winner.plan.id,
            usd_per_mtok=winner.plan.figures.usd_per_mtok, threshold=f"{text} ({words})",
        )  # fmt: skip


def prices_in(found: Found) -> dict[str, float]:
    """Dollars an hour of one chip, by id."""
    return {
        pool.chip: pool.usd_per_h / pool.chips
        for pool in found.plan.pools
        if pool.usd_per_h is not None
    }


def lines_of_chip(priced: Sequence[Found], chip: str, now: float) -> list[Line]:
    """Plans against the price of one chip, whose price is `now`."""
    out = []
    for found in priced:
        n = found.way.chips(found.counts).get(chip, 0)
        usd = found.plan.figures.usd_per_h or 0.0
        out.append(line_of(found, usd - n * now, float(n)))
    return out


def cheapest(lines: Sequence[Line], price: float) -> Line:
    """The line that is lowest at a price; of equal ones the first."""
    return min(lines, key=lambda line: round(line.usd_per_h(price), 9))


def next_change(
    lines: Sequence[Line], mine: Line, now: float, *, upwards: bool
) -> tuple[float, Line] | None:
    """The nearest price above (or below) now at which another line undercuts mine."""
    found = []
    for line in lines:
        steeper = mine.slope - line.slope
        if line.words == mine.words or (steeper <= 0 if upwards else steeper >= 0):
            continue
        price = (line.at_zero - mine.at_zero) / steeper
        if price >= now if upwards else price <= now:
            found.append((price if upwards else -price, line.id, line))
    if not found:
        return None
    price, _, line = min(found, key=lambda each: each[:2])
    return abs(price), line


def line_of(found: Found, at_zero: float, slope: float) -> Line:
    """A plan as a line."""
    return Line(words=found.way.base, id=found.plan.id, at_zero=at_zero, slope=slope)
