"""The facts of the chips that are no LPU: complete, sourced, and in agreement with what was published
about systems of them and with what was measured on them."""

import csv
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from takt.chips import Accelerator, Kind, find_accelerator, list_accelerators, load_accelerator

SHARED = Path(os.environ.get("TAKT_SHARED", Path(__file__).parents[3] / "shared"))

# What a user who compares hardware will name first.
EXPECTED = """
a100-sxm a100-40gb-sxm a100-pcie h100-sxm h100-pcie h100-nvl h200-sxm h200-nvl gh200 gh200-144gb h20 h800
b200-sxm b300-sxm gb200-nvl72 gb300-nvl72 vera-rubin-nvl72 l40s l40 l4 t4 v100-sxm a40 a30 a10
rtx-pro-6000 rtx-3090 rtx-4090 rtx-5090 rtx-a6000 dgx-spark jetson-agx-orin jetson-agx-thor
mi250 mi300x mi308x mi325x mi350x mi355x mi455x strix-halo gaudi2 gaudi3 max-1550 arc-b60 arc-a770
tpu-v5e tpu-v5p tpu-v6e tpu7x tpu-8t tpu-8i trainium1 trainium2 trainium3 inferentia2
cerebras-wse3 cerebras-cs4 positron-atlas sn40l xeon-8480 xeon-6980p epyc-9654 epyc-9755 epyc-9965
ryzen-7950x m1 m1-max m2-max m2-ultra m3-max m3-ultra m4-max ascend-910b raspberry-pi-5
"""

# Chips with tables of measured kernels, which stand in for others.
MEASURED = """
a100-sxm h100-sxm h200-sxm b200-sxm b300-sxm gb200-nvl72 gb300-nvl72 l40s rtx-pro-6000 arc-b60
mi300x mi355x tpu7x trainium3
"""

# Published of a whole: chip, how many, the fact, the sum in print, how far rounding may take it.
# Sources: product pages of NVL72 racks and HGX boards (sparse figures halved), of the MI300X and MI355X
# platforms, Google on Ironwood pods, v5p pods and the TPU 8t superpod, AWS on Trn2 and Trn3, AMD on
# Helios. "Both ways" sums of links count each link twice.
SUMS = (
    ("gb200-nvl72", 72, "memory.bytes_per_s", 576e12, 0.001),
    ("gb200-nvl72", 72, "memory.capacity_bytes", 13.4e12, 0.08),  # driver keeps some; "up to"
    ("gb200-nvl72", 72, "peak.fp4_ops_per_s", 720e15, 0.001),
    ("gb200-nvl72", 72, "peak.fp8_ops_per_s", 360e15, 0.001),
    ("gb200-nvl72", 2 * 72, "scale_up.bytes_per_s", 130e12, 0.01),
    ("gb300-nvl72", 72, "peak.fp4_ops_per_s", 1080e15, 0.001),
    ("gb300-nvl72", 72, "peak.half_ops_per_s", 180e15, 0.001),
    ("gb300-nvl72", 2 * 72, "peak.int8_ops_per_s", 24e15, 0.02),
    ("vera-rubin-nvl72", 72, "memory.capacity_bytes", 20.7e12, 0.01),
    ("vera-rubin-nvl72", 72, "memory.bytes_per_s", 1580e12, 0.01),
    ("vera-rubin-nvl72", 72, "peak.fp4_ops_per_s", 2.5e18, 0.01),
    ("vera-rubin-nvl72", 2 * 72, "scale_up.bytes_per_s", 260e12, 0.01),
    ("h100-sxm", 2 * 8, "peak.fp8_ops_per_s", 32e15, 0.02),
    ("h100-sxm", 2 * 8, "scale_up.bytes_per_s", 7.2e12, 0.001),
    ("b200-sxm", 8, "peak.fp4_ops_per_s", 72e15, 0.001),
    ("b200-sxm", 2 * 8, "scale_up.bytes_per_s", 14.4e12, 0.001),
    ("b200-sxm", 8, "memory.bytes_per_s", 62e12, 0.04),
    ("b300-sxm", 8, "peak.fp4_ops_per_s", 108e15, 0.001),
    ("mi300x", 8, "peak.half_ops_per_s", 10.4e15, 0.01),
    ("mi300x", 8, "memory.bytes_per_s", 42.4e12, 0.001),
    ("mi355x", 8, "peak.fp4_ops_per_s", 80.5e15, 0.001),
    ("mi455x", 72, "peak.fp4_ops_per_s", 2.9e18, 0.01),
    ("mi455x", 72, "memory.capacity_bytes", 31e12, 0.01),
    ("tpu-v5p", 8960, "peak.half_ops_per_s", 4.1e18, 0.01),
    ("tpu7x", 9216, "peak.fp8_ops_per_s", 42.5e18, 0.001),
    ("tpu-8t", 9600, "peak.fp4_ops_per_s", 121e18, 0.001),
    ("trainium2", 16, "peak.fp8_ops_per_s", 20.8e15, 0.001),
    ("trainium3", 144, "peak.fp8_ops_per_s", 362e15, 0.002),
    ("gaudi3", 8, "peak.fp8_ops_per_s", 14.7e15, 0.002),
)

# Ratios in print: faster chip, slower chip, fact, ratio, tolerance.
RATIOS = (
    ("h200-sxm", "h100-sxm", "memory.bytes_per_s", 1.43, 0.01),
    ("h200-sxm", "h100-sxm", "memory.capacity_bytes", 1.76, 0.01),
    ("h100-sxm", "a100-sxm", "peak.half_ops_per_s", 3.17, 0.01),
    ("a100-sxm", "a100-40gb-sxm", "memory.bytes_per_s", 1.31, 0.01),
    ("mi325x", "mi300x", "memory.capacity_bytes", 4 / 3, 0.001),
    ("h800", "h100-sxm", "scale_up.bytes_per_s", 4 / 9, 0.001),
    ("trainium2", "trainium1", "memory.bytes_per_s", 3.5, 0.02),
    ("tpu-v6e", "tpu-v5e", "peak.half_ops_per_s", 4.7, 0.02),
    ("cerebras-wse3", "h100-sxm", "memory.bytes_per_s", 7_000.0, 0.12),  # the claim says 7,000
)

# Spellings of the measurement files that are easy to mistake.
SPELLINGS = {
    "NVIDIA H100-SXM-80GB": "h100-sxm",
    "NVIDIA H100-PCIe-80GB": "h100-pcie",
    "NVIDIA H100-NVL-94GB": "h100-nvl",
    "NVIDIA H200-SXM-141GB-CTS": "h200-sxm",
    "NVIDIA A100-SXM4-40GB": "a100-40gb-sxm",
    "NVIDIA A100-PCIe-40GB": "a100-40gb-pcie",
    "GH200 480GB": "gh200",
    "NVIDIA GH200 Grace Hopper Superchip 144GB": "gh200-144gb",
    "RTXPRO6000": "rtx-pro-6000",
    "RTX 6000 Ada 48GB": "rtx-6000-ada",
    "RTX A6000 48GB": "rtx-a6000",
    "AMD Ryzen AI MAX+ 395 (Radeon 8060S)": "strix-halo",
    "Intel® Gaudi® 2 AI Accelerator": "gaudi2",
    "TPU-v6e-1": "tpu-v6e",
    "CS-3 / WSE-3": "cerebras-wse3",
    "SN40L (SambaRack)": "sn40l",
    "4070 Ti 12GB": "rtx-4070-ti",
    "Ryzen 9 7950X (Nvidia 4070 Ti Super)": "rtx-4070-ti-super",
    "Ryzen-7950X": "ryzen-7950x",
    "Pi 5 - 16GB (AMD Pro W7700)": "radeon-pro-w7700",
    "Pi 5 - 16GB": "raspberry-pi-5",
    "M2-Max": "m2-max",
    "INTEL(R) XEON(R) 6980P": "xeon-6980p",
}


@pytest.fixture(scope="module")
def chips() -> dict[str, Accelerator]:
    return {chip.id: chip for chip in list_accelerators()}


def number(chip: Accelerator, key: str) -> float:
    value = chip.fact(key).value
    assert value is not None
    return float(value)


def test_every_chip_that_users_ask_for_is_there(chips: dict[str, Accelerator]) -> None:
    assert not set(EXPECTED.split()) - chips.keys()
    assert not set(MEASURED.split()) - chips.keys()


def test_every_fact_has_a_date_a_known_source_and_a_reason(chips: dict[str, Accelerator]) -> None:
    for chip in chips.values():
        keys = dict(chip.sources)
        used = set()
        for fact in (old for each in chip.facts for old in (each, *each.history)):
            where = f"{chip.id} {fact.key}"
            assert fact.date, where
            used |= {each.strip() for each in fact.source.split(",")}
            assert fact.note or fact.kind is Kind.PUBLISHED, f"{where} is {fact.kind}, but why?"
        assert used == keys.keys(), f"{chip.id} names sources that no fact uses, or the reverse"


def test_stand_ins_are_measured_chips_or_the_chip_itself(chips: dict[str, Accelerator]) -> None:
    for chip in chips.values():
        assert chip.nearest in {*MEASURED.split(), chip.id, "cerebras-wse3"}, chip.id
    for name in MEASURED.split():
        assert chips[name].nearest == name


def test_numbers_that_mean_the_same_agree(chips: dict[str, Accelerator]) -> None:
    for chip in chips.values():
        peak, where = chip.peak, chip.id
        if peak.fp8_ops_per_s is not None:
            assert peak.half_ops_per_s <= peak.fp8_ops_per_s <= 4.5 * peak.half_ops_per_s, where
        if peak.fp4_ops_per_s is not None:
            assert peak.fp4_ops_per_s >= (peak.fp8_ops_per_s or peak.half_ops_per_s), where
        if peak.fp32_ops_per_s is not None:
            assert peak.fp32_ops_per_s <= peak.half_ops_per_s, where
        assert (chip.scale_up.bytes_per_s is None) == (chip.scale_up.chips == 1), where
        # No memory is read whole in under a microsecond or in over eight seconds.
        seconds = chip.memory.capacity_bytes / chip.memory.bytes_per_s
        assert 1e-6 < seconds < 8, where
        own, rent = chip.price.own_usd_per_h, chip.price.rent_usd_per_h
        assert own is None or (rent is not None and own <= rent), where


@pytest.mark.parametrize(("name", "count", "key", "total", "tolerance"), SUMS)
def test_chips_add_up_to_the_published_system(
    name: str, count: int, key: str, total: float, tolerance: float
) -> None:
    chip = load_accelerator(name)
    assert count * number(chip, key) == pytest.approx(total, rel=tolerance)


@pytest.mark.parametrize(("fast", "slow", "key", "ratio", "tolerance"), RATIOS)
def test_chips_compare_as_published(
    fast: str, slow: str, key: str, ratio: float, tolerance: float
) -> None:
    found = number(load_accelerator(fast), key) / number(load_accelerator(slow), key)
    assert found == pytest.approx(ratio, rel=tolerance)


def test_a_cut_chip_has_the_memory_of_the_whole_one(chips: dict[str, Accelerator]) -> None:
    # H20 and H800 were cut in products and links, not in memory.
    assert chips["h800"].memory == chips["h100-sxm"].memory
    assert chips["h20"].memory.bytes_per_s > chips["h100-sxm"].memory.bytes_per_s
    assert chips["h20"].peak.half_ops_per_s < 0.2 * chips["h100-sxm"].peak.half_ops_per_s


def test_every_spelling_leads_to_its_own_chip(chips: dict[str, Accelerator]) -> None:
    wrong = [
        (spelling, chip.id, found.id if found else None)
        for chip in chips.values()
        for spelling in (chip.id, chip.name, *chip.aliases)
        if (found := find_accelerator(spelling)) is not chip and found != chip
    ]
    assert not wrong


@pytest.mark.parametrize(("text", "name"), SPELLINGS.items())
def test_spellings_of_measurement_files_are_known(text: str, name: str) -> None:
    found = find_accelerator(text)
    assert found is not None
    assert found.id == name


def rows(name: str) -> Iterator[dict[str, str]]:
    path = SHARED / "data" / name
    if not path.is_file():
        pytest.skip(f"needs the measurements, {path}")
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as file:
        yield from csv.DictReader(line for line in file if not line.startswith("#"))


# Devices that a measurement file names and nobody can: no name, or none that says which.
NAMELESS = {"", "unidentified", "AMD EPYC, 48 threads (from thread context, unconfirmed)"}
# One row each, and no data sheet worth the name.
UNKNOWN = {
    "Dell Optiplex 780 (C2Q Q8400)",
    "DC-ROMA Mainboard II (8-core RISC-V)",
    "HiFive Premier P550 (4-core RISC-V)",
}


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("e2e/aic_silicon_e2e.csv.gz", "system"),
        ("e2e/argonne_llm_inference_bench.csv.gz", "device"),
        ("e2e/aws_neuron_inf2_trn1.csv", "chip"),
        ("e2e/dstack_h100_h200_mi300x.csv", "device"),
        ("e2e/inferencex.csv.gz", "hardware"),
        ("e2e/llamacpp_and_cpu.csv.gz", "device"),
        ("e2e/mlenergy_v2_llm.csv", "gpu"),
        ("e2e/mlenergy_v3_llm.csv", "gpu"),
        ("e2e/mlperf_inference_llm.csv", "accelerator"),
        ("e2e/serving_docs_vllm_sglang.csv.gz", "device"),
        ("e2e/splitwise_llm_perf_power.csv", "hardware"),
        ("e2e/trtllm_perf_overview.csv", "gpu"),
        ("e2e/vllm_requests.csv.gz", "gpu"),
        ("kernels/llmservingsim_layers.csv.gz", "gpu"),
        ("kernels/vidur_collectives.csv", "topology"),
    ],
)
def test_every_device_of_a_language_model_row_is_known(name: str, column: str) -> None:
    devices = {row[column] for row in rows(name)} - NAMELESS - UNKNOWN
    assert devices
    assert not [device for device in devices if find_accelerator(device) is None]


# A measured type of product, and the type whose peak it must stay under.
GEMM_TYPES = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8",
    "nvfp4": "fp4",
    "sq": "int8",
    "int8_wo": "bf16",
    "int4_wo": "bf16",
}


@pytest.mark.slow
def test_no_measured_product_is_faster_than_the_peak(chips: dict[str, Accelerator]) -> None:
    fastest: dict[tuple[str, str], float] = {}
    for row in rows("kernels/aic_gemm.csv.gz"):
        operations = 2.0 * int(row["m"]) * int(row["n"]) * int(row["k"])
        rate = operations / (float(row["latency_ms"]) * 1e-3)
        key = row["system"], GEMM_TYPES[row["gemm_dtype"]]
        fastest[key] = max(rate, fastest.get(key, 0.0))
    for (system, number_type), rate in fastest.items():
        chip = find_accelerator(system)
        assert chip is not None
        # Far below would mean a sparse figure on the sheet.
        assert 0.35 <= rate / chip.ops_per_s(number_type) <= 1.0, (system, number_type)
