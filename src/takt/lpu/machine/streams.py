"""The stream registers, shifting one hop each cycle as the hardware's do.

For each direction there is one register per position and stream. It knows positions and values; when instructions
sample and drive them is the engine's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EAST, WEST = 0, 1


class Vector(NamedTuple):
    """A value on its way: its bytes, one a lane, and the position where it was produced."""

    data: NDArray[np.uint8]
    born: int


class StreamFile:
    """The registers of both directions, from −edge to +edge. `byte_hops` counts finished ways."""

    __slots__ = ("_edge", "_lanes", "_rows", "byte_hops")

    def __init__(self, edge: int, lanes: int) -> None:
        self._edge = edge
        self._lanes = lanes
        self._rows: tuple[deque[dict[int, Vector]], ...] = tuple(
            deque({} for _ in range(2 * edge + 1)) for _ in (EAST, WEST)
        )
        self.byte_hops = 0

    def shift(self) -> None:
        """Every value moves one hop; those at the last register leave the chip."""
        east, west = self._rows
        leaving = east.pop()
        if leaving:
            self._leave(leaving, self._edge)
        east.appendleft(leaving)
        leaving = west.popleft()
        if leaving:
            self._leave(leaving, -self._edge)
        west.append(leaving)

    def _leave(self, row: dict[int, Vector], x: int) -> None:
        self.byte_hops += self._lanes * sum(abs(x - value.born) for value in row.values())
        row.clear()

    def at(self, direction: int, x: int) -> Mapping[int, Vector]:
        """The values that are at a position, by stream."""
        return self._rows[direction][x + self._edge]

    def put(self, direction: int, stream: int, vector: Vector) -> bool:
        """Drive a register where the value was born; False (and nothing done) if it holds a value."""
        row = self._rows[direction][vector.born + self._edge]
        if stream in row:
            return False
        row[stream] = vector
        return True

    def take(self, direction: int, stream: int, x: int) -> None:
        """Empty a register."""
        value = self._rows[direction][x + self._edge].pop(stream)
        self.byte_hops += self._lanes * abs(x - value.born)

    def drain(self) -> None:
        """Let everything that is still under way leave the chip."""
        for _ in range(2 * self._edge + 1):
            self.shift()
