"""The machine: what programs do to one chip or to many, judged cycle by cycle and proved without stepping.

`ReferenceEngine` and, for a `SystemProgram`, `ReferenceSystem` step; `check`, `prove` and `prove_system` sort. Both
report the same cycles, activity and first fault.
"""

from takt.lpu.machine.checker import check, prove
from takt.lpu.machine.lockstep import ReferenceSystem
from takt.lpu.machine.network import Instance, Move, SystemProgram
from takt.lpu.machine.reference import ReferenceEngine
from takt.lpu.machine.state import Activity, Memory, RunResult
from takt.lpu.machine.system import prove_system
from takt.lpu.machine.timing import expand, program_cycles

__all__ = [
    "Activity",
    "Instance",
    "Memory",
    "Move",
    "ReferenceEngine",
    "ReferenceSystem",
    "RunResult",
    "SystemProgram",
    "check",
    "expand",
    "program_cycles",
    "prove",
    "prove_system",
]
