"""The LPU: instruction set, machine, compiler, engines.

    isa/       one table, and what derives from it        machine/   reference engine, checker
    compiler/  model × chip → programs                    fast/      the same bits at native speed
    session    a model in use                             energy     activity → joules
"""

from takt.lpu.compiler import Bound, Compiled, Placed, Step, compile_model
from takt.lpu.energy import Energy, energy
from takt.lpu.isa import Program, TaktFile, print_program
from takt.lpu.machine import Activity, Memory
from takt.lpu.session import Session, StepResult

__all__ = [
    "Activity",
    "Bound",
    "Compiled",
    "Energy",
    "Memory",
    "Placed",
    "Program",
    "Session",
    "Step",
    "StepResult",
    "TaktFile",
    "compile_model",
    "energy",
    "print_program",
]
