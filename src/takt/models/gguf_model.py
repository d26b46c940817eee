"""GGUF files as models: llama.cpp's metadata keys and tensor names read into a shape and references.

Knows the architectures llama (Mistral and SmolLM too), qwen2, qwen3 and gpt2. llama.cpp stores the q and k
rows of `llama` reordered so that rotary pairs are adjacent; the shape says so instead of undoing it.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from takt.errors import DataError, ModelError, UnsupportedError, did_you_mean

from .gguf import GgufFile, GgufTensor
from .gguf_tokenizer import read_tokenizer
from .model import Model, Tensor, TensorRef
from .parts import RopeScaling
from .shape import LIMITS, LINEAR_PARTS, UNGATED_PARTS, ModelShape, tensor_shapes
from .tokenizer import TokenizerReader

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gpt2")

_TOP: Mapping[str, str] = MappingProxyType(
    {
        "embed": "token_embd",
        "position": "position_embd",
        "final.norm": "output_norm",
        "head": "output",
    }
)
_LAYER: Mapping[str, str] = MappingProxyType(
    {
        "attn.norm": "attn_norm",
        "attn.q": "attn_q",
        "attn.k": "attn_k",
        "attn.v": "attn_v",
        "attn.o": "attn_output",
        "attn.q_norm": "attn_q_norm",
        "attn.k_norm": "attn_k_norm",
        "ffn.norm": "ffn_norm",
        "ffn.gate": "ffn_gate",
        "ffn.up": "ffn_up",
        "ffn.down": "ffn_down",
    }
)
_FUSED = ("attn.q", "attn.k", "attn.v")


def load_gguf(path: Path, *, tokenizer: TokenizerReader | None = None) -> Model:
    """The model in a GGUF file, with the tokenizer from its metadata unless one is given."""
    file = GgufFile(path)
    try:
        shape = read_shape(file, path.stem)
    except ModelError as error:
        raise DataError(str(error), file=str(path), hint=error.hint) from error
    return Model(
        shape=shape,
        tensors=_tensor_refs(file, shape),
        source=f"GGUF file {path}",
        tokenizer=tokenizer(shape.vocab_size) if tokenizer else read_tokenizer(file),
        files=[file.file],
    )


def read_shape(file: GgufFile, name: str) -> ModelShape:
    """The shape that the metadata and the list of tensors state."""
    arch = _architecture(file)
    gpt2 = arch == "gpt2"
    n_heads = file.integer(f"{arch}.attention.head_count", limit=LIMITS["n_heads"])
    dim = file.integer(f"{arch}.embedding_length")
    head_dim = file.integer(f"{arch}.attention.key_length", max(dim // n_heads, 1))
    n_layers = file.integer(f"{arch}.block_count", limit=LIMITS["n_layers"])
    eos_id = file.token_id("tokenizer.ggml.eos_token_id")
    eps_key = "layer_norm_epsilon" if gpt2 else "layer_norm_rms_epsilon"
    return ModelShape(
        name=name,
        family="decoder",
        architecture=arch,
        n_layers=n_layers,
        dim=dim,
        n_heads=n_heads,
        n_kv_heads=file.integer(f"{arch}.attention.head_count_kv", n_heads),
        head_dim=head_dim,
        hidden_dim=file.integer(f"{arch}.feed_forward_length"),
        vocab_size=_vocab_size(file),
        max_context=file.integer(f"{arch}.context_length"),
        norm="layer" if gpt2 else "rms",
        norm_eps=file.real(f"{arch}.attention.{eps_key}"),
        activation="gelu_tanh" if gpt2 else "silu",
        gated=not gpt2,
        position="learned" if gpt2 else "rope",
        attention_scale=1.0 / math.sqrt(head_dim),
        windows=_windows(file, arch, n_layers),
        rope_theta=file.real(f"{arch}.rope.freq_base", 10000.0),
        rope_interleaved=arch == "llama",
        rope_scaling=_rope_scaling(file, arch, head_dim),
        tied_embeddings="output.weight" not in file.tensors,
        biases=UNGATED_PARTS if gpt2 else _stored_biases(file),
        qk_norm=arch == "qwen3",
        bos_id=file.token_id("tokenizer.ggml.bos_token_id"),
        eos_ids=() if eos_id is None else (eos_id,),
    )


def _architecture(file: GgufFile) -> str:
    arch = file.text("general.architecture")
    if arch not in ARCHITECTURES:
        raise UnsupportedError(
            f"GGUF architecture {arch!r} is not supported",
            hint=did_you_mean(arch, ARCHITECTURES) or f"supported: {', '.join(ARCHITECTURES)}",
        )
    if file.has(f"{arch}.expert_count") and "blk.0.ffn_gate_inp.weight" in file.tensors:
        raise UnsupportedError("mixtures of experts are not supported")
    return arch


def _vocab_size(file: GgufFile) -> int:
    embed = file.tensors.get("token_embd.weight")
    if embed is None or len(embed.dims) != 2:
        raise ModelError("there is no matrix token_embd.weight")
    return embed.dims[0]


def _windows(file: GgufFile, arch: str, n_layers: int) -> tuple[int | None, ...]:
    key = f"{arch}.attention.sliding_window"
    return (file.integer(key) if file.has(key) else None,) * n_layers


def _stored_biases(file: GgufFile) -> tuple[str, ...]:
    return tuple(part for part in LINEAR_PARTS if f"blk.0.{_LAYER[part]}.bias" in file.tensors)


def _rope_scaling(file: GgufFile, arch: str, head_dim: int) -> RopeScaling | None:
    if arch == "gpt2":
        return None
    if file.integer(f"{arch}.rope.dimension_count", head_dim) != head_dim:
        raise UnsupportedError("rotary positions on part of a head are not supported")
    kind = file.text(f"{arch}.rope.scaling.type", "none")
    if kind == "linear":
        return RopeScaling(kind="linear", factor=file.real(f"{arch}.rope.scaling.factor"))
    if kind != "none":
        raise UnsupportedError(
            f"rope scaling {kind!r} is not supported", hint="supported: none, linear"
        )
    # llama.cpp stores Llama 3's scaling worked out, as one divisor per rotary pair.
    factors = file.tensors.get("rope_freqs.weight")
    if factors is None:
        return None
    if factors.dims != (head_dim // 2,):
        raise ModelError(f"rope_freqs.weight is {list(factors.dims)}, expected [{head_dim // 2}]")
    return RopeScaling(kind="factors", factors=tuple(factors.read().tolist()))


def _tensor_refs(file: GgufFile, shape: ModelShape) -> dict[str, TensorRef]:
    """A reference for every tensor of the shape that the file has."""
    refs = {}
    for name in tensor_shapes(shape):
        part, _, leaf = name.rpartition(".")
        if not part.startswith("layers."):
            found = file.tensors.get(f"{_TOP[part]}.{leaf}")
        else:
            _, layer, rest = part.split(".", 2)
            found = file.tensors.get(f"blk.{layer}.{_LAYER[rest]}.{leaf}")
            fused = file.tensors.get(f"blk.{layer}.attn_qkv.{leaf}")
            if found is None and fused is not None and rest in _FUSED:
                refs[name] = _third(fused, _FUSED.index(rest))
        if found is not None:
            refs[name] = TensorRef(dims=found.dims, read=found.read)
    return refs


def _third(fused: GgufTensor, index: int) -> TensorRef:
    """q, k or v out of rows that hold all three."""
    rows = fused.dims[0] // 3 if fused.dims and fused.dims[0] % 3 == 0 else 0

    def read() -> Tensor:
        return fused.read()[index * rows : (index + 1) * rows]

    return TensorRef(dims=(rows, *fused.dims[1:]), read=read)
