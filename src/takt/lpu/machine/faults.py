"""The kinds of fault, which of several comes first, and the error that shows one with its neighbourhood.

It knows nothing of why a program is at fault; the reference engine and the checker do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

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
    "launch",
    "link missing",
    "link busy",
    "link overflow",
    "link unread",
    "bad permute",
    "link empty",
)
"""All kinds. The first fault of a program is the least by (cycle, queue, place in this list); of one queue in one cycle,
what only data can tell comes after everything else."""

LINK_LAWS: Mapping[str, str] = MappingProxyType(
    {
        "link missing": "the link leads nowhere",
        "link busy": "another vector is on its way into the link",
        "link overflow": "more vectors wait at the end of the wire than there is room for",
        "link unread": "nobody receives the vector",
        "link empty": "nothing has arrived on the link",
    }
)
"""What breaks each law of the links."""

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
    chip: int | None = None,
) -> MachineFault:
    """The error for a fault of the instruction in row `index`; its message is `kind: why`.

    Of several chips the queue is named with its `chip`.
    """
    rows = program.instructions
    name = names[queue].name if queue < len(names) else str(queue)
    return MachineFault(
        f"{kind}: {why}",
        cycle=cycle,
        queue=name if chip is None else f"{name} of chip {chip}",
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
