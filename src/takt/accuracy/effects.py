"""Fitting the named effects of `takt.perf`: ridge regression with robust weights.

The logarithm of measured ÷ computed is a sum of effects (`takt.perf.corrections`), each with a constant and
slopes. Every family of effects has a penalty of its own, the variance ratio of a random effect; rows far from
the fit count less (Huber). Folds hold back whole series, models or chips. Knows nothing of files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from takt.perf.corrections import FAMILIES, SLOPES, Situation

__all__ = ["Design", "design_of", "fit_effects", "folds_of", "held_out_residuals", "penalty"]

Floats = NDArray[np.float64]
_N = len(SLOPES)
# Residuals beyond this (a ratio of about 1.1) count by their size, not by their square.
_HUBER = 0.1
_REWEIGHTINGS = 3
_CG_STEPS = 80
_CG_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Rows as effects: a sparse matrix of [rows, names × slopes], and the family of each name."""

    names: tuple[str, ...]
    family: NDArray[np.int64]
    matrix: Any

    def penalties(self) -> Floats:
        """[names × slopes]: how strongly each effect is held towards nothing (`penalty`)."""
        table = np.asarray([penalty(fields) for fields in FAMILIES])
        ridge = np.repeat(table[self.family, 1], _N).reshape(-1, _N)
        ridge[:, 0] = table[self.family, 0]
        return ridge.ravel()


def penalty(fields: Sequence[str]) -> tuple[float, float]:
    """Penalties of a family's constants and slopes, in rows' worth of evidence.

    Chosen by the error on held-out configurations among a few orders of magnitude each: slopes are held five
    times as strongly as constants, effects of one figure three times as strongly as those of time, campaigns
    less, since they are few and known.
    """
    named = [field for field in fields if field != "figure"]
    strength = 1.0
    if len(named) >= 4:
        strength *= 2.0
    if "campaign" in named:
        strength *= 0.4
    if "figure" in fields:
        strength *= 3.0
    return 12.0 * strength, 60.0 * strength


def design_of(situations: Sequence[Situation], slopes: Floats) -> Design:
    """Number every effect that occurs; `slopes` is [rows, slopes]."""
    numbers: dict[str, int] = {}
    families: list[int] = []
    rows: list[int] = []
    columns: list[int] = []
    for row, situation in enumerate(situations):
        for family, name in situation.effects():
            number = numbers.setdefault(name, len(numbers))
            if number == len(families):
                families.append(family)
            rows.append(row)
            columns.append(number)
    at = np.asarray(rows)
    cells = (np.asarray(columns)[:, None] * _N + np.arange(_N)).ravel()
    matrix = sparse.csr_matrix(
        (slopes[at].ravel(), (np.repeat(at, _N), cells)),
        shape=(len(situations), len(numbers) * _N),
    )
    return Design(names=tuple(numbers), family=np.asarray(families), matrix=matrix)


def fit_effects(matrix: Any, target: Floats, ridge: Floats, start: Floats | None = None) -> Floats:
    """Effects that explain `target`: minimises Σ huber(target − Xb) + Σ ridge·b² by reweighted conjugate gradients."""
    effects = np.zeros(matrix.shape[1]) if start is None else start
    squares = matrix.multiply(matrix).T.tocsr()
    transposed = matrix.T.tocsr()
    for _ in range(_REWEIGHTINGS):
        residual = np.abs(target - matrix @ effects)
        w = _HUBER / np.maximum(residual, _HUBER)
        effects = _solve(matrix, transposed, w, ridge, squares @ w + ridge, target, effects)
    return effects


def _solve(
    matrix: Any,
    transposed: Any,
    w: Floats,
    ridge: Floats,
    diagonal: Floats,
    target: Floats,
    start: Floats,
) -> Floats:
    """Conjugate gradients on (XᵀWX + ridge) b = XᵀWy, preconditioned by the diagonal.

    Written out because scipy's own goes through threaded BLAS, which on few cores spends ten times as long
    waiting, and whose sums depend on the number of threads.
    """
    x = start
    residual = transposed @ (w * (target - matrix @ x)) - ridge * x
    direction = residual / diagonal
    rz = _dot(residual, direction)
    stop = _CG_TOLERANCE**2 * _dot(target * w, target)
    for _ in range(_CG_STEPS):
        if rz <= stop:
            break
        pushed = transposed @ (w * (matrix @ direction)) + ridge * direction
        step = rz / _dot(direction, pushed)
        x = x + step * direction
        residual = residual - step * pushed
        z = residual / diagonal
        rz, before = _dot(residual, z), rz
        direction = z + rz / before * direction
    return x


def _dot(a: Floats, b: Floats) -> float:
    return float(np.einsum("i,i", a, b))


def held_out_residuals(
    design: Design,
    target: Floats,
    groups: Sequence[str],
    n_folds: int,
    start: Floats | None = None,
) -> Floats:
    """Residual of each row under a fit without its group (series, model or chip)."""
    ridge = design.penalties()
    fold = folds_of(groups, n_folds)
    out = np.empty(len(target))
    for number in range(n_folds):
        held = np.flatnonzero(fold == number)
        kept = np.flatnonzero(fold != number)
        effects = fit_effects(design.matrix[kept], target[kept], ridge, start)
        # What the kept rows know nothing of is not known: its start must not leak in.
        seen = np.asarray(np.abs(design.matrix[kept]).sum(axis=0)).ravel() > 0
        out[held] = target[held] - design.matrix[held] @ np.where(seen, effects, 0.0)
    return out


def folds_of(groups: Sequence[str], n_folds: int) -> NDArray[np.int64]:
    """Fold of each row: whole groups, the largest first into the emptiest fold."""
    names, counts = np.unique(np.asarray(groups), return_counts=True)
    load = np.zeros(n_folds)
    fold: dict[str, int] = {}
    for i in np.lexsort((names, -counts)):
        emptiest = int(np.argmin(load))
        fold[str(names[i])] = emptiest
        load[emptiest] += counts[i]
    return np.asarray([fold[group] for group in groups])
