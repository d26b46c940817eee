"""What a model without a schedule in the table would take on an LPU: fitted on the schedules there are, from sizes alone.

Three small laws, each a non-negative sum of terms with a meaning, fitted to relative errors over all rows of one system:
chips follow from the bytes of weights and caches; cycles of a step from its chains (one a layer), the weights and keys that a
chip streams, and the moves between stages; the interval is the mean stage times a factor. The error is that of
models that the fit has not seen. Does not know the compiler.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from takt.chips import System
from takt.errors import UnsupportedError
from takt.models.outlines import Outline, outline_of

from .estimate import Floats
from .lpu_table import StepRow, load_rows

__all__ = ["SizeLaw", "guessed_row", "size_law"]

_LEAST_ROWS = 6
_KV_BYTES = 2.0
_WEIGHT_BYTES = {"int8": 1.0, "fp16": 2.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLaw:
    """Coefficients of one system's laws; `machine` is the digest of what its schedules were made for.

    `step_error`, `chips_error`: median relative error on models left out of the fit; `context_error`: on the longest contexts, when
    left out.
    """

    system: str
    machine: str
    n_rows: int
    group: int
    bound_ratio: float
    chips: tuple[float, ...]
    step: tuple[float, ...]
    interval: float
    joule: float
    step_error: float
    chips_error: float
    context_error: float
    longest_context: int


@cache
def size_law(system: str, chip: str) -> SizeLaw:
    """The laws of a system of the table, else of the table's systems of that chip.

    UnsupportedError where there are too few rows to fit them.
    """
    rows = [row for row in load_rows() if row.system == system]
    rows = rows or [row for row in load_rows() if row.chip == chip]
    if len(rows) < _LEAST_ROWS:
        raise UnsupportedError(
            f"{system}: {len(rows)} schedules of {chip} in the table, too few to judge a model by",
            hint="compile the model: takt compile MODEL --system ID, or exact=True",
        )
    models = [outline_of(row.models[0]) for row in rows]
    pairs = list(zip(rows, models, strict=True))
    need = np.array([row.chips for row in rows], np.float64)
    tokens = [(row, model, i) for row, model in pairs for i in range(len(row.positions))]
    took = np.array([row.step_cycles[i] for row, _, i in tokens], np.float64)
    spaces = np.array([space_terms(m, r.weights, r.context, r.users) for r, m in pairs])
    terms = np.array(
        [step_terms(m, r.weights, r.positions[i], r.group, r.stages) for r, m, i in tokens]
    )
    pace = [r.interval_cycles[-1] * r.stages / r.step_cycles[-1] for r in rows]
    joules = [r.active_j[-1] / m.n_active_parameters for r, m in pairs]
    return SizeLaw(
        system=rows[0].system,
        machine=rows[0].machine,
        n_rows=len(rows),
        group=int(np.percentile([row.group for row in rows], 50, method="lower")),
        bound_ratio=float(np.median([r.step_cycles[-1] / r.bound_cycles[-1] for r in rows])),
        chips=tuple(_fit(spaces, need).tolist()),
        step=tuple(_fit(terms, took).tolist()),
        interval=float(np.median(pace)),
        joule=float(np.median(joules)),
        step_error=_left_out(terms, took, [row.models[0] for row, _, _ in tokens]),
        chips_error=_left_out(spaces, need, [row.models[0] for row in rows]),
        context_error=max(
            _beyond(terms, took, [row.context for row, _, _ in tokens]),
            _beyond(spaces, need, [row.context for row in rows]),
        ),
        longest_context=max(row.context for row in rows),
    )


def guessed_row(
    model: Outline, system: System, *, chips: int, weights: str, context: int, users: int
) -> StepRow:
    """A row as the table would have it, from sizes. `chips` 0: as many as the law says."""
    law = size_law(system.id, system.chip.id)
    needed = int(np.ceil(space_terms(model, weights, context, users) @ np.array(law.chips)))
    group = min(law.group, max(1, chips or needed))
    held = max(chips, -(-needed // group) * group)
    stages = max(1, min(needed, held) // group)
    positions = (0, context - 1) if context > 1 else (0,)
    steps = [
        float(step_terms(model, weights, p, group, stages) @ np.array(law.step)) for p in positions
    ]
    return StepRow(
        models=(model.name,),
        system=system.id,
        chip=system.chip.id,
        weights=weights,
        group=group,
        stages=stages,
        chips=held,
        context=context,
        users=users,
        max_users=users,
        positions=positions,
        step_cycles=tuple(round(step) for step in steps),
        bound_cycles=tuple(round(step / law.bound_ratio) for step in steps),
        interval_cycles=tuple(round(step * law.interval / stages) for step in steps),
        active_j=tuple(law.joule * model.n_active_parameters for _ in steps),
        ffn_cycles=0,
        vocab_size=model.vocab_size,
        n_layers=model.n_layers,
        sizes="",
        machine="",
    )


def space_terms(model: Outline, weights: str, context: int, users: int) -> Floats:
    """Gigabytes of weights and of all users' caches."""
    stored = model.n_parameters * _WEIGHT_BYTES[weights]
    caches = users * model.kv_bytes(context, _KV_BYTES)
    return np.array([stored, caches]) / 1e9


def step_terms(model: Outline, weights: str, position: int, group: int, stages: int) -> Floats:
    """Layers, megabytes of weights and of cached keys and values that one chip of a group streams, experts met, stages."""
    active = model.n_active_parameters * _WEIGHT_BYTES[weights]
    cached = model.kv_bytes(position + 1, _KV_BYTES)
    met = sum(each.count * each.ffn.top_k for each in model.groups)
    return np.array([model.n_layers, active / group / 1e6, cached / group / 1e6, met, stages])


def _fit(terms: Floats, values: Floats) -> Floats:
    """Non-negative coefficients with the least squared relative error: the active set shrinks until none is negative."""
    relative = terms / values[:, None]
    active = np.ones(terms.shape[1], bool)
    out = np.zeros(terms.shape[1])
    while active.any():
        found = np.linalg.lstsq(relative[:, active], np.ones(len(values)), rcond=None)[0]
        if np.all(found >= 0):
            out[active] = found
            break
        active[np.flatnonzero(active)[int(np.argmin(found))]] = False
    return out


def _left_out(terms: Floats, values: Floats, names: Sequence[str]) -> float:
    """Median relative error on each model's rows when they are left out of the fit."""
    errors: list[float] = []
    every = np.array(names)
    for name in dict.fromkeys(names):
        out = every == name
        if out.all():
            continue
        guessed = terms[out] @ _fit(terms[~out], values[~out])
        errors += list(np.abs(guessed / values[out] - 1))
    return float(np.median(errors)) if errors else 1.0


def _beyond(terms: Floats, values: Floats, contexts: Sequence[int]) -> float:
    """Median relative error on the longest contexts when the fit has seen only shorter ones; 1 if all are alike."""
    longest = np.array(contexts) == max(contexts)
    if longest.all():
        return 1.0
    guessed = terms[longest] @ _fit(terms[~longest], values[~longest])
    return float(np.median(np.abs(guessed / values[longest] - 1)))
