"""The models written out plainly in numpy: what every faster engine must agree with.

No cache, no batching, all positions at once: the reader should find the mathematics of the families here and
in `reference_attention`, `reference_experts`, `reference_math` and `rope`, and nothing else. `float64` gives a
yardstick, `float32` the usual numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from takt.errors import ModelError, UnsupportedError

from .model import Model
from .reference_attention import attention
from .reference_experts import ffn
from .reference_math import Array, capped, norm, weight
from .shape import ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """An encoder's answer: `hidden` [T, dim] of every position, `pooled` [dim] as the shape says.

    Without a pooling of its own the shape's pooled vector is the first position's.
    """

    hidden: Array
    pooled: Array


def reference_logits(model: Model, ids: Sequence[int], *, dtype: type = np.float32) -> Array:
    """Logits [T, vocab] after each of `ids`; all in `dtype`, of float32 weights.

    Raises UnsupportedError for encoders and for what `not_computed` names, ModelError for bad ids.
    """
    if model.shape.family != "decoder":
        raise UnsupportedError(f"{model.shape.name} is an encoder and has no logits")
    if model.shape.not_computed:
        raise UnsupportedError(
            f"{model.shape.name} has {', '.join(model.shape.not_computed)}, which is not computed here"
        )
    x = _hidden(model, _checked_ids(model.shape, ids), dtype)
    if model.shape.norm_place != "post":
        x = norm(model, "final.norm", x)
    return capped(x @ weight(model, "head.weight", x).T, model.shape.logit_softcap)


def reference_encoding(model: Model, ids: Sequence[int], *, dtype: type = np.float32) -> Encoding:
    """Hidden states and pooled vector of an encoder. UnsupportedError for decoders."""
    if model.shape.family != "encoder":
        raise UnsupportedError(f"{model.shape.name} is a decoder and has no pooled output")
    hidden = _hidden(model, _checked_ids(model.shape, ids), dtype)
    pooled = hidden.mean(axis=0) if model.shape.pooling == "mean" else hidden[0]
    if model.shape.normalize:
        pooled = pooled / max(float(np.linalg.norm(pooled)), 1e-12)
    return Encoding(hidden=hidden, pooled=pooled)


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
    x: Array = model.tensor("embed.weight")[ids].astype(dtype) * dtype(shape.embedding_scale)
    if shape.position == "learned":
        x = x + model.tensor("position.weight")[: len(ids)].astype(dtype)
    if shape.has_token_types:
        x = x + model.tensor("token_type.weight")[0].astype(dtype)
    if shape.embedding_norm:
        x = norm(model, "embed.norm", x)
    for layer in range(shape.n_layers):
        x = _block(model, f"layers.{layer}.attn", partial(attention, model, layer), x)
        x = _block(model, f"layers.{layer}.ffn", partial(ffn, model, layer), x)
    return x


def _block(model: Model, name: str, block: Callable[[Array], Array], x: Array) -> Array:
    """One block with its norms and the sum around it."""
    place = model.shape.norm_place
    if place == "post":
        return norm(model, f"{name}.norm", x + block(x))
    y = block(norm(model, f"{name}.norm", x))
    return x + (norm(model, f"{name}.post_norm", y) if place == "both" else y)
