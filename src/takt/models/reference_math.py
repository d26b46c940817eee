"""Small steps of the plain numpy models: linear maps, norms, softmax, activations.

All work on rows (the last axis) in the float type of what they are given. Knows names of tensors, not layers.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .model import Model
from .shape import Activation

Array = NDArray[np.floating[Any]]  # of the float type asked for


def weight(model: Model, name: str, x: Array) -> Array:
    """A tensor in the float type of `x`."""
    tensor: Array = model.tensor(name).astype(x.dtype)
    return tensor


def linear(model: Model, name: str, x: Array) -> Array:
    """X · Wᵀ, plus the bias if the model has one of that name."""
    y: Array = x @ weight(model, f"{name}.weight", x).T
    return y + weight(model, f"{name}.bias", x) if model.has(f"{name}.bias") else y


def norm(model: Model, name: str, x: Array) -> Array:
    """RMS or layer norm, by the shape."""
    gain = weight(model, f"{name}.weight", x)
    if model.shape.norm == "rms":
        return rms(x, model.shape.norm_eps) * gain
    centred = x - x.mean(axis=-1, keepdims=True)
    return rms(centred, model.shape.norm_eps) * gain + weight(model, f"{name}.bias", x)


def rms(x: Array, eps: float) -> Array:
    """X over its root mean square."""
    scale: Array = np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    return x / scale


def softmax(scores: Array) -> Array:
    """Shares that sum to 1; -inf gets none."""
    e: Array = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total: Array = e.sum(axis=-1, keepdims=True)
    return e / total


def capped(x: Array, cap: float | None) -> Array:
    """Bent smoothly into ±cap."""
    bent: Array = x if cap is None else np.tanh(x / cap) * cap
    return bent


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    # By tanh, since exp(-x) overflows for large negative x.
    gate: Array = np.tanh(x * 0.5) + 1
    return gate * 0.5


def _silu(x: Array) -> Array:
    return x * sigmoid(x)


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


ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": _relu,
}
