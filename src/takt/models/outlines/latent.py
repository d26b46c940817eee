"""Latent attention: one short vector a position for all heads, whole, chosen by an index, or pooled over positions."""

from dataclasses import replace

from takt.errors import ModelError

from ..shape import LIMITS
from .fields import Fields
from .heads import Heads
from .outline import Attention

__all__ = ["compressed", "latent"]

Matrices = tuple[tuple[int, int], ...]


def latent(config: Fields, heads: Heads, kind: str) -> Attention:
    """One short vector a position for all heads (DeepSeek), with an index over positions where the kind says so."""
    q_rank = config.integer("q_lora_rank", default=0)
    kv_rank = config.integer("kv_lora_rank")
    nope = config.integer("qk_nope_head_dim", default=0, high=LIMITS["head_dim"])
    rope = config.integer("qk_rope_head_dim", high=LIMITS["head_dim"])
    value = config.integer("v_head_dim", high=LIMITS["head_dim"])
    n, dim = heads.n_heads, heads.dim
    q_dim = n * (nope + rope)
    matrices: Matrices = ((q_rank, dim), (q_dim, q_rank)) if q_rank else ((q_dim, dim),)
    matrices += ((kv_rank, dim), (rope, dim), (n * nope, kv_rank), (n * value, kv_rank))
    if config.flag("mla_use_output_gate"):
        matrices += ((n * value, dim),)
    matrices += ((dim, n * value),)
    mixer = Attention(
        kind="latent",
        matrices=matrices,
        n_heads=n,
        n_kv_heads=1,
        head_dim=nope + rope,
        value_dim=value,
        kv_rank=kv_rank,
        rope_dim=rope,
    )
    if kind not in ("sparse", "sparse-shared"):
        return mixer
    return _with_index(config, mixer, q_rank or dim, dim, own=kind == "sparse")


def _with_index(
    config: Fields, mixer: Attention, q_rank: int, dim: int, *, own: bool, key_factor: int = 1
) -> Attention:
    """The mixer with an index over positions, `own` or that of a layer before; `key_factor`: matrices its key takes."""
    topk = config.integer("index_topk", high=LIMITS["max_context"])
    if not own:
        return replace(mixer, topk=topk)
    index_heads = config.integer("index_n_heads", high=LIMITS["n_heads"])
    index_dim = config.integer("index_head_dim", high=LIMITS["head_dim"])
    index = ((index_heads * index_dim, q_rank), (key_factor * index_dim, dim), (index_heads, dim))
    return replace(
        mixer,
        matrices=(*mixer.matrices, *index),
        topk=topk,
        index_heads=index_heads,
        index_dim=index_dim,
    )


def compressed(config: Fields, heads: Heads, ratio: int) -> Attention:
    """One vector a position, key and value at once, pooled over `ratio` positions (DeepSeek V4); 0: not at all.

    The source is the published inference code: a compressor of two matrices, twice as wide where windows of
    pooling overlap (ratio 4), which is also where an index chooses among the pooled entries.
    """
    q_rank = config.integer("q_lora_rank", default=0) or heads.dim
    rope = config.integer("qk_rope_head_dim", high=LIMITS["head_dim"])
    groups = max(config.integer("o_groups", default=1, high=4096), 1)
    o_rank = config.integer("o_lora_rank", default=heads.dim)
    n, dim, width = heads.n_heads, heads.dim, heads.head_dim
    if rope > width or ratio > 1 << 20:
        raise ModelError("the rotated part of a head is wider than the head")
    matrices: Matrices = ((q_rank, dim), (n * width, q_rank), (width, dim))
    matrices += ((groups * o_rank, n * width // groups), (dim, groups * o_rank))
    if ratio:
        matrices += ((2 * width * (2 if ratio == 4 else 1), dim),)
    streams = config.integer("hc_mult", default=0, high=64)
    if streams:  # what mixes the residual streams, before attention and before the block
        matrices += (((2 + streams) * streams, streams * dim),) * 2
    window = config.integer("sliding_window", default=0, high=LIMITS["max_context"])
    mixer = Attention(
        kind="latent",
        matrices=matrices,
        n_heads=n,
        n_kv_heads=1,
        head_dim=width,
        value_dim=width,
        kv_rank=width - rope,
        rope_dim=rope,
        window=None if ratio else window or None,
        compression=max(ratio, 1),
        local=window if ratio else 0,
    )
    if ratio != 4:
        return mixer
    return _with_index(config, mixer, q_rank, dim, own=True, key_factor=4)
