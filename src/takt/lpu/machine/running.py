"""One machine while it runs: all that outlives a cycle, and the open business of the present one.

In a cycle every instruction looks only at what was there when the cycle began (`now`) and leaves results, claims and
commits behind; the engine (`reference`) applies them after all instructions have been heard, so their order within a
cycle cannot matter. What each instruction does is in `units`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.isa.program import Program, Queue, queues
from takt.lpu.isa.table import BY_OP, ROWS, Unit
from takt.lpu.machine.links import Links
from takt.lpu.machine.planes import Plane
from takt.lpu.machine.state import Memory
from takt.lpu.machine.streams import StreamFile, Vector
from takt.lpu.machine.timing import Timing

Bytes = NDArray[np.uint8]
Raw = NDArray[np.uint32]

_SXM_UNITS = (
    Unit.PERMUTE,
    Unit.DISTRIBUTE,
    Unit.TRANSPOSE,
    Unit.SHIFT,
    Unit.SELECT,
    Unit.ROTATE,
)
_SXM_OPS = frozenset(row.op for row in ROWS if row.unit in _SXM_UNITS)
COUNTED = (
    "instructions",
    "mac_i8",
    "mac_f16",
    "sram_read_bytes",
    "sram_write_bytes",
    "vxm_lane_ops",
    "sxm_bytes",
    "weight_bytes",
    "link_bytes",
)


class Issue(NamedTuple):
    """One instruction at the cycle it is dispatched; `row` is its row in the program."""

    time: int
    queue: int
    op: int
    row: int
    a: int
    b: int
    c: int
    d: int
    imm: int


Arrival = tuple[Issue, int, int, Vector]
"""A result on its way to a stream register: whose, direction, stream, and what."""


class Claim(NamedTuple):
    """A use of a slice's read or write port; `bank` is None for both banks."""

    issue: Issue
    slice: int
    writes: bool
    bank: int | None


class Guilt(NamedTuple):
    """A broken law: who broke it, how, and when; and whether only data could tell.

    What data tells comes last among the faults of one queue in one cycle, so that the checker, which knows no data,
    finds the same first fault.
    """

    cycle: int
    queue: int
    row: int
    kind: str
    why: str
    from_data: bool = False


class State:
    """One machine during one run: everything that outlives a cycle, and the open business of the present one."""

    def __init__(self, chip: Chip, memory: Memory, program: Program, links: Links) -> None:
        self.chip = chip
        self.timing = Timing(chip)
        self.queues: tuple[Queue, ...] = queues(chip)
        self.x = [queue.x for queue in self.queues]
        self.latencies = [self.timing.latency(op) for op in range(max(BY_OP) + 1)]
        self.bank_words = self.timing.bank_words
        self.memory = memory.data
        self.words = chip.mem.words_per_slice
        self.constant: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for slice_, low, high in program.constant.tolist():
            self.constant[slice_].append((low, high))
        self.links = links
        self.streams = StreamFile(max(abs(q.x) for q in self.queues), chip.lanes)
        self.planes = [Plane(chip) for _ in range(chip.mxm.planes)]
        self.superlane = chip.core.lanes_per_superlane
        self.time = 0
        self.last_effect = 0
        self.counts = dict.fromkeys(COUNTED, 0)
        # Delay lines, by the cycle in which their content is there.
        self.arrivals: defaultdict[int, list[Arrival]] = defaultdict(list)
        self.alu_results: defaultdict[int, dict[int, Raw]] = defaultdict(dict)
        self.installs: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)
        self.refills: defaultdict[int, list[Issue]] = defaultdict(list)
        self.late_claims: defaultdict[int, list[Claim]] = defaultdict(list)
        # Barriers: cycle from which a queue may go on; None while it is parked.
        self.gates: dict[int, int | None] = {}
        self.last_notify = -1
        # The present cycle.
        self.guilts: list[Guilt] = []
        self.taken: set[tuple[int, int, int]] = set()
        self.claims: list[Claim] = []
        self.plane_claims: list[tuple[Issue, int, int]] = []
        self.sending: list[Issue] = []
        self.receiving: list[Issue] = []
        self.commits: list[tuple[Issue, Callable[[], None]]] = []

    def blame(self, issue: Issue, kind: str, why: str, *, from_data: bool = False) -> None:
        """Record a fault of the present cycle."""
        self.guilts.append(Guilt(self.time, issue.queue, issue.row, kind, why, from_data))

    def sample(self, issue: Issue, ref: int, width: int) -> Bytes:
        """The bytes [width, lanes] of a stream group at the queue's position; they are taken unless tapped."""
        x, direction = self.x[issue.queue], ref >> 5 & 1
        register = self.streams.at(direction, x)
        vectors = []
        for stream in range(ref & 31, (ref & 31) + width):
            vector = register.get(stream)
            if vector is None:
                name = f"{'ew'[direction]}{stream}"
                self.blame(issue, "empty stream", f"nothing on {name} at {x:+d}")
                return np.zeros((width, self.chip.lanes), np.uint8)
            vectors.append(vector.data)
            if not ref >> 6 & 1:
                self.taken.add((direction, stream, x))
        return np.concatenate(vectors).reshape(width, -1)

    def drive(self, issue: Issue, ref: int, data: Bytes) -> None:
        """Send bytes [width, lanes] to a stream group at the queue's position after the instruction's latency."""
        latency = self.latencies[issue.op]
        x, direction = self.x[issue.queue], ref >> 5 & 1
        arrivals = self.arrivals[self.time + latency]
        for stream, vector in enumerate(data, ref & 31):
            arrivals.append((issue, direction, stream, Vector(vector, x)))
        self.effect(latency)
        if issue.op in _SXM_OPS:
            self.add("sxm_bytes", data.size)

    def effect(self, delay: int) -> None:
        """Something happens `delay` cycles from now: the program is not over before that."""
        if self.time + delay > self.last_effect:
            self.last_effect = self.time + delay

    def add(self, what: str, amount: int) -> None:
        """Count activity."""
        self.counts[what] += amount

    def commit(self, issue: Issue, change: Callable[[], None]) -> None:
        """Change state at the end of this cycle."""
        self.commits.append((issue, change))

    def claim(self, issue: Issue, *, writes: bool, address: int | None) -> None:
        """Use a port of the queue's own slice; None claims both banks. Blames an address outside the slice."""
        bank = None if address is None else address // self.bank_words
        self.claims.append(Claim(issue, issue.queue, writes, bank))

    def in_slice(self, issue: Issue, *addresses: int, from_data: bool = False) -> bool:
        """Whether all addresses exist; blames the instruction otherwise."""
        words = self.words
        for address in addresses:
            if not 0 <= address < words:
                why = f"address {address} is not in 0..{words - 1}"
                self.blame(issue, "address range", why, from_data=from_data)
                return False
        return True
