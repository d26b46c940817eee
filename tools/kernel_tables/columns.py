"""Columns of the raw files, and the choices that all readers make alike.

- Several kernels of one engine for one call: the fastest counts, as engines choose by such tables themselves.
- Several versions of an engine: the newest that has the table counts.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import csv

from takt.perf.kernels.work import Work

from .samples import Key, Samples

__all__ = [
    "CHIPS",
    "Found",
    "Table",
    "each",
    "fastest",
    "newest",
    "read_columns",
    "rows_where",
    "samples_of",
    "version_key",
]

Table = dict[str, NDArray]  # type: ignore[type-arg]
Found = Iterator[tuple[Key, Samples]]

# The chip of the catalogue that each device of the raw files is.
CHIPS = {
    "a100_sxm": "a100-sxm",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200-sxm",
    "b300_sxm": "b300-sxm",
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000",
    "b60": "arc-b60",
    "MI300X/MI325X": "mi300x",
    "MI308X": "mi308x",
    "MI350X/MI355X": "mi355x",
    "a100": "a100-sxm",
    "a40": "a40",
    "h100": "h100-sxm",
    "RTX4090": "rtx-4090",
    "RTX3090": "rtx-3090",
    "A6000": "rtx-a6000",
    "H100": "h100-sxm",
    "RTXPRO6000": "rtx-pro-6000",
    "TPU-v6e-1": "tpu-v6e",
    "H800": "h800",
    "Google TPU7x (1 of 2 chiplets per chip)": "tpu7x",
    "AWS Trainium3 (2 of 8 NeuronCores, LNC2)": "trainium3",
    "a100_dgx": "a100-sxm",
    "h100_dgx": "h100-sxm",
    "a40_pairwise_nvlink": "a40",
}


def read_columns(path: Path) -> Table:
    """Columns of a CSV file, gz or not, as numpy arrays; texts as str."""
    table = csv.read_csv(path)
    columns = {}
    for name in table.column_names:
        column = table[name].to_numpy(zero_copy_only=False)
        columns[name] = column.astype(str) if column.dtype == object else column
    return columns


def rows_where(table: Table, keep: NDArray[np.bool_]) -> Table:
    """The rows for which `keep` holds."""
    return {name: column[keep] for name, column in table.items()}


def version_key(text: str) -> tuple[int, ...]:
    """`1.3.0rc20` after `1.3.0rc15` after `0.24.0`."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def newest(table: Table, by: tuple[str, ...]) -> Table:
    """Rows of the newest engine version for each combination of `by`; older ones where no newer has the table."""
    labels = np.array(
        ["|".join(row) for row in zip(*(table[c].astype(str) for c in by), strict=True)]
    )
    keep = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        here = labels == label
        versions = np.unique(table["framework_version"][here].astype(str))
        keep |= here & (table["framework_version"].astype(str) == max(versions, key=version_key))
    return rows_where(table, keep)


def fastest(work: Work, seconds: NDArray, groups: NDArray, source: str) -> Samples:  # type: ignore[type-arg]
    """One sample a point and group: the least time among kernels for the same call."""
    points = np.stack([*np.broadcast_arrays(*work.at), work.n_bytes, work.n_ops], axis=1)
    _, place = np.unique(np.round(points, 6), axis=0, return_inverse=True)
    order = np.lexsort((seconds, place))
    first = order[np.unique(place[order], return_index=True)[1]]
    full = Samples(work=work, seconds=seconds, groups=groups, source=source)
    return full.take(np.sort(first))


def each(table: Table, *columns: str) -> Iterator[tuple[tuple[str, ...], Table]]:
    """Parts of a table with equal values in `columns`."""
    parts = defaultdict(list)
    for index, values in enumerate(zip(*(table[c] for c in columns), strict=True)):
        parts[tuple(str(value) for value in values)].append(index)
    for values in sorted(parts):
        yield values, {name: column[parts[values]] for name, column in table.items()}


def samples_of(work: Work, part: Table, column: str, unit: float, source: str) -> Samples:
    groups = part["model_shape"] if "model_shape" in part else np.full(len(part[column]), "")
    return fastest(work, part[column].astype(float) * unit, groups.astype(str), source)
