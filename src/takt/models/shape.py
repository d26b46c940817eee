"""The one description of a model that every later room reads.

`ModelShape` says what the network computes (sizes, norms, positions, windows), whatever file it came from.
`tensor_shapes` derives from it the full list of tensors a model must have; loaders check files against that
list before they touch a weight, and `random_model` fills it. Nothing here knows file formats or numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from takt.errors import ModelError

Family = Literal["decoder", "encoder"]
Norm = Literal["rms", "layer"]
NormPlace = Literal["pre", "post"]
Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
Position = Literal["rope", "learned"]
Pooling = Literal["mean", "cls"]

# Generous ceilings, checked before anything is sized by these numbers. The largest published models
# stay well below each of them.
LIMITS = {
    "n_layers": 1024,
    "dim": 1 << 18,
    "n_heads": 1 << 12,
    "n_kv_heads": 1 << 12,
    "head_dim": 1 << 14,
    "hidden_dim": 1 << 20,
    "vocab_size": 1 << 22,
    "max_context": 1 << 24,
}
MAX_TOKEN_TYPES = 1 << 10

LINEAR_PARTS = ("attn.q", "attn.k", "attn.v", "attn.o", "ffn.gate", "ffn.up", "ffn.down")
UNGATED_PARTS = tuple(part for part in LINEAR_PARTS if part != "ffn.gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies are stretched for contexts longer than the trained one.

    `linear` divides every frequency by `factor`; `llama3` leaves short wavelengths alone, divides long ones
    and blends between; `factors` divides frequency *i* by `factors[i]` (head_dim / 2 of them).
    """

    kind: Literal["linear", "llama3", "factors"]
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192
    factors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.factor, self.low_freq_factor, self.high_freq_factor, *self.factors)
        if not all(math.isfinite(x) and x > 0 for x in numbers) or self.original_context < 1:
            raise ModelError("rope scaling needs finite, positive factors")
        if self.kind == "llama3" and self.high_freq_factor <= self.low_freq_factor:
            raise ModelError("llama3 rope scaling needs high_freq_factor > low_freq_factor")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What a transformer computes. Sizes count elements; `windows` has one entry a layer.

    - `rope_interleaved`: rotary pairs are (2i, 2i+1) (llama2.c, GGUF llama); otherwise (i, i + head_dim/2).
    - `attention_scale`: factor on q·k before softmax (1/sqrt(head_dim) for most, 1.0 for GPT-Neo).
    - `windows[l]`: a query sees at most this many latest positions, itself included; None sees all.
    - `biases`: linear parts of a layer (`attn.q` … `ffn.down`) that have a bias. Layer norms always have one.
    - `n_token_types`: rows of the token-type table (BERT), 0 without one.
    - `pooling`, `normalize`: how a sentence encoder makes one vector of its hidden states.

    Raises ModelError where the sizes contradict each other or leave `LIMITS`.
    """

    name: str
    family: Family
    architecture: str
    n_layers: int
    dim: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_dim: int
    vocab_size: int
    max_context: int
    norm: Norm
    norm_eps: float
    activation: Activation
    gated: bool
    position: Position
    attention_scale: float
    windows: tuple[int | None, ...]
    norm_place: NormPlace = "pre"
    rope_theta: float = 10000.0
    rope_interleaved: bool = False
    rope_scaling: RopeScaling | None = None
    tied_embeddings: bool = False
    biases: tuple[str, ...] = ()
    qk_norm: bool = False
    embedding_norm: bool = False
    n_token_types: int = 0
    pooling: Pooling | None = None
    normalize: bool = False
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        problems = [*_size_problems(self), *_sense_problems(self)]
        if problems:
            raise ModelError(f"{self.name}: impossible model shape: " + "; ".join(problems))

    @property
    def has_token_types(self) -> bool:
        """Whether a token-type table adds to the embedding (BERT)."""
        return self.n_token_types > 0

    @property
    def q_dim(self) -> int:
        """Width of all query heads together; differs from `dim` where heads have a size of their own."""
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key (or value) heads together."""
        return self.n_kv_heads * self.head_dim

    @property
    def n_parameters(self) -> int:
        """Number of stored weights; a tied head counts once."""
        return sum(math.prod(dims) for dims in tensor_shapes(self).values())


def _size_problems(shape: ModelShape) -> list[str]:
    return [
        f"{key} is {getattr(shape, key)}, expected 1..{limit}"
        for key, limit in LIMITS.items()
        if not 1 <= getattr(shape, key) <= limit
    ]


def _sense_problems(shape: ModelShape) -> list[str]:
    scaling = shape.rope_scaling
    n_factors = len(scaling.factors) if scaling is not None else 0
    rules = (
        (
            shape.n_kv_heads > 0 and shape.n_heads % shape.n_kv_heads == 0,
            "n_kv_heads must divide n_heads",
        ),
        (shape.position != "rope" or shape.head_dim % 2 == 0, "rope needs an even head_dim"),
        (len(shape.windows) == shape.n_layers, "windows must have one entry a layer"),
        (all(w is None or w >= 1 for w in shape.windows), "a window must be at least 1"),
        (math.isfinite(shape.norm_eps) and 0 <= shape.norm_eps < 1, "norm_eps must be in [0, 1)"),
        (math.isfinite(shape.rope_theta) and shape.rope_theta > 0, "rope_theta must be positive"),
        (math.isfinite(shape.attention_scale), "attention_scale must be finite"),
        (0 <= shape.n_token_types <= MAX_TOKEN_TYPES, "too many token types"),
        (set(shape.biases) <= set(LINEAR_PARTS), f"biases must be among {LINEAR_PARTS}"),
        (not (shape.qk_norm and shape.norm != "rms"), "q/k norms are RMS norms"),
        (
            shape.family != "encoder" or shape.position == "learned",
            "encoders need learned positions",
        ),
        (n_factors in (0, shape.head_dim // 2), "rope factors must be head_dim / 2 numbers"),
    )
    return [text for fine, text in rules if not fine]


def layer_linears(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Part name -> [out, in] of the matrices of one layer, in the order they are used."""
    parts = {
        "attn.q": (shape.q_dim, shape.dim),
        "attn.k": (shape.kv_dim, shape.dim),
        "attn.v": (shape.kv_dim, shape.dim),
        "attn.o": (shape.dim, shape.q_dim),
        "ffn.gate": (shape.hidden_dim, shape.dim),
        "ffn.up": (shape.hidden_dim, shape.dim),
        "ffn.down": (shape.dim, shape.hidden_dim),
    }
    if not shape.gated:
        del parts["ffn.gate"]
    return parts


def _norm(shape: ModelShape, name: str) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {f"{name}.weight": (shape.dim,)}
    if shape.norm == "layer":
        out[f"{name}.bias"] = (shape.dim,)
    return out


def _layer(shape: ModelShape, layer: int) -> dict[str, tuple[int, ...]]:
    prefix = f"layers.{layer}"
    out = _norm(shape, f"{prefix}.attn.norm")
    for part, dims in layer_linears(shape).items():
        out[f"{prefix}.{part}.weight"] = dims
        if part in shape.biases:
            out[f"{prefix}.{part}.bias"] = (dims[0],)
    if shape.qk_norm:
        out[f"{prefix}.attn.q_norm.weight"] = (shape.head_dim,)
        out[f"{prefix}.attn.k_norm.weight"] = (shape.head_dim,)
    return out | _norm(shape, f"{prefix}.ffn.norm")


def tensor_shapes(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Canonical name -> dimensions of every tensor this model stores (matrices are [out, in]).

    A tied head is not stored: `head.weight` is listed only where it differs from `embed.weight`.
    """
    out: dict[str, tuple[int, ...]] = {"embed.weight": (shape.vocab_size, shape.dim)}
    if shape.position == "learned":
        out["position.weight"] = (shape.max_context, shape.dim)
    if shape.has_token_types:
        out["token_type.weight"] = (shape.n_token_types, shape.dim)
    if shape.embedding_norm:
        out |= _norm(shape, "embed.norm")
    for layer in range(shape.n_layers):
        out |= _layer(shape, layer)
    if shape.norm_place == "pre":
        out |= _norm(shape, "final.norm")
    if shape.family == "decoder" and not shape.tied_embeddings:
        out["head.weight"] = (shape.vocab_size, shape.dim)
    return out
