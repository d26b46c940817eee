"""The instruction set: one table, and everything that follows from it.

    table      what instructions there are              program    a program as an array
    operands   operands as text      asm     programs as text, and back
    encode     programs as words     file    programs as `.takt` files (in a `container`)
    verify     is each instruction right by itself      supply     do its words arrive in time
    manual     docs/isa.md

It knows nothing of what instructions compute, nor of models.
"""

from takt.lpu.isa.asm import instruction_text, line_text, parse_program, print_program
from takt.lpu.isa.encode import decode_queue, encode_queue
from takt.lpu.isa.file import TaktFile, load, save
from takt.lpu.isa.program import Program
from takt.lpu.isa.supply import check_supply, plan_supply
from takt.lpu.isa.verify import Violation, verify

__all__ = [
    "Program",
    "TaktFile",
    "Violation",
    "check_supply",
    "decode_queue",
    "encode_queue",
    "instruction_text",
    "line_text",
    "load",
    "parse_program",
    "plan_supply",
    "print_program",
    "save",
    "verify",
]
