"""What the verbs that touch a model share: its options, opening it, compiling it, JSON."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer

from takt.chips import Chip, load_chip
from takt.cli.progress import waiting
from takt.errors import UsageError
from takt.lpu import Compiled, compile_model
from takt.models import Model, load_model

__all__ = [
    "AsJson",
    "ChipName",
    "Context",
    "Engine",
    "TokenizerFile",
    "Weights",
    "compiled_for",
    "open_model",
    "prepare",
    "print_json",
]

DEFAULT_CHIP = "lpu-v1"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
ChipName = Annotated[
    str, typer.Option("--chip", metavar="ID|FILE", help="An id of `takt chips`, or a .toml file.")
]
Weights = Annotated[
    str, typer.Option("--weights", metavar="fp16|int8", help="How weights lie in SRAM.")
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="fast|reference",
        help="fast, or the cycle-stepped judge: same bits, same cycles.",
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="N",
        help="Positions to make room for [default: the model's, at most 2048].",
        show_default=False,
    ),
]
TokenizerFile = Annotated[
    str | None,
    typer.Option(
        "--tokenizer", metavar="FILE", help="Instead of the one beside the model.", show_default=False
    ),
]


@contextmanager
def open_model(name: str, tokenizer: str | None, family: str | None) -> Iterator[Model]:
    """The model that ``name`` names, open for the block; of ``family`` if one is asked for."""
    with waiting(f"reading {name}"):
        model = load_model(name, tokenizer=tokenizer)
    with model:
        found = model.shape.family
        if family is not None and found != family:
            article = "an encoder" if found == "encoder" else "a decoder"
            use = "takt embed makes vectors with it" if found == "encoder" else "takt run runs it"
            raise UsageError(f"{model.shape.name} is {article}, not {_needs(family)}", hint=use)
        yield model


def _needs(family: str) -> str:
    return "a decoder that continues text" if family == "decoder" else "an encoder of sentences"


def compiled_for(model: Model, chip_name: str, weights: str, context: int | None) -> Compiled:
    """The model placed on the chip; its programs are made when they are asked for."""
    chip: Chip = load_chip(chip_name)
    with waiting(f"placing {model.shape.name} on {chip.id}"):
        return compile_model(model, chip, weights=weights, context=context)


def prepare(compiled: Compiled, positions: range) -> float:
    """Compile every program that decoding at ``positions`` needs; returns the seconds it took."""
    start = time.perf_counter()
    lanes = compiled.chip.lanes
    with waiting(f"compiling {compiled.model.shape.name}"):
        for position in range(positions.start - positions.start % lanes, positions.stop, lanes):
            compiled.decode(position)
    return time.perf_counter() - start


def print_json(document: Mapping[str, object]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
