"""LPUs as pools: paces of their schedules, what is handed over to them, and steps that they share with GPUs."""

from functools import cache

import numpy as np
import pytest

from takt.chips import load_accelerator
from takt.errors import CapacityError, UsageError
from takt.models.outlines import Outline, outline_of
from takt.perf import Deployment, Precision, StepModel
from takt.perf.lpu import LpuDeployment, LpuStepModel, kv_transfer_s, link_of, split_ttft_s
from takt.plan import Request
from takt.plan.afd import ffn_loads
from takt.plan.lpus import Lpus
from takt.plan.pairs import reader_of
from takt.serving import Pool
from takt.serving.lpus import afd_pool, ffn_chips, hand_over, lpu_pool
from takt.serving.tables import pool_of

CONTEXT = 2048


@cache
def model() -> Outline:
    return outline_of("llama-3.3-70b")


@cache
def schedule(system: str = "lpx-rack") -> LpuStepModel:
    deployment = LpuDeployment(system=system, context_tokens=CONTEXT)
    return LpuStepModel.of(model(), deployment, users=8)


@cache
def gpus() -> Deployment:
    precision = Precision(weights="fp8", kv="fp8")
    return Deployment(chip=load_accelerator("h200-sxm"), tp=4, precision=precision, engine="vllm")


@cache
def pipeline(system: str = "lpx-rack") -> Pool:
    return lpu_pool(schedule(system), name="lpu", replicas=2, expected_context=1200)


def read(pool: Pool, tokens: int) -> tuple[float, float]:
    """(seconds, joules) of a prompt alone, in the chunks of the policy."""
    seen, seconds, joules = 0, 0.0, 0.0
    while seen < tokens:
        new = min(tokens - seen, pool.policy.max_step_tokens)
        time_ns, drawn = pool.table.step(0, 0, 0, [(new, seen)])
        seen, seconds, joules = seen + new, seconds + time_ns * 1e-9, joules + drawn
    return seconds, joules


@pytest.mark.parametrize("system", ["lpx-rack", "groqrack-v1"])
def test_a_token_takes_what_the_schedule_takes(system: str) -> None:
    steps, pool = schedule(system), pipeline(system)
    rng = np.random.default_rng(4)
    for _ in range(40):
        users, context = int(rng.integers(1, pool.policy.max_seqs + 1)), int(rng.integers(CONTEXT))
        made = steps.decode(users, context)
        time_ns, joules = pool.table.step(users, users * context, users, [])
        assert time_ns * 1e-9 == pytest.approx(float(made.time_s), rel=0.01)
        assert joules == pytest.approx(float(made.energy_j), rel=0.01)


@pytest.mark.parametrize("tokens", [1, 40, 200, 1024, 2000])
def test_a_prompt_takes_its_intervals_and_at_most_a_step_more_or_less(tokens: int) -> None:
    made = schedule().prompt(1, tokens)
    seconds, joules = read(pipeline(), tokens)
    way_s = float(schedule().decode(1, 0).time_s)
    assert abs(seconds - float(made.time_s)) <= 1.02 * way_s
    own_j = float(schedule().pace.actives_j(0, tokens))
    assert joules - pipeline().table.idle_w * seconds == pytest.approx(own_j, rel=0.05)


def test_prompts_take_only_places_that_users_leave_free() -> None:
    table, policy = pipeline().table, pipeline().policy
    alone, _ = table.step(8, 8 * 1000, 8, [])
    beside, _ = table.step(8, 8 * 1000, 8, [(policy.max_step_tokens - 8, 0)])
    assert beside == pytest.approx(alone, rel=0.05)
    assert policy.n_blocks == policy.max_seqs == schedule().pace.max_users
    assert policy.block_tokens == CONTEXT


def test_more_users_than_places_are_an_error() -> None:
    with pytest.raises(CapacityError, match="100 requests on one pipeline"):
        lpu_pool(schedule(), name="lpu", replicas=1, expected_context=1200, max_seqs=100)
    with pytest.raises(UsageError, match="an expected context of 5,000"):
        lpu_pool(schedule(), name="lpu", replicas=1, expected_context=5000)


@pytest.mark.parametrize("n_links", [1, 20])
def test_a_cache_crosses_while_the_prompt_is_read(n_links: int) -> None:
    reader = pool_of(
        model(), gpus(), name="readers", replicas=1, expected_context=1300, corrections=False
    )
    link, prompt = link_of("pcie-gen4"), 1024
    pool = hand_over(reader, model(), link, n_links=n_links, prompt_tokens=prompt)
    prompt_s = float(StepModel.of(model(), gpus()).prompt(1, prompt).time_s)
    crossing_s = kv_transfer_s(model(), prompt, link, n_links=n_links)
    whole_s = float(split_ttft_s(prompt_s, crossing_s, 0.0, layers_sent=model().n_layers))
    left_s = pool.send_ns_per_token * 1e-9 * prompt + pool.send_ns * 1e-9
    assert prompt_s + left_s == pytest.approx(whole_s, rel=0.01)
    assert pool.role == "prompt"
    assert link.basis <= pool.table.basis


def test_the_shared_step_of_gpus_and_lpus_is_that_of_the_comparison() -> None:
    request = Request(prompt_tokens=1024, output_tokens=256)
    lpus, link = Lpus.of("lpx-rack"), link_of("lpx-bridge")
    reader = reader_of(model(), gpus(), request)
    loads = next(iter(ffn_loads(model(), gpus().chip, lpus, request, [reader], link)))
    layout = loads.layout[0]
    deployment = Deployment(
        chip=gpus().chip, tp=layout.first.tp, precision=gpus().precision, engine="vllm"
    )
    chips = layout.second.chips
    steps = schedule_on(lpus)
    assert ffn_chips(model(), steps) == chips
    pool = afd_pool(
        model(), deployment, steps, link=link, name="pair", replicas=1,
        expected_context=request.context_tokens, microbatches=1,
    )  # fmt: skip
    assert pool.chips == deployment.n_chips + chips
    at = request.prompt_tokens + request.output_tokens // 2
    for i in range(0, len(loads.users), 5):
        users = int(loads.users[i])
        if users <= pool.policy.max_seqs:
            time_ns, joules = pool.table.step(users, users * at, users, [])
            assert time_ns * 1e-9 == pytest.approx(float(loads.tpot_s[i]), rel=0.01)
            own_j = loads.j_per_token[i] - reader.prompt_j / request.output_tokens
            assert joules / users == pytest.approx(float(own_j), rel=0.02)


def schedule_on(lpus: Lpus) -> LpuStepModel:
    """The schedule on the fewest chips, of which the comparison takes the feed-forward."""
    deployment = LpuDeployment(system=lpus.source, context_tokens=1280)
    return LpuStepModel.of(model(), deployment)


def test_a_cache_that_was_lost_is_read_anew_no_faster_than_it_was_made() -> None:
    pool = afd_pool(
        model(), gpus(), schedule(), link=link_of("lpx-bridge"), name="pair", replicas=1,
        expected_context=1300,
    )  # fmt: skip
    most = pool.policy.max_seqs
    full, _ = pool.table.step(most, most * 1000, most, [])
    again, _ = pool.table.step(0, 0, 0, [(most, 1000)])
    assert again >= 0.95 * full
