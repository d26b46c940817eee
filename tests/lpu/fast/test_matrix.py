"""Matrix kernels: exact sums, rounded once, whatever the data, the processor and the number of threads."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.lpu.fast.kernel_tape import LEVELS, matrix_f16, matrix_i8

from takt.lpu.machine import semantics

LANES = 320
ONE, TWO, TINY, BIG = 0x3C00, 0x4000, 0x0001, 0x7BFF
INF, MINUS_INF, NAN = 0x7C00, 0xFC00, 0x7E01
_QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def half(values: object) -> NDArray[np.uint16]:
    return np.asarray(values, np.float16).view(np.uint16)


def rounded_once(exact: Fraction) -> np.float32:
    """Nearest f32, ties to even, by comparing with both neighbours."""
    near = np.float32(float(exact))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    best = min(abs(Fraction(float(f)) - exact) for f in around)
    nearest = [f for f in around if abs(Fraction(float(f)) - exact) == best]
    return next(f for f in nearest if len(nearest) == 1 or f.view(np.uint32) & 1 == 0)


def by_fractions(column: NDArray[np.uint16], act: NDArray[np.uint16]) -> np.float32:
    w, x = column.view(np.float16).astype(float), act.view(np.float16).astype(float)
    return rounded_once(
        sum((Fraction(a) * Fraction(b) for a, b in zip(w, x, strict=True)), Fraction(0))
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 12, 24])
def test_ordinary_weights_give_the_exact_sum_rounded_once(level: int, rows: int) -> None:
    rng = np.random.default_rng(rows)
    weights = half(rng.normal(0, 0.05, (LANES, LANES)))
    acts = half(rng.normal(0, 1, (rows, LANES)))
    got = matrix_f16(weights, acts, level=level)
    assert np.array_equal(got, semantics.dot_f16(acts, weights))
    column = int(rng.integers(LANES))
    assert got[0, column] == by_fractions(weights[:, column], acts[0]).view(np.uint32)


@pytest.mark.parametrize("level", LEVELS)
@_QUICK
@given(
    seed=st.integers(0, 2**32), finite=st.booleans(), share=st.floats(0, 1), rows=st.integers(1, 6)
)
def test_any_bits_give_the_exact_sum_rounded_once(
    level: int, seed: int, finite: bool, share: float, rows: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 1 << 16, (LANES, LANES), np.uint16)
    acts = rng.integers(0, 1 << 16, (rows, LANES), np.uint16)
    if finite:  # an exponent of all ones would spoil nearly every sum
        weights, acts = weights & 0xBFFF, acts & 0xBFFF
    weights[rng.random(weights.shape) < share] = 0
    acts[rng.random(acts.shape) < share * share] = 0x8000
    expected = semantics.dot_f16(acts, weights)
    for measured in (False, True):
        assert np.array_equal(matrix_f16(weights, acts, level=level, measured=measured), expected)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scale", [1.0, 2.0**10])
def test_halfway_sums_go_to_the_even_f32_and_a_last_bit_decides(level: int, scale: float) -> None:
    """1, perhaps the last bit of an f32, half of that, and perhaps ±2⁻⁴⁸; times 2¹⁰ more bits than a double has."""
    weights, acts = np.zeros((LANES, LANES), np.uint16), half(np.ones((1, LANES)))
    acts[0, LANES // 2 :] = TINY
    rng = np.random.default_rng(5)
    for n in range(LANES):
        places = rng.choice(LANES // 2, 3, replace=False)
        terms = [1.0, 2.0**-23 * rng.integers(0, 2), 2.0**-24]
        weights[places, n] = half(np.array(terms) * scale)
        weights[rng.integers(LANES // 2, LANES), n] = half(2.0**-24 * rng.integers(-1, 2))
    got = matrix_f16(weights, acts, level=level)
    assert np.array_equal(got, semantics.dot_f16(acts, weights))
    for n in range(0, LANES, 17):
        assert got[0, n] == by_fractions(weights[:, n], acts[0]).view(np.uint32)


@pytest.mark.parametrize("level", LEVELS)
def test_a_tiny_rest_survives_the_cancellation_of_the_largest_products(level: int) -> None:
    weights, acts = np.zeros((LANES, LANES), np.uint16), half(np.ones((1, LANES)))
    acts[0, [3, 300]] = BIG
    weights[3], weights[300] = BIG, BIG | 0x8000
    acts[0, 77], weights[77] = TINY, TINY
    assert np.all(matrix_f16(weights, acts, level=level).view(np.float32) == np.float32(2.0**-48))


@pytest.mark.parametrize("level", LEVELS)
def test_a_sum_of_nothing_or_of_opposites_is_plus_zero(level: int) -> None:
    zeros = np.zeros((LANES, LANES), np.uint16)
    assert not np.any(matrix_f16(zeros | 0x8000, half(np.ones((2, LANES))), level=level))
    assert not np.any(matrix_f16(half(np.ones((LANES, LANES))), zeros[:2] | 0x8000, level=level))
    alternating = half(np.where(np.arange(LANES) % 2, 0.3, -0.3))[np.newaxis]
    assert not np.any(matrix_f16(half(np.ones((LANES, LANES))), alternating, level=level))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bad", [INF, MINUS_INF, NAN])
@pytest.mark.parametrize("measured", [False, True])
def test_one_value_that_is_not_finite_spoils_its_column_or_its_row(
    level: int, bad: int, measured: bool
) -> None:
    rng = np.random.default_rng(3)
    weights, acts = half(rng.normal(0, 1, (LANES, LANES))), half(rng.normal(0, 1, (3, LANES)))
    acts[:, 200:] = 0  # where the bad weight is, activations are zero, and their lanes are skipped
    weights[260, 5], acts[1, 17] = bad, bad
    weights[:, 9] = 0
    got = matrix_f16(weights, acts, level=level, measured=measured)
    assert np.array_equal(got, semantics.dot_f16(acts, weights))
    assert np.all(got[:, 5] == 0x7FC00000) and np.all(got[1] == 0x7FC00000)
    assert got[0, 9] == 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rows", [1, 5])
def test_i8_sums_are_exact_at_the_extremes(level: int, rows: int) -> None:
    rng = np.random.default_rng(rows)
    weights = rng.integers(-128, 128, (LANES, LANES)).astype(np.int8)
    acts = rng.integers(-128, 128, (rows, LANES)).astype(np.int8)
    weights[:, 0], acts[0] = -128, -128
    got = matrix_i8(weights, acts, level=level)
    assert np.array_equal(got, acts.astype(np.int64) @ weights.astype(np.int64))
    assert got[0, 0] == 320 * 128 * 128


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    rng = np.random.default_rng(threads)
    for _ in range(20):
        weights = half(rng.normal(0, 0.1, (LANES, LANES)))
        acts = half(rng.normal(0, 1, (int(rng.integers(1, 9)), LANES)))
        alone = matrix_f16(weights, acts)
        assert np.array_equal(matrix_f16(weights, acts, threads=threads), alone)
