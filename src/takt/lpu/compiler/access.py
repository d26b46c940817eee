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

    Rows in one slice are one repeated instruction. Rows spread over slices are an instruction each, so that reads and
    writes of a slice may alternate.
    """
    buffer, rows, interval = access.buffer, access.rows, access.interval
    for byte, slices in enumerate(buffer.slices):
        together = access.fixed or len(slices) == 1
        for j in range(1 if together else rows):
            s, word = buffer.location(byte, access.row + j)
            travel = abs(access.target - g.slice_x[s])
            time = access.arrival + j * interval + (travel if write else -travel - g.read)
            if together:
                yield Issue(s, time, span(rows, interval), byte, word, rows, interval)
            else:
                yield Issue(s, time, 1, byte, word, 1, 1)


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
