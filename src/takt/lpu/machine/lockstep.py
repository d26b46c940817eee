"""Several chips in lockstep: the judge of system programs.

In each cycle vectors arrive at the ends of wires, every chip that runs something hears its instructions against the state
as it is, and if no chip breaks a law, all commit. A chip between two runs does nothing and is not stepped; when no chip
runs anything, time goes on to the next start or arrival.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from takt.chips import Chip
from takt.errors import UsageError
from takt.lpu.isa.program import Program
from takt.lpu.machine.faults import LINK_LAWS
from takt.lpu.machine.links import Line, Port, Sent, Wires
from takt.lpu.machine.network import Instance, Move, SystemProgram, relocated, verify_system
from takt.lpu.machine.reference import require_delays
from takt.lpu.machine.run import Run
from takt.lpu.machine.state import Activity, Memory, total_activity
from takt.lpu.machine.verdict import SystemFault, launch_faults


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemResult:
    """Cycles of a run of a whole system until its last instance has ended, and the activity of all chips together."""

    cycles: int
    activity: Activity


class ReferenceSystem:
    """Runs system programs on chips that are alike; chip n has the n-th memory.

    As on one chip, only memory lasts from run to run. `shuffle` is for tests: chips, and the instructions of each, are
    then heard in an order drawn from it in every cycle, which must change nothing.
    """

    def __init__(
        self, chip: Chip, memories: Sequence[Memory], *, shuffle: Random | None = None
    ) -> None:
        require_delays(chip)
        self.chip = chip
        self.memories = tuple(memories)
        self._shuffle = shuffle

    def run(self, system: SystemProgram) -> SystemResult:
        """Run to the end; memories are changed in place.

        Raises ProgramError for a malformed system, and MachineFault for the first broken law, leaving all memories as
        they were in that cycle.
        """
        require_fit(system, self.chip, self.memories)
        verify_system(system)
        return _Lockstep(system, self.memories, self._shuffle).to_end()


def require_fit(system: SystemProgram, chip: Chip, memories: Sequence[Memory]) -> None:
    """Raise UsageError if the system is for another sort of chip, or for more chips than there are memories."""
    if system.chip != chip:
        raise UsageError(f"the system is of chips {system.chip.id}, not {chip.id}")
    if system.n_chips > len(memories):
        raise UsageError(f"the system has {system.n_chips} chips, here are {len(memories)}")


class _Lockstep:
    """One system program on its way. `running` holds the run of each instance that has begun and not ended."""

    def __init__(
        self, system: SystemProgram, memories: Sequence[Memory], shuffle: Random | None
    ) -> None:
        self.system = system
        self.memories = memories
        self.shuffle = shuffle
        self.wires = Wires(system.chip, system.wires)
        self.programs = _relocated_programs(system)
        self.launch_faults = launch_faults(system)
        self.waiting = sorted(
            range(len(system.instances)), key=lambda n: system.instances[n].start_cycle
        )[::-1]
        self.running: dict[int, Run] = {}
        self.cycles = 0
        self.activities: list[tuple[Activity, int]] = []

    def to_end(self) -> SystemResult:
        """Step until no instance is left and no vector is under way."""
        while (cycle := self.next_cycle()) is not None:
            self.step(cycle)
        self.judge([self.blamed(sent, "link unread", sent.cycle) for sent in self.wires.unread()])
        return SystemResult(cycles=self.cycles, activity=total_activity(self.activities))

    def next_cycle(self) -> int | None:
        """The next cycle in which anything can happen; None when all is over."""
        starts = [self.system.instances[self.waiting[-1]].start_cycle] if self.waiting else []
        arrival = self.wires.next_arrival()
        starts += [] if arrival is None else [arrival]
        for number, run in self.running.items():
            cycle = run.next_cycle
            starts += [] if cycle is None else [self.start_of(number) + cycle]
        return min(starts, default=None)

    def start_of(self, number: int) -> int:
        """System cycle of an instance's cycle 0."""
        return self.system.instances[number].start_cycle

    def step(self, cycle: int) -> None:
        """One cycle of the system."""
        while self.waiting and self.start_of(self.waiting[-1]) == cycle:
            self.begin(self.waiting.pop())
        lines = self.wires.arrive(cycle)
        busy = [run for run in self.running.values() if run.is_busy]
        if self.shuffle:
            self.shuffle.shuffle(busy)
        for run in busy:
            run.hear()
        self.judge([*self.faults(cycle, lines)])
        for run in busy:
            run.commit()
        for number in [n for n, run in self.running.items() if run.next_cycle is None]:
            result = self.running.pop(number).finish()
            self.cycles = max(self.cycles, self.start_of(number) + result.cycles)
            self.activities.append((result.activity, 1))

    def begin(self, number: int) -> None:
        """Start an instance."""
        instance = self.system.instances[number]
        port = Port(self.wires, instance.chip, number, instance.start_cycle)
        memory, program = self.memories[instance.chip], self.programs[_kind(instance)]
        self.running[number] = Run(self.system.chip, memory, program, port, self.shuffle)

    def faults(self, cycle: int, lines: Sequence[Line]) -> Iterator[SystemFault]:
        """All laws broken in this cycle, before anything of it is committed."""
        yield from (fault for fault in self.launch_faults if fault.cycle == cycle)
        for number, run in self.running.items():
            guilt = run.first_guilt(cycle - self.start_of(number))
            if guilt:
                yield SystemFault(
                    cycle=self.start_of(number) + guilt.cycle,
                    chip=self.system.instances[number].chip,
                    queue=guilt.queue,
                    kind=guilt.kind,
                    instance=number,
                    row=guilt.row,
                    why=guilt.why,
                )
        for sent in self.wires.too_many(lines):
            yield self.blamed(sent, "link overflow", cycle)

    def blamed(self, sent: Sent, kind: str, cycle: int) -> SystemFault:
        """The fault of the instruction that sent a vector."""
        return SystemFault(
            cycle=cycle,
            chip=self.system.instances[sent.instance].chip,
            queue=sent.queue,
            kind=kind,
            instance=sent.instance,
            row=sent.row,
            why=LINK_LAWS[kind],
        )

    def judge(self, faults: Sequence[SystemFault]) -> None:
        """Raise the first fault, if there is one."""
        if faults:
            raise min(faults, key=lambda fault: fault.order(self.system)).error(self.system)


_Kind = tuple[int, tuple[Move, ...], tuple[int, ...]]


def _kind(instance: Instance) -> _Kind:
    return instance.program, instance.relocation, instance.links


def _relocated_programs(system: SystemProgram) -> dict[_Kind, Program]:
    """What the instances run."""
    one_of = {_kind(instance): instance for instance in system.instances}
    return {
        kind: relocated(system.programs[instance.program], instance)
        for kind, instance in one_of.items()
    }
