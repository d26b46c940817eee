"""Which of a program's constant words stay as they are for as long as a whole system runs.

A program promises only for itself not to write its constant ranges. Others that run on the same chip may write there;
then the words must be read anew at every run. It knows nothing of tapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from takt.lpu.isa.program import Program
from takt.lpu.isa.table import BY_NAME
from takt.lpu.machine.footprint import meeting, written

Ints = NDArray[np.int64]

_SLICE_SHIFT = 40


def lasting_constant(program: Program, others: Sequence[Program]) -> Ints:
    """The rows of `program.constant` that none of the others can write."""
    rows = program.constant
    for other in others:
        if len(rows):
            rows = rows[~_may_write(other, rows)]
    return rows


def _may_write(program: Program, rows: Ints) -> NDArray[np.bool_]:
    """Which ranges a program writes, or may write by a scatter that its own constants do not forbid."""
    writes = written(program)
    base = writes.slices << _SLICE_SHIFT
    ranges = _keys(rows)
    struck = meeting(ranges, (base + writes.low, base + writes.end))
    instructions = program.instructions
    scattered = np.unique(instructions["queue"][instructions["op"] == BY_NAME["scatter"].op])
    return struck | np.isin(rows[:, 0], scattered) & ~_inside(ranges, _keys(program.constant))


def _keys(rows: Ints) -> tuple[Ints, Ints]:
    """(start, end) of ranges, slice and word in one integer."""
    base = rows[:, 0] << _SLICE_SHIFT
    return base + rows[:, 1], base + rows[:, 2]


def _inside(ones: tuple[Ints, Ints], others: tuple[Ints, Ints]) -> NDArray[np.bool_]:
    """Which ranges lie wholly in one of the others."""
    low, end = others
    if not len(low):
        return np.zeros(len(ones[0]), np.bool_)
    order = np.argsort(low)
    reach = np.maximum.accumulate(end[order])
    before = np.searchsorted(low[order], ones[0], side="right") - 1
    return (before >= 0) & (reach[before] >= ones[1])
