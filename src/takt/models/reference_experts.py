"""Feed-forward blocks of the plain numpy models: dense, and as a mixture of experts.

`route` says which experts work on a row and with what weight; it is what a scheduler of experts must agree with.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import ModelError

from .model import Model
from .parts import Experts
from .reference_math import ACTIVATIONS, Array, linear, sigmoid, softmax, weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """For each row the chosen experts, best first, `chosen` [T, top_k], and their `weights` [T, top_k]."""

    chosen: NDArray[np.int64]
    weights: Array


def ffn(model: Model, layer: int, x: Array) -> Array:
    """The feed-forward block on normed rows `x` [T, dim], dense or a mixture as the shape says."""
    prefix = f"layers.{layer}.ffn"
    experts = model.shape.experts
    if experts is None or not experts.in_layer(layer):
        return _dense(model, prefix, x)
    out = _routed(model, experts, prefix, x, route(model, layer, x))
    return out + _dense(model, f"{prefix}.shared", x) if experts.n_shared else out


def _dense(model: Model, prefix: str, x: Array) -> Array:
    act = ACTIVATIONS[model.shape.activation]
    middle = linear(model, f"{prefix}.up", x)
    gate = linear(model, f"{prefix}.gate", x) if model.shape.gated else None
    return linear(model, f"{prefix}.down", act(middle) if gate is None else act(gate) * middle)


def route(model: Model, layer: int, x: Array) -> Routing:
    """Experts of a layer for normed rows `x` [T, dim]; ties go to the lower number. ModelError without experts."""
    experts = model.shape.experts
    if experts is None or not experts.in_layer(layer):
        raise ModelError(f"layer {layer} of {model.shape.name} has no experts")
    name = f"layers.{layer}.ffn.router"
    logits = linear(model, name, x)
    scores = logits
    if experts.scoring != "softmax_topk":
        scores = sigmoid(logits) if experts.scoring == "sigmoid" else softmax(logits)
    ranks = scores
    if experts.selection_bias:
        ranks = ranks + weight(model, f"{name}.selection.bias", x)
    chosen = np.argsort(-_in_top_groups(experts, ranks), axis=-1, kind="stable")
    chosen = chosen[:, : experts.top_k]
    weights = np.take_along_axis(scores, chosen, axis=-1)
    if experts.scoring == "softmax_topk":
        weights = softmax(weights)
    if experts.norm_topk:
        weights = weights / weights.sum(axis=-1, keepdims=True)
    return Routing(chosen=chosen, weights=weights * experts.routed_scale)


def _in_top_groups(experts: Experts, ranks: Array) -> Array:
    """`ranks` [T, n_experts], -inf outside the groups whose two best have the largest sum."""
    if experts.n_groups == 1:
        return ranks
    grouped = ranks.reshape(len(ranks), experts.n_groups, -1)
    best = np.sort(grouped, axis=-1)[..., -2:].sum(axis=-1)
    order = np.argsort(-best, axis=-1, kind="stable")[:, : experts.top_groups]
    kept = np.zeros(best.shape, dtype=np.bool_)
    np.put_along_axis(kept, order, True, axis=-1)
    masked: Array = np.where(kept[..., None], grouped, -np.inf).reshape(ranks.shape)
    return masked


def _routed(model: Model, experts: Experts, prefix: str, x: Array, routing: Routing) -> Array:
    """Weighted sum of what the chosen experts make of each row."""
    stacks = {
        name: model.tensor(f"{prefix}.experts.{name}")
        for part in ("gate", "up", "down")
        for name in (f"{part}.weight", *([f"{part}.bias"] if experts.biases else []))
    }
    out = np.zeros_like(x)
    for expert in np.unique(routing.chosen):
        # Only the experts that work are converted: the stacks may be most of the model.
        own = {name: stack[expert].astype(x.dtype) for name, stack in stacks.items()}
        rows, places = np.nonzero(routing.chosen == expert)
        share = routing.weights[rows, places, None]
        if experts.weighted_inputs:
            out[rows] += _expert(model, experts, own, x[rows] * share)
        else:
            out[rows] += _expert(model, experts, own, x[rows]) * share
    return out


def _expert(model: Model, experts: Experts, own: dict[str, Array], x: Array) -> Array:
    """One expert's gated block on rows `x`."""

    def product(part: str, rows: Array) -> Array:
        y: Array = rows @ own[f"{part}.weight"].T
        return y + own[f"{part}.bias"] if experts.biases else y

    gate, up = product("gate", x), product("up", x)
    if experts.swiglu_alpha is None or experts.swiglu_limit is None:
        return product("down", ACTIVATIONS[model.shape.activation](gate) * up)
    gate = np.minimum(gate, experts.swiglu_limit)
    up = np.clip(up, -experts.swiglu_limit, experts.swiglu_limit)
    return product("down", gate * sigmoid(gate * experts.swiglu_alpha) * (up + 1))
