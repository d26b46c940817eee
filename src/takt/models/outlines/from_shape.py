"""The outline of a shape that Takt can compute: the same sizes, without what costs nothing. Knows no files."""

from ..shape import ModelShape, expert_linears, layer_linears
from .outline import Attention, FeedForward, LayerGroup, Outline

__all__ = ["outline_from_shape"]


def outline_from_shape(shape: ModelShape) -> Outline:
    """What of `shape` costs time. Layers alike stand together, in the order in which the first of each comes."""
    counts: dict[tuple[Attention, FeedForward], int] = {}
    for layer in range(shape.n_layers):
        key = _mixer(shape, layer), _block(shape, layer)
        counts[key] = counts.get(key, 0) + 1
    rows = shape.n_token_types + (shape.max_context if shape.position == "learned" else 0)
    return Outline(
        name=shape.name,
        dim=shape.dim,
        vocab_size=shape.vocab_size,
        groups=tuple(LayerGroup(count=n, attention=a, ffn=f) for (a, f), n in counts.items()),
        tied_embeddings=shape.tied_embeddings,
        max_context=shape.max_context,
        encoder=shape.family == "encoder",
        other_parameters=rows * shape.dim,
    )


def _mixer(shape: ModelShape, layer: int) -> Attention:
    linears = layer_linears(shape, layer)
    latent = shape.latent
    return Attention(
        kind="full" if latent is None else "latent",
        matrices=tuple(dims for name, dims in linears.items() if name.startswith("attn.")),
        n_heads=shape.n_heads,
        n_kv_heads=shape.n_kv_heads if latent is None else 1,
        head_dim=shape.head_dim,
        value_dim=shape.value_dim,
        window=shape.windows[layer],
        kv_rank=0 if latent is None else latent.kv_rank,
        rope_dim=0 if latent is None else latent.rope_dim,
    )


def _block(shape: ModelShape, layer: int) -> FeedForward:
    experts = shape.experts
    n_matrices = 3 if shape.gated else 2
    if experts is None or not shape.has_experts(layer):
        return FeedForward(hidden_dim=shape.hidden_dim, n_matrices=n_matrices)
    return FeedForward(
        hidden_dim=experts.hidden_dim,
        n_matrices=len(expert_linears(shape)),
        n_experts=experts.n_experts,
        top_k=experts.top_k,
        shared_dim=experts.shared_hidden_dim,
    )
