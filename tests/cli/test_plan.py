"""`takt plan`: the answer as JSON, text, page and folder, and its mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest

from takt.cli.plan_options import targets_of
from takt.errors import UsageError

from .conftest import Takt

MODEL = "llama-3.1-8b"
SMALL = (
    "--chips",
    "h100-sxm,l40s",
    "--rate",
    5,
    "--prompt",
    512,
    "--output",
    64,
    "--requests",
    300,
    "--confirm",
    3,
)
PROMISED = {
    "chips",
    "layout",
    "usd_per_mtok",
    "tokens_per_s_user",
    "j_per_token",
    "mw",
    "basis",
    "expected_error",
}


def plan(takt: Takt, *arguments: object) -> dict[str, Any]:
    status, out, err = takt("plan", MODEL, *SMALL, *arguments, "--json")
    assert (status, err) == (0, ""), err
    document: dict[str, Any] = json.loads(out)
    return document


def test_json_has_the_pareto_set_with_the_documented_keys(takt: Takt, repository: Path) -> None:
    document = plan(takt, "--all")
    plans = document["pareto"]
    assert plans and document["winner"] == plans[0]["id"]
    for each in plans:
        assert each.keys() >= PROMISED and each["meets"] and each["chips"] >= 1
        assert each["pools"] and each["ttft_ms"]["p99"]["mean"] <= 1000
    text = (repository / "docs" / "plan.md").read_text(encoding="utf-8")
    keys = document.keys() | plans[0].keys() | plans[0]["pools"][0].keys()
    assert not {key for key in keys if f"`{key}`" not in text}


def test_the_same_command_prints_the_same_bytes(takt: Takt) -> None:
    first = takt("plan", MODEL, *SMALL, "--together", "--json")
    assert first[0] == 0 and takt("plan", MODEL, *SMALL, "--together", "--json") == first


def test_text_names_the_cheapest_plan_first_and_why_not_the_others(takt: Takt) -> None:
    status, out, err = takt("plan", MODEL, *SMALL, "--together")
    assert (status, err) == (0, "")
    assert "$/MTOK" in out and "Why not the others:" in out and "What if:" in out
    assert "The cheapest plan rests on:" in out and "changes only if" in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_impossible_targets_are_answered_honestly(takt: Takt) -> None:
    arguments = ("--tpot", "10us", "--ttft-p99", "1ms", "--together")
    status, out, _ = takt("plan", MODEL, *SMALL, *arguments)
    assert status == 0 and "No plan meets this; the nearest is" in out and "It misses:" in out
    document = plan(takt, *arguments)
    assert document["pareto"] == [] and document["winner"] is None
    assert document["nearest"]["misses"] and not document["nearest"]["meets"]


def test_a_trace_of_ones_own_is_planned_for(takt: Takt, tmp_path: Path) -> None:
    trace = tmp_path / "log.csv"
    rows = [f"{i * 0.2},{400 + 7 * (i % 31)},{30 + i % 17}" for i in range(200)]
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    chips = ("--chips", "h100-sxm", "--requests", 200, "--confirm", 2, "--together", "--json")
    status, out, err = takt("plan", MODEL, "--trace", trace, *chips)
    assert status == 0, err
    document = json.loads(out)
    assert document["rate"] == pytest.approx(5.0, rel=0.02) and document["winner"]
    assert 400 < document["prompt_tokens"] < 620


def test_simulations_are_kept_and_taken_from_the_file(takt: Takt, tmp_path: Path) -> None:
    kept = tmp_path / "runs.sqlite"
    arguments = (*SMALL, "--chips", "h100-sxm", "--together", "--json", "--resume", kept)
    first = takt("plan", MODEL, *arguments)
    assert first[0] == 0 and kept.stat().st_size > 0
    assert takt("plan", MODEL, *arguments) == first


def test_a_page_and_a_folder_are_written(takt: Takt, tmp_path: Path) -> None:
    page, folder = tmp_path / "plan.html", tmp_path / "deploy"
    arguments = (*SMALL, "--chips", "h100-sxm", "--together", "--html", page, "--export", folder)
    status, out, err = takt("plan", MODEL, *arguments)
    assert status == 0, err
    assert "<html" in page.read_text(encoding="utf-8") and "h100-sxm" in out
    assert (folder / "launch.sh").is_file() and (folder / "plan.json").is_file()
    status, _, err = takt("plan", MODEL, *arguments)
    assert status == 2 and "is there already" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--rate", 0), "--rate 0: expected more than 0"),
        (("--rate", 1e9), "--rate 1e+09: expected"),
        (("--rate", "nan"), "--rate nan: expected"),
        ((), "how many requests a second?"),
        (("--rate", 5, "--chips", ""), "expected names with commas between"),
        (("--rate", 5, "--chips", "h10-sxm"), "did you mean"),
        (("--rate", 5, "--prompt", 200_000), "fewer than 200,000 + 256"),
        (("--rate", 5, "--prompt", "lognorml:3,1"), "did you mean 'lognormal'?"),
        (("--rate", 5, "--tpot", "soon"), "--tpot 'soon' is no time"),
        (("--rate", 5, "--ttft-p99", "1s", "--ttft", "1s"), "asked for at p99 and mean"),
        (("--rate", 5, "--supply", "h100-sxm"), "is no supply"),
        (("--rate", 5, "--supply", "h100-sxm=1.5"), "expected a whole number of chips"),
        (("--rate", 5, "--chips", "h100-sxm", "--supply", "h10-sxm=1"), "did you mean 'h100-sxm'?"),
        (("--rate", 5, "--max-mw", -1), "--max-mw -1: expected more than 0"),
        (("--rate", 5, "--price", "h100-sxm=free"), "is no price"),
        (("--rate", 5, "--precision", "fp9"), "no precision 'fp9'"),
        (("--rate", 5, "--draft", "3"), "guessed ahead"),
        (("--rate", 5, "--confirm", 1), "1 replications, expected"),
        (("--rate", 5, "--trace", "nowhere.csv"), "nowhere.csv"),
        (("--rate", 5, "--html", "/nowhere/page.html"), "there is no directory"),
        (("--rate", 5, "--hybrid", "h100-sxm"), "is no pair"),
    ],
)
def test_mistakes_get_one_clear_message(
    takt: Takt, arguments: tuple[object, ...], complaint: str
) -> None:
    status, out, err = takt("plan", MODEL, *arguments)
    assert (status, out) == (2, "") and complaint in err, err


def test_targets_are_at_the_percentile_that_was_said() -> None:
    said = targets_of(
        {"p99": None, "p90": "800ms", "mean": None}, {"mean": "any", "p99": None}, "9s"
    )
    assert (said.ttft_s, said.ttft_at, said.tpot_s, said.e2e_s) == (0.8, "p90", None, 9.0)
    usual = targets_of({"p99": None, "p90": None, "mean": None}, {"mean": None, "p99": None}, None)
    assert (usual.ttft_s, usual.ttft_at, usual.tpot_s, usual.tpot_at) == (1.0, "p99", 0.020, "mean")
    with pytest.raises(UsageError, match="asked for at mean and p99"):
        targets_of({"p99": None}, {"mean": "1ms", "p99": "2ms"}, None)


def test_a_target_kept_by_less_than_the_error_to_expect_is_said_in_the_answer(takt: Takt) -> None:
    found = plan(takt, "--together", "--chips", "l40s")
    first = found["pareto"][0]
    tpot_ms, error = first["tpot_ms"]["mean"]["mean"], first["expected_error"]

    def warned(target_ms: float) -> bool:
        asked = plan(takt, "--together", "--chips", "l40s", "--tpot", f"{target_ms:.4g}ms")
        assert asked["winner"] == found["winner"]
        return any("less than the" in line and "time a token" in line for line in asked["proof"])

    assert warned(tpot_ms * (1 + error / 2))
    assert not warned(tpot_ms * (1 + error * 2))
