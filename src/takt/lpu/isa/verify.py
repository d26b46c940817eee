"""What can be said about each instruction by itself: its operands against the table and the chip.

`verify` looks at opcodes, queues, operands, ranges and the order within a queue, vectorised over the program. What
depends on other instructions (streams, ports, ALUs, planes, supply) is for the checker; what depends on data, for the
engines. Kinds of violation: "bad operand", "address range" and "queue order".

Rules beyond the table's Kinds:
- Stream groups of 2, 4 and 16 streams are aligned to their size; none crosses stream 31. Results carry no tap mark.
- VXM: float operations take f32 or f16, integer ones i32, i8 or u8; an ALU or immediate operand is f32 or i32; a stream
  destination has a type of the result's class.
- `abc` takes i8, or f16 on an even plane; `acc` names the type it accumulates, f32 or i32; `rotate` n is 3 or 4.
- A repeat may take no stepping operand out of its range; without a stepping operand the step is 0.
- Columns that an instruction does not use are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.errors import ProgramError
from takt.lpu.isa.encode import MAX_ISSUES, last_issue
from takt.lpu.isa.program import Program, Queue, queues
from takt.lpu.isa.table import (
    ALU,
    BY_NAME,
    BY_OP,
    EMIT,
    IMM,
    NONE,
    STREAM,
    WRAP,
    Kind,
    Operand,
    Row,
    Type,
    Unit,
)

_Ints = NDArray[np.int64]
_Mask = NDArray[np.bool_]
_COLUMNS: Final = ("a", "b", "c", "d", "imm")
_N_STREAMS: Final = 32
_MAX_TIME: Final = (1 << 31) - 1
_NEVER: Final = (1 << 63) - 1
_TYPES: Final = len(Type)
_WIDTH_OF_TYPE: Final = np.array([t.n_streams for t in Type] + [1] * (8 - _TYPES), np.int64)
_IS_FLOAT: Final = np.array([t.is_float for t in Type] + [False] * (8 - _TYPES))
_SOURCE_CLASS: Final[Mapping[str, str]] = {"itof": "i", "ftoi": "f"}
"""Conversions take the other class than they give; every other operation takes what it gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken rule: its kind, the cycle and queue number where it shows, and the row of `Program.instructions`."""

    kind: str
    cycle: int
    queue: int
    index: int
    message: str


def source_class(row: Row) -> str:
    """Class of a VXM operation's operands: "f" (f32, f16), "i" (i32, i8, u8) or "x" (any)."""
    return _SOURCE_CLASS.get(row.name, row.result)


def verify(program: Program, chip: Chip) -> list[Violation]:
    """All instructions that are wrong by themselves, by (cycle, queue); at most one of each kind an instruction.

    Of a repeated instruction the first bad issue counts. Raises ProgramError if the program stands for more issues than
    can be expanded.
    """
    rows = program.instructions
    n_issues = int(rows["count"].sum(dtype=np.int64))
    if n_issues > MAX_ISSUES:
        raise ProgramError(f"the program stands for {n_issues:,} issues, more than {MAX_ISSUES:,}")
    judge = _Judge(rows, chip)
    judge.shape()
    for op in np.unique(rows["op"]).tolist():
        row = BY_OP.get(op)
        if row is not None:
            judge.operands(row, np.flatnonzero(rows["op"] == op))
    found = judge.violations() + _queue_order(rows)
    return sorted(found, key=lambda v: (v.cycle, v.queue, v.index))


def _queue_order(rows: NDArray[np.void]) -> list[Violation]:
    """Instructions that are due before, or with, the last issue of the one before them."""
    queue, time = rows["queue"], rows["time"].astype(np.int64)
    late = (queue[1:] == queue[:-1]) & (time[1:] <= last_issue(rows)[:-1])
    late |= queue[1:] < queue[:-1]
    why = "the instruction before it in the queue is still to be issued"
    return [
        Violation(
            kind="queue order", cycle=int(time[i]), queue=int(queue[i]), index=int(i), message=why
        )
        for i in np.flatnonzero(late) + 1
    ]


class _Judge:
    """Remembers for every instruction its first bad issue, and why, apart for operands and addresses."""

    __slots__ = ("chip", "count", "first", "limits", "queues", "reasons", "rows", "step", "why")

    def __init__(self, rows: NDArray[np.void], chip: Chip) -> None:
        self.rows, self.chip = rows, chip
        self.queues: tuple[Queue, ...] = queues(chip)
        self.count = rows["count"].astype(np.int64)
        self.step = np.where(self.count > 1, rows["step"], 0).astype(np.int64)
        self.reasons: list[str] = []
        kinds = ("bad operand", "address range")
        self.first = {kind: np.full(len(rows), _NEVER) for kind in kinds}
        self.why = {kind: np.zeros(len(rows), np.int32) for kind in kinds}
        self.limits: Mapping[Kind, int] = {
            Kind.ADDRESS: chip.mem.words_per_slice,
            Kind.COLUMN: chip.mxm.cols // 16,
            Kind.ENTRY: chip.mxm.accumulator_entries,
            Kind.SLICE: 2 * chip.mem.slices_per_hemisphere,
            Kind.LINK: chip.c2c.links,
            Kind.LANES: 1 << 16,
            Kind.WORD: 1 << 32,
        }

    def violations(self) -> list[Violation]:
        """One for each kind and instruction, at the cycle of its first bad issue."""
        time, gap, queue = (self.rows[name].astype(np.int64) for name in ("time", "gap", "queue"))
        found = []
        for kind, first in self.first.items():
            for i in np.flatnonzero(first < _NEVER):
                cycle = int(time[i]) + int(first[i]) * int(gap[i])
                message = self.reasons[self.why[kind][i]]
                found.append(
                    Violation(
                        kind=kind, cycle=cycle, queue=int(queue[i]), index=int(i), message=message
                    )
                )
        return found

    def refuse(
        self,
        at: NDArray[np.intp],
        bad: _Mask,
        message: str,
        *,
        kind: str = "bad operand",
        nth: _Ints | None = None,
    ) -> None:
        """Note that the rows `at`, where `bad`, are wrong from issue `nth` (the first) on."""
        if not bad.any():
            return
        where = at[bad]
        issue = np.zeros(len(where), np.int64) if nth is None else nth[bad]
        earlier = issue < self.first[kind][where]
        self.first[kind][where[earlier]] = issue[earlier]
        self.why[kind][where[earlier]] = len(self.reasons)
        self.reasons.append(message)

    def shape(self) -> None:
        """What holds for every instruction: opcode, queue, time, count and gap."""
        rows, everything = self.rows, np.arange(len(self.rows))
        in_program = [op for op, row in BY_OP.items() if row.name not in ("nop", "repeat")]
        self.refuse(
            everything, ~np.isin(rows["op"], in_program), "no such instruction in a program"
        )
        self.refuse(everything, rows["queue"] >= len(self.queues), "the chip has no such queue")
        self.refuse(everything, rows["time"] < 0, "dispatched before cycle 0")
        self.refuse(everything, last_issue(rows) > _MAX_TIME, f"issued after cycle {_MAX_TIME:,}")
        self.refuse(everything, rows["count"] < 1, "issued less than once")
        self.refuse(everything, rows["gap"] < 1, "the gap is less than one cycle")

    def operands(self, row: Row, at: NDArray[np.intp]) -> None:
        """All operands of the instructions `at`, which are all `row`."""
        self._queue(row, at)
        used = {operand.column for operand in row.operands}
        for column in _COLUMNS:
            if column not in used:
                self.refuse(
                    at,
                    self.rows[column][at] != 0,
                    f"{row.name}: column {column} is not used, but not zero",
                )
        if not row.step:
            self.refuse(
                at, self.step[at] != 0, f"{row.name}: has no operand that a repeat could step"
            )
        for operand in row.operands:
            value = self.rows[operand.column][at].astype(np.uint64)
            if operand.kind is Kind.OPERAND:
                self._vxm(row, operand, at, value.astype(np.int64))
            elif operand.kind is Kind.STREAM:
                self._stream(row, operand, at, value.astype(np.int64))
            else:
                self._plain(row, operand, at, value)

    def _queue(self, row: Row, at: NDArray[np.intp]) -> None:
        if row.unit is Unit.ANY:
            return
        takes = np.zeros(1 << 16, bool)
        takes[[queue.number for queue in self.queues if queue.unit is row.unit]] = True
        self.refuse(
            at, ~takes[self.rows["queue"][at]], f"{row.name}: only {row.unit} queues take it"
        )

    def _plain(
        self, row: Row, operand: Operand, at: NDArray[np.intp], value: NDArray[np.uint64]
    ) -> None:
        """An operand of neither stream nor VXM kind."""
        name = f"{row.name}: {operand.name}"
        if operand.kind in (Kind.ADDRESS, Kind.COLUMN, Kind.ENTRY):
            self._stepped(row, operand, at, value.astype(np.int64), 0, self.limits[operand.kind])
        elif operand.kind is Kind.AMOUNT:
            signed = value.astype(np.uint16).view(np.int16).astype(np.int64)
            self._stepped(row, operand, at, signed, -(1 << 15), 1 << 15)
        elif operand.kind in self.limits:
            limit = self.limits[operand.kind]
            self.refuse(at, value >= limit, f"{name} is not below {limit:,}")
        elif operand.kind is Kind.WIDTH:
            allowed = [1, 2, 4, *([1 | WRAP, 2 | WRAP, 4 | WRAP] if row.name == "shift" else [])]
            self.refuse(at, ~np.isin(value, allowed), f"{name} is not 1, 2 or 4 streams")
        elif operand.kind is Kind.COUNT:
            self.refuse(at, ~np.isin(value, (3, 4)), f"{name} is not 3 or 4")
        elif operand.kind is Kind.FLAGS:
            self.refuse(at, value > 7, f"{name} has bits beyond add, keep and emit")
        elif operand.kind is Kind.TYPE:
            self._type(row, name, at, value)
        elif operand.kind is not Kind.MAP16:
            raise AssertionError(f"no rule for operands of kind {operand.kind}")

    def _type(self, row: Row, name: str, at: NDArray[np.intp], value: NDArray[np.uint64]) -> None:
        allowed = (Type.I8, Type.F16) if row.unit is Unit.MXM_A else (Type.I32, Type.F32)
        names = " or ".join(t.name.lower() for t in allowed)
        self.refuse(at, ~np.isin(value, allowed), f"{name} is not {names}")
        if row.unit is Unit.MXM_A:
            odd = np.zeros(1 << 16, bool)
            odd[
                [
                    queue.number
                    for queue in self.queues
                    if queue.unit is row.unit and queue.index % 2
                ]
            ] = True
            self.refuse(
                at,
                (value == Type.F16) & odd[self.rows["queue"][at]],
                f"{row.name}: f16 on an odd plane",
            )

    def _stepped(
        self, row: Row, operand: Operand, at: NDArray[np.intp], value: _Ints, low: int, end: int
    ) -> None:
        """Keep value + n · step within [low, end) for every issue n."""
        steps = self.step[at] if operand.column in row.step else np.zeros(len(at), np.int64)
        if row.name == "ifetch":
            end -= 1  # two words are fetched
        up = -(-(end - value) // np.maximum(steps, 1))
        down = (value - low) // np.maximum(-steps, 1) + 1
        nth = np.where(steps > 0, up, np.where(steps < 0, down, _NEVER))
        nth = np.where((value < low) | (value >= end), 0, nth)
        kind = "address range" if operand.kind is Kind.ADDRESS else "bad operand"
        message = f"{row.name}: {operand.name} is not in {low:,}…{end - 1:,}"
        self.refuse(at, nth < np.maximum(self.count[at], 1), message, kind=kind, nth=nth)

    def _stream(self, row: Row, operand: Operand, at: NDArray[np.intp], value: _Ints) -> None:
        width = self._width(row, operand, at)
        if any(
            o.kind is Kind.FLAGS for o in row.operands
        ):  # acc drives its stream only when it emits
            emits = self.rows["c"][at] & EMIT != 0
            at, value, width = at[emits], value[emits], width[emits]
        name = f"{row.name}: {operand.name}"
        self.refuse(at, value > 0x7F, f"{name} is not a stream")
        self._group(name, operand, at, value, width)

    def _group(
        self, name: str, operand: Operand, at: NDArray[np.intp], value: _Ints, width: _Ints
    ) -> None:
        """Alignment, range and tap mark of stream groups; `value` holds a stream reference in its low bits."""
        first = value & 31
        aligned = np.isin(width, (2, 4, 16)) & (first % np.maximum(width, 1) != 0)
        self.refuse(at, aligned, f"{name} is not aligned to its number of streams")
        self.refuse(at, first + width > _N_STREAMS, f"{name} goes beyond stream {_N_STREAMS - 1}")
        if operand.role == "out":
            self.refuse(at, value & 64 != 0, f"{name} is a result, which has no tap mark")

    def _width(self, row: Row, operand: Operand, at: NDArray[np.intp]) -> _Ints:
        """Streams of the operand for each instruction; of nonsense, something small."""
        if operand.width > 0:
            return np.full(len(at), operand.width, np.int64)
        giver = {0: (Kind.WIDTH, Kind.TYPE), -1: (Kind.COUNT,), -2: (Kind.COUNT,)}[operand.width]
        source = next(o for o in row.operands if o.kind in giver)
        value = self.rows[source.column][at].astype(np.int64)
        if source.kind is Kind.TYPE:
            return np.asarray(_WIDTH_OF_TYPE[value & 7])
        if source.kind is Kind.WIDTH:
            return value & 7
        n = np.minimum(value, 4)
        return n if operand.width == -1 else n * n

    def _vxm(self, row: Row, operand: Operand, at: NDArray[np.intp], value: _Ints) -> None:
        name = f"{row.name}: {operand.name}"
        kind, type_, low = value >> 10, value >> 7 & 7, value & 0x7F
        is_out = operand.role == "out"
        allowed = (NONE, STREAM) if is_out else (STREAM, ALU, IMM)
        what = "a stream or none" if is_out else "a stream, an ALU's result or an immediate"
        self.refuse(at, ~np.isin(kind, allowed), f"{name} is not {what}")
        self.refuse(at, type_ >= _TYPES, f"{name} has no known type")
        self.refuse(
            at, np.isin(kind, (NONE, IMM)) & (low != 0), f"{name} has bits that mean nothing"
        )
        chained = kind == ALU
        self.refuse(
            at,
            chained & (low >= self.chip.vxm.alus),
            f"{name} is an ALU that the chip does not have",
        )
        narrow = np.isin(kind, (ALU, IMM)) & ~np.isin(type_, (Type.F32, Type.I32))
        self.refuse(at, narrow, f"{name} is of 32 bits, so f32 or i32")
        on_stream = np.flatnonzero((kind == STREAM) & (type_ < _TYPES))
        self._group(name, operand, at[on_stream], low[on_stream], _WIDTH_OF_TYPE[type_[on_stream]])
        typed = (kind == STREAM) if is_out else np.ones(len(at), bool)
        self.refuse(
            at,
            typed & ~self._class_fits(row, is_out, operand, at, type_),
            f"{name} is of the wrong class",
        )

    def _class_fits(
        self, row: Row, is_out: bool, operand: Operand, at: NDArray[np.intp], type_: _Ints
    ) -> _Mask:
        wanted = row.result if is_out else source_class(row)
        if wanted == "x":
            if not is_out:
                return np.ones(len(at), bool)
            source = self.rows[row.operands[0].column][at].astype(np.int64) >> 7 & 7
            return np.asarray(_IS_FLOAT[type_] == _IS_FLOAT[source])
        return np.asarray(_IS_FLOAT[type_] == (wanted == "f"))


assert set(_SOURCE_CLASS) <= set(BY_NAME), "conversions are named by the table"
