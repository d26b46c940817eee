"""`takt trace`: every queue of a step over time, for Perfetto, and as a picture.

Knows where the schedule comes from (a model, compiled now, or a .takt file); the report draws it.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from takt.chips import Chip
from takt.cli.common import (
    DEFAULT_CHIP,
    AsJson,
    Context,
    Weights,
    compiled_for,
    named_step,
    open_file,
    open_model,
    print_json,
    writable,
)
from takt.cli.progress import waiting
from takt.errors import UsageError
from takt.report import Schedule, unpack, write_plot, write_trace

__all__ = ["command"]


def command(
    source: Annotated[
        str, typer.Argument(metavar="[MODEL|FILE.takt]", help="A model, or a program file.")
    ] = "default",
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="OUT.json", help="The timeline.", show_default=False
        ),
    ] = None,
    png: Annotated[
        str | None,
        typer.Option(
            "--png", metavar="OUT.png", help="The picture (needs matplotlib).", show_default=False
        ),
    ] = None,
    position: Annotated[
        int | None,
        typer.Option(
            "--position",
            metavar="N",
            help="The decode step at this position [default: 0].",
            show_default=False,
        ),
    ] = None,
    program: Annotated[
        str | None,
        typer.Option(
            "--program",
            metavar="NAME",
            help="Which one [default: the first]: decode.1, prompt.0, encode.",
            show_default=False,
        ),
    ] = None,
    chip: Annotated[
        str | None,
        typer.Option(
            "--chip",
            metavar="ID|FILE",
            help=f"[default: {DEFAULT_CHIP}, or the file's]",
            show_default=False,
        ),
    ] = None,
    weights: Weights = "fp16",
    context: Context = None,
    as_json: AsJson = False,
) -> None:
    """Write one step's schedule: every instruction of every queue, cycle by cycle.

    The .json opens in ui.perfetto.dev or chrome://tracing; a microsecond there is a cycle here. The
    first rows are the compiler's tasks by layer, then the queues, unit by unit.

    \b
    Examples:
      takt trace -o step.json                          the default model's first step
      takt trace -o step.json --png step.png
      takt trace model.bin --position 400 --png late.png
      takt trace model.takt --program decode.1 -o step.json
    """
    if output is None and png is None:
        raise UsageError(
            "nothing to write", hint="-o OUT.json for a timeline, --png OUT.png for a picture"
        )
    for path in (output, png):
        if path is not None:
            writable(path)
    if position is not None and program is not None:
        raise UsageError("--position and --program both say which program")
    schedule = (
        _from_file(source, chip, program, position)
        if source.endswith(".takt")
        else _from_model(source, chip, program, position, weights, context)
    )
    slices = None
    with waiting("drawing"):
        if output is not None:
            slices = write_trace(Path(output), schedule)
        if png is not None:
            write_plot(Path(png), schedule)
    _report(schedule, output, png, slices, as_json=as_json)


def _from_file(path: str, chip: str | None, program: str | None, position: int | None) -> Schedule:
    content, found = open_file(path, chip)
    if position is not None:
        program = _at(position, found, content.metadata.get("context"))
    return unpack(path, content, found, program)


def _from_model(
    name: str,
    chip: str | None,
    program: str | None,
    position: int | None,
    weights: str,
    context: int | None,
) -> Schedule:
    with open_model(name, None, None) as model:
        compiled = compiled_for(model, chip or DEFAULT_CHIP, weights, context)
        if position is not None:
            program = _at(position, compiled.chip, compiled.context)
        first = "encode" if model.shape.family == "encoder" else "decode.0"
        step = named_step(compiled, first if program is None else program)
        return Schedule.of_step(step, compiled.chip)


def _at(position: int, chip: Chip, context: object) -> str:
    """The name of the decode program for a position."""
    if position < 0 or (isinstance(context, int) and position >= context):
        raise UsageError(f"position {position} is outside the context of {context}")
    return f"decode.{position // chip.lanes}"


def _report(
    schedule: Schedule, output: str | None, png: str | None, slices: int | None, *, as_json: bool
) -> None:
    if as_json:
        print_json(
            {
                "program": schedule.program.name,
                "chip": schedule.chip.id,
                "clock_hz": schedule.chip.clock_hz,
                "cycles": schedule.cycles,
                "instructions": len(schedule.program.instructions),
                "tasks": len(schedule.spans),
                "slices": slices,
                "output": output,
                "png": png,
            }
        )
        return
    sys.stdout.write(
        f"{schedule.program.name} on {schedule.chip.id}: {schedule.cycles:,} cycles, "
        f"{len(schedule.program.instructions):,} instructions, {len(schedule.spans):,} tasks\n"
    )
    if output is not None:
        sys.stdout.write(f"{output}: {slices:,} slices; open it at https://ui.perfetto.dev\n")
    if png is not None:
        sys.stdout.write(f"{png}: the schedule as a picture\n")
