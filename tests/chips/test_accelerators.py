"""Accelerators: what a file may say, what follows from it, and what is wrong with it."""

from pathlib import Path

import pytest

from takt.chips import Accelerator, Chip, Kind, list_accelerators, load_accelerator, load_chip
from takt.chips.lookup import check_chips, load_any
from takt.errors import DataErrors, UsageError

ROW = 'kind = "published", source = "S", date = "2024"'
WHOLE = f"""
id = "x1"
name = "X1 64 GB"
vendor = "X"
architecture = "Y"
nearest = "x1"
aliases = ["X-One", "x 1"]
[sources]
S = "a data sheet"
[memory]
capacity_bytes = {{ value = 64_000_000_000, unit = "B", {ROW} }}
bytes_per_s = {{ value = 2e12, unit = "B/s", {ROW} }}
[peak]
half_ops_per_s = {{ value = 4e14, unit = "op/s", {ROW} }}
fp8_ops_per_s = {{ value = 8e14, unit = "op/s", {ROW} }}
[scale_up]
chips = {{ value = 8, unit = "chips", {ROW} }}
[power]
tdp_w = {{ value = 500, unit = "W", {ROW} }}
"""


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "x1.toml"
    path.write_text(WHOLE)
    return path


def problems_of(path: Path, text: str) -> list[str]:
    """All problems of a file with this text; loading it must raise just these."""
    path.write_text(text)
    with pytest.raises(DataErrors) as caught:
        load_accelerator(path)
    assert check_chips([path]) == caught.value.problems
    return [
        f"{problem.key}: {problem.expected}, {problem.found}" for problem in caught.value.problems
    ]


def test_a_file_without_a_base_becomes_a_chip(whole: Path) -> None:
    chip = load_accelerator(whole)
    assert (chip.id, chip.vendor, chip.kind) == ("x1", "X", "accelerator")
    assert chip.aliases == ("X-One", "x 1")
    assert chip.memory.capacity_bytes == 64_000_000_000
    assert chip.fact("power.tdp_w").source == "S"
    assert load_any(whole) == chip
    assert check_chips([whole]) == ()


def test_what_the_file_leaves_out_is_unknown(whole: Path) -> None:
    chip = load_accelerator(whole)
    assert chip.scale_up.bytes_per_s is None
    assert chip.price.rent_usd_per_h is None
    assert "price.rent_usd_per_h" not in [fact.key for fact in chip.facts]
    with pytest.raises(UsageError, match=r"price.rent_usd_per_h of chip x1 is not known"):
        chip.fact("price.rent_usd_per_h")
    with pytest.raises(UsageError) as caught:
        chip.fact("price.rent_usd_per_hour")
    assert caught.value.hint == "did you mean 'price.rent_usd_per_h'?"


def test_what_must_be_known_may_not_be_left_out(tmp_path: Path) -> None:
    lines = [line for line in WHOLE.splitlines() if not line.startswith(("bytes_per_s", "chips"))]
    found = problems_of(tmp_path / "x1.toml", "\n".join(lines))
    assert found == ["memory.bytes_per_s: a row, nothing", "scale_up.chips: a row, nothing"]


@pytest.mark.parametrize(
    ("number_type", "ops_per_s"),
    [
        ("bf16", 4e14),
        ("fp16", 4e14),
        ("fp8", 8e14),
        ("fp4", 8e14),
        ("mxfp4", 8e14),
        ("int8", 4e14),
        ("int4", 4e14),
    ],
)
def test_a_type_that_the_chip_has_not_runs_in_the_next_wider(
    whole: Path, number_type: str, ops_per_s: float
) -> None:
    assert load_accelerator(whole).ops_per_s(number_type) == ops_per_s


def test_a_rate_that_is_not_known_and_a_type_that_is_none_are_refused(whole: Path) -> None:
    chip = load_accelerator(whole)
    with pytest.raises(UsageError, match="fp32 rate of chip x1 is not known"):
        chip.ops_per_s("fp32")
    with pytest.raises(UsageError, match="no number type 'bf61'") as caught:
        chip.ops_per_s("bf61")
    assert caught.value.hint == "did you mean 'bf16'?"


def test_no_chip_is_faster_in_a_wider_type_than_it_says() -> None:
    for chip in list_accelerators():
        assert chip.ops_per_s("fp4") >= chip.peak.half_ops_per_s
        assert chip.ops_per_s("fp8") >= chip.peak.half_ops_per_s
        assert chip.ops_per_s("bf16") == chip.peak.half_ops_per_s


def test_a_file_of_ones_own_takes_the_rest_from_its_base(tmp_path: Path) -> None:
    path = tmp_path / "fast.toml"
    path.write_text('base = "h100-sxm"\n[memory]\nbytes_per_s = 6.7e12\n')
    chip, base = load_accelerator(path), load_accelerator("h100-sxm")
    assert (chip.id, chip.memory.bytes_per_s) == ("fast", 6.7e12)
    assert (chip.peak, chip.nearest, chip.vendor) == (base.peak, base.nearest, base.vendor)
    assert chip.aliases == ()
    fact = chip.fact("memory.bytes_per_s")
    assert (fact.kind, fact.source) == (Kind.ASSUMED, str(path))
    assert isinstance(load_any(path), Accelerator)


def test_a_base_of_ones_own_that_stands_for_itself_does_so_no_longer(whole: Path) -> None:
    path = whole.parent / "x2.toml"
    path.write_text('base = "x1.toml"\n[peak]\nfp8_ops_per_s = { unknown = true }\n')
    chip = load_accelerator(path)
    assert (chip.id, chip.nearest) == ("x2", "x2")
    assert chip.ops_per_s("fp8") == 4e14
    assert isinstance(load_any(path), Accelerator)


def test_a_file_based_on_an_lpu_is_one(tmp_path: Path) -> None:
    path = tmp_path / "wide.toml"
    path.write_text('base = "lpu-v1"\nvendor = "Y"\n')
    chip = load_any(path)
    assert isinstance(chip, Chip)
    assert chip.vendor == "Y"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('nearest = "x1"', 'nearest = "h100-sxn"', "nearest: the id of an accelerator that ships"),
        ('nearest = "x1"\n', "", "nearest: a line of text, nothing"),
        ('["X-One", "x 1"]', '"X-One"', "aliases: a list of texts, 'X-One'"),
        ('["X-One", "x 1"]', '["X-One", 1]', "aliases[1]: a line of text, 1"),
        ("value = 500", "value = -1", "power.tdp_w.value: a number from 0 to 1e+07 (W), -1"),
        ("value = 500", "value = nan", "power.tdp_w.value: a number from 0 to 1e+07 (W), nan"),
        ('unit = "B"', 'unit = "GB"', "memory.capacity_bytes.unit: 'B', 'GB'"),
        ("64_000_000_000", "64.5", "memory.capacity_bytes.value: an integer"),
        ("tdp_w", "tdp", "power.tdp: a fact of [power], an unknown one"),
        ("[power]", "[powers]", "powers: a known group or key, an unknown one"),
        ('"S"', '"T"', "memory.capacity_bytes.source: keys of [sources], 'T'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in WHOLE
    found = problems_of(tmp_path / "x1.toml", WHOLE.replace(old, new))
    assert any(text.startswith(problem) for text in found), found


def test_powers_must_go_together(tmp_path: Path) -> None:
    text = f'{WHOLE}idle_w = {{ value = 600, unit = "W", {ROW} }}\n'
    found = problems_of(tmp_path / "x1.toml", text)
    assert found == ["power.idle_w: power.idle_w at most power.tdp_w, 600.0 W above 500.0 W"]


@pytest.mark.parametrize("name", ["h100-sxn", "H100 SXN", "hopper-100-sxm"])
def test_an_unknown_name_gets_a_near_miss(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_accelerator(name)
    assert f"no accelerator {name!r}" in caught.value.message
    assert "`takt chips`" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["", "\0", "x" * 10_000, "no.toml", ".", "../x", "é"])
def test_a_name_that_is_none_is_the_users_mistake(name: str) -> None:
    for load in (load_accelerator, load_any):
        with pytest.raises(UsageError):
            load(name)


def test_an_accelerator_is_no_lpu() -> None:
    with pytest.raises(UsageError, match="h100-sxm is no LPU") as caught:
        load_chip("h100-sxm")
    assert "lpu-v1" in str(caught.value.hint)


def test_a_chip_is_loaded_by_its_id_or_any_spelling() -> None:
    chip = load_accelerator("h100-sxm")
    assert load_accelerator("NVIDIA H100 SXM5 80GB") == chip == load_any("H100_SXM")


def test_equal_numbers_are_equal_whatever_the_sources_say(whole: Path) -> None:
    chip = load_accelerator(whole)
    whole.write_text(WHOLE.replace("a data sheet", "another one"))
    assert load_accelerator(whole) == chip
    whole.write_text(WHOLE.replace("2e12", "3e12"))
    assert load_accelerator(whole) != chip
