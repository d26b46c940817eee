"""Judging corrections on rows that they were not fitted to: fits without a series, a model or a chip.

Needs scipy (the extra `fit`). `held_out_logs` gives each row the prediction of a fit that never saw its group;
`judged` does so in every way there is. Knows neither files nor text.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.perf.corrections import shipped_corrections

from .effects import design_of, held_out_residuals
from .held_out import HeldOut, save_held_out
from .metrics import metrics, ratios
from .observe import Observation, predicted_logs, slopes_of

__all__ = [
    "LEFT_OUT",
    "groups_of",
    "held_out_logs",
    "held_out_of",
    "judged",
    "save_held_out",
]

Floats = NDArray[np.float64]
LEFT_OUT = ("series", "model", "chip")
_PLURAL = {"series": "series", "model": "models", "chip": "chips"}
_N_FOLDS = 5
# What makes a series, whatever campaign measured it: files repeat each other's rows.
_SERIES = ("engine", "chip", "model", "weights", "mode", "split")


def groups_of(rows: Sequence[Observation], left_out: str) -> list[str]:
    """The group of each row that is left out as a whole."""
    fields = _SERIES if left_out == "series" else (left_out,)
    return [" ".join(getattr(row.situation, field) for field in fields) for row in rows]


def held_out_logs(
    rows: Sequence[Observation],
    left_out: str,
) -> Floats:
    """Predicted logarithm of each row, corrected by a fit to the rows of other groups among these.

    Raises UsageError if there are no two groups.
    """
    design = design_of([row.situation for row in rows], slopes_of(rows))
    measured = np.asarray([row.measured for row in rows])
    target = measured - np.asarray([row.computed for row in rows])
    groups = groups_of(rows, left_out)
    n_folds = min(_N_FOLDS, len(set(groups)))
    if n_folds < 2:
        raise UsageError(f"rows of at least two {_PLURAL[left_out]} are needed to leave one out")
    residual = held_out_residuals(design, target, groups, n_folds)
    return np.asarray(measured - residual)


def judged(
    rows: Sequence[Observation], progress: Callable[[int, int], None] | None = None
) -> dict[str, Floats]:
    """Predicted logarithms by way (`held_out.WAYS`); `fitted` are those of the shipped corrections."""
    found: dict[str, Floats] = {"computed": np.asarray([row.computed for row in rows])}
    for done, left_out in enumerate(LEFT_OUT):
        if progress is not None:
            progress(done, len(LEFT_OUT))
        found[left_out] = held_out_logs(rows, left_out)
    return found | {"fitted": predicted_logs(rows, shipped_corrections())}


def held_out_of(rows: Sequence[Observation], predicted: dict[str, Floats]) -> HeldOut:
    """One metric for each way and figure."""
    return {way: metrics(rows, ratios(rows, logs)) for way, logs in predicted.items()}
