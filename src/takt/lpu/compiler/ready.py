"""The order in which tasks of a program over many rows are placed: whatever its inputs let start first.

Tasks of one row depend on each other so closely that plan order is as good as any. With many rows there is independent
work beside every wait (another block of rows, another matrix), and an MXM that takes its tiles strictly in order must
not be made to wait for a task that is not ready yet. `Ready` knows which tasks could be placed; the scheduler tells it
when each of them could start, and takes the first. Knows nothing of resources.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from takt.lpu.compiler.inputs import inputs_of
from takt.lpu.compiler.ir import Buffer, Task

_WINDOW = 32
"""Tasks, in plan order, among which the next one is chosen: work that lies further ahead does not overtake."""

_CLOSE = 24
"""Cycles: of tasks that could start within so many of the earliest, the first in plan order is taken."""

_PROBES = 6
"""Tasks tried out, at most, before one is taken."""

NEVER = 1 << 62
"""The start of a task that cannot be placed before another one has been."""


class Ready:
    """Tasks whose predecessors have been taken, in plan order."""

    __slots__ = ("_free", "_left", "_mxm", "_next", "_tasks")

    def __init__(self, tasks: list[Task]) -> None:
        self._tasks = tasks
        before = _predecessors(tasks)
        self._left = [len(p) for p in before]
        self._next: list[list[int]] = [[] for _ in tasks]
        for i, some in enumerate(before):
            for j in some:
                self._next[j].append(i)
        self._free: list[int] = []  # a heap: without feeds, so they hold up nothing and go first
        self._mxm: list[int] = []  # sorted
        for i, n in enumerate(self._left):
            if n == 0:
                self._admit(i)

    def take(self, start: Callable[[Task], int], fits: Callable[[Task, int], int]) -> Task | None:
        """The next task to place, None if there are none left.

        `start` says when a task with feeds could start by its inputs and tiles, `fits` when it finds all else free, if
        that is before a given cycle (else it may say anything later).
        """
        if self._free:
            return self._done(heapq.heappop(self._free))
        if not self._mxm:
            return None
        window = self._mxm[:_WINDOW]
        starts = {i: start(self._tasks[i]) for i in window}
        limit = min(starts.values()) + _CLOSE
        first = [i for i in window if starts[i] <= limit]
        rest = sorted((i for i in window if starts[i] > limit), key=lambda i: starts[i])
        best, chosen = NEVER, first[0]
        for i in (first + rest)[:_PROBES]:
            if starts[i] + _CLOSE >= best:
                continue
            found = fits(self._tasks[i], best)
            if found < best - _CLOSE:
                best, chosen = found, i
            if best <= limit + _CLOSE:
                break
        self._mxm.remove(chosen)
        return self._done(chosen)

    def _done(self, i: int) -> Task:
        for j in self._next[i]:
            self._left[j] -= 1
            if self._left[j] == 0:
                self._admit(j)
        return self._tasks[i]

    def _admit(self, i: int) -> None:
        if self._tasks[i].feeds:
            self._mxm.append(i)
            self._mxm.sort()
        else:
            heapq.heappush(self._free, i)


def _predecessors(tasks: list[Task]) -> list[set[int]]:
    """Of every task those that must be placed before it: writers of what it reads, readers of what it overwrites, and
    the task before it in each of its accumulators.
    """
    writers: dict[int, list[int]] = {}
    readers: dict[int, list[int]] = {}
    groups: dict[int, int] = {}
    out: list[set[int]] = []
    for i, task in enumerate(tasks):
        before: set[int] = set()
        for buffer in _reads(task):
            before.update(writers.get(id(buffer), ()))
            readers.setdefault(id(buffer), []).append(i)
        for _, buffer, _ in task.outputs:
            before.update(readers.get(id(buffer), ()))
            writers.setdefault(id(buffer), []).append(i)
        for feed in task.feeds:
            if id(feed.group) in groups:
                before.add(groups[id(feed.group)])
            groups[id(feed.group)] = i
        before.discard(i)
        out.append(before)
    return out


def _reads(task: Task) -> list[Buffer]:
    """What a task reads, and what its tiles are loaded from."""
    return inputs_of(task) + [b for feed in task.feeds for b in feed.tile.sources]
