"""Spellings of chips: what people and measurement files write, and which chip is meant."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.chips import find_accelerator, list_accelerators
from takt.chips.read_accelerator import accelerator_ids
from takt.chips.spelling import Spellings, words_of

SPELLINGS = Spellings.of(
    {
        "h100-sxm": ["H100", "H100 SXM5", "H100 80GB HBM3"],
        "h100-pcie": ["H100 PCIe"],
        "h20": ["H20"],
        "m4": ["Apple M4"],
        "m4-max": ["M4 Max"],
        "rx-6500-xt": ["RX 6500 XT"],
        "gh200": ["GH200 Grace Hopper Superchip"],
        "gh200-144gb": ["GH200 144GB"],
        "mi325x": [],
        "epyc-9755": ["AMD EPYC 9755 128-Core Processor"],
    },
    hosts=["epyc-9755"],
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NVIDIA H100-SXM5-80GB x8", "h100 sxm 80gb"),
        ("8xH100 80GB HBM3", "h100 80gb"),
        ("8 x NVIDIA H100", "h100"),
        ("nvidia_h100_sxm", "h100 sxm"),
        ("h100sxm5", "h100 sxm"),
        ("ESC_N8_H100x8", "esc n8 h100"),
        ("R760_L40Sx4", "r760 l40s"),
        ("H200-SXM-141GBx8", "h200 sxm 141gb"),
        ("AMD Instinct MI300X 192 GiB (x16)", "mi300x 192gb"),
        ("RTX4090", "rtx 4090"),
        ("AMD Radeon RX 6500 XT", "rx 6500 xt"),
        ("Jetson TX2", "jetson tx2"),
        ("TPU-v5e-4", "tpu v5e 4"),
        ("GPU", ""),
    ],
)
def test_a_spelling_becomes_its_telling_words(text: str, words: str) -> None:
    assert words_of(text) == frozenset(words.split())


@pytest.mark.parametrize(
    ("text", "chip_id"),
    [
        ("H100", "h100-sxm"),
        ("h100-80gb", "h100-sxm"),
        ("NVIDIA H100-PCIe-80GB x4", "h100-pcie"),
        ("H20", "h20"),
        ("H200", None),
        ("H1000", None),
        ("Apple M4 Max (40 cores)", "m4-max"),
        ("Apple M4 (10 cores)", "m4"),
        ("Grace Hopper GH200 Superchip, 144GB", "gh200-144gb"),
        ("8xMI325X_2xEPYC_9755", "mi325x"),
        ("two EPYC 9755", "epyc-9755"),
        ("nothing", None),
        ("", None),
        ("x8", None),
    ],
)
def test_a_text_means_the_chip_with_the_longest_spelling_in_it(
    text: str, chip_id: str | None
) -> None:
    assert SPELLINGS.inside(text) == chip_id


@pytest.mark.parametrize(
    ("text", "chip_id"),
    [("NVIDIA H100", "h100-sxm"), ("H100 or so", None), ("RX 6500", None), ("", None)],
)
def test_an_exact_spelling_has_no_word_too_many(text: str, chip_id: str | None) -> None:
    assert SPELLINGS.exact(text) == chip_id


def test_an_id_beats_the_alias_of_another() -> None:
    spellings = Spellings.of({"a1": ["b 2"], "b-2": []})
    assert spellings.inside("B 2") == "b-2"


def test_every_id_and_alias_that_ships_finds_its_own_chip() -> None:
    for chip in list_accelerators():
        for text in (chip.id, chip.id.upper(), *chip.aliases):
            found = find_accelerator(text)
            assert found is not None, text
            assert found.id == chip.id, f"{text} is {found.id}, and an alias of {chip.id}"


def test_what_names_no_chip_finds_none() -> None:
    assert find_accelerator("LPU v1") is None
    assert find_accelerator("") is None


@given(st.text(max_size=60))
def test_any_text_finds_a_chip_or_none(text: str) -> None:
    found = find_accelerator(text)
    assert found is None or found.id in accelerator_ids()


@given(st.sampled_from(accelerator_ids()), st.sampled_from(["8x{}", "{} x8", "NVIDIA {} GPU"]))
def test_counts_and_vendors_do_not_matter(chip_id: str, form: str) -> None:
    found = find_accelerator(form.format(chip_id))
    assert found is not None
    assert found.id == chip_id


def test_finding_is_quick_after_the_first_time() -> None:
    find_accelerator("H100")
    texts = [f"{n} servers of H100" for n in range(20)]
    start = time.perf_counter()
    for text in texts:
        find_accelerator(text)
    assert (time.perf_counter() - start) / len(texts) < 0.05  # aim: 5 ms; room for a busy machine
