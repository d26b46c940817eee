"""Several chips at native speed: the tapes of a system's programs, cut where a chip has to wait for a vector.

The schedule is proved, so the order of things within a chip, and of vectors on each wire, is all that matters. Chips
take turns: each runs its tapes until a `receive` needs a vector that nobody has sent yet. It gives the same bits, cycles
and activity as chips in lockstep.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from takt.chips import Chip
from takt.errors import UsageError
from takt.lpu.fast.codes import FAULTS, LANES
from takt.lpu.fast.engine import choose_threads, require_shape
from takt.lpu.fast.lasting import lasting_constant
from takt.lpu.fast.lift import Lifted, lift
from takt.lpu.fast.links import LinkEvent
from takt.lpu.fast.prepared import Prepared, Threads, resolve
from takt.lpu.isa.program import Program
from takt.lpu.machine.lockstep import SystemResult, require_fit
from takt.lpu.machine.network import Instance, Move, SystemProgram, relocated
from takt.lpu.machine.state import Memory, RunResult
from takt.lpu.machine.system import SystemReport, prove_system
from takt.lpu.machine.verdict import SystemFault

_Kind = tuple[int, tuple[Move, ...]]
_Line = deque[bytes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedSystem:
    """A system program ready to run on one set of memories: proved, and each distinct program of each chip resolved.

    `runs` holds for each chip its instances in order of time.
    """

    system: SystemProgram
    report: SystemReport
    runs: tuple[tuple[PreparedRun, ...], ...]
    memories: tuple[Memory, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedRun:
    """One instance: its number, its tape, and what its program does to links, in order."""

    number: int
    prepared: Prepared
    sends: tuple[LinkEvent, ...]
    receives: tuple[LinkEvent, ...]


class FastSystem:
    """Runs prepared system programs on chips that are alike; chip n has the n-th memory.

    Words that a program declares constant must be in memory before `prepare` and stay as they are, unless the system
    itself writes them, while what it returned is in use.
    """

    def __init__(
        self, chip: Chip, memories: Sequence[Memory], *, threads: int | None = None
    ) -> None:
        """`threads` as for `FastEngine`; chips take turns, so all threads work for one chip at a time."""
        require_shape(chip)
        self.chip = chip
        self.memories = tuple(memories)
        self._threads = choose_threads(threads)

    def prepare(self, system: SystemProgram) -> PreparedSystem:
        """Prove the system free of hazards and make it ready.

        Raises ProgramError for a malformed system, and MachineFault for the first broken law.
        """
        require_fit(system, self.chip, self.memories)
        report = prove_system(system)
        lifted: dict[_Kind, tuple[Program, Lifted]] = {}
        for instance in system.instances:
            if _kind(instance) not in lifted:
                plain = replace(instance, links=())
                program = relocated(system.programs[instance.program], plain)
                lifted[_kind(instance)] = program, lift(program, self.chip)
        of_chip: defaultdict[int, list[int]] = defaultdict(list)
        for number, instance in enumerate(system.instances):
            of_chip[instance.chip].append(number)
        runs = tuple(
            self._prepare_chip(system, of_chip[n], self.memories[n], lifted, report.programs)
            for n in range(system.n_chips)
        )
        return PreparedSystem(system=system, report=report, runs=runs, memories=self.memories)

    def run(self, prepared: PreparedSystem) -> SystemResult:
        """Carry out a prepared system; memories are changed in place.

        MachineFault for the first of what only data can break; what is in memory then is not defined.
        """
        if prepared.memories is not self.memories:
            raise UsageError("the system was prepared for other memories")
        ends = _Ends(prepared.system)
        walkers = [_Walker(ends, runs, self._threads) for runs in prepared.runs]
        while sum(walker.advance() for walker in walkers):  # all chips have their turn
            pass
        faults = [walker.fault for walker in walkers if walker.fault]
        if faults:
            system = prepared.system
            raise min(faults, key=lambda fault: fault.order(system)).error(system)
        assert all(walker.is_done for walker in walkers), "a proved system comes to its end"
        return SystemResult(cycles=prepared.report.cycles, activity=prepared.report.activity)

    def _prepare_chip(
        self,
        system: SystemProgram,
        numbers: Sequence[int],
        memory: Memory,
        lifted: Mapping[_Kind, tuple[Program, Lifted]],
        results: Sequence[RunResult],
    ) -> tuple[PreparedRun, ...]:
        """The instances of one chip; those of one kind share a tape."""
        instances = [system.instances[number] for number in numbers]
        programs = {_kind(i): lifted[_kind(i)][0] for i in instances}
        made: dict[_Kind, Prepared] = {}
        for kind, program in programs.items():
            others = [other for other in programs.values() if other is not program]
            made[kind] = resolve(
                program,
                lifted[kind][1],
                self.chip,
                memory,
                result=results[kind[0]],
                constant=lasting_constant(program, others),
            )
        return tuple(
            _prepared_run(number, made[_kind(system.instances[number])])
            for number in sorted(numbers, key=lambda n: system.instances[n].start_cycle)
        )


def _kind(instance: Instance) -> _Kind:
    return instance.program, instance.relocation


def _prepared_run(number: int, prepared: Prepared) -> PreparedRun:
    events = prepared.links
    return PreparedRun(
        number=number,
        prepared=prepared,
        sends=tuple(sorted((e for e in events if e.sends), key=lambda event: event.op)),
        receives=tuple(event for event in events if not event.sends),
    )


class _Ends:
    """Vectors on wires during one run, by both ends of each wire."""

    def __init__(self, system: SystemProgram) -> None:
        self.instances = system.instances
        self.leaving: dict[tuple[int, int], _Line] = {}
        self.ending: dict[tuple[int, int], _Line] = {}
        for wire in system.wires:
            line: _Line = deque()
            self.leaving[wire.source_chip, wire.source_link] = line
            self.ending[wire.target_chip, wire.target_link] = line

    def end(self, number: int, link: int) -> tuple[int, int]:
        """(chip, link of the chip) for a link of an instance's program."""
        instance = self.instances[number]
        return instance.chip, instance.links[link] if instance.links else link


class _Walker:
    """One chip on its way through its runs: `nth` of them, up to operation `op`, so many links' events behind it."""

    def __init__(self, ends: _Ends, runs: Sequence[PreparedRun], threads: Threads) -> None:
        self._ends = ends
        self._runs = runs
        self._threads = threads
        self._nth = self._op = self._n_sent = self._n_received = 0
        self.fault: SystemFault | None = None

    @property
    def is_done(self) -> bool:
        """Whether all runs have come to their end."""
        return self._nth == len(self._runs)

    def advance(self) -> bool:
        """Go on as far as vectors are there; False if there was nothing to do."""
        moved = False
        while not self.is_done and self.fault is None:
            run = self._runs[self._nth]
            missing = self._fill(run)
            end = run.prepared.n_ops if missing is None else missing.op
            if missing is not None and end == self._op:
                break
            moved = True
            self._carry_out(run, end)
            if missing is None and self.fault is None:
                self._nth += 1
                self._op = self._n_sent = self._n_received = 0
        return moved

    def _fill(self, run: PreparedRun) -> LinkEvent | None:
        """Give vectors that are there to the next receives, in order; the first receive that finds none, or None."""
        arena = run.prepared.arena
        while self._n_received < len(run.receives):
            event = run.receives[self._n_received]
            line = self._ends.ending[self._ends.end(run.number, event.link)]
            if not line:
                return event
            arena[event.slot : event.slot + LANES] = np.frombuffer(line.popleft(), np.uint8)
            self._n_received += 1
        return None

    def _carry_out(self, run: PreparedRun, end: int) -> None:
        """Run the tape to an operation, and send what was sent until there or to the operation at fault."""
        kind, at = run.prepared.carry_out(self._op, end, self._threads)
        self._op = at if kind else end
        while self._n_sent < len(run.sends) and run.sends[self._n_sent].op < self._op:
            event = run.sends[self._n_sent]
            line = self._ends.leaving[self._ends.end(run.number, event.link)]
            line.append(run.prepared.arena[event.slot : event.slot + LANES].tobytes())
            self._n_sent += 1
        if kind:
            cycle, queue, row = run.prepared.issue[at].tolist()
            instance = self._ends.instances[run.number]
            self.fault = SystemFault(
                cycle=instance.start_cycle + cycle,
                chip=instance.chip,
                queue=queue,
                kind=FAULTS[kind],
                instance=run.number,
                row=row,
                why="found in the data of this run",
            )
