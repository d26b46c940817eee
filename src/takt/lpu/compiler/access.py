"""Rows between a buffer and a hop: the MEM instructions of one access, and the streams that a read needs.

Both sides of scheduling use it: a try reserves an access, a commit emits it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from takt.errors import CompileError
from takt.lpu.compiler.board import Board, StreamGroup, segments
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.ir import Buffer
from takt.lpu.compiler.timeline import Undo, pattern, span


@dataclass(frozen=True, slots=True)
class Access:
    """`rows` rows of a buffer, the first `row`, `interval` cycles apart; row 0 is at x = `target` at cycle `arrival`.

    `fixed`: the same row every time.
    """

    buffer: Buffer
    row: int
    fixed: bool
    target: int
    arrival: int
    rows: int
    interval: int


class Issue(NamedTuple):
    """One MEM instruction of an access, for `rows` rows `gap` cycles apart.

    `time` is its first dispatch cycle, `span` the queue cycles it takes from there as a mask.
    """

    slice_: int
    time: int
    span: int
    byte: int
    word: int
    rows: int
    gap: int


@dataclass(frozen=True, slots=True)
class Read:
    """A read that has been given streams."""

    access: Access
    streams: StreamGroup


def issues(g: Geometry, access: Access, *, write: bool = False) -> Iterator[Issue]:
    """The MEM instructions of an access.

    Rows in successive words of one slice are one repeated instruction. Rows spread over slices are an instruction
    each, so that reads and writes of a slice may alternate.
    """
    buffer, interval = access.buffer, access.interval
    for byte, slices in enumerate(buffer.slices):
        together = access.fixed or len(slices) == 1
        j = 0
        while j < access.rows:
            n = access.rows if together else _run(buffer, access.row + j, access.rows - j)
            s, word = buffer.location(byte, access.row + j)
            travel = abs(access.target - g.slice_x[s])
            time = access.arrival + j * interval + (travel if write else -travel - g.read)
            gap = interval if together or buffer.run else 1
            yield Issue(s, time, span(n, gap), byte, word, n, gap)
            j += n


def _run(buffer: Buffer, row: int, most: int) -> int:
    """How many rows from `row` on, at most `most`, lie in successive words of a slice."""
    return min(most, buffer.run - row % buffer.run) if buffer.run else 1


def reserve_read(board: Board, undo: Undo, access: Access) -> Read | None:
    """Claim MEM queues and streams of a read; None if something is taken.

    Raises CompileError for a buffer on both sides of the chip.
    """
    g, buffer = board.g, access.buffer
    for issue in issues(g, access):
        if issue.time < 0 or not undo.take(board.queue[issue.slice_], issue.time, issue.span):
            return None
    sides = {g.side_of(buffer.location(b, access.row)[0]) for b in range(len(buffer.slices))}
    if len(sides) != 1:
        raise CompileError(f"buffer {buffer.name} lies on both sides of the chip")
    source, target = g.sign(sides.pop()), access.target
    direction = 0 if target > source else 1
    streams = board.take_streams(
        undo,
        direction,
        segments(source, target),
        access.arrival - target if direction == 0 else access.arrival + target,
        pattern(access.rows, access.interval),
        len(buffer.slices),
    )
    return Read(access, streams) if streams is not None else None


def emit_read(board: Board, read: Read) -> None:
    """The MEM instructions of a reserved read."""
    access = read.access
    last = 0
    for issue in issues(board.g, access):
        board.emit(
            issue.time,
            issue.slice_,
            "read",
            count=issue.rows,
            gap=issue.gap,
            step=0 if access.fixed else 1,
            a=issue.word,
            b=read.streams.ref(issue.byte),
        )
        last = max(last, issue.time + (issue.rows - 1) * issue.gap)
    access.buffer.last_read = max(access.buffer.last_read, last)
