"""What the tests of systems share: small shapes, real models, and ways to run a model on many chips and on one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.chips import System, load_system
from takt.lpu.system.compile import SystemCompiled, compile_on_one_chip, compile_system
from takt.lpu.system.session import SystemSession
from takt.models import Model, ModelShape, load_model, reference_logits

TOLERANCE = {"fp16": 1e-2, "int8": 1e-1}
"""Largest difference ÷ largest logit that a small random model may have."""


@pytest.fixture(scope="session")
def node() -> System:
    """Eight chips, all pairs joined."""
    return load_system("groqnode-v1")


@pytest.fixture(scope="session")
def with_words(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., System]:
    """``with_words(3072)``: a system of chips with as few words a slice, by default the node of eight."""
    folder = tmp_path_factory.mktemp("systems")

    def make(words: int, base: str = "groqnode-v1") -> System:
        chip = folder / f"chip{words}.toml"
        chip.write_text(f'base = "lpu-v1"\n[mem]\nwords_per_slice = {words}\n')
        path = folder / f"{base}-{words}.toml"
        path.write_text(f'base = "{base}"\nchip = "{chip.name}"\n')
        return load_system(path)

    return make


@pytest.fixture(scope="session")
def small_node(with_words: Callable[..., System]) -> System:
    """A node whose chips have less SRAM, which is filled faster; all cycles are as on full-size chips."""
    return with_words(3072)


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest) -> Callable[[str], Model]:
    """``real("default")``, ``real("stories260K")``."""
    made: dict[str, Model] = {}

    def get(name: str) -> Model:
        if name not in made:
            made[name] = load_model(name if name == "default" else stories())
        return made[name]

    def stories() -> Path:
        shared: Path = request.getfixturevalue("shared")
        path = shared / "weights" / "stories260K" / "stories260K.bin"
        if not path.is_file():
            pytest.skip(f"no checkpoint at {path}")
        return path

    return get


def tiny(**changes: Any) -> ModelShape:
    """A Llama of two layers, width 128, 4 heads of 32 on 2 key heads, 200 tokens; `changes` are its fields."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "family": "decoder",
        "architecture": "llama",
        "n_layers": 2,
        "dim": 128,
        "n_heads": 4,
        "n_kv_heads": 2,
        "head_dim": 32,
        "hidden_dim": 192,
        "vocab_size": 200,
        "max_context": 512,
        "norm": "rms",
        "norm_eps": 1e-5,
        "activation": "silu",
        "gated": True,
        "position": "rope",
    }
    fields |= changes
    fields.setdefault("windows", (None,) * fields["n_layers"])
    fields.setdefault("attention_scale", 1 / math.sqrt(fields["head_dim"]))
    return ModelShape(**fields)


@dataclass(frozen=True, slots=True)
class Runs:
    """Logits of the same tokens: [tokens, vocabulary]."""

    system: np.ndarray
    one_chip: np.ndarray
    reference: np.ndarray

    def assert_alike(self, tolerance: float) -> None:
        """The same bits on many chips and on one; both near the reference."""
        assert np.array_equal(self.system.view(np.uint32), self.one_chip.view(np.uint32))
        assert relative_error(self.system, self.reference) < tolerance


def ids_of(vocab_size: int, n: int, seed: int = 11) -> list[int]:
    ids: list[int] = np.random.default_rng(seed).integers(0, vocab_size, n).tolist()
    return ids


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference ÷ largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def logits_of(session: SystemSession, ids: Sequence[int]) -> np.ndarray:
    """[len(ids), vocabulary], one token a step; engine and schedule must name the same cycles."""
    out = []
    for token in ids:
        claim = session.compiled.at(session.position).step_cycles
        result = session.step(token)
        assert result.cycles == claim
        out.append(result.logits)
    return np.stack(out)


def run_all(
    model: Model,
    system: System,
    n: int,
    ids: Sequence[int],
    *,
    weights: str = "fp16",
    group: int | None = None,
    objective: str = "latency",
    context: int = 64,
) -> Runs:
    """A model cut over `n` chips, on one chip with the same sums in the same order, and in fp32."""
    group = n if group is None else group
    context = min(context, model.shape.max_context)
    many: SystemCompiled = compile_system(
        model.shape,
        system,
        n_chips=n,
        weights=weights,
        context=context,
        group=group,
        objective=objective,
    )
    one = compile_on_one_chip(
        model.shape,
        system,
        n=group,
        weights=weights,
        context=context,
        n_parts=many.cut.n_parts,
    )
    return Runs(
        system=logits_of(SystemSession(many, model), ids),
        one_chip=logits_of(SystemSession(one, model), ids),
        reference=np.asarray(reference_logits(model, np.array(ids))),
    )
