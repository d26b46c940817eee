"""The instruction set as one table; assembler, printer, encoder, verifier, timing and manual derive from it.

A row says which queues take the instruction, what its operand columns mean, which streams it samples and drives, which
fact of the chip gives its latency, and which operand `repeat` advances. The semantics of each row are in
`takt.lpu.machine.semantics`; `docs/machine.md` and `docs/numerics.md` state them in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Unit(StrEnum):
    """The kinds of queue."""

    MEM = "mem"
    VXM = "vxm"
    MXM_W = "mxm.w"
    MXM_A = "mxm.a"
    MXM_C = "mxm.c"
    PERMUTE = "sxm.permute"
    DISTRIBUTE = "sxm.distribute"
    TRANSPOSE = "sxm.transpose"
    SHIFT = "sxm.shift"
    SELECT = "sxm.select"
    ROTATE = "sxm.rotate"
    C2C = "sxm.c2c"
    ANY = "any"


class Type(IntEnum):
    """Element types as encoded in operands."""

    F32 = 0
    I32 = 1
    F16 = 2
    I8 = 3
    U8 = 4

    @property
    def n_streams(self) -> int:
        """Byte streams that a value of the type takes."""
        return (4, 4, 2, 1, 1)[self]

    @property
    def is_float(self) -> bool:
        """Whether the VXM treats it as f32."""
        return self in (Type.F32, Type.F16)


class Kind(StrEnum):
    """What an operand column holds."""

    ADDRESS = "address"  # word of a slice
    STREAM = "stream"  # stream reference, see `stream_ref`; width in Operand.width
    OPERAND = "operand"  # VXM operand or destination, see `vxm_operand`
    COLUMN = "column"  # group of 16 MXM columns
    ENTRY = "entry"  # accumulator entry
    TYPE = "type"  # a Type
    FLAGS = "flags"  # acc: 1 add, 2 keep, 4 emit
    AMOUNT = "amount"  # signed lanes
    WIDTH = "width"  # number of streams, 1, 2 or 4; shift: +8 = wrap
    LANES = "lanes"  # 16-bit mask of lanes of a superlane
    COUNT = "count"
    SLICE = "slice"
    LINK = "link"
    MAP16 = "map16"  # 16 nibbles: source lane of each lane of a superlane
    WORD = "word"  # 32-bit immediate


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One operand: its name, the instruction column that holds it, its kind, and for streams what is done with it.

    `width` is the number of streams; 0 means "given by the WIDTH operand", −1 "given by the COUNT operand n",
    −2 "n²". `role` is "in" (sampled at dispatch), "out" (driven after the latency) or "" (no stream).
    """

    name: str
    column: str
    kind: Kind
    width: int = 0
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One instruction. `latency` names the chip facts whose sum is the delay from dispatch to stream register."""

    op: int
    name: str
    unit: Unit
    operands: tuple[Operand, ...]
    latency: tuple[str, ...] = ()
    step: tuple[str, ...] = ()
    n_sources: int = 0  # VXM: how many operands the operation takes
    result: str = ""  # VXM: "f", "i" or "x" (same as first operand)
    does: str = ""


def _o(name: str, column: str, kind: Kind, width: int = 0, role: str = "") -> Operand:
    return Operand(name=name, column=column, kind=kind, width=width, role=role)


_ADDR = _o("address", "a", Kind.ADDRESS)
_VXM1 = (
    _o("x", "a", Kind.OPERAND, role="in"),
    _o("z", "c", Kind.OPERAND, role="out"),
    _o("imm", "imm", Kind.WORD),
)
_VXM2 = (
    _o("x", "a", Kind.OPERAND, role="in"),
    _o("y", "b", Kind.OPERAND, role="in"),
    _o("z", "c", Kind.OPERAND, role="out"),
    _o("imm", "imm", Kind.WORD),
)
_ALU_LATENCY = ("vxm.entry_cycles", "vxm.alu_cycles")


def _vxm(op: int, name: str, n: int, result: str, does: str) -> Row:
    return Row(
        op=op,
        name=name,
        unit=Unit.VXM,
        operands=_VXM1 if n == 1 else _VXM2,
        latency=_ALU_LATENCY,
        n_sources=n,
        result=result,
        does=does,
    )


ROWS: tuple[Row, ...] = (
    # ICU: nop and repeat exist only as encoded words; in a Program they are time, count, gap, step.
    Row(
        op=0, name="nop", unit=Unit.ANY, operands=(_o("n", "imm", Kind.WORD),), does="wait n cycles"
    ),
    Row(
        op=1,
        name="repeat",
        unit=Unit.ANY,
        operands=(_o("n", "a", Kind.COUNT), _o("d", "b", Kind.COUNT), _o("step", "c", Kind.AMOUNT)),
        does="issue the instruction before n more times, every d cycles, advancing its stepping operand",
    ),
    Row(
        op=2,
        name="ifetch",
        unit=Unit.ANY,
        operands=(_o("slice", "a", Kind.SLICE), _o("address", "b", Kind.ADDRESS)),
        latency=("icu.fetch_latency_cycles",),
        does="bring this queue's next 40 words",
    ),
    Row(op=3, name="sync", unit=Unit.ANY, operands=(), does="park until the barrier releases"),
    Row(
        op=4,
        name="notify",
        unit=Unit.ANY,
        operands=(),
        latency=("icu.barrier_cycles",),
        does="release parked queues",
    ),
    Row(
        op=5,
        name="config",
        unit=Unit.ANY,
        operands=(_o("superlanes", "imm", Kind.WORD),),
        does="power only these superlanes",
    ),
    # MEM
    Row(
        op=10,
        name="read",
        unit=Unit.MEM,
        operands=(_ADDR, _o("s", "b", Kind.STREAM, 1, "out")),
        latency=("mem.read_cycles",),
        step=("a",),
        does="word at address → stream",
    ),
    Row(
        op=11,
        name="write",
        unit=Unit.MEM,
        operands=(_ADDR, _o("s", "b", Kind.STREAM, 1, "in")),
        step=("a",),
        does="stream → word at address",
    ),
    Row(
        op=12,
        name="gather",
        unit=Unit.MEM,
        operands=(
            _o("map", "a", Kind.STREAM, 2, "in"),
            _o("s", "b", Kind.STREAM, 1, "out"),
            _o("base", "c", Kind.ADDRESS),
        ),
        latency=("mem.read_cycles", "mem.gather_extra_cycles"),
        step=("c",),
        does="each superlane reads its own address, base + map",
    ),
    Row(
        op=13,
        name="scatter",
        unit=Unit.MEM,
        operands=(
            _o("map", "a", Kind.STREAM, 2, "in"),
            _o("s", "b", Kind.STREAM, 1, "in"),
            _o("base", "c", Kind.ADDRESS),
        ),
        step=("c",),
        does="each superlane writes its own address, base + map",
    ),
    Row(
        op=14,
        name="readwrite",
        unit=Unit.MEM,
        operands=(
            _ADDR,
            _o("s", "b", Kind.STREAM, 1, "out"),
            _o("waddress", "c", Kind.ADDRESS),
            _o("ws", "d", Kind.STREAM, 1, "in"),
        ),
        latency=("mem.read_cycles",),
        step=("a", "c"),
        does="a read and a write of the same cycle, in different banks",
    ),
    # VXM
    _vxm(20, "mov", 1, "x", "copy"),
    _vxm(21, "neg", 1, "f", "−x"),
    _vxm(22, "abs", 1, "f", "|x|"),
    _vxm(23, "relu", 1, "f", "x if x > 0 else 0"),
    _vxm(24, "exp", 1, "f", "eˣ"),
    _vxm(25, "rsqrt", 1, "f", "1 / √x"),
    _vxm(26, "tanh", 1, "f", "tanh x"),
    _vxm(27, "itof", 1, "f", "i32 → f32"),
    _vxm(28, "ftoi", 1, "i", "f32 → i32, nearest even, saturating"),
    _vxm(30, "add", 2, "f", "x + y"),
    _vxm(31, "sub", 2, "f", "x − y"),
    _vxm(32, "mul", 2, "f", "x · y"),
    _vxm(33, "max", 2, "f", "larger of x, y"),
    _vxm(34, "min", 2, "f", "smaller of x, y"),
    _vxm(35, "mask", 2, "x", "x where y ≠ 0, else 0"),
    _vxm(36, "addi", 2, "i", "x + y modulo 2³²"),
    _vxm(37, "subi", 2, "i", "x − y modulo 2³²"),
    _vxm(38, "muli", 2, "i", "x · y modulo 2³²"),
    _vxm(39, "adds", 2, "i", "x + y, saturating"),
    _vxm(40, "subs", 2, "i", "x − y, saturating"),
    _vxm(41, "maxi", 2, "i", "larger of x, y (i32)"),
    _vxm(42, "mini", 2, "i", "smaller of x, y (i32)"),
    # MXM
    Row(
        op=50,
        name="lw",
        unit=Unit.MXM_W,
        operands=(_o("s", "a", Kind.STREAM, 16, "in"), _o("g", "b", Kind.COLUMN)),
        step=("b",),
        does="sixteen streams → sixteen columns of the weight buffer",
    ),
    Row(op=51, name="iw", unit=Unit.MXM_W, operands=(), does="weight buffer → array"),
    Row(
        op=52,
        name="abc",
        unit=Unit.MXM_A,
        operands=(_o("s", "a", Kind.STREAM, 0, "in"), _o("type", "b", Kind.TYPE)),
        latency=("mxm.activation_to_result_cycles",),
        does="activation vector × array (i8: one stream; f16: two, both planes of the pair)",
    ),
    Row(
        op=53,
        name="acc",
        unit=Unit.MXM_C,
        operands=(
            _o("entry", "a", Kind.ENTRY),
            _o("s", "b", Kind.STREAM, 4, "out"),
            _o("flags", "c", Kind.FLAGS),
            _o("type", "d", Kind.TYPE),
        ),
        latency=("mxm.result_to_stream_cycles",),
        step=("a",),
        does="take the result: add the entry, keep it there, emit it",
    ),
    # SXM
    Row(
        op=60,
        name="shift",
        unit=Unit.SHIFT,
        operands=(
            _o("s", "a", Kind.STREAM, 0, "in"),
            _o("d", "b", Kind.STREAM, 0, "out"),
            _o("n", "c", Kind.AMOUNT),
            _o("width", "d", Kind.WIDTH),
        ),
        latency=("sxm.shift_cycles",),
        step=("c",),
        does="move lanes north by n",
    ),
    Row(
        op=61,
        name="select",
        unit=Unit.SELECT,
        operands=(
            _o("x", "a", Kind.STREAM, 0, "in"),
            _o("y", "b", Kind.STREAM, 0, "in"),
            _o("mask", "c", Kind.STREAM, 1, "in"),
            _o("d", "d", Kind.STREAM, 0, "out"),
            _o("width", "imm", Kind.WIDTH),
        ),
        latency=("sxm.select_cycles",),
        does="x where mask ≠ 0, else y",
    ),
    Row(
        op=62,
        name="permute",
        unit=Unit.PERMUTE,
        operands=(
            _o("s", "a", Kind.STREAM, 0, "in"),
            _o("map", "b", Kind.STREAM, 2, "in"),
            _o("d", "c", Kind.STREAM, 0, "out"),
            _o("width", "d", Kind.WIDTH),
        ),
        latency=("sxm.permute_cycles",),
        does="any bijection of the 320 lanes",
    ),
    Row(
        op=63,
        name="distribute",
        unit=Unit.DISTRIBUTE,
        operands=(
            _o("s", "a", Kind.STREAM, 1, "in"),
            _o("d", "b", Kind.STREAM, 1, "out"),
            _o("zero", "c", Kind.LANES),
            _o("map", "imm", Kind.MAP16),
        ),
        latency=("sxm.distribute_cycles",),
        does="rearrange, replicate or zero lanes within each superlane",
    ),
    Row(
        op=64,
        name="transpose",
        unit=Unit.TRANSPOSE,
        operands=(_o("s", "a", Kind.STREAM, 16, "in"), _o("d", "b", Kind.STREAM, 16, "out")),
        latency=("sxm.transpose_cycles",),
        does="16 × 16 bytes per superlane",
    ),
    Row(
        op=65,
        name="rotate",
        unit=Unit.ROTATE,
        operands=(
            _o("s", "a", Kind.STREAM, -1, "in"),
            _o("d", "b", Kind.STREAM, -2, "out"),
            _o("n", "c", Kind.COUNT),
        ),
        latency=("sxm.rotate_cycles",),
        does="n streams → n² rotated streams",
    ),
    # C2C
    Row(
        op=70,
        name="send",
        unit=Unit.C2C,
        operands=(_o("s", "a", Kind.STREAM, 1, "in"), _o("link", "b", Kind.LINK)),
        does="stream → link",
    ),
    Row(
        op=71,
        name="receive",
        unit=Unit.C2C,
        operands=(_o("s", "a", Kind.STREAM, 1, "out"), _o("link", "b", Kind.LINK)),
        latency=("c2c.link_cycles",),
        does="oldest vector of the link → stream",
    ),
    Row(op=72, name="deskew", unit=Unit.C2C, operands=(), does="wait for the next epoch"),
)

BY_NAME: dict[str, Row] = {row.name: row for row in ROWS}
BY_OP: dict[int, Row] = {row.op: row for row in ROWS}

ADD, KEEP, EMIT = 1, 2, 4
WRAP = 8

EAST, WEST = 0, 1


def stream_ref(index: int, direction: int, tap: bool = False) -> int:
    """Encode a stream reference: bits 0–4 index, bit 5 direction (1 = westward), bit 6 tap."""
    return index | direction << 5 | tap << 6


NONE, STREAM, ALU, IMM = 0, 1, 2, 3


def vxm_operand(kind: int, type_: Type, value: int = 0) -> int:
    """Encode a VXM operand: bits 0–6 stream reference or ALU index, bits 7–9 type, bits 10–11 kind."""
    return value | int(type_) << 7 | kind << 10
