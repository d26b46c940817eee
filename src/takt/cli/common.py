"""What the verbs that touch a model share: its options, opening it, compiling it, JSON."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer

from takt.chips import Chip, list_chips, load_chip
from takt.cli.outputs import AsJson, writable
from takt.cli.progress import waiting
from takt.errors import UsageError
from takt.lpu import Compiled, Step, TaktFile, compile_model, load_takt
from takt.models import Model, load_model

__all__ = [
    "AsJson",
    "ChipName",
    "Context",
    "Engine",
    "TokenizerFile",
    "Weights",
    "all_steps",
    "compiled_for",
    "named_step",
    "open_file",
    "open_model",
    "prepare",
    "print_json",
    "writable",
]

DEFAULT_CHIP = "lpu-v1"

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
        "--tokenizer",
        metavar="FILE",
        help="Instead of the one beside the model.",
        show_default=False,
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


def prepare(compiled: Compiled, positions: range) -> None:
    """Compile the program of every decode step at ``positions``."""
    lanes = compiled.chip.lanes  # one program serves as many positions as there are lanes
    with waiting(f"compiling {compiled.model.shape.name}"):
        for position in range(positions.start - positions.start % lanes, positions.stop, lanes):
            compiled.decode(position)


def all_steps(compiled: Compiled, *, prompts: bool) -> list[Step]:
    """An encoder's program, or a decoder's: every decode step's, and those for prompts on request."""
    if compiled.model.shape.family == "encoder":
        with waiting(f"compiling {compiled.model.shape.name}"):
            return [compiled.encode()]
    prepare(compiled, range(compiled.context))
    if prompts:
        with waiting(f"compiling prompts of {compiled.model.shape.name}"):
            for start in range(0, compiled.context, compiled.layout.chunk):
                compiled.prompt(start)
    return list(compiled.steps.values())


def named_step(compiled: Compiled, name: str) -> Step:
    """The program called ``decode.N``, ``prompt.N`` or ``encode``."""
    kind, _, number = name.partition(".")
    encoder = compiled.model.shape.family == "encoder"
    with waiting(f"compiling {compiled.model.shape.name}"):
        if name == "encode" and encoder:
            return compiled.encode()
        if not encoder and number.isascii() and number.isdigit() and len(number) < 9:
            if kind == "decode":
                return compiled.decode(int(number) * compiled.chip.lanes)
            if kind == "prompt":
                return compiled.prompt(int(number))
    known = "'encode'" if encoder else f"decode.N (N × {compiled.chip.lanes} positions), prompt.N"
    raise UsageError(
        f"{compiled.model.shape.name} has no program {name[:40]!r}", hint=f"it has {known}"
    )


def open_file(path: str, chip: str | None) -> tuple[TaktFile, Chip]:
    """A program file and the chip it was made for; ``chip`` names that of a file of the user's own."""
    content = load_takt(path)
    if chip is None and content.chip_id not in [known.id for known in list_chips()]:
        raise UsageError(
            f"{path} is for a chip '{content.chip_id}' that is not in the catalogue",
            hint="name its file: --chip FILE.toml",
        )
    found = load_chip(content.chip_id if chip is None else chip)
    content.check_chip(found)
    return content, found


def print_json(document: Mapping[str, object]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
