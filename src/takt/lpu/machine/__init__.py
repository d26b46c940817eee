"""The machine: what a program does to one chip, judged cycle by cycle and proved without stepping.

`ReferenceEngine` steps; `check` and `prove` sort. Both report the same cycles, activity and first fault.
"""

from takt.lpu.machine.checker import CheckReport, check, prove
from takt.lpu.machine.reference import ReferenceEngine
from takt.lpu.machine.state import Activity, Memory, RunResult
from takt.lpu.machine.timing import Issues, Timing, expand, program_cycles

__all__ = [
    "Activity",
    "CheckReport",
    "Issues",
    "Memory",
    "ReferenceEngine",
    "RunResult",
    "Timing",
    "check",
    "expand",
    "program_cycles",
    "prove",
]
