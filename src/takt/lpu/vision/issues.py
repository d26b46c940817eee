"""Issues being collected: single dispatches of instructions, relative to a start that is chosen later."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from takt.lpu.isa.program import INSTRUCTION
from takt.lpu.isa.table import BY_NAME

Ints = NDArray[np.int64]


class Issues:
    """A growing list; columns may be numbers or arrays that broadcast against the times."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.void]] = []

    def add(self, name: str, queue: Ints | int, time: Ints, **columns: Ints | int) -> None:
        """One issue for each time."""
        part = np.zeros(len(time), INSTRUCTION)
        part["time"], part["queue"], part["op"] = time, queue, BY_NAME[name].op
        part["count"] = part["gap"] = 1
        for column, value in columns.items():
            part[column] = value
        self._parts.append(part)

    def rows(self) -> NDArray[np.void]:
        """All issues so far."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, INSTRUCTION)

    def take(self, other: Issues, start: int) -> None:
        """Another list's issues, `start` cycles later."""
        rows = other.rows()
        rows["time"] += start
        self._parts.append(rows)
