"""`takt embed`: vectors, how alike they are, mistakes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from takt.cli.embed import cosines
from takt.models import random_model, reference_encoding

from .conftest import TINY_ENCODER, Documented, Letters, Takt

Document = Callable[..., dict[str, Any]]


def test_the_vectors_are_the_models(document: Document) -> None:
    found = document("embed", "bert", "a cat", "a cat", "THE SUN")
    model = random_model(TINY_ENCODER)
    for text, vector in zip(found["texts"], found["embeddings"], strict=True):
        encoding = reference_encoding(model, Letters().encode(text))
        expected = encoding.pooled
        error = np.linalg.norm(np.array(vector) - expected) / np.linalg.norm(expected)
        assert error < 1e-2
    assert found["tokens"] == [5, 5, 7]
    assert found["cosine"][0][1] == pytest.approx(1)
    assert found["cosine"][0][2] == pytest.approx(found["cosine"][2][0])
    assert found["cosine"][0][2] < 0.999
    assert all(
        0 < bound <= cycles
        for bound, cycles in zip(found["bound_cycles"], found["cycles"], strict=True)
    )


def test_two_texts_are_compared_one_is_not(takt: Takt) -> None:
    status, out, err = takt("embed", "bert", "a cat", "the sun")
    assert status == 0
    assert "\nCOSINE " in out
    assert "this machine: " in err
    assert takt("embed", "bert", "a cat", "the sun")[1] == out
    assert "COSINE" not in takt("embed", "bert", "a cat")[1]


def test_cosines_of_known_vectors() -> None:
    rows = [np.array(row, np.float32) for row in ([1, 0], [1, 1], [-2, 0], [0, 0])]
    expected = [
        [1, 0.5**0.5, -1, 0],
        [0.5**0.5, 1, -(0.5**0.5), 0],
        [-1, -(0.5**0.5), 1, 0],
        [0] * 4,
    ]
    assert np.allclose(cosines(rows), expected)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("bert",), "expected a model and at least one text"),
        (("tiny", "a cat"), "tiny is a decoder"),
        (("bert", "x" * 33), "a text has 33 tokens, the context 32"),
        (("bert", "a cat", "--context", "4"), "a text has 5 tokens, the context 4"),
        (("bert", ""), "has no tokens"),
        (("bert", "a cat", "--chip", "nope"), "nope"),
    ],
)
def test_mistakes_get_one_clear_message(
    takt: Takt, arguments: tuple[str, ...], complaint: str
) -> None:
    status, out, err = takt("embed", *arguments)
    assert (status, out) == (2, "")
    assert complaint in err


def test_the_document_lists_exactly_the_keys(document: Document, documented: Documented) -> None:
    assert documented("embed") == set(document("embed", "bert", "a cat"))
