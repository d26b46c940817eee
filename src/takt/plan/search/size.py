"""How many replicas a way needs: fewest with which simulated percentiles keep the targets, then surely over several seeds.

Starts at the bound, grows until the targets are met, then closes in from below. One kind of replica is a search along a line;
prompts and tokens apart grow by whichever target is missed. Knows no money.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from takt.serving.outcome import Outcome

from ..plans import Targets
from .trial import Trials, missed, misses
from .ways import MOST_REPLICAS, Counts, Way

__all__ = ["Sized", "Stop", "confirm", "size"]

_GROWTH = (1.12, 1.12, 1.2, 1.3, 1.5)
_MOST_STEPS = 24
_MOST_RAISES = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sized:
    """Fewest replicas that met the targets under the seed of the search, with that run."""

    way: Way
    counts: Counts
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why no number of replicas was found, and the last that was tried."""

    reason: str
    stage: str
    counts: Counts
    outcome: Outcome | None


def size(
    trials: Trials, way: Way, least: Counts, given_up: Callable[[Counts], str | None]
) -> Sized | Stop:
    """The fewest replicas from `least` up. `given_up` says why so many replicas and more are not worth a simulation."""
    targets = trials.question.targets
    counts, failed = least, list(least)
    outcome: Outcome | None = None
    for step in range(_MOST_STEPS):
        reason = given_up(counts)
        if reason is not None:
            return Stop(reason=reason, stage="bound", counts=counts, outcome=outcome)
        if sum(counts) > MOST_REPLICAS:
            break
        outcome = trials.run(way, counts, trials.question.seed)
        wrong = missed(outcome, targets)
        if not wrong:
            return _fewest(trials, way, counts, least, tuple(failed), outcome)
        if "completed" in wrong and outcome.too_long:
            reason = f"{outcome.too_long:,} requests are longer than its cache"
            return Stop(reason=reason, stage="fit", counts=counts, outcome=outcome)
        growth = _GROWTH[min(step, len(_GROWTH) - 1)]
        grown = [_raised(n, growth) if i in _guilty(way, wrong) else n for i, n in enumerate(counts)]
        failed = [n + 1 if g > n else f for n, g, f in zip(counts, grown, failed, strict=True)]
        counts = tuple(grown)
    wrong_words = ", ".join(misses([outcome], targets)) if outcome else "too many replicas"
    return Stop(
        reason=f"no number of replicas to {counts} meets the targets: {wrong_words}",
        stage="simulated",
        counts=counts,
        outcome=outcome,
    )


def confirm(trials: Trials, way: Way, counts: Counts) -> tuple[Counts, list[Outcome], tuple[str, ...]]:
    """As many replicas as keep the targets with 95 % confidence over all seeds: (counts, runs, what is still missed)."""
    targets: Targets = trials.question.targets
    for _ in range(_MOST_RAISES):
        outcomes = [trials.run(way, counts, seed) for seed in trials.seeds()]
        wrong = misses(outcomes, targets)
        if not wrong:
            break
        names = {name for each in outcomes for name in missed(each, targets)}
        if not names:
            names = {"ttft", "tpot"}
        guilty = _guilty(way, tuple(names))
        counts = tuple(
            _raised(n, 1.02) if i in guilty else n for i, n in enumerate(counts)
        )
    return counts, outcomes, wrong


def _raised(n: int, growth: float) -> int:
    return max(n + 1, ceil(n * growth))


def _guilty(way: Way, wrong: tuple[str, ...]) -> set[int]:
    """Parts of which more would help: those that read for the first token, those that generate for the pace."""
    roles = [part.role for part in way.parts]
    if all(role == "both" for role in roles):
        return set(range(len(roles)))
    out: set[int] = set()
    if "ttft" in wrong:
        out |= {i for i, role in enumerate(roles) if role != "decode"}
    if "tpot" in wrong or "completed" in wrong:
        out |= {i for i, role in enumerate(roles) if role != "prompt"}
    return out or set(range(len(roles)))


def _fewest(
    trials: Trials, way: Way, counts: Counts, least: Counts, failed: Counts, outcome: Outcome
) -> Sized:
    """Each part in turn between the fewest not known to fail and what was met."""
    targets = trials.question.targets
    best, found = list(counts), outcome
    for i in range(len(counts)):
        low, high = max(least[i], failed[i]), best[i]
        while low < high:
            middle = (low + high) // 2
            tried = tuple([*best[:i], middle, *best[i + 1 :]])
            run = trials.run(way, tried, trials.question.seed)
            if missed(run, targets):
                low = middle + 1
            else:
                high, found = middle, run
        best[i] = high
    return Sized(way=way, counts=tuple(best), outcome=found)
