"""The board: every queue and stream of the chip as a timeline, and the instructions placed so far.

    queue     one timeline a queue, in dispatch cycles
    streams   one timeline a direction, segment and stream, in diagonals
    emit      one more instruction

Streams move a hop a cycle, so a value keeps its diagonal (t − x moving east, t + x moving west): a stream is booked by
the diagonals that pass a segment (west of the VXM, east of it, or at it). Knows neither tasks nor buffers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.ir import EAST, WEST
from takt.lpu.compiler.timeline import Timeline, Undo
from takt.lpu.isa.program import INSTRUCTION, sort_instructions
from takt.lpu.isa.table import BY_NAME, stream_ref

CENTRE = 2
"""The segment at the VXM, x = 0; the other two are WEST and EAST."""

_ORIGIN = 64  # bit of diagonal 0 in stream timelines: diagonals start below zero

_Row = tuple[int, int, int, int, int, int, int, int, int, int, int]  # in the order of INSTRUCTION


class StreamGroup(NamedTuple):
    """Neighbouring streams that carry the bytes of a value."""

    direction: int
    first: int

    def ref(self, byte: int = 0, *, tap: bool = False) -> int:
        """The encoded reference to the stream of one byte."""
        return stream_ref(self.first + byte, self.direction, tap)


def outward(side: int) -> int:
    """The direction that leads away from the VXM on a side; the other leads to it."""
    return 0 if side == EAST else 1


def inward(side: int) -> int:
    """The direction that leads to the VXM on a side."""
    return 1 if side == EAST else 0


def segments(x0: int, x1: int) -> tuple[int, ...]:
    """Segments that a value crosses on its way from hop `x0` to hop `x1`."""
    low, high = min(x0, x1), max(x0, x1)
    out = []
    if low < 0:
        out.append(WEST)
    if high > 0:
        out.append(EAST)
    if low <= 0 <= high:
        out.append(CENTRE)
    return tuple(out)


class Board:
    """Reservations and instructions of one program being scheduled."""

    __slots__ = ("_blocks", "_rows", "_streams", "g", "links", "queue")

    def __init__(self, g: Geometry) -> None:
        self.g = g
        self.queue = [Timeline() for _ in range(len(g.queue))]
        self.links = [Timeline() for _ in range(g.n_links)]  # cycles in which a vector goes out
        # [direction][segment][stream]
        self._streams = [
            [[Timeline() for _ in range(g.n_streams)] for _ in range(3)] for _ in range(2)
        ]
        self._rows: list[_Row] = []
        self._blocks: list[NDArray[np.void]] = []

    def named(self, name: str) -> Timeline:
        """The timeline of a queue by its name."""
        return self.queue[self.g.queue[name]]

    # ----------------------------------------------------------------------------------------------------- streams
    def take_streams(
        self,
        undo: Undo,
        direction: int,
        segments: tuple[int, ...],
        diagonal: int,
        mask: int,
        width: int,
    ) -> StreamGroup | None:
        """Claim a group of `width` streams on the diagonals of `mask`, its bit 0 at `diagonal`; None if none is free.

        The highest free group is taken, which leaves the lower sixteen streams to weights as long as possible.
        """
        lines = self._streams[direction]
        position = diagonal + _ORIGIN
        for first in range(self.g.n_streams - width, -1, -width):
            if all(
                not lines[segment][s].clash(position, mask)
                for segment in segments
                for s in range(first, first + width)
            ):
                for segment in segments:
                    for s in range(first, first + width):
                        undo.take(lines[segment][s], position, mask)
                return StreamGroup(direction, first)
        return None

    def busy_streams(
        self, direction: int, segment: int, first: int, width: int, diagonal: int
    ) -> int:
        """Diagonals, bit 0 the given one, on which one of `width` streams from `first` on is taken."""
        busy = 0
        for line in self._streams[direction][segment][first : first + width]:
            busy |= line.bits >> max(diagonal + _ORIGIN, 0)
        return busy

    def book_stream(
        self, direction: int, segment: int, stream: int, diagonal: int, mask: int
    ) -> None:
        """Take the diagonals of `mask`, its bit 0 at `diagonal`, of one stream for good."""
        self._streams[direction][segment][stream].take(diagonal + _ORIGIN, mask)

    # ------------------------------------------------------------------------------------------------- instructions
    def emit(
        self,
        time: int,
        queue: int,
        op: str,
        *,
        count: int = 1,
        gap: int = 1,
        step: int = 0,
        a: int = 0,
        b: int = 0,
        c: int = 0,
        d: int = 0,
        imm: int = 0,
    ) -> None:
        """Add an instruction (fields as in `isa.program.INSTRUCTION`). Claims nothing."""
        if count == 1:
            gap, step = 1, 0
        step &= 0xFFFFFFFFFFFFFFFF
        self._rows.append((time, queue, BY_NAME[op].op, count, gap, step, a, b, c & 0xFFFF, d, imm))

    def emit_block(self, block: NDArray[np.void]) -> None:
        """Add an array of instructions."""
        self._blocks.append(block)

    def mark(self) -> int:
        """A point to `rewind` to."""
        return len(self._rows)

    def rewind(self, mark: int) -> None:
        """Drop what was emitted, blocks apart, since a mark."""
        del self._rows[mark:]

    def instructions(self) -> NDArray[np.void]:
        """Everything emitted, by queue and time."""
        n = len(self._rows)
        array = np.zeros(n, INSTRUCTION)
        if n:
            columns = np.array(self._rows, dtype=np.uint64)
            for i, name in enumerate(INSTRUCTION.names or ()):
                column = columns[:, i]
                array[name] = column.astype(np.int64) if name == "step" else column
        return sort_instructions(np.concatenate([array, *self._blocks]))
