"""The manual of the instruction set, docs/isa.md, written from the table.

`manual(chip)` is the whole page: every instruction with its operands, streams, delay on `chip` and word. Nothing in it
is written by hand except what the forms mean; `tools/isa_manual.py` puts it in its place.
"""

from __future__ import annotations

from collections.abc import Iterator

from takt.chips import Chip
from takt.lpu.isa.encode import BITS, NOP_MAX_CYCLES, OPCODE_BITS, WORD_BYTES, fields_of
from takt.lpu.isa.operands import EXPECTED
from takt.lpu.isa.table import ROWS, Kind, Operand, Row, Unit
from takt.lpu.isa.verify import source_class

_TITLES: tuple[tuple[str, tuple[Unit, ...]], ...] = (
    ("ICU: every queue", (Unit.ANY,)),
    ("MEM", (Unit.MEM,)),
    ("VXM", (Unit.VXM,)),
    ("MXM", (Unit.MXM_W, Unit.MXM_A, Unit.MXM_C)),
    (
        "SXM",
        (
            Unit.SHIFT,
            Unit.SELECT,
            Unit.PERMUTE,
            Unit.DISTRIBUTE,
            Unit.TRANSPOSE,
            Unit.ROTATE,
        ),
    ),
    ("C2C", (Unit.C2C,)),
)
_CLASSES = {"f": "f32, f16", "i": "i32, i8, u8", "x": "any type"}
_RESULTS = {"f": "f32, f16", "i": "i32, i8, u8", "x": "as `x`"}

_INTRODUCTION = """\
# Instruction set

<!-- Generated from src/takt/lpu/isa/table.py; write it anew with: python tools/isa_manual.py -->

What the machine is and when things happen: [machine.md](machine.md). What each operation computes, to the bit:
[numerics.md](numerics.md). This page: every instruction, its text and its word. Delays are those of chip `{chip}`, in
cycles from dispatch until the result is in the stream register at the unit.

## Text

One instruction a line, `<cycle>: <queue> <mnemonic> operands [xN] [@gap] [+step]`; `//` starts a comment. `xN` issues it N
times, `@gap` cycles apart (1 if left out), each time adding `step` to the operands that the instruction steps.

```text
.chip {chip}
.name example
.constant mem.e3 0 128              // words 0 … 127 of that slice are never written
12: mem.e3 read 17 w4 x20 +1        // twenty words, one a cycle
19: vxm.0 mul w4.f16 #0.5 e0.f16
```

Directives: `.chip id`, `.name text`, `.cycles n` (the compiler's claim), `.constant slice first end`. A number that has no
proper form is written `$n`, a column that the instruction does not use `d=5`, an unknown opcode `op99`, an unknown
queue `q999`: such text is read back as it was, but no machine takes it.
"""


def manual(chip: Chip) -> str:
    """The page, in Markdown."""
    lines = [_INTRODUCTION.format(chip=chip.id), *_operand_forms(), *_word()]
    for title, units in _TITLES:
        lines += ["", f"## {title}"]
        rows = [row for row in ROWS if row.unit in units]
        if units == (Unit.VXM,):
            lines += _vxm(rows, chip)
        else:
            for row in rows:
                lines += _instruction(row, chip)
    return "\n".join(lines) + "\n"


def _operand_forms() -> Iterator[str]:
    yield from ("## Operands", "", "| kind | text | bits |", "| --- | --- | --- |")
    for kind in Kind:
        yield f"| {kind.value} | {_cell(EXPECTED[kind])} | {BITS[kind]} |"


def _word() -> Iterator[str]:
    yield ""
    yield "## Words"
    yield ""
    yield (
        f"A word has {WORD_BYTES} bytes, little-endian. Bits 0–{OPCODE_BITS - 1} are the opcode; the operands follow in "
        "their order, and a field that would cross bit 64 starts there. Spare bits are zero; signed fields are two's "
        f"complement. Time is in words too: `nop` waits up to {NOP_MAX_CYCLES:,} cycles, `repeat` follows the "
        "instruction that it repeats."
    )


def _instruction(row: Row, chip: Chip) -> Iterator[str]:
    yield ""
    yield f"### `{row.name}`"
    yield ""
    yield f"{row.does[0].upper()}{row.does[1:]}."
    yield ""
    queues = "every queue" if row.unit is Unit.ANY else f"`{row.unit}`"
    if row.name in ("nop", "repeat"):
        queues += "; only as a word, in text it is the cycle, `xN`, `@gap` and `+step`"
    yield f"- Queues: {queues}. Opcode {row.op}."
    if row.latency:
        yield f"- Delay: {_delay(row, chip)}."
    if row.step:
        stepped = [f"`{o.name}`" for o in row.operands if o.column in row.step]
        yield f"- A repeat steps {' and '.join(stepped)}."
    if not row.operands:
        return
    yield from ("", "| operand | kind | streams | bits |", "| --- | --- | --- | --- |")
    for operand, bits in zip(row.operands, _bits(row), strict=True):
        yield f"| `{operand.name}` | {operand.kind.value} | {_streams(row, operand)} | {bits} |"


def _vxm(rows: list[Row], chip: Chip) -> Iterator[str]:
    """All operations in one table: they differ in little."""
    yield ""
    yield (
        "Queues `vxm.0` and on, one an ALU. Operands: a stream group with its type, the result that an ALU dispatched "
        f"{chip.vxm.alu_cycles} cycles earlier, or the instruction's one immediate. The result goes to a stream group, or "
        "with `-` only to the ALUs that take it."
    )
    yield ""
    yield f"- Delay: {_delay(rows[0], chip)}."
    for n in (1, 2):
        row = next(row for row in rows if row.n_sources == n)
        places = [f"`{o.name}` {bits}" for o, bits in zip(row.operands, _bits(row), strict=True)]
        yield f"- Bits with {n} operand{'s' if n > 1 else ''}: {', '.join(places)}."
    yield from (
        "",
        "| operation | opcode | operands | result | does |",
        "| --- | --- | --- | --- | --- |",
    )
    for row in rows:
        names = " ".join(f"`{o.name}`" for o in row.operands if o.role == "in")
        taken = f"{names}: {_CLASSES[source_class(row)]}"
        yield f"| `{row.name}` | {row.op} | {taken} | {_RESULTS[row.result]} | {_cell(row.does)} |"


def _delay(row: Row, chip: Chip) -> str:
    cycles = [
        int(getattr(getattr(chip, group), fact))
        for group, fact in (n.split(".") for n in row.latency)
    ]
    unit = "cycle" if sum(cycles) == 1 else "cycles"
    return f"{sum(cycles)} {unit} ({' + '.join(f'`{name}`' for name in row.latency)})"


def _bits(row: Row) -> list[str]:
    return [f"{f.bit}–{f.bit + f.bits - 1}" for f in fields_of(row)]


def _streams(row: Row, operand: Operand) -> str:
    if not operand.role:
        return ""
    way = "sampled" if operand.role == "in" else "driven"
    if operand.width > 0:
        return f"{operand.width} {way}"
    by = {Kind.WIDTH: "`width`", Kind.TYPE: "1 (i8) or 2 (f16)", Kind.COUNT: "`n`"}
    giver = next(by[o.kind] for o in row.operands if o.kind in by)
    return f"{giver}{'²' if operand.width == -2 else ''} {way}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
