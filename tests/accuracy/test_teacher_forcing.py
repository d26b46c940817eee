"""Real models on real text, token by token: how far the chip's logits are from fp32. Goals as in docs/accuracy.md."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tools.accuracy import Accuracy, losses, measure, text_for, windows_of

from takt.chips import Chip
from takt.models import Model, reference_logits

AGREEMENT = {"fp16": 0.99, "int8": 0.95}
PERPLEXITY = {"fp16": 0.005, "int8": 0.03}
MODELS = ("stories260K", "tinystories-neo-3m", "default")


def measured(model: Model, name: str, weights: str, n_tokens: int, chip: Chip) -> Accuracy:
    text, label = text_for(name, None)
    windows = list(windows_of(model, text, n_tokens))
    found = measure(model, windows, chip, weights, name=name, text=label)
    assert found.tokens == n_tokens
    return found


MEAN_ERROR = {"stories260K": 0.0012, "tinystories-neo-3m": 0.0016, "default": 0.0006}
"""Mean logit error with fp16 weights, about 1.5 times what was measured: a factor 2 % off in one place exceeds it."""


@pytest.mark.parametrize("weights", AGREEMENT)
@pytest.mark.parametrize("name", MODELS)
def test_300_tokens_of_text_meet_the_goals(
    name: str, weights: str, real: Callable[[str], Model], chip: Chip
) -> None:
    found = measured(real(name), name, weights, 300, chip)
    # Of so few tokens one that flips is a third of a percent: one more than the goal allows may.
    assert found.top1_agreement >= AGREEMENT[weights] - 1 / 300
    assert abs(found.perplexity_change) <= PERPLEXITY[weights]
    if weights == "fp16":
        assert found.mean_logit_error <= MEAN_ERROR[name]


@pytest.mark.slow
@pytest.mark.parametrize("weights", AGREEMENT)
@pytest.mark.parametrize("name", MODELS)
def test_2000_tokens_of_text_meet_the_goals(
    name: str, weights: str, real: Callable[[str], Model], chip: Chip
) -> None:
    found = measured(real(name), name, weights, 2000, chip)
    assert found.top1_agreement >= AGREEMENT[weights]
    assert abs(found.perplexity_change) <= PERPLEXITY[weights]


def test_windows_cover_the_text_once_and_begin_with_the_start_token(
    real: Callable[[str], Model],
) -> None:
    model = real("default")
    assert model.tokenizer is not None
    text, _ = text_for("default", None)
    windows = list(windows_of(model, text, 1200))
    start = [model.shape.bos_id] if model.tokenizer.encode(text)[0] == model.shape.bos_id else []
    assert sum(map(len, windows)) == 1200
    assert all(len(window) <= model.shape.max_context for window in windows)
    joined = [token for window in windows for token in window[len(start) :]]
    assert all(window[: len(start)] == start for window in windows)
    assert start + joined == list(model.tokenizer.encode(text))[: len(start) + len(joined)]


def test_losses_are_those_of_a_softmax() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [1.0, 1.0, 1.0]])) + 3.0
    assert np.allclose(losses(logits, [0, 1, 2]), [-np.log(0.25), -np.log(0.7)])


def test_the_measure_sees_what_is_wrong(
    real: Callable[[str], Model], chip: Chip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With logits of the next position instead, agreement and perplexity are nowhere near the goals."""

    def shifted(session: object, ids: list[int]) -> np.ndarray:
        return np.roll(reference_logits(real("default"), ids), -1, axis=0)

    monkeypatch.setattr("tools.accuracy.chip_logits", shifted)
    found = measured(real("default"), "default", "fp16", 60, chip)
    assert found.top1_agreement < 0.5
    assert found.perplexity_change > 1


def test_the_tool_prints_its_table_and_its_objects(repository: Path) -> None:
    command = [sys.executable, str(repository / "tools" / "accuracy.py"), "default"]
    command += ["--tokens", "20", "--weights", "fp16"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "default" in printed
    assert "100.00%" in printed
    printed = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=True
    ).stdout
    (row,) = json.loads(printed)
    assert row["model"] == "default"
    assert row["tokens"] == 20
    assert row["basis"] == "simulated"
    assert 0 < row["max_logit_error"] < 0.01
