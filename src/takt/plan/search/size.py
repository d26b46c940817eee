"""How many replicas a way needs: fewest with which simulated percentiles keep the targets, then surely over several seeds.

Starts at the bound, grows until the targets are met, then closes in from below. One kind of replica is a search along a line;
prompts and tokens apart grow by whichever target is missed. Knows no money.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from ..plans import Targets
from .trial import Run, Trials, missed, misses
from .ways import MOST_REPLICAS, Counts, Way

__all__ = ["Sized", "Stop", "raised", "size"]

_GROWTH = (1.12, 1.12, 1.2, 1.3, 1.5)
_MOST_STEPS = 24
_LITTLE = 1.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sized:
    """Fewest replicas that met the targets under the seed of the search, with that run."""

    way: Way
    counts: Counts
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why no number of replicas was found, and the last that was tried."""

    reason: str
    stage: Literal["fit", "bound", "simulated"]
    counts: Counts
    run: Run | None


def size(
    trials: Trials, way: Way, least: Counts, given_up: Callable[[Counts], str | None]
) -> Sized | Stop:
    """The fewest replicas from `least` up. `given_up` says why so many replicas and more are not worth a simulation."""
    targets = trials.question.targets
    counts, failed = least, list(least)
    run: Run | None = None
    for step in range(_MOST_STEPS):
        reason = given_up(counts)
        if reason is not None:
            return Stop(reason=reason, stage="bound", counts=counts, run=run)
        if sum(counts) > MOST_REPLICAS:
            break
        run = trials.run(way, counts, trials.question.seed)
        wrong = missed(run, targets)
        if not wrong:
            return _fewest(trials, way, counts, least, tuple(failed), run)
        if "completed" in wrong and run.too_long:
            reason = f"{run.too_long:,} requests are longer than its cache"
            return Stop(reason=reason, stage="fit", counts=counts, run=run)
        growth = _GROWTH[min(step, len(_GROWTH) - 1)]
        grown = [
            _raised(n, growth) if i in _guilty(way, wrong) else n for i, n in enumerate(counts)
        ]
        failed = [n + 1 if g > n else f for n, g, f in zip(counts, grown, failed, strict=True)]
        counts = tuple(grown)
    wrong_words = ", ".join(misses([run], targets)) if run else "too many replicas"
    return Stop(
        reason=f"no number of replicas to {counts} meets the targets: {wrong_words}",
        stage="simulated",
        counts=counts,
        run=run,
    )


def raised(way: Way, counts: Counts, runs: Sequence[Run], targets: Targets) -> Counts:
    """A little more of the parts that would help with what some seed missed."""
    names = {name for run in runs for name in missed(run, targets)} or {"ttft", "tpot"}
    guilty = _guilty(way, tuple(names))
    return tuple(_raised(n, _LITTLE) if i in guilty else n for i, n in enumerate(counts))


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
    trials: Trials, way: Way, counts: Counts, least: Counts, failed: Counts, run: Run
) -> Sized:
    """Each part in turn between the fewest not known to fail and what was met."""
    targets = trials.question.targets
    best, found = list(counts), run
    for i in range(len(counts)):
        low, high = max(least[i], failed[i]), best[i]
        while low < high:
            middle = (low + high) // 2
            tried = (*best[:i], middle, *best[i + 1 :])
            again = trials.run(way, tried, trials.question.seed)
            if missed(again, targets):
                low = middle + 1
            else:
                high, found = middle, again
        best[i] = high
    return Sized(way=way, counts=tuple(best), run=found)
