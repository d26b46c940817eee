"""Sizes that do not fit the chip's own: odd widths, many blocks of context, windows; against the numpy reference."""

from typing import Any

import numpy as np
import pytest

from takt.chips import Chip
from takt.errors import CapacityError, UnsupportedError, UsageError
from takt.lpu import Session, compile_model
from takt.models import SHAPES, ModelShape, random_model, reference_logits

from .conftest import ids_of, prompt_logits, relative_error, small_shape, step_logits

TOLERANCE = 1e-2
N_STEPS = 8

SIZES: dict[str, dict[str, Any]] = {
    "smallest": {"dim": 16, "n_heads": 1, "n_kv_heads": 1, "hidden_dim": 16, "vocab_size": 5},
    "nothing divides by 16": {
        "dim": 70,
        "n_heads": 3,
        "n_kv_heads": 1,
        "head_dim": 22,
        "hidden_dim": 131,
        "vocab_size": 517,
    },
    "one layer": {"n_layers": 1},
    "five layers": {"n_layers": 5},
    "width of two vectors": {"dim": 344, "hidden_dim": 172},
    "width of a whole vector": {"dim": 320, "hidden_dim": 320, "vocab_size": 320},
    "feed-forward of three vectors": {"hidden_dim": 700},
    "logits of four vectors": {"vocab_size": 1100},
    "twelve query heads on one key head": {"n_heads": 12, "n_kv_heads": 1},
    "keys of two vectors": {"n_heads": 11, "n_kv_heads": 11, "head_dim": 32},
    "neighbours rotate": {"rope_interleaved": True},
}


@pytest.mark.parametrize("size", SIZES)
def test_any_size_gives_the_logits_of_the_reference(size: str, chip: Chip) -> None:
    shape = small_shape(**SIZES[size])
    model, ids = random_model(shape, 5), ids_of(shape.vocab_size, 30)
    expected = reference_logits(model, ids)
    compiled = compile_model(model, chip, context=32)
    found = step_logits(Session(compiled), ids)
    assert relative_error(found, expected) < TOLERANCE
    after = prompt_logits(Session(compiled), ids, N_STEPS)
    assert relative_error(after, expected[-1 - N_STEPS :]) < TOLERANCE


@pytest.fixture(scope="module")
def long_shape() -> ModelShape:
    """Three blocks of context; a layer that sees all and one that sees 100 positions."""
    return small_shape(max_context=700, windows=(None, 100))


def test_every_block_of_context_and_window_gives_the_logits_of_the_reference(
    long_shape: ModelShape, chip: Chip
) -> None:
    model, ids = random_model(long_shape, 3), ids_of(97, 690)
    expected = reference_logits(model, ids)
    found = step_logits(Session(compile_model(model, chip)), ids)
    for block in range(3):
        here = slice(320 * block, 320 * (block + 1))
        assert relative_error(found[here], expected[here]) < TOLERANCE


@pytest.mark.parametrize("n_prompt", [2, 9, 64, 65, 321, pytest.param(650, marks=pytest.mark.slow)])
def test_a_prompt_of_any_length_ends_where_single_steps_end(
    n_prompt: int, long_shape: ModelShape, chip: Chip
) -> None:
    model, ids = random_model(long_shape, 3), ids_of(97, n_prompt + N_STEPS)
    expected = reference_logits(model, ids)[-1 - N_STEPS :]
    session = Session(compile_model(model, chip))
    found = prompt_logits(session, ids, N_STEPS)
    assert session.position == len(ids)
    assert relative_error(found, expected) < TOLERANCE


def test_chunks_and_steps_continue_greedily_alike(long_shape: ModelShape, chip: Chip) -> None:
    compiled = compile_model(random_model(long_shape, 3), chip)
    prompt = ids_of(97, 330)
    one, other = Session(compiled), Session(compiled)
    a = [step_logits(one, prompt)[-1]]
    b = [other.prompt(prompt)[-1].logits]
    for _ in range(16):
        assert a[-1].argmax() == b[-1].argmax()
        a.append(one.step(int(a[-1].argmax())).logits)
        b.append(other.step(int(b[-1].argmax())).logits)
    assert relative_error(np.stack(a), np.stack(b)) < TOLERANCE


def test_a_session_starts_again_as_if_new(chip: Chip) -> None:
    compiled = compile_model(random_model(small_shape()), chip)
    used, ids = Session(compiled), ids_of(97, 40)
    used.prompt(ids[::-1])
    used.reset()
    assert np.array_equal(step_logits(used, ids), step_logits(Session(compiled), ids))


def test_the_context_asked_for_changes_no_bit(chip: Chip) -> None:
    model, ids = random_model(small_shape(max_context=640)), ids_of(97, 20)
    short, long = (Session(compile_model(model, chip, context=n)) for n in (32, 640))
    assert np.array_equal(step_logits(short, ids), step_logits(long, ids))


def test_positions_and_tokens_outside_are_refused(chip: Chip) -> None:
    session = Session(compile_model(random_model(small_shape()), chip, context=4))
    for token in (-1, 97):
        with pytest.raises(UsageError, match="vocabulary of 97"):
            session.step(token)
    with pytest.raises(UsageError, match="5 prompt tokens"):
        session.prompt([1] * 5)
    session.prompt([1] * 4)
    with pytest.raises(UsageError, match="context of 4"):
        session.step(1)
    with pytest.raises(UsageError, match="1 to 128"):
        compile_model(random_model(small_shape()), chip, context=129)


def test_a_head_wider_than_the_chip_is_refused(chip: Chip) -> None:
    shape = small_shape(n_heads=1, n_kv_heads=1, head_dim=322)
    with pytest.raises(UnsupportedError, match="322"):
        compile_model(random_model(shape), chip)


@pytest.mark.parametrize("name", ["smollm-135m", "bert-base"])
def test_a_model_larger_than_the_chip_says_what_does_not_fit(name: str, chip: Chip) -> None:
    with pytest.raises(CapacityError, match="no room in SRAM") as caught:
        compile_model(random_model(SHAPES[name]), chip, weights="fp16", context=128)
    assert str(caught.value) != "no room in SRAM"
