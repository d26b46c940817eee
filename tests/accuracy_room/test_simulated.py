"""Simulations beside measurements: recorded runs request by request, and rows with a constant number of users.

Bounds of errors are loose, about twice what was seen when they were written; docs/accuracy-serving.md has the figures.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from takt.accuracy import Case, Measured, Split
from takt.accuracy.readers import read_cases
from takt.accuracy.report import Scored, answers_to, score
from takt.accuracy.setups import setup_of
from takt.accuracy.simulated import (
    LATENCIES,
    Run,
    has_requests,
    metrics_of,
    read_runs,
    replayed,
    sampled,
    simulated_beside,
    ways_of,
)
from takt.accuracy.simulated.protocol import SPREAD, protocol_of
from takt.accuracy.simulated.steady import Steady, SteadySetup, steady_of
from takt.cli import main
from takt.errors import DataError, UsageError
from takt.perf.corrections import Corrections
from takt.serving import reference

DATA = Path(__file__).parent / "data"
RUNS = DATA / "vllm_runs.csv.gz"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "accuracy-serving.md"
PLAIN = Corrections(effects={})
ROWS = ("inferencex", "aic_silicon_e2e", "serving_docs_vllm_sglang", "dstack_h100_h200_mi300x")


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    return {run.gpu: run for run in read_runs(RUNS)}


@pytest.fixture(scope="module")
def scored() -> Scored:
    answers = answers_to([DATA / f"{name}.csv" for name in ROWS])
    return score(answers.computed, PLAIN)


def first(run: Run, n: int) -> Run:
    """The requests that came first."""
    cut = {
        name: getattr(run, name)[:n]
        for name in (
            "prompt_tokens", "output_tokens", "arrival_s", "queue_s", "ttft_s", "e2e_s", "tpot_s",
        )
    }  # fmt: skip
    return replace(run, **cut)


# Recorded runs


def test_a_run_is_read_with_its_settings_and_what_its_makers_wrote_down(
    runs: dict[str, Run],
) -> None:
    run = runs["RTX4090"]
    assert (len(run.arrival_s), run.max_seqs, run.step_tokens, run.tp) == (300, 256, 2048, 1)
    assert (run.facts.blocks, run.facts.entry_s) == (2588, 0.0)
    assert run.facts.sources
    assert runs["RTXPRO6000"].facts.blocks == 0
    assert (np.diff(run.arrival_s) >= 0).all()
    assert run.e2e_s == pytest.approx(run.ttft_s + run.tpot_s * (run.output_tokens - 1), abs=2e-3)


@pytest.mark.parametrize(
    ("gpu", "latency", "each", "of_mean"),
    [
        ("RTX4090", "tpot", 0.10, 0.10),
        ("RTX4090", "e2e", 0.10, 0.10),
        ("RTX4090", "ttft", 0.10, 0.12),
        ("RTXPRO6000", "tpot", 0.18, 0.18),
        ("RTXPRO6000", "e2e", 0.25, 0.25),
        ("RTXPRO6000", "ttft", 0.45, 0.45),
    ],
)
def test_recorded_requests_come_out_about_as_they_were_measured(
    runs: dict[str, Run], gpu: str, latency: str, each: float, of_mean: float
) -> None:
    error = replayed(runs[gpu], "kernels").errors[latency]
    assert error.median < each
    assert abs(error.of_mean) < of_mean
    assert abs(error.of_p99) < 1.5 * of_mean


def test_the_queue_grows_and_empties_as_it_did(runs: dict[str, Run]) -> None:
    for run in runs.values():
        found = replayed(run, "kernels")
        assert np.corrcoef(found.ttft_s, run.ttft_s)[0, 1] > 0.98
        span_s = (run.arrival_s + run.e2e_s).max()
        assert (run.arrival_s + found.e2e_s).max() == pytest.approx(span_s, rel=0.15)


def test_the_recorded_cache_tells_more_than_one_that_is_counted(runs: dict[str, Run]) -> None:
    recorded, counted = (replayed(runs["RTX4090"], way) for way in ("kernels", "cache counted"))
    assert recorded.blocks < counted.blocks < 1.1 * recorded.blocks
    assert counted.errors["tpot"].mean > 1.5 * recorded.errors["tpot"].mean
    assert recorded.preemptions > 0


def test_ways_to_predict_differ_where_they_say_so(runs: dict[str, Run]) -> None:
    assert ways_of(runs["RTX4090"]) == ("kernels", "cache counted", "corrected")
    assert ways_of(runs["RTXPRO6000"]) == ("kernels", "corrected")
    run = first(runs["RTXPRO6000"], 20)
    assert replayed(run, "corrected").tpot_s.mean() != replayed(run).tpot_s.mean()
    with pytest.raises(UsageError, match="kernles"):
        replayed(run, "kernles")  # type: ignore[arg-type]


def test_the_page_says_what_the_present_code_does(runs: dict[str, Run]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for run in runs.values():
        for way in ways_of(run):
            for latency, error in replayed(run, way).errors.items():
                line = next(
                    line
                    for line in text.splitlines()
                    if line.startswith(f"| {run.name} | {way} |") and f"| {latency} |" in line
                )
                said = [float(cell) for cell in line.strip("|").split("|")[5:]]
                found = [100 * error.median, 100 * error.mean, 100 * error.of_mean]
                assert said[:3] == pytest.approx(found, abs=2.0), "tools/accuracy_serving_page.py"


def test_both_engines_replay_a_run_alike(runs: dict[str, Run]) -> None:
    run = first(runs["RTX4090"], 24)
    fast, slow = replayed(run), replayed(run, engine=reference.run)
    assert (fast.e2e_s == slow.e2e_s).all()
    assert fast.errors == slow.errors


def test_a_run_with_holes_is_no_run(tmp_path: Path) -> None:
    lines = gzip.decompress(RUNS.read_bytes()).decode().splitlines()
    bad = tmp_path / "bad.csv"
    for cell in ("", "soon", "-1", "nan", "1e12"):
        cells = lines[1].split(",")
        cells[lines[0].split(",").index("arrival_s")] = cell
        bad.write_text("\n".join([lines[0], ",".join(cells), lines[2]]) + "\n")
        with pytest.raises(DataError, match="arrival_s"):
            read_runs(bad)
    bad.write_text(lines[0] + "\n" + lines[1] + ",more\n")
    with pytest.raises(DataError, match="number of cells"):
        read_runs(bad)


def test_other_files_have_no_requests() -> None:
    assert has_requests(RUNS)
    assert not has_requests(DATA / "inferencex.csv")
    with pytest.raises(DataError, match="single requests"):
        read_runs(DATA / "inferencex.csv")


# A constant number of users


CASE = Case(
    where="here:1",
    dataset="mine",
    series="",
    chip="h100-sxm",
    model="llama-3.1-8b",
    engine="vllm",
    load="closed",
    n_chips=1,
    concurrency=1,
    prompt_tokens=1000,
    output_tokens=200,
    measured=Measured(tpot_ms=8.0),
    split=Split(),
)


def steady(case: Case, factor: float = 1.0, seed: int = 0) -> tuple[Steady, SteadySetup]:
    table = SteadySetup(setup=setup_of(case), max_users=64, max_context=4096)
    lengths = {"prompt_tokens": case.prompt_tokens or 1, "output_tokens": case.output_tokens or 1}
    return steady_of(table, protocol_of(case), factor=factor, seed=seed, **lengths), table


def test_one_user_sees_the_steps_of_one_user() -> None:
    found, table = steady(CASE)
    step_s = float(table.steps.decode(1, 1100).time_s)
    prompt_s = float(table.steps.prompt(1, 1000).time_s)
    assert found.tpot_s == pytest.approx(step_s, rel=0.02)
    assert found.ttft_median_s == pytest.approx(table.steps.engine.first_s + prompt_s, rel=0.02)
    span_s = found.ttft_median_s + 199 * found.tpot_s
    assert found.requests_per_s == pytest.approx(1 / span_s, rel=0.01)
    assert found.output_tokens_per_s == pytest.approx(200 / span_s, rel=0.01)
    assert found.total_tokens_per_s == pytest.approx(1200 / span_s, rel=0.01)


def test_more_users_wait_longer_and_get_more_done() -> None:
    each = [steady(replace(CASE, concurrency=n))[0] for n in (1, 8, 64)]
    assert [s.tpot_s for s in each] == sorted(s.tpot_s for s in each)
    assert [s.requests_per_s for s in each] == sorted(s.requests_per_s for s in each)


def test_slower_steps_are_slower_by_their_factor() -> None:
    one, two = steady(CASE)[0], steady(CASE, factor=2.0)[0]
    assert two.tpot_s == pytest.approx(2 * one.tpot_s, rel=1e-6)


def test_copies_that_are_alike_share_the_users() -> None:
    one, _ = steady(replace(CASE, concurrency=4))
    three, _ = steady(replace(CASE, concurrency=12, n_chips=3, split=Split(workers=3)))
    assert three.tpot_s == one.tpot_s
    assert three.requests_per_s == pytest.approx(3 * one.requests_per_s)


def test_prompts_read_elsewhere_leave_the_steps_clean() -> None:
    long = replace(CASE, concurrency=16, prompt_tokens=6000)
    together, _ = steady(long)
    apart, _ = steady(replace(long, n_chips=3, prefill=Split(workers=2)))
    assert apart.tpot_s < 0.8 * together.tpot_s


def test_the_same_seed_gives_the_same_figures() -> None:
    drawn = replace(CASE, concurrency=8, prompt_tokens=900.5, output_tokens=180.5)
    assert steady(drawn)[0] == steady(drawn)[0]
    assert steady(drawn, seed=1)[0] != steady(drawn)[0]


def test_too_much_to_simulate_is_said() -> None:
    with pytest.raises(UsageError, match="more users"):
        steady(replace(CASE, concurrency=1e6, output_tokens=1e5))


def test_a_run_is_as_long_as_the_row_or_its_source_says() -> None:
    assert protocol_of(replace(CASE, n_requests=30)).n_requests == 30
    assert protocol_of(replace(CASE, n_requests=3, concurrency=8)).users == 3
    assert protocol_of(CASE).n_requests is None
    assert protocol_of(replace(CASE, dataset="inferencex", concurrency=16)).n_requests == 160
    own, export = (replace(CASE, dataset="aic", note=note) for note in ("own", "InferenceX export"))
    assert (protocol_of(own).n_requests, protocol_of(export).n_requests) == (None, 10)
    assert (protocol_of(own).ttft, protocol_of(export).ttft) == ("median", "mean")


def test_recipes_that_look_for_requests_now_and_then_make_them_wait() -> None:
    recipe = replace(
        CASE,
        dataset="inferencex",
        chip="b200",
        engine="sglang",
        model="deepseek-ai/DeepSeek-R1-0528",
    )
    assert [protocol_of(replace(recipe, concurrency=n)).poll_steps for n in (15, 16)] == [10, 30]
    others = ({"chip": "gb200"}, {"engine": "vllm"}, {"model": "glm-5"}, {"speculative": "mtp"})
    assert all(protocol_of(replace(recipe, **other)).poll_steps == 1 for other in others)
    table = SteadySetup(setup=setup_of(CASE), max_users=16, max_context=4096)
    lengths = {"prompt_tokens": 1000.0, "output_tokens": 200.0}
    protocol = replace(protocol_of(CASE), users=4)
    soon, late = (steady_of(table, replace(protocol, poll_steps=n), **lengths) for n in (1, 31))
    assert late.ttft_median_s - soon.ttft_median_s > 10 * soon.tpot_s
    assert late.requests_per_s < soon.requests_per_s


def test_lengths_that_are_whole_are_exact_and_others_drawn() -> None:
    assert protocol_of(CASE).prompt_spread == 0.0
    assert protocol_of(replace(CASE, prompt_tokens=921.6)).prompt_spread == SPREAD


def test_rows_at_a_number_of_users_come_out_about_as_measured(scored: Scored) -> None:
    beside = simulated_beside(scored, n_rows=0)
    assert beside.n_cases == beside.n_suited
    assert beside.n_cases >= 15
    found = metrics_of(beside)[()]
    assert found["simulated"]["tpot"].median_abs_error < 0.6
    assert found["simulated"]["throughput"].median_abs_error < 0.8
    assert found["simulated"]["tpot"].n == found["closed"]["tpot"].n
    by_engine = metrics_of(beside, ["engine", "dataset"])
    total = sum(ways["closed"]["tpot"].n for ways in by_engine.values() if "tpot" in ways["closed"])
    assert total == found["closed"]["tpot"].n


def test_rows_without_counted_copies_or_a_number_of_users_do_not_suit(scored: Scored) -> None:
    beside = simulated_beside(scored, n_rows=0)
    cases = [row.computed_case.case for row in beside.rows]
    assert all(case.load == "closed" and case.concurrency for case in cases)
    assert all(case.split_known or not case.prefill for case in cases)
    everything = {id(row.computed_case) for row in scored.rows}
    assert beside.n_suited < len(everything)


def test_corrections_of_a_row_make_its_steps_longer(scored: Scored) -> None:
    doubled = replace(scored, predicted=scored.predicted + np.log(2.0))
    plain, slow = (simulated_beside(each, n_rows=4) for each in (scored, doubled))
    at = [i for i, row in enumerate(plain.rows) if row.figure == "tpot"]
    assert slow.simulated[at] - plain.simulated[at] == pytest.approx(np.log(2.0), abs=0.05)


def test_a_sample_is_the_same_whatever_the_order_and_takes_from_every_engine(
    scored: Scored,
) -> None:
    items = list({id(row.computed_case): row.computed_case for row in scored.rows}.values())
    chosen = sampled(items, 8)
    assert len(chosen) == 8
    turned = sampled(items[::-1], 8)
    assert {item.case.where for item in chosen} == {item.case.where for item in turned}
    strata = {(i.case.dataset, i.situation.chip, i.situation.engine) for i in items}
    taken = [(i.case.dataset, i.situation.chip, i.situation.engine) for i in chosen]
    assert len(set(taken)) == min(len(strata), 8)
    assert sampled(items, 0) == items


def test_what_cannot_be_simulated_is_counted(
    table: Callable[..., Path],
) -> None:
    row = {
        "chip": "h100-sxm", "model": "llama-3.1-8b", "engine": "vllm", "isl_tokens": 512,
        "osl_tokens": 128, "concurrency": 8, "tpot_ms": 8.0,
    }  # fmt: skip
    path = table(row, row | {"concurrency": 1e6, "osl_tokens": 1e5})
    cases, _ = read_cases(path)
    assert len(cases) == 2
    beside = simulated_beside(score(answers_to([path]).computed, PLAIN), n_rows=0)
    assert (beside.n_cases, beside.n_suited) == (1, 2)
    assert [each.count for each in beside.left] == [1]


# The verb


def takt(*arguments: object) -> int | None:
    """The code that a command exits with."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code is None or isinstance(stop.value.code, int)
    return stop.value.code


def test_the_verb_prints_both_parts_and_the_same_bytes_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["accuracy", DATA / "dstack_h100_h200_mi300x.csv", RUNS, "--simulate", "--rows", 4]
    arguments += ["--uncorrected", "--worst", 0]
    printed = []
    for _ in range(2):
        assert not takt(*arguments, "--json")
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    found = json.loads(printed[0])["simulated"]
    assert found["rows"] == 3 == found["rows_suited"]
    assert set(found["metrics"]) == {"closed", "simulated"}
    assert len(found["runs"]) == 5
    assert set(found["runs"][0]["errors"]) == set(LATENCIES)
    assert not takt(*arguments, "--by", "engine")
    text = capsys.readouterr().out
    assert "Simulated: 3 of 3 rows" in text
    assert "RTX4090 Llama-3.1-8B" in text


@pytest.mark.parametrize("wrong", [["--rows", 5], ["--simulate", "--rows", -1]])
def test_rows_to_simulate_are_asked_for_sensibly(
    wrong: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert takt("accuracy", DATA / "inferencex.csv", *wrong) == 2
    assert "--rows" in capsys.readouterr().err
