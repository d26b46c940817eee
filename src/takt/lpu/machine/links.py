"""The ends of a chip's links, as the reference engine sees them while it runs.

Two sorts: `Fifos`, a list of waiting vectors for each link of a chip by itself, and `Port`, the ends of wires to other
chips (`Wires`), on which vectors take their time. Both know for how long a link is busy. Who may use them when is
judged in `units`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from takt.chips import Chip, Wire


class Links(Protocol):
    """What a running program sees of its chip's links; cycles are its own."""

    def leads(self, link: int, *, sends: bool) -> bool:
        """Whether there is anything at the other end, for what is sent or for what is received."""
        ...

    def occupy(self, link: int, cycle: int) -> bool:
        """Start to send; False if an earlier vector is still on its way into the link."""
        ...

    def send(self, queue: int, row: int, link: int, cycle: int, vector: bytes) -> None:
        """Put a vector on a link, from an instruction of that queue and row."""
        ...

    def receive(self, link: int) -> bytes | None:
        """Take the oldest vector that has arrived, if there is one."""
        ...


class Fifos:
    """Links of one chip by itself: vectors given beforehand, then what the chip sends comes back to it."""

    def __init__(self, chip: Chip, waiting: dict[int, list[bytes]]) -> None:
        self._occupied_cycles = chip.c2c_vector_cycles
        self._waiting = waiting
        self._free_at: defaultdict[int, int] = defaultdict(int)

    def leads(self, link: int, *, sends: bool) -> bool:
        """Every link comes back."""
        return True

    def occupy(self, link: int, cycle: int) -> bool:
        """See `Links`."""
        free = cycle >= self._free_at[link]
        self._free_at[link] = cycle + self._occupied_cycles
        return free

    def send(self, queue: int, row: int, link: int, cycle: int, vector: bytes) -> None:
        """See `Links`."""
        self._waiting.setdefault(link, []).append(vector)

    def receive(self, link: int) -> bytes | None:
        """See `Links`."""
        waiting = self._waiting.get(link)
        return waiting.pop(0) if waiting else None


class Sent(NamedTuple):
    """A vector on a wire, and the instruction that sent it (`instance` counts in the system program)."""

    instance: int
    queue: int
    row: int
    cycle: int
    vector: bytes


class Line:
    """One wire: vectors under way, with the cycle in which each arrives, and those that wait at its end."""

    __slots__ = ("extra_cycles", "under_way", "waiting")

    def __init__(self, extra_cycles: int) -> None:
        self.extra_cycles = extra_cycles
        self.under_way: deque[Sent] = deque()
        self.waiting: deque[Sent] = deque()


class Wires:
    """All wires of a system. Cycles are those of the system."""

    def __init__(self, chip: Chip, wires: Sequence[Wire]) -> None:
        self.occupied_cycles = chip.c2c_vector_cycles
        self.free_at: defaultdict[tuple[int, int], int] = defaultdict(int)
        self.leaving: dict[tuple[int, int], Line] = {}
        self.ending: dict[tuple[int, int], Line] = {}
        self._room = chip.c2c.receive_buffer_vectors
        self._due: defaultdict[int, list[Line]] = defaultdict(list)
        for wire in wires:
            line = Line(wire.extra_cycles)
            self.leaving[wire.source_chip, wire.source_link] = line
            self.ending[wire.target_chip, wire.target_link] = line

    def send(self, line: Line, sent: Sent) -> None:
        """Put a vector on a wire."""
        line.under_way.append(sent)
        self._due[sent.cycle + 1 + line.extra_cycles].append(line)

    def next_arrival(self) -> int | None:
        """The next cycle in which a vector arrives anywhere."""
        return min(self._due, default=None)

    def arrive(self, cycle: int) -> list[Line]:
        """Let the vectors of this cycle arrive; returns their wires."""
        lines = self._due.pop(cycle, [])
        for line in lines:
            line.waiting.append(line.under_way.popleft())
        return lines

    def too_many(self, lines: Sequence[Line]) -> list[Sent]:
        """The newest vectors of wires at whose end more wait than there is room for."""
        return [line.waiting[-1] for line in lines if len(line.waiting) > self._room]

    def unread(self) -> list[Sent]:
        """The oldest vector of each wire that still waits."""
        return [line.waiting[0] for line in self.leaving.values() if line.waiting]


class Port:
    """The ends of wires at one chip, for one program that began in cycle `start` of the system."""

    def __init__(self, wires: Wires, chip: int, instance: int, start: int) -> None:
        self._wires = wires
        self._chip = chip
        self._instance = instance
        self._start = start

    def leads(self, link: int, *, sends: bool) -> bool:
        """See `Links`."""
        lines = self._wires.leaving if sends else self._wires.ending
        return (self._chip, link) in lines

    def occupy(self, link: int, cycle: int) -> bool:
        """See `Links`."""
        end = self._chip, link
        free = self._start + cycle >= self._wires.free_at[end]
        self._wires.free_at[end] = self._start + cycle + self._wires.occupied_cycles
        return free

    def send(self, queue: int, row: int, link: int, cycle: int, vector: bytes) -> None:
        """See `Links`."""
        line = self._wires.leaving[self._chip, link]
        self._wires.send(line, Sent(self._instance, queue, row, self._start + cycle, vector))

    def receive(self, link: int) -> bytes | None:
        """See `Links`."""
        waiting = self._wires.ending[self._chip, link].waiting
        return waiting.popleft().vector if waiting else None
