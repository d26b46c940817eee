"""`takt chips`: what it prints, as text and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from takt.chips import (
    list_accelerators,
    list_systems,
    load_accelerator,
    load_system,
)
from takt.chips.lookup import load_any
from takt.chips.measure import Effort, measure
from takt.cli import main
from takt.cli.chips_table import parse_bytes


def takt(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["chips", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def document(text: str) -> dict[str, Any]:
    parsed = json.loads(text)
    assert isinstance(parsed, dict)
    return parsed


def ids_of(table: str) -> list[str]:
    return [line.split()[0] for line in table.splitlines()[1:]]


def test_the_list_has_a_line_for_each_chip_and_system(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = takt(capsys)
    assert (status, err) == (0, "")
    chips, systems = out.split("\n\n")
    assert chips.split()[:6] == ["ID", "KIND", "MEMORY", "BANDWIDTH", "BF16", "FP8"]
    others = [chip.id for chip in list_accelerators()]
    assert ids_of(chips) == ["lp30", "lpu-v1", *others]
    assert "220 MiB" in chips.splitlines()[2]
    header, *lines = systems.splitlines()
    assert header.split()[:3] == ["SYSTEM", "CHIP", "CHIPS"]
    assert [line.split()[0] for line in lines] == [system.id for system in list_systems()]
    assert lines[2].split()[1:6] == ["lpu-v1", "10,440", "8", "72", "2.19"]
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_the_list_is_filtered_and_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--vendor", "nvidia", "--kind", "GPU", "--min-memory", "100GB")
    _, out, _ = takt(capsys, *options, "--sort", "bandwidth")
    found = [load_accelerator(chip_id) for chip_id in ids_of(out)]
    assert {chip.id for chip in found} == {
        chip.id
        for chip in list_accelerators()
        if (chip.vendor, chip.kind) == ("NVIDIA", "gpu") and chip.memory.capacity_bytes >= 10**11
    }
    rates = [chip.memory.bytes_per_s for chip in found]
    assert rates == sorted(rates, reverse=True)
    assert len(rates) > 2


def test_unknown_figures_come_last_when_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    for sort, get in (
        ("rent", lambda chip: chip.price.rent_usd_per_h),
        ("tdp", lambda chip: chip.power.tdp_w),
        ("fp4", lambda chip: chip.peak.fp4_ops_per_s),
    ):
        _, out, _ = takt(capsys, "--kind", "gpu", "--sort", sort)
        figures = [get(load_accelerator(chip_id)) for chip_id in ids_of(out)]
        known = [figure for figure in figures if figure is not None]
        assert figures == sorted(known, reverse=True) + [None] * (len(figures) - len(known))


def test_a_kind_may_be_lpus_or_systems(capsys: pytest.CaptureFixture[str]) -> None:
    assert ids_of(takt(capsys, "--kind", "lpu")[1]) == ["lp30", "lpu-v1"]
    _, out, _ = takt(capsys, "--kind", "system", "--vendor", "groq", "--sort", "memory")
    assert ids_of(out) == ["groqrack-v1", "dragonfly-v1", "groqnode-v1", "single"]
    _, out, _ = takt(capsys, "--kind", "system", "--json")
    assert document(out)["accelerators"] == document(out)["chips"] == []
    assert [row["id"] for row in document(out)["systems"]] == [each.id for each in list_systems()]


def test_a_list_of_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = takt(capsys, "--kind", "lpu", "--min-memory", "1PB")
    assert (status, out) == (0, "no chip has all of that\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "gpus"), "did you mean 'gpu'?"),
        (("--vendor", "nvidea"), "did you mean 'nvidia'?"),
        (("--sort", "bandwith"), "did you mean 'bandwidth'?"),
        (("--min-memory", "much"), "'much' is no size"),
        (("--min-memory", "-1GB"), "is no size"),
        (("--min-memory", "9" * 50), "is no size"),
    ],
)
def test_a_filter_that_makes_no_sense_is_the_users_mistake(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    status, out, err = takt(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100GB", 10**11),
        ("80GiB", 80 * 2**30),
        ("1.5 tb", 1_500 * 10**9),
        ("24g", 24 * 10**9),
        ("512", 512),
        ("0", 0),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


def test_the_list_as_json_carries_units_in_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = takt(capsys, "--json")
    chips = {chip["id"]: chip for chip in document(out)["chips"]}
    assert chips["lpu-v1"]["sram_bytes"] == 230_686_720
    assert chips["lpu-v1"]["int8_ops_per_s"] == 737_280_000_000_000
    assert chips["lp30"]["queues"] == 216
    others = {chip["id"]: chip for chip in document(out)["accelerators"]}
    h100 = load_accelerator("h100-sxm")
    assert others["h100-sxm"]["capacity_bytes"] == h100.memory.capacity_bytes
    assert others["h100-sxm"]["half_ops_per_s"] == h100.peak.half_ops_per_s
    assert others["h100-sxm"]["scale_up_chips"] == h100.scale_up.chips
    assert others["h100-sxm"]["fp4_ops_per_s"] is None
    systems = {system["id"]: system for system in document(out)["systems"]}
    assert systems["groqrack-v1"]["max_sram_bytes"] == 10_440 * 230_686_720
    assert systems["lpx-rack"]["rack_chips"] == 256


@pytest.mark.parametrize("name", ["lpu-v1", "h100-sxm", "tpu7x"])
def test_show_prints_every_fact_with_kind_and_source(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status, out, _ = takt(capsys, "show", name)
    assert status == 0
    found = load_any(name)
    for fact in found.facts:
        (line,) = [line for line in out.splitlines() if line.split(" ")[0] == fact.key]
        assert str(fact.kind) in line
        assert fact.source in line
    for key, text in found.sources:
        assert f"\n{key} " in out
        assert text in out


def test_show_of_an_accelerator_says_which_rates_are_of_wider_types(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "my.toml"
    path.write_text('base = "h100-sxm"\n[peak]\nhalf_ops_per_s = 1e15\nfp8_ops_per_s = 2e15\n')
    _, out, _ = takt(capsys, str(path))
    assert "bf16 1 Pop/s, fp8 2 Pop/s, fp4 2 Pop/s (widened)" in out
    assert "as h100-sxm" in out


def test_show_takes_any_spelling_of_an_accelerator(capsys: pytest.CaptureFixture[str]) -> None:
    assert takt(capsys, "NVIDIA H100 SXM5") == takt(capsys, "show", "h100-sxm")


def test_show_of_an_accelerator_as_json_has_facts_and_sources(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parsed = document(takt(capsys, "h100-sxm", "--json")[1])
    chip = load_accelerator("h100-sxm")
    assert list(parsed["facts"]) == [fact.key for fact in chip.facts]
    assert parsed["sources"] == dict(chip.sources)
    assert parsed["aliases"] == list(chip.aliases)


def test_show_says_unknown_where_nothing_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = takt(capsys, "show", "lp30")
    (line,) = [line for line in out.splitlines() if line.startswith("power.tdp_w")]
    assert line.split()[1] == "unknown"


def test_show_as_json_has_the_facts_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = takt(capsys, "show", "lpu-v1", "--json")
    parsed = document(out)
    assert parsed["facts"]["icu.barrier_cycles"]["value"] == 35
    assert parsed["facts"]["icu.barrier_cycles"]["kind"] == "published"
    assert "ISCA 2020" in parsed["sources"]["S1"]


def test_show_prints_the_same_bytes_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert takt(capsys, "show", "lp30") == takt(capsys, "show", "lp30")


def test_a_name_alone_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("lp30",), ("groqnode-v1", "--json")):
        assert takt(capsys, *arguments) == takt(capsys, "show", *arguments)


def test_show_of_a_system_prints_its_facts_and_its_reach(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, _ = takt(capsys, "groqrack-v1", "--chips", "576")
    assert status == 0
    system = load_system("groqrack-v1")
    for fact in system.facts:
        (line,) = [line for line in out.splitlines() if line.split(" ")[0] == fact.key]
        assert str(fact.kind) in line
    assert "576 of 10,440, lpu-v1" in out
    assert "5 wires, 2 of them between nodes" in out
    last = system.reach(system.network(576))[-1]
    assert f"{last.latency_ns:,} ns" in out


def test_show_of_a_system_as_json_has_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = takt(capsys, "show", "groqrack-v1", "--chips", "576", "--json")
    parsed = document(out)
    assert parsed["max_chips"] == 10_440
    assert parsed["chips"] == 576
    assert parsed["wires"] == 576 * 11
    assert parsed["sram_bytes"] == 576 * 230_686_720
    assert parsed["link_bytes_per_s"] == 576 * 11 * 12_890_625_000
    assert parsed["reach"][0] == {
        "latency_ns": 0, "hops": 0, "chips": 1, "sram_bytes": 230_686_720,
    }  # fmt: skip
    assert parsed["reach"][-1]["chips"] == 576
    assert parsed["facts"]["rack.spare_units"]["value"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lpx-rack", "--chips", "2305"), "lpx-rack has no 2,305 chips"),
        (("lpu-v1", "--chips", "2"), "lpu-v1 has no 2 chips"),
        (("h100-sxm", "--chips", "8"), "h100-sxm has no 8 chips"),
        (("h100-sxn",), "did you mean 'h100-sxm'?"),
        (("groqrak-v1",), "did you mean 'groqrack-v1'?"),
    ],
)
def test_what_a_system_has_not_is_the_users_mistake(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    status, out, err = takt(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in err


def test_show_of_an_unknown_chip_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = takt(capsys, "show", "lpu-v2")
    assert (status, out) == (2, "")
    assert "did you mean 'lpu-v1'?" in err


def test_check_of_the_catalogue_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert takt(capsys, "check") == (0, "no problems\n", "")


def test_check_checks_systems_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text('base = "groqnode-v1"\n[rack]\nunit = 3\n')
    status, out, _ = takt(capsys, "check", "lpu-v1", "groqrack-v1", str(path))
    assert status == 2
    assert out == (
        f"{path}: rack.unit: expected a fact of [rack], got an unknown one"
        " (did you mean 'rack.units'?)\n"
    )


def test_check_reports_every_problem_and_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "my.toml"
    path.write_text('base = "lpu-v1"\n[vxm]\nalu_cycle = 3\nalus = "x"\n')
    status, out, _ = takt(capsys, "check", str(path))
    assert status == 2
    assert out.splitlines() == [
        f"{path}: vxm.alu_cycle: expected a fact of [vxm], got an unknown one"
        " (did you mean 'vxm.alu_cycles'?)",
        f"{path}: vxm.alus: expected an integer from 1 to 64 (ALUs), got 'x'",
    ]
    status, out, _ = takt(capsys, "check", str(path), "--json")
    assert status == 2
    assert [row["key"] for row in document(out)["problems"]] == ["vxm.alu_cycle", "vxm.alus"]


def test_measure_writes_a_chip_that_show_reads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "host.toml"
    status, out, err = takt(capsys, "measure", "--out", str(path), "--json")
    assert (status, err) == (0, "")
    measured = document(out)
    assert measured["file"] == str(path)
    chip = load_accelerator(path)
    assert chip.memory.bytes_per_s == pytest.approx(measured["read_bytes_per_s"], rel=1e-3)
    assert chip.memory.capacity_bytes == measured["host"]["memory_bytes"]
    assert takt(capsys, "check", str(path)) == (0, "no problems\n", "")
    status, out, _ = takt(capsys, str(path))
    assert status == 0
    assert out.startswith("host: ")


def test_measure_prints_the_file_or_where_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Effort(array_bytes=1 << 24, dim=128, repeats=1)
    monkeypatch.setattr(
        "takt.chips.measure.measure", lambda host, progress: measure(host, small, progress)
    )
    path = tmp_path / "mine.toml"
    path.write_text("old")
    status, out, err = takt(capsys, "measure", "--out", str(path), "--force")
    assert (status, out, err) == (0, f"written to {path}\n", "")
    assert load_accelerator(path).id == "mine"
    status, out, _ = takt(capsys, "measure")
    assert status == 0
    path.write_text(out)
    assert load_accelerator(path).id == "host"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("old.toml", "old.toml exists\nhint: --force writes over it"),
        ("new.txt", "does not end in .toml"),
        ("none/new.toml", "there is no directory"),
    ],
)
def test_measure_says_at_once_where_it_may_not_write(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "old.toml").write_text("mine")
    status, out, err = takt(capsys, "measure", "--out", str(tmp_path / name))
    assert (status, out) == (2, "")
    assert message in err
    assert (tmp_path / "old.toml").read_text() == "mine"
