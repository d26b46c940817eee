"""What does not fit or cannot be: errors say what would."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from takt.chips import System, load_chip
from takt.errors import CapacityError, UnsupportedError, UsageError
from takt.lpu import compile_model
from takt.lpu.system import fewest_chips, most_users
from takt.lpu.system.compile import SystemCompiled, compile_system
from takt.lpu.system.fit import longest_context
from takt.lpu.system.stages import Stage
from takt.models import SHAPES, Experts, ModelShape, random_model

from .conftest import tiny


@pytest.fixture(scope="module")
def large() -> ModelShape:
    """More layers than fit one chip of `tight`."""
    return tiny(name="large", n_layers=40, dim=640, hidden_dim=640, vocab_size=97)


@pytest.fixture(scope="module")
def tight(with_words: Callable[..., System]) -> System:
    """A node of chips with little SRAM."""
    return with_words(4096)


def suggested(error: CapacityError) -> int:
    found = re.search(r"--chips (\d+)", error.hint or "")
    assert found, error.hint
    return int(found[1])


@pytest.mark.parametrize("group", [1, 2])
def test_too_few_chips_names_how_many_do_and_they_do(
    group: int, large: ModelShape, tight: System
) -> None:
    with pytest.raises(CapacityError, match=r"large .* needs \d+ chips .* there are") as caught:
        compile_system(large, tight, n_chips=group, weights="fp16", context=320, group=group)
    chips = suggested(caught.value)
    fits = compile_system(large, tight, n_chips=chips, weights="fp16", context=320, group=group)
    assert len(fits.stages) * group == chips
    with pytest.raises(CapacityError):
        compile_system(
            large, tight, n_chips=chips - group, weights="fp16", context=320, group=group
        )
    assert (group, chips) in fewest_chips(large, tight, weights="fp16", context=320)


def test_of_all_groups_the_error_names_the_fewest_chips(large: ModelShape, tight: System) -> None:
    with pytest.raises(CapacityError) as caught:
        compile_system(large, tight, n_chips=1, weights="fp16", context=320)
    chips = suggested(caught.value)
    fits = compile_system(large, tight, n_chips=chips, weights="fp16", context=320)
    assert len(fits.stages) * fits.cut.n <= chips


def test_a_piece_larger_than_a_chip_says_what_to_try(tight: System) -> None:
    """The caches of one layer and user are the smallest thing that a group can hold."""
    shape = tiny(name="long", max_context=1 << 20, n_kv_heads=4)
    with pytest.raises(CapacityError, match="larger than a chip") as caught:
        compile_system(shape, tight, n_chips=8, group=8, context=1 << 20)
    assert "shorter context" in (caught.value.hint or "")
    assert fewest_chips(shape, tight, context=1 << 20) == ()


def test_a_real_model_that_is_too_large_names_chips(node: System) -> None:
    with pytest.raises(CapacityError, match=r"llama-3.1-8b .* there are 8") as caught:
        compile_system(SHAPES["llama-3.1-8b"], node, n_chips=8, context=4096)
    assert suggested(caught.value) > 8 * 4  # its weights alone are 36 times a chip's SRAM


@pytest.mark.parametrize(("group", "n_chips"), [(3, 8), (16, 8), (0, 8), (8, 4), (64, 8), (-1, 8)])
def test_impossible_groups_name_the_possible_ones(
    group: int, n_chips: int, small_node: System
) -> None:
    with pytest.raises(UsageError, match=f"groups of {group} chips: expected one of 1, 2, 4"):
        compile_system(tiny(), small_node, n_chips=n_chips, group=group, context=64)


def test_a_width_that_no_group_divides_leaves_smaller_groups(small_node: System) -> None:
    shape = tiny(dim=132)
    with pytest.raises(UsageError, match=r"expected one of 1, 2, 4 .* divides 132"):
        compile_system(shape, small_node, n_chips=8, group=8, context=64)
    assert compile_system(shape, small_node, n_chips=8, context=64).cut.n in (1, 2, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 0}, "1 to 512"),
        ({"context": 513}, "1 to 512"),
        ({"users": 0}, "at least 1"),
        ({"weights": "int4"}, "'fp16' or 'int8'"),
        ({"objective": "price"}, "latency, throughput"),
        ({"n_chips": 0}, "no 0 chips"),
        ({"n_chips": 9}, "no 9 chips"),
    ],
)
def test_impossible_wishes_name_the_possible_ones(
    options: dict[str, object], message: str, small_node: System
) -> None:
    wishes: dict[str, object] = {"n_chips": 2, "context": 64} | options
    with pytest.raises(UsageError, match=message):
        compile_system(tiny(), small_node, **wishes)  # type: ignore[arg-type]


SOME: dict[str, Any] = {"n_experts": 4, "top_k": 1, "hidden_dim": 32}
REFUSED: dict[str, tuple[ModelShape, str]] = {
    "encoder": (SHAPES["bert-base"], "encoder"),
    "capped logits": (tiny(logit_softcap=30.0), "capped logits"),
    "scaled embeddings": (tiny(embedding_scale=2.0), "scaled embeddings"),
    "a bias before a norm of heads": (tiny(qk_norm=True, biases=("attn.q",)), "behind a bias"),
    "weighted inputs": (tiny(experts=Experts(**SOME, weighted_inputs=True)), "weighted"),
    "bias on probabilities": (tiny(experts=Experts(**SOME, selection_bias=True)), "probabilities"),
    "groups by probabilities": (tiny(experts=Experts(**SOME, n_groups=2)), "probabilities"),
    "groups of very many": (
        tiny(experts=Experts(n_experts=330, top_k=1, hidden_dim=32, scoring="sigmoid", n_groups=2)),
        "320 experts",
    ),
}


def test_one_chip_refuses_heads_that_it_cannot_lower_too() -> None:
    with pytest.raises(UnsupportedError, match="behind a bias"):
        compile_model(
            random_model(tiny(qk_norm=True, biases=("attn.k",))), load_chip("lpu-v1"), context=64
        )


@pytest.mark.parametrize(("shape", "what"), REFUSED.values(), ids=REFUSED)
def test_what_no_program_computes_is_refused_by_name(
    shape: ModelShape, what: str, small_node: System
) -> None:
    with pytest.raises(UnsupportedError, match=what):
        compile_system(shape, small_node, n_chips=2, context=64)


# ------------------------------------------------------------------------------------------------------ what would fit
def cache_words(compiled: SystemCompiled, stage: Stage) -> int:
    """Words that one user's caches take on each chip of a stage."""
    return sum(
        compiled.library.regions(slot.kind)["cache"].words
        for slot in stage.slots
        if slot.kind.attention
    )


def room(compiled: SystemCompiled, stage: Stage) -> int:
    """Words of a stage's chips that caches take or might."""
    return stage.capacity - stage.words + compiled.users * cache_words(compiled, stage)


def users_of_these_stages(compiled: SystemCompiled) -> int:
    """Users that fit without cutting anew: the stages with caches have room for at least so many."""
    return min(
        room(compiled, stage) // cache_words(compiled, stage)
        for stage in compiled.stages
        if cache_words(compiled, stage)
    )


def context_of_these_stages(compiled: SystemCompiled) -> int:
    """Positions that fit without cutting anew."""
    lanes = compiled.cut.chip.lanes * compiled.cut.n_parts
    blocks = -(-compiled.cut.context // lanes)
    return min(
        room(compiled, stage) * blocks // (compiled.users * cache_words(compiled, stage)) * lanes
        for stage in compiled.stages
        if cache_words(compiled, stage)
    )


def test_the_stated_users_fit_and_one_more_does_not(small_node: System) -> None:
    shape = tiny()
    compiled = compile_system(shape, small_node, n_chips=2, group=2, context=512)
    users = most_users(compiled)
    assert users is not None and users > 1
    assert users >= users_of_these_stages(compiled) > 1
    full = compile_system(shape, small_node, n_chips=2, group=2, context=512, users=users)
    assert full.sram_used_fraction <= 1
    with pytest.raises(CapacityError, match=f"for {users + 1} users with context 512"):
        compile_system(shape, small_node, n_chips=2, group=2, context=512, users=users + 1)


def test_the_stated_context_fits_and_a_block_more_does_not(tight: System) -> None:
    shape = tiny(max_context=1 << 20)
    compiled = compile_system(shape, tight, n_chips=2, group=2, context=320)
    longest = longest_context(compiled)
    assert 320 < longest < shape.max_context
    assert longest >= min(context_of_these_stages(compiled), shape.max_context) > 320
    assert (2, 2) in fewest_chips(shape, tight, context=longest)
    assert (2, 2) not in fewest_chips(shape, tight, context=longest + 320)
