"""Where no plan meets what was asked: the one that comes nearest, and by how much it misses.

First choice is a plan that keeps the targets and breaks only a limit, the cheapest of these; else the way whose single user comes
nearest to the targets, lightly loaded. Knows no reasons but numbers.
"""

from dataclasses import replace
from math import ceil

from ..plans import Plan
from .finder import Finder, plan_of
from .limits import beyond, beyond_supply
from .size import Sized, size
from .ways import MOST_REPLICAS, Counts, Way

__all__ = ["nearest_plan"]

_TRIED = 4
_LIGHT = 1.1  # times the pace of one user alone


def nearest_plan(finder: Finder) -> Plan | None:
    """The plan to show instead; None where not one way holds the model."""
    return _without_limits(finder) or _least_missed(finder)


def _without_limits(finder: Finder) -> Plan | None:
    """The cheapest plan that keeps the targets, limits left out, with the limits it breaks."""
    question, trials = finder.question, finder.trials
    wanted: list[tuple[Way, Counts]] = [(sized.way, sized.counts) for sized in finder.short]
    for way, _, _ in finder.limited:
        least = way.least(question.targets)
        if least is not None and sum(least) <= MOST_REPLICAS:
            wanted.append((way, least))
    found: list[tuple[float, int, str, Plan]] = []
    for way, least in sorted(wanted, key=_cost)[:_TRIED]:
        sized = size(trials, way, least, lambda counts: None)
        if not isinstance(sized, Sized):
            continue
        counts = sized.counts
        (runs,) = trials.every([(way, counts)])
        plan = plan_of(question, way, counts, runs)
        broken = (beyond(question.limits, way, counts), beyond_supply(question.limits, way, counts))
        misses = (*plan.misses, *(each for each in broken if each))
        plan = replace(plan, meets=not misses, misses=misses)
        found.append((*_cost((way, counts))[:2], plan.id, plan))
    return min(found, key=lambda each: each[:3])[3] if found else None


def _cost(pair: tuple[Way, Counts]) -> tuple[float, int, str]:
    way, counts = pair
    unpriced = sum(way.unpriced(counts).values())
    return (float("inf") if unpriced else way.usd_per_h(counts), unpriced, way.words)


def _least_missed(finder: Finder) -> Plan | None:
    """The way that misses the targets by the smallest factor, with few users on each replica."""
    ways = [*finder.slow, *(way for way, _ in finder.stopped)]
    scored = [(round(_missed_by(finder, way), 3), way) for way in ways]
    if not scored:
        return None
    ranked = sorted(scored, key=lambda each: (each[0], _chips(each[1]), each[1].words))
    for _, way in ranked[:_TRIED]:
        counts = _light(way)
        if sum(counts) <= MOST_REPLICAS:
            (runs,) = finder.trials.every([(way, counts)])
            return plan_of(finder.question, way, counts, runs)
    return None


def _missed_by(finder: Finder, way: Way) -> float:
    targets = finder.question.targets
    factors = [1.0]
    if targets.tpot_s is not None:
        factors.append(way.alone_s / targets.tpot_s)
    if targets.ttft_s is not None:
        factors.append(way.first_s / targets.ttft_s)
    if targets.e2e_s is not None:
        factors.append((way.first_s + way.output * way.alone_s) / targets.e2e_s)
    return max(factors)


def _light(way: Way) -> Counts:
    """Replicas with which tokens take hardly longer than for one user alone."""
    counts = []
    for part in way.parts:
        pace_s = None if part.role == "prompt" else float(part.reach.pace_s[0]) * _LIGHT
        counts.append(max(1, ceil(way.rate / max(part.reach.most_rate(pace_s), 1e-9))))
    return tuple(counts)


def _chips(way: Way) -> int:
    return sum(way.chips(_light(way)).values())
