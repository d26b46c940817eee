"""`takt compile`: a model's programs, claimed and proved, into a file.

Knows how a compilation reads as text and as JSON (keys in docs/verbs.md).
"""

import sys
import time
from typing import Annotated

import typer

from takt.cli.common import (
    DEFAULT_CHIP,
    AsJson,
    ChipName,
    Context,
    Weights,
    all_steps,
    compiled_for,
    open_model,
    print_json,
    writable,
)
from takt.cli.table import aligned
from takt.lpu import Compiled, Step, save_takt
from takt.report import pack
from takt.units import format_bytes

__all__ = ["command"]


def command(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="A catalogue name, hub id, directory or file.")
    ] = "default",
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to write; without it, nothing is."
        ),
    ] = None,
    chip: ChipName = DEFAULT_CHIP,
    weights: Weights = "fp16",
    context: Context = None,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Also the programs that take a prompt in chunks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compile a model's programs into a .takt file.

    A decoder has one program for every 320 positions of the context, seven for 2,048; an encoder
    has one. Each is proved free of hazards, and its cycles are exact. Weights are not in the file:
    it is the schedule.

    \b
    Examples:
      takt compile -o default.takt
      takt compile model.bin -o model.takt --context 256
      takt compile random:stories15m --context 320      how long would a step take?
    """
    if output is not None:
        writable(output)
    with open_model(model, None, None) as found:
        start = time.perf_counter()
        compiled = compiled_for(found, chip, weights, context)
        steps = all_steps(compiled, prompts=prompts)
        compile_s = time.perf_counter() - start
    if output is not None:
        save_takt(output, pack(compiled, steps))
    if as_json:
        print_json(_document(compiled, steps, output, compile_s))
        return
    sys.stdout.write(_describe(compiled, steps, output))
    sys.stdout.flush()
    sys.stderr.write(f"compiled in {compile_s:.2f} s\n")


def _document(
    compiled: Compiled, steps: list[Step], output: str | None, compile_s: float
) -> dict[str, object]:
    programs = [
        {
            "name": step.program.name,
            "step_cycles": step.program.cycles,
            "bound_cycles": step.bound.cycles,
            "bound_limit": step.bound.limit,
            "instructions": len(step.program.instructions),
            "sram_bytes": step.sram_bytes,
        }
        for step in steps
    ]
    first = {key: value for key, value in programs[0].items() if key != "name"}
    return {
        "model": compiled.model.shape.name,
        "chip": compiled.chip.id,
        "clock_hz": compiled.chip.clock_hz,
        "weights": compiled.weights,
        "context": compiled.context,
        **first,
        "programs": programs,
        "output": output,
        "compile_s": compile_s,
    }


def _describe(compiled: Compiled, steps: list[Step], output: str | None) -> str:
    header = ("PROGRAM", "CYCLES", "BOUND", "SET BY", "RATIO", "INSTRUCTIONS", "SRAM")
    rows = [
        (
            step.program.name,
            f"{step.program.cycles:,}",
            f"{step.bound.cycles:,}",
            step.bound.limit,
            f"{step.program.cycles / step.bound.cycles:.2f}",
            f"{len(step.program.instructions):,}",
            format_bytes(step.sram_bytes),
        )
        for step in steps
    ]
    title = (
        f"{compiled.model.shape.name}, {compiled.weights} weights, on {compiled.chip.id}, "
        f"context {compiled.context:,}\n\n"
    )
    end = f"\nwritten to {output}\n" if output is not None else ""
    return title + aligned([header, *rows], right=(1, 2, 4, 5, 6)) + end
