"""Real checkpoints: the reference gives the text that their own implementations give."""

from pathlib import Path

import numpy as np
import pytest

from takt.errors import DataError
from takt.models import Model, load_model, reference_encoding, reference_logits

STORY = (
    ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw "
    "a big, red ball. She wanted to play with it, but it was too high.\nLily's mom said"
)
NEO_STORY = (
    ", there was a little girl named Lily. She was very brave and loved to explore the world "
    "around her."
)


def continued(model: Model, prompt: str, n_tokens: int) -> str:
    """Greedy text after `prompt`, streamed as a user would see it."""
    assert model.tokenizer is not None
    ids = model.tokenizer.encode(prompt)
    stream = model.tokenizer.stream(ids)
    text = ""
    for _ in range(n_tokens):
        ids.append(int(reference_logits(model, ids)[-1].argmax()))
        text += stream.push(ids[-1])
    return text + stream.flush()


@pytest.fixture(scope="session")
def weights(shared: Path) -> Path:
    if not (shared / "weights").is_dir():
        pytest.skip("no weights among the shared files")
    return shared / "weights"


def test_stories260k_tells_its_story_and_finds_its_tokenizer(weights: Path) -> None:
    with load_model(weights / "stories260K" / "stories260K.bin") as model:
        assert model.shape.rope_interleaved
        assert model.shape.tied_embeddings
        assert continued(model, "Once upon a time", 64) == STORY


def test_gpt_neo_tells_its_story(weights: Path) -> None:
    with load_model(weights / "tinystories-neo-3m") as model:
        assert model.shape.windows == (None, 256) * 4
        assert continued(model, "Once upon a time", 22) == NEO_STORY


def test_a_tokenizer_of_another_model_is_refused(weights: Path) -> None:
    neo = weights / "tinystories-neo-3m"
    with pytest.raises(DataError, match="14019 pieces"):
        load_model(neo, tokenizer=weights / "stories260K" / "tok512.bin")


def test_sentence_encoder_puts_like_meanings_together(minilm: Model) -> None:
    assert minilm.shape.pooling == "mean"
    assert minilm.shape.normalize
    assert minilm.tokenizer is not None
    sentences = ("A cat sits on the mat.", "A kitten is on the rug.", "Interest rates rose today.")
    vectors = np.array(
        [reference_encoding(minilm, minilm.tokenizer.encode(s)).pooled for s in sentences]
    )
    likeness = vectors @ vectors.T
    assert np.allclose(np.diag(likeness), 1, atol=1e-6)
    assert likeness[0, 1] > 0.5 > 0.2 > likeness[0, 2]
