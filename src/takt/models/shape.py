"""The one description of a model that every later room reads.

`ModelShape` says what the network computes (sizes, norms, positions, windows), whatever file it came from.
`tensor_shapes` derives from it the full list of tensors a model must have; loaders check files against that
list before they touch a weight, and `random_model` fills it. Nothing here knows file formats or numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from takt.errors import ModelError

from .parts import Experts, Latent, RopeScaling

Family = Literal["decoder", "encoder"]
Norm = Literal["rms", "layer"]
NormPlace = Literal["pre", "post", "both"]
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
class ModelShape:
    """What a transformer computes. Sizes count elements; `windows` has one entry a layer.

    - `rope_interleaved`: rotary pairs are (2i, 2i+1) (llama2.c, GGUF llama); otherwise (i, i + head_dim/2).
    - `attention_scale`: factor on q·k before softmax (1/sqrt(head_dim) for most, 1.0 for GPT-Neo).
    - `windows[l]`: a query sees at most this many latest positions, itself included; None sees all.
    - `biases`: linear parts of a layer (`attn.q` … `ffn.down`) that have a bias. Layer norms always have one.
    - `n_token_types`: rows of the token-type table (BERT), 0 without one.
    - `norm_place`: of each block; `both` norms what goes in and what comes out, before it is added (Gemma 2, 3).
    - `hidden_dim`: width of dense feed-forward blocks; with `experts` in every layer, no matrix has it.
    - `head_dim` with `latent` attention: `nope_dim + rope_dim`, and every head has a key of its own.
    - `local_rope_theta`: layers with a window rotate by this theta, unscaled, instead of `rope_theta` (Gemma 3).
    - `embedding_scale`: factor on embeddings, not on a tied head (Gemma).
    - `attention_softcap`, `logit_softcap`: c · tanh(x / c) on scores before softmax, and on logits (Gemma 2).
    - `attention_sinks`: one learned score a head that takes its share of the softmax and adds nothing (gpt-oss).
    - `not_computed`: what the network does beyond all this, in words; sizes and tensors are right, but who
      computes or schedules the model must refuse it with these words.
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
    experts: Experts | None = None
    latent: Latent | None = None
    local_rope_theta: float | None = None
    embedding_scale: float = 1.0
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    attention_sinks: bool = False
    not_computed: tuple[str, ...] = ()
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
    def rope_dim(self) -> int:
        """Rotated numbers of a head; all of it but for latent attention."""
        return self.head_dim if self.latent is None else self.latent.rope_dim

    @property
    def value_dim(self) -> int:
        """Width of one head's value; `head_dim` but for latent attention."""
        return self.head_dim if self.latent is None else self.latent.value_dim

    @property
    def n_parameters(self) -> int:
        """Number of stored weights; a tied head counts once."""
        return sum(math.prod(dims) for dims in tensor_shapes(self).values())

    @property
    def n_active_parameters(self) -> int:
        """Weights that one token's products use: of the experts only `top_k`, of an untied embedding none.

        An untied embedding table is looked up, one row a token; a tied one is also the head.
        """
        table = self.vocab_size * self.dim
        looked_up = table if self.family == "decoder" and not self.tied_embeddings else 0
        return self.n_parameters - looked_up - self._n_idle_parameters()

    @property
    def sizes(self) -> ModelShape:
        """The shape without its name and what only changes constants in memory: what cycles hang on."""
        return replace(
            self,
            name="",
            architecture="",
            max_context=1,
            rope_theta=1.0,
            rope_scaling=None,
            norm_eps=0.0,
            bos_id=None,
            eos_ids=(),
        )

    def _n_idle_parameters(self) -> int:
        """Weights of the experts that a token passes by, in all layers."""
        if self.experts is None:
            return 0
        parts = expert_linears(self).values()
        one = sum(rows * columns + (rows if self.experts.biases else 0) for rows, columns in parts)
        n_layers = sum(map(self.has_experts, range(self.n_layers)))
        return n_layers * (self.experts.n_experts - self.experts.top_k) * one

    def has_experts(self, layer: int) -> bool:
        """Whether the feed-forward block of `layer` is a mixture of experts."""
        return self.experts is not None and self.experts.in_layer(layer)

    def kv_elements_per_token(self, layer: int) -> int:
        """Numbers that the cache of `layer` keeps for one position (a window bounds the positions)."""
        if not 0 <= layer < self.n_layers:
            raise ModelError(f"{self.name} has layers 0..{self.n_layers - 1}, not {layer}")
        if self.latent is not None:
            return self.latent.kv_rank + self.latent.rope_dim
        return 2 * self.kv_dim

    @property
    def special_parts(self) -> tuple[str, ...]:
        """What goes beyond a plain transformer, in words: empty for what any engine here must compute."""
        parts = {
            "a mixture of experts": self.experts is not None,
            "latent attention": self.latent is not None,
            "norms on both sides of a block": self.norm_place == "both",
            "rotary positions by layer": self.local_rope_theta is not None,
            "scaled embeddings": self.embedding_scale != 1.0,
            "capped scores": self.attention_softcap is not None,
            "capped logits": self.logit_softcap is not None,
            "attention sinks": self.attention_sinks,
        }
        return (*(name for name, present in parts.items() if present), *self.not_computed)


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
        (n_factors in (0, shape.rope_dim // 2), "rope factors must be one a rotary pair"),
        (
            scaling is None or scaling.kind != "yarn" or shape.rope_theta > 1,
            "yarn needs rope_theta above 1",
        ),
    )
    return [text for fine, text in (*rules, *_special_rules(shape)) if not fine]


def _special_rules(shape: ModelShape) -> tuple[tuple[bool, str], ...]:
    """Whether the optional parts agree with the rest."""
    latent, experts = shape.latent, shape.experts
    caps = (shape.attention_softcap, shape.logit_softcap, shape.local_rope_theta)
    plain_attention = not shape.qk_norm and not any(p.startswith("attn.") for p in shape.biases)
    return (
        (
            all(c is None or (math.isfinite(c) and c > 0) for c in (*caps, shape.embedding_scale)),
            "caps, local_rope_theta and embedding_scale must be positive",
        ),
        (experts is None or shape.gated, "experts are gated"),
        (
            experts is None or experts.first_dense_layers < shape.n_layers,
            "first_dense_layers must leave a layer with experts",
        ),
        (
            latent is None or shape.head_dim == latent.nope_dim + latent.rope_dim,
            "head_dim must be nope_dim + rope_dim of the latent attention",
        ),
        (latent is None or shape.n_kv_heads == shape.n_heads, "latent attention has n_heads keys"),
        (latent is None or shape.position == "rope", "latent attention needs rope"),
        (
            latent is None or plain_attention,
            "latent attention has no q/k norms a head and no biases",
        ),
        (
            shape.family == "decoder" or (latent is None and experts is None),
            "encoders have neither experts nor latent attention",
        ),
    )


def _attention_linears(shape: ModelShape) -> dict[str, tuple[int, int]]:
    latent = shape.latent
    if latent is None:
        return {
            "attn.q": (shape.q_dim, shape.dim),
            "attn.k": (shape.kv_dim, shape.dim),
            "attn.v": (shape.kv_dim, shape.dim),
            "attn.o": (shape.dim, shape.q_dim),
        }
    parts = {"attn.q": (shape.q_dim, shape.dim)}
    if latent.q_rank is not None:
        parts = {
            "attn.q_down": (latent.q_rank, shape.dim),
            "attn.q_up": (shape.q_dim, latent.q_rank),
        }
    return parts | {
        "attn.kv_down": (latent.kv_rank, shape.dim),
        "attn.k_rope": (latent.rope_dim, shape.dim),
        "attn.k_up": (shape.n_heads * latent.nope_dim, latent.kv_rank),
        "attn.v_up": (shape.n_heads * latent.value_dim, latent.kv_rank),
        "attn.o": (shape.dim, shape.n_heads * latent.value_dim),
    }


def _ffn_linears(shape: ModelShape, name: str, hidden_dim: int) -> dict[str, tuple[int, int]]:
    parts = {
        f"{name}.gate": (hidden_dim, shape.dim),
        f"{name}.up": (hidden_dim, shape.dim),
        f"{name}.down": (shape.dim, hidden_dim),
    }
    if not shape.gated:
        del parts[f"{name}.gate"]
    return parts


def expert_linears(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Part name -> [out, in] of one routed expert; empty without experts."""
    if shape.experts is None:
        return {}
    return _ffn_linears(shape, "ffn.experts", shape.experts.hidden_dim)


def layer_linears(shape: ModelShape, layer: int = 0) -> dict[str, tuple[int, int]]:
    """Part name -> [out, in] of the matrices that every token meets in a layer, in the order they are used.

    The routed experts are not among them: see `expert_linears`.
    """
    parts = _attention_linears(shape)
    experts = shape.experts
    if experts is None or not experts.in_layer(layer):
        return parts | _ffn_linears(shape, "ffn", shape.hidden_dim)
    parts["ffn.router"] = (experts.n_experts, shape.dim)
    if experts.n_shared:
        parts |= _ffn_linears(shape, "ffn.shared", experts.shared_hidden_dim)
    return parts


def _norm(shape: ModelShape, name: str) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {f"{name}.weight": (shape.dim,)}
    if shape.norm == "layer":
        out[f"{name}.bias"] = (shape.dim,)
    return out


def _layer(shape: ModelShape, layer: int) -> dict[str, tuple[int, ...]]:
    prefix = f"layers.{layer}"
    out = _norm(shape, f"{prefix}.attn.norm")
    for part, dims in layer_linears(shape, layer).items():
        out[f"{prefix}.{part}.weight"] = dims
        if part in shape.biases:
            out[f"{prefix}.{part}.bias"] = (dims[0],)
    for name, width in _small_norms(shape).items():
        out[f"{prefix}.{name}.weight"] = (width,)
    if shape.attention_sinks:
        out[f"{prefix}.attn.sinks.weight"] = (shape.n_heads,)
    if shape.has_experts(layer):
        out |= _experts(shape, f"{prefix}.ffn")
    if shape.norm_place == "both":
        out |= _norm(shape, f"{prefix}.attn.post_norm") | _norm(shape, f"{prefix}.ffn.post_norm")
    return out | _norm(shape, f"{prefix}.ffn.norm")


def _small_norms(shape: ModelShape) -> dict[str, int]:
    """Norms inside the attention of a layer -> width."""
    out = {"attn.q_norm": shape.head_dim, "attn.k_norm": shape.head_dim} if shape.qk_norm else {}
    if shape.latent is not None:
        out["attn.kv_down_norm"] = shape.latent.kv_rank
        if shape.latent.q_rank is not None:
            out["attn.q_down_norm"] = shape.latent.q_rank
    return out


def _experts(shape: ModelShape, prefix: str) -> dict[str, tuple[int, ...]]:
    """The routed experts of a layer, stacked, and what the router adds to its matrix."""
    experts = shape.experts
    if experts is None:
        return {}
    out: dict[str, tuple[int, ...]] = {}
    if experts.router_bias:
        out[f"{prefix}.router.bias"] = (experts.n_experts,)
    if experts.selection_bias:
        out[f"{prefix}.router.selection.bias"] = (experts.n_experts,)
    for part, dims in expert_linears(shape).items():
        name = f"{prefix}.{part.removeprefix('ffn.')}"
        out[f"{name}.weight"] = (experts.n_experts, *dims)
        if experts.biases:
            out[f"{name}.bias"] = (experts.n_experts, dims[0])
    return out


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
    if shape.norm_place != "post":
        out |= _norm(shape, "final.norm")
    if shape.family == "decoder" and not shape.tied_embeddings:
        out["head.weight"] = (shape.vocab_size, shape.dim)
    return out
