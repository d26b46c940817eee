"""How far predictions are from measurements: median and 90th percentile of the absolute error, and bias."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.perf.corrections import FIGURES, Figure

from .observe import Observation

__all__ = ["Metric", "grouped_metrics", "metrics", "ratios"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Of `n` figures: |predicted ÷ measured − 1| at the median and the 90th percentile; bias is the median of the signed one."""

    n: int
    median_abs_error: float
    p90_abs_error: float
    bias: float


def ratios(rows: Sequence[Observation], predicted: Floats) -> Floats:
    """Predicted ÷ measured of each row's own figure: rates as rates, times as times."""
    over = predicted - np.asarray([row.measured for row in rows])
    is_rate = np.asarray([row.figure == "throughput" for row in rows], dtype=bool)
    return np.asarray(np.exp(np.where(is_rate, -over, over)))


def metrics(rows: Sequence[Observation], ratio: Floats) -> dict[Figure, Metric]:
    """One metric a figure that occurs."""
    found: dict[Figure, Metric] = {}
    for figure in FIGURES:
        error = np.asarray(
            [r - 1.0 for row, r in zip(rows, ratio, strict=True) if row.figure == figure]
        )
        if len(error):
            found[figure] = Metric(
                n=len(error),
                median_abs_error=float(np.median(np.abs(error))),
                p90_abs_error=float(np.quantile(np.abs(error), 0.9)),
                bias=float(np.median(error)),
            )
    return found


def grouped_metrics(
    rows: Sequence[Observation], ratio: Floats, key: Callable[[Observation], tuple[str, ...]]
) -> dict[tuple[str, ...], dict[Figure, Metric]]:
    """Metrics of the rows that share a key, keys in order."""
    members: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        members[key(row)].append(i)
    return {
        name: metrics([rows[i] for i in index], ratio[index])
        for name, index in sorted(members.items())
    }
