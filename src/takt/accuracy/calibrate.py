"""Finding engine parameters from a user's own measurements: few numbers, pulled towards 1, judged on rows left out.

Each engine on each chip gets one set of `Parameters`, by least squares in logarithms with robust weights (Huber)
and a prior: parameters that the rows say nothing of stay where they were. The error after is that of rows that the
fit did not see (five folds, or one row at a time). Knows no files.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.perf.corrections import Figure

from .calibration import (
    Calibration,
    Parameters,
    Parts,
    calibrated,
    calibration_text,
    load_calibration,
    parts_of,
)
from .compute import Computed
from .metrics import Metric, metrics, ratios
from .observe import Observation, observations

__all__ = [
    "MIN_ROWS",
    "Calibrated",
    "Calibration",
    "Fitted",
    "Parameters",
    "calibrate",
    "calibrated",
    "calibration_text",
    "load_calibration",
]

Floats = NDArray[np.float64]
MIN_ROWS = 5
"""Fewest rows of one engine on one chip: as many as there are parameters."""
_N_FOLDS = 5
_FEW_ROWS = 10  # up to here rows are left out one at a time
# Size of errors to expect (a ratio of about 1.1): beyond, a row counts by its distance, not by its square.
_NOISE = 0.1
# How far parameters usually are from 1 (logarithms) or 0 (ms), in the order of _vector.
_PRIOR = np.asarray([0.3, 1.0, 0.5, 0.7, 0.3])
_LOWEST = np.asarray([-3.0, 0.0, -3.0, -3.0, -3.0])
_HIGHEST = np.asarray([3.0, 1e3, 3.0, 3.0, 3.0])
_STEPS, _HALVINGS, _DIFFERENCE = 30, 8, 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Parameters of one engine on one chip, and the rows and figures they were fitted to."""

    engine: str
    chip: str
    rows: int
    figures: int
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A fit and its errors: `before` without it, `held_out` on rows it did not see, `after` on those it saw.

    `left_alone`: (engine, chip, rows) with too few rows to fit anything; not in the errors. `folds`: into how many
    parts rows were divided for `held_out`, at most.
    """

    fitted: tuple[Fitted, ...]
    left_alone: tuple[tuple[str, str, int], ...]
    folds: int
    before: dict[Figure, Metric]
    held_out: dict[Figure, Metric]
    after: dict[Figure, Metric]

    def calibration(self, source: str) -> Calibration:
        """To be written to a file; `source` says what it was fitted to."""
        by_key = {(one.engine, one.chip): one.parameters for one in self.fitted}
        return Calibration(parameters=by_key, source=source)


def calibrate(computed: Sequence[Computed]) -> Calibrated:
    """Fit each engine on each chip that has MIN_ROWS rows or more.

    Raises UsageError if none has, with how many each would need.
    """
    counts = Counter(_key(item) for item in computed if observations([item]))
    enough = {key for key, count in counts.items() if count >= MIN_ROWS}
    few = tuple((*key, counts[key]) for key in sorted(counts) if key not in enough)
    if not enough:
        raise _too_few(few)
    rows = [row for row in observations(computed) if _key(row.computed_case) in enough]
    parts = parts_of(rows)
    measured = np.asarray([row.measured for row in rows])
    held_out, after = parts.logs.copy(), parts.logs.copy()
    fitted: list[Fitted] = []
    folds = 0
    for key in sorted(enough):
        index = np.asarray([i for i, row in enumerate(rows) if _key(row.computed_case) == key])
        own = parts.take(index)
        found = _fit(own, measured[index])
        fold = _folds([rows[i] for i in index])
        after[index] = own.predicted(found)
        held_out[index] = _left_out(own, measured[index], fold)
        folds = max(folds, int(fold.max()) + 1)
        size = {"rows": counts[key], "figures": len(index)}
        fitted.append(Fitted(engine=key[0], chip=key[1], parameters=found, **size))
    return Calibrated(
        fitted=tuple(fitted),
        left_alone=few,
        folds=folds,
        before=metrics(rows, ratios(rows, parts.logs)),
        held_out=metrics(rows, ratios(rows, held_out)),
        after=metrics(rows, ratios(rows, after)),
    )


def _key(item: Computed) -> tuple[str, str]:
    return item.situation.engine, item.situation.chip


def _too_few(few: Sequence[tuple[str, str, int]]) -> UsageError:
    if not few:
        return UsageError(
            "no row of these files has an answer to calibrate",
            hint="`takt accuracy` on the same files says why",
        )
    listed = ", ".join(f"{engine} on {chip} has {rows}" for engine, chip, rows in few[:5])
    return UsageError(
        f"too few rows to calibrate: {listed}; at least {MIN_ROWS} of one engine on one chip are needed",
        hint="measure more loads or lengths, or give several files",
    )


def _folds(rows: Sequence[Observation]) -> NDArray[np.int64]:
    """Fold of each figure: all of one configuration together, neighbours in load apart."""
    members: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        case = row.computed_case.case
        name = (row.situation.model, row.situation.weights, row.situation.split, case.load)
        sizes = (case.concurrency, case.rate_per_s, case.prompt_tokens, case.output_tokens)
        members[(*name, *(value or 0.0 for value in sizes))].append(i)
    n_folds = len(members) if len(members) <= _FEW_ROWS else _N_FOLDS
    fold = np.empty(len(rows), dtype=np.int64)
    for number, key in enumerate(sorted(members)):
        fold[members[key]] = number % n_folds
    return fold


def _left_out(parts: Parts, measured: Floats, fold: NDArray[np.int64]) -> Floats:
    out = np.empty(len(measured))
    for number in range(int(fold.max()) + 1):
        held, kept = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        found = _fit(parts.take(kept), measured[kept]) if len(kept) else Parameters()
        out[held] = parts.take(held).predicted(found)
    return out


def _parameters(vector: Floats) -> Parameters:
    decode, added, prompt, waiting, power = vector
    return Parameters(
        decode_factor=float(np.exp(decode)),
        added_ms=float(added),
        prompt_factor=float(np.exp(prompt)),
        waiting_factor=float(np.exp(waiting)),
        power_factor=float(np.exp(power)),
    )


def _fit(parts: Parts, measured: Floats) -> Parameters:
    """Gauss-Newton with reweighting: minimises Σ huber(left ÷ noise) + Σ (parameter ÷ prior)²."""
    vector = np.zeros(len(_PRIOR))
    cost = _cost(parts, measured, vector)
    for _ in range(_STEPS):
        left = measured - parts.predicted(_parameters(vector))
        weight = 1.0 / np.maximum(np.abs(left) / _NOISE, 1.0)
        slope = _slopes(parts, vector)
        weighted = slope.T * (weight / _NOISE**2)
        normal = weighted @ slope + np.diag(_PRIOR**-2.0)
        step = _step(normal, weighted @ left - vector / _PRIOR**2, vector)
        for halving in range(_HALVINGS):
            trial = np.clip(vector + step * 0.5**halving, _LOWEST, _HIGHEST)
            trial_cost = _cost(parts, measured, trial)
            if trial_cost < cost:
                break
        else:
            break
        done = cost - trial_cost < 1e-9 * cost
        vector, cost = trial, trial_cost
        if done:
            break
    return _parameters(vector)


def _step(normal: Floats, downhill: Floats, vector: Floats) -> Floats:
    """The step to the minimum of the quadratic, along its bounds where it would leave them."""
    free = np.ones(len(vector), dtype=bool)
    while True:
        step = np.zeros(len(vector))
        step[free] = np.linalg.solve(normal[np.ix_(free, free)], downhill[free])
        out = free & (((vector <= _LOWEST) & (step < 0.0)) | ((vector >= _HIGHEST) & (step > 0.0)))
        if not out.any():
            return step
        free &= ~out


def _cost(parts: Parts, measured: Floats, vector: Floats) -> float:
    size = np.abs(measured - parts.predicted(_parameters(vector))) / _NOISE
    huber = np.where(size <= 1.0, size**2, 2.0 * size - 1.0)
    return float(huber.sum() + ((vector / _PRIOR) ** 2).sum())


def _slopes(parts: Parts, vector: Floats) -> Floats:
    """[rows, parameters] of the predicted logarithms."""
    base = parts.predicted(_parameters(vector))
    columns = []
    for i in range(len(vector)):
        moved = vector.copy()
        moved[i] += _DIFFERENCE
        columns.append((parts.predicted(_parameters(moved)) - base) / _DIFFERENCE)
    return np.stack(columns, axis=1)
