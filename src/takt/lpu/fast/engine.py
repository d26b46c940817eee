"""The fast engine: proves a program's time once, then computes what it does to memory at native speed.

`prepare` checks the program and lifts it to a tape with pointers; `run` is one call into C. It gives the same bits in
memory, the same cycles and the same activity as the reference engine.
"""

from __future__ import annotations

import os

from takt.chips import Chip
from takt.errors import UnsupportedError, UsageError
from takt.lpu.fast.codes import FAULTS, LANES, SUPERLANES
from takt.lpu.fast.lift import lift
from takt.lpu.fast.links import Links, route, settle
from takt.lpu.fast.prepared import Prepared, Threads, resolve
from takt.lpu.isa.program import Program, queues
from takt.lpu.machine.checker import prove
from takt.lpu.machine.faults import machine_fault
from takt.lpu.machine.state import Memory, RunResult

_MOST_THREADS = 64


class FastEngine:
    """Runs prepared programs on one chip's memory.

    As on the machine, a run starts with empty streams, zero weights and zero accumulators. Words that a program
    declares constant must be in memory before `prepare` and stay as they are while what it returned is in use.
    """

    def __init__(self, chip: Chip, memory: Memory, *, threads: int | None = None) -> None:
        """`threads`: None takes TAKT_THREADS or, for programs with many weights, the number of processors.

        The bits do not depend on it. UsageError for a TAKT_THREADS that is no number of threads.
        """
        require_shape(chip)
        self.chip = chip
        self.memory = memory
        chosen = choose_threads(threads)
        self.threads = chosen.number
        self._always = chosen.always

    def prepare(self, program: Program) -> Prepared:
        """Prove the program free of hazards and make it ready. MachineFault for the first broken law."""
        if program.chip_id != self.chip.id:
            raise UsageError(f"program is for chip {program.chip_id}, not {self.chip.id}")
        report = prove(program, self.chip)
        result = RunResult(cycles=report.cycles, activity=report.activity)
        return resolve(
            program,
            lift(program, self.chip),
            self.chip,
            self.memory,
            result=result,
            constant=program.constant,
        )

    def run(self, prepared: Prepared, *, links: Links | None = None) -> RunResult:
        """Carry out a prepared program; memory and links (a FIFO of vectors each) are changed in place.

        MachineFault for what only data can break: addresses of gather and scatter, maps of permute, an empty link.
        Memory and links are then as they were before that cycle.
        """
        if prepared.memory is not self.memory:
            raise UsageError("the program was prepared for another memory")
        lines: Links = {} if links is None else links
        stop = route(prepared.links, lines, prepared.arena, prepared.args)
        end = prepared.n_ops if stop is None else stop.op
        threads = Threads(number=self.threads, always=self._always)
        kind, at = prepared.carry_out(0, end, threads)
        fault: tuple[int, int, int, str] | None = None
        if kind:
            cycle, queue, row = prepared.issue[at].tolist()
            fault = cycle, queue, row, FAULTS[kind]
        elif stop is not None:
            fault = stop.cycle, stop.queue, stop.row, "link empty"
        settle(prepared.links, lines, prepared.arena, fault[0] if fault else None)
        if fault is None:
            return prepared.result
        cycle, queue, row, name = fault
        raise machine_fault(
            prepared.program,
            queues(self.chip),
            cycle=cycle,
            queue=queue,
            index=row,
            kind=name,
            why="found in the data of this run",
        )


def require_shape(chip: Chip) -> None:
    """Raise UnsupportedError for a chip whose vectors or planes the kernels are not made for."""
    shape = (chip.lanes, chip.core.superlanes, chip.mxm.rows, chip.mxm.cols)
    if shape != (LANES, SUPERLANES, LANES, LANES):
        raise UnsupportedError(
            f"the fast engine is built for {LANES} lanes in {SUPERLANES} superlanes and square planes"
        )


def choose_threads(threads: int | None) -> Threads:
    """What is asked for here or by TAKT_THREADS; else all processors, where that is worth it."""
    asked = _asked_threads() if threads is None else threads
    number = asked or min(os.cpu_count() or 1, _MOST_THREADS)
    return Threads(number=number, always=asked is not None)


def _asked_threads() -> int | None:
    """TAKT_THREADS, if it is set. UsageError if it is no number of threads."""
    given = os.environ.get("TAKT_THREADS", "")
    if not given:
        return None
    if not given.isdecimal() or not 1 <= int(given) <= _MOST_THREADS:
        raise UsageError(f"TAKT_THREADS is '{given}', not a number from 1 to {_MOST_THREADS}")
    return int(given)
