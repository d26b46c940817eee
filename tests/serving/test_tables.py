"""Step tables against what they are made of: times and joules of `StepModel`, room for users, engines' defaults.

`python tests/serving/test_tables.py` prints how long tables take to build.
"""

import time
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from takt.chips import load_accelerator
from takt.errors import UnsupportedError, UsageError
from takt.models.outlines import outline_of
from takt.perf import Deployment, Precision, StepModel, engine_of, max_users, memory_of, one_batch
from takt.perf.corrections import time_factor
from takt.serving import StepTable
from takt.serving.defaults import defaults_of
from takt.serving.outcome import ENERGY_UNKNOWN
from takt.serving.tables import policy_of, pool_of, send_ns_per_token, table_of

FP8 = Precision(weights="fp8", kv="fp8")
MXFP4 = Precision(weights="bf16", experts="mxfp4")
# Dense, with drafts, stages of a pipeline, latent attention with groups of users or cut, sliding windows, sparse attention.
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dense": ("llama-3.3-70b", "h100-sxm", {"tp": 4, "precision": FP8}),
    "drafts": (
        "llama-3.3-70b",
        "h100-sxm",
        {"tp": 4, "precision": FP8, "draft_tokens": 3, "acceptance": 0.7},
    ),
    "stages": ("llama-3.3-70b", "a100-sxm", {"tp": 4, "pp": 2}),
    "groups": ("deepseek-v3", "h200-sxm", {"dp": 8, "ep": 8, "precision": FP8}),
    "latent": ("deepseek-v3", "h200-sxm", {"tp": 8, "precision": FP8}),
    "windows": ("gpt-oss-120b", "b200-sxm", {"tp": 2, "precision": MXFP4}),
    "sparse": ("deepseek-v3.2", "h200-sxm", {"tp": 8, "ep": 8, "precision": FP8}),
    "one call": ("llama-3.3-70b", "a100-sxm", {"tp": 4}),
    "roofline": ("llama-3.3-70b", "gaudi3", {"tp": 8}),
}
CHUNK = 8192
LONGEST = 131_072
every_case = pytest.mark.parametrize("case", CASES)


@cache
def steps_of(case: str) -> StepModel:
    name, chip, split = CASES[case]
    deployment = Deployment(chip=load_accelerator(chip), engine="vllm", **split)
    return StepModel.of(outline_of(name), deployment)


@cache
def table(case: str, *, corrections: bool = False) -> StepTable:
    steps = steps_of(case)
    groups = steps.deployment.dp * steps.deployment.pp
    return table_of(
        steps,
        max_seqs=256 * groups,
        max_step_tokens=CHUNK * groups,
        max_context=LONGEST,
        corrections=corrections,
    )


def drawn(rng: np.random.Generator, least: float, most: float) -> int:
    """A whole number, evenly spread over its logarithm."""
    return int(np.exp(rng.uniform(np.log(least), np.log(most))))


def generated(case: str, users: int, context: int) -> tuple[float, float]:
    """(seconds, joules) of the table for users alone."""
    tokens = users * (1 + steps_of(case).deployment.draft_tokens)
    time_ns, joules = table(case).step(users, users * context, tokens, [])
    return time_ns * 1e-9, joules


@every_case
def test_a_step_of_users_is_that_of_the_step_model(case: str) -> None:
    rng, steps = np.random.default_rng(1), steps_of(case)
    most = 256 * steps.deployment.dp * steps.deployment.pp
    for _ in range(40):
        users, context = drawn(rng, 1, most), drawn(rng, 16, 100_000)
        made = steps.decode(users, context)
        seconds, joules = generated(case, users, context)
        assert seconds == pytest.approx(float(made.time_s), rel=0.005)
        assert joules == pytest.approx(float(made.energy_j), rel=0.05)


@every_case
def test_a_text_alone_is_that_of_the_step_model(case: str) -> None:
    rng, steps = np.random.default_rng(2), steps_of(case)
    for _ in range(30):
        new, cached = drawn(rng, 1, CHUNK), drawn(rng, 1, 100_000) * int(rng.integers(2))
        time_ns, _ = table(case).step(0, 0, 0, [(new, cached)])
        assert time_ns * 1e-9 == pytest.approx(
            float(steps.prompt(1, new, cached).time_s), rel=0.025
        )


@every_case
def test_a_mixed_step_is_that_of_the_step_model(case: str) -> None:
    rng, steps = np.random.default_rng(3), steps_of(case)
    groups = steps.deployment.dp * steps.deployment.pp
    drafted, errors = 1 + steps.deployment.draft_tokens, []
    for _ in range(40):
        users, context = drawn(rng, 1, 256 * groups), drawn(rng, 16, 20_000)
        texts = groups * int(rng.integers(1, 6))
        new = min(drawn(rng, 32, 2048), CHUNK * groups // texts)
        cached = drawn(rng, 1, 20_000) * int(rng.integers(2))
        time_ns, _ = table(case).step(
            users, users * context, users * drafted, [(new, cached)] * texts
        )
        made = float(steps.mixed(users, context, texts, new, cached).time_s)
        errors.append(abs(time_ns * 1e-9 / made - 1))
    assert np.median(errors) < 0.01
    assert max(errors) < 0.08


def test_a_text_is_not_cut_over_groups_that_others_leave_idle() -> None:
    one, _ = table("groups").step(0, 0, 0, [(1024, 0)])
    all_groups, _ = table("groups").step(0, 0, 0, [(1024, 0)] * 8)
    assert all_groups == pytest.approx(one, rel=0.05)
    two_rounds, _ = table("groups").step(0, 0, 0, [(1024, 0)] * 16)
    assert two_rounds > 1.3 * one


def test_beside_users_a_text_costs_its_share_of_a_step_that_every_group_has_texts_in() -> None:
    users, costs = 512, table("groups")
    clean, _ = costs.step(users, users * 1000, users, [])
    one, _ = costs.step(users, users * 1000, users, [(1024, 0)])
    full, _ = costs.step(users, users * 1000, users, [(1024, 0)] * 8)
    assert 0 < one - clean < 0.3 * (full - clean)


def test_a_batch_run_by_hand_takes_as_long_as_one_batch() -> None:
    steps, costs = steps_of("dense"), table("dense")
    users, prompt, output = 6, 1000, 200
    first_ns, first_j = costs.step(0, 0, 0, [(prompt, 0)] * users)
    rest = [costs.step(users, users * (prompt + done), users, []) for done in range(1, output)]
    batch = one_batch(steps, users, prompt, output)
    assert first_ns * 1e-9 == pytest.approx(float(batch.ttft_s), rel=0.02)
    assert np.mean([ns for ns, _ in rest]) * 1e-9 == pytest.approx(float(batch.tpot_s), rel=0.01)
    joules = first_j + sum(j for _, j in rest)
    assert joules / (users * output) == pytest.approx(float(batch.j_per_output_token), rel=0.05)


@pytest.mark.parametrize(("users", "context"), [(1, 500), (16, 2000), (200, 8000)])
def test_corrections_are_those_of_times_between_tokens(users: int, context: int) -> None:
    steps = steps_of("dense")
    plain, plain_j = table("dense").step(users, users * context, users, [])
    fitted, fitted_j = table("dense", corrections=True).step(users, users * context, users, [])
    sizes = np.array(float(users)), np.array(float(context)), np.ones(())
    pace = float(time_factor(steps.model, steps.deployment, "tpot", *sizes))
    energy = float(time_factor(steps.model, steps.deployment, "energy", *sizes))
    assert fitted / plain == pytest.approx(pace, rel=0.01)
    assert fitted_j / plain_j == pytest.approx(energy, rel=0.03)
    assert table("dense", corrections=True).decode_error is not None


def test_joules_are_watts_times_seconds_within_what_a_chip_can_draw() -> None:
    for chunks in ([], [(2000, 0)], [(512, 4096)] * 3):
        time_ns, joules = table("dense").step(64, 64 * 2000, 64, chunks)
        chip = steps_of("dense").deployment.chip
        assert 4 * (chip.power.idle_w or 0) < joules / (time_ns * 1e-9) <= 4 * 700.0


def test_corrections_do_not_let_a_board_draw_more_than_it_may() -> None:
    computed, corrected = table("dense"), table("dense", corrections=True)
    assert corrected.decode_w.values.max() == pytest.approx(4 * 700.0)
    assert computed.prompt_w < corrected.prompt_w <= 4 * 700.0


def test_a_chip_of_unknown_power_has_no_energy_and_says_so() -> None:
    steps = steps_of("dense")
    chip = replace(steps.deployment.chip, power=replace(steps.deployment.chip.power, tdp_w=None))
    dark = StepModel.of(steps.model, replace(steps.deployment, chip=chip))
    made = table_of(dark, max_seqs=8, max_context=4096)
    assert made.step(4, 4000, 4, [(100, 0)])[1] == 0.0
    assert ENERGY_UNKNOWN in made.basis
    assert ENERGY_UNKNOWN not in table("dense").basis


def test_a_table_is_as_small_as_what_it_is_for() -> None:
    small = table_of(steps_of("dense"), max_seqs=4, max_step_tokens=64, max_context=1024)
    assert len(small.tokens_ns) == 65
    assert small.decode_ns.values.size < 200
    with pytest.raises(UsageError, match="0 tokens a step"):
        table_of(steps_of("dense"), max_step_tokens=0)


@every_case
def test_the_cache_holds_as_many_users_as_fit_the_memory(case: str) -> None:
    steps, context = steps_of(case), 4096
    policy = policy_of(steps.model, steps.deployment, expected_context=context)
    groups = steps.deployment.dp * steps.deployment.pp
    memory = memory_of(
        steps.model,
        steps.deployment,
        context,
        reserve_fraction=engine_of("vllm").reserve_fraction,
        fixed_bytes=engine_of("vllm").fixed_bytes,
        activation_tokens=policy.max_step_tokens // groups,
    )
    assert policy.kv_tokens // context == max_users(memory, steps.deployment)


def test_engines_schedule_by_their_own_defaults() -> None:
    h100, a100 = load_accelerator("h100-sxm"), load_accelerator("a100-sxm")
    assert defaults_of("vllm", h100).max_seqs == 1024
    assert defaults_of("vllm", h100).step_tokens == 8192
    assert defaults_of("vllm", a100).max_seqs == 256
    assert defaults_of("sglang", load_accelerator("b200-sxm")).step_tokens == 16384
    assert defaults_of("sglang", h100).step_tokens == 8192
    assert not defaults_of("sglang", h100).mixed
    with pytest.raises(UsageError, match="vlm"):
        defaults_of("vlm", h100)


def test_a_step_that_reads_takes_no_less_than_its_host_without_graphs() -> None:
    h100 = load_accelerator("h100-sxm")
    for name, tp in (("qwen3-8b", 1), ("deepseek-r1", 8)):
        model = outline_of(name)
        plain, eager = (
            StepModel.of(model, Deployment(chip=h100, tp=tp, engine=engine))
            for engine in ("vllm", "sglang")
        )
        known = defaults_of("sglang", h100)
        floor_ns = 1e9 * sum(
            group.count * (known.experts_s if group.ffn.n_experts else known.layer_s)
            for group in model.groups
        )
        table = table_of(eager, corrections=False)
        assert table.step(0, 0, 0, [(1, 0)])[0] == pytest.approx(floor_ns, abs=1)
        assert table.step(0, 0, 0, [(8192, 0)])[0] > floor_ns  # kernels take longer
        assert table.step(1, 1, 1, [])[0] < floor_ns  # users alone are replayed from graphs
        assert table_of(plain, corrections=False).step(0, 0, 0, [(1, 0)])[0] < floor_ns


def test_the_way_to_the_scheduler_is_apart_from_the_prompt_where_it_is_known() -> None:
    steps = steps_of("dense")
    for engine, entry_s in (("sglang", 0.007), ("vllm", engine_of("vllm").first_s)):
        pool = pool_of(
            steps.model, replace(steps.deployment, engine=engine), name="all", replicas=1,
            expected_context=2000,
        )  # fmt: skip
        assert pool.entry_ns == round(entry_s * 1e9)


def test_each_group_of_users_has_slots_and_tokens_of_its_own() -> None:
    steps = steps_of("groups")
    policy = policy_of(steps.model, steps.deployment, expected_context=4096)
    assert policy.max_seqs == 8 * 1024
    assert policy.max_step_tokens == 8 * 8192
    other = replace(steps.deployment, engine="sglang")
    assert policy_of(steps.model, other, expected_context=4096).max_step_tokens == 8192


def test_weights_that_do_not_fit_are_an_error() -> None:
    deployment = Deployment(chip=load_accelerator("h100-sxm"), engine="vllm")
    with pytest.raises(UsageError, match="weights and reserve need"):
        policy_of(outline_of("llama-3.3-70b"), deployment, expected_context=2048)


def test_a_pool_of_readers_sends_caches_over_its_chips_ports() -> None:
    steps = steps_of("dense")
    pool = pool_of(
        steps.model, steps.deployment, name="readers", replicas=2, expected_context=2000,
        role="prompt", usd_per_h=8.0,
    )  # fmt: skip
    # 80 layers × 8 heads × 128 × (keys and values) bytes over four ports of 50 GB/s, of which payload gets 0.9.
    expected = 80 * 8 * 128 * 2 / (4 * 50e9 * 0.9) * 1e9
    assert pool.send_ns_per_token == pytest.approx(expected)
    assert pool.entry_ns == round(engine_of("vllm").first_s * 1e9)
    assert pool.chips == 4
    chip = steps.deployment.chip
    unlinked = replace(chip, scale_out=replace(chip.scale_out, bytes_per_s=None))
    with pytest.raises(UnsupportedError, match="network between h100-sxm"):
        send_ns_per_token(steps.model, replace(steps.deployment, chip=unlinked), 2000)


def benchmark() -> None:
    """Print milliseconds to build each table, the best of five."""
    for case in CASES:
        steps, took = steps_of(case), []
        groups = steps.deployment.dp * steps.deployment.pp
        for _ in range(5):
            start = time.perf_counter()
            table_of(
                steps,
                max_seqs=256 * groups,
                max_step_tokens=CHUNK * groups,
                max_context=LONGEST,
            )
            took.append(time.perf_counter() - start)
        print(f"{case:10s} {1e3 * min(took):6.1f} ms")


if __name__ == "__main__":
    benchmark()
