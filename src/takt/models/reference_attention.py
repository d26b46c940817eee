"""Attention of the plain numpy models: grouped-query and multi-head latent, all positions at once.

No cache: keys and values of every position are made anew. Knows which key a query may see; knows nothing of
what comes before or after the block.
"""

import numpy as np
from numpy.typing import NDArray

from .model import Model
from .parts import Latent
from .reference_math import Array, capped, linear, norm, rms, softmax, weight
from .rope import rope_frequencies, rotate
from .shape import ModelShape


def attention(model: Model, layer: int, x: Array) -> Array:
    """The attention block on normed rows `x` [T, dim]."""
    latent = model.shape.latent
    q, k, v = _plain(model, layer, x) if latent is None else _latent(model, latent, layer, x)
    return linear(model, f"layers.{layer}.attn.o", _attend(model, layer, q, k, v))


def _plain(model: Model, layer: int, x: Array) -> tuple[Array, Array, Array]:
    """Queries, keys and values [T, heads, head_dim], one a query head."""
    shape, prefix, n = model.shape, f"layers.{layer}.attn", len(x)
    q = linear(model, f"{prefix}.q", x).reshape(n, shape.n_heads, shape.head_dim)
    k = linear(model, f"{prefix}.k", x).reshape(n, shape.n_kv_heads, shape.head_dim)
    v = linear(model, f"{prefix}.v", x).reshape(n, shape.n_kv_heads, shape.head_dim)
    if shape.qk_norm:
        q = rms(q, shape.norm_eps) * weight(model, f"{prefix}.q_norm.weight", x)
        k = rms(k, shape.norm_eps) * weight(model, f"{prefix}.k_norm.weight", x)
    if shape.position == "rope":
        q, k = _turned(shape, layer, q), _turned(shape, layer, k)
    group = shape.n_heads // shape.n_kv_heads
    return q, np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)


def _latent(model: Model, latent: Latent, layer: int, x: Array) -> tuple[Array, Array, Array]:
    """Queries, keys [T, heads, head_dim] and values [T, heads, value_dim], read off the short vectors."""
    shape, prefix, n = model.shape, f"layers.{layer}.attn", len(x)
    if latent.q_rank is None:
        q = linear(model, f"{prefix}.q", x)
    else:
        waist = norm(model, f"{prefix}.q_down_norm", linear(model, f"{prefix}.q_down", x))
        q = linear(model, f"{prefix}.q_up", waist)
    q = q.reshape(n, shape.n_heads, shape.head_dim)
    q_nope, q_rope = q[..., : latent.nope_dim], q[..., latent.nope_dim :]
    # These two are what a cache would keep of a position.
    short = norm(model, f"{prefix}.kv_down_norm", linear(model, f"{prefix}.kv_down", x))
    k_rope = _turned(shape, layer, linear(model, f"{prefix}.k_rope", x)[:, None, :])
    k_nope = linear(model, f"{prefix}.k_up", short).reshape(n, shape.n_heads, latent.nope_dim)
    v = linear(model, f"{prefix}.v_up", short).reshape(n, shape.n_heads, latent.value_dim)
    q = np.concatenate([q_nope, _turned(shape, layer, q_rope)], axis=-1)
    k = np.concatenate([k_nope, np.repeat(k_rope, shape.n_heads, axis=1)], axis=-1)
    return q, k, v


def _turned(shape: ModelShape, layer: int, x: Array) -> Array:
    return rotate(x, rope_frequencies(shape, layer), interleaved=shape.rope_interleaved)


def _attend(model: Model, layer: int, q: Array, k: Array, v: Array) -> Array:
    """Values weighted by softmax of the scores, [T, heads · value_dim]."""
    shape, n = model.shape, len(q)
    scores = np.einsum("qhd,khd->hqk", q, k) * shape.attention_scale
    scores = capped(scores, shape.attention_softcap)
    scores = np.where(_visible(shape, layer, n), scores, -np.inf)
    if shape.attention_sinks:
        sinks = weight(model, f"layers.{layer}.attn.sinks.weight", q)[:, None, None]
        scores = np.concatenate([scores, np.broadcast_to(sinks, (len(sinks), n, 1))], axis=-1)
    shares = softmax(scores)[..., :n]
    mixed: Array = np.einsum("hqk,khd->qhd", shares, v).reshape(n, -1)
    return mixed


def _visible(shape: ModelShape, layer: int, n: int) -> NDArray[np.bool_]:
    """[query, key]: may the query see the key?"""
    if shape.family == "encoder":
        return np.ones((n, n), dtype=np.bool_)
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    window = shape.windows[layer]
    return (distance >= 0) & (distance < (n if window is None else window))
