"""All chips stepped cycle by cycle in lockstep: the same logits and memories as at native speed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from takt.chips import System
from takt.errors import UsageError
from takt.lpu.system.compile import SystemCompiled, compile_system
from takt.lpu.system.session import SystemSession
from takt.models import Experts, Latent, Model, random_model

from .conftest import tiny


def assert_engines_agree(compiled: SystemCompiled, model: Model, ids: list[int]) -> None:
    slow, fast = (SystemSession(compiled, model, engine=name) for name in ("reference", "fast"))
    for token in ids:
        a, b = slow.step(token), fast.step(token)
        assert a.logits.tobytes() == b.logits.tobytes()
        assert a.cycles == b.cycles == compiled.step_cycles
        assert a.activity == b.activity
    for one, other in zip(slow.memories, fast.memories, strict=True):
        assert np.array_equal(one.data, other.data)


@pytest.mark.parametrize(
    ("name", "n", "weights"),
    [
        ("stories260K", 2, "fp16"),
        pytest.param("stories260K", 8, "fp16", marks=pytest.mark.slow),
        pytest.param("default", 4, "fp16", marks=pytest.mark.slow),
        pytest.param("default", 8, "int8", marks=pytest.mark.slow),
    ],
)
def test_a_split_model_is_the_same_on_both_engines(
    name: str, n: int, weights: str, real: Callable[[str], Model], node: System
) -> None:
    model = real(name)
    compiled = compile_system(
        model.shape, node, n_chips=n, weights=weights, context=64, group=n, objective="latency"
    )
    assert_engines_agree(compiled, model, [1])


@pytest.mark.slow
def test_a_pipeline_of_a_real_model_is_the_same_on_both_engines(
    real: Callable[[str], Model], node: System
) -> None:
    model = real("stories260K")
    compiled = compile_system(
        model.shape, node, n_chips=8, weights="fp16", context=64, group=2, objective="throughput"
    )
    assert len(compiled.stages) > 1
    assert_engines_agree(compiled, model, [1, 403])


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, "int8"),
        ({"experts": Experts(n_experts=6, top_k=2, hidden_dim=48, scoring="softmax")}, "fp16"),
        (
            {
                "latent": Latent(q_rank=48, kv_rank=64, rope_dim=16, nope_dim=32, value_dim=32),
                "n_kv_heads": 4,
                "head_dim": 48,
            },
            "fp16",
        ),
    ],
    ids=["dense", "experts", "latent attention"],
)
def test_a_pipeline_of_pairs_is_the_same_on_both_engines(
    changes: dict[str, object], weights: str, small_node: System
) -> None:
    shape = tiny(**changes)
    compiled = compile_system(
        shape, small_node, n_chips=4, weights=weights, context=64, group=2, objective="throughput"
    )
    assert len(compiled.stages) == 2
    assert_engines_agree(compiled, random_model(shape, 3), [7, 150])


def test_another_engine_is_refused(small_node: System) -> None:
    shape = tiny(n_layers=1)
    compiled = compile_system(shape, small_node, n_chips=2, context=64)
    with pytest.raises(UsageError, match="'fast' or 'reference'"):
        SystemSession(compiled, random_model(shape), engine="quick")
