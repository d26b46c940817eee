"""ONNX files as nodes, attributes and arrays, read without running anything they say.

The protocol-buffer wire format is read field by field; a length is compared with what is left before anything is copied, so a broken
file costs no more memory than its own size. Weights outside the file are refused. What operators mean is
`onnx_graph`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from struct import unpack

import numpy as np
from numpy.typing import NDArray

from takt.errors import DataError, ModelError, UnsupportedError

Array = NDArray[np.generic]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | Array

MOST_BYTES = 1 << 31
"""Of a file: more than one chip's SRAM many times over."""
_MOST_NODES = 100_000
_MOST_RANK = 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_TYPES: Mapping[int, str] = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 12: "<u4", 13: "<u8",
}  # fmt: skip
"""Element types by ONNX's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator: what it reads and makes, by name."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.op} node '{self.name or ', '.join(self.outputs)}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """A graph: nodes in order, constants, and inputs (those that are no constants) with their shapes, −1 where unknown."""

    name: str
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]


@dataclass(slots=True)
class _Message:
    """A message's fields: numbers as they came, everything else as bytes."""

    ints: dict[int, list[int]] = field(default_factory=dict)
    parts: dict[int, list[memoryview]] = field(default_factory=dict)

    def text(self, number: int) -> str:
        """A text field, empty if there is none."""
        part = self.parts.get(number)
        return _text(part[-1]) if part else ""

    def texts(self, number: int) -> tuple[str, ...]:
        """A repeated text field."""
        return tuple(_text(part) for part in self.parts.get(number, ()))

    def number(self, field: int) -> int:
        """A number, 0 if there is none."""
        return self.ints.get(field, [0])[-1]

    def all_ints(self, number: int) -> list[int]:
        """A repeated number, packed or not."""
        found = list(self.ints.get(number, ()))
        for part in self.parts.get(number, ()):
            at = 0
            while at < len(part):
                value, at = _varint(part, at)
                found.append(_signed(value))
        return found

    def messages(self, number: int) -> Iterator[_Message]:
        """A repeated message."""
        return (_message(part) for part in self.parts.get(number, ()))


def _text(part: memoryview) -> str:
    try:
        return bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise DataError("a name is not UTF-8") from None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
    raise DataError("a number runs beyond the end of its message")


def _message(data: memoryview) -> _Message:
    """All fields of one message. DataError where the wire format is broken."""
    message, at = _Message(), 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            message.ints.setdefault(number, []).append(_signed(value))
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise DataError("a field has an unknown wire type", found=str(wire))
        if size > len(data) - at:
            raise DataError("a field is longer than its message", expected=f"at most {len(data) - at} bytes", found=f"{size}")  # fmt: skip
        message.parts.setdefault(number, []).append(data[at : at + size])
        at += size
    return message


def read_onnx(path: Path) -> OnnxFile:
    """Read a file. DataError where it is broken, ModelError if there is none, UnsupportedError for what is left out."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UnsupportedError(f"{path}: larger than {MOST_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    try:
        return parse_onnx(data, name=path.stem)
    except DataError as error:
        error.file = str(path)
        raise


def parse_onnx(data: bytes, *, name: str) -> OnnxFile:
    """An ONNX model in memory; errors as for `read_onnx`."""
    model = _message(memoryview(data))
    graphs = model.parts.get(7, [])
    if not graphs:
        raise DataError(
            "no graph", expected="an ONNX model", found=f"{len(data)} bytes of something else"
        )
    graph = _message(graphs[-1])
    if graph.parts.get(15):
        raise UnsupportedError("sparse weights")
    if len(graph.parts.get(1, ())) > _MOST_NODES:
        raise UnsupportedError(f"more than {_MOST_NODES:,} nodes")
    constants = {}
    for part in graph.messages(5):
        constants[part.text(8)] = _tensor(part)
    nodes = tuple(_node(part) for part in graph.messages(1))
    inputs = {part.text(1): _shape(part) for part in graph.messages(11)}
    return OnnxFile(
        name=name,
        nodes=nodes,
        constants=constants,
        inputs={key: shape for key, shape in inputs.items() if key not in constants},
        outputs=tuple(part.text(1) for part in graph.messages(12)),
    )


def _shape(value: _Message) -> tuple[int, ...]:
    dims: list[int] = []
    for type_ in value.messages(2):
        for tensor in type_.messages(1):
            for shape in tensor.messages(2):
                dims += [dim.number(1) or -1 for dim in shape.messages(1)]
    return tuple(dims)


def _node(message: _Message) -> Node:
    domain = message.text(7)
    if domain not in ("", "ai.onnx"):
        raise UnsupportedError(f"operators of domain '{domain}'")
    attributes = {part.text(1): _attribute(part) for part in message.messages(5)}
    return Node(
        name=message.text(3),
        op=message.text(4),
        inputs=message.texts(1),
        outputs=message.texts(2),
        attributes=attributes,
    )


def _attribute(message: _Message) -> Attribute:
    kind = message.number(20)
    if kind == 1 or (kind == 0 and message.parts.get(2)):
        return _floats(message.parts.get(2, []))[-1] if message.parts.get(2) else 0.0
    if kind == 2 or (kind == 0 and message.ints.get(3)):
        return message.number(3)
    if kind == 3 or (kind == 0 and message.parts.get(4)):
        return message.text(4)
    if kind == 4 or (kind == 0 and message.parts.get(5)):
        for tensor in message.messages(5):
            return _tensor(tensor)
    if kind == 6 or (kind == 0 and message.parts.get(7)):
        return tuple(_floats(message.parts.get(7, [])))
    if kind == 7 or (kind == 0 and (message.parts.get(8) or message.ints.get(8))):
        return tuple(message.all_ints(8))
    raise UnsupportedError(f"attribute '{message.text(1)}' of kind {kind}")


def _floats(parts: list[memoryview]) -> list[float]:
    found: list[float] = []
    for part in parts:
        if len(part) % 4:
            raise DataError("a list of floats ends within one")
        found += unpack(f"<{len(part) // 4}f", part)
    return found


def _tensor(message: _Message) -> Array:
    """An array; its size is compared with the data before it is made."""
    name, dims = message.text(8), message.all_ints(1)
    if message.number(14) or message.parts.get(13):
        raise UnsupportedError(f"tensor '{name}': its data lies in another file", hint="save the model with its weights inside")  # fmt: skip
    type_ = _TYPES.get(message.number(2))
    if type_ is None:
        raise UnsupportedError(f"tensor '{name}': element type {message.number(2)}")
    if len(dims) > _MOST_RANK or any(dim < 0 for dim in dims):
        raise DataError("bad dimensions", key=name, found=str(dims[: _MOST_RANK + 1]))
    count = prod(dims)
    raw = message.parts.get(9)
    if raw:
        size = np.dtype(type_).itemsize
        if len(raw[-1]) != count * size:
            raise DataError("data of the wrong size", key=name, expected=f"{count * size} bytes", found=f"{len(raw[-1])}")  # fmt: skip
        return np.frombuffer(raw[-1], type_).reshape(dims).copy()
    values = _listed(message, type_)
    if len(values) != count:
        raise DataError("data of the wrong size", key=name, expected=f"{count} elements", found=f"{len(values)}")  # fmt: skip
    return values.reshape(dims)


def _listed(message: _Message, type_: str) -> Array:
    """Elements that are fields of their own: float_data, int32_data, int64_data, double_data."""
    if type_ == "<f4":
        return np.array(_floats(message.parts.get(4, [])), np.float32)
    if type_ == "<f8":
        parts = b"".join(bytes(part) for part in message.parts.get(10, []))
        if len(parts) % 8:
            raise DataError("a list of doubles ends within one")
        return np.frombuffer(parts, "<f8").copy()
    numbers = message.all_ints(7 if type_ == "<i8" else 11 if type_ in ("<u4", "<u8") else 5)
    if type_ == "<f2":
        return np.array([n & 0xFFFF for n in numbers], np.uint16).view(np.float16)
    wide = np.array(numbers, np.int64) if numbers else np.zeros(0, np.int64)
    return wide.astype(type_)
