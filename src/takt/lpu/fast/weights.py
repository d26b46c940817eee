"""Which weights every activation meets: the tiles of a program, and activations gathered into batches.

A plane's array is the weight buffer as it was at the last `iw`; the buffer holds, for each group of sixteen columns,
what the last `lw` of that group brought. So a tile is twenty groups a plane, each named by the `lw` that filled it, and
activations that meet the same tile can share one pass over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.fast.codes import GROUP, MAX_ROWS
from takt.lpu.fast.sources import Sources
from takt.lpu.fast.tape import Tiles
from takt.lpu.isa.program import Queue
from takt.lpu.isa.table import BY_NAME, Type
from takt.lpu.machine.timing import Issues

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """All `abc` issues by (queue, time), in batches: batch b is `batch_rows[b]` of them from `batch_first[b]` on.

    `batch` and `row` say where each `abc` is. Rows of `tiles` are planes as `Sources` names them, −1 for zeros.
    """

    abc: Ints
    batch: Ints
    row: Ints
    batch_first: Ints
    batch_rows: Ints
    batch_tile: Ints
    tiles: Tiles


def find_products(
    issues: Issues, queues: tuple[Queue, ...], chip: Chip, sources: Sources
) -> Products:
    """Tiles and batches of a program."""
    abc = np.flatnonzero(issues.op == BY_NAME["abc"].op)
    abc = abc[np.lexsort((issues.time[abc], issues.queue[abc]))]
    is_f16 = issues.b[abc] == Type.F16
    w_queue = (
        issues.queue[abc].astype(np.int64) - 1
    )  # queues of a plane are numbered w, a, c; then the next plane
    low = _installed(issues, w_queue, issues.time[abc], chip)
    high = np.where(is_f16, _installed(issues, w_queue + 3, issues.time[abc], chip), -1)
    # Planes never installed differ by nothing but hold the same zeros; −1 serves for all.
    names, tile = np.unique(np.stack([low, high, is_f16], axis=1), axis=0, return_inverse=True)
    tile = tile.reshape(-1)
    columns = [_columns(issues, names[:, i], chip, sources) for i in (0, 1)]
    batch = _batches(issues, abc, tile, chip.mxm.activation_to_result_cycles)
    first = np.flatnonzero(np.diff(batch, prepend=-1))
    return Products(
        abc=abc,
        batch=batch,
        row=np.arange(len(abc)) - first[batch] if len(abc) else abc,
        batch_first=first,
        batch_rows=np.bincount(batch, minlength=len(first)).astype(np.int64),
        batch_tile=tile[first],
        tiles=Tiles(rows=np.stack(columns, axis=2), is_f16=names[:, 2].astype(np.bool_)),
    )


def _installed(issues: Issues, w_queue: Ints, time: Ints, chip: Chip) -> Ints:
    """The `iw` issue whose array a plane has at a time; −1 before the first."""
    iw = np.flatnonzero(issues.op == BY_NAME["iw"].op)
    return _latest(iw, issues.queue[iw], issues.time[iw] + chip.mxm.install_cycles, w_queue, time)


def _latest(
    events: Ints, place: NDArray[np.integer], when: Ints, at_place: Ints, until: Ints
) -> Ints:
    """For each (place, time) the event there with the largest `when` ≤ time; −1 if there is none."""
    if not len(events):
        return np.full(len(at_place), -1, np.int64)
    packed = (place.astype(np.int64) << 40) + when
    order = np.argsort(packed)
    at = np.searchsorted(packed[order], (at_place << 40) + until, side="right") - 1
    found = order[np.maximum(at, 0)]
    return np.where((at >= 0) & (place[found] == at_place), events[found], -1)


def _columns(issues: Issues, iw: Ints, chip: Chip, sources: Sources) -> Ints:
    """Planes [tiles, columns] behind the arrays that these `iw` installed; −1 where nothing was loaded."""
    n_groups = chip.mxm.cols // GROUP
    lw = np.flatnonzero(issues.op == BY_NAME["lw"].op)
    known = np.repeat(iw >= 0, n_groups)
    at = np.repeat(np.maximum(iw, 0), n_groups)
    group = np.tile(np.arange(n_groups), len(iw))
    place = issues.queue[lw].astype(np.int64) << 8 | issues.b[lw]
    at_place = issues.queue[at].astype(np.int64) << 8 | group if len(iw) else group
    # The buffer at `iw` is what was loaded in earlier cycles.
    until = issues.time[at] - 1 if len(iw) else group
    found = np.where(known, _latest(lw, place, issues.time[lw], at_place, until), -1)
    columns = np.full((len(found), GROUP), -1, np.int64)
    loaded = found >= 0
    if loaded.any():
        columns[loaded] = sources.of(found[loaded], 0, GROUP)
    return columns.reshape(len(iw), n_groups * GROUP)


def _batches(issues: Issues, abc: Ints, tile: Ints, result_cycles: int) -> Ints:
    """Batch number of every `abc`: neighbours on one tile, all dispatched before the first result is taken."""
    batch = np.zeros(len(abc), np.int64)
    number, open_tile, open_queue, rows, deadline = -1, -1, -1, 0, 0
    queue, time = issues.queue[abc].tolist(), issues.time[abc].tolist()
    for i, t in enumerate(tile.tolist()):
        joins = t == open_tile and queue[i] == open_queue and time[i] < deadline and rows < MAX_ROWS
        if not joins:
            number, open_tile, open_queue, rows = number + 1, t, queue[i], 0
            deadline = time[i] + result_cycles
        rows += 1
        batch[i] = number
    return batch
