"""The least cycles a program could take on a chip: the most loaded resource, or the longest chain of dependences.

Each figure is a true lower bound for this program's work: it assumes that everything else is free. The gap between the
schedule and the largest of them is what better scheduling could gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from takt.chips import Chip
from takt.lpu.isa.program import Program, queues
from takt.lpu.isa.table import BY_NAME, Type, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Cycles by resource; `cycles` is the largest, `limit` its name."""

    weights: int  # bytes loaded into the MXM ÷ bytes a cycle that streams bring to it
    mxm: int  # activation passes ÷ planes
    vxm: int  # operations ÷ ALUs
    sram: int  # reads and writes ÷ slices (one instruction a slice and cycle)
    chain: int  # longest dependence chain with unlimited resources

    @property
    def cycles(self) -> int:
        """The largest of them."""
        return max(self.weights, self.mxm, self.vxm, self.sram, self.chain)

    @property
    def limit(self) -> str:
        """The name of the largest."""
        return max(
            ("weights", "mxm", "vxm", "sram", "chain"), key=lambda name: int(getattr(self, name))
        )


def bound(program: Program, chip: Chip, ideal_cycles: int) -> Bound:
    """Bounds of a program; `ideal_cycles` is the schedule's length without resource limits."""
    rows = program.instructions
    count = rows["count"].astype(np.int64)

    # Planes of a side that load the same tile take it from the same streams in the same cycles.
    loads = np.unique(rows[rows["op"] == BY_NAME["lw"].op][["time", "a", "count"]])
    vectors = chip.mxm.load_streams * int(loads["count"].sum())
    abc = rows["op"] == BY_NAME["abc"].op
    f16 = rows["b"] == int(Type.F16)
    plane_cycles = int(count[abc & ~f16].sum()) + 2 * chip.mxm.fp16_interval_cycles * int(
        count[abc & f16].sum()
    )
    by_queue = np.bincount(rows["queue"], weights=count, minlength=1)
    n_alus = chip.vxm.alus
    units = queues(chip)
    vxm_ops = sum(
        int(by_queue[q.number]) for q in units if q.unit is Unit.VXM and q.number < len(by_queue)
    )
    memory = sum(
        int(by_queue[q.number]) for q in units if q.unit is Unit.MEM and q.number < len(by_queue)
    )
    return Bound(
        weights=-(-vectors // (2 * chip.core.streams_per_direction)),
        mxm=-(-plane_cycles // chip.mxm.planes),
        vxm=-(-vxm_ops // n_alus),
        sram=-(-memory // (2 * chip.mem.slices_per_hemisphere)),
        chain=ideal_cycles + chip.stagger_cycles,
    )
