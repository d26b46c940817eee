"""Mixtures of experts, chosen on the chips, and latent attention: every variant against the reference and one chip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from takt.chips import System
from takt.lpu.system.compile import compile_system
from takt.lpu.system.session import SystemSession
from takt.models import Experts, Latent, random_model, reference_logits

from .conftest import TOLERANCE, Runs, ids_of, logits_of, run_all, tiny

N_TOKENS = 8
COMMON: dict[str, Any] = {"n_experts": 12, "top_k": 3, "hidden_dim": 64}
EXPERTS: dict[str, Experts] = {
    "softmax, shares that sum to one": Experts(**COMMON, scoring="softmax", norm_topk=True),
    "softmax over all": Experts(n_experts=12, top_k=3, hidden_dim=96, scoring="softmax"),
    "softmax over the chosen": Experts(**COMMON, scoring="softmax_topk", router_bias=True),
    "sigmoid": Experts(**COMMON, scoring="sigmoid", routed_scale=0.5),
    "selection bias": Experts(
        **COMMON, scoring="sigmoid", norm_topk=True, selection_bias=True, routed_scale=2.5
    ),
    "shared experts": Experts(
        **COMMON, scoring="softmax", norm_topk=True, n_shared=1, shared_hidden_dim=16
    ),
    "first layer dense": Experts(
        **COMMON,
        scoring="sigmoid",
        norm_topk=True,
        n_shared=1,
        shared_hidden_dim=64,
        first_dense_layers=1,
        selection_bias=True,
    ),
    "biases and clamps": Experts(
        **COMMON,
        scoring="softmax_topk",
        router_bias=True,
        biases=True,
        swiglu_alpha=1.702,
        swiglu_limit=7.0,
    ),
    "groups": Experts(
        **COMMON,
        scoring="sigmoid",
        norm_topk=True,
        n_groups=4,
        top_groups=2,
        selection_bias=True,
    ),
    "one of three groups": Experts(
        **COMMON, scoring="sigmoid", n_groups=3, top_groups=1, routed_scale=1.5
    ),
    "one of two": Experts(n_experts=2, top_k=1, hidden_dim=64, scoring="softmax", norm_topk=True),
    "all of three": Experts(n_experts=3, top_k=3, hidden_dim=700, scoring="softmax"),
}
CASES = [
    pytest.param(name, n, weights, marks=[pytest.mark.slow] if slow else [])
    for i, name in enumerate(EXPERTS)
    for n, weights, slow in (
        (2, "fp16", i % 2 == 1),
        (2, "int8", i % 2 == 0),
        (4, ("fp16", "int8")[i // 2 % 2], True),
    )
    if n == 2 or i % 2 == 0
]


def assert_alike(runs: Runs, weights: str) -> None:
    """As `Runs.assert_alike`, but with int8 weights two of eight tokens may meet another expert, where scores nearly tie."""
    assert np.array_equal(runs.system.view(np.uint32), runs.one_chip.view(np.uint32))
    errors = np.sort(np.abs(runs.system - runs.reference).max(1) / np.abs(runs.reference).max())
    assert errors[-1 if weights == "fp16" else -3] < TOLERANCE[weights]


@pytest.mark.parametrize(("name", "n", "weights"), CASES)
def test_experts_give_the_bits_of_one_chip_and_the_logits_of_the_reference(
    name: str, n: int, weights: str, small_node: System
) -> None:
    shape = tiny(experts=EXPERTS[name])
    ids = ids_of(shape.vocab_size, N_TOKENS)
    assert_alike(run_all(random_model(shape, 1), small_node, n, ids, weights=weights), weights)


def test_more_experts_than_lanes_are_ranked_over_two_vectors(node: System) -> None:
    experts = Experts(n_experts=330, top_k=2, hidden_dim=16, scoring="softmax", norm_topk=True)
    shape = tiny(experts=experts, n_layers=1)
    model, ids = random_model(shape, 2), ids_of(200, 12)
    compiled = compile_system(shape, node, n_chips=2, group=1, weights="fp16", context=64)
    found = logits_of(SystemSession(compiled, model), ids)
    expected = np.asarray(reference_logits(model, ids))
    assert np.abs(found - expected).max() / np.abs(expected).max() < TOLERANCE["fp16"]


def test_a_token_takes_the_same_time_whatever_it_chooses(small_node: System) -> None:
    """`logits_of` compares the cycles of every step with the claim; here tokens do choose differently."""
    shape = tiny(experts=EXPERTS["sigmoid"], n_layers=1)
    compiled = compile_system(shape, small_node, n_chips=2, group=2, weights="fp16", context=64)
    session = SystemSession(compiled, random_model(shape, 1))
    steps = [session.step(token) for token in ids_of(200, 6)]
    assert {step.cycles for step in steps} == {compiled.step_cycles}
    assert all(step.activity == steps[0].activity for step in steps)


LATENT = Latent(q_rank=48, kv_rank=64, rope_dim=16, nope_dim=32, value_dim=32)
LATENTS: dict[str, dict[str, Any]] = {
    "narrow queries": {"latent": LATENT},
    "whole queries": {
        "latent": Latent(q_rank=None, kv_rank=64, rope_dim=16, nope_dim=32, value_dim=24)
    },
    "a latent of two vectors": {
        "latent": Latent(q_rank=48, kv_rank=400, rope_dim=16, nope_dim=32, value_dim=32)
    },
    "five heads": {"latent": LATENT, "n_heads": 5, "n_kv_heads": 5, "dim": 160},
    "with experts": {"latent": LATENT, "experts": EXPERTS["first layer dense"]},
    "neighbours rotate": {"latent": LATENT, "rope_interleaved": True},
}


@pytest.mark.parametrize(
    ("name", "n", "weights"),
    [
        pytest.param(name, n, weights, marks=[pytest.mark.slow] if slow else [])
        for i, name in enumerate(LATENTS)
        for n, weights, slow in (
            (2, "fp16", i % 2 == 1),
            (2, "int8", i % 2 == 0),
            (4, ("int8", "fp16")[i % 2], True),
        )
    ],
)
def test_latent_attention_gives_the_bits_of_one_chip_and_the_logits_of_the_reference(
    name: str, n: int, weights: str, small_node: System
) -> None:
    shape = tiny(**{"n_kv_heads": 4, "head_dim": 48} | LATENTS[name])
    ids = ids_of(shape.vocab_size, N_TOKENS)
    assert_alike(run_all(random_model(shape, 1), small_node, n, ids, weights=weights), weights)


@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_attention_sinks_take_their_share(weights: str, small_node: System) -> None:
    shape = tiny(attention_sinks=True, biases=("attn.q", "attn.k", "attn.v", "attn.o"))
    ids = ids_of(shape.vocab_size, N_TOKENS)
    runs = run_all(random_model(shape, 1), small_node, 2, ids, weights=weights)
    runs.assert_alike(TOLERANCE[weights])
