"""What every instruction computes, to the bit, as pure functions of vectors (`docs/numerics.md` in code).

Vectors have lanes in their last axis; 32-bit values are raw patterns (uint32) unless said otherwise. It knows no time,
no position and no unit: those are the engines'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from takt.errors import ProgramError
from takt.lpu.isa.table import Type

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

NAN_F32 = np.uint32(0x7FC00000)
NAN_F16 = np.uint16(0x7E00)
MAX_F16 = np.float32(65504)
I32_MIN, I32_MAX = -(2**31), 2**31 - 1


def _f(raw: U32) -> F32:
    return raw.view(np.float32)


def _i(raw: U32) -> I32:
    return raw.view(np.int32)


def canonical(values: F32) -> U32:
    """Raw patterns of f32 values, with every NaN as 0x7fc00000."""
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return np.where(np.isnan(values), NAN_F32, raw)


# VXM: entry and exit


def widen(data: U8, type_: Type) -> U32:
    """Bytes [..., n_streams, lanes] of one operand → raw 32-bit values [..., lanes]; an f16 NaN becomes canonical."""
    match type_:
        case Type.I8:
            return data[..., 0, :].view(np.int8).astype(np.int32).view(np.uint32)
        case Type.U8:
            return data[..., 0, :].astype(np.uint32)
        case Type.F16:
            half = join16(data[..., 0, :], data[..., 1, :]).view(np.float16)
            with np.errstate(invalid="ignore"):  # a signalling NaN
                return canonical(half.astype(np.float32))
        case Type.F32 | Type.I32:
            return join32(data)
    raise ProgramError(f"no such type: {type_}")


def narrow(raw: U32, type_: Type) -> U8:
    """Raw 32-bit values [..., lanes] → bytes [..., n_streams, lanes], saturating as numerics.md says."""
    match type_:
        case Type.I8:
            return _stack(np.clip(_i(raw), -128, 127).astype(np.int8).view(np.uint8))
        case Type.U8:
            return _stack(np.clip(_i(raw), 0, 255).astype(np.uint8))
        case Type.F16:
            values = _f(raw)
            with np.errstate(all="ignore"):
                half = np.clip(values, -MAX_F16, MAX_F16).astype(np.float16).view(np.uint16)
            return split16(np.where(np.isnan(values), NAN_F16, half))
        case Type.F32 | Type.I32:
            return split32(raw)
    raise ProgramError(f"no such type: {type_}")


def _stack(data: U8) -> U8:
    return data[..., np.newaxis, :]


def join16(low: U8, high: U8) -> U16:
    """Two byte vectors → one vector of 16-bit patterns."""
    return low.astype(np.uint16) | high.astype(np.uint16) << np.uint16(8)


def split16(raw: U16) -> U8:
    """16-bit patterns [..., lanes] → bytes [..., 2, lanes], low first."""
    return np.stack([raw & 0xFF, raw >> 8], axis=-2).astype(np.uint8)


def join32(data: U8) -> U32:
    """Bytes [..., 4, lanes], low first → 32-bit patterns [..., lanes]."""
    wide = data.astype(np.uint32)
    shifts = np.array([0, 8, 16, 24], np.uint32)[:, np.newaxis]
    joined: U32 = np.bitwise_or.reduce(wide << shifts, axis=-2)
    return joined


def split32(raw: U32) -> U8:
    """32-bit patterns [..., lanes] → bytes [..., 4, lanes], low first."""
    return np.stack([raw >> s & 0xFF for s in (0, 8, 16, 24)], axis=-2).astype(np.uint8)


# VXM: operations

_LOG2E = np.float32(1.44269504)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_EXP_COEFFICIENTS = tuple(
    np.float32(c)
    for c in (
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    )
)
_EXP_LOW, _EXP_HIGH = np.float32(-104), np.float32(89)
_ONE, _ZERO = np.float32(1), np.float32(0)


def exp_f32(x: F32) -> F32:
    """eˣ by the steps of numerics.md; NaN stays NaN (not canonical)."""
    inside = np.minimum(np.maximum(np.where(np.isnan(x), _ZERO, x), _EXP_LOW), _EXP_HIGH)
    n = np.rint(inside * _LOG2E)
    r = (inside - n * _LN2_HIGH) - n * _LN2_LOW
    z = r * r
    p = np.full_like(r, _EXP_COEFFICIENTS[0])
    for coefficient in _EXP_COEFFICIENTS[1:]:
        p = p * r + coefficient
    y = (p * z + r) + _ONE
    half = np.floor(n / np.float32(2)).astype(np.int32)
    rest = n.astype(np.int32) - half
    y = (y * np.ldexp(_ONE, half)) * np.ldexp(_ONE, rest)
    result: F32 = np.where(np.isnan(x), x, y)
    return result


def _tanh(x: F32) -> F32:
    e = exp_f32(np.float32(-2) * np.abs(x))
    return np.copysign((_ONE - e) / (_ONE + e), x)


def _rsqrt(x: F32) -> F32:
    root: F32 = np.sqrt(x)
    return np.divide(_ONE, root)


def _pick(choose_x: NDArray[np.bool_], x: F32, y: F32) -> F32:
    either_nan = np.isnan(x) | np.isnan(y)
    return np.where(either_nan, np.float32(np.nan), np.where(choose_x, x, y))


def _relu(x: F32) -> F32:
    return np.where(np.isnan(x) | (x > 0), x, _ZERO)


def _ftoi(raw: U32) -> U32:
    values = _f(raw).astype(np.float64)
    rounded = np.clip(np.rint(np.where(np.isnan(values), 0, values)), I32_MIN, I32_MAX)
    return rounded.astype(np.int32).view(np.uint32)


def _saturated(wide: I64) -> U32:
    return np.clip(wide, I32_MIN, I32_MAX).astype(np.int32).view(np.uint32)


def _wide(raw: U32) -> I64:
    return _i(raw).astype(np.int64)


_Unary = Callable[[F32], F32]
_Binary = Callable[[F32, F32], F32]
_Raw = Callable[[U32, U32], U32]

_FLOAT_UNARY: Mapping[str, _Unary] = MappingProxyType(
    {
        "neg": np.negative,
        "abs": np.abs,
        "relu": _relu,
        "exp": exp_f32,
        "rsqrt": _rsqrt,
        "tanh": _tanh,
    }
)
_FLOAT_BINARY: Mapping[str, _Binary] = MappingProxyType(
    {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "max": lambda x, y: _pick(x > y, x, y),
        "min": lambda x, y: _pick(x < y, x, y),
    }
)
_RAW: Mapping[str, _Raw] = MappingProxyType(
    {
        "mov": lambda x, y: x.copy(),
        "mask": lambda x, y: np.where(y != 0, x, np.uint32(0)),
        "itof": lambda x, y: _i(x).astype(np.float32).view(np.uint32),
        "ftoi": lambda x, y: _ftoi(x),
        "addi": lambda x, y: x + y,
        "subi": lambda x, y: x - y,
        "muli": lambda x, y: x * y,
        "adds": lambda x, y: _saturated(_wide(x) + _wide(y)),
        "subs": lambda x, y: _saturated(_wide(x) - _wide(y)),
        "maxi": lambda x, y: np.maximum(_i(x), _i(y)).view(np.uint32),
        "mini": lambda x, y: np.minimum(_i(x), _i(y)).view(np.uint32),
    }
)


def vxm(name: str, x: NDArray[np.generic], y: NDArray[np.generic] | None = None) -> U32:
    """One VXM operation on 32-bit arrays of equal shape (any 32-bit dtype) → raw results.

    `mov` and `mask` copy patterns as they are; every float result that is NaN is canonical. ProgramError for a name that
    is no VXM operation.
    """
    a = np.ascontiguousarray(x).view(np.uint32)
    b = a if y is None else np.ascontiguousarray(y).view(np.uint32)
    with np.errstate(all="ignore"):
        if name in _RAW:
            return _RAW[name](a, b)
        if name in _FLOAT_UNARY:
            return canonical(_FLOAT_UNARY[name](_f(a)))
        if name in _FLOAT_BINARY:
            return canonical(_FLOAT_BINARY[name](_f(a), _f(b)))
    raise ProgramError(f"'{name}' is no VXM operation")


# MXM


def dot_i8(acts: U8, weights: U8) -> U32:
    """Activations [..., k] × weights [k, n], both bytes of i8 → raw i32 sums [..., n].

    Computed in doubles: 320 products below 2¹⁴ add up far below 2⁵³, so every step is exact.
    """
    product = acts.view(np.int8).astype(np.float64) @ weights.view(np.int8).astype(np.float64)
    return product.astype(np.int32).view(np.uint32)


def dot_f16(acts: U16, weights: U16) -> U32:
    """Activations [..., k] × weights [k, n], f16 patterns → raw f32 of the exact sums, rounded once [..., n]."""
    return HalfMatrix(weights).dot(acts)


class HalfMatrix:
    """An f16 matrix [k, n] made ready for exact products, k ≤ 2¹².

    A finite f16 is v · 2⁻²⁴ with |v| < 2⁴⁰, and v = high · 2²⁰ + low with both halves within ±2²⁰. The four products of
    halves are integers below 2⁴⁰, sums of k of them stay below 2⁵³: exact in doubles in whatever order they are added.
    """

    __slots__ = ("halves", "n", "spoiled")

    def __init__(self, weights: U16) -> None:
        high, low = _halves(weights)
        self.n = weights.shape[1]
        self.halves = np.concatenate([high, low], axis=1)
        self.spoiled = np.any(_not_finite(weights), axis=0)

    def dot(self, acts: U16) -> U32:
        """Activations [..., k] as f16 patterns → raw f32 [..., n]."""
        high, low = _halves(acts)
        by_high, by_low = high @ self.halves, low @ self.halves
        n = self.n
        middle = by_high[..., n:].astype(np.int64) + by_low[..., :n].astype(np.int64)
        rounded = _round_limbs(
            by_high[..., :n].astype(np.int64), middle, by_low[..., n:].astype(np.int64)
        )
        spoiled = self.spoiled | np.any(_not_finite(acts), axis=-1, keepdims=True)
        return np.where(spoiled, NAN_F32, rounded.view(np.uint32))


def _not_finite(raw: U16) -> NDArray[np.bool_]:
    spoiled: NDArray[np.bool_] = np.equal(raw & 0x7C00, 0x7C00)
    return spoiled


def _halves(raw: U16) -> tuple[F64, F64]:
    """(high, low) of every f16 pattern as integers in doubles, zero for inf and NaN."""
    finite = np.where(_not_finite(raw), np.uint16(0), raw).view(np.float16)
    scaled = (finite.astype(np.float64) * 2.0**24).astype(np.int64)
    return (scaled >> 20).astype(np.float64), (scaled & 0xFFFFF).astype(np.float64)


def _round_limbs(high: I64, middle: I64, low: I64) -> F32:
    """(high · 2⁴⁰ + middle · 2²⁰ + low) · 2⁻⁴⁸, rounded once to f32; each limb within ±2⁵³.

    Carries are made explicit, then the magnitude is cut to at most 53 bits with a sticky last bit (round to odd), which
    a double holds exactly; more than 26 bits are kept, so the final rounding to 24 bits is the only one.
    """
    middle = middle + (low >> 20)
    high = high + (middle >> 20)
    rest = (middle & 0xFFFFF) << 20 | low & 0xFFFFF
    negative = high < 0
    high = np.where(negative, -high - (rest != 0), high)
    rest = np.where(negative, -rest & 0xFFFFFFFFFF, rest)
    small = (high << 40 | rest).astype(np.float64)
    medium = (high << 20 | rest >> 20 | (rest & 0xFFFFF != 0)).astype(np.float64) * 2.0**20
    large = (high << 2 | (rest != 0)).astype(np.float64) * 2.0**38
    exact = np.where(high < 2**12, small, np.where(high < 2**32, medium, large)) * 2.0**-48
    return np.where(negative, -exact, exact).astype(np.float32)


def acc_add(entry: U32, result: U32, type_: Type) -> U32:
    """Entry plus result: one f32 addition, or modulo 2³² for an integer type."""
    return vxm("add" if type_.is_float else "addi", entry, result)


# SXM: all take and give bytes [..., lanes]


def shift(data: U8, n: int, wrap: bool) -> U8:
    """out[l] = in[l − n]; lanes from outside are zero, or wrap around."""
    lanes = data.shape[-1]
    if wrap:
        return np.roll(data, n, axis=-1)
    out = np.zeros_like(data)
    if 0 <= n < lanes:
        out[..., n:] = data[..., : lanes - n]
    elif -lanes < n < 0:
        out[..., :n] = data[..., -n:]
    return out


def select(x: U8, y: U8, mask: U8) -> U8:
    """Lanes of x where mask ≠ 0, else of y; x and y [width, lanes], mask [lanes]."""
    return np.where(mask != 0, x, y)


def is_bijection(lane_map: U16) -> bool:
    """Whether a permute map names every lane exactly once."""
    return bool(np.array_equal(np.sort(lane_map), np.arange(len(lane_map))))


def permute(data: U8, lane_map: U16) -> U8:
    """out[l] = in[map[l]]; the map must be a bijection (`is_bijection`), which the caller checks."""
    return data[..., lane_map]


def distribute(data: U8, nibbles: int, zero: int, superlane: int = 16) -> U8:
    """Within each superlane out[l] = in[nibble l of the map], or zero where bit l of `zero` is set."""
    lanes = np.arange(superlane)
    source = np.array([nibbles >> 4 * int(lane) & 15 for lane in lanes])
    keep = np.array([zero >> int(lane) & 1 == 0 for lane in lanes])
    tiles = data.reshape(*data.shape[:-1], -1, superlane)
    return np.where(keep, tiles[..., source], np.uint8(0)).reshape(data.shape)


def transpose(data: U8, superlane: int = 16) -> U8:
    """[16, lanes] → [16, lanes]: within each superlane out stream i, lane l = in stream l, lane i."""
    tiles = data.reshape(superlane, -1, superlane)
    return np.ascontiguousarray(tiles.transpose(2, 1, 0)).reshape(data.shape)


def rotate(data: U8, superlane: int = 16) -> U8:
    """[n, lanes] → [n², lanes]: out[i·n + j][16 s + l] = in[i][16 s + (l + j) mod 16]."""
    n, lanes = data.shape
    tiles = data.reshape(n, -1, superlane)
    turned = [np.roll(tiles, -j, axis=-1) for j in range(n)]
    return np.stack(turned, axis=1).reshape(n * n, lanes)
