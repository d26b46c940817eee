"""What of a model costs time and memory: sizes of its layers, whatever else the network computes.

An `Outline` is coarser than a `ModelShape` and knows more kinds of layers (sparse and linear attention,
state spaces, extra prediction layers): enough to say what a step reads, stores and multiplies on any chip, not
enough to compute or to compile it. Knows neither configs (`config`) nor names (`names`).
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Attention", "AttentionKind", "FeedForward", "LayerGroup", "Outline"]

AttentionKind = Literal["full", "latent", "linear", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """The token mixer of a layer.

    - `full`: `n_kv_heads` keys and values of `head_dim` and `value_dim`; each query sees at most `window`
      latest positions (None: all), or only the `topk` best of all (sparse attention) chosen by an index of
      `index_heads` heads of `index_dim`, whose one key a position is cached too.
    - `latent` (MLA): the cache keeps `kv_rank + rope_dim` numbers a position for all heads.
    - `linear` (linear attention, delta rules, state spaces): a state of `state_elements` numbers a user instead of a cache.
    - `none`: the layer mixes no tokens.

    `matrices` lists (outputs, inputs) of every projection that each token meets, in order of use; for
    `latent` those of the form in which prompts are computed. `compression`: positions that share one cache
    entry (1 for most), of which `topk` then counts the entries; `local`: the latest positions that are seen, and
    cached, uncompressed beside these.
    `shares_cache`: reads what an earlier layer cached and caches nothing. A number of the state takes
    `state_element_bytes`. A layer may both keep a state and attend: `full` with `state_elements`.
    """

    kind: AttentionKind
    matrices: tuple[tuple[int, int], ...] = ()
    n_heads: int = 0
    n_kv_heads: int = 0
    head_dim: int = 0
    value_dim: int = 0
    window: int | None = None
    kv_rank: int = 0
    rope_dim: int = 0
    topk: int | None = None
    index_heads: int = 0
    index_dim: int = 0
    compression: int = 1
    local: int = 0
    shares_cache: bool = False
    state_elements: int = 0
    state_element_bytes: int = 2

    @property
    def kv_elements(self) -> int:
        """Numbers read of the cache for one position (a window bounds the positions); 0 without a cache."""
        if self.kind == "latent":
            kept = self.kv_rank + self.rope_dim
        elif self.kind == "full":
            kept = self.n_kv_heads * (self.head_dim + self.value_dim)
        else:
            return 0
        return -(-(kept + (self.index_dim if self.topk else 0)) // self.compression)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """The feed-forward block of a layer: dense (`n_experts` 0), or experts of which a token meets `top_k`.

    `hidden_dim` is the width of the dense block or of one routed expert; `n_matrices` 3 if gated, else 2;
    `shared_dim` the width of what every token meets beside the routed experts (0 without). A width of 0
    and no experts: no block. `expert_dim`: width of what routed experts read and write, where that is not the
    model's `dim` but is projected from it and back to it (latent experts); 0 for most.
    """

    hidden_dim: int
    n_matrices: int = 3
    n_experts: int = 0
    top_k: int = 0
    shared_dim: int = 0
    expert_dim: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """`count` layers alike."""

    count: int
    attention: Attention
    ffn: FeedForward


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """Sizes of a language model, all that its cost rests on.

    - `stored`: type of the weights as published (`bf16`, `fp8`, `fp4`, `mxfp4`, `int4`, `int8`, `fp32`), and `stored_experts` that of
      routed experts where it differs.
    - `stored_bits`: bits a stored weight takes on average where a block format says so (GGUF's Q4_K_M: 4.84), 0
      where `stored` says it all.
    - `n_draft_layers`: layers that predict further tokens (multi-token prediction), not among `groups`; each is like
      the last group's.
    - `basis`: where the sizes are from: `published`, or `assumed: …` in words where they were guessed.
    - `encoder`: reads a text at once and generates nothing.
    - `other_parameters`: weights that are stored but in no product of a generated token: further tables (positions,
      embeddings by layer), the encoder beside a decoder.

    Layers are those of an engine's loop: a mixer and the block after it, each with its norm. Where a config
    counts the two apart (Nemotron-H) there are fewer layers here than there.
    """

    name: str
    dim: int
    vocab_size: int
    groups: tuple[LayerGroup, ...]
    tied_embeddings: bool = False
    max_context: int = 0
    stored: str = "bf16"
    stored_experts: str = ""
    n_draft_layers: int = 0
    basis: str = "published"
    encoder: bool = False
    other_parameters: int = 0
    stored_bits: float = 0.0

    @property
    def n_layers(self) -> int:
        """Layers of the main model."""
        return sum(group.count for group in self.groups)

    @property
    def has_experts(self) -> bool:
        """Whether any layer routes."""
        return any(group.ffn.n_experts for group in self.groups)

    def attention_parameters(self, group: LayerGroup) -> int:
        """Weights of one layer's projections."""
        return sum(rows * columns for rows, columns in group.attention.matrices)

    def dense_parameters(self, group: LayerGroup) -> int:
        """Weights of one layer's feed-forward that every token meets, router included."""
        ffn = group.ffn
        if not ffn.n_experts:
            return self.dim * ffn.n_matrices * ffn.hidden_dim
        return self.dim * (ffn.n_matrices * ffn.shared_dim + ffn.n_experts + 2 * ffn.expert_dim)

    def expert_parameters(self, group: LayerGroup) -> int:
        """Weights of one routed expert of one layer."""
        ffn = group.ffn
        if not ffn.n_experts:
            return 0
        return (ffn.expert_dim or self.dim) * ffn.n_matrices * ffn.hidden_dim

    @property
    def n_parameters(self) -> int:
        """Weights of the main model; norms and biases are not counted."""
        embedding = self.vocab_size * self.dim * (1 if self.tied_embeddings or self.encoder else 2)
        layers = sum(
            group.count
            * (
                self.attention_parameters(group)
                + self.dense_parameters(group)
                + group.ffn.n_experts * self.expert_parameters(group)
            )
            for group in self.groups
        )
        return embedding + layers + self.other_parameters

    @property
    def n_active_parameters(self) -> int:
        """Weights that one token's products use: `top_k` of the experts, the head, no looked-up table."""
        head = 0 if self.encoder else self.vocab_size * self.dim
        return head + sum(
            group.count
            * (
                self.attention_parameters(group)
                + self.dense_parameters(group)
                + group.ffn.top_k * self.expert_parameters(group)
            )
            for group in self.groups
        )

    def kv_bytes(self, context_tokens: int, bytes_per_element: float) -> float:
        """Cache of one user at that context, states of linear layers included."""
        total = 0.0
        for group in self.groups:
            mixer = group.attention
            seen = context_tokens if mixer.window is None else min(context_tokens, mixer.window)
            kept = mixer.kv_elements * seen
            if mixer.local:
                kept += min(context_tokens, mixer.local) * (mixer.kv_rank + mixer.rope_dim)
            if not mixer.shares_cache:
                total += group.count * kept * bytes_per_element
            total += group.count * mixer.state_elements * mixer.state_element_bytes
        return total
