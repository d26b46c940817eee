"""The shipped facts: sound, complete, and in agreement with what was published about the chips."""

import dataclasses

import pytest

from takt.chips import Chip, Kind, list_chips, load_chip
from takt.chips.lookup import check_chips
from takt.chips.read import chip_ids
from takt.errors import UsageError


@pytest.fixture(scope="module")
def v1() -> Chip:
    return load_chip("lpu-v1")


@pytest.fixture(scope="module")
def lp30() -> Chip:
    return load_chip("lp30")


def test_the_catalogue_has_no_problems() -> None:
    assert check_chips() == ()
    assert chip_ids() == ("lp30", "lpu-v1")
    assert [chip.id for chip in list_chips()] == ["lp30", "lpu-v1"]


@pytest.mark.parametrize("chip_id", ["lp30", "lpu-v1"])
def test_every_fact_has_a_date_and_a_known_source(chip_id: str) -> None:
    chip = load_chip(chip_id)
    keys = [key for key, _ in chip.sources]
    for fact in chip.facts:
        assert fact.date, fact.key
        assert all(name.strip() in keys for name in fact.source.split(",")), fact.key
        assert fact.note or fact.kind is not Kind.ASSUMED, f"{fact.key} is assumed without a reason"


def test_every_field_of_every_group_is_backed_by_its_fact(v1: Chip) -> None:
    groups = [
        f.name for f in dataclasses.fields(v1) if dataclasses.is_dataclass(getattr(v1, f.name))
    ]
    backed = [
        f"{group}.{field.name}"
        for group in groups
        for field in dataclasses.fields(getattr(v1, group))
    ]
    assert [fact.key for fact in v1.facts] == backed
    for key in backed:
        group, name = key.split(".")
        assert v1.fact(key).value == getattr(getattr(v1, group), name)


def test_an_unknown_fact_gets_a_near_miss(v1: Chip) -> None:
    with pytest.raises(UsageError, match="no fact") as caught:
        v1.fact("vxm.alu_cycle")
    assert caught.value.hint == "did you mean 'vxm.alu_cycles'?"


# Anchors: ISCA 2020 and the product brief, as cited in the facts themselves.


def test_v1_has_the_published_shape(v1: Chip) -> None:
    assert (v1.lanes, v1.streams, v1.mem_slices, v1.vector_bytes) == (320, 64, 88, 320)
    assert v1.icu.queues == 144
    assert v1.words_per_bank == 4096
    assert v1.stagger_cycles == 20


def test_v1_has_220_mib_of_sram(v1: Chip) -> None:
    assert v1.sram_bytes == 220 * 2**20
    assert v1.sram_bytes / 1e6 == pytest.approx(230.69, abs=0.005)


def test_v1_moves_the_published_bytes_each_cycle(v1: Chip) -> None:
    assert v1.sram_bytes_per_cycle == 56_320
    assert v1.stream_bytes_per_cycle == 20_480
    assert v1.fetch_bytes_per_cycle == 2_304


@pytest.mark.parametrize(
    ("clock_hz", "tops"), [(900_000_000, 737.28), (1_000_000_000, 819.2), (1_250_000_000, 1024.0)]
)
def test_v1_peaks_follow_the_clock(v1: Chip, clock_hz: int, tops: float) -> None:
    chip = dataclasses.replace(v1, core=dataclasses.replace(v1.core, clock_hz=clock_hz))
    assert chip.int8_ops_per_s / 1e12 == tops
    assert chip.fp16_ops_per_s == chip.int8_ops_per_s // 4


def test_v1_does_102400_fp16_macs_a_cycle(v1: Chip) -> None:
    assert v1.int8_macs_per_cycle == 409_600
    assert v1.fp16_macs_per_cycle == 102_400


def test_v1_loads_all_weights_in_under_40_cycles(v1: Chip) -> None:
    # Both planes of a hemisphere load at once, each from its 16 streams; the outermost word is read
    # and the first vector crosses from the VXM's side of the hemisphere.
    farthest = v1.mxm_hops - v1.mem_hops(0)
    assert v1.weight_load_cycles == 20
    assert v1.mem.read_cycles + farthest + v1.weight_load_cycles < 40


def test_v1_crosses_a_hemisphere_of_memory_in_11_hops(v1: Chip) -> None:
    assert [v1.mem_hops(index) for index in (0, 3, 4, 14, 41, 43)] == [1, 1, 2, 4, 11, 11]
    assert (v1.sxm_hops, v1.mxm_hops) == (15, 16)
    with pytest.raises(UsageError, match=r"slice 44 is not in 0\.\.43"):
        v1.mem_hops(44)


def test_v1_takes_50_cycles_from_sxm_over_three_alus_and_back(v1: Chip) -> None:
    path = (
        v1.sxm.transpose_cycles
        + v1.sxm_hops
        + v1.vxm.entry_cycles
        + 3 * v1.vxm.alu_cycles
        + v1.sxm_hops
        + v1.sxm.distribute_cycles
    )
    assert path == 50


def test_v1_draws_its_published_powers_at_the_stated_fractions_of_busy(v1: Chip) -> None:
    energy = v1.energy
    # The arithmetic of the chip file, written out once more: nJ a cycle x 0.9 GHz.
    busy_w = 0.9 * (
        409_600 * 0.23e-3  # MXM
        + 56_320 * 1.0e-3  # SRAM
        + 64 * 320 * 32 * 0.1e-3  # stream registers
        + 5_120 * 1.5e-3  # VXM
        + 20_480 * 0.3e-3  # SXM
        + 16 * 320 / 23 * 80e-3  # links
        + 144 * 60e-3  # instructions
    )
    assert v1.busy_w == pytest.approx(busy_w)
    assert v1.power_w(0.0) == energy.idle_w
    assert v1.power_w(1.0) == pytest.approx(v1.power.max_w, rel=0.005)
    assert v1.power_w(energy.busy_at_tdp) == pytest.approx(v1.power.tdp_w, rel=0.005)
    assert v1.power_w(energy.busy_at_average) == pytest.approx(v1.power.average_w, rel=0.005)


@pytest.mark.parametrize("chip_id", ["lp30", "lpu-v1"])
def test_no_coefficient_of_energy_claims_to_be_published(chip_id: str) -> None:
    chip = load_chip(chip_id)
    kinds = {fact.kind for fact in chip.facts if fact.key.startswith("energy.")}
    assert kinds <= {Kind.ASSUMED, Kind.DERIVED}


def test_a_vector_occupies_a_link_for_its_bits_and_2_5_percent(v1: Chip, lp30: Chip) -> None:
    # 320 x 8 x 1.025 bits over 4 x 25.78125 Gb/s are 25.4 ns; over 112 Gb/s 23.4 ns.
    assert (v1.c2c_vector_cycles, lp30.c2c_vector_cycles) == (23, 36)
    assert v1.c2c_vector_cycles / v1.clock_hz == pytest.approx(25.4e-9, rel=0.01)


def test_a_vector_that_fits_its_slot_exactly_does_not_take_one_cycle_more(v1: Chip) -> None:
    # 3,200 bits with a quarter on top are 4,000; 1,000 bits a cycle.
    c2c = dataclasses.replace(
        v1.c2c, overhead_fraction=0.25, lanes_per_link=1, lane_bits_per_s=1_000 * v1.clock_hz
    )
    core = dataclasses.replace(v1.core, lanes=400)
    assert dataclasses.replace(v1, c2c=c2c, core=core).c2c_vector_cycles == 4


def test_launching_a_program_takes_a_barrier_a_fetch_and_full_buffers(v1: Chip) -> None:
    # 144 queues x 4 fetches of 2 vectors from 88 slices: 13.1 cycles.
    assert v1.launch_cycles == 35 + 40 + 14


def test_v1_waits_three_standard_deviations_of_a_link(v1: Chip) -> None:
    assert v1.c2c.link_margin_cycles == 9
    assert v1.fact("c2c.link_margin_cycles").kind is Kind.DERIVED


def test_lp30_reaches_its_published_figures(lp30: Chip) -> None:
    assert lp30.int8_ops_per_s == 1_228_800_000_000_000  # 1.2 PFLOPS of one-byte numbers
    assert 256 * lp30.int8_ops_per_s / 1e15 == pytest.approx(315, abs=0.5)
    assert lp30.sram_bytes_per_cycle * lp30.clock_hz == 153_600_000_000_000  # 150 TB/s
    assert lp30.sram_bytes == pytest.approx(500e6, rel=1e-3)


def test_lp30_says_what_is_not_published(lp30: Chip) -> None:
    assert lp30.power.tdp_w is None
    assert lp30.fact("power.tdp_w").note == "not published"
    inherited = lp30.fact("vxm.alu_cycles")
    assert (inherited.kind, inherited.value) == (Kind.ASSUMED, 3)
    assert not [fact.key for fact in lp30.facts if fact.source == "S1"]


def test_the_fingerprint_tells_numbers_apart_and_nothing_else(v1: Chip, lp30: Chip) -> None:
    assert v1.fingerprint != lp30.fingerprint
    assert dataclasses.replace(v1, facts=(), sources=()).fingerprint == v1.fingerprint
    faster = dataclasses.replace(v1, core=dataclasses.replace(v1.core, clock_hz=10**9))
    assert faster.fingerprint != v1.fingerprint
    assert hash(v1) == hash(load_chip("lpu-v1"))
