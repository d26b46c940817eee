"""The docs page of errors: agrees with the shipped figures, hides no chip or model, and is made from any files."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from takt.accuracy.held_out import WAYS, save_held_out, shipped_held_out
from takt.accuracy.metrics import Metric
from takt.accuracy.observe import observations
from takt.accuracy.report import answers_to

from .conftest import DATA

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "accuracy-chips.md"
SAMPLES = (
    "dstack_h100_h200_mi300x",
    "inferencex",
    "mlperf_inference_llm",
    "splitwise_llm_perf_power",
)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    pytest.importorskip("scipy")
    path = REPOSITORY / "tools" / "accuracy_page.py"
    spec = importlib.util.spec_from_file_location("accuracy_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(page: str, heading: str) -> list[list[str]]:
    """Rows of all tables below a heading, up to the next one."""
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    return [line.split(" | ") for line in lines if not line.startswith("---")]


def test_the_page_says_what_the_shipped_file_says() -> None:
    shipped = shipped_held_out()
    if not shipped:
        pytest.skip("no held-out figures are shipped")
    rows = {row[0]: row for row in cells(PAGE.read_text(encoding="utf-8"), "In short")}
    assert set(rows) == {"figure", *shipped["series"]}
    for figure, metric in shipped["series"].items():
        n, *pairs, bias = rows[figure][1:]
        assert int(n.replace(",", "")) == metric.n
        assert float(bias.replace("−", "-")) == pytest.approx(100 * metric.bias, abs=0.06)
        for way, text in zip(WAYS, pairs, strict=True):
            median, p90 = (float(part.replace(",", "")) for part in text.split(" / "))
            found = shipped[way][figure]
            assert median == pytest.approx(
                100 * found.median_abs_error, abs=0.51 if median >= 100 else 0.06
            )
            assert p90 == pytest.approx(100 * found.p90_abs_error, abs=0.51 if p90 >= 100 else 0.06)


def test_every_chip_model_and_source_has_its_line(tool: ModuleType) -> None:
    by_file = [answers_to([DATA / f"{name}.csv"]) for name in SAMPLES]
    rows = observations([item for answers in by_file for item in answers.computed])
    page = tool.page_of(by_file, rows, tool.judged(rows))
    for heading, field in (
        ("chip", "chip"),
        ("model", "model"),
        ("source of the measurements", "campaign"),
    ):
        listed = cells(page, f"By {heading}")[1:]
        assert {row[0] for row in listed} == {getattr(row.situation, field) for row in rows}
        assert sum(int(row[2].replace(",", "")) for row in listed) == len(rows)
    total = cells(page, "Coverage")[1 + len(SAMPLES)]
    assert total[0] == "all"
    assert int(total[1]) == sum(answers.rows for answers in by_file)
    assert int(total[1]) == sum(int(cell) for cell in total[2:5])
    offline = [row for row in cells(page, "MLPerf Inference, offline") if row[0] == "all"]
    n = sum(1 for row in rows if tool.is_offline(row))
    assert n > 0
    assert [int(row[2]) for row in offline] == [n]


def test_figures_survive_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = Metric(n=3, median_abs_error=0.0771, p90_abs_error=0.25, bias=-0.01)
    table = {way: {"tpot": metric} for way in WAYS}
    (tmp_path / "data").mkdir()
    save_held_out(tmp_path / "data" / "held_out.json", table)
    monkeypatch.setattr("takt.accuracy.held_out.files", lambda _: tmp_path)
    shipped_held_out.cache_clear()
    try:
        assert shipped_held_out() == table
    finally:
        shipped_held_out.cache_clear()
