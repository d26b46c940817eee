"""A schedule to report on: one program on its chip, with the compiler's tasks where they are known.

Everything else in this room takes a `Schedule`. It knows the columns of a program that say when and
where; what instructions mean stays with the instruction set, which is asked for their text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu import Program, Step, print_program

Ints = NDArray[np.int64]


class Span(NamedTuple):
    """One task of the compiler: its stage, its layer, and the first and last cycle of its effects.

    Layer −1 is the embedding; the layer after the last is what makes the output.
    """

    label: str
    layer: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """A program, its chip, and its tasks in plan order (none where nobody kept them)."""

    program: Program
    chip: Chip
    spans: tuple[Span, ...] = ()

    @staticmethod
    def of_step(step: Step, chip: Chip) -> Schedule:
        """The schedule of a compiled step."""
        spans = tuple(Span(p.label, p.layer, p.start, p.end) for p in step.placed)
        return Schedule(program=step.program, chip=chip, spans=spans)

    def only(self, chosen: NDArray[np.bool_]) -> Schedule:
        """The same with some of the instructions, and without what the whole program promises not to write."""
        rows, ranges = self.program.instructions[chosen], np.zeros((0, 3), np.int64)
        return replace(self, program=replace(self.program, instructions=rows, constant=ranges))

    @property
    def cycles(self) -> int:
        """Cycles of the program as claimed; if nobody claimed any, up to the last dispatch."""
        rows = self.program.instructions
        return self.program.cycles or (int(last_issue(rows).max()) + 1 if len(rows) else 0)


def last_issue(rows: NDArray[np.void]) -> Ints:
    """Dispatch cycle of each instruction's last issue."""
    repeats = (rows["count"].astype(np.int64) - 1) * rows["gap"].astype(np.int64)
    return np.asarray(rows["time"].astype(np.int64) + repeats)


def issue_times(rows: NDArray[np.void]) -> tuple[Ints, Ints]:
    """(row, dispatch cycle) of every issue: repeats written out."""
    count = rows["count"].astype(np.int64)
    index = np.repeat(np.arange(len(rows), dtype=np.int64), count)
    nth = np.arange(len(index), dtype=np.int64) - np.repeat(np.cumsum(count) - count, count)
    times = rows["time"][index].astype(np.int64) + nth * rows["gap"][index].astype(np.int64)
    return index, np.asarray(times)


def texts(program: Program, chip: Chip) -> list[str]:
    """`read 17 w4 x20`: each instruction of the program without cycle and queue, in its order."""
    rows = program.instructions
    plain = replace(program, name="", cycles=0, constant=np.zeros((0, 3), np.int64))
    printed = print_program(plain, chip).splitlines()
    lines = [line for line in printed if not line.startswith(".")]
    out = [""] * len(rows)
    order: Sequence[int] = np.lexsort((rows["queue"], rows["time"])).tolist()
    for row, line in zip(order, lines, strict=True):
        out[row] = line.split(" ", 2)[2]
    return out


def mnemonics(program: Program, chip: Chip) -> dict[int, str]:
    """Opcode → mnemonic, for the opcodes that the program holds."""
    rows = program.instructions
    _, first = np.unique(rows["op"], return_index=True)
    few = replace(program, instructions=rows[np.sort(first)])
    pairs = zip(few.instructions["op"].tolist(), texts(few, chip), strict=True)
    return {op: text.split(" ", 1)[0] for op, text in pairs}


def links_of(schedule: Schedule, mnemonic: str) -> dict[int, list[int]]:
    """Link → dispatch cycles of its sends (or receives), in order."""
    rows, op = schedule.program.instructions, op_of(schedule, mnemonic)
    index, times = issue_times(rows)
    out: dict[int, list[int]] = {}
    if op is None:
        return out
    chosen = np.flatnonzero(rows["op"][index] == op)
    order = chosen[np.argsort(times[chosen], kind="stable")]
    links = rows["b"][index[order]].tolist()
    for link, time in zip(links, times[order].tolist(), strict=True):
        out.setdefault(link, []).append(time)
    return out


def op_of(schedule: Schedule, mnemonic: str) -> int | None:
    """The opcode of an instruction, None if the program has none of it."""
    table = mnemonics(schedule.program, schedule.chip)
    return next((op for op, name in table.items() if name == mnemonic), None)
