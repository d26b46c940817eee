"""Kernels that work lane by lane give the bits of the semantics, for every operation and every kind of processor."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.lpu.fast.kernel_tape import LEVELS, planes, run_op

from takt.lpu.fast.codes import Code
from takt.lpu.isa.table import ROWS, Row, Type, Unit
from takt.lpu.machine import semantics

LANES = 320
_VXM = [row for row in ROWS if row.unit is Unit.VXM]
_EDGE_TEXT = """
0 -0 1 -1 0.5 -0.5 1.5 2.5 -2.5 88.7 88.8 89 90 -87.3 -87.4 -103.9 -104 -105
65504 65519.9 65520 -65520 6.1e-5 6.0e-5 5.9604645e-8 2.9802322e-8 2.9e-8 3.0e-8 1e-45 -1e-45
2147483520 2147483648 -2147483648 -2147483904 8388607.5 8388608 4194303.5 4194304.5
3.4e38 -3.4e38 inf -inf nan 1.1754944e-38 1.1754942e-38"""
_EDGES = np.array(_EDGE_TEXT.split(), np.float32)
_PATTERNS = np.array(
    [0x7F800001, 0xFFC00123, 0x7FFFFFFF, 0x80000000, 0x7FFFFFFF, 0xFFFFFFFF, 1, 0x80000001],
    np.uint32,
)


def samples(seed: int) -> NDArray[np.uint32]:
    """320 patterns: edges, raw bits, and numbers of ordinary size."""
    rng = np.random.default_rng(seed)
    edges = np.concatenate([_EDGES.view(np.uint32), _PATTERNS])
    raw = rng.integers(0, 1 << 32, 120, np.uint32)
    usual = (rng.normal(0, 1, 320) * 10.0 ** rng.integers(-6, 3, 320)).astype(np.float32)
    return rng.permutation(np.concatenate([edges, raw, usual.view(np.uint32)])[:LANES])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("row", _VXM, ids=lambda row: row.name)
def test_every_operation_has_the_bits_of_the_semantics(row: Row, level: int) -> None:
    for seed in range(60):
        x, y = samples(2 * seed), samples(2 * seed + 1)
        got = run_op(row.op, [x, y], 4 * LANES, level=level).view(np.uint32)
        expected = semantics.vxm(row.name, x, y if row.n_sources == 2 else None)
        wrong = np.flatnonzero(got != expected)
        assert not len(wrong), [
            (hex(x[i]), hex(y[i]), hex(got[i]), hex(expected[i])) for i in wrong[:4]
        ]


@pytest.mark.parametrize("level", LEVELS)
def test_every_f16_pattern_widens_exactly(level: int) -> None:
    for first in range(0, 1 << 16, LANES):
        raw = np.arange(first, first + LANES).astype(np.uint16)
        got = run_op(Code.WIDEN16, list(planes(raw)), 4 * LANES, level=level).view(np.uint32)
        assert np.array_equal(got, semantics.widen(np.stack(planes(raw)), Type.F16))


@pytest.mark.parametrize("level", LEVELS)
def test_narrowing_to_f16_rounds_to_even_and_saturates(level: int) -> None:
    """Every f16 value, the points halfway to the next, and their f32 neighbours."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = ((halves[1:].astype(np.float64) + halves[:-1]) / 2).astype(np.float32)
    values = np.concatenate([halves, between]).view(np.uint32)
    values = np.concatenate([values, values + np.uint32(1), values[1:] - np.uint32(1), samples(1)])
    values = np.concatenate([values, values | np.uint32(0x80000000)])
    values = np.resize(values, -(-len(values) // LANES) * LANES).reshape(-1, LANES)
    for x in values:
        got = run_op(Code.NARROW16, [x], 2 * LANES, level=level).reshape(2, LANES)
        assert np.array_equal(got, semantics.narrow(x, Type.F16))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("code", "type_"),
    [(Code.NARROW_I8, Type.I8), (Code.NARROW_U8, Type.U8), (Code.SPLIT, Type.F32)],
)
def test_other_exits_have_the_bits_of_the_semantics(code: Code, type_: Type, level: int) -> None:
    for seed in range(10):
        x = samples(seed)
        x[:100] = (
            np.random.default_rng(seed).integers(-300, 300, 100).astype(np.int32).view(np.uint32)
        )
        got = run_op(code, [x], type_.n_streams * LANES, level=level)
        assert np.array_equal(got.reshape(-1, LANES), semantics.narrow(x, type_))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("code", "type_"),
    [(Code.WIDEN_I8, Type.I8), (Code.WIDEN_U8, Type.U8), (Code.JOIN, Type.I32)],
)
def test_other_entries_have_the_bits_of_the_semantics(code: Code, type_: Type, level: int) -> None:
    data = np.random.default_rng(1).integers(0, 256, (type_.n_streams, LANES)).astype(np.uint8)
    got = run_op(code, list(data), 4 * LANES, level=level).view(np.uint32)
    assert np.array_equal(got, semantics.widen(data, type_))


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("amount", [0, 1, -1, 17, -17, 160, 319, -319, 320, -320, 321, -700, 32767])
def test_shift_moves_lanes_by_any_amount(amount: int, wrap: bool) -> None:
    data = np.random.default_rng(1).integers(0, 256, (2, LANES)).astype(np.uint8)
    imm = (amount & 0xFFFFFFFF) | wrap << 32
    got = run_op(Code.SHIFT, list(data), 2 * LANES, n=2, imm=imm)
    assert np.array_equal(got.reshape(2, LANES), semantics.shift(data, amount, wrap))


@pytest.mark.parametrize("level", LEVELS)
def test_the_switches_have_the_bits_of_the_semantics(level: int) -> None:
    rng = np.random.default_rng(level)
    data = rng.integers(0, 256, (16, LANES)).astype(np.uint8)
    got = run_op(Code.TRANSPOSE, list(data), 16 * LANES, level=level)
    assert np.array_equal(got.reshape(16, LANES), semantics.transpose(data))
    for n in (3, 4):
        got = run_op(Code.ROTATE, list(data[:n]), n * n * LANES, level=level, n=n)
        assert np.array_equal(got.reshape(n * n, LANES), semantics.rotate(data[:n]))
    lane_map = rng.permutation(LANES).astype(np.uint16)
    got = run_op(Code.PERMUTE, [*data[:4], *planes(lane_map)], 4 * LANES, level=level, n=4)
    assert np.array_equal(got.reshape(4, LANES), semantics.permute(data[:4], lane_map))
    mask = rng.integers(0, 2, LANES).astype(np.uint8) * 7
    got = run_op(Code.SELECT, [*data[:2], *data[2:4], mask], 2 * LANES, level=level, n=2)
    assert np.array_equal(got.reshape(2, LANES), semantics.select(data[:2], data[2:4], mask))
    nibbles, zero = 0x0FEDCBA987654321, 0b1001_0000_0001_1000
    got = run_op(Code.DISTRIBUTE, [data[0]], LANES, level=level, n=zero, imm=nibbles)
    assert np.array_equal(got, semantics.distribute(data[0], nibbles, zero))
