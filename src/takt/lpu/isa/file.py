"""Program files, `.takt`: the programs of one chip with what they need in memory; safe to load from a stranger.

A container (`container`) with a JSON header and blobs. The header names the chip and its fingerprint, metadata, memory
regions, programs and sections. A program's blob holds its words as `encode` writes them, queue after queue (zlib, if that
saves space); a section's blob is a plain little-endian array.

Loading checks every size and every word, and never needs much more memory than the file is long. It runs nothing and
judges no program: `verify` and the checker do. It knows nothing of what metadata, regions and sections mean.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.errors import DataError, ProgramError
from takt.lpu.isa.container import MAX_FILE_BYTES, cut_blobs, read_container, write_container, wrong
from takt.lpu.isa.encode import WORD_BYTES, decode, encode
from takt.lpu.isa.program import Program

MAX_TEXT_BYTES: Final = 1 << 30
"""Words of all programs of a file together, unpacked."""
_MAX_RATIO: Final = 64  # a packed blob that claims more is refused, unless it is small
_SMALL_BYTES: Final = 1 << 20
_MAX_DIMENSIONS: Final = 8
_MAX_NUMBER: Final = (1 << 31) - 1
_DTYPES: Final = ("|u1", "|i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8")

Region = tuple[int, int, int]
"""(slice, first address, end address)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaktFile:
    """What a `.takt` file holds.

    Programs and sections have unique names. `chip_fingerprint` is `Chip.fingerprint` of the chip that the programs were
    made for, or empty. `sections` may hold bytes when saved; loaded, they are read-only arrays.
    """

    chip_id: str
    programs: tuple[Program, ...]
    metadata: Mapping[str, str | int | float] = field(default_factory=dict)
    regions: Mapping[str, Sequence[Region]] = field(default_factory=dict)
    sections: Mapping[str, NDArray[np.generic] | bytes] = field(default_factory=dict)
    chip_fingerprint: str = ""

    def check_chip(self, chip: Chip) -> None:
        """Raise ProgramError unless the programs were made for exactly this chip."""
        if self.chip_id != chip.id:
            raise ProgramError(f"the file is for chip {self.chip_id}, not {chip.id}")
        if self.chip_fingerprint not in ("", chip.fingerprint):
            raise ProgramError(
                f"chip {chip.id} has other facts than when the file was made",
                hint="compile again for the chip as it is now",
            )


class _Blob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stored_bytes: int
    n_bytes: int
    codec: Literal["raw", "zlib"]


class _ProgramEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    cycles: int
    queues: list[tuple[int, int]]  # number, words
    constant: list[tuple[int, int, int]]
    words: _Blob


class _SectionEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    dtype: str
    shape: list[int]
    content: _Blob


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chip: str
    chip_fingerprint: str
    metadata: dict[str, str | int | float]
    regions: dict[str, list[tuple[int, int, int]]]
    programs: list[_ProgramEntry]
    sections: list[_SectionEntry]

    def blobs(self) -> list[_Blob]:
        return [p.words for p in self.programs] + [s.content for s in self.sections]


def save(path: str | os.PathLike[str], file: TaktFile) -> None:
    """Write a file, or nothing: it appears under its name when it is complete.

    Raises ProgramError for a program that cannot be encoded, DataError for names, values or arrays that the format
    cannot hold and when the file cannot be written.
    """
    target = Path(path)
    programs = [_describe_program(file, program) for program in file.programs]
    sections = [_describe_section(target, *item) for item in file.sections.items()]
    header = _Header(
        chip=file.chip_id,
        chip_fingerprint=file.chip_fingerprint,
        metadata=dict(file.metadata),
        regions={name: _ranges(rows) for name, rows in file.regions.items()},
        programs=[entry for entry, _ in programs],
        sections=[entry for entry, _ in sections],
    )
    blobs = [blob for _, blob in programs] + [blob for _, blob in sections]
    write_container(target, _encode_header(target, header), blobs)


def _ranges(rows: Sequence[Sequence[int]]) -> list[Region]:
    return [(int(slice_), int(first), int(end)) for slice_, first, end in rows]


def _encode_header(target: Path, header: _Header) -> bytes:
    """The header as JSON, checked by reading it back."""
    try:
        text = msgspec.json.encode(header)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"the header cannot be written: {error}", file=str(target)) from error
    if _read_header(str(target), text) != header:
        raise DataError("the header holds a value that the format cannot keep", file=str(target))
    return text


def _describe_program(file: TaktFile, program: Program) -> tuple[_ProgramEntry, memoryview]:
    if program.chip_id != file.chip_id:
        where = f"program '{program.name}' is for chip {program.chip_id}"
        raise ProgramError(f"{where}, the file for {file.chip_id}")
    words, counts = encode(program.instructions)
    blob, stored = _pack(words.astype("<u8").tobytes())
    entry = _ProgramEntry(
        name=program.name,
        cycles=int(program.cycles),
        queues=list(counts.items()),
        constant=_ranges(program.constant.tolist()),
        words=blob,
    )
    return entry, memoryview(stored)


def _pack(plain: bytes) -> tuple[_Blob, bytes]:
    packed = zlib.compress(plain, level=3)
    pays = len(packed) < len(plain) <= max(_SMALL_BYTES, _MAX_RATIO * len(packed))
    stored = packed if pays else plain
    codec: Literal["raw", "zlib"] = "zlib" if pays else "raw"
    return _Blob(stored_bytes=len(stored), n_bytes=len(plain), codec=codec), stored


def _describe_section(
    target: Path, name: str, content: NDArray[np.generic] | bytes
) -> tuple[_SectionEntry, memoryview]:
    array = np.frombuffer(content, np.uint8) if isinstance(content, bytes) else content
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if little.dtype.str not in _DTYPES or array.ndim > _MAX_DIMENSIONS:
        raise DataError(
            "cannot be saved",
            file=str(target),
            key=f"sections.{name}",
            expected=f"numbers of 8 to 64 bits in at most {_MAX_DIMENSIONS} dimensions",
            found=f"{array.dtype} in {array.ndim}",
        )
    plain = np.ascontiguousarray(little).reshape(-1).view(np.uint8).data
    blob = _Blob(stored_bytes=plain.nbytes, n_bytes=plain.nbytes, codec="raw")
    shape = list(array.shape)
    return _SectionEntry(name=name, dtype=little.dtype.str, shape=shape, content=blob), plain


def load(path: str | os.PathLike[str]) -> TaktFile:
    """Read a file. Raises DataError for anything that is not a complete and well-formed `.takt` file."""
    name = str(path)
    text, content = read_container(path)
    header = _read_header(name, text)
    stored = [blob.stored_bytes for blob in header.blobs()]
    blobs = iter(cut_blobs(name, content, len(text), stored))
    return TaktFile(
        chip_id=header.chip,
        chip_fingerprint=header.chip_fingerprint,
        programs=tuple(_program(name, header.chip, e, next(blobs)) for e in header.programs),
        metadata=header.metadata,
        regions=header.regions,
        sections={entry.name: _section(name, entry, next(blobs)) for entry in header.sections},
    )


def _read_header(file: str, text: bytes) -> _Header:
    """Decode the header and check what does not depend on the blobs."""
    try:
        header = msgspec.json.decode(text, type=_Header)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise wrong(file, "header", "a header of this version", error) from error
    _check_unique(file, "programs", [program.name for program in header.programs])
    _check_unique(file, "sections", [section.name for section in header.sections])
    for blob in header.blobs():
        if min(blob.stored_bytes, blob.n_bytes) < 0:
            raise wrong(file, "header", "sizes of 0 or more", blob)
        if blob.codec == "raw" and blob.stored_bytes != blob.n_bytes:
            raise wrong(file, "header", f"{blob.n_bytes:,} plain bytes", f"{blob.stored_bytes:,}")
        if blob.n_bytes > max(_SMALL_BYTES, _MAX_RATIO * blob.stored_bytes):
            expected = f"packed data of at most {_MAX_RATIO} times its size"
            raise wrong(file, "header", expected, f"{blob.n_bytes:,} bytes")
    if sum(program.words.n_bytes for program in header.programs) > MAX_TEXT_BYTES:
        raise wrong(file, "programs", f"at most {MAX_TEXT_BYTES:,} bytes of words", "more")
    return header


def _check_unique(file: str, key: str, names: Sequence[str]) -> None:
    name, n = Counter(names).most_common(1)[0] if names else ("", 1)
    if n > 1:
        raise wrong(file, key, "unique names", f"'{name}' {n} times")


def _program(file: str, chip_id: str, entry: _ProgramEntry, stored: memoryview) -> Program:
    key = f"programs.{entry.name}"
    plain = _unpack(file, key, entry.words, stored)
    counts = dict(entry.queues)
    if len(plain) % WORD_BYTES or len(counts) != len(entry.queues):
        raise wrong(file, key, "whole words of distinct queues", f"{len(plain):,} bytes")
    numbers = [entry.cycles, *(n for row in (*entry.queues, *entry.constant) for n in row)]
    if min(numbers) < 0 or max(numbers) > _MAX_NUMBER:
        raise wrong(file, key, f"numbers from 0 to {_MAX_NUMBER:,}", [min(numbers), max(numbers)])
    words = np.frombuffer(plain, "<u8").astype(np.uint64, copy=False).reshape(-1, 2)
    try:
        instructions = decode(words, counts)
    except ProgramError as error:
        raise DataError(error.message, file=file, key=key) from error
    return Program(
        chip_id=chip_id,
        instructions=instructions,
        cycles=entry.cycles,
        name=entry.name,
        constant=np.array(entry.constant, np.int64).reshape(-1, 3),
    )


def _unpack(file: str, key: str, blob: _Blob, stored: memoryview) -> bytes | memoryview:
    """The plain bytes of a blob; never unpacks more than the header claims."""
    if blob.codec == "raw":
        return stored
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(stored, blob.n_bytes + 1)
    except zlib.error as error:
        raise wrong(file, key, "packed data", error) from error
    if len(plain) != blob.n_bytes or not unpacker.eof or unpacker.unused_data:
        raise wrong(file, key, f"{blob.n_bytes:,} bytes of packed data", "another size")
    return plain


def _section(file: str, entry: _SectionEntry, content: memoryview) -> NDArray[np.generic]:
    key = f"sections.{entry.name}"
    if entry.dtype not in _DTYPES:
        raise wrong(file, key, "one of " + " ".join(_DTYPES), entry.dtype)
    shape = entry.shape
    if len(shape) > _MAX_DIMENSIONS or any(not 0 <= n <= MAX_FILE_BYTES for n in shape):
        raise wrong(file, key, f"at most {_MAX_DIMENSIONS} dimensions of 0 or more", shape)
    n_bytes = np.dtype(entry.dtype).itemsize
    for n in shape:
        n_bytes *= n
    if entry.content.codec != "raw" or n_bytes != content.nbytes:
        found = f"{content.nbytes:,} as {entry.content.codec}"
        raise wrong(file, key, f"{n_bytes:,} plain bytes", found)
    return np.frombuffer(content, np.uint8).view(entry.dtype).reshape(shape)
