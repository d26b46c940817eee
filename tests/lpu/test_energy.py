"""Joules: each cause by hand, sums over many chips, and how a total moves when an assumption is off."""

from dataclasses import fields, replace

import pytest

from takt.chips import Chip, load_chip
from takt.lpu.energy import COEFFICIENTS, Energy, energy, system_energy
from takt.lpu.machine import Activity

ACTIVITY = Activity(
    instructions=7,
    mac_i8=11_000,
    mac_f16=1_300,
    sram_read_bytes=17_000,
    sram_write_bytes=1_900,
    vxm_lane_ops=2_300,
    sxm_bytes=2_900,
    stream_byte_hops=310_000,
    weight_bytes=99,
    link_bytes=3_700,
)


@pytest.fixture(scope="module")
def chip() -> Chip:
    return load_chip("lpu-v1")


def test_every_cause_is_activity_times_its_coefficient(chip: Chip) -> None:
    made, c = energy(ACTIVITY, 900, chip), chip.energy
    expected = {
        "idle": c.idle_w * 1e-6,  # 900 cycles at 900 MHz
        "mac": 11_000 * c.int8_mac_j + 1_300 * c.fp16_mac_j,
        "sram": 17_000 * c.sram_read_j_per_byte + 1_900 * c.sram_write_j_per_byte,
        "stream": 310_000 * c.stream_hop_j_per_byte,
        "vxm": 2_300 * c.vxm_op_j_per_lane,
        "sxm": 2_900 * c.sxm_j_per_byte,
        "link": 3_700 * c.link_j_per_byte,
        "instruction": 7 * c.instruction_j,
    }
    assert dict(made.parts) == pytest.approx(expected)
    assert made.total_j == pytest.approx(sum(expected.values()))


def test_many_chips_idle_all_the_time_and_work_where_they_work(chip: Chip) -> None:
    made = system_energy([(ACTIVITY, 3), (ACTIVITY, 2)], 1e-6, 10, chip)
    alone = energy(ACTIVITY, 900, chip)
    assert made.idle_j == pytest.approx(10 * alone.idle_j)
    for cause, joules in made.parts:
        if cause != "idle":
            assert joules == pytest.approx(5 * dict(alone.parts)[cause])


def test_every_cause_has_its_facts_and_every_coefficient_a_cause(chip: Chip) -> None:
    causes = [f.name.removesuffix("_j") for f in fields(Energy) if f.name.endswith("_j")]
    assert list(COEFFICIENTS) == causes
    named = {name for names in COEFFICIENTS.values() for name in names}
    unused = {"busy_at_tdp", "busy_at_average"}
    assert named | unused == {f.name for f in fields(chip.energy)}


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_range_is_what_a_chip_with_other_coefficients_gives(chip: Chip, factor: float) -> None:
    made = energy(ACTIVITY, 900, chip)
    ranges = {row.cause: row for row in made.sensitivity(chip)}
    assert len(ranges) == 2
    for cause, row in ranges.items():
        other = {name: factor * getattr(chip.energy, name) for name in COEFFICIENTS[cause]}
        changed = replace(chip, energy=replace(chip.energy, **other))
        expected = energy(ACTIVITY, 900, changed).total_j
        assert (row.low_j if factor < 1 else row.high_j) == pytest.approx(expected)


def test_the_largest_cause_beside_idle_power_is_shown(chip: Chip) -> None:
    rows = energy(ACTIVITY, 900, chip).sensitivity(chip)
    parts = dict(energy(ACTIVITY, 900, chip).parts)
    largest = max((cause for cause in parts if cause != "idle"), key=lambda cause: parts[cause])
    assert {row.cause for row in rows} == {"idle", largest}


def test_what_is_measured_is_not_varied(chip: Chip) -> None:
    known = tuple(
        replace(fact, kind=type(fact.kind)("measured")) if fact.key == "energy.idle_w" else fact
        for fact in chip.facts
    )
    rows = energy(ACTIVITY, 900, chip).sensitivity(replace(chip, facts=known))
    assert "idle" not in {row.cause for row in rows}


def test_a_mean_is_the_mean_of_every_cause(chip: Chip) -> None:
    a, b = energy(ACTIVITY, 900, chip), energy(ACTIVITY, 2_700, chip)
    assert a.mean([b]).idle_j == pytest.approx((a.idle_j + b.idle_j) / 2)
    assert a.mean([]).parts == a.parts
