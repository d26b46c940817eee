"""What would change the answer: prices, power, carbon, growth, and errors of what it rests on.

Prices, power and carbon move costs along lines, so thresholds are exact for the plans that were simulated. A pace that is worse
or better by its expected error, and more traffic, are simulated anew. Knows plans, not how they were found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..plans import WhatIf
from .finder import Found
from .parts import Part, with_pool
from .question import Question
from .size import Sized, size
from .traffic import Sizes
from .trial import Trials, meter_kw
from .ways import Counts, Way

__all__ = ["sensitivity_of", "what_ifs_of"]

_PRICES = (0.7, 1.3)
_POWER = (0.05, 0.2)
_GROWTH = (2.0, 10.0)
_RIVALS = 3  # plans beside the winner that are simulated anew
_TONNE_KG = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A plan's dollars an hour against one price: `at_zero` + `slope` × price. `words`: of its way."""

    words: str
    id: str
    at_zero: float
    slope: float

    def usd_per_h(self, price: float) -> float:
        return self.at_zero + self.slope * price


def what_ifs_of(
    question: Question, sizes: Sizes, plans: Sequence[Found], winner: Found
) -> tuple[WhatIf, ...]:
    """Other prices, power, carbon and traffic, each with the plan that is then the cheapest."""
    priced = [found for found in plans if found.plan.figures.usd_per_h is not None]
    if winner not in priced:
        return tuple(_growth(question, sizes, [winner]))
    return (
        *_prices(question, priced, winner),
        *_power(question, _plain(priced, winner)),
        *_carbon(question, _plain(plans, winner), _plain(priced, winner), winner),
        *_growth(question, sizes, _rivals(priced, winner)),
    )


def sensitivity_of(
    question: Question,
    sizes: Sizes,
    plans: Sequence[Found],
    winner: Found,
    bounds: Sequence[tuple[Way, Counts]],
) -> tuple[WhatIf, ...]:
    """What the winner rests on, and from where on another plan is the cheapest.

    `bounds`: ways with the fewest replicas they can do with, for chips of which no plan was simulated.
    """
    priced = [found for found in plans if found.plan.figures.usd_per_h is not None]
    if winner not in priced:
        return ()
    return (
        *_thresholds(question, priced, winner, bounds),
        *_break_even(plans, winner, bounds),
        *_errors(question, sizes, priced, winner),
        *_assumed(winner),
    )


def _prices(question: Question, priced: Sequence[Found], winner: Found) -> Iterator[WhatIf]:
    for chip, now in sorted(_price_of(winner).items()):
        lines = _lines_of_chip(priced, chip, now)
        for times in _PRICES:
            best = _cheapest(lines, now * times)
            yield _row(
                question, f"price of {chip}", f"${now * times:.4g} an hour ({100 * (times - 1):+.0f} %)",
                best, best.usd_per_h(now * times), winner.way.output,
            )  # fmt: skip


def _power(question: Question, priced: Sequence[Found]) -> Iterator[WhatIf]:
    now = question.site.power_usd_per_kwh
    lines = []
    for found in priced:
        kw = meter_kw(found.way, found.counts, found.plan.figures)
        usd = found.plan.figures.usd_per_h or 0.0
        lines.append(_line(found, usd - (kw or 0.0) * now, kw or 0.0))
    winner = _cheapest(lines, now)
    change = _next_change(lines, winner, now, upwards=True)
    for price in _POWER:
        best = _cheapest(lines, price)
        text = "no price of power changes the winner"
        if change is not None:
            text = (
                f"changes only if power costs more than ${change[0]:.3g} a kWh: then {change[1].id}"
            )
        usd = best.usd_per_h(price)
        row = _row(
            question, "price of power", f"${price:.3g} a kWh", best, usd, priced[0].way.output
        )
        yield replace(row, threshold=text)


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
        _line(
            found,
            found.plan.figures.usd_per_h or 0.0,
            (found.plan.figures.kg_co2_per_mtok or 0.0) * mtok_per_h / _TONNE_KG,
        )
        for found in priced
        if found in known
    ]
    change = _next_change(lines, _cheapest(lines, 0.0), 0.0, upwards=True)
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


def _growth(question: Question, sizes: Sizes, rivals: Sequence[Found]) -> Iterator[WhatIf]:
    """The same ways at more traffic, sized anew."""
    for times in _GROWTH:
        rate = question.traffic.rate * times
        trials = Trials(question, sizes, rate)
        best: tuple[float, Way, Counts] | None = None
        for found in rivals:
            way = replace(found.way, rate=rate)
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


def _thresholds(
    question: Question,
    priced: Sequence[Found],
    winner: Found,
    bounds: Sequence[tuple[Way, Counts]],
) -> Iterator[WhatIf]:
    """From which price of each chip on another plan is the cheapest."""
    own = _price_of(winner)
    every = {chip: price for found in priced for chip, price in _price_of(found).items()}
    for chip, now in sorted(every.items(), key=lambda pair: (pair[0] not in own, pair[0])):
        lines = _lines_of_chip(priced, chip, now)
        mine = next(line for line in lines if line.id == winner.plan.id)
        bound = _bound_lines(bounds, chip, now)
        texts = []
        for upwards in (True, False):
            change = _next_change(lines, mine, now, upwards=upwards)
            surely = _next_change(bound, mine, now, upwards=upwards)
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
    change: tuple[float, _Line] | None,
    surely: tuple[float, _Line] | None,
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


def _bound_lines(bounds: Sequence[tuple[Way, Counts]], chip: str, now: float) -> list[_Line]:
    """Priced ways with the fewest replicas that they can do with."""
    out = []
    for way, counts in bounds:
        if not way.unpriced(counts):
            n = way.chips(counts).get(chip, 0)
            at_zero = way.usd_per_h(counts) - n * now
            out.append(_Line(words=way.base, id=way.id_of(counts), at_zero=at_zero, slope=float(n)))
    return out


def _break_even(
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


def _plain(plans: Sequence[Found], winner: Found) -> list[Found]:
    """Without those that differ from the winner by their batches only."""
    return [found for found in plans if found is winner or found.way.base != winner.way.base]


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


def _price_of(found: Found) -> dict[str, float]:
    """Dollars an hour of one chip, by id."""
    return {
        pool.chip: pool.usd_per_h / pool.chips
        for pool in found.plan.pools
        if pool.usd_per_h is not None
    }


def _lines_of_chip(priced: Sequence[Found], chip: str, now: float) -> list[_Line]:
    out = []
    for found in priced:
        n = found.way.chips(found.counts).get(chip, 0)
        usd = found.plan.figures.usd_per_h or 0.0
        out.append(_line(found, usd - n * now, float(n)))
    return out


def _cheapest(lines: Sequence[_Line], price: float) -> _Line:
    return min(lines, key=lambda line: (line.usd_per_h(price), line.id))


def _next_change(
    lines: Sequence[_Line], mine: _Line, now: float, *, upwards: bool
) -> tuple[float, _Line] | None:
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


def _line(found: Found, at_zero: float, slope: float) -> _Line:
    return _Line(words=found.way.base, id=found.plan.id, at_zero=at_zero, slope=slope)


def _row(
    question: Question, name: str, value: str, line: _Line, usd_per_h: float, output: float
) -> WhatIf:
    tokens_per_s = question.traffic.rate * output
    return WhatIf(
        name=name, value=value, winner=line.id, usd_per_mtok=_per_mtok(usd_per_h, tokens_per_s)
    )


def _per_mtok(usd_per_h: float, tokens_per_s: float) -> float:
    return usd_per_h / (tokens_per_s * 3600) * 1e6
