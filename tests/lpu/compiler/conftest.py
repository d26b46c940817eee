"""What the compiler's tests share: chips, a real checkpoint, small shapes, and ways to run them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.chips import Chip, load_chip
from takt.lpu import Session
from takt.models import SHAPES, Model, ModelShape, load_model


@pytest.fixture(scope="session")
def chip() -> Chip:
    return load_chip("lpu-v1")


@pytest.fixture(scope="session")
def stories(shared: Path) -> Model:
    """The Llama of 260 thousand parameters that tells stories."""
    path = shared / "weights" / "stories260K" / "stories260K.bin"
    if not path.is_file():
        pytest.skip(f"no checkpoint at {path}")
    return load_model(path)


@pytest.fixture
def variant(tmp_path: Path) -> Callable[[str], Chip]:
    """The chip that `lpu-v1` becomes with these lines of TOML."""

    def make(lines: str) -> Chip:
        path = tmp_path / "variant.toml"
        path.write_text(f'base = "lpu-v1"\n{lines}\n')
        return load_chip(path)

    return make


def small_shape(**changes: Any) -> ModelShape:
    """A Llama of two layers, width 64, 4 heads of 16 on 2 key heads, 97 tokens; `changes` are its fields."""
    base: dict[str, Any] = {
        "name": "small",
        "n_layers": 2,
        "dim": 64,
        "n_heads": 4,
        "n_kv_heads": 2,
        "head_dim": 16,
        "hidden_dim": 96,
        "vocab_size": 97,
        "max_context": 128,
    }
    made = base | changes
    made.setdefault("windows", (None,) * made["n_layers"])
    made.setdefault("attention_scale", made["head_dim"] ** -0.5)
    return replace(SHAPES["stories260k"], **made)


def ids_of(vocab_size: int, n: int, seed: int = 11) -> list[int]:
    ids: list[int] = np.random.default_rng(seed).integers(0, vocab_size, n).tolist()
    return ids


def step_logits(session: Session, ids: Sequence[int]) -> np.ndarray:
    """[len(ids), vocabulary], one decode step a token; engine, proof and claim must name the same cycles."""
    logits = []
    for token in ids:
        result = session.step(token)
        assert result.cycles == result.step.program.cycles
        assert 0 < result.step.bound.cycles <= result.cycles
        logits.append(result.logits)
    return np.stack(logits)


def prompt_logits(session: Session, ids: Sequence[int], n_steps: int) -> np.ndarray:
    """Logits of the last `n_steps` + 1 tokens, the others put in as a prompt."""
    results = session.prompt(ids[: len(ids) - n_steps])
    for result in results:
        assert result.cycles == result.step.program.cycles
        assert 0 < result.step.bound.cycles <= result.cycles
    rest = [session.step(token).logits for token in ids[len(ids) - n_steps :]]
    return np.stack([results[-1].logits, *rest])


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference ÷ largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())
