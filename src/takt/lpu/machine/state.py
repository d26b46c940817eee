"""What a program runs on and what a run reports: the chip's memory, and the result with its activity counts.

Both engines use these; they know nothing of timing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip


class Memory:
    """All SRAM of one chip: `data[slice, word, lane]`, uint8, zero at power-on; slice = MEM queue number.

    The array is allocated lazily by the operating system, so an unused slice costs nothing.
    """

    __slots__ = ("data",)

    def __init__(self, chip: Chip) -> None:
        n_slices = 2 * chip.mem.slices_per_hemisphere
        self.data: NDArray[np.uint8] = np.zeros(
            (n_slices, chip.mem.words_per_slice, chip.lanes), np.uint8
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """How often each thing happened in one run; energy is computed from these. All are whole-chip counts."""

    instructions: int
    mac_i8: int  # multiply-accumulates, 320 × 320 per abc i8
    mac_f16: int
    sram_read_bytes: int
    sram_write_bytes: int
    vxm_lane_ops: int
    sxm_bytes: int
    stream_byte_hops: int  # bytes × hops actually travelled until taken or off the edge
    weight_bytes: int  # bytes written into MXM weight buffers
    link_bytes: int = 0  # bytes sent over links to other chips


def total_activity(parts: Iterable[tuple[Activity, int]]) -> Activity:
    """The sum of activities, each as many times as given with it."""
    names = [field.name for field in fields(Activity)]
    sums = dict.fromkeys(names, 0)
    for activity, times in parts:
        for name in names:
            sums[name] += times * int(getattr(activity, name))
    return Activity(**sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Cycles of one run (claim confirmed by the engine) and its activity."""

    cycles: int
    activity: Activity
