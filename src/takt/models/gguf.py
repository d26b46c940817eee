"""GGUF version 2 and 3: the container of llama.cpp, parsed without believing it.

Header, metadata pairs, tensor descriptions, then aligned tensor bytes. Every count and length is compared with
the bytes that are left before anything is made of it, which the `gguf` package does not promise. Decodes F32,
F16, BF16, Q8_0 and Q4_0. Knows nothing of models; `gguf_model` reads meaning into the metadata.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from takt.errors import DataError, UnsupportedError

from .files import MappedFile, as_float32, widen_bf16
from .model import Tensor

MAX_PAIRS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 1 << 16
MAX_STRING_BYTES = 1 << 26
MAX_STRINGS = 1 << 22  # entries of a text array: vocabularies and merges stay well below
DEFAULT_ALIGNMENT = 32

Scalar = int | float | bool | str
# Arrays of text stay lists; arrays of numbers stay where they lie, as numpy views.
Value = Scalar | tuple[str, ...] | NDArray[np.generic]
T = TypeVar("T")

_NUMBERS = MappingProxyType(
    {
        0: "u1",
        1: "i1",
        2: "<u2",
        3: "<i2",
        4: "<u4",
        5: "<i4",
        6: "<f4",
        7: "?",
        10: "<u8",
        11: "<i8",
        12: "<f8",
    }
)
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFormat:
    """A way to store numbers: `block` of them in `size_bytes`; `decode` gives them flat as float32."""

    name: str
    block: int
    size_bytes: int
    decode: Callable[[NDArray[np.uint8]], Tensor]


def _q8_0(raw: NDArray[np.uint8]) -> Tensor:
    """Blocks of a float16 scale and 32 int8."""
    blocks = raw.reshape(-1, 34)
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    return (blocks[:, 2:].view(np.int8).astype(np.float32) * scale).reshape(-1)


def _q4_0(raw: NDArray[np.uint8]) -> Tensor:
    """Blocks of a float16 scale and 16 bytes: low nibbles are numbers 0..15, high ones 16..31, all less 8."""
    blocks = raw.reshape(-1, 18)
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    return ((nibbles.astype(np.float32) - 8) * scale).reshape(-1)


FORMATS: Mapping[int, BlockFormat] = MappingProxyType(
    {
        0: BlockFormat(
            name="F32", block=1, size_bytes=4, decode=lambda raw: as_float32(raw, "<f4", (-1,))
        ),
        1: BlockFormat(
            name="F16", block=1, size_bytes=2, decode=lambda raw: as_float32(raw, "<f2", (-1,))
        ),
        2: BlockFormat(name="Q4_0", block=32, size_bytes=18, decode=_q4_0),
        8: BlockFormat(name="Q8_0", block=32, size_bytes=34, decode=_q8_0),
        30: BlockFormat(
            name="BF16", block=1, size_bytes=2, decode=lambda raw: widen_bf16(raw, (-1,))
        ),
    }
)
# Named so that a refusal can say what it met.
_OTHER_FORMATS = MappingProxyType(
    {
        3: "Q4_1",
        6: "Q5_0",
        7: "Q5_1",
        9: "Q8_1",
        10: "Q2_K",
        11: "Q3_K",
        12: "Q4_K",
        13: "Q5_K",
        14: "Q6_K",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """One stored tensor: `dims` outermost first (the file's order reversed), `start` in bytes of the file."""

    name: str
    dims: tuple[int, ...]
    format: BlockFormat
    start: int
    file: MappedFile

    def read(self) -> Tensor:
        """The numbers as float32, decoded now."""
        size = math.prod(self.dims) // self.format.block * self.format.size_bytes
        with np.errstate(over="ignore", invalid="ignore"):  # damaged scales may be anything
            return self.format.decode(self.file.take(self.start, size, self.name)).reshape(
                self.dims
            )


class GgufFile:
    """A parsed file: typed metadata and tensors by name.

    Raises DataError (damaged) or UnsupportedError (version, byte order, number format) on the way in.
    """

    __slots__ = ("_at", "_metadata", "file", "tensors")

    def __init__(self, path: Path) -> None:
        self.file = MappedFile(path)
        self._at = 0
        if self._take(4, "magic").tobytes() != b"GGUF":
            raise self._bad("magic", "GGUF", "something else")
        version = self._number("<u4", "version")
        if version not in (2, 3):
            raise UnsupportedError(
                f"{path}: GGUF version {version} is not supported",
                hint="versions 2 and 3, little-endian, are",
            )
        n_tensors = self._count("tensor count", MAX_TENSORS, 24)
        n_pairs = self._count("metadata count", MAX_PAIRS, 13)
        self._metadata = dict(self._pair() for _ in range(n_pairs))
        descriptions = [self._description() for _ in range(n_tensors)]
        alignment = self.integer("general.alignment", DEFAULT_ALIGNMENT, limit=1 << 20)
        data_start = -(-self._at // alignment) * alignment
        self.tensors = self._placed(descriptions, data_start, alignment)

    def has(self, key: str) -> bool:
        """Whether the metadata has `key`."""
        return key in self._metadata

    def integer(self, key: str, default: int | None = None, *, limit: int = 1 << 31) -> int:
        """A whole number in 1..limit (0 is no size of anything Takt reads)."""
        value = self._get(key, int, "a whole number", default)
        if isinstance(value, bool) or not 1 <= value <= limit:
            raise self._bad(key, f"1..{limit}", str(value))
        return value

    def token_id(self, key: str) -> int | None:
        """An id, or None without one."""
        if key not in self._metadata:
            return None
        value = self._get(key, int, "a token id", None)
        return value if 0 <= value < MAX_STRINGS else None

    def real(self, key: str, default: float | None = None) -> float:
        """A number. `default`, if any, where the key is absent."""
        return self._get(key, float, "a number", default)

    def text(self, key: str, default: str | None = None) -> str:
        """A text. `default`, if any, where the key is absent."""
        return self._get(key, str, "text", default)

    def flag(self, key: str, default: bool) -> bool:
        """True or false. `default` where the key is absent."""
        return self._get(key, bool, "true or false", default)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; bytes that are no UTF-8 are lone surrogates."""
        return self._get(key, tuple, "a list of texts", None)

    def numbers(self, key: str) -> NDArray[np.generic]:
        """A list of numbers, where it lies in the file."""
        return self._get(key, np.ndarray, "a list of numbers", None)

    def _get(self, key: str, kind: type[T], expected: str, default: T | None) -> T:
        value = self._metadata.get(key, default)
        if not isinstance(value, kind):
            raise self._bad(key, expected, "nothing" if value is None else type(value).__name__)
        return value

    def _take(self, count: int, what: str) -> NDArray[np.uint8]:
        raw = self.file.take(self._at, count, what)
        self._at += count
        return raw

    def _number(self, kind: str, what: str) -> int:
        return int(self._take(np.dtype(kind).itemsize, what).view(kind)[0])

    def _count(self, what: str, limit: int, least_bytes: int) -> int:
        """A count of things that take at least `least_bytes` each, so the file must have room for them."""
        count = self._number("<u8", what)
        room = (self.file.size_bytes - self._at) // least_bytes
        if count > min(limit, room):
            raise self._bad(what, f"at most {min(limit, room)}", str(count))
        return count

    def _string(self, what: str, limit: int) -> str:
        raw = self._take(self._count(what, limit, 1), what).tobytes()
        # Vocabularies hold pieces of characters; those bytes survive as lone surrogates.
        return raw.decode("utf-8", errors="surrogateescape")

    def _pair(self) -> tuple[str, Value]:
        key = self._string("metadata key", MAX_NAME_BYTES)
        kind = self._number("<u4", key)
        return key, self._array(key) if kind == _ARRAY else self._scalar(key, kind)

    def _scalar(self, key: str, kind: int) -> Scalar:
        if kind == _STRING:
            return self._string(key, MAX_STRING_BYTES)
        if kind not in _NUMBERS:
            raise self._bad(key, "a GGUF value type (0..12)", str(kind))
        dtype = np.dtype(_NUMBERS[kind])
        value: Scalar = self._take(dtype.itemsize, key).view(dtype)[0].item()
        return value

    def _array(self, key: str) -> Value:
        kind = self._number("<u4", key)
        if kind == _STRING:
            n_strings = self._count(key, MAX_STRINGS, 8)
            return tuple(self._string(key, MAX_STRING_BYTES) for _ in range(n_strings))
        if kind not in _NUMBERS:
            raise self._bad(key, "an array of numbers or texts", f"value type {kind}")
        dtype = np.dtype(_NUMBERS[kind])
        count = self._count(key, 1 << 40, dtype.itemsize)
        return self._take(count * dtype.itemsize, key).view(dtype)

    def _description(self) -> tuple[str, tuple[int, ...], int, int]:
        """(name, dims outermost first, format number, offset) of one tensor, as written."""
        name = self._string("tensor name", MAX_NAME_BYTES)
        n_dims = self._number("<u4", name)
        if n_dims > MAX_DIMENSIONS:
            raise self._bad(name, f"at most {MAX_DIMENSIONS} dimensions", str(n_dims))
        dims = tuple(self._number("<u8", name) for _ in range(n_dims))[::-1]
        return name, dims, self._number("<u4", name), self._number("<u8", name)

    def _placed(
        self,
        descriptions: list[tuple[str, tuple[int, ...], int, int]],
        data_start: int,
        alignment: int,
    ) -> dict[str, GgufTensor]:
        tensors = {}
        for name, dims, number, offset in descriptions:
            block_format = self._format(name, number)
            if 0 in dims:  # nothing would bound the other dimensions
                raise self._bad(name, "dimensions of at least 1", str(list(dims)))
            if dims and dims[-1] % block_format.block:
                raise self._bad(name, f"rows of whole {block_format.name} blocks", str(list(dims)))
            size = math.prod(dims) // block_format.block * block_format.size_bytes
            if offset % alignment or data_start + offset + size > self.file.size_bytes:
                raise self._bad(
                    name,
                    f"{size} bytes at a multiple of {alignment} within {self.file.size_bytes} bytes",
                    f"offset {offset} from {data_start}",
                )
            tensors[name] = GgufTensor(
                name=name, dims=dims, format=block_format, start=data_start + offset, file=self.file
            )
        return tensors

    def _format(self, name: str, number: int) -> BlockFormat:
        if number in FORMATS:
            return FORMATS[number]
        called = _OTHER_FORMATS.get(number, f"type {number}")
        supported = ", ".join(block_format.name for block_format in FORMATS.values())
        raise UnsupportedError(
            f"{self.file.path}: {name} is stored as {called}, which Takt does not read",
            hint=f"supported: {supported}",
        )

    def _bad(self, key: str, expected: str, found: str) -> DataError:
        return DataError(
            "bad GGUF", file=str(self.file.path), key=key, expected=expected, found=found
        )
