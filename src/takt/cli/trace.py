"""`takt trace`: every queue of a step over time, for Perfetto, and as a picture; of one chip or of many.

Knows where the schedule of a chip comes from (a model, compiled now, or a .takt file); the report draws it. What
`--system` leads to is in `see_system`.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from takt.chips import Chip
from takt.cli.common import (
    DEFAULT_CHIP,
    AsJson,
    compiled_for,
    named_step,
    open_file,
    open_model,
    print_json,
    writable,
)
from takt.cli.progress import waiting
from takt.cli.see_system import (
    Chips,
    Group,
    Objective,
    SystemName,
    SystemRequest,
    Users,
    Views,
    trace_system,
)
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
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="OUT.svg|png",
            help="The picture, as SVG if the name says so; with --system of one layer.",
            show_default=False,
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline",
            metavar="OUT.svg|png",
            help="With --system: stages and users over one period, as a picture.",
            show_default=False,
        ),
    ] = None,
    position: Annotated[
        int | None,
        typer.Option(
            "--position",
            metavar="N",
            help="The decode step at this position [default: 0; with --system the last].",
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
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="fp16|int8",
            help="How weights lie in SRAM [default: fp16; int8 with --system].",
            show_default=False,
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            metavar="N",
            help="Positions to make room for [default: the model's, at most 2048; with --system 4096].",
            show_default=False,
        ),
    ] = None,
    system: SystemName = None,
    chips: Chips = None,
    users: Users = None,
    objective: Objective = None,
    group: Group = None,
    stage: Annotated[
        int | None,
        typer.Option(
            "--stage",
            metavar="N",
            help="With --system: all of this stage in detail [default: one layer of the longest].",
            show_default=False,
        ),
    ] = None,
    chips_shown: Annotated[
        int | None,
        typer.Option(
            "--chips-shown",
            metavar="N",
            help="With --system: chips of the stage in detail [default: all of its group].",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one step's schedule: every instruction of every queue, cycle by cycle.

    The .json opens in ui.perfetto.dev or chrome://tracing; a microsecond there is a cycle here. The
    first rows are the compiler's tasks by layer, then the queues, unit by unit.

    With --system times are true microseconds: first every visit of one token to every stage, then
    all users in flight, then the links, and chip by chip one layer in detail.

    \b
    Examples:
      takt trace -o step.json                          the default model's first step
      takt trace -o step.json --png step.png
      takt trace model.bin --position 400 --png late.png
      takt trace model.takt --program decode.1 -o step.json
      takt trace llama-2-70b --system groqrack-v1 --chips 576 -o step.json --plot layer.svg \\
        --pipeline pipeline.svg
    """
    written = [path for path in (output, png, plot, pipeline) if path is not None]
    if not written:
        raise UsageError(
            "nothing to write", hint="-o OUT.json for a timeline, --png OUT.png for a picture"
        )
    for path in written:
        writable(path)
    if position is not None and program is not None:
        raise UsageError("--position and --program both say which program")
    request = SystemRequest(
        model=source, system=system, chips=chips, weights=weights, context=context, users=users,
        objective=objective, group=group, position=position,
    )  # fmt: skip
    pictures = tuple(path for path in (png, plot) if path is not None)
    views = Views(
        timeline=output, pictures=pictures, pipeline=pipeline, stage=stage, chips_shown=chips_shown
    )
    if system is not None:
        if chip is not None or program is not None or source.endswith(".takt"):
            raise UsageError("--system goes with a model, not with --chip, --program or a file")
        trace_system(request, views, as_json=as_json)
        return
    request.check_one_chip()
    if pipeline is not None or stage is not None or chips_shown is not None:
        raise UsageError(
            "--pipeline, --stage and --chips-shown are about many chips",
            hint="name a system: --system ID",
        )
    schedule = (
        _from_file(source, chip, program, position)
        if source.endswith(".takt")
        else _from_model(source, chip, program, position, weights or "fp16", context)
    )
    _write(schedule, output, png, plot, as_json=as_json)


def _write(
    schedule: Schedule, output: str | None, png: str | None, plot: str | None, *, as_json: bool
) -> None:
    slices = None
    with waiting("drawing"):
        if output is not None:
            slices = write_trace(Path(output), schedule)
        for picture in (png, plot):
            if picture is not None:
                write_plot(Path(picture), schedule)
    _report(schedule, output, png, plot, slices, as_json=as_json)


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
    schedule: Schedule,
    output: str | None,
    png: str | None,
    plot: str | None,
    slices: int | None,
    *,
    as_json: bool,
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
                "plot": plot,
            }
        )
        return
    sys.stdout.write(
        f"{schedule.program.name} on {schedule.chip.id}: {schedule.cycles:,} cycles, "
        f"{len(schedule.program.instructions):,} instructions, {len(schedule.spans):,} tasks\n"
    )
    if output is not None:
        sys.stdout.write(f"{output}: {slices:,} slices; open it at https://ui.perfetto.dev\n")
    for picture in (png, plot):
        if picture is not None:
            sys.stdout.write(f"{picture}: the schedule as a picture\n")
