"""Instruction supply: do a queue's words arrive in time, and where to fetch them so that they do.

The rule (docs/machine.md, ICU), as `check_supply` applies it to each queue:
- The text of a queue is the words that `encode` writes. Its first `icu.queue_depth_instructions` words are there at cycle 0.
- A word leaves, and must be there, at the cycle when it is issued; a `nop` word with the instruction after it, a `repeat`
  word with the last issue of the instruction before it. Otherwise: "instruction supply", at that cycle.
- An `ifetch` dispatched at T brings the next `icu.fetch_bytes` of words (or what is left of the text) at the start of
  cycle T + `icu.fetch_latency_cycles`; they can be issued in that cycle. Words that leave in that same cycle still
  occupy the buffer. If not all fit: "queue overflow", at that cycle.

`plan_supply` adds the fetches. It sees only free cycles: an instruction occupies its queue until its last issue, so a
fetch never goes between its repeats. It knows the read ports of the slices set aside for text, and no other slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.errors import CapacityError, CompileError, DenseQueueError
from takt.lpu.isa.encode import WORD_BYTES, encode, last_issue, lay_out
from takt.lpu.isa.program import INSTRUCTION, Program, queues, sort_instructions
from takt.lpu.isa.table import BY_NAME
from takt.lpu.isa.verify import Violation

_IFETCH: Final = BY_NAME["ifetch"].op
_ROWS_PER_FETCH: Final = 2  # words of a slice, read in two consecutive cycles
_STAGE: Final = "supply"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """The facts of the chip that matter here."""

    depth_words: int
    fetch_words: int
    latency_cycles: int
    nop_max_cycles: int


def _rule(chip: Chip) -> _Rule:
    return _Rule(
        depth_words=chip.icu.queue_depth_instructions,
        fetch_words=chip.icu.fetch_bytes // chip.icu.instruction_bytes,
        latency_cycles=chip.icu.fetch_latency_cycles,
        nop_max_cycles=chip.icu.nop_max_cycles,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """The words of one queue: the cycle in which each leaves, and the instruction (row of the queue) it belongs to."""

    leaves: NDArray[np.int64]
    owner: NDArray[np.int64]


def _text(rows: NDArray[np.void], nop_max_cycles: int) -> _Text:
    layout = lay_out(rows, nop_max_cycles)
    owner = np.repeat(np.arange(len(rows)), layout.words)
    leaves = rows["time"].astype(np.int64)[owner]
    again = layout.repeats
    leaves[layout.own[again] + 1] = last_issue(rows)[again]
    return _Text(leaves=np.maximum.accumulate(leaves), owner=owner)


def _spans(rows: NDArray[np.void]) -> list[tuple[int, int, int]]:
    """(queue number, first row, end row) of every queue in use, of rows sorted by queue."""
    numbers, first = np.unique(rows["queue"], return_index=True)
    ends = [*first[1:].tolist(), len(rows)]
    return list(zip(numbers.tolist(), first.tolist(), ends, strict=True))


def check_supply(program: Program, chip: Chip) -> list[Violation]:
    """The first word that is missing and the first fetch that does not fit, for each queue, by (cycle, queue)."""
    rule, rows = _rule(chip), program.instructions
    found: list[Violation] = []
    for queue, first, end in _spans(rows):
        mine = rows[first:end]
        text = _text(mine, rule.nop_max_cycles)
        at = np.flatnonzero(mine["op"] == _IFETCH)
        if len(text.leaves) > rule.depth_words or len(at):
            found += _judge(queue, first, mine, text, at, rule)
    return sorted(found, key=lambda v: (v.cycle, v.queue))


def _judge(
    queue: int, first: int, rows: NDArray[np.void], text: _Text, at: NDArray[np.intp], rule: _Rule
) -> list[Violation]:
    """Violations of one queue, whose rows start at row `first` of the program and fetch in rows `at`."""
    fetcher = np.repeat(at, rows["count"][at])
    nth = np.arange(len(fetcher)) - np.repeat(
        np.cumsum(rows["count"][at]) - rows["count"][at], rows["count"][at]
    )
    arrives = (
        rows["time"][fetcher].astype(np.int64) + nth * rows["gap"][fetcher] + rule.latency_cycles
    )
    n_text, n_held = len(text.leaves), min(rule.depth_words, len(text.leaves))
    total = np.minimum(n_held + rule.fetch_words * np.arange(1, len(arrives) + 1), n_text)
    found = []
    left = np.searchsorted(text.leaves, arrives, side="left")
    overflow = np.flatnonzero(total - left > rule.depth_words)
    if len(overflow):
        i = int(overflow[0])
        index = first + int(fetcher[i])
        why = f"{int(total[i] - left[i])} words would be in a buffer of {rule.depth_words}"
        found.append(_violation("queue overflow", int(arrives[i]), queue, index, why))
    there = np.concatenate(
        (np.zeros(n_held, np.int64), np.repeat(arrives, np.diff(total, prepend=n_held)))
    )
    missing = np.full(n_text, True)
    missing[: len(there)] = there > text.leaves[: len(there)]
    if missing.any():
        word = int(np.argmax(missing))
        index = first + int(text.owner[word])
        why = f"word {word} of the queue's text has not arrived"
        found.append(_violation("instruction supply", int(text.leaves[word]), queue, index, why))
    return found


def _violation(kind: str, cycle: int, queue: int, index: int, message: str) -> Violation:
    return Violation(kind=kind, cycle=cycle, queue=queue, index=index, message=message)


def plan_supply(
    program: Program, chip: Chip, text_slices: Sequence[tuple[int, int, int]]
) -> Program:
    """The program with `ifetch` instructions in idle cycles of its queues, so that no queue runs dry or over.

    `text_slices`: (slice, first address, end address) of memory set aside for text, rows as in `Program.constant`; what is used of
    it is declared constant. A program that fits the buffers comes back as it is. Raises CompileError naming a queue
    that has no idle cycle where it needs one, and CapacityError if the text does not fit.
    """
    rule, rows = _rule(chip), program.instructions
    if np.any(rows["op"] == _IFETCH):
        raise CompileError("the program has fetches already", stage=_STAGE)
    names = queues(chip)
    library = _Library(rows, text_slices)
    fetches: list[tuple[int, int, int, int]] = []
    for queue, first, end in _spans(rows):
        for time in _fetch_times(rows[first:end], names[queue].name, rule, library):
            fetches.append((queue, *time))
    if not fetches:
        return program
    added = np.zeros(len(fetches), INSTRUCTION)
    added["op"], added["count"], added["gap"] = _IFETCH, 1, 1
    added["queue"], added["time"], added["a"], added["b"] = np.array(fetches, np.int64).T
    both = sort_instructions(np.concatenate((rows, added)))
    constant = np.concatenate((program.constant, library.used()))
    return replace(program, instructions=both, constant=constant)


def _fetch_times(
    rows: NDArray[np.void], name: str, rule: _Rule, library: _Library
) -> list[tuple[int, int, int]]:
    """(cycle, slice, address) of each fetch of one queue, early to late.

    Fetch k goes to the first free cycle in which its words will find room on arrival. It has to arrive before the first
    of them is due; fetches that come after it but before that word push the word back, at most `slack` places.
    """
    leaves = _text(rows, rule.nop_max_cycles).leaves
    if len(leaves) <= rule.depth_words:
        return []
    idle = _Idle(rows, rule.nop_max_cycles)
    slack = 2 * (1 + -(-(rule.depth_words + rule.latency_cycles) // rule.fetch_words))
    out: list[tuple[int, int, int]] = []
    while rule.depth_words + rule.fetch_words * len(out) < len(leaves) + idle.n_added:
        k = len(out)
        # Words beyond the cycles used so far stand `n_added` places further on than in the text without fetches.
        last_out = min(max(rule.fetch_words * (k + 1) - 1 - idle.n_added, 0), len(leaves) - 1)
        due = min(
            max(rule.depth_words + rule.fetch_words * k - slack - idle.n_added, 0), len(leaves) - 1
        )
        start = max(int(leaves[last_out]) + 1 - rule.latency_cycles, 0)
        latest = int(leaves[due]) - rule.latency_cycles
        time = idle.first_free(start, latest, library)
        if time is None:
            raise DenseQueueError(
                f"queue {name} is too dense: no idle cycle from {start} to {latest} to fetch words "
                f"{rule.depth_words + rule.fetch_words * k} and after, the first of which is due about cycle {int(leaves[due])}",
                queue=int(rows["queue"][0]),
                start_cycle=start,
                end_cycle=latest,
                stage=_STAGE,
                hint="fold instructions into repeats, or spread them over more queues",
            )
        idle.take(time)
        out.append((time, *library.take(time)))
    return out


class _Idle:
    """The idle cycles of one queue, before its last instruction, and what a fetch in them does to its words."""

    __slots__ = ("at", "begin", "end", "n_added", "nop_max_cycles")

    def __init__(self, rows: NDArray[np.void], nop_max_cycles: int) -> None:
        begin = np.concatenate(([0], last_issue(rows)[:-1] + 1))
        end = rows["time"].astype(np.int64)
        free = end > begin
        self.begin: list[int] = begin[free].tolist()
        self.end: list[int] = end[free].tolist()
        self.at = 0  # the stretch that holds the last fetch; those before it are not used again
        self.n_added = 0  # words added so far
        self.nop_max_cycles = nop_max_cycles

    def first_free(self, start: int, latest: int, library: _Library) -> int | None:
        """The first idle cycle within start … latest in which some text slice can be read."""
        at = self.at
        while at < len(self.begin) and self.begin[at] <= latest:
            stop = min(self.end[at] - 1, latest)
            for time in range(max(self.begin[at], start), stop + 1):
                if library.is_free(time):
                    return time
            at += 1
        return None

    def take(self, time: int) -> None:
        """Put a fetch there; what lies before it is closed."""
        while self.end[self.at] <= time:
            self.at += 1
        begin, end = self.begin[self.at], self.end[self.at]
        self.n_added += (
            1 + self._nops(time - begin) + self._nops(end - time - 1) - self._nops(end - begin)
        )
        self.begin[self.at] = time + 1
        if time + 1 == end:
            self.at += 1

    def _nops(self, cycles: int) -> int:
        return -(-cycles // self.nop_max_cycles)


@dataclass(slots=True)
class _Shelf:
    """One stretch of a slice for text: next free address, and cycles in which the slice is not free."""

    slice: int
    first: int
    next: int
    end: int
    busy: set[int] = field(default_factory=set)

    def is_free(self, time: int) -> bool:
        room = self.next + _ROWS_PER_FETCH <= self.end
        return room and time not in self.busy and time + 1 not in self.busy


class _Library:
    """All memory set aside for text. Every fetch takes two words of it and the read port of two cycles."""

    __slots__ = ("shelves", "turn")

    def __init__(self, rows: NDArray[np.void], text_slices: Sequence[tuple[int, int, int]]) -> None:
        busy: dict[int, set[int]] = {
            slice_: _issue_cycles(rows, slice_) for slice_, _, _ in text_slices
        }
        self.shelves = [
            _Shelf(slice=slice_, first=first, next=first, end=end, busy=busy[slice_])
            for slice_, first, end in text_slices
        ]
        self.turn = 0

    def is_free(self, time: int) -> bool:
        """Whether some slice can be read at this cycle and the next. Raises CapacityError if no slice has room left."""
        if any(shelf.is_free(time) for shelf in self.shelves):
            return True
        if not any(shelf.next + _ROWS_PER_FETCH <= shelf.end for shelf in self.shelves):
            words = sum(shelf.end - shelf.first for shelf in self.shelves)
            raise CapacityError(
                "the program's text does not fit the slices set aside for it",
                resource="memory words for text",
                needed=words + _ROWS_PER_FETCH,
                available=words,
                stage=_STAGE,
            )
        return False

    def take(self, time: int) -> tuple[int, int]:
        """(slice, address) for a fetch in that cycle; slices take turns."""
        n = len(self.shelves)
        order = (self.shelves[(self.turn + i) % n] for i in range(n))
        shelf = next(shelf for shelf in order if shelf.is_free(time))
        self.turn = (self.shelves.index(shelf) + 1) % n
        shelf.busy |= {time, time + 1}
        shelf.next += _ROWS_PER_FETCH
        return shelf.slice, shelf.next - _ROWS_PER_FETCH

    def used(self) -> NDArray[np.int64]:
        """Rows for `Program.constant`: the stretches that hold text."""
        rows = [
            (shelf.slice, shelf.first, shelf.next)
            for shelf in self.shelves
            if shelf.next > shelf.first
        ]
        return np.array(rows, np.int64).reshape(-1, 3)


def _issue_cycles(rows: NDArray[np.void], queue: int) -> set[int]:
    """Every cycle in which a slice's own queue issues: its ports may be in use then, also by fetches planned before."""
    mine = rows[rows["queue"] == queue]
    cycles: set[int] = set()
    for time, count, gap in zip(
        mine["time"].tolist(), mine["count"].tolist(), mine["gap"].tolist(), strict=True
    ):
        cycles.update(range(time, time + count * gap, gap))
    fetches = rows[(rows["op"] == _IFETCH) & (rows["a"] == queue)]
    for time in fetches["time"].tolist():
        cycles |= {time, time + 1}
    return cycles


def remaining_text(
    program: Program, text_slices: Sequence[tuple[int, int, int]]
) -> list[tuple[int, int, int]]:
    """What a program leaves of the memory set aside for text, for the next program of the same memory."""
    rows = program.instructions
    fetches = rows[rows["op"] == _IFETCH]
    left = []
    for slice_, first, end in text_slices:
        address = fetches["b"][fetches["a"] == slice_].astype(np.int64)
        address = address[(address >= first) & (address < end)]
        left.append((slice_, int(address.max()) + _ROWS_PER_FETCH if len(address) else first, end))
    return left


def text_image(program: Program, chip: Chip) -> list[tuple[int, int, bytes]]:
    """What memory must hold for the fetches to find it: (slice, address, words) of each `ifetch`, zero-padded.

    The words that a queue's buffer holds at the start are not part of it.
    """
    rule, rows = _rule(chip), program.instructions
    out = []
    for _, first, end in _spans(rows):
        mine = rows[first:end]
        words = encode(mine, rule.nop_max_cycles)[0].astype("<u8").tobytes()
        fetches = mine[mine["op"] == _IFETCH]
        places = zip(fetches["a"].tolist(), fetches["b"].tolist(), strict=True)
        for k, (slice_, address) in enumerate(places):
            start = (rule.depth_words + k * rule.fetch_words) * WORD_BYTES
            block = words[start : start + rule.fetch_words * WORD_BYTES]
            out.append((slice_, address, block.ljust(chip.icu.fetch_bytes, b"\0")))
    return out
