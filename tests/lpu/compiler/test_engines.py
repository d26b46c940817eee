"""Whole programs of a real model on both engines: the same logits, the same memory, the same cycles."""

from collections.abc import Callable

import numpy as np
import pytest

from takt.chips import Chip
from takt.lpu import Compiled, Session, Step, compile_model
from takt.lpu.machine.checker import check
from takt.models import Model, random_model

from .conftest import ids_of, small_shape

CONTEXT = 128


def both(compiled: Compiled) -> tuple[Session, Session]:
    return Session(compiled, engine="reference"), Session(compiled, engine="fast", threads=2)


def assert_same(slow: Session, fast: Session) -> None:
    """All SRAM, caches included, to the bit."""
    assert np.array_equal(slow.memory.data, fast.memory.data)


def test_decode_steps_of_a_real_model_are_the_same_on_both_engines(
    stories: Model, chip: Chip
) -> None:
    slow, fast = both(compile_model(stories, chip, context=CONTEXT))
    for token in (1, 403):
        a, b = slow.step(token), fast.step(token)
        assert a.logits.tobytes() == b.logits.tobytes()
        assert a.cycles == b.cycles == a.step.program.cycles
        assert a.activity == b.activity == a.step.activity
        assert_same(slow, fast)


@pytest.mark.slow
def test_a_prompt_chunk_of_a_real_model_is_the_same_on_both_engines(
    stories: Model, chip: Chip
) -> None:
    slow, fast = both(compile_model(stories, chip, context=CONTEXT))
    ids = [1, *ids_of(512, 24)]
    for a, b in zip(slow.prompt(ids), fast.prompt(ids), strict=True):
        assert a.logits.tobytes() == b.logits.tobytes()
        assert a.cycles == b.cycles == a.step.program.cycles
        assert a.activity == b.activity
    assert_same(slow, fast)


@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_prompt_and_step_of_a_small_model_are_the_same_on_both_engines(
    weights: str, chip: Chip
) -> None:
    model = random_model(small_shape(n_layers=1, windows=(None,)))
    slow, fast = both(compile_model(model, chip, weights=weights))
    ids = ids_of(97, 12)
    for a, b in zip(slow.prompt(ids), fast.prompt(ids), strict=True):
        assert a.logits.tobytes() == b.logits.tobytes()
        assert a.cycles == b.cycles == a.step.program.cycles
        assert a.activity == b.activity == a.step.activity
    assert_same(slow, fast)


def test_a_step_with_int8_weights_is_the_same_on_both_engines(stories: Model, chip: Chip) -> None:
    slow, fast = both(compile_model(stories, chip, weights="int8", context=CONTEXT))
    a, b = slow.step(1), fast.step(1)
    assert a.logits.tobytes() == b.logits.tobytes()
    assert a.cycles == b.cycles == a.step.program.cycles
    assert_same(slow, fast)


PROGRAMS: dict[str, Callable[[Compiled], Step]] = {
    "first block": lambda compiled: compiled.decode(0),
    "third block": lambda compiled: compiled.decode(700),
    "prompt": lambda compiled: compiled.prompt(0),
    "prompt in the second block": lambda compiled: compiled.prompt(384),
}


@pytest.mark.parametrize("which", PROGRAMS)
@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_the_checker_finds_nothing_and_confirms_claim_and_activity(
    which: str, weights: str, chip: Chip
) -> None:
    model = random_model(small_shape(max_context=1024))
    step = PROGRAMS[which](compile_model(model, chip, weights=weights))
    report = check(step.program, chip)
    assert report.issues == ()
    assert report.cycles == step.program.cycles
    assert report.activity == step.activity
    assert step.bound.cycles <= report.cycles
