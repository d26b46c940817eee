"""`takt plan`: the answer as JSON, text, page and folder, and its mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.plan.plans_for_tests import plan_set, unmet

from takt.cli import plan as plan_verb
from takt.cli.plan_options import targets_of, traffic_of
from takt.errors import UsageError
from takt.models.outlines import outline_of
from takt.plan.export import plan_set_of
from takt.plan.plans import PlanSet
from takt.plan.search import Question

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


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[PlanSet]:
    """Whatever is asked, the answer is the last of these; taking it away makes a search a failure."""
    answers = [plan_set()]
    monkeypatch.setattr(plan_verb, "search", lambda *_, **__: answers[-1])
    return answers


def test_an_export_says_the_longest_request_of_the_plan(takt: Takt, tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    lengths = ("--prompt", "100-3000", "--output", "exp:200")
    arguments = (*SMALL, *lengths, "--chips", "h100-sxm", "--export", folder, "--json")
    status, out, err = takt("plan", MODEL, *arguments)
    assert status == 0, err
    tokens = json.loads(out)["context_tokens"]
    exported = plan_set_of((folder / "plan.json").read_bytes())
    assert exported.context_tokens == tokens and exported.winner
    assert f"--max-model-len {tokens} " in (folder / "launch.sh").read_text(encoding="utf-8")
    assert tokens <= min(pool.kv_tokens for pool in exported.winner.pools)
    traffic = traffic_of(5.0, *lengths[1::2], None, cv=None, turns=None, prefix=None)
    for seed in range(3):
        for rows in traffic.rows(5.0, 300, seed):
            assert (rows["prompt_tokens"] + rows["output_tokens"]).max() < tokens


@pytest.mark.parametrize(
    ("prompt", "output", "tokens"),
    [("1024", "256", 1536), ("20000", "4000", 24_576), ("131000", "72", 131_072)],
)
def test_servers_take_a_little_more_than_the_longest_and_no_more_than_the_model(
    prompt: str, output: str, tokens: int
) -> None:
    traffic = traffic_of(5.0, prompt, output, None, cv=None, turns=None, prefix=None)
    question = Question(model=outline_of(MODEL), traffic=traffic, replications=2)
    assert question.context_tokens(question.sizes()) == tokens


def test_servers_take_the_longest_request_of_a_recording_wherever_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    rows = [f"{i},{9000 if i == 299 else 100},10" for i in range(300)]
    log.write_text("arrival_s,prompt_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    traffic = traffic_of(None, None, None, str(log), cv=None, turns=None, prefix=None)
    question = Question(model=outline_of(MODEL), traffic=traffic, requests=100, replications=2)
    assert 9010 <= question.context_tokens(question.sizes()) <= 9010 * 9 / 8


def test_files_are_checked_before_the_search(
    takt: Takt, tmp_path: Path, answered: list[PlanSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered.clear()  # a search would fail
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "page.html").write_text("mine")
    for arguments, complaint in (
        (("--export", "out", "--html", "out"), "--html and --export are both to be written to out"),
        (("--html", "a", "--resume", "./a"), "--html and --resume are both to be written to"),
        (("--export", "mine", "--html", "mine/page.html"), "lies in the folder of --export"),
        (("--export", "mine"), "mine is there already and is not an export"),
        (("--export", "mine", "--force"), "mine is there already and is not an export"),
        (("--export", "page.html", "--force"), "is not an export"),
        (("--export", "no/where"), "--export: there is no directory no"),
        (("--html", "mine"), "mine is a directory"),
        (("--force",), "--force goes with --export"),
    ):
        status, out, err = takt("plan", MODEL, "--rate", 5, *arguments)
        assert (status, out) == (2, "") and complaint in err, err
    monkeypatch.setattr("os.access", lambda *_: False)
    for option in ("--export", "--html", "--resume"):
        status, _, err = takt("plan", MODEL, "--rate", 5, option, "new")
        assert status == 2 and "can't be written to" in err, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "page.html"]


def test_force_replaces_an_export_and_nothing_else(
    takt: Takt, tmp_path: Path, answered: list[PlanSet]
) -> None:
    folder = tmp_path / "deploy"
    arguments = ("plan", MODEL, "--rate", 5, "--export", folder)
    assert takt(*arguments)[0] == 0
    before = (folder / "plan.json").read_bytes()
    status, _, err = takt(*arguments)
    assert status == 2 and "hint: a new name, or `--force`" in err
    answered.append(plan_set(seed=7))
    assert takt(*arguments, "--force")[0] == 0
    assert (folder / "plan.json").read_bytes() != before
    (folder / "kubernetes" / "secret.txt").write_text("mine")
    status, _, err = takt(*arguments, "--force")
    assert status == 2 and "kubernetes/secret.txt in it, which no export writes" in err
    assert (folder / "kubernetes" / "secret.txt").read_text() == "mine"


def test_the_answer_is_printed_whatever_becomes_of_the_files(
    takt: Takt, tmp_path: Path, answered: list[PlanSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", full)
        status, out, err = takt("plan", MODEL, "--rate", 5, "--json", "--export", tmp_path / "a")
    assert status != 0 and "No space left" in err
    assert json.loads(out)["winner"] == plan_set().pareto[0].id
    assert not list(tmp_path.iterdir())


def test_an_export_that_cannot_be_made_is_an_error_after_the_answer(
    takt: Takt, tmp_path: Path, answered: list[PlanSet]
) -> None:
    answered.append(unmet())
    page, folder = tmp_path / "plan.html", tmp_path / "deploy"
    status, out, err = takt("plan", MODEL, "--rate", 5, "--html", page, "--export", folder)
    assert status == 2 and "No plan meets this; the nearest is" in out
    assert f"error: no plan meets the targets: nothing is exported to {folder}\n" in err
    assert page.is_file() and not folder.exists()


def test_what_was_noticed_in_a_recording_is_said_on_stderr(
    takt: Takt, tmp_path: Path, answered: list[PlanSet]
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("arrival_s,prompt_tokens,output_tokens\n2,9,9\n0,9,9\n1,0,9\n3,9,9\n4,0,0\n")
    for more in ((), ("--json",)):
        status, out, err = takt("plan", MODEL, "--trace", log, *more)
        assert status == 0 and out
        assert "note: arrivals were not in order: sorted\n" in err
        assert "without tokens left out\n" in err


def test_help_says_that_a_bare_number_is_milliseconds(takt: Takt) -> None:
    _, out, _ = takt("plan", "--help")
    assert "a bare number is milliseconds" in " ".join(out.split())


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
