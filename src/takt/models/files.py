"""Files from strangers: mapped, bounded, and handed out piece by piece.

`MappedFile` gives checked slices of a read-only mapping, so that no size written in a file is believed
before it is compared with the file itself. `read_json` decodes small JSON into typed structs. Knows nothing
of any model format.
"""

from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from takt.errors import DataError, ModelError

T = TypeVar("T")
StoredFloat = Literal["<f2", "<f4", "<f8"]

MAX_JSON_BYTES = 32 << 20


class MappedFile:
    """A read-only mapping of one file; `take` slices it, `close` lets it go.

    Slices stay valid after `close`: the operating system unmaps when the last one is gone.
    """

    __slots__ = ("_bytes", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.stat().st_size == 0:
                raise DataError("file is empty", file=str(path))
            self._bytes: NDArray[np.uint8] | None = np.asarray(np.memmap(path, np.uint8, "r"))
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot read: {error}") from error

    @property
    def size_bytes(self) -> int:
        """Length of the file; 0 once closed."""
        return 0 if self._bytes is None else int(self._bytes.size)

    def take(self, start: int, count: int, what: str) -> NDArray[np.uint8]:
        """`count` bytes from `start`, uncopied. DataError where the file has no such bytes."""
        if self._bytes is None:
            raise ModelError(f"{self.path} is closed")
        if start < 0 or count < 0 or start + count > self._bytes.size:
            raise DataError(
                "file ends too early",
                file=str(self.path),
                key=what,
                expected=f"bytes {start}..{start + count}",
                found=f"{self._bytes.size} bytes",
            )
        return self._bytes[start : start + count]

    def close(self) -> None:
        """Let the mapping go; `take` raises from now on."""
        self._bytes = None


def as_float32(
    raw: NDArray[np.uint8], stored: StoredFloat, dims: tuple[int, ...]
) -> NDArray[np.float32]:
    """Little-endian floats as aligned float32 in C order; a view where they are that already."""
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # damaged weights may be anything; not our call
        return np.require(raw.view(stored).reshape(dims), np.float32, ["A", "C"])


def widen_bf16(raw: NDArray[np.uint8], dims: tuple[int, ...]) -> NDArray[np.float32]:
    """bfloat16 bytes as float32: bf16 is the upper half of a float32."""
    return (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(dims)


def read_bytes(path: Path, limit_bytes: int) -> bytes:
    """The whole file, if it exists and is at most `limit_bytes` long."""
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise DataError(
                "file is too large",
                file=str(path),
                expected=f"at most {limit_bytes} bytes",
                found=f"{size}",
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read: {error}") from error


def decode_json(data: bytes, kind: type[T], file: Path, key: str | None = None) -> T:
    """`data` as a `kind` (a msgspec struct or a typed dict); DataError says what does not fit."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"not the expected JSON: {error}", file=str(file), key=key) from error


def read_json(path: Path, kind: type[T]) -> T:
    """A small JSON file as a `kind`. ModelError (unreadable) or DataError (too large, not that kind)."""
    return decode_json(read_bytes(path, MAX_JSON_BYTES), kind, path)
