"""What the columns of each known table mean, row by row."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from takt.accuracy import Case, Defaults, Split, read_cases
from takt.chips import find_accelerator

DATA = Path(__file__).parent / "data"
SAMPLES = sorted(path.stem for path in DATA.glob("*.csv"))
Write = Callable[..., Path]


def only(path: Path, defaults: Defaults | None = None) -> Case:
    cases, skips = read_cases(path, defaults)
    assert not skips, skips
    assert len(cases) == 1
    return cases[0]


def reason(path: Path) -> str:
    cases, skips = read_cases(path)
    assert not cases
    assert len(skips) == 1
    return skips[0].reason


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_row_of_a_sample_becomes_a_case_or_a_skip(sample: str) -> None:
    path = DATA / f"{sample}.csv"
    cases, skips = read_cases(path)
    n_rows = len(path.read_text().splitlines()) - 1
    assert cases
    assert sum(case.rows for case in cases) + len(skips) == n_rows
    for case in cases:
        chips = case.split.chips + (case.prefill.chips if case.prefill else 0)
        assert case.n_chips in (0, chips)
        assert case.series
        assert case.where.startswith(f"{sample}.csv:")


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_server_that_was_rewritten_since_has_a_date_in_every_table(sample: str) -> None:
    cases, _ = read_cases(DATA / f"{sample}.csv")
    for case in cases:
        if case.engine in ("vllm", "sglang", "trtllm"):
            assert re.match(r"20\d\d(-\d\d)?", case.date), case.where


def test_there_are_samples_of_all_fifteen_tables() -> None:
    assert len(SAMPLES) == 15


INFERENCEX = {
    "model": "dsr1",
    "hardware": "h200",
    "framework": "trt",
    "precision": "fp8",
    "spec_decode": "none",
    "disaggregated": 0,
    "multinode": 0,
    "prefill_tp": 8,
    "prefill_ep": 8,
    "prefill_dp_attention": 0,
    "prefill_workers": 0,
    "prefill_gpus": 64,
    "decode_tp": 8,
    "decode_ep": 8,
    "decode_dp_attention": 0,
    "decode_workers": 0,
    "isl_tokens": 8192,
    "osl_tokens": 1024,
    "concurrency": 32,
    "median_tpot_s": 0.02,
    "total_tput_tok_s_per_gpu": 900.0,
    "energy_j_per_output_token": "",
}


def test_inferencex_counts_tp_chips_where_prefill_gpus_is_tp_times_ep(table: Write) -> None:
    case = only(table(INFERENCEX))
    assert case.n_chips == 8
    assert case.split == Split(tp=8, ep=8)
    assert case.measured.total_tokens_per_s == pytest.approx(900 * 8)
    assert case.measured.output_tokens_per_s == pytest.approx(900 * 8 / 9)
    assert case.prompt_tokens == pytest.approx(0.9 * 8192)
    assert case.output_tokens == pytest.approx(0.9 * 1024)


def test_inferencex_gives_each_chip_its_own_users_with_data_parallel_attention(
    table: Write,
) -> None:
    case = only(table(INFERENCEX | {"prefill_dp_attention": 1, "decode_dp_attention": 1}))
    assert case.split == Split(tp=1, dp=8, ep=8)


def test_inferencex_adds_the_chips_of_both_sides_when_disaggregated(table: Write) -> None:
    apart = {
        "framework": "dynamo-trt",
        "disaggregated": 1,
        "prefill_tp": 4,
        "prefill_ep": 4,
        "prefill_dp_attention": 1,
        "prefill_workers": 2,
        "prefill_gpus": 8,
        "decode_workers": 3,
        "spec_decode": "mtp",
    }
    case = only(table(INFERENCEX | apart))
    assert case.prefill == Split(tp=1, dp=4, ep=4, workers=2)
    assert case.split == Split(tp=8, ep=8, workers=3)
    assert case.n_chips == 8 + 24
    assert case.speculative == "mtp"
    assert case.engine == "trtllm"


def test_inferencex_divides_a_rack_of_which_only_the_number_of_chips_is_known(
    table: Write,
) -> None:
    rack = {"disaggregated": 1, "prefill_tp": 72, "prefill_ep": 1, "prefill_gpus": 72}
    case = only(table(INFERENCEX | rack | {"decode_tp": 72}))
    # As in the runs of this model on 72 GPUs whose division is recorded.
    assert case.prefill == Split(dp=24, ep=24)
    assert case.split == Split(dp=48, ep=48)
    assert case.n_chips == 72
    assert not case.split_known
    assert "not recorded" in case.note
    few = {"disaggregated": 1, "prefill_tp": 4, "prefill_ep": 1, "prefill_gpus": 4}
    assert "how the chips are divided" in reason(table(INFERENCEX | few))


@pytest.mark.parametrize(
    ("n_prompt", "workers", "decode_workers", "n_decode"),
    [(4, 1, 4, 16), (24, 3, 1, 48), (16, 2, 1, 32)],
)
def test_inferencex_takes_the_width_of_workers_from_the_chips_that_read_prompts(
    table: Write, n_prompt: int, workers: int, decode_workers: int, n_decode: int
) -> None:
    narrow = {
        "disaggregated": 1,
        "prefill_tp": 1,
        "prefill_ep": 1,
        "prefill_dp_attention": 1,
        "prefill_workers": workers,
        "prefill_gpus": n_prompt,
        "decode_tp": 1,
        "decode_ep": 1,
        "decode_dp_attention": 1,
        "decode_workers": decode_workers,
    }
    case = only(table(INFERENCEX | narrow))
    assert case.prefill is not None
    assert (case.prefill.chips, case.prefill.workers) == (n_prompt, workers)
    assert (case.split.chips, case.split.workers) == (n_decode, decode_workers)
    assert not case.split_known


def test_inferencex_drops_energy_that_no_board_can_draw(table: Write) -> None:
    # 800 output tokens/s on 8 H200 of 700 W: 5,600 W are 7 J a token.
    fine = only(table(INFERENCEX | {"energy_j_per_output_token": 6.0}))
    assert fine.measured.power_w == pytest.approx(6.0 * 800)
    absurd = only(table(INFERENCEX | {"energy_j_per_output_token": 12.0}))
    assert absurd.measured.j_per_output_token is None
    assert absurd.measured.power_w is None
    assert absurd.measured.tpot_ms == fine.measured.tpot_ms


def test_rows_that_differ_in_load_share_a_series_and_those_that_differ_in_split_do_not(
    table: Write,
) -> None:
    rows = [
        INFERENCEX,
        INFERENCEX | {"concurrency": 64, "isl_tokens": 1024},
        INFERENCEX | {"prefill_tp": 4, "prefill_ep": 1, "decode_tp": 4},
        INFERENCEX | {"framework": "vllm"},
        INFERENCEX | {"precision": "fp4"},
    ]
    series = [case.series for case in read_cases(table(*rows))[0]]
    assert series[0] == series[1]
    assert len(set(series)) == 4


AIC = {
    "framework": "sglang",
    "framework_version": "0.5.9",
    "model": "deepseek-ai/DeepSeek-R1",
    "system": "b200_sxm",
    "precision": "fp8",
    "mode": "agg",
    "isl_tokens": 1024,
    "osl_tokens": 1024,
    "gemm_quant_mode": "fp8",
    "moe_quant_mode": "fp8",
    "batch_size": 1,
    "tp_size": 64,
    "pp_size": 1,
    "attention_dp_size": 1,
    "moe_tp_size": 8,
    "moe_ep_size": 8,
    "ttft_ms": 500.0,
    "tpot_ms": 20.0,
    "concurrency": 64,
    "origin": "InferenceX export 2026-04-06",
}


@pytest.mark.parametrize(
    ("tp", "dp", "moe_tp", "moe_ep", "expected"),
    [
        (64, 1, 8, 8, Split(tp=8, ep=8)),
        (16, 1, 4, 4, Split(tp=4, ep=4)),
        (1, 64, 8, 8, Split(tp=1, dp=8, ep=8)),
        (4, 4, 1, 16, Split(tp=4, ep=4)),
        (8, 1, 8, 1, Split(tp=8, ep=1)),
        (1, 8, 1, 8, Split(tp=1, dp=8, ep=8)),
    ],
)
def test_aic_exports_are_freed_of_tp_times_ep(
    table: Write, tp: int, dp: int, moe_tp: int, moe_ep: int, expected: Split
) -> None:
    cells = {"tp_size": tp, "attention_dp_size": dp, "moe_tp_size": moe_tp, "moe_ep_size": moe_ep}
    case = only(table(AIC | cells))
    assert case.split == expected
    assert case.concurrency == 64


def test_a_run_in_two_tables_has_one_series(table: Write) -> None:
    here = only(table(INFERENCEX | {"hardware": "b200", "framework": "sglang"}))
    there = only(table(AIC, name="aic.csv"))
    assert here.series == there.series
    own = {"origin": "aiconfigurator gap-analysis b200_sxm", "tp_size": 8, "moe_tp_size": 1}
    assert only(table(AIC | own | {"batch_size": 64})).series != here.series


def test_aic_own_runs_take_the_chips_that_the_experts_need(table: Write) -> None:
    own = {
        "origin": "aiconfigurator gap-analysis h200_sxm/vllm/0.12.0",
        "model": "Qwen/Qwen3-235B-A22B-FP8",
        "tp_size": 1,
        "attention_dp_size": "",
        "moe_tp_size": 4,
        "moe_ep_size": 1,
        "batch_size": 64,
    }
    case = only(table(AIC | own))
    assert case.split == Split(tp=1, dp=4, ep=1)
    assert case.prompt_tokens == 1024  # NVIDIA's own lengths are exact


def test_aic_users_of_a_disaggregated_run_are_those_of_all_decode_workers(table: Write) -> None:
    sides = {
        f"{side}_{name}": value
        for side, workers in (("prefill", 40), ("decode", 6))
        for name, value in {
            "num_workers": workers,
            "tp_size": 1 if side == "prefill" else 4,
            "pp_size": 1,
            "attention_dp_size": 1,
            "moe_tp_size": 1,
            "moe_ep_size": 1,
            "batch_size": 1 if side == "prefill" else 92,
        }.items()
    }
    row = AIC | sides | {"mode": "disagg", "concurrency": "", "batch_size": "", "tp_size": ""}
    case = only(table(row))
    assert case.concurrency == 552
    assert case.n_chips == 40 + 24
    assert case.split_known


def test_aic_one_worker_stands_in_on_a_side_whose_workers_are_not_recorded(table: Write) -> None:
    sides = {f"{side}_tp_size": tp for side, tp in (("prefill", 2), ("decode", 4))}
    row = AIC | sides | {"mode": "disagg"}
    case = only(table(row))
    assert case.split == Split(tp=4, ep=1)
    assert case.prefill == Split(tp=2, ep=1)
    assert not case.split_known
    both = only(table(row | {"prefill_num_workers": 3, "decode_num_workers": 1}))
    assert both.split_known
    assert both.n_chips == 10


def test_aic_divides_a_rack_that_is_written_down_as_one_width(table: Write) -> None:
    rack = {"system": "gb200", "tp_size": 72, "moe_tp_size": 72, "moe_ep_size": 1}
    case = only(table(AIC | rack))
    assert case.prefill == Split(dp=24, ep=24)
    assert case.n_chips == 72
    assert case.concurrency == 64
    assert not case.split_known


def test_aic_users_of_a_dense_model_beyond_its_batch_are_copies_with_a_batch_each(
    table: Write,
) -> None:
    own = {
        "origin": "aiconfigurator gap-analysis gb200/trtllm/1.3.0rc1",
        "model": "Qwen/Qwen3-32B",
        "tp_size": 2,
        "attention_dp_size": 0,
        "moe_tp_size": 0,
        "moe_ep_size": 0,
        "batch_size": 16,
    }
    case = only(table(AIC | own))
    assert case.split == Split(tp=2, workers=4)
    assert case.concurrency == 64
    assert case.n_chips == 8
    assert "no multiple of the batch" in reason(table(AIC | own | {"batch_size": 15}))


MLPERF = {
    "version": "v4.0",
    "division": "closed",
    "submitter": "NVIDIA",
    "system": "DGX-H100_H100-SXM-80GBx8_TRT",
    "accelerator": "NVIDIA H100-SXM-80GB",
    "accelerators_total": 8,
    "nodes": 1,
    "host_cpu": "Intel(R) Xeon(R) Platinum 8480C",
    "host_cpus_per_node": 2,
    "benchmark": "llama2-70b-99.9",
    "scenario": "Server",
    "result": 70.0,
    "unit": "queries/s",
    "samples_per_s": "",
    "software": "TensorRT 9.3.0, CUDA 12.2",
    "weight_data_types": "fp8",
    "valid": "",
}


def test_mlperf_queries_become_tokens_by_the_mean_output_of_the_benchmark(table: Write) -> None:
    case = only(table(MLPERF))
    assert case.measured.output_tokens_per_s == pytest.approx(70 * 294.45)
    assert case.load == "open"
    assert case.rate_per_s == 70
    assert case.limits is not None
    assert (case.limits.ttft_ms, case.limits.tpot_ms) == (2000, 200)
    assert case.engine == "trtllm"
    assert case.date == "2024-03-27"
    assert not case.split_known


def test_mlperf_rates_of_one_row_give_its_own_mean_output(table: Write) -> None:
    offline = {"scenario": "Offline", "unit": "tokens/s", "result": 3000, "samples_per_s": 10}
    case = only(table(MLPERF | offline))
    assert case.load == "offline"
    assert case.output_tokens == 300
    assert case.limits is None


def test_mlperf_without_an_accelerator_counts_sockets(table: Write) -> None:
    host = {"accelerator": "", "accelerators_total": 0, "benchmark": "gptj-99", "nodes": 1}
    case = only(table(MLPERF | host))
    assert case.chip == "Intel(R) Xeon(R) Platinum 8480C"
    assert case.n_chips == 2
    laptop = only(table(MLPERF | host | {"host_cpus_per_node": 10}))
    assert laptop.n_chips == 1


def test_mlperf_hosts_named_by_their_cores_are_told_by_the_system(table: Write) -> None:
    board = {"accelerator": "", "accelerators_total": 0, "benchmark": "resnet50", "nodes": 1}
    orin = board | {"system": "nvidia_orin-reference-cpu", "host_cpus_per_node": 3}
    case = only(table(MLPERF | orin | {"host_cpu": "ARMv8 Processor rev 1 (v8l)"}))
    assert case.n_chips == 1  # three clusters of cores of one chip
    chip = find_accelerator(case.chip)
    assert chip is not None
    assert chip.id == "jetson-agx-orin-cpu"
    small = board | {"system": "gcp_t2a.standard.2-reference-cpu", "host_cpu": "Neoverse-N1"}
    chip = find_accelerator(only(table(MLPERF | small)).chip)
    assert chip is not None
    assert chip.id == "gcp-t2a-standard-2"


def test_mlperf_runs_on_a_gpu_without_a_column_are_not_the_hosts(table: Write) -> None:
    hidden = {"accelerator": "", "accelerators_total": 0, "benchmark": "resnet50", "nodes": 1}
    told = hidden | {"system": "gcp_t4-nvidia_original-gpu-tensorrt", "host_cpus_per_node": 1}
    chip = find_accelerator(only(table(MLPERF | told)).chip)
    assert chip is not None
    assert chip.id == "t4"
    untold = hidden | {"system": "51535c5ae107-reference-gpu-onnxruntime"}
    assert "GPU that is not named" in reason(table(MLPERF | untold))


DSTACK = {
    "device": "H100 SXM5",
    "num_devices": 8,
    "replicas": 1,
    "tp": 8,
    "model": "Llama-3.1-405B",
    "precision": "FP8 (Meta FP8 checkpoint)",
    "engine": "vLLM",
    "test": "offline throughput",
    "input_tokens": 128.0,
    "output_tokens": 2048.0,
    "batch_or_prompts": 4.0,
    "request_rate_per_s": "",
    "max_concurrency": "",
    "total_tok_s": 122.12,
}


def test_dstack_a_run_printed_twice_is_one_case_of_two_rows(table: Write) -> None:
    again = DSTACK | {"test": "static batch latency curve"}
    case = only(table(DSTACK, again))
    assert case.rows == 2
    assert (case.load, case.concurrency) == ("static", 4.0)


def test_dstack_a_reprint_without_its_run_is_a_case_of_its_own(table: Write) -> None:
    alone = DSTACK | {"test": "static batch latency curve", "batch_or_prompts": 8.0}
    cases, skips = read_cases(table(DSTACK, alone))
    assert not skips
    assert [(case.concurrency, case.rows) for case in cases] == [(4.0, 1), (8.0, 1)]


def test_dstack_runs_doubled_on_paper_are_skipped_in_both_prints(table: Write) -> None:
    doubled = DSTACK | {"replicas": 2, "tp": 4}
    cases, skips = read_cases(table(doubled, doubled | {"test": "static batch latency curve"}))
    assert not cases
    assert ["doubled" in skip.reason for skip in skips] == [True, True]


def test_mlperf_skips_mixed_systems_and_double_counts(table: Write) -> None:
    mixed = {"system": "16xMI325X_8xMI300X_2xEPYC_9575F", "accelerators_total": 24, "nodes": 3}
    assert "two kinds" in reason(table(MLPERF | mixed))
    double = {"system": "H100-2N-80GB", "accelerators_total": 32, "nodes": 2}
    assert "counted twice" in reason(table(MLPERF | double))


def test_mlperf_multistream_passes_eight_samples(table: Write) -> None:
    row = {"benchmark": "resnet50", "scenario": "Multistream", "unit": "latency_ms", "result": 4.0}
    case = only(table(MLPERF | row))
    assert (case.load, case.concurrency, case.measured.step_ms) == ("steps", 8, 4.0)
    assert case.measured.requests_per_s == pytest.approx(2000)


def test_mlperf_shares_a_series_between_accuracies_and_makers_of_one_machine(table: Write) -> None:
    rows = [
        MLPERF,
        MLPERF | {"benchmark": "llama2-70b-99", "submitter": "Dell", "system": "XE9680x8"},
        MLPERF | {"accelerators_total": 4},
    ]
    series = [case.series for case in read_cases(table(*rows))[0]]
    assert series[0] == series[1] != series[2]


def test_aws_counts_two_cores_a_chip(changed: Write) -> None:
    decoder = next(
        c for c in read_cases(DATA / "aws_neuron_inf2_trn1.csv")[0] if c.load == "static"
    )
    assert decoder.split.chips == decoder.n_chips
    case = only(changed("aws_neuron_inf2_trn1", 0, {"tp": "24.0", "kind": "decoder"}))
    assert case.n_chips == 12


LLAMA = {
    "device": "NVIDIA GB10 (DGX Spark)",
    "num_devices": 1,
    "backend": "CUDA",
    "threads": "",
    "model": "gpt-oss-120b",
    "quant": "MXFP4",
    "params_b": "",
    "file_gib": "",
    "test": "tg",
    "tokens": 32,
    "depth_tokens": 4096,
    "batch": 16,
    "tokens_per_s": 160.0,
    "gpu_power_w": "",
    "engine": "llama.cpp build 6918 batched-bench",
    "confidence": "as published",
}


def test_llamacpp_batches_share_the_rate_where_the_tool_prints_a_sum(table: Write) -> None:
    case = only(table(LLAMA))
    assert case.measured.tpot_ms == pytest.approx(100.0)
    assert (case.weights, case.experts) == ("bf16", "mxfp4")
    assert case.depth_tokens == 4096
    prompt = only(table(LLAMA | {"test": "pp", "tokens": 512, "tokens_per_s": 2048.0}))
    assert prompt.measured.step_ms == pytest.approx(4000.0)
    assert prompt.load == "steps"
    unsaid = table(LLAMA | {"engine": "llama.cpp"})
    assert "batch > 1" in reason(unsaid)


@pytest.mark.parametrize(
    ("quant", "model", "expected"),
    [
        ("llama 7B Q4_K - Medium", "llama-2-7b.Q4_K_M", "int4"),
        ("Q8_K_XL", "gemma-4-31B-it-UD-Q8_K_XL", "int8"),
        ("", "llama 8B IQ4_NL - 4.5 bpw", "int4"),
        ("Q2_XXS", "DeepSeek-V4-Flash-0731-UD-IQ2_XXS", "int2"),
        ("hunyuan-moe A13B Q6_K", "Hunyuan-A13B-Instruct-UD-Q6_K_XL", "int6"),
        ("F16", "LLaMA-3 8B", "bf16"),
        ("", "llama 8B BF16 (PR)", "bf16"),
    ],
)
def test_llamacpp_quantisations_have_types(
    table: Write, quant: str, model: str, expected: str
) -> None:
    case = only(table(LLAMA | {"quant": quant, "model": model, "batch": 1}))
    assert case.weights == expected


def test_llamacpp_bits_follow_from_the_size_of_the_file(table: Write) -> None:
    case = only(table(LLAMA | {"batch": 1, "params_b": 6.738, "file_gib": 3.8}))
    assert case.weight_bits == pytest.approx(4.84, abs=0.01)


def test_llamacpp_runs_on_the_card_in_brackets(table: Write) -> None:
    row = LLAMA | {"batch": 1, "device": "Pi 5 - 16GB (AMD Pro W7700)", "backend": "GPU"}
    assert only(table(row)).chip == "AMD Pro W7700"
    both = LLAMA | {"batch": 1, "device": "RTX 4090 + EPYC 9654", "backend": "CPU+GPU"}
    assert "shared between a host" in reason(table(both))


def test_requests_of_a_run_are_summed(table: Write) -> None:
    base = {
        "gpu": "RTX4090",
        "model": "meta-llama/Llama-3.1-8B",
        "vllm_version": "0.19.0",
        "tp": 1,
        "dtype": "bfloat16",
        "max_num_seqs": 256,
        "max_num_batched_tokens": 2048,
        "prompt_tokens": 100,
        "output_tokens": 50,
    }
    rows = [
        base | {"arrival_s": s, "ttft_s": 0.1 * (s + 1), "e2e_s": 2.0, "tpot_ms": 30 + s}
        for s in (0.0, 1.0, 2.0)
    ]
    cases, skips = read_cases(table(*rows, rows[0] | {"ttft_s": "late"}))
    assert [skip.reason for skip in skips] == ["ttft_s is not a number"]
    (case,) = cases
    assert case.rows == case.n_requests == 3
    assert case.rate_per_s == pytest.approx(1.0)
    assert case.measured.ttft_ms == pytest.approx(200)
    assert case.measured.tpot_ms == pytest.approx(31)
    assert case.measured.output_tokens_per_s == pytest.approx(150 / 4)


def test_a_stream_in_bursts_keeps_its_rate_and_loses_its_latencies(changed: Write) -> None:
    cells = {"tpot_p50_ms": "0.15", "tpot_mean_ms": "1.6", "output_tok_s": "5000"}
    case = only(changed("serving_docs_vllm_sglang", 0, cells | {"avg_output_tokens": "281"}))
    assert case.measured.tpot_ms is None
    assert case.measured.ttft_ms is None
    assert case.measured.output_tokens_per_s == 5000


def test_a_run_whose_rate_and_latencies_disagree_is_skipped(table: Write) -> None:
    row = {
        "chip": "h200",
        "model": "gpt-oss-120b",
        "isl_tokens": 2047,
        "osl_tokens": 36,
        "concurrency": 128,
        "ttft_ms": 1294,
        "tpot_ms": 10.7,
        "output_tok_s": 7.5,
    }
    assert "contradict" in reason(table(row))
    assert only(table(row | {"output_tok_s": 2500})).engine == ""
