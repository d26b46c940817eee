"""Tables on disk, row by row: CSV, plain or under gzip, and the first bytes of anything else.

Knows files, lines and limits on their size; rows come one at a time, so that a file need not fit in
memory. Does not know what any column means.
"""

import codecs
import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from takt.errors import DataError, UsageError

__all__ = [
    "MAX_BYTES",
    "MAX_LINE_BYTES",
    "RawRow",
    "header_of",
    "looks_like_json",
    "rows_of",
    "text_of",
]

# A million rows of 500 characters: more is a log, not a table of results (and gzip can hide terabytes).
MAX_BYTES = 512 * 2**20
MAX_LINE_BYTES = 2**20
# JSON is parsed as a whole, at many times its size in memory.
MAX_JSON_BYTES = 64 * 2**20
_PEEK_BYTES = 4096
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """One data row: its line in the (unpacked) file, and its cells, as many as it has."""

    line: int
    cells: tuple[str, ...]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked; failures become errors that name the file."""
    try:
        with path.open("rb") as raw:
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
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror or error}") from error


def _lines(path: Path) -> Iterator[str]:
    """Lines of text with their ends. Raises DataError for lines or files over the limits, or not UTF-8."""
    total = 0
    with _opened(path) as stream:
        for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), 1):
            total += len(raw)
            if len(raw) > MAX_LINE_BYTES:
                raise DataError(
                    f"line {number} is longer than {MAX_LINE_BYTES:,} bytes", file=str(path)
                )
            if total > MAX_BYTES:
                raise DataError(f"more than {MAX_BYTES:,} bytes of text", file=str(path))
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"line {number} is not UTF-8 text", file=str(path)) from error
            if "\0" in text:
                raise DataError(f"line {number} holds a zero byte: not a text file", file=str(path))
            yield text


def _records(path: Path) -> Iterator[RawRow]:
    reader = csv.reader(_lines(path))
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"line {reader.line_num}: {error}", file=str(path)) from error
        if cells is None:
            return
        if cells and any(cell.strip() for cell in cells):
            yield RawRow(line=reader.line_num, cells=tuple(cells))


def looks_like_json(path: Path) -> bool:
    """Whether the first character that is no blank opens a JSON object or list."""
    with _opened(path) as stream:
        start = stream.read(_PEEK_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
    return start[:1] in (b"{", b"[")


def text_of(path: Path) -> str:
    """All text of a file of at most MAX_JSON_BYTES, whatever the length of its lines."""
    most = min(MAX_BYTES, MAX_JSON_BYTES)
    with _opened(path) as stream:
        raw = stream.read(most + 1)
    if len(raw) > most:
        raise DataError(f"more than {most:,} bytes of text", file=str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", file=str(path)) from error


def header_of(path: Path) -> tuple[str, ...]:
    """Names of the columns. Raises UsageError for an empty file, DataError for a damaged one."""
    first = next(_records(path), None)
    if first is None:
        raise UsageError(f"{path} is empty", hint="expected a header and rows of measurements")
    return tuple(cell.strip() for cell in first.cells)


def rows_of(path: Path) -> Iterator[RawRow]:
    """All rows below the header, in order; blank lines are passed over."""
    records = _records(path)
    next(records, None)
    yield from records
