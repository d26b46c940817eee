"""The columns of all tiles as the matrix kernels want them: addresses, order, and what is known of constant ones.

A column whose bytes never change is measured once: its largest weight bounds the error of a sum, and a column of zeros
is left out. Of equal columns in a tile only the first is computed. Columns are in order of address, so that a tile is read as long runs of memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from takt.lpu.fast import _kernels
from takt.lpu.fast.codes import COLUMN_DTYPE, COPY, LANES, UNKNOWN_TOP
from takt.lpu.fast.tape import Tiles

Ints = NDArray[np.int64]


def make_columns(
    tiles: Tiles, constant: Ints, words: int, address: Callable[[Ints], NDArray[np.uint64]]
) -> tuple[NDArray[np.void], Ints]:
    """(columns of all tiles, first column of each tile and the end).

    `constant` holds rows (slice, first address, end address), `words` is the size of a slice, `address` makes addresses
    of references.
    """
    n_tiles, n_columns, _ = tiles.rows.shape
    columns = np.zeros((n_tiles, n_columns), COLUMN_DTYPE)
    columns["low"], columns["high"] = address(tiles.rows[:, :, 0]), address(tiles.rows[:, :, 1])
    columns["n"], columns["top"] = np.arange(n_columns), UNKNOWN_TOP
    unchanging = np.all((tiles.rows == 0) | _is_constant(tiles.rows, constant, words), axis=2)
    for is_f16 in (False, True):
        chosen = unchanging & (tiles.is_f16 == is_f16)[:, np.newaxis]
        measured = columns[chosen]
        _kernels.measure(measured, is_f16)
        columns[chosen] = measured
    columns = np.take_along_axis(columns, np.argsort(columns["low"], axis=1, kind="stable"), axis=1)
    _mark_copies(columns)
    tile, _ = np.nonzero(columns["zero"] != 1)
    kept = columns[columns["zero"] != 1]
    kept = kept[np.lexsort((kept["zero"], tile))]  # copies last; stable, so otherwise as they were
    count = np.bincount(tile, minlength=n_tiles)
    return kept, np.concatenate([[0], np.cumsum(count)]).astype(np.int64)


def _mark_copies(columns: NDArray[np.void]) -> None:
    """Let columns [tiles, in order of address] with the addresses of the one before be copies of the first such.

    A weight buffer keeps columns of earlier tiles in the groups that nobody loads, often the same ones many times.
    """
    alike = np.zeros(columns.shape, np.bool_)
    alike[:, 1:] = columns["zero"][:, 1:] != 1
    for name in ("low", "high"):
        alike[:, 1:] &= columns[name][:, 1:] == columns[name][:, :-1]
    first = np.maximum.accumulate(np.where(alike, 0, np.arange(columns.shape[1])), axis=1)
    source = np.take_along_axis(columns["n"], first, axis=1)
    columns["low"][alike] = source[alike]
    columns["zero"][alike] = COPY


def _is_constant(references: Ints, constant: Ints, words: int) -> NDArray[np.bool_]:
    """Which references are memory words in a range that never changes."""
    inside = references < 0
    if not len(constant):
        return inside & False
    first = constant[:, 0] * words + constant[:, 1]
    order = np.argsort(first)
    first = first[order]
    end = np.maximum.accumulate((constant[:, 0] * words + constant[:, 2])[order])
    word = (-1 - references) // LANES
    at = np.searchsorted(first, word, side="right") - 1
    return inside & (at >= 0) & (word < end[at])
