"""A broken law of a system program: its place, which of several comes first, and the error that tells of it.

Here is also the law of starts, which needs no more than the cycles of each program. The other laws are judged in
`system` (proof) and `lockstep` (steps).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from takt.errors import MachineFault
from takt.lpu.isa.program import queues
from takt.lpu.machine.faults import fault_rank, machine_fault
from takt.lpu.machine.network import SystemProgram, relocated
from takt.lpu.machine.timing import program_cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemFault:
    """A broken law, by a row of the program of an instance; queue and row are −1 if the instance itself is to blame.

    `cycle` is one of the system.
    """

    cycle: int
    chip: int
    queue: int
    kind: str
    instance: int
    row: int
    why: str

    def order(self, system: SystemProgram) -> tuple[int, ...]:
        """Key by which the first of several faults is the least.

        Nothing shows before an instance starts, and a vector that nobody receives only when all is over.
        """
        shows = max(self.cycle, system.instances[self.instance].start_cycle)
        rank = fault_rank(self.kind)
        return self.kind == "link unread", shows, self.chip, self.cycle, self.queue, rank, self.row

    def error(self, system: SystemProgram) -> MachineFault:
        """The error to raise; its queue is named with the chip."""
        instance = system.instances[self.instance]
        program = system.programs[instance.program]
        if self.row < 0:
            return MachineFault(
                f"{self.kind}: {self.why}", cycle=self.cycle, queue=f"start of chip {self.chip}"
            )
        since = self.cycle - instance.start_cycle
        return machine_fault(
            relocated(program, instance),
            queues(system.chip),
            cycle=self.cycle,
            queue=self.queue,
            index=self.row,
            kind=self.kind,
            why=f"{self.why} (cycle {since:,} of program {instance.program} {program.name})".rstrip(),
            chip=self.chip,
        )


def launch_faults(system: SystemProgram) -> list[SystemFault]:
    """The first start beside an epoch, and the first too soon after the run before it on the same chip."""
    instances, chip = system.instances, system.chip
    length = {n: program_cycles(system.programs[n], chip) for n in {i.program for i in instances}}
    start = np.array([i.start_cycle for i in instances], np.int64)
    on = np.array([i.chip for i in instances], np.int64)
    order = np.lexsort((start, on))
    ready = (start + np.array([length[i.program] for i in instances], np.int64))[order]
    ready += chip.launch_cycles
    soon = np.zeros(len(order), np.bool_)
    soon[order[1:]] = (on[order[1:]] == on[order[:-1]]) & (start[order[1:]] < ready[:-1])
    beside = start % chip.c2c.epoch_cycles != 0
    faults = []
    for bad, why in (
        (soon, f"{chip.launch_cycles} cycles after the last one the queues are not filled yet"),
        (beside, f"the start is no multiple of {chip.c2c.epoch_cycles} cycles"),
    ):
        at = np.flatnonzero(bad)
        if len(at):
            i = int(at[np.lexsort((on[at], start[at]))[0]])
            faults.append(
                SystemFault(
                    cycle=int(start[i]),
                    chip=int(on[i]),
                    queue=-1,
                    kind="launch",
                    instance=i,
                    row=-1,
                    why=why,
                )
            )
    return faults
