"""What instructions compute, against Python integers, fractions and doubles."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from takt.errors import ProgramError
from takt.lpu.isa.table import ROWS, Type, Unit
from takt.lpu.machine import semantics

F32 = hnp.arrays(np.uint32, 320, elements=st.integers(0, 2**32 - 1), fill=st.just(0x3F800000))
HALF = st.one_of(
    st.integers(0, 0xFFFF),
    st.sampled_from([0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF]),
)
SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38, 89.0, -104.0], np.float32
)


def exact(pattern: int) -> Fraction | None:
    value = float(np.uint16(pattern).view(np.float16))
    return Fraction(value) if np.isfinite(value) else None


def rounded_once(total: Fraction) -> np.float32:
    """Nearest f32, ties to even, by integer arithmetic; totals here are multiples of 2⁻⁴⁸ below 2⁶⁴."""
    units = total * 2**48
    assert units.denominator == 1
    magnitude, sign = abs(units.numerator), -1 if units < 0 else 1
    spare = max(magnitude.bit_length() - 24, 0)
    quotient, rest = divmod(magnitude, 1 << spare)
    half = (1 << spare) >> 1
    if spare and (rest > half or (rest == half and quotient % 2)):
        quotient += 1
    return np.float32(sign * float(quotient) * 2.0 ** (spare - 48))


def check_dot(acts: np.ndarray, column: np.ndarray) -> None:
    terms = [(exact(int(a)), exact(int(w))) for a, w in zip(acts, column, strict=True)]
    got = semantics.dot_f16(acts, column[:, np.newaxis])[0]
    if any(a is None or w is None for a, w in terms):
        assert got == semantics.NAN_F32
        return
    total = sum((a * w for a, w in terms if a is not None and w is not None), Fraction(0))
    assert got == rounded_once(total).view(np.uint32)


@given(st.lists(st.tuples(HALF, HALF), min_size=1, max_size=12))
def test_f16_dot_products_are_exact_and_rounded_once(pairs):
    acts, column = np.array(pairs, np.uint16).T.copy()
    check_dot(acts, column)


@pytest.mark.parametrize("seed", range(6))
def test_f16_dot_products_of_full_length_survive_cancellation(seed):
    rng = np.random.default_rng(seed)
    acts, column = rng.integers(0, 0x7C00, (2, 320)).astype(np.uint16)
    acts[160:], column[160:] = acts[:160], column[:160] ^ 0x8000
    acts[seed::40] ^= 1
    check_dot(acts, column)


def test_f16_sums_halfway_between_two_f32_go_to_even_and_a_sticky_bit_decides():
    one, small, tiny = 0x3C00, 0x0C00, 0x0001  # 1, 2⁻¹², 2⁻²⁴
    halfway = semantics.dot_f16(
        np.array([one, small], np.uint16), np.array([[one], [small]], np.uint16)
    )
    assert halfway.view(np.float32)[0] == 1.0
    above = semantics.dot_f16(
        np.array([one, small, tiny], np.uint16), np.array([[one], [small], [tiny]], np.uint16)
    )
    assert above.view(np.float32)[0] == np.nextafter(np.float32(1), np.float32(2))


def test_a_zero_sum_is_plus_zero():
    acts = np.array([0x3C00, 0x3C00, 0x8000], np.uint16)
    weights = np.array([[0x3C00], [0xBC00], [0x0000]], np.uint16)
    assert semantics.dot_f16(acts, weights)[0] == 0


def test_inf_spoils_its_column_or_in_an_activation_all_columns():
    ones = np.full((2, 3), 0x3C00, np.uint16)
    spoiled = ones.copy()
    spoiled[0, 1] = 0x7C00
    nan = semantics.dot_f16(ones[:, 0], spoiled) == semantics.NAN_F32
    assert nan.tolist() == [False, True, False]
    acts = np.array([0, 0xFC00], np.uint16)
    assert np.all(semantics.dot_f16(acts, np.zeros((2, 3), np.uint16)) == semantics.NAN_F32)


def test_i8_dot_products_reach_their_extremes():
    acts, weights = np.full(320, 0x80, np.uint8), np.full((320, 2), 0x80, np.uint8)
    weights[:, 1] = 0x7F
    assert semantics.dot_i8(acts, weights).view(np.int32).tolist() == [320 << 14, -320 * 128 * 127]


@given(F32, F32)
def test_float_operations_are_single_f32_operations_with_canonical_nan(x, y):
    with np.errstate(all="ignore"):
        a, b = (raw.view(np.float32).astype(np.float64) for raw in (x, y))
        # Sums and products of two f32 round alike through doubles (53 ≥ 2·24 + 2).
        for name, wide in (("add", a + b), ("sub", a - b), ("mul", a * b)):
            expected = wide.astype(np.float32)
            raw = np.where(np.isnan(expected), semantics.NAN_F32, expected.view(np.uint32))
            assert np.array_equal(semantics.vxm(name, x, y), raw), name


def test_max_min_and_relu_at_zeros_and_nan():
    plus, minus, nan = np.array([0, 0x80000000, 0x7FC12345], np.uint32)[:, np.newaxis]
    assert semantics.vxm("max", plus, minus) == minus  # a if a > b else b
    assert semantics.vxm("min", minus, plus) == plus
    assert semantics.vxm("max", nan, plus) == semantics.vxm("min", plus, nan) == semantics.NAN_F32
    assert semantics.vxm("relu", minus) == plus
    assert (
        semantics.vxm("relu", nan)
        == semantics.vxm("abs", nan)
        == semantics.vxm("neg", nan)
        == semantics.NAN_F32
    )


def test_mov_and_mask_copy_patterns():
    x = np.array([0x7FC12345, 0x80000000, 7], np.uint32)
    y = np.array([1, 0, 0x80000000], np.uint32)
    assert np.array_equal(semantics.vxm("mov", x), x)
    assert semantics.vxm("mask", x, y).tolist() == [0x7FC12345, 0, 7]


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_integer_operations_wrap_or_saturate(x, y):
    a, b = np.array([x], np.int32), np.array([y], np.int32)

    def got(name):
        return int(semantics.vxm(name, a, b).view(np.int32)[0])

    def wrapped(value):
        return (value + 2**31) % 2**32 - 2**31

    def saturated(value):
        return min(max(value, -(2**31)), 2**31 - 1)

    assert (got("addi"), got("subi"), got("muli")) == (
        wrapped(x + y),
        wrapped(x - y),
        wrapped(x * y),
    )
    assert (got("adds"), got("subs")) == (saturated(x + y), saturated(x - y))
    assert (got("maxi"), got("mini")) == (max(x, y), min(x, y))
    assert np.float32(x) == semantics.vxm("itof", a).view(np.float32)[0]


def test_ftoi_rounds_to_even_and_saturates():
    x = np.array([0.5, 1.5, -2.5, 3e9, -3e9, np.inf, np.nan], np.float32)
    expected = [0, 2, -2, 2**31 - 1, -(2**31), 2**31 - 1, 0]
    assert semantics.vxm("ftoi", x).view(np.int32).tolist() == expected


def test_exp_is_within_two_ulp_on_the_normal_range():
    x = np.linspace(-87.3, 88.7, 400_001, dtype=np.float32)
    got = semantics.vxm("exp", x).view(np.float32).astype(np.float64)
    true = np.exp(x.astype(np.float64))
    assert np.max(np.abs(got - true) / np.spacing(true.astype(np.float32))) <= 2


def test_exp_at_its_ends():
    x = np.array([0, -0.0, 89, 200, np.inf, -104, -200, -np.inf, np.nan, -95], np.float32)
    got = semantics.vxm("exp", x)
    values = got.view(np.float32)
    assert values[:2].tolist() == [1, 1]
    assert np.all(values[2:5] == np.inf)
    assert np.all(values[5:8] == 0)
    assert got[8] == semantics.NAN_F32
    assert 0 < values[9] < np.finfo(np.float32).tiny  # subnormals are kept


def test_tanh_is_odd_and_close():
    x = np.linspace(-12, 12, 200_001, dtype=np.float32)
    got = semantics.vxm("tanh", x).view(np.float32)
    assert np.max(np.abs(got - np.tanh(x.astype(np.float64)))) <= 1.2e-7
    assert np.array_equal(got, -semantics.vxm("tanh", -x).view(np.float32))
    ends = semantics.vxm("tanh", np.array([np.inf, -np.inf, np.nan], np.float32)).view(np.float32)
    assert ends[:2].tolist() == [1, -1]
    assert np.isnan(ends[2])


def test_rsqrt_of_special_values():
    got = semantics.vxm("rsqrt", np.array([4, 0.0, -0.0, -1, np.inf], np.float32))
    assert got.view(np.float32)[:3].tolist() == [0.5, np.inf, -np.inf]
    assert got[3] == semantics.NAN_F32
    assert got[4] == 0


def test_every_vxm_row_of_the_table_has_its_operation():
    x = np.resize(SPECIAL, 320)
    for row in ROWS:
        if row.unit is Unit.VXM:
            assert semantics.vxm(row.name, x, x).shape == x.shape
    with pytest.raises(ProgramError):
        semantics.vxm("read", x, x)


def test_f16_round_trips_through_the_vxm_except_inf_and_nan():
    patterns = np.arange(1 << 16, dtype=np.uint16)
    wide = semantics.widen(semantics.split16(patterns), Type.F16)
    back = semantics.narrow(wide, Type.F16)
    again = semantics.join16(back[0], back[1])
    finite = patterns & 0x7C00 != 0x7C00
    assert np.array_equal(again[finite], patterns[finite])
    assert (again[0x7C00], again[0xFC00]) == (0x7BFF, 0xFBFF)
    nan = ~finite & (patterns & 0x3FF != 0)
    assert np.all(again[nan] == semantics.NAN_F16)
    assert np.all(wide[nan] == semantics.NAN_F32)


def test_narrowing_saturates():
    x = np.array([65519.9, 65520, 1e9, -1e9, 2**-25, 2**-24 * 0.75], np.float32)
    low, high = semantics.narrow(x.view(np.uint32), Type.F16)
    halves = semantics.join16(low, high).view(np.float16)
    assert halves.tolist() == [65504, 65504, 65504, -65504, 0, 2**-24]
    i = np.array([-1000, -128, -1, 127, 128, 1000], np.int32).view(np.uint32)
    assert semantics.narrow(i, Type.I8)[0].view(np.int8).tolist() == [-128, -128, -1, 127, 127, 127]
    assert semantics.narrow(i, Type.U8)[0].tolist() == [0, 0, 0, 127, 128, 255]


@given(F32)
def test_32_bits_split_and_join(x):
    for type_ in (Type.F32, Type.I32):
        assert np.array_equal(semantics.widen(semantics.narrow(x, type_), type_), x)


def test_accumulators_add_by_their_type():
    entry, result = np.array([0x7FFFFFFF], np.uint32), np.array([1], np.uint32)
    assert semantics.acc_add(entry, result, Type.I32)[0] == 0x80000000
    one = np.array([0x3F800000], np.uint32)
    assert semantics.acc_add(one, one, Type.F32)[0] == 0x40000000
