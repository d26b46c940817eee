"""What one chip does in a step, counted: kernels that answer with sizes instead of times.

`Counting` answers each call with what it was asked for (weights, cached numbers, bytes sent), so that the sums
over layers can be held against the model's own sizes.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.chips import load_accelerator
from takt.models.outlines import Attention, FeedForward, LayerGroup, Outline, outline_of
from takt.perf import Deployment, Precision
from takt.perf.kernels import kernels_of
from takt.perf.layers import (
    LinearCurve,
    attention_decode_s,
    attention_prompt_s,
    head_curve,
    linear_curve,
)

H200 = load_accelerator("h200-sxm")
ONE = np.ones(())


@dataclass
class Counting:
    """Stands in for `Kernels`: numbers in place of seconds, and a list of the calls."""

    what: str
    calls: list[tuple] = field(default_factory=list)

    def answer(self, name, value, *asked):
        self.calls.append((name, *asked))
        return np.asarray(value if name in self.what.split() else 0.0, dtype=np.float64)

    def gemm(self, m, n, k, weights="bf16", compute="bf16"):
        return self.answer("gemm", np.ones(np.shape(m)) * n * k, n, k, weights, compute)

    def experts(
        self, tokens, dim, hidden, n_experts, top_k, n_matrices=3, tp=1, ep=1, weights="bf16"
    ):
        met = np.ones(np.shape(tokens)) * top_k * n_matrices * dim * hidden / tp
        return self.answer("experts", met, tokens, n_experts, tp, ep, weights)

    def elementwise(self, n_bytes):
        return self.answer("elementwise", n_bytes, n_bytes)

    def all_reduce(self, n_bytes, n_chips):
        return self.answer("all_reduce", n_bytes, n_bytes, n_chips)

    def all_gather(self, n_bytes, n_chips):
        return self.answer("all_gather", n_bytes, n_bytes, n_chips)

    def reduce_scatter(self, n_bytes, n_chips):
        return self.answer("reduce_scatter", n_bytes, n_bytes, n_chips)

    def send(self, n_bytes):
        return self.answer("send", n_bytes, n_bytes)

    def dispatch_combine(self, tokens, dim, top_k, n_experts, ep):
        return self.answer("dispatch_combine", tokens, tokens, top_k, n_experts, ep)

    def attention_decode(
        self, batch, context, heads, kv_heads, dim, kv="bf16", window=None, *, beside=False
    ):
        seen = np.minimum(context, window or np.inf)
        return self.answer("decode", batch * seen * kv_heads * dim * 2, heads, kv_heads, kv)

    def attention_prompt(self, batch, new, context, heads, kv_heads, dim, kv="bf16", window=None):
        pairs = batch * new * (context + new / 2)
        return self.answer("prompt", pairs * heads, heads, kv_heads, kv, window)

    def latent_decode(self, batch, context, heads, kv="bf16"):
        return self.answer("decode", batch * context * 576, heads, kv)

    def latent_prompt(self, batch, new, context, heads, kv="bf16"):
        return self.answer("prompt", batch * new * (context + new / 2) * heads, heads, kv)

    def names(self):
        return [name for name, *_ in self.calls]


def deployment(**split) -> Deployment:
    return Deployment(chip=H200, **split)


def whole(attention: Attention, ffn: FeedForward, n_layers: int = 3) -> Outline:
    group = LayerGroup(count=n_layers, attention=attention, ffn=ffn)
    return Outline(name="small", dim=64, vocab_size=1000, groups=(group,))


ATTENTION = Attention(
    kind="full",
    matrices=((64, 64), (32, 64), (32, 64), (64, 64)),
    n_heads=8,
    n_kv_heads=4,
    head_dim=8,
    value_dim=8,
)
DENSE = FeedForward(hidden_dim=256)
ROUTED = FeedForward(hidden_dim=32, n_experts=16, top_k=4, shared_dim=64)


def weights_met(model: Outline, split: Deployment) -> float:
    counting = Counting("gemm experts")
    layers = linear_curve(model, split, counting)(ONE)
    return float(layers + head_curve(model, split, counting)(ONE))


# -- products -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["llama-3.3-70b", "gpt-oss-120b", "gemma-3-27b", "deepseek-v3", "qwen3-235b-a22b"]
)
def test_on_one_chip_products_meet_exactly_the_active_weights(name):
    model = outline_of(name)
    assert weights_met(model, deployment()) == pytest.approx(model.n_active_parameters, rel=1e-9)


@pytest.mark.parametrize("name", ["llama-3.3-70b", "gemma-3-27b", "qwen3-235b-a22b"])
@pytest.mark.parametrize("tp", [2, 4, 8])
def test_a_split_meets_its_share_and_routers_whole(name, tp):
    model = outline_of(name)
    routers = sum(g.count * g.ffn.n_experts * model.dim for g in model.groups)
    share = (model.n_active_parameters - routers) / tp + routers
    assert weights_met(model, deployment(tp=tp)) == pytest.approx(share, rel=1e-3)


def test_low_rank_matrices_of_latent_attention_are_whole_on_every_chip():
    model = outline_of("deepseek-v3")
    low = 7168 * (
        1536 + 576
    )  # q_a_proj, kv_a_proj_with_mqa (config.json of deepseek-ai/DeepSeek-V3)
    routers = 58 * 256 * 7168
    share = (model.n_active_parameters - 61 * low - routers) / 8 + 61 * low + routers
    assert weights_met(model, deployment(tp=8)) == pytest.approx(share, rel=1e-6)


def test_matrices_that_read_the_same_input_are_one_product():
    counting = Counting("gemm")
    linear_curve(whole(ATTENTION, DENSE), deployment(tp=2), counting)
    products = [call[1:3] for call in counting.calls if call[0] == "gemm"]
    assert products == [(64, 64), (64, 32), (256, 64), (64, 128)]


def test_types_reach_products_and_experts():
    counting = Counting("gemm experts")
    types = Precision(weights="fp8", experts="fp4")
    linear_curve(whole(ATTENTION, ROUTED), deployment(precision=types), counting)
    assert [c[-1] for c in counting.calls if c[0] == "experts"] == ["fp4"]
    kinds = [c[3:] for c in counting.calls if c[0] == "gemm"]
    assert kinds.count(("fp8", "fp8")) == 4  # in, out, both of the shared expert
    assert kinds.count(("bf16", "bf16")) == 1  # the router stays in 16 bits


@pytest.mark.parametrize(("tp", "dp", "ep"), [(8, 1, 1), (8, 1, 8), (2, 4, 8), (1, 8, 4)])
def test_experts_are_dealt_over_ep_and_cut_over_the_rest(tp, dp, ep):
    counting = Counting("experts")
    linear_curve(whole(ATTENTION, ROUTED), deployment(tp=tp, dp=dp, ep=ep), counting)
    (call,) = [c for c in counting.calls if c[0] == "experts"]
    _, tokens, n_experts, cut, dealt, _ = call
    assert (n_experts, cut, dealt) == (16, tp * dp // ep, ep)
    assert tokens[0] == dp  # one token in each group meets the experts of all


def test_the_head_is_cut_over_the_group_and_encoders_have_none():
    counting, model = Counting("gemm"), whole(ATTENTION, DENSE)
    assert head_curve(model, deployment(tp=2), counting)(ONE) == pytest.approx(500 * 64)
    reading = replace(model, encoder=True)
    assert head_curve(reading, deployment(), counting)(ONE * 100) < 1e-9


# -- exchanges ------------------------------------------------------------------------------------


def exchanges(model: Outline, **split) -> list[str]:
    counting = Counting("")
    linear_curve(model, deployment(**split), counting)
    local = ("gemm", "experts", "elementwise")
    return [name for name in counting.names() if name not in local]


def test_one_chip_sends_nothing():
    assert exchanges(whole(ATTENTION, ROUTED)) == []


def test_a_group_sums_twice_a_layer():
    assert exchanges(whole(ATTENTION, DENSE), tp=8) == ["all_reduce"] * 2


def test_groups_gather_and_scatter_or_deal_to_experts():
    cut, dealt = {"tp": 2, "dp": 4}, {"tp": 2, "dp": 4, "ep": 8}
    assert exchanges(whole(ATTENTION, ROUTED), **cut) == [
        "all_reduce",
        "all_gather",
        "reduce_scatter",
    ]
    assert exchanges(whole(ATTENTION, ROUTED), **dealt) == ["all_reduce", "dispatch_combine"]
    assert exchanges(whole(ATTENTION, DENSE), **dealt)[-1] == "reduce_scatter"  # no experts to deal


def test_stages_send_activations_once_between_each_two():
    counting = Counting("send")
    curve = linear_curve(whole(ATTENTION, DENSE), deployment(pp=3), counting)
    assert curve(ONE * 10) == pytest.approx(2 * 10 * 64 * 2)


# -- attention ------------------------------------------------------------------------------------


def decoded(model: Outline, users: float, context: float, **split) -> float:
    counting = Counting("decode elementwise")
    here = deployment(**split)
    return float(attention_decode_s(model, here, counting, ONE * users, ONE * context))


@pytest.mark.parametrize("name", ["llama-3.3-70b", "gemma-3-27b", "gpt-oss-120b", "deepseek-v3"])
def test_a_decode_step_reads_each_users_cache_once(name):
    model = outline_of(name)
    assert decoded(model, 3, 5000) == pytest.approx(3 * model.kv_bytes(5000, 1.0))


def test_heads_of_keys_are_cut_down_to_one():
    model = outline_of("llama-3.3-70b")
    per_head = model.kv_bytes(1000, 1.0) / 8
    for tp, heads in ((1, 8), (4, 2), (8, 1), (16, 1)):
        assert decoded(model, 1, 1000, tp=tp) == pytest.approx(per_head * heads)


def test_latent_caches_are_whole_on_every_chip():
    model = outline_of("deepseek-v3")
    assert decoded(model, 2, 3000, tp=8) == decoded(model, 2, 3000)


def test_windows_bound_what_is_read():
    model = whole(replace(ATTENTION, window=128), DENSE)
    assert decoded(model, 1, 100) < decoded(model, 1, 128) == decoded(model, 1, 100_000)


def test_linear_attention_reads_and_writes_its_state_whatever_the_context():
    mixer = Attention(kind="linear", state_elements=4096)
    model = whole(mixer, DENSE)
    assert decoded(model, 2, 10) == decoded(model, 2, 1_000_000) == 3 * 2 * 4096 * 4
    assert decoded(model, 2, 10, tp=4) == 3 * 2 * 4096 * 4 / 4


def test_a_layer_that_mixes_nothing_costs_no_attention():
    model = whole(Attention(kind="none"), DENSE)
    assert decoded(model, 2, 1000) == 0.0
    prompt = attention_prompt_s(model, deployment(), Counting("prompt"), ONE, ONE * 100, ONE)
    assert prompt == 0.0


@given(st.floats(1, 1e6))
@settings(max_examples=50)
def test_sparse_attention_reads_its_best_and_every_index_key(context):
    mixer = replace(ATTENTION, topk=2048, index_heads=4, index_dim=16)
    one_cache = 3 * 4 * 8 * 2
    expected = min(context, 2048) * one_cache + 3 * context * 16
    assert decoded(whole(mixer, DENSE), 1, context) == pytest.approx(expected)


def test_compressed_caches_are_read_compressed_beside_the_latest_positions():
    mixer = replace(ATTENTION, compression=4, local=128)
    one_cache = 3 * 4 * 8 * 2
    assert decoded(whole(mixer, DENSE), 1, 4000) == pytest.approx((1000 + 128) * one_cache)
    assert decoded(whole(mixer, DENSE), 1, 64) == pytest.approx((16 + 64) * one_cache)


def prompted(model: Outline, new: float, context: float = 0.0, **split) -> float:
    counting = Counting("prompt")
    at = (ONE, ONE * new, ONE * context)
    return float(attention_prompt_s(model, deployment(**split), counting, *at))


def test_prompts_meet_cached_positions_and_half_of_their_own():
    model = whole(ATTENTION, DENSE)
    assert prompted(model, 100, 1000) == pytest.approx(3 * 8 * 100 * 1050)
    assert prompted(model, 100, 1000, tp=4) == pytest.approx(3 * 2 * 100 * 1050)


def test_sparse_prompts_compute_only_their_share_of_pairs():
    model = whole(replace(ATTENTION, topk=500, index_heads=4, index_dim=16), DENSE)
    assert prompted(model, 200, 100) == prompted(whole(ATTENTION, DENSE), 200, 100)
    assert prompted(model, 200, 9900) == pytest.approx(3 * 8 * 200 * 500)


def test_choosing_for_prompts_is_a_product_of_every_index_head_and_key():
    model = whole(replace(ATTENTION, topk=500, compression=2, index_heads=4, index_dim=16), DENSE)
    counting = Counting("gemm")
    at = (ONE * 2, ONE * 200, ONE * 9900)
    found = attention_prompt_s(model, deployment(), counting, *at)
    assert found == pytest.approx(3 * 2 * (10_000 / 2) * 4 * 16)  # half of its own, compressed


# -- the curve ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama-3.3-70b", "gpt-oss-120b", "deepseek-v3"])
@pytest.mark.parametrize("chip", ["h200-sxm", "mi300x", "gaudi3"])
def test_more_tokens_never_take_less(name, chip):
    here = Deployment(chip=load_accelerator(chip), tp=8)
    curve = linear_curve(outline_of(name), here, kernels_of(here.chip))
    tokens = np.geomspace(0.25, 1e7, 2000)
    assert np.all(np.diff(curve(tokens)) >= 0)


def test_a_table_that_falls_by_noise_makes_no_larger_step_cheaper():
    counting = Counting("")
    counting.gemm = lambda m, n, k, *_: 1e-6 * m * (1 + 0.5 * np.sin(m))
    curve = linear_curve(whole(ATTENTION, DENSE), deployment(), counting)
    assert np.all(np.diff(curve(np.arange(1.0, 400.0))) >= 0)


def test_a_curve_is_straight_between_logarithms_and_grows_in_proportion_beyond():
    curve = LinearCurve(log_tokens=np.log([1.0, 4.0, 16.0]), log_s=np.log([2.0, 2.0, 8.0]))
    seconds = curve(np.asarray([0.0, 1.0, 2.0, 8.0, 16.0, 48.0]))
    np.testing.assert_allclose(seconds, [2.0, 2.0, 2.0, 4.0, 8.0, 24.0])


@given(st.floats(1, 200_000))
@settings(max_examples=60)
def test_a_curve_is_within_a_hundredth_of_the_products_it_stands_for(tokens):
    model = whole(ATTENTION, DENSE)
    counting = Counting("")
    counting.gemm = lambda m, n, k, *_: 1e-6 + 1e-9 * m  # a constant and something in proportion
    exact = 3 * 4 * (1e-6 + 1e-9 * tokens)
    assert linear_curve(model, deployment(), counting)(ONE * tokens) == pytest.approx(
        exact, rel=0.01
    )
