"""`takt show`: a program file as assembly, whole or in part."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from takt.chips import load_chip
from takt.lpu import load_takt, queues
from takt.lpu.isa import parse_program

from .conftest import Documented, Takt

Document = Callable[..., dict[str, Any]]


@pytest.fixture
def file(takt: Takt, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.takt"
    assert takt("compile", "tiny", "-o", path)[0] == 0
    return path


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(".")]


def test_the_assembly_is_the_program(takt: Takt, file: Path) -> None:
    status, out, err = takt("show", file, "--program", "decode.1")
    assert (status, err) == (0, "")
    program = load_takt(file).programs[1]
    parsed = parse_program(out, load_chip("lpu-v1"))
    assert (parsed.instructions == program.instructions).all()
    assert (parsed.name, parsed.cycles) == ("decode.1", program.cycles)
    assert (parsed.constant == program.constant).all()


def test_a_queue_a_unit_and_a_stretch_of_cycles_can_be_picked(takt: Takt, file: Path) -> None:
    whole = lines(takt("show", file)[1])
    one = lines(takt("show", file, "--queue", "vxm.0")[1])
    assert one == [line for line in whole if line.split()[1] == "vxm.0"]
    two = lines(takt("show", file, "--queue", "mxm.0", "--queue", "vxm.1")[1])
    assert two == [line for line in whole if line.split()[1].startswith(("mxm.0.", "vxm.1"))
                   and line.split()[1] not in ("vxm.10", "vxm.11", "vxm.12", "vxm.13", "vxm.14")]  # fmt: skip
    early = lines(takt("show", file, "--queue", "vxm", "--to", 300)[1])
    late = lines(takt("show", file, "--queue", "vxm", "--from", 301)[1])
    vxm = [line for line in whole if line.split()[1].startswith("vxm.")]
    assert len(early) > 0
    assert sorted(early + late) == sorted(vxm)


def test_a_repeat_that_reaches_into_the_stretch_is_shown(takt: Takt, file: Path) -> None:
    rows = load_takt(file).programs[0].instructions
    row = next(row for row in rows if row["count"] > 3)
    name = queues(load_chip("lpu-v1"))[int(row["queue"])].name
    cycle = int(row["time"]) + int(row["gap"])
    _, out, _ = takt("show", file, "--queue", name, "--from", cycle, "--to", cycle)
    assert lines(out)[0].startswith(f"{row['time']}: {name} ")


def test_the_header_as_json(document: Document, file: Path) -> None:
    found = document("show", file)
    assert [program["name"] for program in found["programs"]] == ["decode.0", "decode.1"]
    assert all(0 < p["bound_cycles"] <= p["cycles"] for p in found["programs"])
    assert (found["chip"], found["metadata"]["model"]) == ("lpu-v1", "tiny")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--program", "decode.7"), "has no program 'decode.7'"),
        (("--queue", "vxn.0"), "no queue 'vxn.0'"),
        (("--from", "9", "--to", "3"), "--from 9 --to 3"),
        (("--chip", "lp30"), "the file is for chip lpu-v1, not lp30"),
    ],
)
def test_mistakes_get_one_clear_message(
    takt: Takt, file: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    status, out, err = takt("show", file, *arguments)
    assert (status, out) == (2, "")
    assert complaint in err


def test_a_file_for_a_chip_of_ones_own_needs_that_chip(takt: Takt, tmp_path: Path) -> None:
    file, chip = tmp_path / "a.takt", tmp_path / "big.toml"
    chip.write_text('base = "lpu-v1"\n[mem]\nwords_per_slice = 16384\n')
    assert takt("compile", "tiny", "--chip", chip, "-o", file)[0] == 0
    status, _, err = takt("show", file)
    assert status == 2
    assert "a chip 'big' that is not in the catalogue" in err
    assert "--chip FILE.toml" in err
    assert takt("show", file, "--chip", chip)[0] == 0
    chip.write_text('base = "lpu-v1"\n[mem]\nwords_per_slice = 8192\n')
    assert "other facts" in takt("show", file, "--chip", chip)[2]


def test_a_missing_or_damaged_file_is_the_users_mistake(takt: Takt, tmp_path: Path) -> None:
    assert takt("show", tmp_path / "none.takt")[0] == 2
    (tmp_path / "bad.takt").write_bytes(b"not a program at all" * 10)
    status, _, err = takt("show", tmp_path / "bad.takt")
    assert status == 2
    assert "is not a sound .takt file" in err


def test_the_document_lists_exactly_the_keys(
    document: Document, documented: Documented, file: Path
) -> None:
    assert documented("show") == set(document("show", file))


# ------------------------------------------------------------------------------------ many chips

PAIR = ("--system", "groqnode-v1", "--chips", "2", "--group", "2", "--context", "64")


def test_the_critical_path_of_a_system_adds_up(document: Document, documented: Documented) -> None:
    found = document("show", "stories260k", *PAIR)
    assert documented("show --system") == set(found)
    step = found["step_cycles"]
    assert sum(share["cycles"] for share in found["critical_path"]) == step
    assert sum(found["by_cause"].values()) == step
    assert sum(visit["cycles"] for visit in found["visits"]) + found["gap_cycles"] == step
    assert sum(phase["cycles"] for phase in found["phases"]) == found["program_cycles"]
    for use in found["by_unit"].values():
        assert all(0 <= value <= 1 for key, value in use.items() if key.endswith("_fraction"))


def test_an_early_token_has_less_to_attend_to(document: Document) -> None:
    two_blocks = (*PAIR[:-1], "400")
    late = document("show", "stories260k", *two_blocks)
    early = document("show", "stories260k", *two_blocks, "--position", 7)
    assert (early["position"], late["position"]) == (7, 399)
    assert early["program_cycles"] < late["program_cycles"]
    assert sum(early["by_cause"].values()) == early["step_cycles"]


def test_the_critical_path_as_text(takt: Takt) -> None:
    status, out, err = takt("show", "stories260k", *PAIR)
    assert (status, err) == (0, "")
    assert out.startswith("stories260k on 2 of 2 chips of groqnode-v1, 1 stage, context 64, 1 user")
    for title in ("The critical path", "Visit by visit", "Phase by phase", "Unit by unit"):
        assert f"\n{title}" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--users", "2"), "--users is about many chips"),
        (("--position", "2"), "go with --system"),
        ((*PAIR, "--queue", "vxm.0"), "--system goes with a model"),
    ],
)
def test_options_of_files_and_of_systems_do_not_mix(
    takt: Takt, arguments: tuple[str, ...], complaint: str
) -> None:
    status, out, err = takt("show", "stories260k", *arguments)
    assert (status, out) == (2, "")
    assert complaint in err
