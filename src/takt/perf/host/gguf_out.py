"""A model as a GGUF file that llama.cpp computes: matrices in F16 or Q8_0, the rest in F32.

Writes version 3 as https://github.com/ggml-org/ggml/blob/master/docs/gguf.md defines it, one tensor in memory at a time, and
puts the file in its place only when it is complete. The vocabulary in it is a list of numbers, "[0]" to "[n-1]": ids go in
and ids come out, and text is the tokenizer's business. Knows which of Takt's shapes llama.cpp has a graph for; does not
know who reads the file.
"""

import math
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from takt.errors import CapacityError, UnsupportedError
from takt.models import Model, ModelShape, rope_frequencies, tensor_shapes

__all__ = ["Stored", "architecture_of", "write_gguf"]

Stored = Literal["f16", "q8_0"]
Floats = NDArray[np.float32]

ALIGNMENT = 32
_F32, _F16, _Q8_0 = 0, 1, 8  # type numbers of the format
_BLOCK, _BLOCK_BYTES = 32, 34  # of Q8_0: an f16 scale and 32 int8
_FILE_TYPE: Mapping[str, int] = MappingProxyType({"f16": 1, "q8_0": 7})  # general.file_type

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "embed": "token_embd",
        "position": "position_embd",
        "final.norm": "output_norm",
        "head": "output",
        "attn.o": "attn_output",
    }
)
_FUSED = ("attn.q", "attn.k", "attn.v")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """One tensor to write: `dims` outermost first, `kind` the format's number for how it is stored."""

    name: str
    dims: tuple[int, ...]
    kind: int
    read: Callable[[], Floats]

    @property
    def size_bytes(self) -> int:
        n = math.prod(self.dims)
        return (
            n // _BLOCK * _BLOCK_BYTES
            if self.kind == _Q8_0
            else n * (4 if self.kind == _F32 else 2)
        )


def write_gguf(model: Model, path: Path, stored: Stored = "f16") -> int:
    """Write `model` to `path` and return the size in bytes.

    Raises UnsupportedError (no graph in llama.cpp for this shape, or a weight beyond F16) and CapacityError (disk full).
    """
    arch = architecture_of(model.shape)
    tensors = tuple(_tensors(model, arch, stored))
    head = _header(model.shape, arch, stored, tensors)
    needed = len(head) + sum(_padded(t.size_bytes) for t in tensors)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise CapacityError(
            f"no room for {path}", resource="bytes on disk", needed=needed, available=free
        )
    with NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        unfinished = Path(file.name)
        try:
            file.write(head)
            for tensor in tensors:
                _write_tensor(file, tensor)
            file.flush()
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    return needed


def architecture_of(shape: ModelShape) -> str:
    """llama.cpp's name for this kind of network. UnsupportedError where it has none that computes the same."""
    reasons = _reasons_against(shape)
    if reasons:
        raise UnsupportedError(
            f"{shape.name} can't be run natively: {', '.join(reasons)}",
            hint="give a GGUF file of it that llama.cpp's own converter made",
        )
    if shape.norm == "layer":
        return "gpt2"
    return "qwen3" if shape.qk_norm else "llama"


def _reasons_against(shape: ModelShape) -> list[str]:
    gpt2 = shape.norm == "layer" and shape.position == "learned" and not shape.gated
    llama = shape.norm == "rms" and shape.position == "rope" and shape.gated
    activation = "gelu_tanh" if gpt2 else "silu"
    rules = {
        "it is an encoder": shape.family == "encoder",
        "its blocks are those of neither llama nor gpt2": not (gpt2 or llama),
        f"its activation is {shape.activation}": shape.activation != activation,
        "its norms are not in front of blocks": shape.norm_place != "pre",
        "its embeddings are normed": shape.embedding_norm,
        "some layers see a window only": any(
            w is not None and w < shape.max_context for w in shape.windows
        ),
        # Of the graphs with rotary positions llama's alone takes a divisor a pair, qwen3's alone norms of q and k.
        "it norms q and k and stretches its rotary positions": shape.qk_norm
        and (shape.rope_scaling is not None or shape.rope_interleaved),
        "its heads share keys": gpt2 and shape.n_heads != shape.n_kv_heads,
        **dict.fromkeys(shape.special_parts, True),
    }
    return [text for text, against in rules.items() if against]


def _tensors(model: Model, arch: str, stored: Stored) -> Iterator[_Tensor]:
    shape = model.shape
    dims = tensor_shapes(shape)
    for name in model.names():
        part, _, leaf = name.rpartition(".")
        inner = part.split(".", 2)[2] if part.startswith("layers.") else part
        read = partial(model.tensor, name)
        if arch == "gpt2" and inner in _FUSED:
            if inner == "attn.q":
                yield _fused(model, part.removesuffix(inner), leaf, dims[name], stored)
            continue
        if arch == "llama" and not shape.rope_interleaved and inner in _FUSED[:2]:
            read = partial(_adjacent_pairs, model, name)
        if inner == ("attn.q_norm" if shape.qk_norm else "attn.q"):
            read = partial(_scaled, read, _score_factor(shape))
        yield _tensor(_gguf_name(part, inner, leaf), dims[name], read, stored)
    if arch == "llama" and shape.rope_scaling is not None:
        pairs = np.arange(0, shape.rope_dim, 2) / shape.rope_dim
        factors = (shape.rope_theta**-pairs / rope_frequencies(shape)).astype(np.float32)
        yield _tensor("rope_freqs.weight", factors.shape, lambda: factors, stored)


def _gguf_name(part: str, inner: str, leaf: str) -> str:
    if not part.startswith("layers."):
        return f"{_NAMES[part]}.{leaf}"
    layer = part.split(".", 2)[1]
    return f"blk.{layer}.{_NAMES.get(inner, inner.replace('.', '_'))}.{leaf}"


def _tensor(
    name: str, dims: tuple[int, ...], read: Callable[[], Floats], stored: Stored
) -> _Tensor:
    kind = _F32
    if len(dims) > 1:
        blocks = stored == "q8_0" and dims[-1] % _BLOCK == 0
        kind = _Q8_0 if blocks else _F16
    return _Tensor(name=name, dims=dims, kind=kind, read=read)


def _fused(model: Model, prefix: str, leaf: str, dims: tuple[int, ...], stored: Stored) -> _Tensor:
    """q, k and v of a layer in one matrix (or bias), as gpt2's graph has them."""
    layer = prefix.split(".")[1]

    def read() -> Floats:
        q, k, v = (model.tensor(f"{prefix}{part}.{leaf}") for part in _FUSED)
        return np.concatenate([_scaled(lambda: q, _score_factor(model.shape)), k, v])

    return _tensor(f"blk.{layer}.attn_qkv.{leaf}", (3 * dims[0], *dims[1:]), read, stored)


def _score_factor(shape: ModelShape) -> float:
    """What queries are multiplied with, since every graph divides scores by the root of the width of a head."""
    return shape.attention_scale * math.sqrt(shape.head_dim)


def _scaled(read: Callable[[], Floats], factor: float) -> Floats:
    values = read()
    return values if math.isclose(factor, 1.0, rel_tol=1e-6) else values * np.float32(factor)


def _adjacent_pairs(model: Model, name: str) -> Floats:
    """Rows of q or k in the order of llama's graph, where the two numbers of a rotary pair are neighbours."""
    values = model.tensor(name)
    halves = values.reshape(-1, 2, model.shape.head_dim // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def _header(shape: ModelShape, arch: str, stored: Stored, tensors: Sequence[_Tensor]) -> bytes:
    pairs = _metadata(shape, arch, stored)
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)))
    for key, value in pairs.items():
        out += _text(key) + value
    offset = 0
    for tensor in tensors:
        out += _text(tensor.name) + struct.pack("<I", len(tensor.dims))
        out += struct.pack(f"<{len(tensor.dims)}Q", *tensor.dims[::-1])
        out += struct.pack("<IQ", tensor.kind, offset)
        offset += _padded(tensor.size_bytes)
    return bytes(out) + bytes(_padded(len(out)) - len(out))


def _metadata(shape: ModelShape, arch: str, stored: Stored) -> dict[str, bytes]:
    """Keys and encoded values."""
    epsilon = "layer_norm_epsilon" if arch == "gpt2" else "layer_norm_rms_epsilon"
    pairs = {
        "general.architecture": _string(arch),
        "general.name": _string(shape.name),
        "general.alignment": _whole(ALIGNMENT),
        "general.file_type": _whole(_FILE_TYPE[stored]),
        f"{arch}.vocab_size": _whole(shape.vocab_size),
        f"{arch}.context_length": _whole(shape.max_context),
        f"{arch}.embedding_length": _whole(shape.dim),
        f"{arch}.block_count": _whole(shape.n_layers),
        f"{arch}.feed_forward_length": _whole(shape.hidden_dim),
        f"{arch}.attention.head_count": _whole(shape.n_heads),
        f"{arch}.attention.head_count_kv": _whole(shape.n_kv_heads),
        f"{arch}.attention.key_length": _whole(shape.head_dim),
        f"{arch}.attention.value_length": _whole(shape.head_dim),
        f"{arch}.attention.{epsilon}": _real(shape.norm_eps),
        # Of llama.cpp's kinds the one without ids of its own for beginnings and ends, so that every id is only a number.
        "tokenizer.ggml.model": _string("rwkv"),
        "tokenizer.ggml.tokens": _strings([f"[{i}]" for i in range(shape.vocab_size)]),
    }
    if arch != "gpt2":
        pairs[f"{arch}.rope.dimension_count"] = _whole(shape.head_dim)
        pairs[f"{arch}.rope.freq_base"] = _real(shape.rope_theta)
    return pairs


def _text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _string(text: str) -> bytes:
    return struct.pack("<I", 8) + _text(text)


def _strings(texts: Sequence[str]) -> bytes:
    return struct.pack("<IIQ", 9, 8, len(texts)) + b"".join(map(_text, texts))


def _whole(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def _real(value: float) -> bytes:
    return struct.pack("<If", 6, value)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT


def _write_tensor(file: IO[bytes], tensor: _Tensor) -> None:
    values = np.ascontiguousarray(tensor.read(), dtype=np.float32)
    if tensor.kind == _F32:
        raw = values.tobytes()
    elif tensor.kind == _F16:
        raw = _halves(values, tensor.name).tobytes()
    else:
        raw = _eights(values, tensor.name)
    file.write(raw + bytes(_padded(len(raw)) - len(raw)))


def _halves(values: Floats, name: str) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        halves = values.astype("<f2")
    if not np.isfinite(halves).all():
        raise UnsupportedError(f"{name} has weights beyond the range of 16-bit floats")
    return halves


def _eights(values: Floats, name: str) -> bytes:
    """Blocks of Q8_0: the scale is a 127th of the largest magnitude."""
    blocks = values.reshape(-1, _BLOCK)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
    out = np.empty((len(blocks), _BLOCK_BYTES), np.uint8)
    out[:, :2] = _halves(scales, name).view(np.uint8)
    numbers = np.round(blocks / np.where(scales == 0, 1, scales)).astype(np.int8)
    out[:, 2:] = numbers.view(np.uint8)
    return out.tobytes()
