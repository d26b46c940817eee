"""A plan for a question: screen, simulate, compare, and say why the rest was dropped.

    search(question, Offer(accelerators=...)) -> PlanSet

Same question, same bytes: one seed, a fixed order, no clocks. Knows no files.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from takt.serving.sweeps import Runner, Store

from ..compare import check_length
from ..plans import PlanSet
from .candidates import Offer, ways_of
from .finder import Finder, Found, rank
from .mixed import mixed_fleets
from .nearest import nearest_plan
from .question import Question
from .traffic import Sizes
from .trial import Trials
from .what_if import sensitivity_of, what_ifs_of

__all__ = ["search"]

Progress = Callable[[str, int, int], None]
_OTHERS = 40


def search(
    question: Question,
    offer: Offer,
    *,
    progress: Progress | None = None,
    runner: Runner | None = None,
    store: Store | None = None,
) -> PlanSet:
    """The plans that no other beats; `progress` hears (what, done, of how many).

    `runner` shares out the simulations of all seeds; `store` keeps every simulation, so that a search that was
    interrupted goes on where it was. The answer depends on neither.

    Raises UsageError where the model generates nothing or cannot hold the longest request.
    """
    tell = progress or (lambda what, done, of: None)
    sizes = question.sizes()
    if sizes.output <= 1:  # answers of one token have no time between tokens
        question = replace(question, targets=replace(question.targets, tpot_s=None))
    check_length(question.model, question.request(sizes, question.precisions[0], longest=True))
    ways, dropped = ways_of(question, offer, sizes, lambda what: tell(what, 0, 0))
    trials = Trials(question, sizes, question.traffic.rate, runner=runner, store=store)
    finder = Finder(question, sizes, trials, tell)
    finder.drop_early(dropped)
    screened = finder.screen(ways)
    finder.simulate(screened)
    tell("other batches", len(screened), len(screened))
    finder.vary()
    if question.limits.supply:
        mixed_fleets(finder)
    tell("lighter loads", len(screened), len(screened))
    finder.lighter()
    tell("all seeds", len(screened), len(screened))
    kept = finder.settle()
    tell("what would change it", len(screened), len(screened))
    return _answer(finder, kept, len(ways), len(screened))


def _answer(
    finder: Finder,
    kept: Sequence[Found],
    n_ways: int,
    n_screened: int,
) -> PlanSet:
    question, sizes = finder.question, finder.sizes
    rest = sorted(
        [*(found for found in finder.front if found not in kept), *finder.others], key=rank
    )
    plans = [*kept, *rest]
    what_ifs = what_ifs_of(question, sizes, kept, rest) if kept else ()
    bounds = [(way, stop.counts) for way, stop in finder.stopped if stop.stage == "bound"]
    sensitivity = sensitivity_of(question, sizes, kept, rest, bounds) if kept else ()
    return PlanSet(
        model=question.model.name,
        workload=question.traffic.description,
        rate=question.traffic.rate,
        context_tokens=question.context_tokens(sizes),
        prompt_tokens=sizes.prompt,
        output_tokens=sizes.output,
        targets=question.targets,
        limits=question.limits,
        seed=question.seed,
        pareto=tuple(found.plan for found in kept),
        others=tuple(found.plan for found in rest[:_OTHERS]),
        nearest=None if kept else nearest_plan(finder),
        dropped=finder.dropped,
        proof=_proof(finder, kept, n_ways, n_screened),
        what_ifs=what_ifs,
        sensitivity=sensitivity,
        assumptions=_assumptions(question, sizes, plans),
    )


def _proof(finder: Finder, kept: Sequence[Found], n_ways: int, n_screened: int) -> tuple[str, ...]:
    """Sentences on why the rest was dropped, with their numbers."""
    stages = Counter(each.stage for each in finder.dropped)
    question = finder.question
    seeds, requests = (
        question.replications,
        question.share(finder.sizes, question.traffic.rate)[0],
    )
    lines = [
        f"{n_ways:,} ways to serve were looked at: each chip and layout that holds the model, number types, prompts and "
        "tokens together or apart.",
        _if(
            stages["fit"],
            "left out: the chip or the way does not hold the model, or cannot hand over a cache.",
        ),
        _if(
            stages["target"],
            "left out: a target is missed with one user alone and nothing else to do, which no number of replicas mends.",
        ),
        _if(stages["limit"], "left out: a limit is broken, or cannot be said to be kept."),
        "The bound of a way: a steady mean number of users on each replica, every prompt in shared steps, nobody waits. "
        "A simulation adds chance and waiting to the same step times, so it takes at least as many replicas, "
        "chips, dollars and watts.",
        _if(n_screened, "taken up in the order of their bound."),
        _if(
            stages["bound"],
            "of them given up: at every number of replicas left to try a simulated plan is at least as good "
            "in dollars, speed, joules, watts and floor as the bound.",
        ),
        _if(
            stages["simulated"],
            "simulated, and no better than another plan in any figure, or short of the targets at every number of replicas "
            "tried.",
        ),
        f"Plans shown keep the targets with 95 % confidence over {seeds} seeds of {requests:,} requests."
        if kept
        else "",
    ]
    lines = [line for line in lines if line]
    return (*lines, *_how_sure(question, kept))


def _if(n: int, words: str) -> str:
    """`12 ways …`; nothing for none."""
    return f"{n:,} {words}" if n else ""


def _how_sure(question: Question, kept: Sequence[Found]) -> list[str]:
    """By how much the winner leads and keeps its targets, beside the error to expect; what nobody knows of LPUs."""
    lines = [_lead(kept), *_margins(question, kept[:1])]
    if any(part.pool.entry_ns == 0 and part.role == "both" for f in kept for part in f.way.parts):
        entries_ms = {part.pool.entry_ns / 1e6 for f in kept for part in f.way.parts} - {0.0}
        range_ms = (
            " to ".join(f"{ms:.3g}" for ms in sorted({min(entries_ms), max(entries_ms)}))
            if entries_ms
            else ""
        )
        beside = f" (engines of the other chips here: {range_ms} ms)" if range_ms else ""
        lines.append(
            f"First tokens of LPUs that read prompts themselves leave out receiving and tokenising{beside}: nobody has "
            "published it of LPUs."
        )
    return [line for line in lines if line]


def _lead(kept: Sequence[Found]) -> str:
    """The next of the set on other chips or layouts, and whether it costs more by more than the error to expect."""
    priced = [found for found in kept if found.plan.figures.usd_per_h]
    rivals = [found for found in priced[1:] if found.way.base != priced[0].way.base]
    if not rivals:
        return ""
    first, second = priced[0], rivals[0]
    a, b = first.plan.figures.usd_per_h or 0.0, second.plan.figures.usd_per_h or 0.0
    errors = [error for f in (first, second) if (error := f.plan.expected_error) is not None]
    gap, least = b / a - 1, max(errors, default=0.0)
    text = (
        f"The cheapest plan, {first.plan.id}, costs ${a:,.4g} an hour; the next of the set, {second.plan.id}, "
        f"${b:,.4g} ({100 * gap:.3g} % more)"
    )
    if len(errors) < 2:
        return f"{text}; how far off their paces may be is not known."
    if gap > least:
        return f"{text}, beyond the {100 * least:.0f} % that a pace is off by at the median."
    return f"{text}: less than the {100 * least:.0f} % that a pace is off by at the median, so the two are about equal."


def _margins(question: Question, winner: Sequence[Found]) -> list[str]:
    """Targets that the winner would miss, were it slower by the error to expect."""
    targets, lines = question.targets, []
    for found in winner:
        error, figures = found.plan.expected_error, found.plan.figures
        for words, most, at, measures in (
            ("first token", targets.ttft_s, targets.ttft_at, figures.ttft_s),
            ("time a token", targets.tpot_s, targets.tpot_at, figures.tpot_s),
            ("whole answer", targets.e2e_s, targets.e2e_at, figures.e2e_s),
        ):
            if most is None or error is None or at not in measures:
                continue
            left = 1 - measures[at].mean / most
            if measures[at].mean * (1 + error) > most:
                lines.append(
                    f"The cheapest plan's {words} ({at}) keeps {100 * max(left, 0):.2g} % of its target in hand, less than the "
                    f"{100 * error:.0f} % that such predictions are off by at the median: measure before it is signed for, "
                    "or ask for less."
                )
    return lines


def _assumptions(
    question: Question, sizes: Sizes, plans: Sequence[Found]
) -> tuple[tuple[str, str, str, str], ...]:
    """(what, value, kind, source): of the site, of prices and chips in the plans, of what their times rest on."""
    rows = list(question.site.assumptions)
    rows += [row for found in plans for part in found.way.parts for row in part.assumptions]
    _, share = question.share(sizes, question.traffic.rate)
    if share > 1:
        text = f"a {share:,}th of each fleet is simulated with a {share:,}th of the traffic"
        rows.append(
            (
                "simulated share",
                text,
                "assumed",
                "larger fleets wait less, so this is on the safe side",
            )
        )
    basis = sorted({part for found in plans for part in found.plan.basis})
    rows += [("basis", part.partition(": ")[2] or part, _kind_of(part), "") for part in basis]
    return tuple(dict.fromkeys(rows))


def _kind_of(basis: str) -> str:
    """published, measured, derived or assumed: fitted, simulated and roofline figures are derived."""
    head = basis.partition(":")[0].split("/")
    for kind in ("assumed", "measured", "published"):
        if kind in head:
            return kind
    return "derived"
