"""The models written out plainly in numpy: what every faster engine must agree with.

One function a step, no cache, no batching, all positions at once; the reader should find the mathematics of
the family here and nothing else. `float64` gives a yardstick, `float32` the usual numbers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.errors import ModelError, UnsupportedError

from .model import Model
from .shape import Activation, ModelShape, RopeScaling

Array = NDArray[np.floating[Any]]  # of the float type asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """An encoder's answer: `hidden` [T, dim] of every position, `pooled` [dim] as the shape says.

    Without a pooling of its own the shape's pooled vector is the first position's.
    """

    hidden: Array
    pooled: Array


def reference_logits(model: Model, ids: Sequence[int], *, dtype: type = np.float32) -> Array:
    """Logits [T, vocab] after each of `ids`. UnsupportedError for encoders, ModelError for bad ids."""
    if model.shape.family != "decoder":
        raise UnsupportedError(f"{model.shape.name} is an encoder and has no logits")
    x = _hidden(model, _checked_ids(model.shape, ids), dtype)
    if model.shape.norm_place == "pre":
        x = _norm(model, "final.norm", x)
    logits: Array = x @ _weight(model, "head.weight", x).T
    return logits


def reference_encoding(model: Model, ids: Sequence[int], *, dtype: type = np.float32) -> Encoding:
    """Hidden states and pooled vector of an encoder. UnsupportedError for decoders."""
    if model.shape.family != "encoder":
        raise UnsupportedError(f"{model.shape.name} is a decoder and has no pooled output")
    hidden = _hidden(model, _checked_ids(model.shape, ids), dtype)
    pooled = hidden.mean(axis=0) if model.shape.pooling == "mean" else hidden[0]
    if model.shape.normalize:
        pooled = pooled / max(float(np.linalg.norm(pooled)), 1e-12)
    return Encoding(hidden=hidden, pooled=pooled)


def rope_frequencies(shape: ModelShape) -> NDArray[np.float64]:
    """Radians per position of each rotary pair, [head_dim / 2], scaling included."""
    half = np.arange(0, shape.head_dim, 2, dtype=np.float64)
    frequencies = shape.rope_theta ** (-half / shape.head_dim)
    scaling = shape.rope_scaling
    return frequencies if scaling is None else frequencies / _stretch(scaling, frequencies)


def _stretch(scaling: RopeScaling, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    if scaling.kind == "linear":
        return np.full_like(frequencies, scaling.factor)
    if scaling.kind == "factors":
        return np.asarray(scaling.factors, dtype=np.float64)
    # Llama 3: turns over the original context decide; between the two bounds 1/stretch blends linearly.
    turns = scaling.original_context * frequencies / (2 * np.pi)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    blend = np.clip((turns - scaling.low_freq_factor) / span, 0.0, 1.0)
    stretched: NDArray[np.float64] = 1.0 / (blend + (1.0 - blend) / scaling.factor)
    return stretched


def _checked_ids(shape: ModelShape, ids: Sequence[int]) -> NDArray[np.int64]:
    array = np.asarray(ids, dtype=np.int64)
    if array.ndim != 1 or not 1 <= array.size <= shape.max_context:
        raise ModelError(f"expected 1..{shape.max_context} token ids, got {array.size}")
    if array.min() < 0 or array.max() >= shape.vocab_size:
        raise ModelError(f"token ids must be in 0..{shape.vocab_size - 1}")
    return array


def _hidden(model: Model, ids: NDArray[np.int64], dtype: type) -> Array:
    """[T, dim] after the last layer, before any final norm."""
    shape = model.shape
    # Rows are picked before they are converted: the table may be most of the model.
    x: Array = model.tensor("embed.weight")[ids].astype(dtype)
    if shape.position == "learned":
        x = x + model.tensor("position.weight")[: len(ids)].astype(dtype)
    if shape.has_token_types:
        x = x + model.tensor("token_type.weight")[0].astype(dtype)
    if shape.embedding_norm:
        x = _norm(model, "embed.norm", x)
    for layer in range(shape.n_layers):
        for norm, block in (
            (f"layers.{layer}.attn.norm", _attention),
            (f"layers.{layer}.ffn.norm", _ffn),
        ):
            if shape.norm_place == "pre":
                x = x + block(model, layer, _norm(model, norm, x))
            else:
                x = _norm(model, norm, x + block(model, layer, x))
    return x


def _weight(model: Model, name: str, x: Array) -> Array:
    """A tensor in the float type of `x`."""
    weight: Array = model.tensor(name).astype(x.dtype)
    return weight


def _norm(model: Model, name: str, x: Array) -> Array:
    """RMS or layer norm over the last axis, by the shape."""
    weight = _weight(model, f"{name}.weight", x)
    if model.shape.norm == "rms":
        return _rms(x, model.shape.norm_eps) * weight
    centred = x - x.mean(axis=-1, keepdims=True)
    return _rms(centred, model.shape.norm_eps) * weight + _weight(model, f"{name}.bias", x)


def _rms(x: Array, eps: float) -> Array:
    scale: Array = np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    return x / scale


def _linear(model: Model, name: str, x: Array) -> Array:
    y: Array = x @ _weight(model, f"{name}.weight", x).T
    return y + _weight(model, f"{name}.bias", x) if model.has(f"{name}.bias") else y


def _attention(model: Model, layer: int, x: Array) -> Array:
    shape, prefix, n = model.shape, f"layers.{layer}.attn", len(x)
    q = _linear(model, f"{prefix}.q", x).reshape(n, shape.n_heads, shape.head_dim)
    k = _linear(model, f"{prefix}.k", x).reshape(n, shape.n_kv_heads, shape.head_dim)
    v = _linear(model, f"{prefix}.v", x).reshape(n, shape.n_kv_heads, shape.head_dim)
    if shape.qk_norm:
        q = _rms(q, shape.norm_eps) * _weight(model, f"{prefix}.q_norm.weight", x)
        k = _rms(k, shape.norm_eps) * _weight(model, f"{prefix}.k_norm.weight", x)
    if shape.position == "rope":
        q, k = _rotate(shape, q), _rotate(shape, k)
    group = shape.n_heads // shape.n_kv_heads
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = np.einsum("qhd,khd->hqk", q, k) * shape.attention_scale
    weights = _softmax(np.where(_visible(shape, layer, n), scores, -np.inf))
    return _linear(model, f"{prefix}.o", np.einsum("hqk,khd->qhd", weights, v).reshape(n, -1))


def _visible(shape: ModelShape, layer: int, n: int) -> NDArray[np.bool_]:
    """[query, key]: may the query see the key?"""
    if shape.family == "encoder":
        return np.ones((n, n), dtype=np.bool_)
    distance = np.arange(n)[:, None] - np.arange(n)[None, :]
    window = shape.windows[layer]
    return (distance >= 0) & (distance < (n if window is None else window))


def _rotate(shape: ModelShape, x: Array) -> Array:
    """Rotary positions on [T, heads, head_dim], pairs as the shape lays them out."""
    angles = np.arange(len(x))[:, None] * rope_frequencies(shape)
    cos, sin = (f(angles).astype(x.dtype)[:, None, :] for f in (np.cos, np.sin))
    half = shape.head_dim // 2
    pairs = (slice(0, None, 2), slice(1, None, 2))
    if not shape.rope_interleaved:
        pairs = (slice(0, half), slice(half, None))
    first, second = x[..., pairs[0]], x[..., pairs[1]]
    turned = np.empty_like(x)
    turned[..., pairs[0]] = first * cos - second * sin
    turned[..., pairs[1]] = second * cos + first * sin
    return turned


def _softmax(scores: Array) -> Array:
    e: Array = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total: Array = e.sum(axis=-1, keepdims=True)
    return e / total


def _ffn(model: Model, layer: int, x: Array) -> Array:
    prefix = f"layers.{layer}.ffn"
    activation = _ACTIVATIONS[model.shape.activation]
    hidden: Array
    if model.shape.gated:
        hidden = activation(_linear(model, f"{prefix}.gate", x)) * _linear(model, f"{prefix}.up", x)
    else:
        hidden = activation(_linear(model, f"{prefix}.up", x))
    return _linear(model, f"{prefix}.down", hidden)


def _silu(x: Array) -> Array:
    # By tanh, since exp(-x) overflows for large negative x.
    half: Array = x * 0.5
    gate: Array = np.tanh(half) + 1
    return half * gate


def _gelu_tanh(x: Array) -> Array:
    gate: Array = 1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * gate


def _gelu(x: Array) -> Array:
    # numpy has no erf; the standard library's is exact, and speed is not this file's business.
    scaled = (x.astype(np.float64) / math.sqrt(2)).ravel()
    erf = np.fromiter(map(math.erf, scaled), np.float64, scaled.size).reshape(x.shape)
    return 0.5 * x * (1 + erf.astype(x.dtype))


def _relu(x: Array) -> Array:
    floored: Array = np.maximum(x, 0)
    return floored


_ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": _relu,
}
