"""A schedule as pixels: how busy each queue and each link is in each stretch of cycles, and with what.

Plain arrays; `plot` paints them. Instructions are sorted into a few categories by mnemonic. A link is
busy as long as a vector occupies it; links that carry nothing have no row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.lpu import queues
from takt.report.schedule import Ints, Schedule, issue_times, links_of, mnemonics

CATEGORIES = (
    "read", "write", "gather, scatter", "lw: load weights", "iw: install weights",
    "abc: activate", "acc: accumulate", "vxm", "vxm: exp, rsqrt, tanh", "sxm", "icu, c2c", "link",
)  # fmt: skip
_OF_MNEMONIC = {
    "read": 0, "write": 1, "readwrite": 1, "gather": 2, "scatter": 2, "lw": 3, "iw": 4, "abc": 5,
    "acc": 6, "exp": 8, "rsqrt": 8, "tanh": 8, "permute": 9, "distribute": 9, "transpose": 9,
    "shift": 9, "select": 9, "rotate": 9, "ifetch": 10, "nop": 10, "sync": 10, "notify": 10,
    "config": 10, "send": 10, "receive": 10, "deskew": 10,
}  # fmt: skip
_LINK = 11
_VXM = 7  # every other mnemonic is an operation of the vector unit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Raster:
    """Per row and bin of `bin_cycles` cycles: share of busy cycles, and the main category.

    Rows are the chip's queues and then the links in use. `busy` is f32 [rows, bins], `category` u8
    [rows, bins] (meaningless where busy is 0), `fraction` f64 [rows] the share of all the program's
    cycles, `names` one name per row.
    """

    bin_cycles: int
    n_bins: int
    busy: NDArray[np.float32]
    category: NDArray[np.uint8]
    fraction: NDArray[np.float64]
    names: tuple[str, ...]


def rasterise(schedule: Schedule, most_bins: int) -> Raster:
    """The raster of a schedule in at most `most_bins` bins, each a whole number of cycles."""
    rows, cycles = schedule.program.instructions, max(schedule.cycles, 1)
    bin_cycles = -(-cycles // most_bins)
    n_bins = -(-cycles // bin_cycles)
    names = tuple(queue.name for queue in queues(schedule.chip))
    index, times = issue_times(rows)
    table = np.full(256, _VXM, np.int64)
    for op, mnemonic in mnemonics(schedule.program, schedule.chip).items():
        table[op] = _OF_MNEMONIC.get(mnemonic, _VXM)
    queue = rows["queue"].astype(np.int64)[index]
    cell = (queue * n_bins + times // bin_cycles) * len(CATEGORIES) + table[rows["op"]][index]
    counts = np.bincount(cell, minlength=len(names) * n_bins * len(CATEGORIES))
    counts = counts.reshape(len(names), n_bins, len(CATEGORIES))
    links = _occupied(schedule, n_bins, bin_cycles)
    total = np.concatenate([counts.sum(axis=2), *links.values()])
    category = np.full(total.shape, _LINK, np.uint8)
    category[: len(names)] = counts.argmax(axis=2)
    return Raster(
        bin_cycles=bin_cycles,
        n_bins=n_bins,
        busy=(total / bin_cycles).astype(np.float32),
        category=category,
        fraction=total.sum(axis=1) / cycles,
        names=(*names, *(f"link {link}" for link in links)),
    )


def _occupied(schedule: Schedule, n_bins: int, bin_cycles: int) -> dict[int, Ints]:
    """Link → [1, bins]: cycles of each bin in which a vector sent by this chip occupies it."""
    out = {}
    for link, times in sorted(links_of(schedule, "send").items()):
        busy = np.zeros(n_bins * bin_cycles, np.int64)
        for time in times:
            busy[time : time + schedule.chip.c2c_vector_cycles] = 1
        out[link] = busy.reshape(1, n_bins, bin_cycles).sum(axis=2)
    return out
