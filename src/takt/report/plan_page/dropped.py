"""Why the other candidates fell: how many at each stage, and the reasons."""

from dataclasses import dataclass

from takt.plan.plans import Dropped, PlanSet

__all__ = ["Stage", "stages_of"]

_MOST_REASONS = 100  # listed for a stage; the JSON has all
_STAGES = (
    ("fit", "does not fit", "the weights and one user need more memory than there is"),
    ("target", "too slow", "cannot meet a target at any load"),
    ("limit", "over a limit", "needs more chips, money or power than allowed"),
    ("bound", "cannot win", "its best case is worse than a plan that was found"),
    ("simulated", "simulated", "fell in the simulation"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Candidates that fell at one stage. `bar`: percent of the largest stage; `more`: how many are not listed."""

    name: str
    meaning: str
    count: int
    bar: float
    listed: tuple[Dropped, ...]
    more: int


def stages_of(plans: PlanSet) -> tuple[Stage, ...]:
    """The stages at which candidates fell, in the order of the search."""
    by_stage = {key: [d for d in plans.dropped if d.stage == key] for key, _, _ in _STAGES}
    most = max((len(fallen) for fallen in by_stage.values()), default=0)
    return tuple(
        Stage(
            name=name,
            meaning=meaning,
            count=len(by_stage[key]),
            bar=round(100 * len(by_stage[key]) / most, 1),
            listed=tuple(by_stage[key][:_MOST_REASONS]),
            more=max(0, len(by_stage[key]) - _MOST_REASONS),
        )
        for key, name, meaning in _STAGES
        if by_stage[key]
    )
