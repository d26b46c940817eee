"""A model so small that a command takes a second, and a way to run commands."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from takt.cli import common, main
from takt.models import SHAPES, Model, TextStream, random_model

Takt = Callable[..., tuple[int, str, str]]
Documented = Callable[[str], set[str]]

TINY = replace(
    SHAPES["stories260k"],
    name="tiny",
    n_layers=1,
    n_heads=2,
    n_kv_heads=1,
    head_dim=32,
    hidden_dim=96,
    vocab_size=96,
    max_context=400,
    windows=(None,),
    eos_ids=(2,),
)
TINY_ENCODER = replace(
    SHAPES["bert-base"],
    name="tiny-bert",
    n_layers=1,
    dim=64,
    n_heads=2,
    n_kv_heads=2,
    head_dim=32,
    hidden_dim=96,
    vocab_size=96,
    max_context=32,
    windows=(None,),
    pooling="mean",
)


class Letters:
    """A tokenizer for tests: one id a character, from 32 on; it puts no id in front."""

    vocab_size = TINY.vocab_size

    def encode(self, text: str, bos: bool = True) -> list[int]:
        return [ord(letter) - 32 for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(32 + i) for i in ids)

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        return TextStream(self, after)


def tiny_models() -> dict[str, Model]:
    return {
        "tiny": random_model(TINY, tokenizer=Letters()),
        "ids": random_model(TINY),
        "bert": random_model(TINY_ENCODER, tokenizer=Letters()),
    }


@pytest.fixture
def takt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Takt:
    """`takt("run", "tiny", "Hi")` gives status, stdout, stderr; knows tiny, ids and bert besides."""
    models, real = tiny_models(), common.load_model

    def load(name: str, *, tokenizer: str | None = None) -> Model:
        return models[name] if name in models else real(name, tokenizer=tokenizer)

    monkeypatch.setattr(common, "load_model", load)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def documented(repository: Path) -> Callable[[str], set[str]]:
    """`documented("run")`: the keys that docs/verbs.md lists for a verb."""
    text = (repository / "docs" / "verbs.md").read_text(encoding="utf-8")

    def keys(verb: str) -> set[str]:
        section = text.partition(f"\n## takt {verb}\n")[2].partition("\n## ")[0]
        cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
        return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}

    return keys


@pytest.fixture
def document(takt: Takt) -> Callable[..., dict[str, Any]]:
    """The JSON object that a command prints with --json; it must succeed and print nothing else."""

    def run(*arguments: object) -> dict[str, Any]:
        status, out, err = takt(*arguments, "--json")
        assert (status, err) == (0, ""), err
        parsed = json.loads(out)
        assert isinstance(parsed, dict)
        return parsed

    return run
