"""What each tensor's bytes mean, and the integer weights and lane constants that follow.

int8: value = scale · (q − zero), one scale a tensor, from the largest magnitude seen in calibration. What relu left is never
negative: zero is −128 and all 256 codes serve; saturation of the last conversion is the relu. Tensors that a residual joins
share a scale, so that adding them is one integer operation. Weights have one factor a channel, rounded up to f16 first:
no factor is ever rounded after the weights were made from it.

    q = saturate(rint(Σ w·q_in · factor + summand))             factor, summand: f16 a lane
    q = saturate(rint((Σ w·q_in + bias) · factor) + q_residual)   bias: an integer, in the tile

A residual's summand is in the tile as weights for lanes that hold constants: every vector ends in lanes of 127 and one of 1
(`constant_lanes`). fp16: weights, activations and summands are f16, nothing is scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.lpu.vision.floor import LANES
from takt.lpu.vision.graph import Conv, Floats
from takt.lpu.vision.layouts import Layout
from takt.lpu.vision.plan import HalfPool, Plan

LARGEST = 127
RELU_ZERO = -128
_LEAST = 2.0**-20
"""Of a factor: f16 has still four bits there."""
_MOST = 2.0**12
_LOGIT_BITS = 12
_WIDER = 1.25
"""Step by which a channel's factor grows until its bias fits the constant lanes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """value = scale · (q − zero)."""

    scale: float
    zero: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Numbers:
    """Weights as they are multiplied (i8 or f16 [out, in, height, width]), and a factor and a summand a channel.

    `bias` i64 [out] goes into the tiles; it is zero where the summand serves.
    """

    weight: NDArray[np.generic]
    factor: NDArray[np.float16]
    summand: NDArray[np.float16]
    bias: NDArray[np.int64]


def constant_lanes(layout: Layout) -> tuple[int, int]:
    """First of the lanes that hold 127, and the one that holds 1."""
    return len(layout.offsets) * layout.width, LANES - 1


def meanings(plan: Plan, peak: dict[str, float]) -> dict[str, Meaning]:
    """Scale and zero of every tensor of int8 networks. `peak`: largest magnitudes, as calibration found them."""
    positive = _positive(plan)
    group = {name: name for name in plan.layouts}

    def leader(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for step in plan.steps:
        if isinstance(step, HalfPool):
            group[leader(step.name)] = leader(step.input)
        elif step.residual:
            group[leader(step.residual)] = leader(step.name)
    scale: dict[str, float] = {}
    for name, largest in peak.items():
        codes = 255 if name in positive else LARGEST
        scale[leader(name)] = max(scale.get(leader(name), 0.0), largest / codes)
    scale = {name: value or 1.0 for name, value in scale.items()}
    for _ in plan.steps:
        for step in plan.steps:
            if isinstance(step, Conv):
                least = least_scale(step, scale[leader(step.input)])
                scale[leader(step.name)] = max(scale[leader(step.name)], least)
    return {
        name: Meaning(scale=scale[leader(name)], zero=RELU_ZERO if name in positive else 0)
        for name in plan.layouts
    }


def least_scale(conv: Conv, source_scale: float) -> float:
    """The smallest scale of an output for which no factor is too large for f16."""
    return float(np.abs(conv.weight).max(initial=0.0)) * source_scale / (LARGEST * _MOST)


def logit_meaning(peak: float, least: float) -> Meaning:
    """The unit of the network's output, which leaves as f16: a power of two with room for 16 times the largest seen.

    It is not below `least`.
    """
    exponent = int(np.ceil(np.log2(max(peak, least * 2.0**_LOGIT_BITS, 1e-9))))
    return Meaning(scale=2.0 ** (exponent - _LOGIT_BITS), zero=0)


def _positive(plan: Plan) -> set[str]:
    found: set[str] = set()
    for step in plan.steps:
        if isinstance(step, HalfPool):
            found |= {step.name} if step.input in found else set()
        elif step.relu:
            found.add(step.name)
    return found


def float_numbers(conv: Conv) -> Numbers:
    """f16 weights and summands."""
    limit = float(np.finfo(np.float16).max)
    n = len(conv.weight)
    return Numbers(
        weight=np.clip(conv.weight, -limit, limit).astype(np.float16),
        factor=np.ones(n, np.float16),
        summand=np.clip(conv.bias, -limit, limit).astype(np.float16),
        bias=np.zeros(n, np.int64),
    )


def integer_numbers(
    conv: Conv, source: Meaning, target: Meaning, residual: Meaning | None, n_constants: int
) -> Numbers:
    """i8 weights. `n_constants`: lanes of 127 in the input's vectors."""
    out_scale, out_zero = target.scale, target.zero
    largest = np.abs(conv.weight).reshape(len(conv.weight), -1).max(axis=1).astype(np.float64)
    factor = _f16_up(np.maximum(largest, 1e-9) * source.scale / (LARGEST * out_scale))
    summand = (
        conv.bias.astype(np.float64) / out_scale + out_zero - (residual.zero if residual else 0)
    )
    taps = conv.kernel[0] * conv.kernel[1] if conv.uniform else 1
    room = LARGEST * LARGEST * n_constants
    while True:
        weight = _round_weights(conv.weight, factor, source.scale, out_scale)
        offset = source.zero * taps * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
        bias = np.rint(summand / factor.astype(np.float64)).astype(np.int64) - offset
        wide = np.abs(bias) > room
        if residual is None or not wide.any():
            break
        factor = np.where(wide, _f16_up(factor.astype(np.float64) * _WIDER), factor)
    if residual is None:
        summand = summand - offset * factor.astype(np.float64)
        bias = np.zeros_like(bias)
    limit = float(np.finfo(np.float16).max)
    return Numbers(
        weight=weight,
        factor=factor,
        summand=np.clip(summand, -limit, limit).astype(np.float16),
        bias=bias,
    )


def _round_weights(
    weight: Floats, factor: NDArray[np.float16], source_scale: float, out_scale: float
) -> NDArray[np.int8]:
    unit = factor.astype(np.float64) * out_scale / source_scale
    scaled = weight / unit.reshape(-1, 1, 1, 1).astype(np.float32)
    return np.clip(np.rint(scaled), -LARGEST, LARGEST).astype(np.int8)


def _f16_up(values: NDArray[np.float64]) -> NDArray[np.float16]:
    """The next f16 not below, at least `_LEAST`."""
    near = np.maximum(values, _LEAST).astype(np.float16)
    return np.where(near.astype(np.float64) < values, np.nextafter(near, np.float16(np.inf)), near)


def bias_rows(bias: NDArray[np.int64], n_constants: int) -> NDArray[np.int8]:
    """Weights i8 [n_constants + 1, out] whose products with lanes of 127, and one of 1, sum to the bias."""
    steps = (np.abs(bias) + LARGEST // 2) // LARGEST * np.sign(bias)
    rest = bias - LARGEST * steps
    rows = np.zeros((n_constants + 1, len(bias)), np.int64)
    for i in range(n_constants):
        rows[i] = np.clip(steps, -LARGEST, LARGEST)
        steps = steps - rows[i]
    rows[n_constants] = rest + LARGEST * steps
    return np.clip(rows, -LARGEST, LARGEST).astype(np.int8)


def lane_constants(
    numbers: Numbers, layout: Layout, chunk: int, zero: int, *, is_f16: bool, is_residual: bool
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Factor and summand of every lane of one output chunk, f16 [320] each; spare lanes give the constants."""
    factor, summand = np.zeros(LANES, np.float16), np.zeros(LANES, np.float16)
    channels = layout.channels(chunk)
    if not is_f16:
        summand[:] = 0 if is_residual else zero
        first, one = constant_lanes(layout)
        summand[first:one], summand[one] = (0, 0) if is_residual else (LARGEST, 1)
    for g in range(len(layout.offsets)):
        lanes = slice(g * layout.width, g * layout.width + len(channels))
        factor[lanes] = numbers.factor[channels.start : channels.stop]
        summand[lanes] = numbers.summand[channels.start : channels.stop]
    return factor, summand


def rest_vector(layout: Layout, zero: int) -> NDArray[np.int8]:
    """An int8 vector outside the image: zeros as values, and the constants, i8 [320]."""
    vector = np.full(LANES, zero, np.int8)
    first, one = constant_lanes(layout)
    vector[first:one], vector[one] = LARGEST, 1
    return vector
