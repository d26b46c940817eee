"""What lifting needs to know of a program: its issues, where their operands come from, and the tape being written."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.fast.codes import LANES, Code
from takt.lpu.fast.sources import PLANES, find_sources
from takt.lpu.fast.tape import Builder
from takt.lpu.isa.program import queues
from takt.lpu.isa.table import BY_NAME, ROWS, Unit
from takt.lpu.machine.timing import Issues, Timing

Ints = NDArray[np.int64]

VXM_OPS = np.array([row.op for row in ROWS if row.unit is Unit.VXM])
BEFORE, COMPUTE, AFTER = 0, 1, 2  # parts of an issue: widening, the operation itself, narrowing

_QUEUE_BITS, _PART_BITS = 16, 2


class Scene:
    """One program on its way to the tape.

    `plane` and `word` hold the references to each issue's results: byte planes from the first one on, and 32-bit words
    (−1 where it has none). `links` are sends and receives in the order in which links see them.
    """

    def __init__(self, issues: Issues, chip: Chip) -> None:
        self.issues = issues
        self.chip = chip
        self.queues = queues(chip)
        self.sources = find_sources(issues, self.queues, Timing(chip))
        self.imm = (issues.imm & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        links = self.of("send", "receive")
        # A vector sent in a cycle is there from the next one on.
        sends = issues.op[links] == BY_NAME["send"].op
        self.links = links[np.lexsort((issues.queue[links], sends, issues.time[links]))]
        self.tape = Builder(np.unique(self.imm[np.isin(issues.op, VXM_OPS)]), len(links))
        self.plane = np.full(len(issues), -1, np.int64)
        self.word = np.full(len(issues), -1, np.int64)

    def of(self, *names: str) -> Ints:
        """Issues of these instructions."""
        return np.flatnonzero(np.isin(self.issues.op, [BY_NAME[name].op for name in names]))

    def key(self, issue: Ints, part: int = COMPUTE, *, writes: bool = False) -> Ints:
        """Place in the order: cycle, reads before writes, queue, part."""
        key = self.issues.time[issue] * 2 + writes
        key = (key << _QUEUE_BITS) + self.issues.queue[issue]
        return (key << _PART_BITS) + part

    def planes_of(self, plane: Ints) -> Ints:
        """References to planes as `Sources` names them; −1 is the vector of zeros."""
        issue = np.maximum(plane, 0) // PLANES
        return np.where(plane < 0, 0, self.plane[issue] + plane % PLANES * LANES)

    def inputs(self, issue: Ints, operand: int, width: int) -> Ints:
        """References [issues, width] to the planes of one operand."""
        return self.planes_of(self.sources.of(issue, operand, width))

    def dispatched(self, queue: NDArray[np.integer], time: Ints, candidates: Ints) -> Ints:
        """Among the candidates, the issue that each queue dispatched at each time (the proof says there is one)."""
        when = self.issues.time[candidates] << _QUEUE_BITS | self.issues.queue[candidates]
        order = np.argsort(when)
        at = np.searchsorted(when[order], time << _QUEUE_BITS | queue)
        return candidates[order[np.minimum(at, len(order) - 1)]]

    def split(self, issue: Ints) -> None:
        """Planes of 32-bit words; dropped again where nobody wants the bytes one by one."""
        args = self.word[issue][:, np.newaxis]
        self.tape.emit(
            Code.SPLIT, self.key(issue, AFTER), args, issue=issue, into=self.plane[issue]
        )
