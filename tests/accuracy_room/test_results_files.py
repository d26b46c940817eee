"""Results files of benchmark tools: their fields as one case."""

import json
from pathlib import Path

import pytest

from takt.accuracy import Case, Defaults, Split, read_cases
from takt.errors import DataError, UsageError

HERE = Defaults(chip="h100-sxm", tp=2, n_chips=2, engine="vllm", weights="fp8")
# The fields that vllm/benchmarks/serve.py writes; figures made up.
SERVE = {
    "date": "20260131-120000",
    "endpoint_type": "vllm",
    "backend": "vllm",
    "label": None,
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "tokenizer_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 100,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 16,
    "duration": 50.0,
    "completed": 100,
    "total_input_tokens": 102400,
    "total_output_tokens": 12800,
    "request_throughput": 2.0,
    "output_throughput": 256.0,
    "total_token_throughput": 2304.0,
    "mean_ttft_ms": 120.0,
    "median_ttft_ms": 100.0,
    "p99_ttft_ms": 300.0,
    "mean_tpot_ms": 61.0,
    "median_tpot_ms": 60.0,
}
# The fields of AIPerf's profile_export_aiperf.json (its documentation's example, shortened).
AIPERF = {
    "request_throughput": {"unit": "requests/sec", "avg": 13.16},
    "request_latency": {"unit": "ms", "avg": 6550.4, "p50": 5799.9},
    "time_to_first_token": {"unit": "ms", "avg": 1588.8, "p50": 787.5},
    "inter_token_latency": {"unit": "ms", "avg": 51.76, "p50": 51.98},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 1274.6},
    "output_sequence_length": {"unit": "tokens", "avg": 96.85},
    "input_sequence_length": {"unit": "tokens", "avg": 550.0},
    "request_count": {"unit": "requests", "avg": 200.0},
    "goodput": None,
    "input_config": {
        "endpoint": {"model_names": ["openai/gpt-oss-20b"], "type": "chat", "streaming": True},
        "loadgen": {"concurrency": 100, "request_rate_mode": "concurrency_burst"},
    },
}


def write(tmp_path: Path, content: object, name: str = "result.json") -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def only(path: Path, defaults: Defaults = HERE) -> Case:
    cases, skips = read_cases(path, defaults)
    assert not skips, skips
    assert len(cases) == 1
    return cases[0]


def test_a_result_of_vllm_bench_serve_is_a_closed_load(tmp_path: Path) -> None:
    case = only(write(tmp_path, SERVE))
    assert (case.load, case.concurrency, case.n_requests) == ("closed", 16, 100)
    assert (case.prompt_tokens, case.output_tokens) == (1024, 128)
    assert (case.measured.ttft_ms, case.measured.tpot_ms) == (100, 60)
    assert case.measured.output_tokens_per_s == 256
    assert (case.chip, case.split, case.n_chips) == ("h100-sxm", Split(tp=2), 2)
    assert (case.weights, case.engine, case.date) == ("fp8", "vllm", "2026-01-31")


def test_a_finite_rate_is_an_open_load_and_no_bound_an_offline_one(tmp_path: Path) -> None:
    case = only(write(tmp_path, SERVE | {"request_rate": 4.0, "max_concurrency": None}))
    assert (case.load, case.rate_per_s) == ("open", 4.0)
    assert only(write(tmp_path, SERVE | {"max_concurrency": None})).load == "offline"


def test_results_one_a_line_are_read_each(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(SERVE | {"max_concurrency": users}) for users in (1, 2, 4))
    cases, _ = read_cases(write(tmp_path, lines + "\n", "result.jsonl"), HERE)
    assert [case.concurrency for case in cases] == [1, 2, 4]
    assert len({case.series for case in cases}) == 1
    assert cases[2].where == "result.jsonl:3"


def test_a_detailed_result_on_one_long_line_is_read(tmp_path: Path) -> None:
    case = only(write(tmp_path, SERVE | {"ttfts": [0.123456789] * 120_000}))
    assert case.measured.ttft_ms == 100


def test_an_aiperf_export_gives_medians_in_ms(tmp_path: Path) -> None:
    case = only(write(tmp_path, AIPERF))
    assert case.model == "openai/gpt-oss-20b"
    assert (case.load, case.concurrency, case.n_requests) == ("closed", 100, 200)
    assert (case.measured.ttft_ms, case.measured.tpot_ms) == (787.5, 51.98)
    assert (case.prompt_tokens, case.output_tokens) == (550, 96.85)
    assert case.measured.output_tokens_per_s == 1274.6
    assert (case.weights, case.experts) == ("fp8", "")  # what the caller says, wins


def test_an_older_genai_perf_export_counts_ns_in_strings(tmp_path: Path) -> None:
    old = AIPERF | {
        "time_to_first_token": {"unit": "ns", "avg": "20000000", "p50": "18963453.5"},
        "inter_token_latency": {"unit": "ns", "avg": "3860101.1"},
        "input_config": {"model": ["llama"], "perf_analyzer": {"stimulus": {"concurrency": 8}}},
    }
    case = only(write(tmp_path, old))
    assert case.measured.ttft_ms == pytest.approx(18.9634535)
    assert case.measured.tpot_ms == pytest.approx(3.8601011)
    assert (case.model, case.concurrency) == ("llama", 8)
    del old["input_config"]
    asked = Defaults(chip="h100-sxm", model="llama", concurrency=8)
    assert only(write(tmp_path, old), asked).concurrency == 8


@pytest.mark.parametrize(
    ("content", "defaults", "reason"),
    [
        (SERVE, Defaults(), "no chip"),
        (SERVE | {"model_id": None}, HERE, "no model"),
        (SERVE | {"total_output_tokens": "many"}, HERE, "total_output_tokens is not a number"),
        (SERVE | {"completed": 0, "num_prompts": 0}, HERE, "no num_prompts"),
        (SERVE | {"median_ttft_ms": float("inf")}, HERE, "median_ttft_ms is not finite"),
        (SERVE | {"request_rate": -1}, HERE, "request_rate is negative or absurd"),
        (
            AIPERF | {"time_to_first_token": {"unit": "moons", "avg": 1.0}},
            HERE,
            "unit of time_to_first_token not known",
        ),
    ],
)
def test_a_result_that_cannot_be_used_says_why(
    tmp_path: Path, content: object, defaults: Defaults, reason: str
) -> None:
    cases, skips = read_cases(write(tmp_path, content), defaults)
    assert not cases
    assert [skip.reason for skip in skips] == [reason]


@pytest.mark.parametrize("content", [{}, {"a": 1}, [], [1, 2], [[]], {"request_latency": 3}])
def test_other_json_is_refused_with_what_was_expected(tmp_path: Path, content: object) -> None:
    with pytest.raises(UsageError, match=r"known|expected results"):
        read_cases(write(tmp_path, content), HERE)


@pytest.mark.parametrize("text", ["{", '{"a": }', "[" * 100_000, "{}\nx\n", "1" * 5000 + "}"])
def test_broken_json_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises((DataError, UsageError)):
        read_cases(write(tmp_path, text), HERE)
