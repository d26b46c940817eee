"""Operands as text: one reader and one writer for each Kind of the table.

`show` and `read` are inverse: a value without a proper form (a reserved type, a stray bit) is written raw as `$n`, so
every column of every instruction survives the trip. Whether a value makes sense is not asked here; `verify` asks.

    address 17   stream e12, w3+ (tap)   VXM operand e4.f16, a7, a7.i32, #1.5, #i5, #x7fc00001, -   column group g3
    entry r12    type f16                flags add|keep|emit, drop     width 2, 2|wrap     lanes, words 0x00ff
    slice mem.w3 (or its number)         link link3                    map of lanes m0123456789abcdef (lane 0 first)
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping

import numpy as np

from takt.lpu.isa.table import ADD, ALU, EMIT, IMM, KEEP, NONE, STREAM, WRAP, Kind, Type

MAX_TOKEN = 40
TYPE_NAMES: tuple[str, ...] = tuple(t.name.lower() for t in Type)
TYPE_BY_NAME: Mapping[str, int] = {name: value for value, name in enumerate(TYPE_NAMES)}
FLAG_NAMES: tuple[tuple[int, str], ...] = ((ADD, "add"), (KEEP, "keep"), (EMIT, "emit"))

EXPECTED: Mapping[Kind, str] = {
    Kind.ADDRESS: "an address such as 17",
    Kind.STREAM: "a stream such as e12, or w3+ to let the value travel on",
    Kind.OPERAND: "e4.f16 (stream and type), a7 (result of an ALU), #1.5 or #i5 (immediate), or -",
    Kind.COLUMN: "a column group such as g3",
    Kind.ENTRY: "an accumulator entry such as r12",
    Kind.TYPE: "one of " + ", ".join(TYPE_NAMES),
    Kind.FLAGS: "add, keep and emit joined by |, or drop",
    Kind.AMOUNT: "a signed number of lanes",
    Kind.WIDTH: "a number of streams, 1, 2 or 4, perhaps with |wrap",
    Kind.LANES: "a mask of lanes such as 0x00ff",
    Kind.COUNT: "a number",
    Kind.SLICE: "a slice such as mem.w3",
    Kind.LINK: "a link such as link3",
    Kind.MAP16: "m and sixteen hex digits, lane 0 first",
    Kind.WORD: "a number such as 0x000fffff",
}
"""What the reader would have liked to see, by kind."""

_INTEGER = re.compile(r"[-+]?(0x[0-9a-fA-F]{1,16}|[0-9]{1,20})", re.ASCII)
_STREAM = re.compile(r"([ew])([0-9]{1,2})(\+?)", re.ASCII)
_NUMBERED = re.compile(r"(g|r|link|a)([0-9]{1,5})", re.ASCII)
_MAP = re.compile(r"m([0-9a-f]{16})", re.ASCII)


def read_integer(text: str) -> int | None:
    """A decimal or 0x number of at most 64 bits' length, or None."""
    return int(text, 0) if _INTEGER.fullmatch(text) and not _leading_zero(text) else None


def _leading_zero(text: str) -> bool:
    digits = text.lstrip("+-")
    return len(digits) > 1 and digits[0] == "0" and digits[1] != "x"


def show_stream(value: int) -> str | None:
    """`e12`, `w3+`; None when bits above the tap are set."""
    if value > 0x7F:
        return None
    return f"{'w' if value & 32 else 'e'}{value & 31}{'+' if value & 64 else ''}"


def read_stream(text: str) -> int | None:
    """The inverse of `show_stream`."""
    match = _STREAM.fullmatch(text)
    if match is None or int(match[2]) > 31:
        return None
    return int(match[2]) | (32 if match[1] == "w" else 0) | (64 if match[3] else 0)


def show_f32(bits: int) -> str:
    """The shortest decimal that gives back these 32 bits, or `x` and eight hex digits (odd NaNs)."""
    text = str(np.array(bits, np.uint32).view(np.float32)[()])
    return text if read_f32(text) == bits else f"x{bits:08x}"


def read_f32(text: str) -> int | None:
    """Bits of an f32 written as a decimal or as `x` and hex digits."""
    if re.fullmatch(r"x[0-9a-f]{8}", text, re.ASCII):
        return int(text[1:], 16)
    if not text.isascii() or "_" in text:
        return None
    try:
        return int.from_bytes(struct.pack("<f", float(text)), "little")
    except (ValueError, OverflowError):
        return None


def show_vxm(value: int, imm: int) -> str | None:
    """A VXM operand; an immediate is written with its value, which lies in `imm`."""
    kind, type_, low = value >> 10, value >> 7 & 7, value & 0x7F
    if type_ >= len(TYPE_NAMES):
        return None
    if kind == STREAM:
        return f"{show_stream(low)}.{TYPE_NAMES[type_]}"
    suffix = "" if type_ == Type.F32 else f".{TYPE_NAMES[type_]}"
    if kind == ALU:
        return f"a{low}{suffix}"
    if kind == NONE and low == 0:
        return f"-{suffix}"
    if kind != IMM or low or imm > 0xFFFF_FFFF or type_ not in (Type.F32, Type.I32):
        return None
    return f"#{show_f32(imm)}" if type_ == Type.F32 else f"#i{imm - (imm >> 31 << 32)}"


def read_vxm(text: str) -> tuple[int, int | None] | None:
    """(operand column, immediate or None), the inverse of `show_vxm`."""
    if text.startswith("#"):
        return _read_immediate(text[1:])
    head, dot, suffix = text.partition(".")
    type_ = TYPE_BY_NAME.get(suffix if dot else "f32")
    if type_ is None:
        return None
    if head == "-":
        return NONE << 10 | type_ << 7, None
    match = _NUMBERED.fullmatch(head)
    if match and match[1] == "a" and int(match[2]) <= 0x7F:
        return int(match[2]) | type_ << 7 | ALU << 10, None
    stream = read_stream(head)
    return (stream | type_ << 7 | STREAM << 10, None) if stream is not None and dot else None


def _read_immediate(text: str) -> tuple[int, int | None] | None:
    if text.startswith("i") and text != "inf":
        number = read_integer(text[1:])
        if number is None or not -(1 << 31) <= number < 1 << 32:
            return None
        return int(Type.I32) << 7 | IMM << 10, number & 0xFFFF_FFFF
    bits = read_f32(text)
    return None if bits is None else (int(Type.F32) << 7 | IMM << 10, bits)


def _show_flags(value: int) -> str | None:
    if value > ADD | KEEP | EMIT:
        return None
    return "|".join(name for bit, name in FLAG_NAMES if value & bit) or "drop"


def _read_flags(text: str) -> int | None:
    if text == "drop":
        return 0
    bits = {name: bit for bit, name in FLAG_NAMES}
    names = text.split("|")
    if len(set(names)) != len(names) or not set(names) <= set(bits):
        return None
    return sum(bits[name] for name in names)


def _show_type(value: int) -> str | None:
    return TYPE_NAMES[value] if value < len(TYPE_NAMES) else None


def _show_width(value: int) -> str | None:
    if value & ~WRAP not in (1, 2, 4):
        return None
    return f"{value & ~WRAP}|wrap" if value & WRAP else str(value)


def _read_width(text: str) -> int | None:
    head, bar, tail = text.partition("|")
    if head not in ("1", "2", "4") or (bar and tail != "wrap"):
        return None
    return int(head) | (WRAP if bar else 0)


def _show_map(value: int) -> str:
    return "m" + f"{value:016x}"[::-1]


def _read_map(text: str) -> int | None:
    match = _MAP.fullmatch(text)
    return int(match[1][::-1], 16) if match else None


def _signed(value: int) -> str:
    return str(value - 0x1_0000 if value & 0x8000 else value)


def _read_signed(text: str) -> int | None:
    number = read_integer(text)
    return number & 0xFFFF if number is not None and -0x8000 <= number < 0x8000 else None


def _numbered(prefix: str) -> tuple[Callable[[int], str | None], Callable[[str], int | None]]:
    def read(text: str) -> int | None:
        match = _NUMBERED.fullmatch(text)
        return int(match[2]) if match and match[1] == prefix else None

    return (lambda value: f"{prefix}{value}"), read


_PLAIN: tuple[Callable[[int], str | None], Callable[[str], int | None]] = (str, read_integer)
_HEX: tuple[Callable[[int], str | None], Callable[[str], int | None]] = (hex, read_integer)

FORMS: Mapping[Kind, tuple[Callable[[int], str | None], Callable[[str], int | None]]] = {
    Kind.ADDRESS: _PLAIN,
    Kind.STREAM: (show_stream, read_stream),
    Kind.COLUMN: _numbered("g"),
    Kind.ENTRY: _numbered("r"),
    Kind.TYPE: (_show_type, TYPE_BY_NAME.get),
    Kind.FLAGS: (_show_flags, _read_flags),
    Kind.AMOUNT: (_signed, _read_signed),
    Kind.WIDTH: (_show_width, _read_width),
    Kind.LANES: (lambda value: f"0x{value:04x}", read_integer),
    Kind.COUNT: _PLAIN,
    Kind.SLICE: _PLAIN,
    Kind.LINK: _numbered("link"),
    Kind.MAP16: (_show_map, _read_map),
    Kind.WORD: _HEX,
}
"""(show, read) of every kind but OPERAND, which also carries the immediate."""
