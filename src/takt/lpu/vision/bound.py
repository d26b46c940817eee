"""What no schedule of the same passes could beat, by unit; and what the multiplications alone would take.

The layouts and the sharing of passes are the compiler's: the bound says how well time is used given them, `macs` how
well the arrays are filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.isa.table import BY_NAME
from takt.lpu.vision.floor import Floor
from takt.lpu.vision.timeline import StepTime


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionBound:
    """Cycles that each unit needs at least: passes over arrays, tile loads over sides, VXM operations over ALUs, the busiest
    slice.
    """

    passes: int
    loads: int
    vxm: int
    sram: int

    @property
    def cycles(self) -> int:
        """The largest."""
        return max(self.passes, self.loads, self.vxm, self.sram)


def find_bound(
    chip: Chip, floor: Floor, times: Sequence[StepTime], issues: NDArray[np.void]
) -> VisionBound:
    """Count. `issues`: single issues of the program."""
    memory = np.isin(issues["op"], [BY_NAME["read"].op, BY_NAME["write"].op])
    per_slice = np.bincount(issues["queue"][memory])
    passes = sum(step.passes for step in times) * floor.pass_cycles
    return VisionBound(
        passes=-(-passes // floor.n_arrays),
        loads=sum(step.load_cycles for step in times),
        vxm=-(-sum(step.vxm_operations for step in times) // chip.vxm.alus),
        sram=int(per_slice.max(initial=0)),
    )
