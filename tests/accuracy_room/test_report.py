"""Predicted beside measured: every row answered or counted, figures by hand, groups that add up."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from takt.accuracy import Case, Measured
from takt.accuracy.compute import Computed, compute_cases
from takt.accuracy.digest import digest_of, fitted_digests, save_digests
from takt.accuracy.report import (
    DIMENSIONS,
    Answers,
    answers_to,
    check_dimensions,
    points_of,
    report_of,
    score,
)
from takt.errors import UsageError
from takt.perf.corrections import SLOPES, Corrections

Table = Callable[..., Path]
PLAIN = Corrections(effects={})
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


def answered(table: Table, *changes: dict[str, object]) -> Answers:
    return answers_to([table(*(ROW | change for change in changes))])


def test_every_row_is_answered_or_counted_with_its_reason(table: Table) -> None:
    answers = answered(
        table,
        {},
        {"chip": "mi300y"},
        {"tpot_ms": "", "ttft_ms": "", "output_tok_s": ""},
        {"concurrency": "many"},
    )
    assert (answers.rows, answers.answered) == (4, 1)
    assert sum(skip.count for skip in answers.skipped) == 3
    stages = {skip.reason: (skip.stage, skip.names) for skip in answers.skipped}
    assert stages["no latency and no rate measured"] == ("row", ())
    assert ("prediction", ("mi300y",)) in stages.values()
    assert "did you mean 'mi300x'?" in [skip.hint for skip in answers.skipped]
    report = report_of(answers, score(answers.computed, PLAIN))
    assert report.coverage == 1 / 4
    assert report.coverage_usable == 1 / 2


def test_metrics_are_those_of_predicted_over_measured(table: Table) -> None:
    answers = answered(table, *({"tpot_ms": 8.0 * factor} for factor in (0.5, 1.0, 2.0)))
    scored = score(answers.computed, PLAIN)
    predicted_ms = np.exp([item.log["tpot"] for item in answers.computed])
    error = predicted_ms / (8.0 * np.asarray([0.5, 1.0, 2.0])) - 1
    found = report_of(answers, scored).metrics
    assert set(found) == {"tpot", "ttft", "throughput"}
    assert found["tpot"].n == 3
    assert found["tpot"].median_abs_error == pytest.approx(np.median(np.abs(error)))
    assert found["tpot"].p90_abs_error == pytest.approx(np.quantile(np.abs(error), 0.9))
    assert found["tpot"].bias == pytest.approx(np.median(error))
    rates = np.exp([-item.log["throughput"] for item in answers.computed])
    assert found["throughput"].bias == pytest.approx(np.median(rates / 900.0 - 1))


def test_groups_hold_every_figure_once(table: Table) -> None:
    chips = ("h100-sxm", "h200-sxm", "a100-sxm")
    answers = answered(
        table, *({"chip": chip, "concurrency": n} for chip in chips for n in (1, 64))
    )
    scored = score(answers.computed, PLAIN)
    for by in DIMENSIONS:
        report = report_of(answers, scored, by=(by,))
        assert sum(group.metrics["tpot"].n for group in report.groups) == 6, by
    pairs = report_of(answers, scored, by=("chip", "engine")).groups
    assert [dict(group.key) for group in pairs] == [
        {"chip": chip, "engine": "vllm"} for chip in sorted(chips)
    ]


def test_the_farthest_off_come_first_and_each_row_once(table: Table) -> None:
    answers = answered(table, {"tpot_ms": 8.0}, {"tpot_ms": 8e4, "ttft_ms": 5e4}, {"tpot_ms": 80.0})
    worst = report_of(answers, score(answers.computed, PLAIN), n_worst=2).worst
    assert [row.where for row in worst] == ["mine.csv:3", "mine.csv:4"]
    assert (worst[0].figure, worst[0].measured, worst[0].unit) == ("tpot", pytest.approx(8e4), "ms")
    assert worst[0].predicted == pytest.approx(np.exp(answers.computed[1].log["tpot"]))


def test_corrections_are_applied_by_situation(table: Table) -> None:
    answers = answered(table, {}, {"engine": "sglang"})
    effect = np.log(2.0) * (np.asarray(SLOPES) == "constant")
    scored = score(answers.computed, Corrections(effects={"engine=sglang": effect}))
    plain = score(answers.computed, PLAIN)
    change = dict.fromkeys(("vllm", "sglang"), 0.0)
    for row, after, before in zip(scored.rows, scored.predicted, plain.predicted, strict=True):
        change[row.situation.engine] = after - before
    assert change == {"vllm": 0.0, "sglang": pytest.approx(np.log(2.0))}


def test_points_are_in_units_and_by_group(table: Table) -> None:
    answers = answered(table, {}, {"chip": "h200-sxm", "tpot_ms": 4.0})
    points = points_of(score(answers.computed, PLAIN), "chip")
    assert [figure for figure, _ in points] == ["tpot", "ttft", "throughput"]
    assert points["throughput", "output tokens/s"]["h100-sxm"][0] == pytest.approx([900.0])
    assert points["tpot", "ms"]["h200-sxm"][0] == pytest.approx([4.0])


@pytest.mark.parametrize("log", [{}, {"tpot": float("nan")}])
def test_without_a_figure_there_is_no_answer(
    table: Table, monkeypatch: pytest.MonkeyPatch, log: dict[str, float]
) -> None:
    def broken(cases: list[Case]) -> tuple[list[Computed], list[tuple[Case, str]]]:
        computed, refused = compute_cases(cases)
        return [replace(computed[0], log=log), *computed[1:]], refused

    monkeypatch.setattr("takt.accuracy.report.compute_cases", broken)
    answers = answered(table, {}, {"concurrency": 16})
    assert (answers.rows, answers.answered) == (2, 1)
    assert [skip.stage for skip in answers.skipped] == ["prediction"]


def test_a_wrong_dimension_gets_a_near_miss() -> None:
    with pytest.raises(UsageError) as caught:
        check_dimensions(["chips"])
    assert caught.value.hint == "did you mean 'chip'?"
    assert check_dimensions(["model", "chip", "model"]) == ("model", "chip")


def case(**changes: object) -> Case:
    base = Case(
        where="a.csv:2",
        dataset="user",
        series="s",
        chip="h100-sxm",
        model="llama-3.1-8b",
        engine="vllm",
        load="closed",
        n_chips=1,
        concurrency=8.0,
        measured=Measured(tpot_ms=8.0),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "other"},
        {"chip": "h200-sxm"},
        {"model": "llama-3.1-70b"},
        {"engine": "sglang"},
        {"engine_version": "0.9"},
        {"weights": "fp8"},
        {"n_chips": 2},
        {"concurrency": 9.0},
        {"output_tokens": 7.0},
        {"measured": Measured(tpot_ms=8.01)},
        {"measured": Measured(ttft_ms=8.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_digest_tells_configurations_and_figures_apart(change: dict[str, object]) -> None:
    assert digest_of(case(**change)) != digest_of(case())


@pytest.mark.parametrize(
    "change", [{"where": "b.csv:9"}, {"source": "x"}, {"note": "x"}, {"series": "t"}]
)
def test_a_digest_does_not_see_where_a_row_stands(change: dict[str, object]) -> None:
    assert digest_of(case(**change)) == digest_of(case())


def test_digests_are_written_sorted_and_once(tmp_path: Path) -> None:
    cases = [case(concurrency=float(n)) for n in (3, 1, 2, 1)]
    assert save_digests(tmp_path / "x.bin", cases) == 3
    found = np.frombuffer((tmp_path / "x.bin").read_bytes(), dtype="<u8")
    assert list(found) == sorted({digest_of(one) for one in cases})


def test_rows_that_were_fitted_to_are_counted(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = answered(table, {}, {"concurrency": 16}, {"concurrency": 32})
    known = np.sort(
        np.asarray([digest_of(item.case) for item in answers.computed[:2]], dtype=np.uint64)
    )
    monkeypatch.setattr("takt.accuracy.report.fitted_digests", lambda: known)
    report = report_of(answers, score(answers.computed, PLAIN), by=("fitted",))
    assert report.fitted_rows == 2
    assert {dict(g.key)["fitted"]: g.metrics["tpot"].n for g in report.groups} == {
        "yes": 2,
        "no": 1,
    }


def test_shipped_digests_are_sorted() -> None:
    known = fitted_digests()
    if not len(known):
        pytest.skip("no digests are shipped")
    assert np.all(known[1:] > known[:-1])
