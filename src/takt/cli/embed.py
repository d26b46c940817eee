"""`takt embed`: texts in, vectors out, with an encoder on one simulated LPU.

Knows how vectors and their likeness read as text and as JSON (keys in docs/verbs.md).
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from takt.cli.common import (
    DEFAULT_CHIP,
    AsJson,
    ChipName,
    Engine,
    TokenizerFile,
    Weights,
    compiled_for,
    open_model,
    print_json,
)
from takt.cli.progress import waiting
from takt.cli.run import prompt_ids
from takt.cli.table import aligned
from takt.cli.text import sensitivity_text
from takt.errors import UsageError
from takt.lpu import Compiled, Session, energy
from takt.units import format_si

__all__ = ["command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Embedded:
    """One text's vector, f32 [dim], and what it took."""

    text: str
    vector: NDArray[np.float32]
    n_tokens: int
    cycles: int
    bound_cycles: int
    energy_j: float
    energy_basis: str
    energy_sensitivity_j: tuple[tuple[str, float, float], ...]
    sram_bytes: int
    host_s: float


def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL TEXT...",
            help="An encoder: catalogue name, hub id or directory; then texts, each in quotes.",
            show_default=False,
        ),
    ],
    chip: ChipName = DEFAULT_CHIP,
    weights: Weights = "fp16",
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            metavar="N",
            help="Tokens to make room for [default: the longest text's]; shorter texts are padded.",
            show_default=False,
        ),
    ] = None,
    engine: Engine = "fast",
    tokenizer: TokenizerFile = None,
    as_json: AsJson = False,
) -> None:
    """Turn texts into vectors with an encoder; two or more are also compared.

    \b
    Examples:
      takt embed minilm 'a cat sat' 'a kitten rested' 'stocks fell'
      takt embed ./my-bert 'one text' --json
      takt embed random:bert-base '101 2023 102' --weights int8     ids, without a tokenizer

    Numbers near 1 in the table mean alike (cosine of the angle between the vectors).
    """
    if len(words) < 2:
        raise UsageError(
            "expected a model and at least one text", hint="takt embed minilm 'a text' 'another'"
        )
    model, *texts = words
    with open_model(model, tokenizer, "encoder") as found:
        ids = [prompt_ids(found, text) for text in texts]
        longest = max(map(len, ids))
        limit = found.shape.max_context if context is None else context
        if longest > limit:
            raise UsageError(
                f"a text has {longest:,} tokens, the context {limit:,}", hint="shorten it"
            )
        compiled = compiled_for(found, chip, weights, longest if context is None else context)
        session = Session(compiled, engine=engine)
        made = [_embed(session, text, row) for text, row in zip(texts, ids, strict=True)]
    alike = cosines([each.vector for each in made])
    if as_json:
        print_json(_document(compiled, engine, made, alike))
        return
    sys.stdout.write(_describe(compiled, made, alike))
    sys.stdout.flush()
    host_s = sum(each.host_s for each in made)
    sys.stderr.write(f"this machine: {host_s:.2f} s, compiling and loading included\n")


def _embed(session: Session, text: str, ids: Sequence[int]) -> _Embedded:
    start = time.perf_counter()
    with waiting(f"embedding {len(ids)} tokens"):
        result = session.encode(ids)
    host_s = time.perf_counter() - start
    joules = energy(result.activity, result.cycles, session.compiled.chip)
    return _Embedded(
        text=text,
        vector=result.vector,
        n_tokens=len(ids),
        cycles=result.cycles,
        bound_cycles=result.step.bound.cycles,
        energy_j=joules.total_j,
        energy_basis=joules.basis,
        energy_sensitivity_j=tuple(
            (row.cause, row.low_j, row.high_j) for row in joules.sensitivity(session.compiled.chip)
        ),
        sram_bytes=result.step.sram_bytes,
        host_s=host_s,
    )


def cosines(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Cosine of the angle between every two vectors, f64 [n, n]; 0 where a vector is zero."""
    rows = np.array(vectors, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1)
    return np.asarray((unit[:, np.newaxis] * unit).sum(axis=2))


def _document(
    compiled: Compiled, engine: str, made: Sequence[_Embedded], alike: NDArray[np.float64]
) -> dict[str, object]:
    return {
        "model": compiled.model.shape.name,
        "chip": compiled.chip.id,
        "clock_hz": compiled.chip.clock_hz,
        "weights": compiled.weights,
        "engine": engine,
        "texts": [each.text for each in made],
        "tokens": [each.n_tokens for each in made],
        "embeddings": [each.vector.tolist() for each in made],
        "cosine": alike.tolist(),
        "cycles": [each.cycles for each in made],
        "bound_cycles": [each.bound_cycles for each in made],
        "seconds_on_chip": [each.cycles / compiled.chip.clock_hz for each in made],
        "energy_j": [each.energy_j for each in made],
        "energy_basis": made[0].energy_basis,
        # One program serves every text, so what hangs on the assumptions is the same for all.
        "energy_sensitivity_j": {
            cause: [low, high] for cause, low, high in made[0].energy_sensitivity_j
        },
        "sram_bytes": max(each.sram_bytes for each in made),
        "host_s": [each.host_s for each in made],
    }


def _describe(compiled: Compiled, made: Sequence[_Embedded], alike: NDArray[np.float64]) -> str:
    title = f"{compiled.model.shape.name}, {compiled.weights} weights, on {compiled.chip.id}\n\n"
    header = ("TEXT", "TOKENS", "CYCLES", "BOUND", "TIME", "ENERGY", "")
    rows = [
        (
            str(number),
            str(each.n_tokens),
            f"{each.cycles:,}",
            f"{each.bound_cycles:,}",
            format_si(each.cycles / compiled.chip.clock_hz, "s"),
            format_si(each.energy_j, "J"),
            _shortened(each.text),
        )
        for number, each in enumerate(made, start=1)
    ]
    body = aligned([header, *rows], right=(1, 2, 3, 4, 5))
    body += (
        f"\nenergy of a run, if assumptions err: {sensitivity_text(made[0].energy_sensitivity_j)}\n"
    )
    if len(made) == 1:
        return title + body + "\n" + _vector(made[0].vector)
    numbers = [str(n) for n in range(1, len(made) + 1)]
    table = [("COSINE", *numbers)]
    table += [(n, *(f"{x:.3f}" for x in row)) for n, row in zip(numbers, alike, strict=True)]
    vectors = "".join(f"\n{n}: {_vector(e.vector)}" for n, e in zip(numbers, made, strict=True))
    return title + body + "\n" + aligned(table, right=range(1, len(made) + 1)) + vectors


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 50 else line[:49] + "…"


def _vector(vector: NDArray[np.float32]) -> str:
    return "[" + ", ".join(f"{x:.6g}" for x in vector.tolist()) + "]\n"
