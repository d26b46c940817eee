"""`takt accuracy`: the documented JSON, the text, the picture, and mistakes found before anything is computed."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.accuracy.case import Case
from takt.accuracy.digest import digest_of
from takt.accuracy.readers import read_cases
from takt.perf.corrections import SLOPES

from .conftest import Documented, Takt

Document = Callable[..., dict[str, Any]]
METRIC = {"n", "median_abs_error", "p90_abs_error", "bias"}
ROW = {
    "chip": "h100-sxm",
    "model": "llama-3.1-8b",
    "engine": "vllm",
    "isl_tokens": 512,
    "osl_tokens": 128,
    "concurrency": 8,
    "tpot_ms": 8.0,
    "ttft_ms": 50.0,
    "output_tok_s": 900.0,
}
RESULT = {
    "date": "20250901-120000", "backend": "vllm", "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 200, "completed": 200, "duration": 20.0, "total_input_tokens": 204800,
    "total_output_tokens": 25600, "request_throughput": 10.0, "output_throughput": 1280.0,
    "max_concurrency": 16, "request_rate": "inf", "mean_ttft_ms": 60.0, "median_ttft_ms": 55.0,
    "mean_tpot_ms": 9.0, "median_tpot_ms": 8.8,
}  # fmt: skip


def write(path: Path, *changes: dict[str, object]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROW))
        writer.writeheader()
        writer.writerows(ROW | change for change in changes)
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    rows = [{"chip": chip, "concurrency": n} for chip in ("h100-sxm", "h200-sxm") for n in (1, 8)]
    return write(tmp_path / "mine.csv", *rows, {"chip": "abacus"}, {"isl_tokens": "long"})


def test_json_has_the_documented_keys(
    document: Document, documented: Documented, mine: Path
) -> None:
    found = document("accuracy", mine, "--by", "chip,engine")
    groups = found.pop("groups")
    assert set(found) | {"groups"} == documented("accuracy")
    assert (found["rows"], found["answered"], found["coverage"]) == (
        6,
        4,
        pytest.approx(4 / 6, abs=1e-6),
    )
    assert sum(skip["count"] for skip in found["skipped"]) == 2
    assert {"reason", "count"} <= set(found["skipped"][0])
    assert set(found["metrics"]) == {"tpot", "ttft", "throughput"}
    assert all(set(metric) == METRIC for metric in found["metrics"].values())
    assert found["metrics"]["tpot"]["n"] == 4
    assert [group["chip"] for group in groups] == ["h100-sxm", "h200-sxm"]
    assert all(group["metrics"]["tpot"]["n"] == 2 for group in groups)


def test_text_shows_figures_reasons_and_worst_rows(takt: Takt, mine: Path) -> None:
    status, out, err = takt("accuracy", mine, "--by", "chip", "--worst", 2)
    assert (status, err) == (0, "")
    assert out.startswith("mine.csv: 6 rows, 4 answered (66.7 %; 80.0 % of those that say")
    assert "FIGURE      N  MEDIAN ERROR  90TH PCT" in out
    assert "abacus" in out
    assert out.count("mine.csv:") == 3  # the head, and two worst rows


def test_files_count_together(document: Document, mine: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.csv", {"concurrency": 4}, {"concurrency": 2})
    found = document("accuracy", mine, other, mine)
    assert (found["files"], found["rows"]) == (["mine.csv", "other.csv"], 8)


def test_results_of_a_benchmark_need_only_the_chip(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT))
    found = document("accuracy", path, "--chip", "h100-sxm", "--tp", 1)
    assert found["answered"] == 1
    assert {"tpot", "ttft", "throughput"} <= set(found["metrics"])
    assert {row["chip"] for row in found["worst"]} == {"h100-sxm"}


def test_without_corrections_the_figures_are_the_computed_ones(
    document: Document, mine: Path
) -> None:
    found = document("accuracy", mine, "--uncorrected")
    assert found["corrections"] == "none"
    assert found["held_out"] == {}


def test_rows_that_were_fitted_to_do_not_stand_alone(
    takt: Takt, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: list[Case] = read_cases(mine)[0]
    known = np.sort(np.asarray([digest_of(case) for case in cases], dtype=np.uint64))
    metric = {"n": 3, "median_abs_error": 0.077, "p90_abs_error": 0.2, "bias": 0.0}
    monkeypatch.setattr("takt.accuracy.report.fitted_digests", lambda: known)
    monkeypatch.setattr("takt.accuracy.report.shipped_held_out", lambda: _table(metric))
    effects = {"engine=vllm": np.zeros(len(SLOPES))}
    monkeypatch.setattr("takt.cli.accuracy.shipped_corrections", lambda: _corrections(effects))
    _, out, _ = takt("accuracy", mine)
    assert "fitted to 4 of 4 answered rows" in out
    assert "left out by model  tpot    3         7.7 %    20.0 %" in out
    _, out, _ = takt("accuracy", mine, "--uncorrected")
    assert "fitted" not in out


def _table(metric: dict[str, Any]) -> Any:
    from takt.accuracy.metrics import Metric

    return {"model": {"tpot": Metric(**metric)}}


def _corrections(effects: dict[str, Any]) -> Any:
    from takt.perf.corrections import Corrections

    return Corrections(effects=effects)


def test_left_out_fits_predict_rows_from_the_others(
    takt: Takt, document: Document, tmp_path: Path
) -> None:
    """Every engine is slower by the same factor, so that models left out are predicted by the rest."""
    pytest.importorskip("scipy")
    models = ("llama-3.1-8b", "llama-3.1-70b", "qwen3-32b", "mistral-7b")
    loads = (1, 2, 4, 8, 16)
    rows = [
        {"model": m, "concurrency": n, "ttft_ms": "", "output_tok_s": ""}
        for m in models
        for n in loads
    ]
    first = document("accuracy", write(tmp_path / "a.csv", *rows), "--uncorrected", "--worst", 100)
    by_where = {row["where"]: row["predicted"] for row in first["worst"]}
    slow = [row | {"tpot_ms": 3 * by_where[f"a.csv:{i}"]} for i, row in enumerate(rows, 2)]
    path = write(tmp_path / "b.csv", *slow)
    before = document("accuracy", path, "--uncorrected")["metrics"]["tpot"]
    after = document("accuracy", path, "--cross-validate", "model")
    assert before["median_abs_error"] == pytest.approx(2 / 3, abs=1e-4)
    assert after["metrics"]["tpot"]["median_abs_error"] < 0.2
    assert after["corrections"] == "left out: model"
    status, _, err = takt("accuracy", path, "--cross-validate", "chip")
    assert (status, "at least two chips" in err) == (2, True)


def test_the_picture_has_a_panel_for_each_figure(takt: Takt, mine: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    status, _, _ = takt("accuracy", mine, "--plot", tmp_path / "x.svg")
    assert status == 0
    picture = (tmp_path / "x.svg").read_text(encoding="utf-8")
    for text in (
        "tpot, ms  (4)",
        "ttft, ms  (4)",
        "throughput, output tokens/s  (4)",
        "h200-sxm",
        "±30 %",
    ):
        assert text in picture


def test_a_cold_start_imports_no_compiler_and_no_scipy(mine: Path) -> None:
    code = (
        "import sys\nfrom takt.cli import main\n"
        f"try: main(['accuracy', {str(mine)!r}])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m in ('scipy', 'torch', 'matplotlib', 'takt.lpu')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "no file of measurements is named"),
        (("none.csv",), "there is no file none.csv"),
        (("{folder}",), "is a directory"),
        (("{mine}", "--by", "chps"), "did you mean 'chip'?"),
        (("{mine}", "--colour", "engin"), "did you mean 'engine'?"),
        (("{mine}", "--plot", "x.jpg"), ".png or .svg"),
        (("{mine}", "--plot", "no/where.png"), "there is no directory no"),
        (("{mine}", "--chip", "mi300y"), "did you mean 'mi300x'?"),
        (("{mine}", "--worst", "-1"), "--worst -1"),
        (("{mine}", "--tp", "0"), "--tp 0"),
        (("{mine}", "--cross-validate", "modle"), "did you mean 'model'?"),
        (("{mine}", "--cross-validate", "model", "--uncorrected"), "only one of"),
        (("{mine}", "--calibration", "none.toml"), "can't read none.toml"),
        (("{other}",), "columns of no table"),
    ],
)
def test_mistakes_are_clear(
    takt: Takt, mine: Path, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    places = {"folder": tmp_path, "mine": mine, "other": other}
    status, out, err = takt("accuracy", *(part.format(**places) for part in arguments))
    assert (status, out) == (2, "")
    assert complaint in err
