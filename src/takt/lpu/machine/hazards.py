"""Memory ports, constants, ALU chains, planes and barriers of a whole program, judged without stepping a cycle.

Every judge expands only the issues it needs, packs (unit, cycle) into integers and compares sorted arrays. It reports
what the reference engine would fault on, each fault at its own cycle. Streams are judged in `slots`, operands in
`isa.verify`, instruction supply in `isa.supply`; data is known to none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.isa.program import Program, Queue
from takt.lpu.isa.table import ALU, BY_NAME, ROWS, Type, Unit
from takt.lpu.isa.verify import Violation
from takt.lpu.machine.faults import LINK_LAWS
from takt.lpu.machine.slots import Ints
from takt.lpu.machine.timing import Issues, Timing, expand

__all__ = ["View", "judge_units"]

Mask = NDArray[np.bool_]

_TIME_BITS = 40
_COLUMNS = ("time", "queue", "op", "index", "a", "b", "c", "d", "imm")

_WHY = {
    "stream collision": "a result meets a value that is still in its stream register",
    "empty stream": "the sampled stream register holds no value",
    "bank conflict": "a slice does one read and one write a cycle, in different banks",
    "alu empty": "the ALU named by an operand dispatched nothing `vxm.alu_cycles` earlier",
    "mxm busy": "the plane is claimed by an f16 activation",
    "mxm result missing": "no activation of this plane has its result in this cycle",
    "mxm type": "the result of the plane is of the other type",
    "constant write": "the address lies in a range that the program declares constant",
    "queue order": "the queue is still parked",
    **LINK_LAWS,
}

_FLOAT = np.array([Type(t).is_float if t < len(Type) else False for t in range(256)])


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The program under judgement with what every judge needs to read it."""

    program: Program
    chip: Chip
    queues: tuple[Queue, ...]
    timing: Timing
    limit: int  # violations of one kind worth reporting

    def issues(self, *names: str) -> Issues:
        """All issues of the named instructions; `index` counts rows of the whole program."""
        chosen = np.isin(self.program.instructions["op"], [BY_NAME[name].op for name in names])
        return self.issues_of(chosen)

    def issues_of(self, chosen: Mask) -> Issues:
        """All issues of the chosen rows."""
        issues = expand(replace(self.program, instructions=self.program.instructions[chosen]))
        columns = {name: getattr(issues, name) for name in _COLUMNS}
        columns["index"] = np.flatnonzero(chosen)[issues.index].astype(np.int32)
        return Issues(**columns)

    def unit_index(self, queue: NDArray[np.int32]) -> Ints:
        """Slice in its hemisphere, ALU or plane of each queue number."""
        return np.array([q.index for q in self.queues], np.int64)[queue]

    def violation(self, kind: str, cycle: int, index: int) -> Violation:
        """A violation by the instruction in row `index`."""
        queue = int(self.program.instructions["queue"][index])
        return Violation(kind=kind, cycle=cycle, queue=queue, index=index, message=_WHY[kind])

    def violations(self, kind: str, issues: Issues, bad: Mask) -> list[Violation]:
        """The earliest bad issues, each at its dispatch: `limit` of them, and all others of the last one's cycle."""
        at = np.flatnonzero(bad)
        if not len(at):
            return []
        time = issues.time[at]
        at = at[time <= np.sort(time)[min(self.limit, len(at)) - 1]]
        return [self.violation(kind, int(issues.time[i]), int(issues.index[i])) for i in at]


def judge_units(view: View) -> list[Violation]:
    """All violations of the units, in no order."""
    found: list[Violation] = []
    for judge in (
        _judge_ports,
        _judge_constants,
        _judge_alus,
        _judge_planes,
        _judge_barriers,
        _judge_epochs,
        _judge_sends,
    ):
        found += judge(view)
    return found


def _at(place: NDArray[np.integer], time: NDArray[np.integer] | int) -> Ints:
    """One integer for (unit, cycle), ordered by unit, then cycle."""
    return (place.astype(np.int64) << _TIME_BITS) + time


def _find(sorted_keys: Ints, keys: Ints) -> tuple[Ints, Mask]:
    """Position of each key among the sorted ones, and whether it is there."""
    if not len(sorted_keys):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return at, sorted_keys[at] == keys


# Memory


def _judge_ports(view: View) -> list[Violation]:
    """Both halves of a readwrite in one bank; fetched text against the slice's own instruction and other fetches."""
    bank_words = view.timing.bank_words
    both = view.issues("readwrite")
    found = view.violations("bank conflict", both, both.a // bank_words == both.c // bank_words)
    fetches = view.issues("ifetch")
    return found + _judge_fetches(view, fetches) if len(fetches) else found


def _judge_fetches(view: View, fetches: Issues) -> list[Violation]:
    """A fetch reads two consecutive words of its slice, at its dispatch and one cycle later; all who clash are guilty."""
    bank_words = view.timing.bank_words
    key = _at(
        np.concatenate((fetches.a, fetches.a)), np.concatenate((fetches.time, fetches.time + 1))
    )
    bank = np.concatenate((fetches.b, fetches.b + 1)) // bank_words
    order = np.argsort(key, kind="stable")
    key, bank, index = key[order], bank[order], np.tile(fetches.index, 2)[order]
    twice = np.flatnonzero(key[1:] == key[:-1])
    guilty = {(int(key[i]), int(index[i])) for i in np.concatenate((twice, twice + 1))}
    for name in ("read", "gather", "readwrite", "write", "scatter"):
        own = view.issues(name)
        own_key = _at(own.queue, own.time)
        first = np.searchsorted(key, own_key)
        for i in np.flatnonzero(_find(key, own_key)[1]).tolist():
            met = range(int(first[i]), int(np.searchsorted(key, own_key[i], side="right")))
            # Reads clash with any fetch, a scatter writes both banks, a write clashes with a fetch from its bank.
            clash = [j for j in met if name != "write" or bank[j] == own.a[i] // bank_words]
            guilty |= {(int(key[j]), int(index[j])) for j in clash}
            guilty |= {(int(own_key[i]), int(own.index[i]))} if clash else set()
    mask = (1 << _TIME_BITS) - 1
    return [view.violation("bank conflict", where & mask, row) for where, row in sorted(guilty)]


def _judge_constants(view: View) -> list[Violation]:
    """Writes into constant ranges. A scatter's addresses are data: the engines judge those when it runs."""
    constant = view.program.constant
    if not len(constant):
        return []
    start, end = _at(constant[:, 0], constant[:, 1]), _at(constant[:, 0], constant[:, 2])
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    writes = view.issues("write", "readwrite")
    address = np.where(writes.op == BY_NAME["write"].op, writes.a, writes.c)
    word = _at(writes.queue, address)
    before = np.searchsorted(start, word, side="right") - 1
    inside = (before >= 0) & (end[before] > word)
    return view.violations("constant write", writes, inside)


# VXM


def _judge_alus(view: View) -> list[Violation]:
    """Operands that name an ALU which dispatched nothing exactly `vxm.alu_cycles` before."""
    rows = [row for row in ROWS if row.unit is Unit.VXM]
    issues = view.issues(*(row.name for row in rows))
    done = np.sort(_at(view.unit_index(issues.queue), issues.time))
    takes_two = np.isin(issues.op, [row.op for row in rows if row.n_sources == 2])
    bad = np.zeros(len(issues), np.bool_)
    for operand, used in ((issues.a, np.ones_like(takes_two)), (issues.b, takes_two)):
        chained = np.flatnonzero(used & (operand >> 10 & 3 == ALU))
        wanted = _at(operand[chained] & 127, issues.time[chained] - view.chip.vxm.alu_cycles)
        bad[chained[~_find(done, wanted)[1]]] = True
    return view.violations("alu empty", issues, bad)


# MXM


def _judge_planes(view: View) -> list[Violation]:
    """Activations on a claimed plane, and results that are not there or of the other type."""
    feeds, takes = view.issues("abc"), view.issues("acc")
    plane, is_f16 = view.unit_index(feeds.queue), _FLOAT[feeds.b]
    found = view.violations("mxm busy", feeds, _busy(view, plane, feeds.time, is_f16))
    key = _at(plane, feeds.time + view.timing.latency("abc"))
    order = np.argsort(key, kind="stable")
    at, there = _find(key[order], _at(view.unit_index(takes.queue), takes.time))
    found += view.violations("mxm result missing", takes, ~there)
    if len(feeds):
        other = there & (is_f16[order][at] != _FLOAT[takes.d])
        found += view.violations("mxm type", takes, other)
    return found


def _busy(view: View, plane: Ints, time: Ints, is_f16: Mask) -> Mask:
    """Which activations need a plane that an earlier one, or one of the same cycle for both planes, has claimed."""
    interval = view.chip.mxm.fp16_interval_cycles
    length = np.where(is_f16, interval, 1)
    tandem = plane[is_f16] + 1
    claim = np.concatenate((_at(plane, time), _at(tandem, time[is_f16])))
    end = np.concatenate((_at(plane, time + length), _at(tandem, time[is_f16] + interval)))
    order = np.argsort(claim, kind="stable")
    claim, end = claim[order], np.maximum.accumulate(end[order])
    both = (
        np.concatenate(([False], claim[1:] == claim[:-1])) if len(claim) else np.zeros(0, np.bool_)
    )

    def claimed(place: Ints) -> Mask:
        key = _at(place, time)
        earlier = np.searchsorted(claim, key) - 1
        return (earlier >= 0) & (end[earlier] > key) | np.isin(key, claim[both])

    return claimed(plane) | is_f16 & claimed(plane + 1)


# ICU and links


def _judge_barriers(view: View) -> list[Violation]:
    """After `sync` a queue goes on `icu.barrier_cycles` after the next `notify`, not earlier, and not never."""
    releases = np.sort(view.issues("notify").time)
    parked, follower, follows = _successors(view, "sync")
    at = np.searchsorted(releases, parked.time)
    released = at < len(releases)
    found = view.violations("queue order", parked, ~released)
    if released.any():
        ready = releases[np.minimum(at, len(releases) - 1)] + view.chip.icu.barrier_cycles
        found += view.violations(
            "queue order", follower, released & follows & (follower.time < ready)
        )
    return found


def _judge_epochs(view: View) -> list[Violation]:
    """After `deskew` a queue goes on at the next multiple of `c2c.epoch_cycles`, not earlier."""
    epoch = view.chip.c2c.epoch_cycles
    waiting, follower, follows = _successors(view, "deskew")
    ready = -(-waiting.time // epoch) * epoch
    return view.violations("queue order", follower, follows & (follower.time < ready))


def _judge_sends(view: View) -> list[Violation]:
    """Sends on a link into which a vector is still on its way; two of the same cycle are both guilty."""
    sends = view.issues("send")
    here = _at(sends.b, sends.time)
    key = np.sort(here)
    first, end = np.searchsorted(key, here), np.searchsorted(key, here, side="right")
    since = here - key[np.maximum(first - 1, 0)] if len(key) else here
    busy = (first > 0) & (since < view.chip.c2c_vector_cycles) | (end - first > 1)
    return view.violations("link busy", sends, busy)


def _successors(view: View, name: str) -> tuple[Issues, Issues, Mask]:
    """Issues of an instruction, the next issue of the same queue for each, and whether there is one."""
    rows = view.program.instructions
    issues = view.issues_of(np.isin(rows["queue"], rows["queue"][rows["op"] == BY_NAME[name].op]))
    here = np.flatnonzero(issues.op == BY_NAME[name].op)
    after = np.minimum(here + 1, max(0, len(issues) - 1))
    follows = (after > here) & (issues.queue[after] == issues.queue[here])
    return _pick(issues, here), _pick(issues, after), follows


def _pick(issues: Issues, at: Ints) -> Issues:
    return Issues(**{name: getattr(issues, name)[at] for name in _COLUMNS})
