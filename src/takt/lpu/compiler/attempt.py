"""One try of placing a task: its time, what it has claimed, and the streams, ALUs and slices it chose.

The parts of a task (`feeds`, `operations`) fill it in while they reserve, and read it while they emit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from takt.lpu.compiler.access import Read
from takt.lpu.compiler.board import StreamGroup
from takt.lpu.compiler.chain import Chain, abc_offset
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.ir import Task
from takt.lpu.compiler.timeline import Undo


@dataclass(slots=True, eq=False)
class Attempt:
    """Choices are listed in the order of the task's feeds or the chain's micro operations."""

    task: Task
    chain: Chain
    time: int  # cycle of the chain's offset 0
    undo: Undo = field(default_factory=lambda: Undo(lazy=True))
    feeds: list[Read] = field(default_factory=list)
    # of each feed: the emitted result and its swapped copy
    results: list[tuple[StreamGroup | None, StreamGroup | None]] = field(default_factory=list)
    reads: dict[tuple[int, int, bool, int], Read] = field(default_factory=dict)  # by `read_key`
    gathers: dict[int, tuple[Read, StreamGroup]] = field(default_factory=dict)  # by id of source
    alus: list[int] = field(default_factory=list)
    streams: list[StreamGroup | None] = field(default_factory=list)
    places: dict[int, tuple[int, ...]] = field(default_factory=dict)  # slices, by output

    @property
    def rows(self) -> int:
        """Rows of the task."""
        return self.task.rows

    @property
    def interval(self) -> int:
        """Cycles between rows."""
        return self.chain.interval

    def abc(self, index: int, g: Geometry) -> int:
        """Dispatch cycle of a feed's first `abc`."""
        return self.time + abc_offset(self.chain, index, g)
