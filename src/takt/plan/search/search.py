"""A plan for a question: screen, simulate, compare, and say why the rest was dropped.

    search(question, Offer(accelerators=...)) -> PlanSet

Same question, same bytes: one seed, a fixed order, no clocks. Knows no files.
"""

from collections import Counter
from collections.abc import Callable, Sequence

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
    winner = kept[0] if kept else None
    plans = [*kept, *rest]
    what_ifs = what_ifs_of(question, sizes, plans, winner) if winner else ()
    bounds = [(way, stop.counts) for way, stop in finder.stopped if stop.stage == "bound"]
    sensitivity = sensitivity_of(question, sizes, plans, winner, bounds) if winner else ()
    return PlanSet(
        model=question.model.name,
        workload=question.traffic.description,
        rate=question.traffic.rate,
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
            "chips or ways do not hold the model, or cannot hand over a cache.",
        ),
        _if(
            stages["target"],
            "ways miss a target with one user alone and nothing else to do, which no number of replicas mends.",
        ),
        _if(stages["limit"], "ways break a limit."),
        "The bound of a way: a steady mean number of users on each replica, every prompt in shared steps, nobody waits. "
        "A simulation adds chance and waiting to the same step times, so it takes at least as many replicas, "
        "chips, dollars and watts.",
        _if(n_screened, "ways were taken up in the order of their bound."),
        _if(
            stages["bound"],
            "of them were given up because at every number of replicas left to try a simulated plan is at least as good "
            "in dollars, speed, joules, watts and floor as the bound.",
        ),
        _if(
            stages["simulated"],
            "were simulated and are no better than another plan in any figure, or meet the targets with no number of "
            "replicas.",
        ),
        f"Plans shown keep the targets with 95 % confidence over {seeds} seeds of {requests:,} requests."
        if kept
        else "",
    ]
    lines = [line for line in lines if line]
    hidden = _next_best(finder, kept)
    return (*lines, hidden) if hidden else tuple(lines)


def _if(n: int, words: str) -> str:
    """`12 ways …`; nothing for none."""
    return f"{n:,} {words}" if n else ""


def _next_best(finder: Finder, kept: Sequence[Found]) -> str | None:
    """The cheapest that was simulated after the winner, in words."""
    priced = [found for found in kept if found.plan.figures.usd_per_h is not None]
    if len(priced) < 2:
        return None
    first, second = priced[:2]
    a, b = first.plan.figures.usd_per_h or 0.0, second.plan.figures.usd_per_h or 0.0
    return (
        f"The cheapest plan, {first.plan.id}, costs ${a:,.4g} an hour; the next of the set, {second.plan.id}, "
        f"${b:,.4g} ({100 * (b / a - 1) if a else 0:.3g} % more)."
    )


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
