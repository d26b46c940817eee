"""What would change the answer: prices, power, carbon, growth, and errors of what it rests on.

Prices, power and carbon move costs along lines, so thresholds are exact for the plans that were simulated. A pace that is worse
or better by its expected error, and more traffic, are simulated anew. Knows plans, not how they were found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf

from ..plans import WhatIf
from .finder import Found
from .parts import VARIED, Part, with_pool
from .question import Question
from .site import default_site
from .size import Sized, size
from .thresholds import (
    Line,
    break_even,
    cheapest,
    line_of,
    lines_of_chip,
    next_change,
    prices_in,
    thresholds,
)
from .traffic import Sizes
from .trial import Trials, catalogue_share, meter_kw, power_surcharge
from .ways import Counts, Way

__all__ = ["sensitivity_of", "what_ifs_of"]

_PRICES = (0.7, 1.3)
_POWER = (0.05, 0.2)
_GROWTH = (2.0, 10.0)
_RIVALS = 3  # plans beside the winner that are simulated anew
_TONNE_KG = 1000.0


def what_ifs_of(
    question: Question, sizes: Sizes, kept: Sequence[Found], rest: Sequence[Found]
) -> tuple[WhatIf, ...]:
    """Other prices, power, carbon and traffic, each with the plan that is then the cheapest.

    `kept`: the plans of the answer, the winner first; `rest`: others that were simulated.
    """
    winner, plans = kept[0], _candidates(kept, rest)
    priced = _priced(plans)
    if winner not in priced:
        return tuple(_growth(question, sizes, [winner.way]))
    ways = [found.way for found in _rivals(priced, winner)]
    return (
        *_prices(question, priced, winner),
        *_power(question, priced),
        *_carbon(question, plans, priced, winner),
        *_growth(question, sizes, [*ways, *_plain_ways(winner.way, [*kept, *rest])]),
    )


def sensitivity_of(
    question: Question,
    sizes: Sizes,
    kept: Sequence[Found],
    rest: Sequence[Found],
    bounds: Sequence[tuple[Way, Counts]],
) -> tuple[WhatIf, ...]:
    """What the winner rests on, and from where on another plan is the cheapest.

    `bounds`: ways with the fewest replicas they can do with, for chips of which no plan was simulated.
    """
    winner, plans = kept[0], _candidates(kept, rest)
    priced = _priced(plans)
    if winner not in priced:
        return ()
    return (
        *thresholds(priced, winner, bounds),
        *break_even(plans, winner, bounds),
        *_errors(question, sizes, priced, winner),
        *_assumed(winner),
    )


def _prices(question: Question, priced: Sequence[Found], winner: Found) -> Iterator[WhatIf]:
    for chip, now in sorted(prices_in(winner).items()):
        lines = lines_of_chip(priced, chip, now)
        for times in _PRICES:
            best = cheapest(lines, now * times)
            yield _row(
                question, f"price of {chip}", f"${now * times:.4g} an hour ({100 * (times - 1):+.0f} %)",
                best, best.usd_per_h(now * times), winner.way.output,
            )  # fmt: skip


def _power(question: Question, priced: Sequence[Found]) -> Iterator[WhatIf]:
    now = question.site.power_usd_per_kwh
    # Dearer power adds to every price, cheaper power takes off the catalogue's only: the line has a bend at its price.
    bend = default_site().power_usd_per_kwh
    above = [_power_line(question, found, bend, upwards=True) for found in priced]
    below = [_power_line(question, found, bend, upwards=False) for found in priced]
    texts = []
    for word, upwards in (("more", True), ("less", False)):
        change = _power_change(below, above, bend, now, upwards=upwards)
        if change is not None:
            texts.append(f"power costs {word} than ${change[0]:.3g} a kWh: then {change[1].id}")
    text = "changes only if " + "; or if ".join(texts) if texts else ""
    for price in _POWER:
        best = cheapest(above if price >= bend else below, price)
        row = _row(
            question, "price of power", f"${price:.3g} a kWh", best, best.usd_per_h(price),
            priced[0].way.output,
        )  # fmt: skip
        yield replace(row, threshold=text or "no price of power changes the winner")


def _power_change(
    below: Sequence[Line], above: Sequence[Line], bend: float, now: float, *, upwards: bool
) -> tuple[float, Line] | None:
    """The nearest price of power at which another plan than the first wins, on either side of the bend."""
    pieces = [(below, now, bend)] if upwards and now < bend else []
    pieces += [(above, now, bend)] if not upwards and now > bend else []
    end = inf if upwards else 0.0
    pieces.append((above, max(now, bend), end) if upwards else (below, min(now, bend), end))
    for lines, start, last in pieces:
        change = next_change(lines, lines[0], start, upwards=upwards)
        if change is not None and (change[0] <= last if upwards else change[0] > last):
            return change
    return None


def _power_line(question: Question, found: Found, bend: float, *, upwards: bool) -> Line:
    """Dollars against the price of power, on one side of the price that the catalogue's prices hold."""
    kw = meter_kw(found.way, found.counts, found.plan.figures) or 0.0
    slope = kw if upwards else kw * catalogue_share(question, found.way, found.counts)
    usd = found.plan.figures.usd_per_h or 0.0
    at_bend = usd - power_surcharge(question, found.way, found.counts, kw)
    return line_of(found, at_bend - slope * bend, slope)


def _carbon(
    question: Question, plans: Sequence[Found], priced: Sequence[Found], winner: Found
) -> Iterator[WhatIf]:
    """The plan of least carbon, and the price of carbon from which on another wins."""
    known = [found for found in plans if found.plan.figures.kg_co2_per_mtok is not None]
    if not known or winner.plan.figures.kg_co2_per_mtok is None:
        return
    least = min(known, key=lambda found: (found.plan.figures.kg_co2_per_mtok or 0.0, found.plan.id))
    mtok_per_h = winner.way.rate * winner.way.output * 3600 / 1e6
    lines = [
        line_of(
            found,
            found.plan.figures.usd_per_h or 0.0,
            (found.plan.figures.kg_co2_per_mtok or 0.0) * mtok_per_h / _TONNE_KG,
        )
        for found in priced
        if found in known
    ]
    change = next_change(lines, cheapest(lines, 0.0), 0.0, upwards=True)
    text = "no price of carbon changes the winner"
    if change is not None:
        text = (
            f"changes only if carbon costs more than ${change[0]:,.4g} a tonne: then {change[1].id}"
        )
    yield WhatIf(
        name="least carbon",
        value=f"{least.plan.figures.kg_co2_per_mtok:.3g} kg a million tokens; "
        f"the winner {winner.plan.figures.kg_co2_per_mtok:.3g} kg",
        winner=least.plan.id,
        usd_per_mtok=least.plan.figures.usd_per_mtok,
        threshold=text,
    )


def _growth(question: Question, sizes: Sizes, ways: Sequence[Way]) -> Iterator[WhatIf]:
    """The same ways at more traffic, sized anew."""
    for times in _GROWTH:
        rate = question.traffic.rate * times
        trials = Trials(question, sizes, rate)
        best: tuple[float, Way, Counts] | None = None
        for each in ways:
            way = replace(each, rate=rate)
            sized = _sized(trials, way)
            if sized is None:
                continue
            usd = way.usd_per_h(sized.counts)
            if best is None or usd < best[0]:
                best = (usd, way, sized.counts)
        if best is None:
            yield WhatIf(
                name="traffic",
                value=f"x {times:g}",
                winner="none of these plans",
                usd_per_mtok=None,
            )
            continue
        usd, way, counts = best
        chips = ", ".join(f"{n:,} {chip}" for chip, n in sorted(way.chips(counts).items()))
        yield WhatIf(
            name="traffic",
            value=f"x {times:g}: {rate:,.6g} requests/s",
            winner=way.id_of(counts),
            usd_per_mtok=None if way.unpriced(counts) else _per_mtok(usd, rate * way.output),
            threshold=f"needs {chips}",
        )


def _errors(
    question: Question, sizes: Sizes, priced: Sequence[Found], winner: Found
) -> Iterator[WhatIf]:
    """The winner slower, and its rivals faster, by the error to expect of their pace."""
    trials = Trials(question, sizes, question.traffic.rate)
    rivals = [found for found in _rivals(priced, winner) if found is not winner]
    usd = winner.plan.figures.usd_per_h or 0.0
    for found, sign in ((winner, 1), *((rival, -1) for rival in rivals)):
        error = found.plan.expected_error
        if not error:
            continue
        sized = _sized(trials, _slowed(found.way, sizes, sign))
        words = "slower" if sign > 0 else "faster"
        name = f"pace of {found.way.words}"
        value = f"{100 * error:.0f} % {words}, the error to expect"
        if sized is None:
            yield WhatIf(
                name=name, value=value, winner=rivals[0].plan.id if rivals else "", usd_per_mtok=None,
                threshold="then no number of replicas meets the targets",
            )  # fmt: skip
            continue
        cost = sized.way.usd_per_h(sized.counts)
        next_usd = min((rival.plan.figures.usd_per_h or 0.0 for rival in rivals), default=None)
        if sign > 0:
            changes = next_usd is not None and cost > next_usd
            best = rivals[0].plan.id if changes else sized.way.id_of(sized.counts)
        else:
            changes = cost < usd
            best = sized.way.id_of(sized.counts) if changes else winner.plan.id
        text = "the winner changes" if changes else "the winner stays"
        yield WhatIf(
            name=name, value=value, winner=best,
            usd_per_mtok=_per_mtok(cost, found.way.rate * found.way.output),
            threshold=f"{text}: it would take {sized.way.id_of(sized.counts)}, ${cost:,.4g} an hour",
        )  # fmt: skip


def _assumed(winner: Found) -> Iterator[WhatIf]:
    """Facts of the winner's chips that nobody has published."""
    lpus = {pool.chip for pool in winner.plan.pools if pool.kind == "lpu"}
    groups: dict[str, list[str]] = {}
    for fact in winner.plan.assumed:
        key, _, chip = fact.partition(" of ")
        if key.startswith(("power.", "energy.")):
            text = "moves joules and megawatts, not dollars: the winner stays"
        elif chip in lpus:
            text = (
                "the pace is exact for the machine as these have it: what they are wrong by is in no error; "
                "a chip file with other values plans anew"
            )
        else:
            text = "moves the pace; the error to expect of it allows for such chips"
        groups.setdefault(text, []).append(fact)
    for text, names in groups.items():
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        yield WhatIf(
            name="assumed facts", value=shown, winner=winner.plan.id,
            usd_per_mtok=winner.plan.figures.usd_per_mtok, threshold=text,
        )  # fmt: skip


def _sized(trials: Trials, way: Way) -> Sized | None:
    least = way.least(trials.question.targets)
    if least is None:
        return None
    sized = size(trials, way, least, lambda counts: None)
    return sized if isinstance(sized, Sized) else None


def _candidates(kept: Sequence[Found], rest: Sequence[Found]) -> list[Found]:
    """The plans of the answer, and of each way that has none there the first: batches of other sizes are no other plans."""
    out = list(kept)
    bases = {found.way.base for found in kept}
    for found in rest:
        if found.way.base not in bases and found.plan.meets:
            out.append(found)
            bases.add(found.way.base)
    return out


def _priced(plans: Sequence[Found]) -> list[Found]:
    return [found for found in plans if found.plan.figures.usd_per_h is not None]


def _plain_ways(way: Way, plans: Sequence[Found]) -> list[Way]:
    """The same way with the engine's own batches: what little traffic asked for need not suit more of it."""
    same = (found.way for found in plans if found.way.base == way.base)
    return [each for each in same if VARIED not in each.words][:1]


def _slowed(way: Way, sizes: Sizes, sign: int) -> Way:
    """Every step of every part longer, or shorter, by the error to expect of it."""

    def slowed(part: Part) -> Part:
        table = part.pool.table
        values = table.factor.values * (1.0 + (part.error or 0.0)) ** sign
        table = replace(table, factor=replace(table.factor, values=values))
        return with_pool(part, replace(part.pool, table=table), sizes)

    return replace(way, parts=tuple(slowed(part) for part in way.parts))


def _rivals(priced: Sequence[Found], winner: Found) -> list[Found]:
    """The winner and the next cheapest with other chips."""
    out, seen = [winner], {frozenset(winner.way.chips(winner.counts))}
    for found in sorted(
        priced, key=lambda each: (each.plan.figures.usd_per_h or 0.0, each.plan.id)
    ):
        kinds = frozenset(found.way.chips(found.counts))
        if kinds not in seen and len(out) <= _RIVALS:
            out.append(found)
            seen.add(kinds)
    return out


def _row(
    question: Question, name: str, value: str, line: Line, usd_per_h: float, output: float
) -> WhatIf:
    tokens_per_s = question.traffic.rate * output
    return WhatIf(
        name=name, value=value, winner=line.id, usd_per_mtok=_per_mtok(usd_per_h, tokens_per_s)
    )


def _per_mtok(usd_per_h: float, tokens_per_s: float) -> float:
    return usd_per_h / (tokens_per_s * 3600) * 1e6
