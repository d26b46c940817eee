"""How close the chip's logits come to fp32: `python tools/accuracy.py [MODEL…] [--tokens N] [--weights …] [--json]`.

Teacher forcing: the text's own tokens go in one by one, whatever the model would have said, and after each one the
chip's logits (fast engine, which has the machine's bits) are compared with `reference_logits` in fp32. A text longer than
the model's context is cut into windows, each a new sequence. Knows nothing of speed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from takt.chips import Chip, load_chip
from takt.lpu import Session, compile_model
from takt.models import Model, load_model, reference_logits

REPOSITORY = Path(__file__).resolve().parent.parent
STORY = Path(__file__).with_name("accuracy_story.txt")
CODE = "pstats.py"
"""A file of the standard library that the default model was not trained on."""

WEIGHTS = ("fp16", "int8")
KNOWN = {
    "stories260K": "stories260K/stories260K.bin",
    "tinystories-neo-3m": "tinystories-neo-3m",
}
"""Names for weights in the folder that TAKT_SHARED names (default: `shared` beside the repository)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What one model with one kind of weights did on one text.

    Shares are of 1. An error is max |chip − fp32| ÷ max |fp32| of one position's logits.
    """

    model: str
    weights: str
    text: str
    tokens: int
    windows: int
    top1_agreement: float
    perplexity_fp32: float
    perplexity_chip: float
    perplexity_change: float
    max_logit_error: float
    mean_logit_error: float
    basis: str = "simulated"


def windows_of(model: Model, text: str, n_tokens: int) -> Iterator[list[int]]:
    """The first `n_tokens` tokens in sequences no longer than the context, each with its own start token.

    Start tokens count; a text that is too short gives fewer tokens.
    """
    assert model.tokenizer is not None, "the model has no tokenizer"
    ids = list(model.tokenizer.encode(text))
    start = ids[:1] if ids[0] == model.shape.bos_id else []
    ids, left = ids[len(start) :], n_tokens
    while ids and left > len(start):
        size = min(model.shape.max_context, left) - len(start)
        window, ids = start + ids[:size], ids[size:]
        left -= len(window)
        yield window


def chip_logits(session: Session, ids: Sequence[int]) -> NDArray[np.float32]:
    """Logits [len(ids), vocabulary] of a new sequence, one decode step a token."""
    session.reset()
    return np.stack([session.step(token).logits for token in ids])


def measure(
    model: Model,
    windows: Sequence[Sequence[int]],
    chip: Chip,
    weights: str,
    *,
    name: str,
    text: str,
) -> Accuracy:
    """Run every window on the chip and in fp32, and compare."""
    longest = max(len(window) for window in windows)
    session = Session(compile_model(model, chip, weights=weights, context=longest))
    agree, errors, losses_chip, losses_fp32 = [], [], [], []
    for window in windows:
        exact = reference_logits(model, window).astype(np.float64)
        found = chip_logits(session, window).astype(np.float64)
        agree.append(found.argmax(1) == exact.argmax(1))
        errors.append(np.abs(found - exact).max(1) / np.abs(exact).max(1))
        losses_chip.append(losses(found, window))
        losses_fp32.append(losses(exact, window))
    fp32 = float(np.exp(np.concatenate(losses_fp32).mean()))
    ours = float(np.exp(np.concatenate(losses_chip).mean()))
    error = np.concatenate(errors)
    return Accuracy(
        model=name,
        weights=weights,
        text=text,
        tokens=len(error),
        windows=len(windows),
        top1_agreement=float(np.concatenate(agree).mean()),
        perplexity_fp32=fp32,
        perplexity_chip=ours,
        perplexity_change=ours / fp32 - 1,
        max_logit_error=float(error.max()),
        mean_logit_error=float(error.mean()),
    )


def losses(logits: NDArray[np.float64], ids: Sequence[int]) -> NDArray[np.float64]:
    """Nats that each token but the first cost, given those before it."""
    before = logits[:-1]
    top = before.max(1)
    total = top + np.log(np.exp(before - top[:, None]).sum(1))
    own: NDArray[np.float64] = before[np.arange(len(ids) - 1), list(ids[1:])]
    return total - own


def find_model(name: str) -> Model:
    """A name of `KNOWN`, or whatever `load_model` takes."""
    if name not in KNOWN:
        return load_model(name)
    shared = Path(os.environ.get("TAKT_SHARED", REPOSITORY.parent / "shared"))
    return load_model(shared / "weights" / KNOWN[name])


def text_for(name: str, file: Path | None) -> tuple[str, str]:
    """Text to go through, and what to call it: a story, or Python code for the default model."""
    if file is None:
        file = Path(sysconfig.get_path("stdlib")) / CODE if name == "default" else STORY
    return file.read_text(encoding="utf-8"), file.name


def table(rows: Sequence[Accuracy]) -> Table:
    out = Table("model", "weights", "text")
    for heading in (
        "tokens",
        "top-1 same",
        "ppl fp32",
        "ppl chip",
        "change",
        "worst logit",
        "mean",
    ):
        out.add_column(heading, justify="right")
    for row in rows:
        out.add_row(
            row.model,
            row.weights,
            row.text,
            f"{row.tokens:,}",
            f"{row.top1_agreement:.2%}",
            f"{row.perplexity_fp32:.4f}",
            f"{row.perplexity_chip:.4f}",
            f"{row.perplexity_change:+.3%}",
            f"{row.max_logit_error:.2%}",
            f"{row.mean_logit_error:.3%}",
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"default: {', '.join(KNOWN)}, default"
    )
    parser.add_argument(
        "--tokens", type=int, default=2000, help="tokens of text, start tokens included"
    )
    parser.add_argument("--weights", default=",".join(WEIGHTS), help="comma-separated: fp16, int8")
    parser.add_argument("--text", type=Path, help="another text")
    parser.add_argument("--chip", default="lpu-v1")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chip, rows = load_chip(options.chip), []
    for name in options.models or [*KNOWN, "default"]:
        text, label = text_for(name, options.text)
        with find_model(name) as model:
            windows = list(windows_of(model, text, options.tokens))
            rows += [
                measure(model, windows, chip, weights, name=name, text=label)
                for weights in options.weights.split(",")
            ]
    if options.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
    else:
        Console(width=None if Console().is_terminal else 150).print(table(rows))


if __name__ == "__main__":
    main()
