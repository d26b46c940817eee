"""`takt show`: a program file as assembly, whole or in part; or where a token's time on a system goes.

Knows how a file's header reads as text and as JSON (keys in docs/verbs.md); the assembly is the
instruction set's own text form. What `--system` leads to is in `see_system`.
"""

import sys
from dataclasses import replace
from typing import Annotated

import numpy as np
import typer

from takt.chips import Chip
from takt.cli.common import AsJson, open_file, print_json
from takt.cli.see_system import (
    Chips,
    Group,
    Objective,
    SystemName,
    SystemRequest,
    Users,
    show_system,
)
from takt.errors import UsageError, did_you_mean
from takt.lpu import Program, TaktFile, print_program, queues
from takt.report import last_issue, unpack

__all__ = ["command"]


def command(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE|MODEL", help="A .takt file; with --system a model."),
    ],
    program: Annotated[
        str | None,
        typer.Option("--program", metavar="NAME", help="Which one.", show_default="the first"),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            metavar="NAME",
            help="Only this queue, such as mem.e12, or all of a unit: mem, mxm.0; repeatable.",
            show_default=False,
        ),
    ] = None,
    first: Annotated[
        int,
        typer.Option("--from", metavar="CYCLE", help="Only what issues in this cycle or later."),
    ] = 0,
    last: Annotated[
        int | None,
        typer.Option(
            "--to",
            metavar="CYCLE",
            help="Only what issues in this cycle or earlier.",
            show_default=False,
        ),
    ] = None,
    chip: Annotated[
        str | None,
        typer.Option(
            "--chip",
            metavar="ID|FILE",
            help="The chip of the file, if it is one of your own.",
            show_default=False,
        ),
    ] = None,
    system: SystemName = None,
    chips: Chips = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="fp16|int8",
            help="With --system: how weights lie in SRAM [default: int8].",
            show_default=False,
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            metavar="N",
            help="With --system: positions to make room for [default: 4096].",
            show_default=False,
        ),
    ] = None,
    users: Users = None,
    objective: Objective = None,
    group: Group = None,
    position: Annotated[
        int | None,
        typer.Option(
            "--position",
            metavar="N",
            help="With --system: the token at this position [default: the last].",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a program of a .takt file as assembly; with --json, what the file holds.

    A line is: cycle, queue, instruction, operands, then xN repeats, @gap cycles apart, +step.

    With --system: the critical path of one token through a model's chips, cycle for cycle, and how
    much of every unit was in use.

    \b
    Examples:
      takt show default.takt                                the first program, all of it
      takt show default.takt --queue vxm --to 300           the vector units' first instructions
      takt show default.takt --program decode.1 --queue mxm.0.w
      takt show default.takt --json                         programs, cycles, bounds
      takt show llama-2-70b --system groqrack-v1 --chips 576
    """
    request = SystemRequest(
        model=file, system=system, chips=chips, weights=weights, context=context, users=users,
        objective=objective, group=group, position=position,
    )  # fmt: skip
    if system is not None:
        if program is not None or queue or first or last is not None or chip is not None:
            raise UsageError(
                "--system goes with a model; --program, --queue, --from, --to and --chip are about a file"
            )
        show_system(request, as_json=as_json)
        return
    request.check_one_chip()
    if weights is not None or context is not None or position is not None:
        raise UsageError("--weights, --context and --position go with --system")
    content, found = open_file(file, chip)
    if as_json:
        print_json(_document(file, content))
        return
    shown = unpack(file, content, found, program).program
    sys.stdout.write(print_program(_part(shown, found, queue or [], first, last), found))


def _part(program: Program, chip: Chip, names: list[str], first: int, last: int | None) -> Program:
    if last is not None and last < first:
        raise UsageError(f"--from {first} --to {last}: expected the first not after the last")
    if first <= 0 and last is None and not names:
        return program
    rows = program.instructions
    chosen = last_issue(rows) >= first
    if last is not None:
        chosen &= rows["time"] <= last
    if names:
        chosen &= np.isin(rows["queue"], _queue_numbers(chip, names))
    ranges = np.zeros((0, 3), np.int64)  # what the whole program promises not to write is left out
    return replace(program, instructions=rows[chosen], constant=ranges)


def _queue_numbers(chip: Chip, names: list[str]) -> list[int]:
    """Numbers of the queues called so, or belonging to a unit called so."""
    known = {queue.name: queue.number for queue in queues(chip)}
    out = []
    for name in names:
        found = [n for full, n in known.items() if full == name or full.startswith(f"{name}.")]
        if not found:
            hint = did_you_mean(name, known) or "names are such as mem.e12, vxm.3, mxm.0.w"
            raise UsageError(f"chip {chip.id} has no queue {name[:40]!r}", hint=hint)
        out.extend(found)
    return out


def _document(path: str, content: TaktFile) -> dict[str, object]:
    return {
        "file": path,
        "chip": content.chip_id,
        "chip_fingerprint": content.chip_fingerprint,
        "metadata": dict(content.metadata),
        "programs": [
            {
                "name": program.name,
                "cycles": program.cycles,
                "bound_cycles": content.metadata.get(f"{program.name}.bound_cycles"),
                "bound_limit": content.metadata.get(f"{program.name}.bound_limit"),
                "instructions": len(program.instructions),
                "queues": len(np.unique(program.instructions["queue"])),
            }
            for program in content.programs
        ],
        "regions": {name: len(rows) for name, rows in content.regions.items()},
        "sections": {name: len(content.sections[name]) for name in content.sections},
    }
