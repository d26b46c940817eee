"""`takt compile`: a model's programs, claimed and proved, into a file; or its schedule over a system of chips.

Knows the options, and how a compilation for one chip reads as text and as JSON (keys in docs/verbs.md). What
`--system` leads to is in `compile_system`.
"""

import sys
import time
from typing import Annotated

import typer

from takt.cli.common import (
    DEFAULT_CHIP,
    AsJson,
    ChipName,
    all_steps,
    compiled_for,
    open_model,
    print_json,
    writable,
)
from takt.cli.compile_system import Request, report_system
from takt.cli.table import aligned
from takt.errors import UsageError
from takt.lpu import Compiled, Step, save_takt
from takt.report import pack
from takt.units import format_bytes

__all__ = ["command"]

SYSTEM_ONLY = (
    "chips", "users", "objective", "group", "draft", "draft-tokens", "acceptance", "draft-chips",
)  # fmt: skip
"""Options that mean something with --system only."""


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
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Also the programs that take a prompt in chunks.")
    ] = False,
    system: Annotated[
        str | None,
        typer.Option(
            "--system",
            metavar="ID|FILE",
            help="Over many chips: a system of `takt chips`, or a .toml file.",
            show_default=False,
        ),
    ] = None,
    chips: Annotated[
        int | None,
        typer.Option(
            "--chips",
            metavar="N",
            help="How many of its chips [default: a node, or as few as hold the model].",
            show_default=False,
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(
            "--users", metavar="N", help="Sequences in flight [default: 1].", show_default=False
        ),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            metavar="latency|throughput",
            help="Each user fast, or all users together [default: latency].",
            show_default=False,
        ),
    ] = None,
    group: Annotated[
        int | None,
        typer.Option(
            "--group",
            metavar="N",
            help="Chips that share each layer [default: the best].",
            show_default=False,
        ),
    ] = None,
    draft: Annotated[
        str | None,
        typer.Option(
            "--draft",
            metavar="MODEL",
            help="Speculative decoding with this draft model; needs --acceptance.",
            show_default=False,
        ),
    ] = None,
    draft_tokens: Annotated[
        int | None,
        typer.Option(
            "--draft-tokens",
            metavar="K",
            help="Tokens it drafts at a time [default: the best].",
            show_default=False,
        ),
    ] = None,
    acceptance: Annotated[
        float | None,
        typer.Option(
            "--acceptance",
            metavar="A",
            help="Share of drafted tokens that are accepted, 0 to 1.",
            show_default=False,
        ),
    ] = None,
    draft_chips: Annotated[
        int | None,
        typer.Option(
            "--draft-chips",
            metavar="N",
            help="Chips of its own for the draft [default: those the model leaves free].",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compile a model's programs into a .takt file, or schedule it over a system of chips.

    A decoder has one program for every 320 positions of the context, seven for 2,048; an encoder
    has one. Each is proved free of hazards, and its cycles are exact. Weights are not in the file:
    it is the schedule.

    With --system only the model's shape is needed: speed for each user and in total, energy,
    memory, distance to the bound, and the assumptions all this rests on.

    \b
    Examples:
      takt compile -o default.takt
      takt compile model.bin -o model.takt --context 256
      takt compile random:stories15m --context 320      how long would a step take?
      takt compile llama-2-70b --system groqrack-v1 --chips 576
      takt compile smollm-135m --system groqnode-v1 --users 4 --objective throughput
      takt compile llama-3.1-70b --system groqrack-v1 --chips 576 --draft llama-3.2-1b \\
        --acceptance 0.8
    """
    given = (chips, users, objective, group, draft, draft_tokens, acceptance, draft_chips)
    if system is not None:
        _check_system_options(output, chip, prompts)
        request = Request(
            model=model,
            system=system,
            chips=chips,
            weights="int8" if weights is None else weights,
            context=context,
            users=1 if users is None else users,
            objective="latency" if objective is None else objective,
            group=group,
            draft=draft,
            draft_tokens=draft_tokens,
            acceptance=acceptance,
            draft_chips=draft_chips,
        )
        report_system(request, as_json=as_json)
        return
    for name, value in zip(SYSTEM_ONLY, given, strict=True):
        if value is not None:
            raise UsageError(f"--{name} is about many chips", hint="name a system: --system ID")
    _one_chip(model, output, chip, weights or "fp16", context, prompts, as_json)


def _check_system_options(output: str | None, chip: str, prompts: bool) -> None:
    if output is not None:
        raise UsageError(
            "--output: a system's schedule is not written to a file",
            hint="--json prints its figures; without --system the programs of one chip are written",
        )
    if chip != DEFAULT_CHIP:
        raise UsageError(
            "--chip and --system: a system says which chip it has",
            hint="`base` and `chip` in a .toml file make a system of another chip",
        )
    if prompts:
        raise UsageError("--prompts: a system's prompts go token by token")


def _one_chip(
    model: str,
    output: str | None,
    chip: str,
    weights: str,
    context: int | None,
    prompts: bool,
    as_json: bool,
) -> None:
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
