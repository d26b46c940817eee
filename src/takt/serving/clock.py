"""The event kernel: integer time, and one order for what happens at the same time. Knows nothing of what happens."""

import heapq
from typing import Generic, TypeVar

from takt.errors import LawError

__all__ = ["Clock"]

Thing = TypeVar("Thing")


class Clock(Generic[Thing]):
    """Things to come, by (nanosecond, rank, order of scheduling)."""

    __slots__ = ("_heap", "_sequence", "now_ns")

    def __init__(self) -> None:
        self.now_ns = 0
        self._heap: list[tuple[int, int, int, Thing]] = []
        self._sequence = 0

    def at(self, time_ns: int, rank: int, thing: Thing) -> None:
        """Schedule a thing; LawError for the past."""
        if time_ns < self.now_ns:
            raise LawError(f"an event at {time_ns} ns is scheduled at {self.now_ns} ns", law=26)
        heapq.heappush(self._heap, (time_ns, rank, self._sequence, thing))
        self._sequence += 1

    def __bool__(self) -> bool:
        return bool(self._heap)

    @property
    def next_ns(self) -> int:
        """When the next thing happens; there must be one."""
        return self._heap[0][0]

    def pop(self) -> Thing:
        """The next thing; the clock goes on to its time."""
        self.now_ns, _, _, thing = heapq.heappop(self._heap)
        return thing
