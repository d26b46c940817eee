"""Laws of routing, of latent attention and of the other special parts, on tiny random models."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.errors import ModelError
from takt.models import (
    Experts,
    Latent,
    Model,
    ModelShape,
    random_model,
    reference_logits,
    rope_frequencies,
)
from takt.models.model import TensorRef
from takt.models.parts import RopeScaling
from takt.models.reference_attention import attention
from takt.models.reference_experts import route

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
LATENT = Latent(q_rank=24, kv_rank=20, rope_dim=8, nope_dim=16, value_dim=12)


@pytest.fixture
def latent_shape(tiny_llama: Callable[..., ModelShape]) -> ModelShape:
    return tiny_llama(n_kv_heads=4, head_dim=24, latent=LATENT, rope_interleaved=True)


def with_tensor(model: Model, name: str, value: np.ndarray) -> Model:
    """The model with one tensor replaced."""
    refs = {
        key: TensorRef(dims=model.tensor(key).shape, read=lambda key=key: model.tensor(key))
        for key in model.names()
    }
    refs[name] = TensorRef(dims=value.shape, read=lambda: value)
    return Model(shape=model.shape, tensors=refs, source="changed")


@st.composite
def mixtures(draw: st.DrawFn) -> Experts:
    n_groups, size = draw(st.sampled_from([(1, 6), (2, 3), (4, 2), (3, 1)]))
    top_groups = draw(st.integers(1, n_groups))
    return Experts(
        n_experts=n_groups * size,
        top_k=draw(st.integers(1, min(4, top_groups * size))),
        hidden_dim=16,
        n_groups=n_groups,
        top_groups=top_groups,
        scoring=draw(st.sampled_from(["softmax", "sigmoid", "softmax_topk"])),
        norm_topk=draw(st.booleans()),
        routed_scale=draw(st.sampled_from([1.0, 2.5])),
        selection_bias=draw(st.booleans()),
        router_bias=draw(st.booleans()),
    )


def tiny_mixture(experts: Experts) -> ModelShape:
    return ModelShape(
        name="tiny",
        family="decoder",
        architecture="test",
        n_layers=1,
        dim=32,
        n_heads=2,
        n_kv_heads=2,
        head_dim=16,
        hidden_dim=16,
        vocab_size=16,
        max_context=16,
        norm="rms",
        norm_eps=1e-5,
        activation="silu",
        gated=True,
        position="rope",
        attention_scale=0.25,
        windows=(None,),
        experts=experts,
    )


@settings(max_examples=60, deadline=None)
@given(experts=mixtures(), seed=st.integers(0, 1000))
def test_routing_keeps_to_its_groups_and_weights_as_it_says(experts: Experts, seed: int) -> None:
    model = random_model(tiny_mixture(experts), seed)
    x = np.random.default_rng(seed).standard_normal((5, 32))
    routing = route(model, 0, x)
    assert routing.chosen.shape == routing.weights.shape == (5, experts.top_k)
    size = experts.n_experts // experts.n_groups
    for chosen in routing.chosen:
        assert len(set(chosen)) == experts.top_k
        assert len({int(expert) // size for expert in chosen}) <= experts.top_groups
    assert (routing.weights > 0).all()
    sums = routing.weights.sum(axis=-1)
    if experts.norm_topk or experts.scoring == "softmax_topk":
        assert np.allclose(sums, experts.routed_scale)
    elif experts.scoring == "softmax":
        assert (sums <= experts.routed_scale * (1 + 1e-12)).all()


def test_ungrouped_routing_takes_the_best_scores_in_order() -> None:
    model = random_model(tiny_mixture(Experts(n_experts=6, top_k=3, hidden_dim=8)))
    x = np.random.default_rng(1).standard_normal((4, 32))
    logits = x @ model.tensor("layers.0.ffn.router.weight").T
    assert np.array_equal(route(model, 0, x).chosen, np.argsort(-logits, axis=-1)[:, :3])


def test_a_selection_bias_changes_who_works_but_not_with_what_weight() -> None:
    experts = Experts(n_experts=6, top_k=6, hidden_dim=8, scoring="sigmoid", selection_bias=True)
    model = random_model(tiny_mixture(experts))
    name = "layers.0.ffn.router.selection.bias"
    biased = with_tensor(model, name, np.arange(6, dtype=np.float32) * 10)
    x = np.random.default_rng(1).standard_normal((4, 32))
    before, after = route(model, 0, x), route(biased, 0, x)
    assert (after.chosen == [5, 4, 3, 2, 1, 0]).all()
    by_expert = [
        np.take_along_axis(r.weights, np.argsort(r.chosen, axis=-1), axis=-1)
        for r in (before, after)
    ]
    assert np.array_equal(*by_expert)


def test_an_expert_that_is_not_chosen_does_not_matter_and_a_chosen_one_does() -> None:
    model = random_model(tiny_mixture(Experts(n_experts=6, top_k=2, hidden_dim=8)))
    name = "layers.0.ffn.experts.down.weight"
    plain = reference_logits(model, [3])
    changes = set()
    for expert in range(6):
        stack = model.tensor(name).copy()
        stack[expert] = 0
        if not np.array_equal(reference_logits(with_tensor(model, name, stack), [3]), plain):
            changes.add(expert)
    assert len(changes) == 2


def test_one_expert_that_always_works_is_a_dense_block() -> None:
    shape = tiny_mixture(Experts(n_experts=1, top_k=1, hidden_dim=16))
    mixture = random_model(shape)
    dense = random_model(replace(shape, experts=None))
    for part in ("gate", "up", "down"):
        stack = mixture.tensor(f"layers.0.ffn.experts.{part}.weight")
        dense = with_tensor(dense, f"layers.0.ffn.{part}.weight", stack[0])
    for name in ("attn.norm", "attn.q", "attn.k", "attn.v", "attn.o", "ffn.norm"):
        key = f"layers.0.{name}.weight"
        dense = with_tensor(dense, key, mixture.tensor(key))
    found, expected = (reference_logits(m, IDS, dtype=np.float64) for m in (mixture, dense))
    assert np.allclose(found, expected, rtol=1e-12)


def test_weighted_inputs_and_weighted_outputs_differ() -> None:
    experts = Experts(n_experts=4, top_k=1, hidden_dim=8, scoring="sigmoid")
    outputs = reference_logits(random_model(tiny_mixture(experts)), IDS)
    inputs = reference_logits(
        random_model(tiny_mixture(replace(experts, weighted_inputs=True))), IDS
    )
    assert not np.allclose(outputs, inputs)


def test_a_dense_layer_has_no_routing(tiny_llama: Callable[..., ModelShape]) -> None:
    with pytest.raises(ModelError, match="no experts"):
        route(random_model(tiny_llama()), 0, np.zeros((1, 64)))


@pytest.mark.parametrize("q_rank", [24, None])
def test_latent_attention_may_stay_in_the_short_space(
    q_rank: int | None, latent_shape: ModelShape
) -> None:
    """Scores and values by the cached vector alone: k_up and v_up moved to the query's and the output's side."""
    latent = replace(LATENT, q_rank=q_rank)
    shape = replace(latent_shape, latent=latent)
    model = random_model(shape)
    x = np.random.default_rng(2).standard_normal((6, shape.dim))
    assert np.allclose(attention(model, 1, x), absorbed(model, latent, x), rtol=1e-9, atol=1e-12)


def absorbed(model: Model, latent: Latent, x: np.ndarray) -> np.ndarray:
    shape, n, heads = model.shape, len(x), model.shape.n_heads

    def w(part: str) -> np.ndarray:
        return model.tensor(f"layers.1.attn.{part}.weight").astype(np.float64)

    def normed(y: np.ndarray, gain: str) -> np.ndarray:
        return y / np.sqrt((y * y).mean(-1, keepdims=True) + shape.norm_eps) * w(gain)

    def turned(y: np.ndarray) -> np.ndarray:
        pairs = (y[..., 0::2] + 1j * y[..., 1::2]) * turn.reshape(n, *[1] * (y.ndim - 2), -1)
        return np.stack([pairs.real, pairs.imag], -1).reshape(y.shape)

    turn = np.exp(1j * np.arange(n)[:, None] * rope_frequencies(shape))
    q = (
        x @ w("q").T
        if latent.q_rank is None
        else normed(x @ w("q_down").T, "q_down_norm") @ w("q_up").T
    )
    q = q.reshape(n, heads, shape.head_dim)
    short, k_rope = normed(x @ w("kv_down").T, "kv_down_norm"), turned(x @ w("k_rope").T)
    k_up = w("k_up").reshape(heads, latent.nope_dim, latent.kv_rank)
    v_up = w("v_up").reshape(heads, latent.value_dim, latent.kv_rank)
    q_short = np.einsum("qhd,hdr->qhr", q[..., : latent.nope_dim], k_up)
    scores = np.einsum("qhr,kr->hqk", q_short, short)
    scores += np.einsum("qhd,kd->hqk", turned(q[..., latent.nope_dim :]), k_rope)
    scores = np.where(np.tri(n, dtype=bool), scores * shape.attention_scale, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    values = np.einsum("hqr,hvr->qhv", np.einsum("hqk,kr->hqr", shares, short), v_up)
    return values.reshape(n, -1) @ w("o").T


@pytest.mark.parametrize(
    "change",
    [
        {"latent": replace(LATENT, q_rank=None)},
        {"embedding_scale": 3.0},
        {"attention_softcap": 0.01},
        {"logit_softcap": 0.01},
        {"windows": (2, None), "local_rope_theta": 2.0},
    ],
)
def test_every_special_part_changes_the_logits(
    change: dict[str, Any], latent_shape: ModelShape
) -> None:
    plain = latent_shape
    if "windows" in change:
        plain = replace(plain, windows=change["windows"])
    changed = replace(plain, **change)
    before, after = (reference_logits(random_model(shape), IDS) for shape in (plain, changed))
    assert not np.allclose(before, after, rtol=1e-3)


def test_caps_bound_logits(latent_shape: ModelShape) -> None:
    logits = reference_logits(random_model(replace(latent_shape, logit_softcap=0.01)), IDS)
    assert np.abs(logits).max() <= np.float32(0.01)


def test_a_sink_takes_its_share_of_attention(tiny_llama: Callable[..., ModelShape]) -> None:
    model = random_model(tiny_llama(attention_sinks=True))
    x = np.random.default_rng(2).standard_normal((4, 64))
    name = "layers.0.attn.sinks.weight"
    ones = np.ones(4, np.float32)
    without = attention(with_tensor(model, name, ones * -1e9), 0, x)
    assert np.allclose(without, attention(random_model(tiny_llama()), 0, x))
    assert np.allclose(attention(with_tensor(model, name, ones * 1e9), 0, x), 0)


def test_yarn_keeps_fast_pairs_and_stretches_slow_ones(
    tiny_llama: Callable[..., ModelShape],
) -> None:
    plain = tiny_llama(head_dim=64, rope_theta=150000.0)
    for truncate in (True, False):
        scaling = RopeScaling(kind="yarn", factor=32.0, original_context=4096, truncate=truncate)
        ratio = rope_frequencies(plain) / rope_frequencies(replace(plain, rope_scaling=scaling))
        assert ratio[0] == 1
        assert ratio[-1] == pytest.approx(32)
        assert (np.diff(ratio) >= -1e-12).all()


def test_float32_and_float64_agree_on_a_mixture_with_latent_attention(
    latent_shape: ModelShape,
) -> None:
    experts = Experts(
        n_experts=8, top_k=3, hidden_dim=24, n_shared=1, shared_hidden_dim=24,
        first_dense_layers=1, scoring="sigmoid", norm_topk=True, n_groups=4, top_groups=2,
        selection_bias=True, routed_scale=2.5,
    )  # fmt: skip
    model = random_model(replace(latent_shape, experts=experts))
    single, double = (reference_logits(model, IDS, dtype=t) for t in (np.float32, np.float64))
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    assert np.abs(single - double).max() < 1e-5 * np.abs(double).max()
