"""Files as all rooms treat them: read within limits, plain or under gzip, and written whole or not at all.

Knows bytes, lines and the cells of CSV. Does not know what they say.
"""

import csv
import gzip
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from takt.errors import DataError, UsageError

__all__ = ["bytes_of", "lines_of", "records_of", "start_of", "write_whole"]

_MOST_LINE_BYTES = 4 << 20
_PEEK_BYTES = 4096
_GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
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
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"can't read {path}: {reason}") from error


def start_of(path: Path) -> bytes:
    """The first bytes that are no blanks."""
    with _opened(path) as stream:
        return stream.read(_PEEK_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()


def bytes_of(path: Path, most: int) -> bytes:
    """All bytes of a file of at most `most`, unpacked."""
    with _opened(path) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise DataError(f"more than {most:,} bytes of text", file=str(path))
    return data


def lines_of(path: Path, most: int) -> Iterator[str]:
    """Lines with their ends, of at most `most` bytes unpacked: gzip can hide terabytes.

    Raises DataError for a file or a line that is too long, or no text.
    """
    total = 0
    with _opened(path) as stream:
        for number, raw in enumerate(iter(lambda: stream.readline(_MOST_LINE_BYTES + 1), b""), 1):
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


def records_of(path: Path, most: int) -> Iterator[tuple[int, list[str]]]:
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


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step. DataError where the file cannot be written."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", file=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
