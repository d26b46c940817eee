"""A system's schedule to look at, for `takt show --system` and `takt trace --system`.

Knows the options, how to compile what they name, and what to write. All figures come from the report; how they read is
in `line_text`.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from takt.chips import System, load_system
from takt.cli.common import print_json
from takt.cli.line_text import describe, document
from takt.cli.progress import waiting
from takt.errors import CapacityError, UsageError
from takt.lpu.system import SystemCompiled, compile_system, fewest_chips, require_supported
from takt.models import ModelShape, shape_of
from takt.report import (
    SystemProfile,
    SystemSchedule,
    write_pipeline_plot,
    write_plot,
    write_system_trace,
)

__all__ = [
    "Chips",
    "Group",
    "Objective",
    "SystemName",
    "SystemRequest",
    "Users",
    "Views",
    "show_system",
    "trace_system",
]

USUAL_CONTEXT = 4096

SystemName = Annotated[
    str | None,
    typer.Option(
        "--system",
        metavar="ID|FILE",
        help="Over many chips: a system of `takt chips`, or a .toml file.",
        show_default=False,
    ),
]
Chips = Annotated[
    int | None,
    typer.Option(
        "--chips",
        metavar="N",
        help="How many of its chips [default: a node, or as few as hold the model].",
        show_default=False,
    ),
]
Users = Annotated[
    int | None,
    typer.Option(
        "--users", metavar="N", help="Sequences in flight [default: 1].", show_default=False
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        "--objective",
        metavar="latency|throughput",
        help="Each user fast, or all users together [default: latency].",
        show_default=False,
    ),
]
Group = Annotated[
    int | None,
    typer.Option(
        "--group",
        metavar="N",
        help="Chips that share each layer [default: the best].",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRequest:
    """A model on a system, as the command line named it; None where it left the choice to Takt."""

    NEEDS_SYSTEM: ClassVar[tuple[str, ...]] = ("chips", "users", "objective", "group")

    model: str
    system: str | None
    chips: int | None = None
    weights: str | None = None
    context: int | None = None
    users: int | None = None
    objective: str | None = None
    group: int | None = None
    position: int | None = None

    def check_one_chip(self) -> None:
        """Raise UsageError for an option that is about many chips, where no system is named."""
        for name in self.NEEDS_SYSTEM:
            if getattr(self, name) is not None:
                raise UsageError(f"--{name} is about many chips", hint="name a system: --system ID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What to write of a system's schedule, and what of it to show in detail; None for nothing, or Takt's choice."""

    timeline: str | None
    pictures: tuple[str, ...]
    pipeline: str | None
    stage: int | None
    chips_shown: int | None


# ---------------------------------------------------------------------------------------------------------- compiling
def _compiled(request: SystemRequest) -> SystemCompiled:
    """The schedule that is asked for. UsageError, ModelError, UnsupportedError, CapacityError."""
    assert request.system is not None
    shape, system = shape_of(request.model), load_system(request.system)
    require_supported(shape)
    with waiting(f"scheduling {shape.name} on {system.id}"):
        compiled = _on_chips(request, shape, system)
        if request.position is None:
            return compiled
        if not 0 <= request.position < compiled.cut.context:
            raise UsageError(
                f"position {request.position} is outside the context of {compiled.cut.context}"
            )
        return compiled.at(request.position)


def _on_chips(request: SystemRequest, shape: ModelShape, system: System) -> SystemCompiled:
    context = min(USUAL_CONTEXT, shape.max_context) if request.context is None else request.context
    weights = "int8" if request.weights is None else request.weights
    users = 1 if request.users is None else request.users

    def compiled(n_chips: int) -> SystemCompiled:
        return compile_system(
            shape,
            system,
            n_chips=n_chips,
            weights=weights,
            context=context,
            users=users,
            objective=request.objective or "latency",
            group=request.group,
        )

    if request.chips is not None:
        return compiled(request.chips)
    try:
        return compiled(min(system.node.chips, system.max_chips))
    except CapacityError:
        found = fewest_chips(
            shape, system, weights=weights, context=context, users=users, group=request.group
        )
        if not found or found[0][1] > system.max_chips:
            raise
        return compiled(found[0][1])


def _title(compiled: SystemCompiled, schedule: SystemSchedule) -> str:
    users = f"{schedule.users} user{'s' * (schedule.users != 1)}"
    n_stages = len(schedule.groups)
    return (
        f"{schedule.model} on {schedule.chips_used:,} of {schedule.n_chips:,} chips of {schedule.system}, "
        f"{n_stages:,} stage{'s' * (n_stages != 1)}, context {compiled.cut.context:,}, {users}"
    )


# -------------------------------------------------------------------------------------------------------------- trace
def trace_system(request: SystemRequest, views: Views, *, as_json: bool) -> None:
    """Write the timeline and the pictures that are asked for, and say what they show."""
    compiled = _compiled(request)
    schedule = SystemSchedule.of(compiled)
    detail = schedule.shown(views.stage, views.chips_shown)
    longest = detail.longest
    slices = None
    with waiting("drawing"):
        if views.timeline is not None:
            slices = write_system_trace(Path(views.timeline), schedule, detail)
        for picture in views.pictures:
            write_plot(Path(picture), longest.schedules[0])
        if views.pipeline is not None:
            write_pipeline_plot(Path(views.pipeline), schedule)
    if as_json:
        print_json(
            {
                "model": schedule.model,
                "system": schedule.system,
                "chips": schedule.n_chips,
                "clock_hz": schedule.chip.clock_hz,
                "step_cycles": schedule.step_cycles,
                "period_cycles": schedule.period_cycles,
                "stage": detail.stage,
                "visits": [visit.what for visit in detail.visits],
                "chips_shown": list(detail.chips),
                "program": longest.schedules[0].program.name,
                "slices": slices,
                "output": views.timeline,
                "pictures": list(views.pictures),
                "pipeline": views.pipeline,
            }
        )
        return
    named = ", ".join(visit.what for visit in detail.visits)
    sys.stdout.write(
        f"{_title(compiled, schedule)}\nin detail: stage {detail.stage}, {len(detail.chips)} chips: {named}\n"
    )
    if views.timeline is not None:
        sys.stdout.write(
            f"{views.timeline}: {slices:,} slices; open it at https://ui.perfetto.dev\n"
        )
    for picture in views.pictures:
        sys.stdout.write(f"{picture}: {longest.what} as a picture\n")
    if views.pipeline is not None:
        sys.stdout.write(f"{views.pipeline}: stages and users over one period\n")


# --------------------------------------------------------------------------------------------------------------- show
def show_system(request: SystemRequest, *, as_json: bool) -> None:
    """Print the critical path of a token, and how much of each unit was in use."""
    start = time.perf_counter()
    compiled = _compiled(request)
    compile_s = time.perf_counter() - start
    schedule = SystemSchedule.of(compiled)
    profile = SystemProfile.of(schedule)
    if as_json:
        position = compiled.position if request.position is None else request.position
        found = document(compiled, schedule, profile)
        print_json({**found, "position": position, "compile_s": compile_s})
        return
    sys.stdout.write(f"{_title(compiled, schedule)}\n\n{describe(schedule, profile)}")
