"""What users see of a load: Little's law, saturation, prompts read elsewhere, rates, corrections."""

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.chips import load_accelerator
from takt.errors import UsageError
from takt.models.outlines import outline_of
from takt.perf import (
    Deployment,
    Precision,
    Service,
    StepModel,
    closed_loop,
    corrected,
    one_batch,
    open_loop,
    service,
)

MODELS = ("llama-3.3-70b", "gpt-oss-120b", "deepseek-v3", "qwen3.5-397b-a17b")
ENGINES = ("vllm", "sglang", "trtllm", "generic")


@cache
def steps(name: str = "llama-3.3-70b", engine: str = "vllm", tp: int = 8, **more) -> StepModel:
    here = Deployment(
        chip=load_accelerator("h200-sxm"),
        tp=tp,
        engine=engine,
        precision=Precision(weights="fp8", kv="fp8"),
        **more,
    )
    return StepModel.of(outline_of(name), here)


names, engines = st.sampled_from(MODELS), st.sampled_from(ENGINES)
users = st.floats(1, 2000)
prompts = st.floats(1, 30_000)
outputs = st.floats(1, 8000)


def span_s(seen: Service, output) -> np.ndarray:
    """Seconds that a request is under way."""
    return seen.ttft_s + (np.maximum(output, 1.0) - 1.0) * seen.tpot_s


# -- a closed loop --------------------------------------------------------------------------------


@given(names, engines, users, prompts, outputs)
@settings(max_examples=120)
def test_users_are_the_rate_times_the_time_of_a_request(name, engine, n, prompt, output):
    seen = closed_loop(steps(name, engine), n, prompt, output)
    assert seen.requests_per_s * span_s(seen, output) == pytest.approx(n, rel=0.01)
    assert seen.output_tokens_per_s == pytest.approx(seen.requests_per_s * output)
    assert seen.total_tokens_per_s == pytest.approx(seen.requests_per_s * (output + prompt))


@given(names, engines, users, prompts, outputs)
@settings(max_examples=120)
def test_a_load_is_never_better_than_its_parts_alone(name, engine, n, prompt, output):
    here = steps(name, engine)
    seen = closed_loop(here, n, prompt, output)
    # One who waits most of the time is half a user to the engine's overhead.
    alone = here.decode_s(np.asarray(0.5), np.asarray(prompt + output / 2))
    assert seen.tpot_s >= alone * (1 - 1e-9)
    assert seen.ttft_s >= here.engine.first_s + seen.prompt_s
    assert seen.added_s <= seen.prompt_s * (1 + 1e-9)
    assert 0 <= seen.prompt_share <= 1
    assert seen.j_per_output_token > 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", MODELS)
def test_the_loop_has_settled_when_it_is_read(name, engine, monkeypatch):
    n, lengths = np.geomspace(1, 1000, 9), (2048, 1024)
    twelve = closed_loop(steps(name, engine), n, *lengths)
    monkeypatch.setattr(service, "_ROUNDS", 200)
    many = closed_loop(steps(name, engine), n, *lengths)
    for figure in ("tpot_s", "ttft_s", "requests_per_s", "j_per_output_token"):
        np.testing.assert_allclose(getattr(twelve, figure), getattr(many, figure), rtol=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_more_users_are_slower_each_and_faster_together(name):
    seen = closed_loop(steps(name), 2.0 ** np.arange(10), 1024, 1024)
    assert np.all(np.diff(seen.tpot_s) > 0)
    assert np.all(np.diff(seen.ttft_s) > 0)
    assert np.all(np.diff(seen.output_tokens_per_s) > 0)
    assert np.all(np.diff(seen.j_per_output_token) < 0)


def test_one_user_waits_for_nobody():
    here = steps("llama-3.3-70b", "trtllm")
    seen = closed_loop(here, 1, 4096, 2048)
    clean = here.decode_s(np.ones(()), np.asarray(4096.0 + 1024))
    assert seen.ttft_s == pytest.approx(here.engine.first_s + seen.prompt_s + clean, rel=0.03)
    assert seen.tpot_s == pytest.approx(clean, rel=0.03)


def test_generating_users_pay_for_the_prompts_of_those_who_follow():
    short, long = (closed_loop(steps(), 64, prompt, 256) for prompt in (128, 8192))
    clean = steps().decode_s(np.asarray(64.0), np.asarray(8192.0 + 128))
    assert long.tpot_s > 2 * clean
    assert short.prompt_share < long.prompt_share


@given(st.integers(1, 16), st.floats(1, 500))
@settings(max_examples=30)
def test_copies_with_as_many_users_each_serve_as_many_times_more(copies, n):
    one = closed_loop(steps(), n, 1024, 256)
    all_of_them = closed_loop(
        steps(), n * copies, 1024, 256, prefill=steps(), prefill_workers=copies, workers=copies
    )
    alone = closed_loop(steps(), n, 1024, 256, prefill=steps())
    assert all_of_them.requests_per_s == pytest.approx(copies * alone.requests_per_s)
    assert all_of_them.tpot_s == pytest.approx(alone.tpot_s)
    assert alone.tpot_s <= one.tpot_s  # prompts read elsewhere leave steps clean


@pytest.mark.parametrize("n", [4, 16, 40])
def test_waiting_is_the_queue_of_a_busy_server_and_a_share_of_those_in_step(n):
    """Steps are clean with prompts read elsewhere, so that the parts can be told apart."""
    here = steps("llama-3.3-70b", "sglang")
    seen = closed_loop(here, n, 2048, 512, prefill=here)
    rho = seen.prompt_share
    assert 0.02 < rho < 0.9
    waiting_s = seen.added_s * (rho / (2 * (1 - rho)) + here.engine.burst * (n - 1))
    expected = here.engine.first_s + seen.prompt_s + waiting_s + seen.tpot_s
    assert seen.ttft_s == pytest.approx(expected, rel=1e-6)


def test_few_readers_hold_up_many_copies():
    """Prompts read by one copy for eight: no more requests than it can read, and users wait for it."""
    held = closed_loop(steps(), 512, 8192, 64, prefill=steps(), prefill_workers=1, workers=8)
    free = closed_loop(steps(), 512, 8192, 64, prefill=steps(), prefill_workers=64, workers=8)
    assert held.requests_per_s <= 1.05 / held.added_s
    assert held.ttft_s > 5 * free.ttft_s
    assert held.requests_per_s < free.requests_per_s


def test_drafts_that_hold_speed_up_one_user():
    plain, drafting = (
        closed_loop(steps("deepseek-v3", **drafts), 1, 1024, 1024).tpot_s
        for drafts in ({}, {"draft_tokens": 2, "acceptance": 0.8})
    )
    assert drafting < plain / 1.5


def test_loads_broadcast():
    seen = closed_loop(steps(), np.ones((3, 1)), np.full(4, 100.0), 10)
    for part in fields(Service):
        assert np.broadcast_shapes(getattr(seen, part.name).shape, (3, 4)) == (3, 4), part.name
    assert seen.requests_per_s.shape == (3, 4)


# -- one batch ------------------------------------------------------------------------------------


@given(names, st.floats(1, 256), prompts, st.floats(2, 4000), st.floats(0, 20_000))
@settings(max_examples=60)
def test_a_batch_is_one_prompt_step_and_the_steps_after_it(name, n, prompt, output, cached):
    here = steps(name)
    seen = one_batch(here, n, prompt, output, cached)
    first = here.prompt(n, prompt, cached)
    step = here.decode(n, cached + prompt + output / 2)
    whole_s = first.time_s + (output - 1) * step.time_s
    assert seen.ttft_s == first.time_s
    assert seen.tpot_s == step.time_s
    assert seen.output_tokens_per_s == pytest.approx(n * output / whole_s)
    assert seen.requests_per_s * span_s(seen, output) == pytest.approx(n)
    joules = first.energy_j + (output - 1) * step.energy_j
    assert seen.j_per_output_token * n * output == pytest.approx(joules)


def test_one_token_is_the_prompt_alone():
    seen = one_batch(steps(), 4, 1000, 1)
    assert seen.requests_per_s == pytest.approx(4 / seen.ttft_s)
    assert seen.prompt_share == 1.0


# -- arrivals -------------------------------------------------------------------------------------


def test_rare_arrivals_meet_an_empty_system():
    rare, alone = open_loop(steps(), 1e-4, 1024, 256), closed_loop(steps(), 1, 1024, 256)
    assert rare.ttft_s == pytest.approx(alone.ttft_s, rel=0.02)
    assert rare.tpot_s == pytest.approx(alone.tpot_s, rel=0.02)
    assert rare.requests_per_s == pytest.approx(1e-4, rel=0.01)  # Little's law: far below one user


def test_arrivals_that_can_be_served_are_served_at_their_rate():
    seen = open_loop(steps(), [1.0, 2.0, 5.0, 10.0], 1024, 256)
    np.testing.assert_allclose(seen.requests_per_s, [1.0, 2.0, 5.0, 10.0], rtol=0.02)
    assert np.all(np.diff(seen.users) > 0)
    assert np.all(np.diff(seen.tpot_s) > 0)


def test_arrivals_beyond_what_can_be_served_fill_all_places():
    seen = open_loop(steps(), [1e4, 1e5], 1024, 256, most_users=300)
    assert np.all(seen.users == 300)
    np.testing.assert_allclose(
        seen.requests_per_s, closed_loop(steps(), 300, 1024, 256).requests_per_s
    )


# -- corrections ----------------------------------------------------------------------------------


def planted(factors: dict[str, float]):
    """Stands in for `time_factor`: one number a figure."""

    def time_factor(model, deployment, figure, n, context, per_token):
        return np.full(np.shape(n), factors[figure])

    return time_factor


def test_corrections_stretch_each_figure_and_leave_rates_consistent(monkeypatch):
    monkeypatch.setattr(service, "time_factor", planted({"tpot": 1.5, "ttft": 3.0, "energy": 0.5}))
    before = closed_loop(steps(), [1, 32, 300], 1024, 512)
    after = corrected(before, steps(), 1024, 512)
    np.testing.assert_allclose(after.tpot_s, 1.5 * before.tpot_s)
    np.testing.assert_allclose(after.ttft_s, 3.0 * before.ttft_s)
    np.testing.assert_allclose(after.j_per_output_token, 0.5 * before.j_per_output_token)
    np.testing.assert_allclose(after.requests_per_s * span_s(after, 512), before.users)
    np.testing.assert_allclose(after.output_tokens_per_s, 512 * after.requests_per_s)


def test_no_correction_changes_nothing(monkeypatch):
    monkeypatch.setattr(service, "time_factor", planted({"tpot": 1.0, "ttft": 1.0, "energy": 1.0}))
    before = closed_loop(steps(), [1, 32, 300], 1024, 512)
    after = corrected(before, steps(), 1024, 512)
    for part in fields(Service):
        np.testing.assert_allclose(getattr(after, part.name), getattr(before, part.name))


# -- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-5, float("nan"), float("inf")])
def test_impossible_lengths_are_refused(bad):
    with pytest.raises(UsageError, match="finite and not negative"):
        one_batch(steps(), 1, 100, bad)
    with pytest.raises(UsageError, match="finite and not negative"):
        one_batch(steps(), bad, 100, 100)
    with pytest.raises(UsageError, match="finite and not negative"):
        closed_loop(steps(), 1, bad, 100)
    with pytest.raises(UsageError, match="finite and not negative"):
        open_loop(steps(), bad, 100, 100)


def test_a_chip_without_a_power_limit_has_no_energy():
    here = steps()
    power = replace(here.deployment.chip.power, tdp_w=None)
    silent = replace(here.deployment, chip=replace(here.deployment.chip, power=power))
    seen = closed_loop(StepModel.of(here.model, silent), [1, 8], 100, 100)
    assert np.all(np.isnan(seen.j_per_output_token))
    assert np.all(np.isfinite(seen.tpot_s))


# -- copies and groups ----------------------------------------------------------------------------


def test_copies_that_read_their_own_prompts_are_independent():
    one = closed_loop(steps(), 32, 1024, 256)
    eight = closed_loop(steps(), 32 * 8, 1024, 256, workers=8)
    assert eight.ttft_s == pytest.approx(one.ttft_s)
    assert eight.tpot_s == pytest.approx(one.tpot_s)
    assert eight.requests_per_s == pytest.approx(8 * one.requests_per_s)
