"""One program on its way through one machine, cycle by cycle, in two phases.

In each cycle streams shift, results arrive, then all instructions of the cycle are heard against the state as it is
`now`; claims on ports, planes and links are settled (`hear`). Only then, and only if no law is broken, everything is
committed (`commit`). Nothing is skipped: an idle cycle is stepped like any other.

What an instruction does is in `units`, what it computes in `semantics`; who calls the two phases is `reference` for one
chip and `lockstep` for many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import fields
from random import Random

import numpy as np

from takt.chips import Chip
from takt.lpu.isa.program import Program
from takt.lpu.isa.table import BY_NAME
from takt.lpu.isa.verify import Violation, verify
from takt.lpu.machine.buffers import QueueBuffer, nop_words
from takt.lpu.machine.faults import fault_rank
from takt.lpu.machine.links import Links
from takt.lpu.machine.running import Arrival, Claim, Guilt, Issue, State
from takt.lpu.machine.state import Activity, Memory, RunResult
from takt.lpu.machine.timing import Issues, expand
from takt.lpu.machine.units import EXECUTE, settle_links

_COLUMNS = tuple(field.name for field in fields(Issues))


class Run:
    """One program on its way through one machine."""

    def __init__(
        self,
        chip: Chip,
        memory: Memory,
        program: Program,
        links: Links,
        shuffle: Random | None,
    ) -> None:
        self.program = program
        self.shuffle = shuffle
        self.state = State(chip, memory, program, links)
        self.malformed: defaultdict[int, list[Guilt]] = defaultdict(list)
        violations = verify(program, chip)
        for v in violations:
            self.malformed[v.cycle].append(Guilt(v.cycle, v.queue, v.index, v.kind, v.message))
        sound = _sound_issues(program, violations)
        self.state.last_notify = int(sound.time[sound.op == BY_NAME["notify"].op].max(initial=-1))
        self.issues = _by_time(sound)
        self.next_issue = next(self.issues, None)
        self.last_of_queue: dict[int, Issue] = {}
        self.spans = _spans(program)
        self.buffers = _buffers(program, chip)

    @property
    def is_busy(self) -> bool:
        """Whether anything is left to dispatch or to arrive."""
        state = self.state
        return bool(
            self.next_issue is not None or state.arrivals or state.refills or state.late_claims
        )

    @property
    def next_cycle(self) -> int | None:
        """The next cycle in which anything can happen; None when the run is over."""
        if self.is_busy:
            return self.state.time
        return max(0, min(self.malformed)) if self.malformed else None

    def hear(self) -> None:
        """The first phase of a cycle."""
        state, time = self.state, self.state.time
        state.streams.shift()
        for install in state.installs.pop(time, ()):
            install()
        if time in state.arrivals:
            self.arrive(state.arrivals.pop(time))
        for fetch in state.refills.pop(time, ()):
            words = state.chip.icu.fetch_bytes // state.chip.icu.instruction_bytes
            if not self.buffers[fetch.queue].refill(words):
                state.blame(fetch, "queue overflow", "no room for the words that arrive")
        if self.next_issue and self.next_issue.time == time:
            self.dispatch()
        if state.late_claims:
            state.claims += state.late_claims.pop(time, ())
        if state.claims:
            self.settle_ports()

    def first_guilt(self, cycle: int) -> Guilt | None:
        """The first broken law up to a cycle, of those that nobody asked for before."""
        found = self.state.guilts
        if self.malformed:
            due = [time for time in self.malformed if time <= cycle]
            found = found + [guilt for time in due for guilt in self.malformed.pop(time)]
        return min(found, key=_order) if found else None

    def arrive(self, arrivals: list[Arrival]) -> None:
        """Results enter their registers; all that meet in one are guilty, and so is one that meets an older value."""
        state = self.state
        full = {
            (direction, stream, vector.born)
            for _, direction, stream, vector in arrivals
            if not state.streams.put(direction, stream, vector)
        }
        for issue, direction, stream, vector in arrivals if full else ():
            if (direction, stream, vector.born) in full:
                place = f"{'ew'[direction]}{stream} at {vector.born:+d}"
                state.blame(issue, "stream collision", f"{place} holds a value")

    def dispatch(self) -> None:
        """Hear all instructions of this cycle against the state as it is now, then settle what they share."""
        state, now = self.state, []
        while self.next_issue and self.next_issue.time == state.time:
            now.append(self.next_issue)
            self.next_issue = next(self.issues, None)
        for issue in now:
            self.supply(issue)
        if self.shuffle:
            self.shuffle.shuffle(now)
        for issue in now:
            EXECUTE[issue.op](state, issue)
        state.counts["instructions"] += len(now)
        if state.plane_claims:
            self.settle_planes()
        if state.sending or state.receiving:
            settle_links(state)

    def supply(self, issue: Issue) -> None:
        """The queue's side of a dispatch: order, barriers, and the words that leave its buffer."""
        state, queue, time = self.state, issue.queue, issue.time
        before = self.last_of_queue.get(queue)
        if before and (before.time >= time or before.row > issue.row):
            state.blame(issue, "queue order", "the queue is busy with another instruction")
        self.last_of_queue[queue] = issue
        if queue in state.gates:
            gate = state.gates.pop(queue)
            if gate is None or time < gate:
                until = "" if gate is None else f" until cycle {gate}"
                state.blame(issue, "queue order", f"the queue is parked{until}")
        first, last = self.spans[issue.row]
        if not self.buffers[queue].issue(time, time == first, first < last == time):
            state.blame(issue, "instruction supply", "the word has not arrived in the queue")

    def settle_ports(self) -> None:
        """One read and one write a slice, in different banks; all that share what cannot be shared are guilty."""
        state = self.state
        of_slice: defaultdict[int, list[Claim]] = defaultdict(list)
        for claim in state.claims:
            claims = of_slice[claim.slice]
            for other in claims:
                if _clash(claim, other):
                    for issue in (claim.issue, other.issue):
                        state.blame(issue, "bank conflict", "port or bank is in use")
            claims.append(claim)
        state.claims.clear()

    def settle_planes(self) -> None:
        """A plane takes one activation at a time; all that claim it together are guilty, as are those too early."""
        state = self.state
        of_plane: defaultdict[int, list[tuple[Issue, int]]] = defaultdict(list)
        for issue, number, cycles in state.plane_claims:
            of_plane[number].append((issue, cycles))
        for number, claims in of_plane.items():
            plane = state.planes[number]
            for issue, _ in claims:
                if len(claims) > 1 or state.time < plane.busy_until:
                    state.blame(issue, "mxm busy", f"plane {number} is claimed")
            plane.busy_until = state.time + max(cycles for _, cycles in claims)
        state.plane_claims.clear()

    def commit(self) -> None:
        """The second phase: everything that this cycle changes, at once; then it is the next cycle."""
        state = self.state
        for direction, stream, x in state.taken:
            state.streams.take(direction, stream, x)
        state.taken.clear()
        for _, change in sorted(state.commits, key=lambda commit: commit[0].queue):
            change()
        state.commits.clear()
        state.alu_results.pop(state.time, None)
        for plane in state.planes:
            plane.results.pop(state.time, None)
        state.time += 1

    def finish(self) -> RunResult:
        """The result, when nothing is left; values still under way leave the chip."""
        state = self.state
        state.streams.drain()
        cycles = state.last_effect + state.timing.stagger_cycles if self.last_of_queue else 0
        activity = Activity(**state.counts, stream_byte_hops=state.streams.byte_hops)
        return RunResult(cycles=cycles, activity=activity)


def _order(guilt: Guilt) -> tuple[int, int, bool, int, int]:
    """Which of several faults is reported."""
    return guilt.cycle, guilt.queue, guilt.from_data, fault_rank(guilt.kind), guilt.row


def _spans(program: Program) -> list[tuple[int, int]]:
    """First and last cycle in which each instruction is issued."""
    rows = program.instructions
    first = rows["time"].astype(np.int64)
    last = first + (rows["count"].astype(np.int64) - 1) * rows["gap"]
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _clash(one: Claim, other: Claim) -> bool:
    same_bank = one.bank is None or other.bank is None or one.bank == other.bank
    return one.writes == other.writes or same_bank


def _sound_issues(program: Program, violations: Sequence[Violation]) -> Issues:
    """All issues but those that make no sense: an instruction ends before its first bad operand."""
    issues = expand(program)
    keep = np.ones(len(issues), np.bool_)
    for violation in violations:
        if violation.kind == "bad operand":
            keep &= (issues.index != violation.index) | (issues.time < violation.cycle)
    return Issues(**{name: getattr(issues, name)[keep] for name in _COLUMNS})


def _by_time(issues: Issues) -> Iterator[Issue]:
    """Issues of cycle 0 and later, by cycle, then queue."""
    order = np.lexsort((issues.queue, issues.time))
    order = order[issues.time[order] >= 0]
    columns = (getattr(issues, name)[order].tolist() for name in _COLUMNS)
    return map(Issue._make, zip(*columns, strict=True))


def _buffers(program: Program, chip: Chip) -> dict[int, QueueBuffer]:
    """A buffer for every queue that has text, filled with its first words."""
    words: defaultdict[int, int] = defaultdict(int)
    free_at: defaultdict[int, int] = defaultdict(int)
    columns = ("queue", "time", "count", "gap")
    for queue, time, count, gap in program.instructions[list(columns)].tolist():
        words[queue] += nop_words(time - free_at[queue], chip.icu.nop_max_cycles) + 1 + (count > 1)
        free_at[queue] = time + (count - 1) * gap + 1
    return {queue: QueueBuffer(chip, n) for queue, n in words.items()}
