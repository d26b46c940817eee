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
