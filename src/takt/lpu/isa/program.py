"""A Program: the instructions of every queue with their dispatch cycles, as one sorted array.

It knows nothing of models or of how time was found; the checker and the engines judge it. Queue numbers are given by
`QueueMap`, which derives them from the chip, so nothing here is tied to one floor plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.isa.table import BY_NAME, Unit

INSTRUCTION = np.dtype(
    [
        ("time", "<i4"),
        ("queue", "<u2"),
        ("op", "u1"),
        ("count", "<u4"),
        ("gap", "<u4"),
        ("step", "<i4"),
        ("a", "<u2"),
        ("b", "<u2"),
        ("c", "<u2"),
        ("d", "<u2"),
        ("imm", "<u8"),
    ]
)
"""Columns: first dispatch cycle, queue, opcode, number of issues, cycles between issues (1 if count is 1), operand step
per issue, four 16-bit operand columns and a 64-bit immediate."""

WEST_SIDE, EAST_SIDE = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One static program. `instructions` is sorted by (queue, time); `cycles` is the compiler's claim, 0 if unknown.

    `constant` rows are (slice, first address, end address): ranges the program promises not to write; slice numbers
    are MEM queue numbers.
    """

    chip_id: str
    instructions: NDArray[np.void]
    cycles: int = 0
    name: str = ""
    constant: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))


def _sxm_units(chip: Chip) -> tuple[tuple[Unit, int], ...]:
    return (
        (Unit.PERMUTE, chip.sxm.permute_units),
        (Unit.DISTRIBUTE, chip.sxm.distribute_units),
        (Unit.TRANSPOSE, chip.sxm.transpose_units),
        (Unit.SHIFT, chip.sxm.shift_units),
        (Unit.SELECT, chip.sxm.select_units),
        (Unit.ROTATE, chip.sxm.rotate_units),
        (Unit.C2C, chip.c2c.queues_per_hemisphere),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One instruction queue: number, name such as `mem.e12` or `mxm.2.a`, kind, position in hops, and index of its unit."""

    number: int
    name: str
    unit: Unit
    x: int
    side: int  # WEST_SIDE, EAST_SIDE; the VXM counts as EAST_SIDE
    index: int  # slice within the hemisphere, ALU, plane, or unit within its kind


def queues(chip: Chip) -> tuple[Queue, ...]:
    """All queues of a chip in numbering order: MEM west, MEM east, VXM, MXM (plane × w, a, c), SXM west, SXM east."""
    out: list[Queue] = []

    def put(name: str, unit: Unit, x: int, side: int, index: int) -> None:
        out.append(Queue(number=len(out), name=name, unit=unit, x=x, side=side, index=index))

    sides = ((WEST_SIDE, "w", -1), (EAST_SIDE, "e", 1))
    for side, letter, sign in sides:
        for m in range(chip.mem.slices_per_hemisphere):
            put(f"mem.{letter}{m}", Unit.MEM, sign * chip.mem_hops(m), side, m)
    for k in range(chip.vxm.alus):
        put(f"vxm.{k}", Unit.VXM, 0, EAST_SIDE, k)
    for plane in range(chip.mxm.planes):
        side = WEST_SIDE if plane < chip.mxm.planes // 2 else EAST_SIDE
        x = chip.mxm_hops * (1 if side else -1)
        for letter, unit in (("w", Unit.MXM_W), ("a", Unit.MXM_A), ("c", Unit.MXM_C)):
            put(f"mxm.{plane}.{letter}", unit, x, side, plane)
    for side, letter, sign in sides:
        for unit, n_units in _sxm_units(chip):
            for k in range(n_units):
                put(f"{unit.value}.{letter}{k}", unit, sign * chip.sxm_hops, side, k)
    return tuple(out)


def make_program(
    chip: Chip, rows: list[tuple[int, str, int, dict[str, int]]], *, name: str = "", cycles: int = 0
) -> Program:
    """Build a Program from (queue number, mnemonic, time, columns) tuples; columns may hold count, gap, step, a…d, imm."""
    array = np.zeros(len(rows), INSTRUCTION)
    array["count"] = 1
    array["gap"] = 1
    for i, (queue, mnemonic, time, columns) in enumerate(rows):
        array[i]["queue"], array[i]["op"], array[i]["time"] = queue, BY_NAME[mnemonic].op, time
        for column, value in columns.items():
            array[i][column] = value
    return Program(chip_id=chip.id, instructions=sort_instructions(array), name=name, cycles=cycles)


def sort_instructions(array: NDArray[np.void]) -> NDArray[np.void]:
    """Sort by (queue, time), stably."""
    return array[np.lexsort((array["time"], array["queue"]))]
