"""Safetensors: the header of a file, believed only as far as the file bears it out.

Eight bytes of header length, a JSON header, then tensor bytes. Read here rather than by the reference library
because every claim must be checked before anything is sized by it, and tensors are wanted one at a time from
one mapping. Knows nothing of model families.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec

from takt.errors import DataError, ModelError, UnsupportedError

from .files import MappedFile, StoredFloat, as_float32, decode_json, read_json, widen_bf16
from .model import Tensor

# A sixth of what the format allows, and still room for a hundred thousand tensors in one file: a header
# costs many times its length once decoded.
MAX_HEADER_BYTES = 16 << 20
MAX_DIMENSIONS = 8
MAX_ELEMENTS = 1 << 48
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
_FLOATS: Mapping[str, StoredFloat] = MappingProxyType({"F32": "<f4", "F16": "<f2", "F64": "<f8"})
READABLE = ("F32", "F16", "BF16", "F64")
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where one tensor lies: `start` counts bytes from the beginning of `file`."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    start: int
    file: MappedFile

    def read(self) -> Tensor:
        """The numbers as float32, C order; a view of the mapping where the file holds float32."""
        if self.dtype not in READABLE:
            raise UnsupportedError(
                f"{self.file.path}: {self.name} is {self.dtype}; Takt reads {', '.join(READABLE)}"
            )
        size = DTYPE_BYTES[self.dtype] * math.prod(self.dims)
        raw = self.file.take(self.start, size, self.name)
        if self.dtype == "BF16":
            return widen_bf16(raw, self.dims)
        kind = _FLOATS[self.dtype]
        return as_float32(raw, kind, self.dims)


def open_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of one file, by the file's own names. DataError where the header lies."""
    file = MappedFile(path)
    length = int.from_bytes(file.take(0, 8, "header length").tobytes(), "little")
    if length > min(MAX_HEADER_BYTES, file.size_bytes - 8):
        raise DataError(
            "header is longer than the file or the limit",
            file=str(path),
            key="header length",
            expected=f"at most {min(MAX_HEADER_BYTES, file.size_bytes - 8)}",
            found=str(length),
        )
    header = decode_json(
        file.take(8, length, "header").tobytes(), dict[str, msgspec.Raw], path, "header"
    )
    entries = {
        name: decode_json(bytes(raw), _Entry, path, name)
        for name, raw in header.items()
        if name != "__metadata__"
    }
    tensors = {
        name: _checked_tensor(name, entry, 8 + length, file) for name, entry in entries.items()
    }
    _check_overlap(entries, path)
    return tensors


def _checked_tensor(name: str, entry: _Entry, data_start: int, file: MappedFile) -> StoredTensor:
    begin, end = entry.data_offsets
    size = DTYPE_BYTES.get(entry.dtype)
    problem = None
    if size is None:
        problem = ("dtype", "a safetensors dtype", entry.dtype)
    elif len(entry.shape) > MAX_DIMENSIONS or any(d < 0 for d in entry.shape):
        problem = ("shape", f"at most {MAX_DIMENSIONS} sizes of at least 0", str(entry.shape[:16]))
    elif math.prod(d or 1 for d in entry.shape) > MAX_ELEMENTS:
        # A size of 0 would let the others pass any comparison with the file.
        problem = ("shape", f"at most {MAX_ELEMENTS} numbers", str(entry.shape[:16]))
    elif not 0 <= begin <= end <= file.size_bytes - data_start:
        problem = (
            "data_offsets",
            f"within {file.size_bytes - data_start} bytes",
            f"{begin}..{end}",
        )
    elif size * math.prod(entry.shape) != end - begin:
        problem = (
            "data_offsets",
            f"{size * math.prod(entry.shape)} bytes for the shape",
            str(end - begin),
        )
    if problem:
        key, expected, found = problem
        raise DataError(
            "bad tensor", file=str(file.path), key=f"{name}.{key}", expected=expected, found=found
        )
    return StoredTensor(
        name=name, dtype=entry.dtype, dims=tuple(entry.shape), start=data_start + begin, file=file
    )


def _check_overlap(entries: dict[str, _Entry], path: Path) -> None:
    reached, owner = 0, ""
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, end = entry.data_offsets
        if begin < reached and end > begin:
            raise DataError(
                "tensors overlap", file=str(path), key=name, found=f"shares bytes with {owner}"
            )
        if end > reached:
            reached, owner = end, name


def open_checkpoint(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor of a Hugging Face directory, from one file or from shards with an index."""
    if (directory / SINGLE_FILE).is_file():
        return open_safetensors(directory / SINGLE_FILE)
    if (directory / INDEX_FILE).is_file():
        return _open_shards(directory)
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt")):
        raise UnsupportedError(
            f"{directory} holds PyTorch pickles only, which can run code when read, so Takt does not read them",
            hint="convert them to safetensors",
        )
    raise ModelError(f"{directory} has neither {SINGLE_FILE} nor {INDEX_FILE}")


def _open_shards(directory: Path) -> dict[str, StoredTensor]:
    index = read_json(directory / INDEX_FILE, _Index)
    shards = {}
    for shard in sorted(set(index.weight_map.values())):
        if shard != Path(shard).name or not shard.endswith(".safetensors"):
            raise DataError(
                "bad shard name",
                file=str(directory / INDEX_FILE),
                expected="*.safetensors here",
                found=shard,
            )
        shards[shard] = open_safetensors(directory / shard)
    missing = [name for name, shard in index.weight_map.items() if name not in shards[shard]]
    if missing:
        raise DataError(
            "tensor is not in the shard its index names",
            file=str(directory / INDEX_FILE),
            key=missing[0],
            found=f"{len(missing)} such tensors",
        )
    return {name: shards[shard][name] for name, shard in index.weight_map.items()}
