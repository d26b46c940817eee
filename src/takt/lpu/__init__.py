"""The LPU: instruction set, machine, compiler, engines.

isa/       one table, and what derives from it        machine/   reference engine, checker
compiler/  model × chip → programs                    fast/      the same bits at native speed
system/    a model over many chips                    vision/    image networks
session    a model in use                             energy     activity → joules
sampling   logits → tokens                            kernels    all-reduce, weight load, barrier
encoders   the face of encoders over many chips
"""

from takt.lpu.compiler import Compiled, Step, compile_model
from takt.lpu.energy import energy
from takt.lpu.isa import Program, TaktFile, print_program
from takt.lpu.isa import load as load_takt
from takt.lpu.isa import save as save_takt
from takt.lpu.isa.program import queues
from takt.lpu.sampling import Generation, Sampler
from takt.lpu.session import Session, StepResult

__all__ = [
    "Compiled",
    "Generation",
    "Program",
    "Sampler",
    "Session",
    "Step",
    "StepResult",
    "TaktFile",
    "compile_model",
    "energy",
    "load_takt",
    "print_program",
    "queues",
    "save_takt",
]
