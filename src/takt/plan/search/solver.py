"""How many replicas of each kind: the cheapest numbers that serve a rate within limits, by an exact integer solver.

Needs OR-tools (the extra `plan`), which is imported only when a mixture is asked for. Knows rates, dollars, watts and
chips; nothing of simulations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

from takt.errors import UnsupportedError

from ..plans import Limits

__all__ = ["Kind", "solve"]

_SCALE = 1_000_000  # rates and dollars as integers: a millionth is finer than any price
_MOST = 65_536
_MOST_S = 20.0  # far beyond what a dozen kinds take; a cut here is an error, not an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of replica: requests/s that one serves, its cost, watts (None: unknown) and chips by id."""

    rate: float
    usd_per_h: float
    meter_w: float | None
    chips: Mapping[str, int]


def solve(kinds: Sequence[Kind], rate: float, limits: Limits) -> tuple[int, ...] | None:
    """Numbers of each kind that serve `rate` for the least money; None where the limits leave none.

    Of equally cheap ones the one with fewest chips. UnsupportedError without OR-tools.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise UnsupportedError(
            "limits on supply need OR-tools", hint="pip install 'takt-lpu[plan]'"
        ) from error
    model = cp_model.CpModel()
    counts = [
        model.new_int_var(0, _most(kind, rate, limits), f"n{i}") for i, kind in enumerate(kinds)
    ]
    pairs = list(zip(kinds, counts, strict=True))
    model.add(sum(floor(kind.rate * _SCALE) * n for kind, n in pairs) >= ceil(rate * _SCALE))
    for chip, most in sorted(limits.supply.items()):
        used = [(kind.chips[chip], n) for kind, n in pairs if chip in kind.chips]
        if used:
            model.add(sum(each * n for each, n in used) <= most)
    n_chips = sum(sum(kind.chips.values()) * n for kind, n in pairs)
    cost = sum(ceil(kind.usd_per_h * _SCALE) * n for kind, n in pairs)
    if limits.chips is not None:
        model.add(n_chips <= limits.chips)
    if limits.usd_per_h is not None:
        model.add(cost <= floor(limits.usd_per_h * _SCALE))
    if limits.mw is not None:
        model.add(sum(ceil(kind.meter_w or 0.0) * n for kind, n in pairs) <= floor(limits.mw * 1e6))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1  # more would race for equally good answers
    solver.parameters.random_seed = 0
    solver.parameters.max_time_in_seconds = _MOST_S
    # Cost first, then chips: a second solve with the least cost as a limit.
    model.minimize(cost)
    if solver.solve(model) != cp_model.OPTIMAL:
        return None
    model.add(cost <= round(solver.objective_value))
    model.minimize(n_chips)
    if solver.solve(model) != cp_model.OPTIMAL:
        return None
    return tuple(int(solver.value(n)) for n in counts)


def _most(kind: Kind, rate: float, limits: Limits) -> int:
    """Never more than serve everything alone, nor than there are."""
    most = min(ceil(rate / kind.rate), _MOST)
    for chip, each in kind.chips.items():
        if chip in limits.supply:
            most = min(most, limits.supply[chip] // each)
    return max(most, 0)
