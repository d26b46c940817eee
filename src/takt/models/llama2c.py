"""llama2.c checkpoints (`.bin`, the legacy version 0): seven int32, then float32 tensors back to back.

Knows the order of the tensors in the file and where the tokenizer lies. The format states no names and no
checksums, so the one strong check is the length: the header fixes it to the byte.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

from takt.errors import DataError, ModelError, UnsupportedError

from .files import MappedFile, as_float32
from .model import Model, Tensor, TensorRef
from .score_merge import load_llama2c_tokenizer
from .shape import ModelShape
from .tokenizer import Tokenizer, TokenizerReader, load_tokenizer_json

HEADER_BYTES = 28
_VERSIONED_MAGIC = 0x616B3432  # "ak42": llama2.c's later export versions


def load_llama2c(path: Path, *, tokenizer: TokenizerReader | None = None) -> Model:
    """The model in a llama2.c file; a tokenizer beside it is found unless one is given."""
    file = MappedFile(path)
    shape = read_shape(file)
    tensors = _tensor_refs(file, shape)
    vocab_size = shape.vocab_size
    return Model(
        shape=shape,
        tensors=tensors,
        source=f"llama2.c file {path}",
        tokenizer=tokenizer(vocab_size) if tokenizer else _tokenizer_beside(path, vocab_size),
        files=[file],
    )


def read_shape(file: MappedFile) -> ModelShape:
    """The shape that the header states. DataError where it cannot be one."""
    header = file.take(0, HEADER_BYTES, "header").tobytes()
    if struct.unpack_from("<I", header)[0] == _VERSIONED_MAGIC:
        raise UnsupportedError(
            f"{file.path}: llama2.c export version {struct.unpack_from('<i', header, 4)[0]} is not supported",
            hint="export with --version 0, or convert to safetensors",
        )
    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab, max_context = struct.unpack(
        "<7i", header
    )
    if n_heads < 1 or dim < 1 or dim % n_heads or not 1 <= n_layers <= 1 << 10:
        raise DataError(
            "not a llama2.c header", file=str(file.path), found=str(struct.unpack("<7i", header))
        )
    head_dim = dim // n_heads
    try:
        return ModelShape(
            name=file.path.stem,
            family="decoder",
            architecture="llama",
            n_layers=n_layers,
            dim=dim,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            hidden_dim=hidden_dim,
            vocab_size=abs(vocab),
            max_context=max_context,
            norm="rms",
            norm_eps=1e-5,
            activation="silu",
            gated=True,
            position="rope",
            attention_scale=1.0 / math.sqrt(head_dim),
            windows=(None,) * n_layers,
            rope_interleaved=True,
            tied_embeddings=vocab > 0,
            bos_id=1,
            eos_ids=(1, 2),  # run.c ends a text at BOS, which starts the next one in training
        )
    except ModelError as error:
        raise DataError(f"not a llama2.c header: {error}", file=str(file.path)) from error


def _layout(shape: ModelShape) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """(canonical name, dims, one per layer?) in file order; "" is skipped."""
    matrix = {"q": shape.q_dim, "k": shape.kv_dim, "v": shape.kv_dim}
    yield "embed.weight", (shape.vocab_size, shape.dim), False
    yield "attn.norm.weight", (shape.dim,), True
    for part, rows in matrix.items():
        yield f"attn.{part}.weight", (rows, shape.dim), True
    yield "attn.o.weight", (shape.dim, shape.q_dim), True
    yield "ffn.norm.weight", (shape.dim,), True
    yield "ffn.gate.weight", (shape.hidden_dim, shape.dim), True
    yield "ffn.down.weight", (shape.dim, shape.hidden_dim), True
    yield "ffn.up.weight", (shape.hidden_dim, shape.dim), True
    yield "final.norm.weight", (shape.dim,), False
    yield "", (shape.max_context, shape.head_dim), False  # rotary tables, which run.c skips too
    if not shape.tied_embeddings:
        yield "head.weight", (shape.vocab_size, shape.dim), False


def _tensor_refs(file: MappedFile, shape: ModelShape) -> dict[str, TensorRef]:
    refs: dict[str, TensorRef] = {}
    at = HEADER_BYTES
    for name, dims, per_layer in _layout(shape):
        names = [f"layers.{i}.{name}" for i in range(shape.n_layers)] if per_layer else [name]
        for full_name in names:
            if full_name:
                refs[full_name] = _ref(file, at, dims, full_name)
            at += 4 * math.prod(dims)
    if at != file.size_bytes:
        raise DataError(
            "file length does not match its header",
            file=str(file.path),
            expected=f"{at} bytes",
            found=f"{file.size_bytes} bytes",
            hint="the file is cut off, or not a llama2.c (version 0) checkpoint",
        )
    return refs


def _ref(file: MappedFile, at: int, dims: tuple[int, ...], name: str) -> TensorRef:
    def read() -> Tensor:
        return as_float32(file.take(at, 4 * math.prod(dims), name), "<f4", dims)

    return TensorRef(dims=dims, read=read)


def _tokenizer_beside(path: Path, vocab_size: int) -> Tokenizer | None:
    """The tokenizer a llama2.c user would have put next to the checkpoint, if any."""
    for name in (f"tok{vocab_size}.bin", "tokenizer.bin"):
        if (path.parent / name).is_file():
            return load_llama2c_tokenizer(path.parent / name, vocab_size)
    candidate = path.parent / "tokenizer.json"
    return load_tokenizer_json(candidate) if candidate.is_file() else None
