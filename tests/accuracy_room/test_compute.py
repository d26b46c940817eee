"""Figures of measured configurations: what each load computes, what is assumed, what is refused in words."""

from dataclasses import replace

import numpy as np
import pytest

from takt.accuracy.case import Case, Limits, Measured, Split
from takt.accuracy.compute import Computed, compute_cases
from takt.chips import load_accelerator
from takt.models.outlines import outline_of, why_not
from takt.perf import Deployment, Precision, StepModel, closed_loop, one_batch, open_loop

BASE = Case(
    where="mine.csv:2",
    dataset="mine",
    series="one",
    chip="h200-sxm",
    model="llama-3.3-70b",
    engine="vllm",
    load="closed",
    n_chips=8,
    measured=Measured(output_tokens_per_s=1.0),
    engine_version="0.10",
    weights="fp8",
    split=Split(tp=8),
    concurrency=32.0,
    prompt_tokens=1024.0,
    output_tokens=256.0,
)
STEPS = StepModel.of(
    outline_of("llama-3.3-70b"),
    Deployment(
        chip=load_accelerator("h200-sxm"),
        tp=8,
        engine="vllm",
        precision=Precision(weights="fp8", kv="bf16"),
    ),
)


def computed(**changes) -> Computed:
    done, refused = compute_cases([replace(BASE, **changes)])
    assert refused == []
    return done[0]


def refusal(**changes) -> str:
    done, refused = compute_cases([replace(BASE, **changes)])
    assert done == []
    return refused[0][1]


def value(item: Computed, figure: str) -> float:
    return float(np.exp(item.log[figure]))


# -- loads ----------------------------------------------------------------------------------------


def test_a_constant_number_of_users_is_a_closed_loop():
    item, loop = computed(), closed_loop(STEPS, 32, 1024, 256)
    assert value(item, "tpot") == pytest.approx(1e3 * loop.tpot_s)
    assert value(item, "ttft") == pytest.approx(1e3 * loop.ttft_s)
    assert 1 / value(item, "throughput") == pytest.approx(loop.output_tokens_per_s)
    assert value(item, "energy") == pytest.approx(loop.j_per_output_token)
    assert (item.users, item.context, item.prompts) == (32.0, 1152.0, 4.0)
    assert item.basis == STEPS.basis


def test_a_batch_starts_and_ends_together_after_what_is_cached():
    item = computed(load="static", depth_tokens=5000.0)
    batch = one_batch(STEPS, 32, 1024, 256, 5000)
    assert value(item, "tpot") == pytest.approx(1e3 * batch.tpot_s)
    assert value(item, "ttft") == pytest.approx(1e3 * batch.ttft_s)
    assert 1 / value(item, "throughput") == pytest.approx(batch.output_tokens_per_s)


def test_a_pass_is_a_prompt_step_and_nothing_more():
    item = computed(load="steps", concurrency=4.0, measured=Measured(step_ms=1.0))
    assert value(item, "step_time") == pytest.approx(1e3 * STEPS.prompt(4, 1024).time_s)


def test_arrivals_at_a_rate_are_an_open_loop():
    item, loop = computed(load="open", rate_per_s=5.0), open_loop(STEPS, 5.0, 1024, 256)
    assert value(item, "tpot") == pytest.approx(1e3 * loop.tpot_s)
    assert 1 / value(item, "throughput") == pytest.approx(5 * 256, rel=0.02)


def test_the_highest_rate_within_limits_falls_as_they_tighten():
    rates = []
    for tpot_ms in (100.0, 30.0, 12.0, 1.0):
        limits = Limits(tpot_ms=tpot_ms)
        item = computed(load="open", rate_per_s=1.0, limits=limits)
        rates.append(1 / value(item, "throughput"))
        assert value(item, "tpot") <= tpot_ms or tpot_ms == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[2]


def test_all_at_once_wait_for_those_before_them():
    few, many = (computed(load="offline", concurrency=None, n_requests=n) for n in (10, 5000))
    assert value(many, "ttft") > 20 * value(few, "ttft")


def test_the_rate_is_of_the_kind_that_was_measured():
    outputs = computed()
    totals = computed(measured=Measured(total_tokens_per_s=1.0))
    requests = computed(measured=Measured(requests_per_s=1.0))
    assert value(outputs, "throughput") / value(totals, "throughput") == pytest.approx(5.0)
    assert value(requests, "throughput") / value(outputs, "throughput") == pytest.approx(256.0)


@pytest.mark.parametrize("load", ["static", "steps"])
def test_two_copies_with_twice_the_users_give_twice_the_throughput(load):
    one = computed(load=load)
    two = computed(load=load, n_chips=16, split=Split(tp=8, workers=2), concurrency=64.0)
    if load == "steps":  # the batch is of one pass
        two = computed(load=load, n_chips=16, split=Split(tp=8, workers=2))
    assert value(two, "throughput") == pytest.approx(value(one, "throughput") / 2)
    for figure in ("tpot", "ttft") if load != "steps" else ("step_time",):
        assert two.log[figure] == pytest.approx(one.log[figure])


def test_prompts_read_elsewhere_leave_steps_clean():
    together = computed(prompt_tokens=8192.0)
    apart = computed(prompt_tokens=8192.0, prefill=Split(tp=8, workers=2), n_chips=24)
    assert value(apart, "tpot") < value(together, "tpot")
    assert apart.situation.mode == "closed+apart"


# -- what a case says of itself -------------------------------------------------------------------


def test_types_default_to_those_that_the_model_is_published_in():
    stated = computed(model="deepseek-v3", weights="fp8")
    assert computed(model="deepseek-v3", weights="").log == stated.log
    assert stated.situation.weights == "fp8"
    small = computed(model="gpt-oss-120b", weights="")
    assert small.situation.weights == outline_of("gpt-oss-120b").stored_experts


def test_few_bits_of_a_mixture_are_those_of_its_experts():
    item = computed(model="deepseek-v3", weights="fp4", chip="b200-sxm")
    experts = computed(model="deepseek-v3", weights="bf16", experts="fp4", chip="b200-sxm")
    assert item.log == experts.log


def test_types_below_what_kernels_know_are_computed_as_the_next():
    assert computed(weights="int3").log == computed(weights="int4").log
    assert computed(weights="int6").log == computed(weights="int8").log


@pytest.mark.parametrize("how", ["mtp", "draft"])
def test_drafts_speed_up_and_show_in_the_mode(how):
    item = computed(speculative=how, concurrency=1.0)
    assert value(item, "tpot") < value(computed(concurrency=1.0), "tpot")
    assert item.situation.mode == f"closed+{how}"


def test_chips_without_a_split_are_as_many_copies_as_fit():
    small = computed(model="llama-3.1-8b", split_known=False)
    told = computed(model="llama-3.1-8b", split=Split(tp=1, workers=8))
    assert small.log == told.log
    assert small.situation.mode == "closed+guessed"
    large = computed(weights="bf16", split_known=False)  # 141 GB fit one of 151 GB, but no caches
    assert large.log == computed(weights="bf16", split=Split(tp=2, workers=4)).log


def test_more_users_than_fit_take_turns():
    crowd, full = (
        computed(prompt_tokens=60_000.0, split=Split(tp=2), n_chips=2, concurrency=n)
        for n in (4000.0, 1000.0)
    )
    assert value(crowd, "tpot") == pytest.approx(value(full, "tpot"))
    assert value(crowd, "ttft") > value(full, "ttft")


def test_weights_that_do_not_fit_by_our_count_are_marked_and_computed():
    item = computed(model="deepseek-v3", weights="bf16", split=Split(tp=2), n_chips=2)
    assert not item.fits
    assert np.isfinite(item.log["tpot"])
    assert computed().fits


def test_a_situation_bears_the_files_own_words():
    here = computed(engine="SGLang", engine_version="", dataset="theirs").situation
    assert (here.engine, here.version, here.campaign) == ("sglang", "-", "theirs")
    assert (here.chip, here.model, here.n_chips) == ("h200-sxm", "llama-3.3-70b", 8)
    assert computed(engine="").situation.engine == "unknown"


# -- many cases -----------------------------------------------------------------------------------


def test_cases_computed_together_are_those_computed_alone():
    cases = [
        replace(BASE, load=load, concurrency=float(n), prompt_tokens=float(prompt), chip=chip)
        for load in ("closed", "static", "steps")
        for n, prompt in ((1, 128), (16, 1024), (200, 8000))
        for chip in ("h200-sxm", "mi300x")
    ]
    together, refused = compute_cases(cases)
    assert refused == []
    assert [item.case for item in together] == cases
    for case, item in zip(cases, together, strict=True):
        (alone,), _ = compute_cases([case])
        assert alone.log == pytest.approx(item.log, rel=1e-9)
        assert (alone.situation, alone.users) == (item.situation, item.users)


def test_order_is_kept_whatever_is_refused_between():
    cases = [replace(BASE, where=str(i), chip="h200-sxm" if i % 3 else "no such") for i in range(9)]
    done, refused = compute_cases(cases)
    assert [item.case.where for item in done] == ["1", "2", "4", "5", "7", "8"]
    assert [case.where for case, _ in refused] == ["0", "3", "6"]


# -- refusals -------------------------------------------------------------------------------------


def test_unknown_chips_and_models_are_refused_in_words():
    assert refusal(chip="Quantum 9000") == "no chip of the catalogue is meant"
    assert refusal(model="a mystery") == why_not("a mystery")


# -- networks -------------------------------------------------------------------------------------


def test_a_network_without_tokens_has_passes_and_a_rate():
    one = computed(model="resnet50", load="steps", concurrency=1.0, n_chips=1)
    full = computed(model="resnet50", load="offline", n_chips=1)
    eight = computed(model="resnet50", load="offline", n_chips=8)
    assert set(one.log) == {"step_time", "throughput"}
    assert set(full.log) == {"throughput"}
    assert value(full, "throughput") < value(one, "throughput")  # batches share what a pass costs
    assert value(eight, "throughput") == pytest.approx(value(full, "throughput") / 8)
    assert full.situation.kind == "network-resnet50"
