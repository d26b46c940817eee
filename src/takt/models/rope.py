"""Rotary positions: the frequency of every pair, and the turn itself in plain numpy.

Knows the ways of stretching frequencies (`RopeScaling`) and which layers turn by another theta. Does not know
what is turned.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .parts import RopeScaling
from .shape import ModelShape

Array = NDArray[np.floating[Any]]


def rope_frequencies(shape: ModelShape, layer: int | None = None) -> NDArray[np.float64]:
    """Radians per position of each rotary pair, [rope_dim / 2], scaling included.

    `layer` matters only where the shape has a `local_rope_theta`; without it, the layers that see everything.
    """
    pairs = np.arange(0, shape.rope_dim, 2, dtype=np.float64) / shape.rope_dim
    if shape.local_rope_theta is not None and layer is not None and shape.windows[layer]:
        local: NDArray[np.float64] = shape.local_rope_theta**-pairs
        return local
    frequencies = shape.rope_theta**-pairs
    scaling = shape.rope_scaling
    return frequencies if scaling is None else frequencies / _stretch(shape, scaling, frequencies)


def _stretch(
    shape: ModelShape, scaling: RopeScaling, frequencies: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What each frequency is divided by."""
    if scaling.kind == "linear":
        return np.full_like(frequencies, scaling.factor)
    if scaling.kind == "factors":
        return np.asarray(scaling.factors, dtype=np.float64)
    kept = _llama3_share(scaling, frequencies)
    if scaling.kind == "yarn":
        kept = _yarn_share(scaling, shape.rope_dim, shape.rope_theta)
    # Share of the unscaled frequency in the blend: 1/stretch goes linearly from 1/factor to 1.
    stretched: NDArray[np.float64] = 1.0 / (kept + (1.0 - kept) / scaling.factor)
    return stretched


def _llama3_share(scaling: RopeScaling, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turns over the original context decide; both bounds may be the same (Llama 4)."""
    turns = scaling.original_context * frequencies / (2 * np.pi)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    if span == 0:
        return np.asarray(turns > scaling.low_freq_factor, dtype=np.float64)
    share: NDArray[np.float64] = np.clip((turns - scaling.low_freq_factor) / span, 0.0, 1.0)
    return share


def _yarn_share(scaling: RopeScaling, dim: int, theta: float) -> NDArray[np.float64]:
    """The index of the pair decides, between those that make `beta_fast` and `beta_slow` turns (arXiv:2309.00071)."""

    def index(turns: float) -> float:
        wavelength = scaling.original_context / (2 * math.pi * turns)
        return dim * math.log(wavelength) / (2 * math.log(theta))

    low, high = index(scaling.beta_fast), index(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    span = high - low if high != low else 0.001
    ramp: NDArray[np.float64] = np.clip((np.arange(dim // 2) - low) / span, 0.0, 1.0)
    return 1.0 - ramp


def rotate(x: Array, frequencies: NDArray[np.float64], *, interleaved: bool) -> Array:
    """`x` [T, heads, rope_dim] turned by position · frequency, pairs (2i, 2i+1) or (i, i + rope_dim/2)."""
    angles = np.arange(len(x))[:, None] * frequencies
    cos, sin = (f(angles).astype(x.dtype)[:, None, :] for f in (np.cos, np.sin))
    half = len(frequencies)
    pairs = (slice(0, None, 2), slice(1, None, 2))
    if not interleaved:
        pairs = (slice(0, half), slice(half, None))
    first, second = x[..., pairs[0]], x[..., pairs[1]]
    turned = np.empty_like(x)
    turned[..., pairs[0]] = first * cos - second * sin
    turned[..., pairs[1]] = second * cos + first * sin
    return turned
