"""Small random models of every kind and size over 2, 4 and 8 chips."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.chips import System
from takt.models import ModelShape, random_model

from .conftest import TOLERANCE, ids_of, run_all, tiny

N_TOKENS = 5
GPT2: dict[str, Any] = {
    "norm": "layer",
    "activation": "gelu_tanh",
    "gated": False,
    "position": "learned",
    "n_kv_heads": 4,
    "biases": ("attn.q", "attn.k", "attn.v", "attn.o", "ffn.up", "ffn.down"),
}
FIVE_HEADS = {"n_heads": 5, "n_kv_heads": 5, "dim": 160}
SHAPES: dict[str, dict[str, Any]] = {
    "grouped queries": {},
    "five heads": FIVE_HEADS,
    "five heads on one key head": FIVE_HEADS | {"n_kv_heads": 1},
    "six heads on three key heads": {"n_heads": 6, "n_kv_heads": 3, "head_dim": 16, "dim": 96},
    "keys of three vectors": {"n_heads": 12, "n_kv_heads": 12, "head_dim": 64, "dim": 256},
    "heads as wide as a vector": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 320},
    "tails beside whole vectors": {"dim": 1000, "hidden_dim": 500},
    "tails on three vectors": {"dim": 672, "hidden_dim": 330},
    "a shard of a whole vector": {"dim": 640, "hidden_dim": 700},
    "columns that do not come out even": {"vocab_size": 201, "hidden_dim": 193},
    "fewer columns than chips": {"hidden_dim": 5},
    "a vocabulary of several vectors": {"vocab_size": 1100},
    "norms of heads": {"qk_norm": True, "n_heads": 5, "n_kv_heads": 1},
    "layer norms, biases, learned positions": GPT2,
    "layer norms with five heads": GPT2 | FIVE_HEADS | {"activation": "gelu"},
    "biases that rotate": {"biases": ("attn.q", "attn.k", "attn.v")},
    "neighbours rotate": {"rope_interleaved": True},
    "relu": GPT2 | {"activation": "relu", "biases": ()},
    "a tied head": {"tied_embeddings": True},
}
LARGE = {
    "tails beside whole vectors",
    "tails on three vectors",
    "a vocabulary of several vectors",
}
"""Too large for all ranks together on a chip of little SRAM."""
ON_EIGHT = {"five heads", "tails on three vectors", "layer norms with five heads"}
CASES = [
    pytest.param(name, n, weights, marks=[pytest.mark.slow] if slow else [])
    for i, name in enumerate(SHAPES)
    for n, weights, slow in (
        (2, ("int8", "fp16")[i % 2], False),
        (4, ("fp16", "int8")[i % 2], i % 4 > 0),
        (8, ("int8", "fp16")[i % 2], name != "tails on three vectors"),
    )
    if n < 8 or name in ON_EIGHT
]


@pytest.mark.parametrize(("name", "n", "weights"), CASES)
def test_any_shape_gives_the_bits_of_one_chip_and_the_logits_of_the_reference(
    name: str, n: int, weights: str, node: System, small_node: System
) -> None:
    shape = tiny(**SHAPES[name])
    model, ids = random_model(shape, 1), ids_of(shape.vocab_size, N_TOKENS)
    system = node if name in LARGE else small_node
    run_all(model, system, n, ids, weights=weights).assert_alike(TOLERANCE[weights])


@st.composite
def shapes(draw: st.DrawFn) -> ModelShape:
    """One layer of anything small."""
    n_kv_heads = draw(st.integers(1, 3))
    layer_norm = draw(st.booleans())
    qk_norm = not layer_norm and draw(st.booleans())
    unbiased = ("attn.q", "attn.k") if qk_norm else ()  # refused together
    biases = ("attn.q", "attn.k", "attn.v", "attn.o", "ffn.up", "ffn.down")
    return tiny(
        n_layers=1,
        dim=4 * draw(st.integers(4, 110)),
        n_kv_heads=n_kv_heads,
        n_heads=n_kv_heads * draw(st.integers(1, 4)),
        head_dim=2 * draw(st.integers(4, 30)),
        hidden_dim=draw(st.integers(1, 700)),
        vocab_size=draw(st.integers(2, 400)),
        norm="layer" if layer_norm else "rms",
        position="learned" if layer_norm else "rope",
        gated=not layer_norm,
        activation=draw(st.sampled_from(["gelu", "relu"])) if layer_norm else "silu",
        biases=tuple(b for b in biases if b not in unbiased and draw(st.booleans())),
        qk_norm=qk_norm,
        rope_interleaved=draw(st.booleans()),
        windows=(draw(st.sampled_from([None, 2])),),
    )


@settings(max_examples=5)
@given(
    shape=shapes(),
    n=st.sampled_from([2, 4]),
    weights=st.sampled_from(["fp16", "int8"]),
    seed=st.integers(0, 99),
)
def test_random_shapes_give_the_bits_of_one_chip_and_the_logits_of_the_reference(
    shape: ModelShape, n: int, weights: str, seed: int, small_node: System
) -> None:
    model = random_model(shape, seed)
    runs = run_all(model, small_node, n, ids_of(shape.vocab_size, 4, seed), weights=weights)
    runs.assert_alike(2 * TOLERANCE[weights])  # logits of so few columns may all be small
