"""How long each instruction takes on one chip, and which issues a program stands for.

Every delay is a sum of facts of the chip, named by the rows of the ISA table. `expand` turns the folded repeats into one
row per issue. It knows when things happen, neither what they compute nor whether they are allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.isa.program import Program
from takt.lpu.isa.table import BY_NAME, EMIT, NONE, ROWS, Kind, Unit

_N_OPS = 256
_SIGNED = tuple(
    (row.op, operand.column)
    for row in ROWS
    for operand in row.operands
    if operand.kind is Kind.AMOUNT and operand.column != "imm"
)
_STEPPED = tuple((row.op, column) for row in ROWS for column in row.step)
_VXM_OPS = np.array([row.op for row in ROWS if row.unit is Unit.VXM], np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issues:
    """One row per issue, in the order of `Program.instructions`, repeats in order of time.

    `index` is the row of the instruction, `a` … `d` its columns with the step of `repeat` applied; they are wider than
    the encoded columns and never wrap, so an address that runs past its slice is seen as such. AMOUNT columns are signed.
    """

    time: NDArray[np.int64]
    queue: NDArray[np.int32]
    op: NDArray[np.uint8]
    index: NDArray[np.int32]
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    c: NDArray[np.int32]
    d: NDArray[np.int32]
    imm: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.time)


class Timing:
    """The delays of one chip in cycles, resolved once. Immutable by convention."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.stagger_cycles = chip.stagger_cycles
        self._latency = np.zeros(_N_OPS, np.int64)
        for row in ROWS:
            self._latency[row.op] = sum(_fact(chip, name) for name in row.latency)

    def latency(self, op: int | str) -> int:
        """Cycles from dispatch until the result is in the stream register (abc: until `acc`; 0 if it has none)."""
        return int(self._latency[op if isinstance(op, int) else BY_NAME[op].op])

    def last_effect(self, row: np.void) -> int:
        """Cycles from dispatch to the last effect of one instruction record; at least 1."""
        return int(self.last_effects(np.array([row], row.dtype))[0])

    def last_effects(self, instructions: NDArray[np.void]) -> NDArray[np.int64]:
        """`last_effect` of every record. A result that goes to no stream has its effect in the next cycle."""
        op, c = instructions["op"], instructions["c"].astype(np.int64)
        effect = self._latency[op]
        silent = (op == BY_NAME["acc"].op) & (c & EMIT == 0)
        silent |= np.isin(op, _VXM_OPS) & (c >> 10 & 3 == NONE)
        return np.maximum(np.where(silent, 1, effect), 1)

    @cached_property
    def bank_words(self) -> int:
        """Words of the low bank of a slice; bank of an address = address // bank_words."""
        return -(-self.chip.mem.words_per_slice // self.chip.mem.banks)


def _fact(chip: Chip, name: str) -> int:
    group, fact = name.split(".")
    return int(getattr(getattr(chip, group), fact))


def program_cycles(program: Program, chip: Chip) -> int:
    """Cycles from dispatch of cycle 0 until the last instruction has retired in the last superlane; 0 if there is none."""
    rows = program.instructions
    if len(rows) == 0:
        return 0
    timing = Timing(chip)
    last = rows["time"].astype(np.int64) + (rows["count"].astype(np.int64) - 1) * rows[
        "gap"
    ].astype(np.int64)
    return int((last + timing.last_effects(rows)).max()) + timing.stagger_cycles


def expand(program: Program) -> Issues:
    """All issues of a program: `count` rows for each instruction, `gap` cycles apart, stepping operands advanced."""
    rows = program.instructions
    count = rows["count"].astype(np.int64)
    index = np.repeat(np.arange(len(rows), dtype=np.int32), count)
    first = np.cumsum(count) - count
    nth = np.arange(len(index), dtype=np.int64) - np.repeat(first, count)
    op = rows["op"][index]
    columns = {name: rows[name].astype(np.int32) for name in "abcd"}
    for signed_op, name in _SIGNED:
        chosen = rows["op"] == signed_op
        columns[name][chosen] = columns[name][chosen].astype(np.int16)
    expanded = {name: column[index] for name, column in columns.items()}
    advance = (nth * rows["step"][index]).astype(np.int32)
    for stepped_op, name in _STEPPED:
        chosen = op == stepped_op
        expanded[name][chosen] += advance[chosen]
    return Issues(
        time=rows["time"][index].astype(np.int64) + nth * rows["gap"][index].astype(np.int64),
        queue=rows["queue"][index].astype(np.int32),
        op=op,
        index=index,
        imm=rows["imm"][index],
        **expanded,
    )
