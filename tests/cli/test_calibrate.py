"""`takt calibrate`: errors before and after, the file it writes, and that `takt accuracy` can use it."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Documented, Takt

Document = Callable[..., dict[str, Any]]


@pytest.fixture
def mine(document: Document, tmp_path: Path) -> Path:
    """Ten rows whose tokens take 1.5 times as long as predicted."""
    path = tmp_path / "mine.csv"
    rows = [{"concurrency": n, "osl_tokens": o} for n in (1, 4, 16, 64, 128) for o in (64, 256)]
    write(path, [row | {"tpot_ms": 1} for row in rows])
    worst = document("accuracy", path, "--worst", 100)["worst"]
    predicted_ms = {row["where"]: row["predicted"] for row in worst}
    slow = [row | {"tpot_ms": 1.5 * predicted_ms[f"mine.csv:{i}"]} for i, row in enumerate(rows, 2)]
    write(path, slow)
    return path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    fixed = {"chip": "h100-sxm", "model": "llama-3.1-8b", "engine": "vllm", "isl_tokens": 512}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*fixed, *rows[0]])
        writer.writeheader()
        writer.writerows(fixed | row for row in rows)


def test_json_has_the_documented_keys_and_the_error_falls(
    document: Document, documented: Documented, mine: Path
) -> None:
    found = document("calibrate", mine)
    assert set(found) == documented("calibrate")
    assert found["output"] is None
    (engine,) = found["engines"]
    assert (engine["engine"], engine["chip"], engine["rows"]) == ("vllm", "h100-sxm", 10)
    assert engine["decode_factor"] > 1.3
    assert found["before"]["tpot"]["median_abs_error"] == pytest.approx(1 / 3, abs=1e-3)
    assert found["left_out"]["tpot"]["median_abs_error"] < 0.05
    assert found["before"]["tpot"]["n"] == found["left_out"]["tpot"]["n"] == 10


def test_the_file_is_what_accuracy_applies(
    takt: Takt, document: Document, mine: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.toml"
    status, text, err = takt("calibrate", mine, "--out", out)
    assert (status, err) == (0, "")
    assert "after, on rows left out" in text
    assert list(tmp_path.glob(".*")) == []
    found = document("accuracy", mine, "--calibration", out)
    fitted = document("calibrate", mine)["fitted"]
    assert found["metrics"]["tpot"] == pytest.approx(fitted["tpot"], abs=1e-4)
    assert found["corrections"].endswith("+ mine.toml")


def test_a_file_is_not_written_over_unless_forced(takt: Takt, mine: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    out.write_text("precious")
    status, _, err = takt("calibrate", mine, "--out", out)
    assert (status, "exists" in err, out.read_text()) == (2, True, "precious")
    assert takt("calibrate", mine, "--out", out, "--force")[0] == 0
    assert out.read_text().startswith("# Written by")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "no file of measurements is named"),
        (("{mine}", "--out", "x.json"), "ends in .toml"),
        (("{mine}", "--out", "no/where.toml"), "there is no directory no"),
        (("{few}",), "vllm on h100-sxm has 2; at least 5"),
    ],
)
def test_mistakes_are_clear(
    takt: Takt, mine: Path, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    few = tmp_path / "few.csv"
    write(few, [{"concurrency": n, "osl_tokens": 64, "tpot_ms": 9} for n in (1, 2)])
    places = {"mine": mine, "few": few}
    status, out, err = takt("calibrate", *(part.format(**places) for part in arguments))
    assert (status, out) == (2, "")
    assert complaint in err
