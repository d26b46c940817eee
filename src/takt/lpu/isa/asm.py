"""Programs as text, and back: the assembly of `takt show`, of fault reports and of golden tests.

One instruction a line, `<cycle>: <queue> <mnemonic> operands [xN] [@gap] [+step]`, in order of cycle and queue;
directives start with a dot (`.chip`, `.name`, `.cycles`, `.constant slice first end`), comments with `//`:

    .chip lpu-v1
    12: mem.e3 read 17 w4 x20 @1 +1     // 20 words, one a cycle
    19: vxm.0 add w4.i8 #i3 e0.i32

All of it derives from the table: an instruction's operands are read and written by their Kinds. Any instruction array
round-trips, faulty ones too: values without a proper form are written `$n`, spare columns `d=5`, unknown opcodes
`op99` and unknown queues `q999`. The text is not judged here beyond its form; `verify` and the checker do that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from takt.chips import Chip
from takt.errors import ProgramError, did_you_mean
from takt.lpu.isa.operands import EXPECTED, FORMS, MAX_TOKEN, read_integer, read_vxm, show_vxm
from takt.lpu.isa.program import INSTRUCTION, Program, Queue, queues, sort_instructions
from takt.lpu.isa.table import BY_NAME, BY_OP, EMIT, Kind, Operand, Row, Unit

_Record = tuple[int, ...]
_FIELDS: Final[tuple[str, ...]] = tuple(INSTRUCTION.names or ())
_AT: Final[Mapping[str, int]] = {name: i for i, name in enumerate(_FIELDS)}
_COLUMNS: Final = ("a", "b", "c", "d", "imm")
_LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    name: (int(np.iinfo(INSTRUCTION[name]).min), int(np.iinfo(INSTRUCTION[name]).max))
    for name in _FIELDS
}
_WORD: Final = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
MAX_LINES: Final = 1 << 24
"""Longer texts are refused before anything is built from them."""


def instruction_text(record: np.void, queues: Sequence[Queue] = ()) -> str:
    """`read 17 w4 x20 +1`: one row of a Program's array without its cycle and queue.

    With `queues` the slice of an `ifetch` gets its name. Never fails, whatever the columns hold.
    """
    return _Printer(queues=queues).instruction(_record(record))


def line_text(record: np.void, queues: Sequence[Queue]) -> str:
    """`12: mem.e3 read 17 w4 x20 +1`: one row of a Program's array as its line of assembly."""
    return _Printer(queues=queues).line(_record(record))


def _record(row: np.void) -> _Record:
    return tuple(int(row[name]) for name in _FIELDS)


def print_program(program: Program, chip: Chip) -> str:
    """The whole program as text, ordered by cycle, then queue. `parse_program` gives it back exactly."""
    printer = _Printer(queues=queues(chip))
    lines = [f".chip {_quoted(program.chip_id)}"]
    if program.name:
        lines.append(f".name {_quoted(program.name)}")
    if program.cycles:
        lines.append(f".cycles {program.cycles}")
    for slice_, first, end in program.constant.tolist():
        lines.append(f".constant {printer.slice_name(slice_)} {first} {end}")
    array = program.instructions
    order = np.lexsort((array["queue"], array["time"]))
    lines.extend(map(printer.line, array[order].tolist()))
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text if _WORD.fullmatch(text) else json.dumps(text)


@dataclass(slots=True)
class _Printer:
    """Writes records; remembers operand texts, of which a program has few."""

    queues: Sequence[Queue]
    cache: dict[tuple[Kind, int], str] = field(default_factory=dict)

    def line(self, record: _Record) -> str:
        queue = record[1]
        name = self.queues[queue].name if queue < len(self.queues) else f"q{queue}"
        return f"{record[0]}: {name} {self.instruction(record)}"

    def instruction(self, record: _Record) -> str:
        row = BY_OP.get(record[2])
        parts = [row.name if row else f"op{record[2]}"]
        used = self._operands(row, record, parts) if row else set()
        if record[3] != 1:
            parts.append(f"x{record[3]}")
        if record[4] != 1:
            parts.append(f"@{record[4]}")
        if record[5]:
            parts.append(f"{record[5]:+d}")
        for column in _COLUMNS:
            if column not in used and record[_AT[column]]:
                parts.append(f"{column}={record[_AT[column]]}")
        return " ".join(parts)

    def _operands(self, row: Row, record: _Record, parts: list[str]) -> set[str]:
        """Append the operands' texts; return the columns that these texts cover."""
        used = set()
        for operand in row.operands:
            value = record[_AT[operand.column]]
            if operand.kind is Kind.OPERAND:
                text = show_vxm(value, record[_AT["imm"]])
                parts.append(f"${value}" if text is None else text)
                if text and text[0] == "#":
                    used.add("imm")
            elif row.unit is Unit.VXM:
                continue  # the immediate is written in place of the operand that names it
            elif _left_out(row, operand, record):
                parts.append("-")
            else:
                parts.append(self._form(operand.kind, value))
            used.add(operand.column)
        return used

    def _form(self, kind: Kind, value: int) -> str:
        key = (kind, value)
        text = self.cache.get(key)
        if text is None:
            proper = self.slice_name(value) if kind is Kind.SLICE else FORMS[kind][0](value)
            text = self.cache[key] = f"${value}" if proper is None else proper
        return text

    def slice_name(self, number: int) -> str:
        known = 0 <= number < len(self.queues) and self.queues[number].unit is Unit.MEM
        return self.queues[number].name if known else str(number)


def _left_out(row: Row, operand: Operand, record: _Record) -> bool:
    """An `acc` that does not emit has no stream."""
    if operand.kind is not Kind.STREAM or record[_AT[operand.column]]:
        return False
    return any(o.kind is Kind.FLAGS and not record[_AT[o.column]] & EMIT for o in row.operands)


def _with_stream(shown: Sequence[Operand], words: list[str]) -> list[str]:
    """The operands' words, with `-` for the stream of an `acc` where its flags stand in the stream's place."""
    kinds = [operand.kind for operand in shown]
    if Kind.FLAGS not in kinds or Kind.STREAM not in kinds:
        return words
    at = kinds.index(Kind.STREAM)
    no_stream = len(words) > at and FORMS[Kind.FLAGS][1](words[at]) is not None
    return [*words[:at], "-", *words[at:]] if no_stream else words


def parse_program(text: str, chip: Chip) -> Program:
    """Read assembly for `chip`. Raises ProgramError with line number, what was expected and what was found."""
    if text.count("\n") > MAX_LINES:
        raise ProgramError(f"the text has more than {MAX_LINES:,} lines")
    parser = _Parser(chip=chip, queues={queue.name: queue for queue in queues(chip)})
    for number, line in enumerate(text.split("\n"), start=1):
        parser.number = number
        stripped = line.strip()
        if stripped.startswith("."):
            parser.directive(stripped)
        else:
            tokens = stripped.partition("//")[0].replace(",", " ").split()
            if tokens:
                parser.records.append(parser.instruction(tokens))
    return parser.program()


@dataclass(slots=True)
class _Parser:
    """What has been read so far, and the number of the line at hand."""

    chip: Chip
    queues: Mapping[str, Queue]
    number: int = 0
    name: str = ""
    cycles: int = 0
    constant: list[tuple[int, int, int]] = field(default_factory=list)
    records: list[_Record] = field(default_factory=list)

    def program(self) -> Program:
        array = np.array(self.records, INSTRUCTION)
        constant = np.array(self.constant, np.int64).reshape(-1, 3)
        return Program(
            chip_id=self.chip.id,
            instructions=sort_instructions(array),
            cycles=self.cycles,
            name=self.name,
            constant=constant,
        )

    def fail(self, expected: str, found: str, hint: str | None = None) -> ProgramError:
        shown = found if len(found) <= MAX_TOKEN else found[:MAX_TOKEN] + "…"
        return ProgramError(f"line {self.number}: expected {expected}, found {shown!r}", hint=hint)

    def directive(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == ".chip":
            chip_id = self._string(rest)
            if chip_id != self.chip.id:
                raise self.fail(f"a program for chip {self.chip.id}", chip_id)
        elif word == ".name":
            self.name = self._string(rest)
        elif word == ".cycles":
            self.cycles = self._integer(self._tokens(rest, 1)[0], 0, (1 << 31) - 1)
        elif word == ".constant":
            slice_, first, end = self._tokens(rest, 3)
            limits = (0, 0xFFFF_FFFF)
            self.constant.append(
                (self._slice(slice_), self._integer(first, *limits), self._integer(end, *limits))
            )
        else:
            known = (".chip", ".name", ".cycles", ".constant")
            raise self.fail("one of " + ", ".join(known), word, did_you_mean(word, known))

    def _string(self, text: str) -> str:
        text = text.strip()
        if not text.startswith('"'):
            return self._tokens(text, 1)[0]
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            raise self.fail("a quoted string", text) from None
        tail = text[end:].strip()
        if tail and not tail.startswith("//"):
            raise self.fail("the end of the line", tail)
        return str(value)

    def _tokens(self, text: str, n: int) -> list[str]:
        tokens = text.partition("//")[0].split()
        if len(tokens) != n:
            raise self.fail(f"{n} word{'s' if n > 1 else ''}", " ".join(tokens))
        return tokens

    def _integer(self, token: str, low: int, high: int, expected: str = "a number") -> int:
        value = read_integer(token)
        if value is None or not low <= value <= high:
            raise self.fail(f"{expected} from {low} to {high}", token)
        return value

    def _slice(self, token: str) -> int:
        queue = self.queues.get(token)
        if queue and queue.unit is Unit.MEM:
            return queue.number
        if read_integer(token) is None:
            names = [q.name for q in self.queues.values() if q.unit is Unit.MEM]
            raise self.fail(EXPECTED[Kind.SLICE], token, did_you_mean(token, names))
        return self._integer(token, 0, 0xFFFF, "a slice number")

    def instruction(self, tokens: list[str]) -> _Record:
        head = tokens[0] if tokens[0].endswith(":") else "".join(tokens[:2])
        rest = tokens[1:] if tokens[0].endswith(":") else tokens[2:]
        if not head.endswith(":") or len(rest) < 2:
            raise self.fail("`<cycle>: <queue> <mnemonic> …`", " ".join(tokens))
        values = dict.fromkeys(_FIELDS, 0) | {"count": 1, "gap": 1}
        values["time"] = self._integer(head[:-1], *_LIMITS["time"], expected="a cycle")
        values["queue"] = self._queue(rest[0])
        row, values["op"] = self._mnemonic(rest[1])
        shown = (
            [o for o in row.operands if row.unit is not Unit.VXM or o.kind is Kind.OPERAND]
            if row
            else []
        )
        words = _with_stream(shown, rest[2:])
        if len(words) < len(shown):
            missing = shown[len(words)]
            expected = f"operand {missing.name}, {EXPECTED[missing.kind]}"
            raise self.fail(expected, "the end of the line")
        given: set[str] = set()
        for operand, token in zip(shown, words, strict=False):
            self._operand(operand, token, values, given)
        for token in words[len(shown) :]:
            self._suffix(token, values, given)
        return tuple(values.values())

    def _queue(self, token: str) -> int:
        queue = self.queues.get(token)
        if queue is not None:
            return queue.number
        if re.fullmatch(r"q[0-9]{1,5}", token, re.ASCII):
            return self._integer(token[1:], *_LIMITS["queue"], expected="a queue number")
        raise self.fail("a queue such as mem.e3", token, did_you_mean(token, self.queues))

    def _mnemonic(self, token: str) -> tuple[Row | None, int]:
        row = BY_NAME.get(token)
        if row is not None:
            return row, row.op
        if re.fullmatch(r"op[0-9]{1,3}", token, re.ASCII) and int(token[2:]) not in BY_OP:
            return None, self._integer(token[2:], *_LIMITS["op"], expected="an opcode")
        raise self.fail("a mnemonic", token, did_you_mean(token, BY_NAME))

    def _operand(
        self, operand: Operand, token: str, values: dict[str, int], given: set[str]
    ) -> None:
        expected = f"operand {operand.name}, {EXPECTED[operand.kind]}"
        value: int | None
        if token.startswith("$"):
            value = read_integer(token[1:])
        elif operand.kind is Kind.OPERAND:
            both = read_vxm(token)
            value, imm = both if both else (None, None)
            if imm is not None:
                if values["imm"] != imm and "imm" in given:
                    raise self.fail(
                        "the same immediate as before (an instruction holds one)", token
                    )
                values["imm"] = imm
                given.add("imm")
        elif operand.kind is Kind.SLICE:
            value = self._slice(token)
        elif operand.kind is Kind.STREAM and token == "-":
            value = 0
        else:
            value = FORMS[operand.kind][1](token)
        if value is None or not 0 <= value <= _LIMITS[operand.column][1]:
            raise self.fail(expected, token)
        values[operand.column] = value
        given.add(operand.column)

    def _suffix(self, token: str, values: dict[str, int], given: set[str]) -> None:
        name, equals, number = token.partition("=")
        if not equals:
            name = {"x": "count", "@": "gap", "+": "step", "-": "step"}.get(token[0], "")
            number = token if name == "step" else token[1:]
        elif name not in _COLUMNS:
            name = ""
        if not name or name in given:
            raise self.fail(
                "xN (count), @N (gap), +N (step) or the end of the line, each once", token
            )
        values[name] = self._integer(number, *_LIMITS[name], expected=f"{name}:")
        given.add(name)
