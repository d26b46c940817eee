"""What each cycle of a visit was spent on: one cause a cycle, so that causes add up to the visit.

Of all that happens in a cycle the first that applies counts:

    weights  an MXM plane loads weights, cached keys or values; the part is the matrix
    work     a task is under way; the part is the task's label, of several the one that completes next
    links    a vector is between its send and the end of its receive
    aside    a task is under way that nothing in the step waits for, such as putting keys into the cache
    rest     nothing of these: first reads, streams on their way to the edge, the last cycles

Weights come first since a decode step is there to read them: what is left is what keeps the chip from it. Of several
matrices in one cycle the one that was loaded first in the program counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from takt.lpu import queues
from takt.report.line import CONSTANTS, Flight, SystemSchedule, Visit, owners, plain
from takt.report.profile import UNAWAITED
from takt.report.schedule import Ints, Schedule, issue_times, op_of

WEIGHTS, WORK, LINKS, ASIDE, REST = "weights", "work", "links", "aside", "rest"
EXCHANGE = "exchange"
"""Label of tasks that wait for a link: what they do besides is not work of their own."""


class Cause(NamedTuple):
    """What a cycle was spent on: one of those above (or a gap between visits), and which part of it."""

    cause: str
    part: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Causes:
    """`of_cycle` [cycles of the visit] holds indices into `names`."""

    names: tuple[Cause, ...]
    of_cycle: NDArray[np.int16]

    def counted(self, first: int = 0, end: int | None = None) -> dict[Cause, int]:
        """Cycles by cause within [first, end), in the order of `names`; causes without any are left out."""
        counts = np.bincount(self.of_cycle[first:end], minlength=len(self.names)).tolist()
        return {name: n for name, n in zip(self.names, counts, strict=True) if n}

    def summed(self, values: Ints, first: int = 0, end: int | None = None) -> dict[Cause, int]:
        """The sum of one value a cycle, by cause."""
        part = self.of_cycle[first:end]
        sums = np.bincount(part, values[first:end], minlength=len(self.names)).astype(np.int64)
        return dict(zip(self.names, sums.tolist(), strict=True))


def causes(system: SystemSchedule, visit: Visit) -> Causes:
    """Every cycle of a visit with its cause."""
    names = [Cause(REST, "nothing under way")]
    out = np.zeros(visit.cycles, np.int16)

    def paint(cause: str, part: str, cycles: Ints | slice) -> None:
        name = Cause(cause, part)
        if name not in names:
            names.append(name)
        out[cycles] = names.index(name)

    for span in visit.schedules[0].spans:
        if span.label in UNAWAITED:
            paint(ASIDE, span.label, slice(span.start, span.end + 1))
    part = "to the next group" if visit.is_transfer else "within the group"
    one = visit.chips if visit.is_transfer else visit.chips[:1]  # the others do the same
    for flight in system.flights(visit, one):
        paint(LINKS, part, slice(flight.send, landed(flight, system)))
    for span in sorted(visit.schedules[0].spans, key=lambda span: -span.end):
        if span.label != EXCHANGE and span.label not in UNAWAITED:
            paint(WORK, plain(span.label), slice(span.start, span.end + 1))
    for name, cycles in reversed(weight_loads(visit).items()):
        paint(WEIGHTS, name, cycles)
    return Causes(names=tuple(names), of_cycle=out)


def landed(flight: Flight, system: SystemSchedule) -> int:
    """The cycle in which a vector is on a stream of its target."""
    return flight.receive + system.chip.c2c.link_cycles


def weight_loads(visit: Visit) -> dict[str, Ints]:
    """Matrix → program cycles in which an MXM plane loads a part of it, matrices in the order of their first load."""
    names, owner = owners(visit, visit.schedules[0].chip)
    found = _loads(visit.schedules[0], owner)
    first = {}
    for number in np.unique(found.owner).tolist():
        cycles = found.cycle[found.owner == number]
        first[names[number] if number >= 0 else CONSTANTS] = np.unique(cycles)
    return dict(sorted(first.items(), key=lambda item: int(item[1][0])))


class _Loads(NamedTuple):
    """Each cycle of each plane that loads a column group: the cycle, and the number of what it loads."""

    cycle: Ints
    owner: Ints


def _loads(schedule: Schedule, owner: Ints) -> _Loads:
    """A load takes its sixteen streams from words read a fixed time before: those of the first stream say what it is.

    Zeros that clear columns after a matrix belong to the matrix.
    """
    rows = schedule.program.instructions
    op = op_of(schedule, "lw")
    if op is None:
        return _Loads(np.zeros(0, np.int64), np.zeros(0, np.int64))
    known = _arrivals(schedule, owner)
    index, times = issue_times(rows)
    half = len([q for q in queues(schedule.chip) if q.name.endswith(".w")]) // 2
    planes = {
        q.number: int(q.name.split(".")[1]) for q in queues(schedule.chip) if q.name.endswith(".w")
    }
    loads = np.flatnonzero(rows["op"][index] == op)
    loads = loads[np.lexsort((times[loads], rows["queue"][index[loads]]))]
    out: list[int] = []
    last: dict[int, int] = {}
    of_row = rows[index[loads]]
    columns = zip(
        of_row["queue"].tolist(), of_row["a"].tolist(), times[loads].tolist(), strict=True
    )
    for queue, stream, time in columns:
        number = known.get((planes[queue] // half, stream, time), -1)
        number = last.get(queue, -1) if number < 0 else number
        last[queue] = number
        out.append(number)
    return _Loads(times[loads], np.array(out, np.int64))


def _arrivals(schedule: Schedule, owner: Ints) -> dict[tuple[int, int, int], int]:
    """(side, stream, cycle at the MXM) → number of what was read there."""
    chip, rows = schedule.chip, schedule.program.instructions
    index, times = issue_times(rows)
    place = np.array([queue.x for queue in queues(chip)], np.int64)
    out: dict[tuple[int, int, int], int] = {}
    extra = {"read": 0, "gather": chip.mem.gather_extra_cycles}
    for mnemonic, column in (("read", "a"), ("gather", "c")):
        op = op_of(schedule, mnemonic)
        chosen = np.flatnonzero(rows["op"][index] == op) if op is not None else index[:0]
        row = rows[index[chosen]]
        slices = row["queue"].astype(np.int64)
        nth = (times[chosen] - row["time"]) // np.maximum(row["gap"], 1)
        words = row[column].astype(np.int64) + nth * row["step"]
        number = owner[slices, words]
        arrival = times[chosen] + chip.mem.read_cycles + extra[mnemonic]
        arrival += chip.mxm_hops - np.abs(place[slices])
        held = number >= 0
        keys = zip(
            (place[slices[held]] > 0).astype(np.int64).tolist(),
            row["b"][held].tolist(),
            arrival[held].tolist(),
            strict=True,
        )
        out.update(zip(keys, number[held].tolist(), strict=True))
    return out
