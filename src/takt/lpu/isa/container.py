"""The outside of a `.takt` file: magic, sizes, checksum, and where header and blobs lie.

    bytes 0–7    magic            8–11   format version       12–15  bytes of the header
    16–23        bytes of the whole file                      24–31  zero
    32–63        SHA-256 of everything else
    64 …         header, then the blobs, each from the next multiple of 64 on

A file is written whole or not at all. Reading checks sizes before it allocates and the checksum before anyone looks
inside. What header and blobs say is for `file`.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import stat
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from takt.errors import DataError

MAGIC: Final = b"\x89TAKT\r\n\x1a"
VERSION: Final = 1
MAX_FILE_BYTES: Final = 1 << 31
MAX_HEADER_BYTES: Final = 16 << 20
_ALIGN: Final = 64
_PREFIX: Final = struct.Struct("<8sIIQQ")
_HEAD_BYTES: Final = _PREFIX.size + hashlib.sha256().digest_size


def wrong(file: str, key: str, expected: str, found: object) -> DataError:
    """The error for a file that is not what it should be."""
    return DataError(
        "is not a sound .takt file", file=file, key=key, expected=expected, found=str(found)
    )


def write_container(target: Path, header: bytes, blobs: Sequence[memoryview]) -> None:
    """Write a file that appears under its name only when complete. Raises DataError if it cannot be written."""
    pieces: list[bytes | memoryview] = [header]
    at = len(header)
    for blob in blobs:
        pieces += [bytes(-at % _ALIGN), blob]
        at += -at % _ALIGN + blob.nbytes
    total = _HEAD_BYTES + at
    if total > MAX_FILE_BYTES or len(header) > MAX_HEADER_BYTES:
        expected = f"at most {MAX_FILE_BYTES:,} bytes, {MAX_HEADER_BYTES:,} of them header"
        found = f"{total:,} and {len(header):,}"
        raise DataError("too large to save", file=str(target), expected=expected, found=found)
    prefix = _PREFIX.pack(MAGIC, VERSION, len(header), total, 0)
    digest = hashlib.sha256(prefix)
    for piece in pieces:
        digest.update(piece)
    _write(target, [prefix, digest.digest(), *pieces])


def _write(target: Path, pieces: Sequence[bytes | memoryview]) -> None:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as out:
            for piece in pieces:
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", file=str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_container(path: str | os.PathLike[str]) -> tuple[bytes, memoryview]:
    """The header, and everything after the first 64 bytes (header included) for `cut_blobs`.

    Raises DataError unless the file is complete, of this format and version, and has its checksum.
    """
    file = str(path)
    try:
        with Path(path).open("rb", buffering=0) as source:
            head, data = _read_all(file, source)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", file=file) from error
    digest = hashlib.sha256(head[: _PREFIX.size])
    digest.update(data)
    if digest.digest() != head[_PREFIX.size :]:
        expected, found = head[_PREFIX.size :].hex(), digest.hexdigest()
        raise wrong(file, "checksum", expected[:16] + "…", found[:16] + "…")
    content = memoryview(data).toreadonly()
    return bytes(content[: _PREFIX.unpack_from(head)[2]]), content


def _read_all(file: str, source: io.FileIO) -> tuple[bytes, bytearray]:
    """The first 64 bytes and the rest, once all sizes agree."""
    status = os.fstat(source.fileno())
    size = status.st_size
    if not stat.S_ISREG(status.st_mode) or not _HEAD_BYTES <= size <= MAX_FILE_BYTES:
        expected = f"a regular file of {_HEAD_BYTES} to {MAX_FILE_BYTES:,} bytes"
        raise wrong(file, "size", expected, f"{size:,}")
    head = source.read(_HEAD_BYTES)
    if len(head) != _HEAD_BYTES:
        raise wrong(file, "size", f"{size:,} bytes", "fewer")
    magic, version, header_bytes, total, reserved = _PREFIX.unpack_from(head)
    if magic != MAGIC:
        raise wrong(file, "magic", repr(MAGIC), repr(magic))
    if version != VERSION or reserved:
        raise wrong(file, "version", str(VERSION), version)
    if total != size:
        raise wrong(file, "size", f"{total:,} bytes, as the file says", f"{size:,}")
    if header_bytes > min(MAX_HEADER_BYTES, size - _HEAD_BYTES):
        limit = min(MAX_HEADER_BYTES, size - _HEAD_BYTES)
        raise wrong(file, "header", f"at most {limit:,} bytes", f"{header_bytes:,}")
    data = bytearray(size - _HEAD_BYTES)
    rest = memoryview(data)
    while len(rest):
        n_read = source.readinto(rest)
        if not n_read:
            raise wrong(file, "size", f"{size:,} bytes", "fewer")
        rest = rest[n_read:]
    return head, data


def cut_blobs(
    file: str, content: memoryview, header_bytes: int, stored_bytes: Sequence[int]
) -> list[memoryview]:
    """The blobs of a container by their lengths, which must fill it exactly. Raises DataError otherwise."""
    at, cuts = header_bytes, []
    for n in stored_bytes:
        at += -at % _ALIGN  # the file's first 64 bytes are not in `content`, and are one alignment
        cuts.append(content[at : at + n])
        at += n
    if at != len(content):
        found = f"{len(content) + _HEAD_BYTES:,}"
        raise wrong(file, "size", f"{at + _HEAD_BYTES:,} bytes, as the header says", found)
    return cuts
