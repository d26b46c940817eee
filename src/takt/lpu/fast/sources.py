"""Where every sampled stream value comes from.

A value never leaves its slot (direction, stream, diagonal), so the producer of a sample is the last result that entered
the slot upstream of it, or at the same place. One sort of all uses by (slot, place) finds every producer of a program.
It relies on the proof that the program has no hazard; it does not judge, beyond refusing a sample without a producer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import ProgramError
from takt.lpu.isa.program import Queue
from takt.lpu.isa.table import EMIT, ROWS, STREAM, Kind, Operand, Row, Type
from takt.lpu.machine.timing import Issues, Timing

Ints = NDArray[np.int64]

PLANES = 16  # an issue drives at most so many streams
N_INPUTS = 4  # one more than any instruction has: the outputs that follow point there
_N_STREAMS = np.array([kind.n_streams for kind in Type] + [1] * 3, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The producers of all sampled streams.

    `plane` holds one entry for each stream sampled: PLANES · producing issue + number of the stream among those it
    drives. The streams of input operand k of issue i start at `first[k, i]` (−1 where it has no such stream operand).
    """

    plane: Ints
    first: Ints

    def of(self, issue: Ints, operand: int | Ints, width: int) -> Ints:
        """Planes [n, width] of one operand of some issues that all have that width."""
        at: Ints = self.first[operand, issue][:, np.newaxis] + np.arange(width)
        return self.plane[at]


@dataclass(slots=True)
class _Uses:
    """Uses of streams being gathered: sort keys of results and of samples."""

    produced: list[Ints]
    produced_plane: list[Ints]
    sampled: list[Ints]
    n_sampled: int = 0


def find_sources(issues: Issues, queues: tuple[Queue, ...], timing: Timing) -> Sources:
    """Producers of every stream operand. ProgramError if a sample has none (the program was not proved)."""
    x = np.array([queue.x for queue in queues], np.int64)[issues.queue]
    first = np.full((N_INPUTS, len(issues)), -1, np.int64)
    uses = _Uses([], [], [])
    for row in ROWS:
        chosen = np.flatnonzero(issues.op == row.op)
        if not len(chosen):
            continue
        inputs = 0
        for operand in row.operands:
            if operand.role:
                _gather(uses, issues, x, chosen, row, operand, timing, first[inputs])
            inputs += operand.role == "in"
    return Sources(plane=_match(uses), first=first)


def _gather(
    uses: _Uses,
    issues: Issues,
    x: Ints,
    issue: Ints,
    row: Row,
    operand: Operand,
    timing: Timing,
    first: Ints,
) -> None:
    """Add one operand of all issues of one instruction to the uses."""
    value = getattr(issues, operand.column)[issue].astype(np.int64)
    used, width = stream_widths(issues, issue, row, operand, value)
    issue, value, width = issue[used], value[used], width[used]
    end = np.cumsum(width)
    nth = np.arange(int(width.sum())) - np.repeat(end - width, width)
    many = np.repeat(issue, width)
    value = np.repeat(value, width)
    westward = value >> 5 & 1
    along = np.where(westward == 1, -x[many], x[many])
    time = issues.time[many]
    if operand.role == "out":
        time = time + timing.latency(int(row.op))
    key = pack(westward << 5 | (value & 31) + nth, time, along)
    if operand.role == "out":
        uses.produced.append(key)
        uses.produced_plane.append(many * PLANES + nth)
    else:
        first[issue] = uses.n_sampled + end - width
        uses.sampled.append(key + 1)
        uses.n_sampled += len(key)


def stream_widths(
    issues: Issues, issue: Ints, row: Row, operand: Operand, value: Ints
) -> tuple[NDArray[np.bool_], Ints]:
    """Which of the issues use the operand as streams, and how many streams each has there."""
    n = len(issue)
    everyone = np.ones(n, np.bool_)
    if operand.kind is Kind.OPERAND:
        return value >> 10 & 3 == STREAM, _N_STREAMS[value >> 7 & 7]
    if row.name == "acc":
        return issues.c[issue] & EMIT != 0, np.full(n, operand.width)
    if operand.width > 0:
        return everyone, np.full(n, operand.width)
    sized_by = next(o for o in row.operands if o.kind in (Kind.WIDTH, Kind.TYPE, Kind.COUNT))
    size = getattr(issues, sized_by.column)[issue].astype(np.int64)
    if sized_by.kind is Kind.TYPE:
        return everyone, _N_STREAMS[size & 7]
    if sized_by.kind is Kind.WIDTH:
        return everyone, size & 7
    return everyone, size if operand.width == -1 else size * size


_PLACE_BITS = 12  # hops, both signs
_TIME_BITS = 40


def pack(stream: Ints, time: Ints, along: Ints) -> Ints:
    """Slot and place as one integer, even: a sample adds 1, so that it comes after a result at the same place."""
    offset = 1 << _PLACE_BITS - 1
    diagonal = time - along + offset
    return (((stream << _TIME_BITS) + diagonal << _PLACE_BITS) + along + offset) << 1


def _match(uses: _Uses) -> Ints:
    """The plane behind every sample, in the order they were gathered."""
    if not uses.n_sampled:
        return np.zeros(0, np.int64)
    if not uses.produced:
        raise ProgramError("a stream is sampled but nothing drives any: check the program first")
    produced = np.concatenate(uses.produced)
    plane = np.concatenate(uses.produced_plane)
    order = np.argsort(produced)
    produced, plane = produced[order], plane[order]
    sampled = np.concatenate(uses.sampled)
    at = np.searchsorted(produced, sampled) - 1
    slot = _PLACE_BITS + 1
    if at.min() < 0 or np.any(produced[at] >> slot != sampled >> slot):
        raise ProgramError("a sampled stream has no producer: check the program first")
    return plane[at]
