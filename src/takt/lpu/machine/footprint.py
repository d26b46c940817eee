"""Which words a program touches, folded so that each of its relocations is judged in a few steps.

A proved program stays free of hazards wherever its words are moved, except for four things: an address can leave its
slice, a write can meet a constant, and two accesses that share a cycle can come to lie in one bank. A `Footprint` keeps
just what decides these, for one set of moved words and any distances. `admits` may say no to a good relocation, never
yes to a bad one; the full check then has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.isa.program import Program, queues
from takt.lpu.isa.table import BY_NAME
from takt.lpu.machine.hazards import View
from takt.lpu.machine.network import MOVED_COLUMNS, Move, cut_ranges, deltas, groups, reach
from takt.lpu.machine.slots import Ints
from takt.lpu.machine.timing import Timing

_SLICE_SHIFT = 40
_WRITES = ((BY_NAME["write"].op, "a"), (BY_NAME["readwrite"].op, "c"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Runs of words of slices, [low, end), each of one group (the move that takes it; −1: none)."""

    slices: Ints
    low: Ints
    end: Ints
    group: Ints

    def moved(self, delta: Ints) -> tuple[Ints, Ints]:
        """(low, end) after the moves, as slice and word in one integer."""
        base = (self.slices << _SLICE_SHIFT) + delta[self.group]
        return base + self.low, base + self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Accesses of one slice in one cycle that must be in different banks: a write, and a read or fetched word."""

    written: Ints
    written_group: Ints
    other: Ints
    other_group: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What decides whether a relocation of one program by one set of moves is free of hazards."""

    touched: Spans  # one span a slice and group
    writes: Spans
    constant: Spans
    pairs: Pairs

    def admits(self, moves: Sequence[Move], chip: Chip) -> bool:
        """Whether the program, proved as it stands, is free of hazards after these moves."""
        delta = deltas(moves)
        low, end = self.touched.low + delta[self.touched.group], self.touched.end
        if np.any(low < 0) or np.any(end + delta[self.touched.group] > chip.mem.words_per_slice):
            return False
        bank_words, pairs = Timing(chip).bank_words, self.pairs
        written = (pairs.written + delta[pairs.written_group]) // bank_words
        if np.any(written == (pairs.other + delta[pairs.other_group]) // bank_words):
            return False
        return not meet(self.writes.moved(delta), self.constant.moved(delta))


def meet(ones: tuple[Ints, Ints], others: tuple[Ints, Ints]) -> bool:
    """Whether any of the runs [low, end) shares a word with any of the others."""
    return bool(meeting(ones, others).any())


def meeting(ones: tuple[Ints, Ints], others: tuple[Ints, Ints]) -> NDArray[np.bool_]:
    """Which of the runs [low, end) share a word with any of the others."""
    low, end = others
    if not len(low):
        return np.zeros(len(ones[0]), np.bool_)
    order = np.argsort(low)
    reach_of = np.maximum.accumulate(end[order])
    before = np.searchsorted(low[order], ones[1]) - 1
    return (before >= 0) & (reach_of[before] > ones[0])


def make_footprint(program: Program, chip: Chip, moves: Sequence[Move]) -> Footprint:
    """The footprint for relocations that move the words of `moves`, whatever their distances.

    Raises ProgramError for an access that a move takes only in part. The program must be well formed.
    """
    touched = [_column_spans(program, op, column, moves) for op, column in MOVED_COLUMNS]
    writes = [_column_spans(program, op, column, moves) for op, column in _WRITES]
    constant, group = cut_ranges(program.constant, moves)
    return Footprint(
        touched=_hulls(_joined(touched)),
        writes=_merged(_joined(writes)),
        constant=Spans(slices=constant[:, 0], low=constant[:, 1], end=constant[:, 2], group=group),
        pairs=_pairs(program, chip, moves),
    )


def written(program: Program) -> Spans:
    """All words that a program writes at addresses it states (a scatter's are data)."""
    return _merged(_joined([_column_spans(program, op, column, ()) for op, column in _WRITES]))


def _column_spans(program: Program, op: int, column: str, moves: Sequence[Move]) -> Spans:
    rows = program.instructions[program.instructions["op"] == op]
    low, high = reach(rows, column)
    slices = rows["queue"].astype(np.int64)
    return Spans(slices=slices, low=low, end=high + 1, group=groups(slices, low, high, moves))


def _joined(parts: Sequence[Spans]) -> Spans:
    columns = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("slices", "low", "end", "group")
    )
    slices, low, end, group = columns
    return Spans(slices=slices, low=low, end=end, group=group)


def _ordered(spans: Spans) -> tuple[Spans, NDArray[np.bool_]]:
    """Spans by (slice, group, low), and which of them is the first of its slice and group."""
    order = np.lexsort((spans.low, spans.group, spans.slices))
    slices, group = spans.slices[order], spans.group[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (slices[1:] != slices[:-1]) | (group[1:] != group[:-1])
    ordered = Spans(slices=slices, low=spans.low[order], end=spans.end[order], group=group)
    return ordered, first


def _folded(spans: Spans, first: NDArray[np.bool_]) -> Spans:
    """One span for each `first` and those that follow it."""
    at = np.flatnonzero(first)
    if not len(at):
        return spans
    return Spans(
        slices=spans.slices[at],
        low=spans.low[at],
        end=np.maximum.reduceat(spans.end, at),
        group=spans.group[at],
    )


def _hulls(spans: Spans) -> Spans:
    """One span for each slice and group, from its lowest to its highest word."""
    return _folded(*_ordered(spans))


def _merged(spans: Spans) -> Spans:
    """Spans that overlap or follow each other, joined."""
    spans, first = _ordered(spans)
    if len(first):
        # Ends that grow along a slice and group only: shifted apart by more than any end.
        block = np.cumsum(first) << _SLICE_SHIFT
        ends = np.maximum.accumulate(block + spans.end)
        first[1:] |= block[1:] + spans.low[1:] > ends[:-1]
    return _folded(spans, first)


def _pairs(program: Program, chip: Chip, moves: Sequence[Move]) -> Pairs:
    """Both halves of every readwrite, and writes in a cycle in which text is fetched from their slice."""
    view = View(program=program, chip=chip, queues=queues(chip), timing=Timing(chip), limit=1)
    both = view.issues("readwrite")
    slices = both.queue.astype(np.int64)
    read, written = both.a.astype(np.int64), both.c.astype(np.int64)
    fetch_slice, word, at = _writes_beside_fetches(view)
    return Pairs(
        written=np.concatenate([written, at]),
        written_group=np.concatenate(
            [groups(slices, written, written, moves), groups(fetch_slice, at, at, moves)]
        ),
        other=np.concatenate([read, word]),
        other_group=np.concatenate(
            [groups(slices, read, read, moves), np.full(len(word), -1, np.int64)]
        ),
    )


def _writes_beside_fetches(view: View) -> tuple[Ints, Ints, Ints]:
    """(slice, fetched word, written word) where a slice does both in one cycle."""
    fetches, writes = view.issues("ifetch"), view.issues("write")
    slices = np.tile(fetches.a.astype(np.int64), 2)
    word = np.concatenate([fetches.b, fetches.b + 1]).astype(np.int64)
    key = (slices << _SLICE_SHIFT) + np.concatenate([fetches.time, fetches.time + 1])
    written = (writes.queue.astype(np.int64) << _SLICE_SHIFT) + writes.time
    order = np.argsort(written)
    at = np.searchsorted(written[order], key)
    found = at < len(written)
    found[found] = written[order[at[found]]] == key[found]
    address = writes.a[order[at[found]]].astype(np.int64)
    return slices[found], word[found], address
