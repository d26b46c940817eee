"""Programs as words: what an instruction queue holds, 16 bytes a word.

A word is 128 bits, little-endian: the opcode in bits 0–7, then the operands in the table's order, each as wide as its
Kind says (`BITS`); a field that would cross bit 64 starts there instead, and spare bits are zero. Time becomes words: `nop n`
fills the idle cycles before an instruction (from cycle 0 of the program, and after the last issue of the instruction
before it), `repeat n, d, step` follows an instruction that is issued n + 1 times.

`encode` and `decode` are inverse, except that the gap and step of an instruction issued once are not kept (they have no
meaning). Knows nothing of files, of supply, or of whether the instructions make sense beyond fitting their fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from takt.errors import ProgramError
from takt.lpu.isa.asm import instruction_text
from takt.lpu.isa.program import INSTRUCTION, Program
from takt.lpu.isa.table import BY_NAME, BY_OP, Kind, Row

WORD_BYTES: Final = 16
OPCODE_BITS: Final = 8
NOP_MAX_CYCLES: Final = 1 << 16
"""Longest wait that one nop word may hold; a chip's `icu.nop_max_cycles` may be less."""
MAX_ISSUES: Final = 1 << 26
"""Decoding refuses programs that stand for more issues than this: every check expands them."""

BITS: Final[Mapping[Kind, int]] = {
    Kind.ADDRESS: 16,
    Kind.STREAM: 7,
    Kind.OPERAND: 12,
    Kind.COLUMN: 8,
    Kind.ENTRY: 16,
    Kind.TYPE: 3,
    Kind.FLAGS: 3,
    Kind.AMOUNT: 32,  # two's complement
    Kind.WIDTH: 4,
    Kind.LANES: 16,
    Kind.COUNT: 32,
    Kind.SLICE: 16,
    Kind.LINK: 8,
    Kind.MAP16: 64,
    Kind.WORD: 32,
}
"""Width of the field of each kind of operand."""

_NOP, _REPEAT = BY_NAME["nop"].op, BY_NAME["repeat"].op
_MAX_TIME: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where an operand lies: `bit` of the word, `bits` wide; it never crosses bit 64."""

    name: str
    column: str
    bit: int
    bits: int
    signed: bool


def fields_of(row: Row) -> tuple[Field, ...]:
    """The fields of an instruction's word, in the order of its operands."""
    out, bit = [], OPCODE_BITS
    for operand in row.operands:
        bits = BITS[operand.kind]
        if bit // 64 != (bit + bits - 1) // 64:
            bit = 64
        signed = operand.kind is Kind.AMOUNT
        out.append(
            Field(name=operand.name, column=operand.column, bit=bit, bits=bits, signed=signed)
        )
        bit += bits
    assert bit <= 8 * WORD_BYTES, f"{row.name} does not fit a word"
    return tuple(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How many words each instruction takes: `idle` cycles before it as `nops` words, itself, and perhaps a repeat.

    `first` is the index of its first word (a nop if any), `own` of its own word, both from the start of its queue.
    """

    idle: NDArray[np.int64]
    nops: NDArray[np.int64]
    repeats: NDArray[np.bool_]
    first: NDArray[np.int64]

    @property
    def own(self) -> NDArray[np.int64]:
        """Index of each instruction's own word in its queue."""
        return self.first + self.nops

    @property
    def words(self) -> NDArray[np.int64]:
        """Words of each instruction."""
        return self.nops + 1 + self.repeats


def last_issue(instructions: NDArray[np.void]) -> NDArray[np.int64]:
    """Cycle of the last issue of each instruction; exact up to 2⁵³ cycles, and not more than that."""
    extra = np.maximum(instructions["count"].astype(np.float64) - 1, 0)
    span = np.minimum(extra * instructions["gap"], float(1 << 53))
    return np.asarray(instructions["time"].astype(np.int64) + span.astype(np.int64))


def lay_out(instructions: NDArray[np.void], nop_max_cycles: int = NOP_MAX_CYCLES) -> Layout:
    """Count the words of instructions sorted by (queue, time). Idle time is negative where a queue's order is broken."""
    queue = instructions["queue"]
    starts = np.ones(len(queue), bool)
    starts[1:] = queue[1:] != queue[:-1]
    before = (
        np.concatenate(([0], last_issue(instructions)[:-1]))
        if len(queue)
        else np.zeros(0, np.int64)
    )
    idle = instructions["time"].astype(np.int64) - np.where(starts, 0, before + 1)
    nops = -(-np.maximum(idle, 0) // min(nop_max_cycles, NOP_MAX_CYCLES))
    repeats = instructions["count"] > 1
    words = nops + 1 + repeats
    end = np.cumsum(words)
    base = np.maximum.accumulate(np.where(starts, end - words, 0))
    return Layout(idle=idle, nops=nops, repeats=repeats, first=end - words - base)


def encode(
    instructions: NDArray[np.void], nop_max_cycles: int = NOP_MAX_CYCLES
) -> tuple[NDArray[np.uint64], dict[int, int]]:
    """Words of all queues, shape (n, 2), low half first, queue after queue; and how many words each queue has.

    `instructions` as in a Program. Raises ProgramError for what words cannot say, naming the instruction.
    """
    _check(instructions)
    layout = lay_out(instructions, nop_max_cycles)
    n_words = layout.words
    own = np.cumsum(n_words) - layout.repeats - 1
    words = np.zeros((int(n_words.sum()), 2), np.uint64)
    words[:, 0] = _NOP
    for op in np.unique(instructions["op"]):
        chosen = instructions["op"] == op
        columns = {name: instructions[name][chosen] for name in ("a", "b", "c", "d", "imm")}
        words[own[chosen]] = _pack(BY_OP[int(op)], columns)
    again = layout.repeats
    repeat = {
        "a": instructions["count"][again] - 1,
        "b": instructions["gap"][again],
        "c": instructions["step"][again],
    }
    words[own[again] + 1] = _pack(BY_NAME["repeat"], repeat)
    _put_nops(words, own, layout, min(nop_max_cycles, NOP_MAX_CYCLES))
    queue, first = np.unique(instructions["queue"], return_index=True)
    counts = np.add.reduceat(n_words, first) if len(first) else n_words
    return words, dict(zip(queue.tolist(), counts.tolist(), strict=True))


def encode_queue(program: Program, queue: int, nop_max_cycles: int = NOP_MAX_CYCLES) -> bytes:
    """The text of one queue, a multiple of 16 bytes; empty if it has no instruction."""
    chosen = program.instructions["queue"] == queue
    return encode(program.instructions[chosen], nop_max_cycles)[0].astype("<u8").tobytes()


def _put_nops(
    words: NDArray[np.uint64], own: NDArray[np.int64], layout: Layout, longest: int
) -> None:
    """Full nops first, what is left in the last."""
    waits = layout.nops > 0
    left = layout.idle[waits] - (layout.nops[waits] - 1) * longest
    full = np.repeat(longest, int(layout.nops.sum()))
    full[np.cumsum(layout.nops[waits]) - 1] = left
    place = np.repeat(own - layout.nops, layout.nops)
    place += np.arange(len(place)) - np.repeat(np.cumsum(layout.nops) - layout.nops, layout.nops)
    words[place] = _pack(BY_NAME["nop"], {"imm": full})


def _pack(row: Row, columns: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint64]:
    """Words of one opcode; columns already checked."""
    n = len(next(iter(columns.values())))
    out = np.zeros((n, 2), np.uint64)
    out[:, 0] = row.op
    for field in fields_of(row):
        value = columns[field.column]
        if field.signed:
            value = _as_signed(value)
        bits = value.astype(np.uint64) & np.uint64((1 << field.bits) - 1)
        out[:, field.bit // 64] |= bits << np.uint64(field.bit % 64)
    return out


def _as_signed(value: NDArray[np.generic]) -> NDArray[np.int64]:
    """A 16-bit column holds two's complement; the step is signed already."""
    return (value.view(np.int16) if value.dtype == np.uint16 else value).astype(np.int64)


def _check(instructions: NDArray[np.void]) -> None:
    """Everything that would make `decode` give back something else."""
    known = np.isin(instructions["op"], [op for op in BY_OP if op not in (_NOP, _REPEAT)])
    _refuse(instructions, ~known, "an opcode that a program may hold")
    _refuse(instructions, instructions["count"] < 1, "at least one issue")
    _refuse(
        instructions,
        (instructions["gap"] < 1) & (instructions["count"] > 1),
        "a gap of at least one cycle",
    )
    _refuse(
        instructions,
        last_issue(instructions) > _MAX_TIME,
        f"all issues within {_MAX_TIME:,} cycles",
    )
    if np.any(instructions["queue"][1:] < instructions["queue"][:-1]):
        raise ProgramError("expected instructions sorted by queue and cycle")
    _refuse(
        instructions,
        lay_out(instructions).idle < 0,
        "a cycle after the last issue of the instruction before",
    )
    for op in np.unique(instructions["op"]):
        row = BY_OP[int(op)]
        chosen = instructions["op"] == op
        widths = {field.column: field.bits for field in fields_of(row)}
        for column in ("a", "b", "c", "d", "imm"):
            limit = min(widths.get(column, 0), 64)
            if limit < 8 * INSTRUCTION[column].itemsize:
                wrong = chosen & (instructions[column] >> np.uint64(limit) != 0)
                _refuse(instructions, wrong, f"column {column} within {limit} bits")


def _refuse(instructions: NDArray[np.void], wrong: NDArray[np.bool_], expected: str) -> None:
    if wrong.any():
        record = instructions[int(np.argmax(wrong))]
        place = f"queue {record['queue']}, cycle {record['time']}"
        raise ProgramError(
            f"{place}: `{instruction_text(record)}` cannot be encoded: expected {expected}"
        )


def decode(words: NDArray[np.uint64], n_words: Mapping[int, int]) -> NDArray[np.void]:
    """The inverse of `encode`: words of shape (n, 2) of several queues to an instruction array.

    `n_words`: queue → number of words, queues in ascending order. Raises ProgramError on anything that `encode` could
    not have written, apart from waits cut into nops differently.
    """
    counts = np.array(list(n_words.values()), np.int64)
    numbers = np.array(list(n_words), np.int64)
    if (
        np.any(np.diff(numbers) <= 0)
        or np.any((numbers < 0) | (numbers > 0xFFFF))
        or np.any(counts < 0)
    ):
        raise ProgramError(
            "expected ascending queue numbers from 0 to 65535, each with its number of words"
        )
    if int(counts.sum()) != len(words):
        raise ProgramError(f"expected {int(counts.sum())} words, found {len(words)}")
    op = (words[:, 0] & np.uint64(0xFF)).astype(np.uint8)
    columns = _unpack(words, op)
    queue = np.repeat(numbers, counts)
    time = _times(op, columns, queue)
    is_own = (op != _NOP) & (op != _REPEAT)
    return _gather(op, columns, queue, time, is_own)


def decode_queue(words: bytes, queue: int) -> NDArray[np.void]:
    """Instructions of one queue's text. Raises ProgramError on anything but well-formed words."""
    if len(words) % WORD_BYTES:
        raise ProgramError(f"expected a multiple of {WORD_BYTES} bytes, found {len(words)}")
    pairs = np.frombuffer(words, "<u8").astype(np.uint64).reshape(-1, 2)
    return decode(pairs, {queue: len(pairs)})


def _unpack(
    words: NDArray[np.uint64], op: NDArray[np.uint8]
) -> dict[str, NDArray[np.int64] | NDArray[np.uint64]]:
    """Operand columns of every word, as wide integers; checks opcodes, spare bits and column ranges."""
    small = {name: np.zeros(len(words), np.int64) for name in "abcd"}
    imm = np.zeros(len(words), np.uint64)
    for number in np.unique(op):
        row = BY_OP.get(int(number))
        where = np.flatnonzero(op == number)
        if row is None:
            raise ProgramError(f"word {where[0]}: expected an opcode of the table, found {number}")
        halves = words[where]
        spare = [(1 << 64) - 1 - 0xFF, (1 << 64) - 1]
        for field in fields_of(row):
            mask = (1 << field.bits) - 1
            spare[field.bit // 64] &= ~(mask << field.bit % 64)
            value = halves[:, field.bit // 64] >> np.uint64(field.bit % 64) & np.uint64(mask)
            if field.column == "imm":
                imm[where] = value
            else:
                small[field.column][where] = _narrow(row, field, value.astype(np.int64), where)
        if np.any(halves & np.array(spare, np.uint64)):
            raise ProgramError(f"{row.name}: expected spare bits to be zero")
    return {**small, "imm": imm}


def _narrow(
    row: Row, field: Field, value: NDArray[np.int64], where: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Undo the sign extension; what is wider than its column is refused (repeat's operands are not columns)."""
    if field.signed:
        value = (value ^ 1 << field.bits - 1) - (1 << field.bits - 1)
    if row.op == _REPEAT:
        return value
    low, high = (-0x8000, 0x7FFF) if field.signed else (0, 0xFFFF)
    wrong = (value < low) | (value > high)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ProgramError(
            f"word {where[at]}: {row.name} {field.name}: expected {low}…{high}, found {value[at]}"
        )
    return value & 0xFFFF


def _times(
    op: NDArray[np.uint8],
    columns: Mapping[str, NDArray[np.int64] | NDArray[np.uint64]],
    queue: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Cycle at which each word begins, from the start of its queue. Checks nops and repeats, and that all ends in time."""
    wait = columns["imm"]
    is_nop, is_repeat = op == _NOP, op == _REPEAT
    if np.any(is_nop & ((wait < 1) | (wait > NOP_MAX_CYCLES))):
        raise ProgramError(f"nop: expected 1 to {NOP_MAX_CYCLES} cycles")
    follows = np.zeros(len(op), bool)
    follows[1:] = ~(is_nop | is_repeat)[:-1] & (queue[1:] == queue[:-1])
    if np.any(is_repeat & ~follows):
        raise ProgramError("repeat: expected an instruction before it")
    n, gap = columns["a"], columns["b"]
    span = np.where(is_repeat, n.astype(np.float64) * gap.astype(np.float64), 0.0)
    if np.any(is_repeat & ((n < 1) | (gap < 1))) or np.any(span > _MAX_TIME):
        raise ProgramError(f"repeat: expected n ≥ 1 and d ≥ 1 within {_MAX_TIME:,} cycles")
    if int(n[is_repeat].sum()) + len(op) > MAX_ISSUES:
        raise ProgramError(f"expected at most {MAX_ISSUES:,} issues")
    cycles = np.where(is_nop, wait.astype(np.int64), np.where(is_repeat, span.astype(np.int64), 1))
    end = np.cumsum(cycles)
    starts = np.ones(len(op), bool)
    starts[1:] = queue[1:] != queue[:-1]
    base = np.maximum.accumulate(np.where(starts, end - cycles, 0)) if len(op) else end
    if np.any(end - base > _MAX_TIME):
        raise ProgramError(f"expected all issues within {_MAX_TIME:,} cycles")
    return end - cycles - base


def _gather(
    op: NDArray[np.uint8],
    columns: Mapping[str, NDArray[np.int64] | NDArray[np.uint64]],
    queue: NDArray[np.int64],
    time: NDArray[np.int64],
    is_own: NDArray[np.bool_],
) -> NDArray[np.void]:
    """Fold nops and repeats into the instructions."""
    own = np.flatnonzero(is_own)
    out = np.zeros(len(own), INSTRUCTION)
    out["count"] = out["gap"] = 1
    out["queue"], out["op"], out["time"] = queue[own], op[own], time[own]
    for name in ("a", "b", "c", "d", "imm"):
        out[name] = columns[name][own]
    repeat = np.flatnonzero(op == _REPEAT)
    target = np.searchsorted(own, repeat) - 1
    out["count"][target] = columns["a"][repeat] + 1
    out["gap"][target] = columns["b"][repeat]
    out["step"][target] = columns["c"][repeat]
    return out
