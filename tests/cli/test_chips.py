"""`takt chips`: what it prints, as text and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from takt.chips import list_systems, load_chip, load_system
from takt.cli import main


def takt(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["chips", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def document(text: str) -> dict[str, Any]:
    parsed = json.loads(text)
    assert isinstance(parsed, dict)
    return parsed


def test_the_list_has_a_line_for_each_chip_and_system(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = takt(capsys)
    assert (status, err) == (0, "")
    chips, systems = out.split("\n\n")
    header, *lines = chips.splitlines()
    assert header.split()[:3] == ["ID", "CLOCK", "SRAM"]
    assert [line.split()[0] for line in lines] == ["lp30", "lpu-v1"]
    assert "220 MiB" in lines[1]
    header, *lines = systems.splitlines()
    assert header.split()[:3] == ["SYSTEM", "CHIP", "CHIPS"]
    assert [line.split()[0] for line in lines] == [system.id for system in list_systems()]
    assert lines[2].split()[1:6] == ["lpu-v1", "10,440", "8", "72", "2.19"]
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_the_list_as_json_carries_units_in_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = takt(capsys, "--json")
    chips = {chip["id"]: chip for chip in document(out)["chips"]}
    assert chips["lpu-v1"]["sram_bytes"] == 230_686_720
    assert chips["lpu-v1"]["int8_ops_per_s"] == 737_280_000_000_000
    assert chips["lp30"]["queues"] == 216
    systems = {system["id"]: system for system in document(out)["systems"]}
    assert systems["groqrack-v1"]["max_sram_bytes"] == 10_440 * 230_686_720
    assert systems["lpx-rack"]["rack_chips"] == 256


def test_show_prints_every_fact_with_kind_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = takt(capsys, "show", "lpu-v1")
    assert status == 0
    for fact in load_chip("lpu-v1").facts:
        (line,) = [line for line in out.splitlines() if line.split(" ")[0] == fact.key]
        assert str(fact.kind) in line
        assert fact.source in line
    assert "\nS1 " in out
    assert "barrier" in out


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
