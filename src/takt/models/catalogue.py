"""Ready shapes, models of random weights, and the short names of published checkpoints.

The shapes are the published ones; the weights of `random_model` mean nothing and serve tests and timing.
Knows no files: `HUB_NAMES` maps a short name to a hub id, and `load` does the rest.
"""

import math
import zlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from .model import Model, Tensor, TensorRef
from .shape import UNGATED_PARTS, ModelShape, tensor_shapes
from .tokenizer import Tokenizer

HUB_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "bert-base": "google-bert/bert-base-uncased",
        "gpt2": "openai-community/gpt2",
        "minilm": "sentence-transformers/all-MiniLM-L6-v2",
        "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
        "qwen3-0.6b": "Qwen/Qwen3-0.6B",
        "smollm-135m": "HuggingFaceTB/SmolLM-135M",
        "smollm2-135m": "HuggingFaceTB/SmolLM2-135M",
    }
)


def _llama(
    name: str,
    *,
    n_layers: int,
    dim: int,
    n_heads: int,
    n_kv_heads: int,
    hidden_dim: int,
    vocab_size: int,
    max_context: int,
) -> ModelShape:
    """A Llama with tied embeddings, which all the small ones have."""
    head_dim = dim // n_heads
    return ModelShape(
        name=name,
        family="decoder",
        architecture="llama",
        n_layers=n_layers,
        dim=dim,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        hidden_dim=hidden_dim,
        vocab_size=vocab_size,
        max_context=max_context,
        norm="rms",
        norm_eps=1e-5,
        activation="silu",
        gated=True,
        position="rope",
        attention_scale=1.0 / math.sqrt(head_dim),
        windows=(None,) * n_layers,
        tied_embeddings=True,
        bos_id=1,
        eos_ids=(2,),
    )


_GPT2 = ModelShape(
    name="gpt2",
    family="decoder",
    architecture="gpt2",
    n_layers=12,
    dim=768,
    n_heads=12,
    n_kv_heads=12,
    head_dim=64,
    hidden_dim=3072,
    vocab_size=50257,
    max_context=1024,
    norm="layer",
    norm_eps=1e-5,
    activation="gelu_tanh",
    gated=False,
    position="learned",
    attention_scale=0.125,
    windows=(None,) * 12,
    tied_embeddings=True,
    biases=UNGATED_PARTS,
    bos_id=50256,
    eos_ids=(50256,),
)

_BERT_BASE = ModelShape(
    name="bert-base",
    family="encoder",
    architecture="bert",
    n_layers=12,
    dim=768,
    n_heads=12,
    n_kv_heads=12,
    head_dim=64,
    hidden_dim=3072,
    vocab_size=30522,
    max_context=512,
    norm="layer",
    norm_eps=1e-12,
    norm_place="post",
    activation="gelu",
    gated=False,
    position="learned",
    attention_scale=0.125,
    windows=(None,) * 12,
    biases=UNGATED_PARTS,
    embedding_norm=True,
    n_token_types=2,
)

_LLAMAS = (
    _llama(
        "stories260k",
        n_layers=5,
        dim=64,
        n_heads=8,
        n_kv_heads=4,
        hidden_dim=172,
        vocab_size=512,
        max_context=512,
    ),
    _llama(
        "stories15m",
        n_layers=6,
        dim=288,
        n_heads=6,
        n_kv_heads=6,
        hidden_dim=768,
        vocab_size=32000,
        max_context=256,
    ),
    _llama(
        "smollm-135m",
        n_layers=30,
        dim=576,
        n_heads=9,
        n_kv_heads=3,
        hidden_dim=1536,
        vocab_size=49152,
        max_context=2048,
    ),
)

SHAPES: Mapping[str, ModelShape] = MappingProxyType(
    {shape.name: shape for shape in (*_LLAMAS, _GPT2, _BERT_BASE)}
)


def random_model(shape: ModelShape, seed: int = 0, *, tokenizer: Tokenizer | None = None) -> Model:
    """A model of `shape` with seeded random weights, made on demand and the same on every machine.

    Matrices have standard deviation 1/sqrt(in), tables 0.02, norms lie near 1, biases near 0:
    activations keep their size from layer to layer. Every tensor has its own stream, named by seed and name.
    """
    tensors = {name: _random_ref(name, dims, seed) for name, dims in tensor_shapes(shape).items()}
    return Model(
        shape=shape, tensors=tensors, source=f"random weights, seed {seed}", tokenizer=tokenizer
    )


def _random_ref(name: str, dims: tuple[int, ...], seed: int) -> TensorRef:
    def read() -> Tensor:
        stream = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values = stream.standard_normal(dims, dtype=np.float32)
        values *= np.float32(_spread(name, dims))
        if name.endswith("norm.weight"):
            values += np.float32(1.0)
        return values

    return TensorRef(dims=dims, read=read)


def _spread(name: str, dims: tuple[int, ...]) -> float:
    if name in ("embed.weight", "position.weight", "token_type.weight", "head.weight"):
        return 0.02
    return 0.02 if len(dims) == 1 else 1.0 / math.sqrt(dims[-1])
