"""`takt trace`: where a schedule comes from and what is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Documented, Takt

Document = Callable[..., dict[str, Any]]


def test_a_model_and_its_file_give_the_same_timeline(
    takt: Takt, document: Document, tmp_path: Path
) -> None:
    file, a, b = (tmp_path / name for name in ("tiny.takt", "a.json", "b.json"))
    takt("compile", "tiny", "-o", file)
    found = document("trace", "tiny", "--position", 330, "-o", a)
    assert found["program"] == "decode.1"
    assert found["slices"] == found["instructions"] + found["tasks"]
    takt("trace", file, "--program", "decode.1", "-o", b)
    assert a.read_bytes() == b.read_bytes()
    takt("trace", file, "--position", 330, "-o", b)
    assert a.read_bytes() == b.read_bytes()


def test_a_picture_is_a_png(takt: Takt, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    status, out, _ = takt("trace", "tiny", "--png", tmp_path / "a.png")
    assert status == 0
    assert f"{tmp_path / 'a.png'}: the schedule as a picture\n" in out
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_the_timeline_says_that_a_microsecond_is_a_cycle(takt: Takt, tmp_path: Path) -> None:
    takt("trace", "tiny", "-o", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["otherData"]["time"] == "1 us in this trace is 1 cycle"
    assert found["otherData"]["program"] == "decode.0"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("tiny",), "nothing to write"),
        (("tiny", "-o", "no/where.json"), "there is no directory no"),
        (
            ("tiny", "-o", "x.json", "--position", "400"),
            "position 400 is outside the context of 400",
        ),
        (("tiny", "-o", "x.json", "--position", "-1"), "position -1"),
        (("tiny", "-o", "x.json", "--program", "encode"), "no program 'encode'"),
        (("tiny", "-o", "x.json", "--program", "decode.1", "--position", "3"), "both say"),
        (("none.takt", "-o", "x.json"), "none.takt"),
    ],
)
def test_mistakes_get_one_clear_message(
    takt: Takt,
    arguments: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = takt("trace", *arguments)
    assert (status, out) == (2, "")
    assert complaint in err
    assert list(tmp_path.iterdir()) == []


def test_the_document_lists_exactly_the_keys(
    document: Document, documented: Documented, tmp_path: Path
) -> None:
    assert documented("trace") == set(document("trace", "tiny", "-o", tmp_path / "a.json"))


# ------------------------------------------------------------------------------------ many chips

PAIR = ("--system", "groqnode-v1", "--chips", "2", "--group", "2")


def test_a_plot_of_one_chip_may_be_svg(takt: Takt, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert takt("trace", "tiny", "--plot", tmp_path / "a.svg")[0] == 0
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<?xml")


def test_a_system_is_drawn_whole_and_in_detail(
    document: Document, documented: Documented, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    names = [tmp_path / name for name in ("a.json", "a.svg", "b.png")]
    found = document(
        "trace", "stories260k", *PAIR, "--context", 64, "--users", 2,
        "-o", names[0], "--plot", names[1], "--pipeline", names[2],
    )  # fmt: skip
    assert documented("trace --system") == set(found)
    assert found["chips_shown"] == [0, 1]
    assert found["period_cycles"] >= found["step_cycles"]
    trace = json.loads(names[0].read_text())
    assert sum(event["ph"] == "X" for event in trace["traceEvents"]) == found["slices"]
    processes = {e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    assert {"chip 0", "chip 1", "links"} < processes
    assert names[1].read_bytes().startswith(b"<?xml")
    assert names[2].read_bytes().startswith(b"\x89PNG\r\n")


def test_a_stage_and_some_of_its_chips_can_be_picked(
    takt: Takt, document: Document, tmp_path: Path
) -> None:
    arguments = ("stories260k", *PAIR, "--context", 64, "--stage", 0, "-o", tmp_path / "a.json")
    found = document("trace", *arguments, "--chips-shown", 1)
    assert found["chips_shown"] == [0]
    assert len(found["visits"]) > 1
    status, out, err = takt("trace", *arguments, "--chips-shown", 3)
    assert (status, out) == (2, "")
    assert "3 chips of a stage: expected 1 to 2" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("tiny", "--chips", "2"), "--chips is about many chips"),
        (("tiny", "--pipeline", "a.png"), "about many chips"),
        (("stories260k", *PAIR, "--program", "decode.1"), "--system goes with a model"),
        (("stories260k", *PAIR, "--stage", "7"), "there is no stage 7"),
        (("stories260k", *PAIR, "--position", "9999"), "position 9999 is outside the context"),
        (("stories260k", "--system", "groknode-v1"), "groqnode-v1"),
        (("stories260c", *PAIR), "stories260k"),
    ],
)
def test_mistakes_about_systems_get_one_clear_message(
    takt: Takt, arguments: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    status, out, err = takt("trace", *arguments, "-o", tmp_path / "x.json")
    assert (status, out) == (2, "")
    assert complaint in err
    assert list(tmp_path.iterdir()) == []
