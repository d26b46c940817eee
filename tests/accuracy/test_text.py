"""Real models on the chip write what they write in fp32."""

from collections.abc import Callable

import numpy as np
import pytest

from takt.chips import Chip
from takt.lpu import Session, compile_model
from takt.models import Model

PROMPT = "Once upon a time"
STORY = (
    ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw "
    "a big, red ball. She wanted to play with it, but it was too high.\nLily's mom said"
)
NEO_STORY = (
    ", there was a little girl named Lily. She was very brave and loved to explore the world "
    "around her."
)


def written(model: Model, session: Session, n_tokens: int) -> str:
    """Greedy text after `PROMPT`."""
    assert model.tokenizer is not None
    ids = model.tokenizer.encode(PROMPT)
    stream = model.tokenizer.stream(ids)
    logits = session.prompt(ids)[-1].logits
    text = ""
    for _ in range(n_tokens):
        token = int(np.argmax(logits))
        text += stream.push(token)
        logits = session.step(token).logits
    return text + stream.flush()


def test_stories260k_tells_its_story_of_64_tokens(real: Callable[[str], Model], chip: Chip) -> None:
    model = real("stories260K")
    session = Session(compile_model(model, chip, weights="fp16"))
    assert written(model, session, 64) == STORY


def test_stories260k_begins_its_story_with_int8_weights(
    real: Callable[[str], Model], chip: Chip
) -> None:
    model = real("stories260K")
    session = Session(compile_model(model, chip, weights="int8"))
    assert written(model, session, 24).startswith(", there was a little girl named Lily.")


def test_gpt_neo_tells_its_story(real: Callable[[str], Model], chip: Chip) -> None:
    model = real("tinystories-neo-3m")
    session = Session(compile_model(model, chip, weights="fp16"))
    assert written(model, session, 22) == NEO_STORY


@pytest.mark.parametrize("threads", [1, 2])
def test_text_does_not_depend_on_threads(
    threads: int, real: Callable[[str], Model], chip: Chip
) -> None:
    model = real("stories260K")
    compiled = compile_model(model, chip, context=64)
    assert STORY.startswith(written(model, Session(compiled, threads=threads), 20))
