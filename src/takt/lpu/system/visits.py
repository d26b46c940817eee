"""A system's schedule as visits: programs that run side by side on some chips, from one cycle on.

What decoders and encoders over many chips share. Knows neither models nor what a visit is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from takt.chips import Chip, Network
from takt.lpu.isa import Program
from takt.lpu.machine import Activity, Instance, Move, SystemProgram


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A stage's slot, or a transfer to the next. `activity` is what it does, and on how many chips."""

    what: str
    stage: int
    start_cycle: int
    cycles: int
    bound_cycles: int
    limit: str
    chips: tuple[int, ...]
    programs: tuple[Program, ...]  # one for all chips, or one a chip
    activity: tuple[tuple[Activity, int], ...]

    @property
    def end_cycle(self) -> int:
        """The cycle after its last."""
        return self.start_cycle + self.cycles


AnyVisit = TypeVar("AnyVisit", bound=Visit)


def epoch_from(cycle: int, chip: Chip) -> int:
    """The first epoch boundary from `cycle` on."""
    return -(-cycle // chip.c2c.epoch_cycles) * chip.c2c.epoch_cycles


def system_program(
    chip: Chip,
    network: Network,
    visits: Iterable[AnyVisit],
    moves: Callable[[AnyVisit, int], tuple[Move, ...]],
) -> SystemProgram:
    """The schedule of all visits; `moves` says how the program of a visit's i-th chip is moved.

    Wires of chips that run nothing are no part of it.
    """
    numbers: dict[int, int] = {}
    programs: list[Program] = []
    instances: list[Instance] = []
    for visit in visits:
        for i, number in enumerate(visit.chips):
            program = visit.programs[i % len(visit.programs)]
            if id(program) not in numbers:
                numbers[id(program)] = len(programs)
                programs.append(program)
            instances.append(
                Instance(
                    chip=number,
                    program=numbers[id(program)],
                    start_cycle=visit.start_cycle,
                    relocation=moves(visit, i),
                )
            )
    used = {instance.chip for instance in instances}
    return SystemProgram(
        chip=chip,
        programs=tuple(programs),
        instances=tuple(instances),
        wires=tuple(w for w in network.wires if {w.source_chip, w.target_chip} <= used),
    )
