"""The pipeline as a visible list: each pass takes the work in progress and returns it changed; the runner calls them.

    lower     model step → tasks over buffers and tiles
    schedule  tasks → instructions with cycles
    supply    instruction fetches
    verify    the checker's proof; its cycles become the claim

Tiles and words are given once per model, before any program (`lower.lay_out`, `image`): all programs share one image.
The runner checks each pass's spec and names the pass that broke it. `TAKT_DEBUG=2` prints times.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from takt.chips import Chip
from takt.errors import CompileError, DenseQueueError, TaktError
from takt.flags import debug_level
from takt.lpu.compiler.bound import Bound, bound
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.inputs import inputs_of
from takt.lpu.compiler.ir import Plan
from takt.lpu.compiler.layout import Layout
from takt.lpu.compiler.schedule import Placed, Scheduler
from takt.lpu.isa import Program, plan_supply
from takt.lpu.machine import Activity
from takt.lpu.machine.checker import prove


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A program on its way through the passes."""

    chip: Chip
    geometry: Geometry
    layout: Layout
    build: Callable[[], Plan]
    idle: tuple[tuple[int, int], ...] = ()  # (queue, cycle) kept free of anything but a fetch
    plan: Plan | None = None
    program: Program | None = None
    placed: tuple[Placed, ...] = ()
    ideal_cycles: int = 0
    words_used: int = 0
    bound: Bound | None = None
    activity: Activity | None = None


@dataclass(frozen=True, slots=True)
class Lower:
    """Spec: every task reads only what is fixed or written by an earlier task; every temporary has a reader."""

    name: str = "lower"

    def run(self, work: Work) -> Work:
        """Build the plan; results that no task of it reads are not stored."""
        plan = work.build()
        read = {id(buffer) for task in plan.tasks for buffer in inputs_of(task)}
        for task in plan.tasks:  # some pieces store more than this step's readers take
            task.outputs = [o for o in task.outputs if o[1].fixed or id(o[1]) in read]
        return replace(work, plan=plan)

    def spec(self, work: Work) -> None:
        """Raises CompileError for a task that reads too early, or a temporary without a reader."""
        assert work.plan is not None
        written: set[int] = set()
        read = {id(buffer) for task in work.plan.tasks for buffer in inputs_of(task)}
        for task in work.plan.tasks:
            for buffer in inputs_of(task):
                if not buffer.fixed and id(buffer) not in written:
                    raise CompileError(
                        f"task {task.label} reads {buffer.name} before it is written"
                    )
            for _, buffer, _ in task.outputs:
                if not buffer.fixed and id(buffer) not in read:
                    raise CompileError(
                        f"nobody reads {buffer.name}, which task {task.label} writes"
                    )
                written.add(id(buffer))
            if task.sxm is not None:
                written.add(id(task.sxm.target))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Spec: no instruction before cycle 0, no two in one queue at once (the rest is `verify`)."""

    name: str = "schedule"

    def run(self, work: Work) -> Work:
        """Give every task a time; sets the program, its reports and the words it uses."""
        image, g = work.layout.image, work.geometry
        scheduler = Scheduler(
            g,
            image.work,
            list(image.next_word),
            image.top,
            banks=image.banks,
            idle=work.idle,
        )
        assert work.plan is not None
        done = scheduler.run(work.plan)
        program = Program(
            chip_id=work.chip.id,
            instructions=done.instructions,
            name=work.plan.name,
            constant=image.constant_ranges(),
        )
        words = sum(done.words_used) - len(done.words_used) + image.table_words()
        return replace(
            work,
            program=program,
            placed=tuple(done.placed),
            ideal_cycles=done.ideal_cycles,
            words_used=words,
        )

    def spec(self, work: Work) -> None:
        """Raises CompileError for a negative time."""
        assert work.program is not None
        if len(work.program.instructions) and int(work.program.instructions["time"].min()) < 0:
            raise CompileError("an instruction is dispatched before cycle 0")


@dataclass(frozen=True, slots=True)
class Supply:
    """Spec: see `isa.supply`; `verify` proves it."""

    name: str = "supply"

    def run(self, work: Work) -> Work:
        """Add the instruction fetches and their text."""
        assert work.program is not None
        image = work.layout.image
        program = plan_supply(work.program, work.chip, image.text_ranges())
        text_rows = int((program.constant[:, 2] - program.constant[:, 1]).sum())
        rows = int((work.program.constant[:, 2] - work.program.constant[:, 1]).sum())
        return replace(work, program=program, words_used=work.words_used + text_rows - rows)

    def spec(self, work: Work) -> None:
        """Left to `verify`."""
        return


@dataclass(frozen=True, slots=True)
class Verify:
    """Spec: the checker finds no hazard. Sets the claim of cycles, the activity and the bound."""

    name: str = "verify"

    def run(self, work: Work) -> Work:
        """Prove the program."""
        assert work.program is not None
        report = prove(work.program, work.chip)
        program = replace(work.program, cycles=report.cycles)
        return replace(
            work,
            program=program,
            activity=report.activity,
            bound=bound(program, work.chip, work.ideal_cycles),
        )

    def spec(self, work: Work) -> None:
        """Left to `prove`, which raises the first hazard."""
        return


PASSES: tuple[Lower | Schedule | Supply | Verify, ...] = (Lower(), Schedule(), Supply(), Verify())


_MOST_RETRIES = 48
_SPACING = 96  # cycles between those kept idle in a queue that was too dense
_STRETCH = 1536


def run_passes(work: Work) -> Work:
    """Run every pass and its spec. A failure names the pass.

    Where a queue turns out to be too dense to fetch its own instructions, all is scheduled again with some of its cycles
    kept idle.
    """
    for _ in range(_MOST_RETRIES):
        try:
            return _run_once(work)
        except DenseQueueError as error:
            middle = (error.start_cycle + error.end_cycle) // 2
            idle = {(error.queue, middle + i) for i in range(0, _STRETCH, _SPACING)}
            if idle <= set(work.idle):
                raise
            work = replace(work, idle=tuple(sorted({*work.idle, *idle})))
    return _run_once(work)


def _run_once(work: Work) -> Work:
    for step in PASSES:
        start = time.perf_counter()
        try:
            work = step.run(work)
            step.spec(work)
        except TaktError as error:
            error.add_note(f"in pass '{step.name}'")
            raise
        if debug_level() >= 2:
            print(f"takt: pass {step.name} {time.perf_counter() - start:.2f} s", file=sys.stderr)
    return work
