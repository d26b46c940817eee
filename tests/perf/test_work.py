"""Bytes and operations against sums by hand, and what must fit in memory."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.chips import load_accelerator
from takt.errors import UsageError
from takt.models.outlines import outline_of
from takt.perf import Deployment, Precision, max_users, memory_of
from takt.perf.work import experts_touched, step_work, weight_bytes

H200 = load_accelerator("h200-sxm")
FP8 = Precision(weights="fp8", kv="fp8")

# config.json of meta-llama/Llama-3.3-70B-Instruct: 80 layers, width 8192, 8 heads of keys of 128,
# blocks of 28672, 128256 pieces.
LLAMA_LAYERS = 80 * (2 * 8192 * 8192 + 2 * 1024 * 8192 + 3 * 8192 * 28672)
LLAMA_TABLE = 128256 * 8192
LLAMA_CACHE = 80 * 2 * 8 * 128


def on_h200(**split) -> Deployment:
    return Deployment(chip=H200, **split)


def memory(model: str, context: float = 4096, reserve: float = 0.1, **split):
    outline = outline_of(model)
    return memory_of(
        outline, on_h200(**split), context, reserve_fraction=reserve, activation_tokens=8192
    )


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bits"), [("bf16", 16), ("fp8", 8), ("fp4", 4.5), ("mxfp4", 4.25), ("int4", 4.25)]
)
def test_weights_of_llama_70b_are_the_sum_by_hand(kind, bits):
    found = weight_bytes(
        outline_of("llama-3.3-70b"), on_h200(tp=4, precision=Precision(weights=kind))
    )
    assert found == pytest.approx(LLAMA_LAYERS * bits / 8 + 2 * LLAMA_TABLE * 2)


@pytest.mark.parametrize(("kv", "n_bytes"), [("bf16", 2), ("fp8", 1)])
def test_the_cache_of_a_llama_70b_user_is_the_sum_by_hand(kv, n_bytes):
    here = memory("llama-3.3-70b", 10_000, tp=4, precision=Precision(kv=kv))
    assert here.user_bytes * 4 == 10_000 * LLAMA_CACHE * n_bytes


def test_weights_and_caches_are_shared_by_stages_as_by_parts():
    by_parts, by_stages = memory("llama-3.3-70b", tp=8), memory("llama-3.3-70b", tp=2, pp=4)
    assert by_parts.weight_bytes == by_stages.weight_bytes
    assert by_parts.user_bytes == by_stages.user_bytes


def test_fewer_heads_than_parts_mean_copies_of_the_cache():
    eight, sixteen = memory("llama-3.3-70b", tp=8), memory("llama-3.3-70b", tp=16)
    assert sixteen.user_bytes == eight.user_bytes


def test_a_latent_cache_lies_whole_on_every_chip_of_a_group():
    # config.json of deepseek-ai/DeepSeek-V3: 61 layers cache 512 + 64 numbers a position.
    one_user = 4096 * 61 * 576
    assert memory("deepseek-v3", tp=8, precision=FP8).user_bytes == one_user
    assert memory("deepseek-v3", dp=8, ep=8, precision=FP8).user_bytes == one_user / 8


def test_weights_of_deepseek_v3_are_671_billion_and_experts_take_their_own_type():
    model = outline_of("deepseek-v3")
    as_fp8 = weight_bytes(model, on_h200(tp=8, precision=FP8))
    assert as_fp8 == pytest.approx(671e9 + 2 * 129280 * 7168, rel=0.002)  # tables at two bytes
    as_fp4 = weight_bytes(model, on_h200(tp=8, precision=replace(FP8, experts="fp4")))
    routed = 58 * 256 * 3 * 7168 * 2048
    assert as_fp8 - as_fp4 == pytest.approx(routed * (1 - 4.5 / 8))


def test_attention_groups_each_hold_their_own_attention():
    split, grouped = memory("deepseek-v3", tp=8), memory("deepseek-v3", dp=8, ep=8)
    assert grouped.weight_bytes > split.weight_bytes
    assert grouped.weight_bytes < split.weight_bytes * 1.2  # experts are most of the model


def test_sliding_windows_and_states_bound_the_cache():
    short, long = (memory("gemma-3-27b", n).user_bytes for n in (1024, 128 * 1024))
    full = 10 / 62  # every sixth layer of gemma-3-27b sees everything
    assert long / short < 128 * (full + 0.05)
    short, long = (memory("qwen3.5-397b-a17b", n).user_bytes for n in (1, 1024))
    assert long < 100 * short  # most layers keep a state whatever the context


def test_users_are_free_bytes_over_bytes_of_one():
    here = memory("llama-3.3-70b", 8192, tp=4, precision=FP8)
    activations = 2.0 * 8192 * (4 * 8192 + 2 * 28672 / 4)
    free = H200.memory.capacity_bytes * 0.9 - activations
    free -= (LLAMA_LAYERS + 4 * LLAMA_TABLE) / 4
    expected = int(free / (8192 * LLAMA_CACHE / 4))
    assert max_users(here, on_h200(tp=4, precision=FP8)) == expected
    assert here.free_bytes == pytest.approx(free)


@given(st.floats(0, 200_000), st.floats(1, 4))
def test_longer_contexts_never_leave_room_for_more_users(context, factor):
    short, long = (memory("gpt-oss-120b", n, tp=2) for n in (context, context * factor))
    assert max_users(long, on_h200(tp=2)) <= max_users(short, on_h200(tp=2))


def test_weights_that_do_not_fit_are_refused_in_bytes():
    split = on_h200(tp=1)
    with pytest.raises(
        UsageError, match=r"need 15\d GB on each of 1 h200-sxm, which has 151 GB"
    ) as e:
        max_users(memory("llama-3.3-70b", tp=1), split)
    assert "more chips" in e.value.hint


# -- work of a step -------------------------------------------------------------------------------


def work(model: str, tokens, users, context, **split):
    sizes = (np.asarray(value, dtype=np.float64) for value in (tokens, users, context))
    return step_work(outline_of(model), on_h200(**split), *sizes)


def test_a_token_of_a_dense_model_reads_every_weight_and_multiplies_it_once():
    step = work("llama-3.3-70b", 1, 1, 0)
    assert step.n_bytes == pytest.approx((LLAMA_LAYERS + LLAMA_TABLE) * 2)
    assert step.n_ops == pytest.approx((LLAMA_LAYERS + LLAMA_TABLE) * 2)


def test_attention_adds_caches_and_pairs():
    without, with_context = work("llama-3.3-70b", 5, 5, 0), work("llama-3.3-70b", 5, 5, 3000)
    assert with_context.n_bytes - without.n_bytes == pytest.approx(5 * 3000 * LLAMA_CACHE * 2)
    assert with_context.n_ops - without.n_ops == pytest.approx(5 * 80 * 2 * 3000 * 64 * 256)


def test_a_token_of_a_mixture_reads_what_it_activates():
    model = outline_of("qwen3-235b-a22b")
    step = work("qwen3-235b-a22b", 1, 1, 0)
    assert step.n_bytes == pytest.approx(model.n_active_parameters * 2)
    assert step.n_ops == pytest.approx(model.n_active_parameters * 2)


def test_every_attention_group_reads_attention_for_itself():
    model = outline_of("deepseek-v3")
    attention = sum(g.count * model.attention_parameters(g) for g in model.groups)
    one, eight = (work("deepseek-v3", 8, 8, 0, dp=dp).n_bytes for dp in (1, 8))
    assert eight - one == pytest.approx(7 * attention * 2)


@given(st.integers(1, 512), st.integers(1, 512), st.floats(0, 5000), st.floats(1, 3))
def test_tokens_meet_between_their_own_and_all_experts(n_experts, k, tokens, factor):
    k = min(k, n_experts)
    once = experts_touched(n_experts, k, np.asarray(tokens))
    assert experts_touched(n_experts, k, np.asarray(1.0)) == pytest.approx(k)
    assert 0 <= once <= min(n_experts, max(tokens, 1.0) * k) * (1 + 1e-9)
    assert once <= experts_touched(n_experts, k, np.asarray(tokens * factor)) * (1 + 1e-9)


def test_work_has_the_shape_of_its_arguments():
    users, context = np.arange(1.0, 4.0)[:, None], np.arange(5.0)
    step = step_work(outline_of("gpt-oss-120b"), on_h200(), users, users, context)
    assert step.n_bytes.shape == step.n_ops.shape == (3, 5)
