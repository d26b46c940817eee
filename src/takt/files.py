"""Files as all rooms treat them: read within limits, plain or under gzip, and written whole or not at all.

Knows bytes, lines and the cells of CSV. Does not know what they say.
"""

import csv
import errno
import gzip
import os
import secrets
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

from takt.errors import DataError, UsageError

__all__ = [
    "File",
    "Held",
    "bytes_of",
    "held",
    "is_stream",
    "lines_of",
    "records_of",
    "start_of",
    "write_whole",
    "written_file",
]

_MOST_LINE_BYTES = 4 << 20
_MOST_HELD_BYTES = 256 << 20
_PEEK_BYTES = 4096
_PIECE_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What standard input or a pipe gave, held in memory: readers open a file more than once."""

    label: str
    name: str
    content: bytes

    @property
    def suffix(self) -> str:
        """Empty: nothing is known of it but its content."""
        return ""

    def open(self, mode: Literal["rb"]) -> IO[bytes]:
        """All of it again, from its start."""
        return BytesIO(self.content)

    def __str__(self) -> str:
        return self.label


File = Path | Held


def held(path: str | Path) -> File:
    """A file that can be read again and again: its path, or what came from `-` (standard input), a pipe or a device.

    A path of `Path` is never standard input. Raises UsageError where nothing can be read, DataError for more than 256 MiB.
    """
    if path == "-":
        stream = getattr(sys.stdin, "buffer", None)
        if stream is None:
            raise UsageError("there is no standard input to read", hint="name a file")
        return _held(stream, "standard input", "standard input")
    path = Path(path)
    if not is_stream(path):
        return path
    try:
        with path.open("rb") as stream:
            # `<(command)` comes as /dev/fd/63: its number says nothing.
            return _held(stream, str(path), "pipe" if path.name.isdecimal() else path.name)
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror or error}") from error


def is_stream(path: Path) -> bool:
    """Whether `path` is a pipe or a device: read once, and written to where a file would be replaced."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # who opens it says what is wrong
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _held(stream: IO[bytes], label: str, name: str) -> Held:
    pieces, total = [], 0
    try:
        while piece := stream.read(_PIECE_BYTES):
            pieces.append(piece)
            total += len(piece)
            if total > _MOST_HELD_BYTES:
                raise DataError(
                    f"more than {_MOST_HELD_BYTES:,} bytes from a pipe",
                    file=label,
                    hint="write it to a file first: files may be larger",
                )
    except OSError as error:
        raise UsageError(f"can't read {label}: {error.strerror or error}") from error
    return Held(label=label, name=name, content=b"".join(pieces))


@contextmanager
def _opened(path: File) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as raw:
            if not raw.seekable():
                raise UsageError(
                    f"can't read {path}: it can be read only once", hint="write it to a file first"
                )
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.open(raw, "rb") as unpacked:
                yield unpacked  # type: ignore[misc]  # GzipFile has all that is used here
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"the gzip data is damaged or cut off ({error})", file=str(path), hint="copy it again"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"can't read {path}: {reason}") from error


def start_of(path: File) -> bytes:
    """The first bytes that are no blanks."""
    with _opened(path) as stream:
        return stream.read(_PEEK_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()


def bytes_of(path: File, most: int) -> bytes:
    """All bytes of a file of at most `most`, unpacked."""
    with _opened(path) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise DataError(f"more than {most:,} bytes of text", file=str(path))
    return data


def lines_of(path: File, most: int) -> Iterator[str]:
    """Lines with their ends (LF, CR LF or CR alone), of at most `most` bytes unpacked: gzip can hide terabytes.

    Raises DataError for a file or a line that is too long, or no text.
    """
    total = 0
    with _opened(path) as stream:
        for number, raw in enumerate(_raw_lines(stream), 1):
            total += len(raw)
            if len(raw) > _MOST_LINE_BYTES:
                raise DataError(
                    f"line {number} is longer than {_MOST_LINE_BYTES:,} bytes", file=str(path)
                )
            if total > most:
                raise DataError(f"more than {most:,} bytes of text", file=str(path))
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"line {number} is not UTF-8 text", file=str(path)) from error
            if "\0" in text:
                raise DataError(f"line {number} holds a zero byte: not a text file", file=str(path))
            yield text


def _raw_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines; the first bytes of one that is too long stand for it. Old spreadsheets of the Mac end lines with CR alone."""
    rest = b""
    while piece := stream.readline(_MOST_LINE_BYTES + 1):
        piece = rest + piece
        rest = b""
        if piece.count(b"\r") == piece.endswith(b"\r\n"):
            yield piece  # nearly always: no CR but that of its end
            continue
        lines = piece.splitlines(keepends=True)
        if not piece.endswith(b"\n"):
            rest = lines.pop()  # a CR at its end may be half of CR LF
        yield from lines
    if rest:
        yield rest


def records_of(path: File, most: int) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row of a CSV file that is not blank, its header too; `most` as in `lines_of`."""
    reader = csv.reader(lines_of(path, most))
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"line {reader.line_num}: {error}", file=str(path)) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def written_file(path: Path) -> Path:
    """The file that writing to `path` is to replace: where `path` is a symbolic link, what it points to.

    So the link stays, and a temporary file beside this one is on the same disk. OSError for links in a circle.
    """
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step, through a symbolic link. DataError where the file cannot be written."""
    temporary = None
    try:
        target = written_file(path)
        if is_stream(target):
            with target.open("wb") as stream:
                stream.write(content)
            return
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(target)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", file=str(path)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
