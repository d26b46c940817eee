"""The schedule pass: a cycle, streams, ALUs and SRAM words for every task, earliest fit in task order.

    Scheduler   tries a task at one cycle after another from the earliest its inputs allow, and keeps the first that fits
    earliest    when that is
    feeds       the MXM part of a task; `loading` puts its tiles into the array first
    operations  the VXM part, with reads and writes of SRAM (`access`)
    append      tasks of the SXM
    board       all reservations and the instructions; `words` the temporary SRAM words

Tasks come in dependence order. Each is put at the first cycle at which its inputs are written and every resource it
needs is free, so later tasks may fill gaps that earlier ones left. The result is a claim; the checker and the machine
judge it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import CompileError
from takt.lpu.compiler.append import place_append
from takt.lpu.compiler.attempt import Attempt
from takt.lpu.compiler.board import Board
from takt.lpu.compiler.chain import Chain, abc_offset, solve
from takt.lpu.compiler.earliest import earliest, earliest_ideal
from takt.lpu.compiler.feeds import Feeds
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.inputs import inputs_of, read_together, redirect, shared_slice
from takt.lpu.compiler.ir import Buffer, FromBuffer, Plan, Task
from takt.lpu.compiler.loading import Engines
from takt.lpu.compiler.operations import Operations
from takt.lpu.compiler.ready import NEVER, Ready
from takt.lpu.compiler.timeline import TRIES
from takt.lpu.compiler.words import AHEAD, Words

# Copies tried before each output when a task's accesses to one slice collide with each other.
_MAX_DELAY = 4


@dataclass(frozen=True, slots=True)
class Placed:
    """When a task ran: first and last cycle of its effects (for reports)."""

    label: str
    layer: int
    start: int
    end: int


@dataclass(slots=True)
class Schedule:
    """Result of the pass: instructions, where each task ran, and the length without resource limits."""

    instructions: NDArray[np.void]
    placed: list[Placed]
    ideal_cycles: int
    words_used: list[int]


_MAX_COPIES = 8  # of inputs, for one task


class Scheduler:
    """Places the tasks of one program."""

    __slots__ = (
        "_board",
        "_engines",
        "_feeds",
        "_ideal_end",
        "_operations",
        "_placed",
        "_starts",
        "_words",
        "g",
    )

    def __init__(
        self,
        g: Geometry,
        work: dict[int, tuple[int, ...]],
        next_word: list[int],
        limit: list[int],
        zero_word: int = 0,
        *,
        banks: dict[int, list[tuple[int, ...]]] | None = None,
        idle: Iterable[tuple[int, int]] = (),
    ) -> None:
        """`work[side]` are the slices for temporaries; `next_word[slice]`/`limit[slice]` their free words;
        `zero_word` a word of zeros in every weight slice; `banks[side]` the banks for temporaries of a zone; `idle`
        (queue, cycle) stays free.
        """
        self.g = g
        self._board = Board(g)
        for queue, cycle in idle:
            self._board.queue[queue].take(cycle, 1)
        self._words = Words(self._board, work, next_word, limit, banks)
        self._engines = Engines(self._board, zero_word)
        self._feeds = Feeds(self._board, self._engines)
        self._operations = Operations(self._board, self._words)
        self._placed: list[Placed] = []
        self._ideal_end = 0
        # By id of task: its timing, the offset of its first `abc`, and when its inputs let that start.
        self._starts: dict[int, tuple[Chain, int, int]] = {}

    def run(self, plan: Plan) -> Schedule:
        """Place every task. Raises CompileError if one fits nowhere, CapacityError if SRAM is full."""
        for task in plan.tasks:
            for buffer in (*inputs_of(task), *(b for _, b, _ in task.outputs)):
                if buffer.fixed:
                    buffer.written, buffer.n_readers, buffer.ideal, buffer.last_read = (), 0, 0, 0
                    buffer.done, buffer.ideal_done = -1, 0
        for task in plan.tasks:
            for buffer in inputs_of(task):
                buffer.n_readers += 1
            for group in read_together(task):
                self._words.meet(group)
        if plan.reorder:
            self._expect_constants(plan)
            ready = Ready(plan.tasks)
            while (following := ready.take(self._start, self._fits)) is not None:
                self._place(following)
                self._starts.pop(id(following), None)
        else:
            for task in plan.tasks:
                self._place(task)
        return Schedule(
            self._board.instructions(),
            self._placed,
            self._ideal_end,
            list(self._words.next_word),
        )

    def _expect_constants(self, plan: Plan) -> None:
        """Tell how often fixed buffers are read on average: theirs are slices that others had better leave alone."""
        length = sum(task.rows for task in plan.tasks if task.feeds)
        for task in plan.tasks:
            for buffer in inputs_of(task):
                if buffer.fixed:
                    self._words.expect(buffer, 4 * AHEAD * task.rows / length)

    def _start(self, task: Task) -> int:
        """About the cycle of the first `abc` of a task whose inputs have been placed."""
        if not all(self._feeds.has_entries(feed) for feed in task.feeds):
            return NEVER
        if id(task) not in self._starts:
            chain = solve(task, self.g)
            first = min(abc_offset(chain, i, self.g) for i in range(len(task.feeds)))
            self._starts[id(task)] = chain, first, earliest(task, chain, self.g) + first
        _, _, ready = self._starts[id(task)]
        return max(ready, *(self._engines.expected(f.tile) for f in task.feeds))

    def _fits(self, task: Task, latest: int) -> int:
        """The cycle of the first `abc` if the task were placed now, unless that is after `latest`."""
        start = self._start(task)
        if start == NEVER:
            return NEVER
        chain, first, _ = self._starts[id(task)]
        while start <= latest:
            attempt = Attempt(task, chain, start - first)
            fits = self._reserve(attempt)
            attempt.undo.rollback()
            if fits or attempt.undo.rigid:  # if it never fits so, `_place` finds another way
                break
            start += attempt.undo.skip()
        return start

    def _place(self, task: Task, copies: int = 0) -> None:
        if task.sxm is not None:
            for start, end in place_append(self._board, self._words, task.label, task.sxm):
                self._placed.append(Placed(task.label, task.layer, start, end))
            return
        for feed in task.feeds:
            self._engines.ensure(feed.tile)
        for delay in range(_MAX_DELAY):
            chain = solve(task, self.g, delay)
            attempt = self._search(task, chain)
            if attempt is not None:
                self._commit(attempt, earliest_ideal(task, chain, self.g))
                return
        clash = shared_slice(task)
        if clash is None or copies == _MAX_COPIES:
            raise CompileError(f"no place found for task {task.label} of layer {task.layer}")
        self._relocate(task, clash, copies)
        self._place(task, copies + 1)

    def _search(self, task: Task, chain: Chain) -> Attempt | None:
        """The first cycle at which all that the task needs is free, with everything claimed."""
        time = earliest(task, chain, self.g)
        for index, feed in enumerate(task.feeds):
            time = max(time, self._engines.active(feed.tile) - abc_offset(chain, index, self.g))
        for _ in range(TRIES):
            attempt = Attempt(task, chain, time)
            if self._reserve(attempt):
                attempt.undo.keep()
                return attempt
            attempt.undo.rollback()
            time += attempt.undo.skip()
            if attempt.undo.rigid:
                return None
        return None

    def _reserve(self, attempt: Attempt) -> bool:
        feeds = range(len(attempt.task.feeds))
        return all(self._feeds.reserve(attempt, i) for i in feeds) and self._operations.reserve(
            attempt
        )

    def _relocate(self, task: Task, buffer: Buffer, copies: int) -> None:
        """Copy a buffer away from the slices of the task's other inputs, and let the task read the copy."""
        moved = Buffer(
            f"{buffer.name}.copy", buffer.type, rows=buffer.rows, n_readers=1, apart=True
        )
        self._words.set_peers(moved, [b for b in inputs_of(task) if b is not buffer])
        copy = Task(label=task.label, layer=task.layer, rows=buffer.rows)
        copy.out(copy.op("mov", FromBuffer(buffer)), moved)
        buffer.n_readers += (
            1  # the copy, until it is known whether the task goes on reading the original too
        )
        self._place(copy, copies + 1)
        if not redirect(task, buffer, moved):
            self._words.release(buffer)

    def _commit(self, attempt: Attempt, ideal: int) -> None:
        """Emit what an attempt reserved. `ideal` is the task's time without resource limits."""
        task, n, ii = attempt.task, attempt.rows, attempt.interval
        start = end = attempt.time
        for index in range(len(task.feeds)):
            start = min(start, attempt.abc(index, self.g))
            end = max(end, self._feeds.emit(attempt, index, ideal))
        end = max(end, self._operations.emit(attempt, ideal))
        for _, buffer, _ in task.outputs:
            self._ideal_end = max(self._ideal_end, buffer.ideal + (n - 1) * ii)
        for buffer in inputs_of(task):
            self._words.release(buffer)
        self._placed.append(Placed(task.label, task.layer, start, end + (n - 1) * ii))
