"""Tables on disk, row by row: CSV, plain or under gzip, and the first bytes of anything else.

Knows files, lines and limits on their size; rows come one at a time, so that a file need not fit in
memory. Does not know what any column means.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from takt.errors import DataError, UsageError
from takt.files import bytes_of, records_of, start_of

__all__ = [
    "MAX_BYTES",
    "RawRow",
    "header_of",
    "looks_like_json",
    "rows_of",
    "text_of",
]

# A million rows of 500 characters: more is a log, not a table of results (and gzip can hide terabytes).
MAX_BYTES = 512 * 2**20
# JSON is parsed as a whole, at many times its size in memory.
MAX_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """One data row: its line in the (unpacked) file, and its cells, as many as it has."""

    line: int
    cells: tuple[str, ...]


def _records(path: Path) -> Iterator[RawRow]:
    for line, cells in records_of(path, MAX_BYTES):
        yield RawRow(line=line, cells=tuple(cells))


def looks_like_json(path: Path) -> bool:
    """Whether the first character that is no blank opens a JSON object or list."""
    return start_of(path)[:1] in (b"{", b"[")


def text_of(path: Path) -> str:
    """All text of a file of at most MAX_JSON_BYTES, whatever the length of its lines."""
    try:
        return bytes_of(path, min(MAX_BYTES, MAX_JSON_BYTES)).decode("utf-8-sig")
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
