"""A real sentence encoder on the chip: its vectors are those of fp32."""

import numpy as np
import pytest

from takt.chips import Chip
from takt.errors import UsageError
from takt.lpu import Session, compile_model
from takt.models import Model, reference_encoding

COSINE = {"fp16": 0.999, "int8": 0.997}
SENTENCES = (
    "A cat sits on the mat.",
    "A kitten is on the rug.",
    "Interest rates rose today.",
    "Every instruction of the machine has its beat, fixed before the machine starts.",
    "Yes",
)


@pytest.fixture(scope="module", params=["fp16", "int8"])
def session(request: pytest.FixtureRequest, minilm: Model, chip: Chip) -> Session:
    return Session(compile_model(minilm, chip, weights=request.param, context=32))


def test_vectors_point_where_those_of_fp32_point(session: Session, minilm: Model) -> None:
    assert minilm.tokenizer is not None
    for sentence in SENTENCES:
        ids = minilm.tokenizer.encode(sentence)
        result, expected = session.encode(ids), reference_encoding(minilm, ids).pooled
        assert result.cycles == result.step.program.cycles >= result.step.bound.cycles > 0
        assert np.linalg.norm(result.vector) == pytest.approx(1, abs=1e-5)
        assert float(result.vector @ expected) > COSINE[session.compiled.weights]


def test_like_meanings_lie_together(session: Session, minilm: Model) -> None:
    assert minilm.tokenizer is not None
    vectors = np.stack([session.encode(minilm.tokenizer.encode(s)).vector for s in SENTENCES[:3]])
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.5 > 0.2 > likeness[0, 2]


def test_a_sequence_leaves_nothing_behind_for_the_next(session: Session, minilm: Model) -> None:
    assert minilm.tokenizer is not None
    short, long = (minilm.tokenizer.encode(SENTENCES[i]) for i in (4, 3))
    first = session.encode(short).vector
    session.encode(long)
    assert np.array_equal(session.encode(short).vector, first)


def test_sequences_of_no_or_too_many_tokens_are_refused(session: Session) -> None:
    for n in (0, 33):
        with pytest.raises(UsageError, match="1 to 32"):
            session.encode([101] * n)
