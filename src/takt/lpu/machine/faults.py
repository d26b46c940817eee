"""The kinds of fault, which of several comes first, and the error that shows one with its neighbourhood.

It knows nothing of why a program is at fault; the reference engine and the checker do.
"""

from __future__ import annotations

import numpy as np

from takt.errors import MachineFault
from takt.lpu.isa.asm import instruction_text, line_text
from takt.lpu.isa.program import Program, Queue

FAULT_KINDS = (
    "bad operand",
    "queue order",
    "instruction supply",
    "queue overflow",
    "address range",
    "constant write",
    "bank conflict",
    "stream collision",
    "empty stream",
    "alu empty",
    "mxm busy",
    "mxm result missing",
    "mxm type",
    "bad permute",
    "link empty",
)
"""All kinds. The first fault of a program is the least by (cycle, queue, place in this list); of one queue in one cycle,
what only data can tell comes after everything else."""

_NEIGHBOURS = 5  # instructions shown before and after the guilty one


def fault_rank(kind: str) -> int:
    """Place of a kind among the faults of one queue in one cycle."""
    return FAULT_KINDS.index(kind) if kind in FAULT_KINDS else len(FAULT_KINDS)


def machine_fault(
    program: Program,
    names: tuple[Queue, ...],
    *,
    cycle: int,
    queue: int,
    index: int,
    kind: str,
    why: str,
) -> MachineFault:
    """The error for a fault of the instruction in row `index`; its message is `kind: why`."""
    rows = program.instructions
    return MachineFault(
        f"{kind}: {why}",
        cycle=cycle,
        queue=names[queue].name if queue < len(names) else str(queue),
        instruction=instruction_text(rows[index], names) if index < len(rows) else None,
        neighbourhood=_neighbourhood(program, names, index),
    )


def _neighbourhood(program: Program, names: tuple[Queue, ...], index: int) -> list[str]:
    """The guilty instruction, marked, among the ten that start nearest before and after it."""
    rows = program.instructions
    if index >= len(rows):
        return []
    order = np.lexsort((rows["queue"], rows["time"]))
    at = int(np.flatnonzero(order == index)[0])
    nearby = order[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS + 1].tolist()
    return [("> " if i == index else "  ") + line_text(rows[i], names) for i in nearby]
