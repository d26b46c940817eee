"""The reference engine: steps a program cycle by cycle and is the judge of every other engine.

Every broken law is a fault with cycle, queue, instruction and neighbourhood. What a cycle is, is in `run`.
"""

from __future__ import annotations

from random import Random

from takt.chips import Chip
from takt.errors import UsageError
from takt.lpu.isa.program import Program, queues
from takt.lpu.machine.faults import machine_fault
from takt.lpu.machine.links import Fifos
from takt.lpu.machine.run import Run
from takt.lpu.machine.state import Memory, RunResult

_AT_LEAST_ONE = (
    "mem.read_cycles",
    "vxm.alu_cycles",
    "mxm.install_cycles",
    "mxm.activation_to_result_cycles",
    "mxm.result_to_stream_cycles",
    "sxm.shift_cycles",
    "sxm.select_cycles",
    "sxm.permute_cycles",
    "sxm.distribute_cycles",
    "sxm.transpose_cycles",
    "sxm.rotate_cycles",
    "icu.fetch_latency_cycles",
    "c2c.link_cycles",
)
"""Delays that cannot be 0: what an instruction leaves behind is seen in a later cycle."""


class ReferenceEngine:
    """Runs programs on one chip's memory.

    A run starts with empty streams, zero weights and zero accumulators; only memory lasts from run to run. `shuffle`
    is for tests: the instructions of each cycle are then heard in an order drawn from it, which must change nothing.
    """

    def __init__(self, chip: Chip, memory: Memory, *, shuffle: Random | None = None) -> None:
        require_delays(chip)
        self.chip = chip
        self.memory = memory
        self._shuffle = shuffle

    def run(self, program: Program, *, links: dict[int, list[bytes]] | None = None) -> RunResult:
        """Run to the end; memory and links (a FIFO of vectors each) are changed in place.

        Raises MachineFault for the first broken law, leaving memory as it was in that cycle.
        """
        if program.chip_id != self.chip.id:
            raise UsageError(f"program is for chip {program.chip_id}, not {self.chip.id}")
        fifos = Fifos(self.chip, {} if links is None else links)
        run = Run(self.chip, self.memory, program, fifos, self._shuffle)
        while (cycle := run.next_cycle) is not None:
            if run.is_busy:
                run.hear()
            guilt = run.first_guilt(cycle)
            if guilt:
                raise machine_fault(
                    program,
                    queues(self.chip),
                    cycle=guilt.cycle,
                    queue=guilt.queue,
                    index=guilt.row,
                    kind=guilt.kind,
                    why=guilt.why,
                )
            run.commit()
        return run.finish()


def require_delays(chip: Chip) -> None:
    """Raise UsageError for a chip on which something takes no time that must."""
    for name in _AT_LEAST_ONE:
        group, fact = name.split(".")
        if getattr(getattr(chip, group), fact) < 1:
            raise UsageError(f"chip {chip.id}: {name} must be at least 1 to run a program")
