"""A plan for a question: screen, simulate, compare, and say why the rest was dropped.

    search(question, Offer(accelerators=...)) -> PlanSet

Same question, same bytes: one seed, a fixed order, no clocks. Knows no files.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from ..compare import check_length
from ..plans import Dropped, Plan, PlanSet
from .candidates import Offer, ways_of
from .finder import Finder, rank
from .question import Question
from .traffic import Sizes
from .trial import Trials

__all__ = ["search"]

Progress = Callable[[str, int, int], None]
_OTHERS = 40


def search(question: Question, offer: Offer, progress: Progress | None = None) -> PlanSet:
    """The plans that no other beats; `progress` hears (what, done, of how many).

    Raises UsageError where the model generates nothing or cannot hold the longest request.
    """
    tell = progress or (lambda what, done, of: None)
    sizes = question.sizes()
    check_length(question.model, question.request(sizes, question.precisions[0]))
    ways, dropped = ways_of(question, offer, sizes, lambda what: tell(what, 0, 0))
    finder = Finder(question, sizes, Trials(question, sizes, question.traffic.rate), tell)
    finder.dropped += dropped
    screened = finder.screen(ways)
    finder.simulate(screened)
    finder.vary()
    finder.lighter()
    return _answer(question, offer, sizes, finder, len(ways), len(screened))


def _answer(
    question: Question, offer: Offer, sizes: Sizes, finder: Finder, n_ways: int, n_screened: int
) -> PlanSet:
    kept = finder.settle()
    rest = [found for found in finder.front if found not in kept]
    others = sorted([*rest, *finder.others], key=rank)[:_OTHERS]
    pareto = tuple(found.plan for found in kept)
    return PlanSet(
        model=question.model.name,
        workload=question.traffic.description,
        rate=question.traffic.rate,
        prompt_tokens=sizes.prompt,
        output_tokens=sizes.output,
        targets=question.targets,
        limits=question.limits,
        seed=question.seed,
        pareto=pareto,
        others=tuple(found.plan for found in others),
        nearest=None,
        dropped=tuple(finder.dropped),
        proof=proof(finder, n_ways, n_screened),
        what_ifs=(),
        sensitivity=(),
        assumptions=(),
    )


def proof(finder: Finder, n_ways: int, n_screened: int) -> tuple[str, ...]:
    """Sentences on why the rest was dropped, with their numbers."""
    stages = Counter(each.stage for each in finder.dropped)
    return (
        f"{n_ways:,} ways to serve were looked at: chip, layout, number types, prompts and tokens together or apart.",
        f"{stages['fit']:,} chips or ways do not hold the model, {stages['target']:,} ways miss a target with one user alone, "
        f"{stages['limit']:,} break a limit with the fewest replicas.",
        f"{n_screened:,} were left; {stages['bound']:,} of these were given up because plans that were simulated are at least as "
        f"good in every figure as they can be, {stages['simulated']:,} because of their own simulation.",
    )
