"""Who drives and samples which stream register when, judged for a whole program by one sort.

A value stays on its diagonal, so all that can happen to it happens in one slot (direction, stream, diagonal), in the
order of its way. Every use of a stream by every issue becomes one integer, most significant part first: slot, place
along the way, deed (drive before tap before take). Sorted, the integers of a slot tell its whole history: a value must
have ended before the next is driven, and there must be one whenever a register is sampled.

It knows nothing of memory ports, ALUs or planes (`checker`), nor of what the values are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.errors import ProgramError
from takt.lpu.isa.program import queues
from takt.lpu.isa.table import BY_NAME, EMIT, ROWS, STREAM, Kind, Operand, Row, Type
from takt.lpu.machine.timing import Timing

__all__ = ["SlotFault", "StreamUses", "judge_slots", "stream_uses"]

Ints = NDArray[np.int64]

_DRIVE, _TAP, _TAKE = 0, 1, 2
_DEED_BITS = 2
_TIME_BITS = 36  # 32-bit dispatch cycles and repeats that end below 2^35
_MAX_USES = 1 << 27  # of all issues together; 1 GiB of keys
_WIDTH_MASK = 7  # a shift's width carries the wrap flag above
_N_STREAMS = np.array([t.n_streams for t in Type] + [1] * 8, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamUses:
    """One row for each (instruction, stream): the packed key of its first issue, and how repeats move it."""

    instruction: Ints  # row of Program.instructions
    key: Ints
    advance: Ints  # added to the key by every further issue
    count: Ints  # issues
    drives: NDArray[np.bool_]
    edge: int  # hops from the VXM to the last register
    place_bits: int

    def all_keys(self) -> Ints:
        """The key of every use of every issue, unsorted. Raises ProgramError when there are too many to check."""
        if int(self.count.sum()) > _MAX_USES:
            raise ProgramError(
                f"program uses streams more than {_MAX_USES:,} times: too long to check"
            )
        single = self.count == 1
        if single.all():
            return self.key
        many = ~single
        count = self.count[many]
        nth = np.arange(int(count.sum()), dtype=np.int64)
        nth -= np.repeat(np.cumsum(count) - count, count)
        nth *= np.repeat(self.advance[many], count)
        nth += np.repeat(self.key[many], count)
        return np.concatenate((self.key[single], nth))

    def cycle_of(self, key: Ints) -> Ints:
        """The cycle in which the use of that key happens at its place."""
        place = key >> _DEED_BITS & (1 << self.place_bits) - 1
        diagonal = key >> _DEED_BITS + self.place_bits & (1 << _TIME_BITS) - 1
        return diagonal + place - 2 * self.edge


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFault:
    """A use that breaks the law of streams: `kind` as in faults, cycle of the use, instruction row."""

    kind: str
    cycle: int
    instruction: int


def stream_uses(rows: NDArray[np.void], chip: Chip) -> StreamUses:
    """Collect the stream operands of all instructions. Operands must be well formed (see `isa.verify`)."""
    timing = Timing(chip)
    x_of_queue = np.array([queue.x for queue in queues(chip)], np.int64)
    edge = int(np.abs(x_of_queue).max())
    place_bits = max(1, (2 * edge).bit_length())
    parts: list[tuple[Ints, Ints, Ints, bool, int]] = []
    for row in ROWS:
        index = np.flatnonzero(rows["op"] == row.op)
        if len(index):
            latency = timing.latency(row.op)
            for operand in row.operands:
                if operand.role:
                    parts += _operand_streams(rows, index, row, operand, latency)
    if not parts:
        nothing = np.zeros(0, np.int64)
        parts = [(nothing, nothing, nothing, False, 0)]
    instruction = np.concatenate([part[0] for part in parts])
    westward, stream, tap = _split_reference(np.concatenate([part[1] for part in parts]))
    stream += np.concatenate([part[2] for part in parts])
    lengths = [len(part[0]) for part in parts]
    drives = np.repeat([part[3] for part in parts], lengths)
    time = rows["time"][instruction].astype(np.int64) + np.repeat(
        [part[4] for part in parts], lengths
    )
    x = x_of_queue[rows["queue"][instruction]]
    along = np.where(westward, -x, x)
    deed = np.where(drives, _DRIVE, np.where(tap, _TAP, _TAKE))
    key = (westward << 5 | stream) << _TIME_BITS | time - along + edge
    key = (key << place_bits | along + edge) << _DEED_BITS | deed
    return StreamUses(
        instruction=instruction,
        key=key,
        advance=rows["gap"][instruction].astype(np.int64) << place_bits + _DEED_BITS,
        count=rows["count"][instruction].astype(np.int64),
        drives=drives,
        edge=edge,
        place_bits=place_bits,
    )


def _split_reference(reference: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Direction (1 westward), index and tap mark of stream references."""
    return reference >> 5 & 1, reference & 31, (reference >> 6 & 1).astype(np.bool_)


def _operand_streams(
    rows: NDArray[np.void], index: Ints, row: Row, operand: Operand, latency: int
) -> list[tuple[Ints, Ints, Ints, bool, int]]:
    """(instruction, stream reference, offset in the group, drives, delay) of one operand, a part for each offset."""
    value = rows[operand.column][index].astype(np.int64)
    if operand.kind is Kind.OPERAND:
        index, value = _chosen(value >> 10 & 3 == STREAM, index, value)
        width = _N_STREAMS[value >> 7 & 7]
    elif row.op == BY_NAME["acc"].op:
        index, value = _chosen(rows["c"][index] & EMIT != 0, index, value)
        width = np.full(len(index), operand.width)
    else:
        width = _width(rows, index, row, operand)
    drives = operand.role == "out"
    parts = []
    for offset in range(int(width.max(initial=0))):
        wide = width > offset
        part = (
            index[wide],
            value[wide] & 127,
            np.full(int(wide.sum()), offset),
            drives,
            latency if drives else 0,
        )
        parts.append(part)
    return parts


def _chosen(mask: NDArray[np.bool_], index: Ints, value: Ints) -> tuple[Ints, Ints]:
    return index[mask], value[mask]


def _width(rows: NDArray[np.void], index: Ints, row: Row, operand: Operand) -> Ints:
    """Streams of a STREAM operand for each of the instructions, as the table says they are given."""
    if operand.width > 0:
        return np.full(len(index), operand.width)
    sized_by = next(o for o in row.operands if o.kind in (Kind.WIDTH, Kind.TYPE, Kind.COUNT))
    size = rows[sized_by.column][index].astype(np.int64)
    if sized_by.kind is Kind.TYPE:
        return np.asarray(_N_STREAMS[size & 7])
    if sized_by.kind is Kind.WIDTH:
        return size & _WIDTH_MASK
    return size if operand.width == -1 else size * size


def judge_slots(uses: StreamUses, limit: int) -> tuple[list[SlotFault], int]:
    """Faults in order of cycle, and the hops all values travel together (meaningful when there is no fault).

    A value travels until it is taken or to the last register. Of each kind of fault `limit` registers are reported,
    and all others of the last one's cycle.
    """
    keys = uses.all_keys()
    keys = np.sort(keys)
    repeated = np.zeros(len(keys), np.bool_)
    repeated[1:] = keys[1:] == keys[:-1]
    twice_driven = np.unique(keys[repeated & (keys & 3 == _DRIVE)])
    keys = keys[~repeated]
    held = _held_before(keys, uses.place_bits)
    driven = keys & 3 == _DRIVE
    collided = np.union1d(keys[driven & held], twice_driven)
    empty = keys[~driven & ~held]
    hops = _hops(keys, uses)
    if not len(collided) and not len(empty):
        return [], hops
    faults = _guilty(uses, "stream collision", collided, limit) + _guilty(
        uses, "empty stream", empty, limit
    )
    return sorted(faults, key=lambda fault: fault.cycle), hops


def _held_before(keys: Ints, place_bits: int) -> NDArray[np.bool_]:
    """Whether the slot held a value just before each deed: the last drive or take before it was a drive.

    Deeds of one register come as drive, tap, take without repetition, so a take never hides a value from another
    sample of the same register.
    """
    decides = keys & 3 != _TAP
    last = np.where(decides, np.arange(len(keys), dtype=np.int64), -1)
    np.maximum.accumulate(last, out=last)
    before = np.full(len(keys), -1, np.int64)
    before[1:] = last[:-1]
    known = before >= 0
    slot_shift = place_bits + _DEED_BITS
    held = known & (keys[before] & 3 == _DRIVE)
    return np.asarray(held & (keys[before] >> slot_shift == keys >> slot_shift))


def _hops(keys: Ints, uses: StreamUses) -> int:
    """Sum of (place taken, or the edge) − (place driven) over all values."""
    place = keys >> _DEED_BITS & (1 << uses.place_bits) - 1
    deed = keys & 3
    driven, taken = deed == _DRIVE, deed == _TAKE
    to_edge = int(driven.sum()) - int(taken.sum())
    return int(place[taken].sum()) + 2 * uses.edge * to_edge - int(place[driven].sum())


def _guilty(uses: StreamUses, kind: str, bad: Ints, limit: int) -> list[SlotFault]:
    """The instructions behind the bad keys: everyone who drives or samples that register in that cycle."""
    if not len(bad):
        return []
    cycles = uses.cycle_of(bad)
    bad = bad[cycles <= np.sort(cycles)[min(limit, len(bad)) - 1]]
    faults = []
    for key in bad.tolist():
        steps, rest = np.divmod(key - uses.key, np.maximum(uses.advance, 1))
        hit = (rest == 0) & (steps >= 0) & (steps < uses.count)
        cycle = int(uses.cycle_of(np.array([key]))[0])
        faults += [
            SlotFault(kind=kind, cycle=cycle, instruction=int(i)) for i in uses.instruction[hit]
        ]
    return faults
