"""Every send and receive of a system program, and which vector each receive gets.

Vectors keep their order on a wire, so the n-th receive at its end gets what the n-th send put in: two sorts by (wire,
cycle) find all pairs, and comparisons of the sorted columns find every broken law of links. Programs are expanded once
each; an instance only adds its start and renames links. It knows nothing of what else the programs do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.isa.program import Program
from takt.lpu.isa.table import BY_NAME
from takt.lpu.isa.verify import verify
from takt.lpu.machine.checker import readable
from takt.lpu.machine.faults import LINK_LAWS
from takt.lpu.machine.network import LINK_OPS, SystemProgram, renamed
from takt.lpu.machine.slots import Ints
from takt.lpu.machine.timing import expand
from takt.lpu.machine.verdict import SystemFault

_TIME_BITS = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfers:
    """All vectors that go over wires, by (wire, cycle): when they are sent and received, and by which instances."""

    wire: Ints  # index into SystemProgram.wires
    sent_cycle: Ints
    received_cycle: Ints
    source: Ints  # index into SystemProgram.instances
    target: Ints

    def __len__(self) -> int:
        return len(self.wire)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Events:
    """Sends, or receives, of a whole system as columns. `wire` is −1 where the link leads nowhere."""

    cycle: Ints
    queue: Ints
    row: Ints
    instance: Ints
    chip: Ints
    link: Ints
    wire: Ints

    def chosen(self, which: NDArray[np.generic]) -> _Events:
        return _Events(**{name: getattr(self, name)[which] for name in _Events.__slots__})

    def first_fault(self, kind: str, bad: NDArray[np.bool_], cycle: Ints) -> Iterator[SystemFault]:
        """The first of the bad events, each at its `cycle`."""
        at = np.flatnonzero(bad)
        if len(at):
            i = at[np.lexsort((self.queue[at], self.chip[at], cycle[at]))[0]]
            yield SystemFault(
                cycle=int(cycle[i]),
                chip=int(self.chip[i]),
                queue=int(self.queue[i]),
                kind=kind,
                instance=int(self.instance[i]),
                row=int(self.row[i]),
                why=LINK_LAWS[kind],
            )


def match_transfers(system: SystemProgram) -> tuple[Transfers, list[SystemFault]]:
    """All pairs of send and receive, and the first fault of each kind; with faults the pairs mean nothing."""
    sends, receives = _events(system)
    faults = [*sends.first_fault("link missing", sends.wire < 0, sends.cycle)]
    faults += receives.first_fault("link missing", receives.wire < 0, receives.cycle)
    faults += _busy(sends, system.chip)
    sends, receives = (_on_wires(events) for events in (sends, receives))
    delay = 1 + np.array([wire.extra_cycles for wire in system.wires], np.int64)
    arrival = sends.cycle + delay[sends.wire]
    faults += _overflows(sends, receives, arrival, system.chip.c2c.receive_buffer_vectors)
    at = _partner(sends, receives)
    met = at >= 0
    empty = ~met
    empty[met] = receives.cycle[met] < arrival[at[met]]
    faults += receives.first_fault("link empty", empty, receives.cycle)
    if not faults:
        faults += sends.first_fault("link unread", _partner(receives, sends) < 0, sends.cycle)
    sends, receives = sends.chosen(at[met]), receives.chosen(met)
    transfers = Transfers(
        wire=receives.wire,
        sent_cycle=sends.cycle,
        received_cycle=receives.cycle,
        source=sends.instance,
        target=receives.instance,
    )
    return transfers, faults


def _events(system: SystemProgram) -> tuple[_Events, _Events]:
    """Sends and receives of all instances; those of one instance by (cycle, queue)."""
    number, time, queue, row, link, is_send = _issued(system)
    chip = np.array([i.chip for i in system.instances], np.int64)[number]
    start = np.array([i.start_cycle for i in system.instances], np.int64)[number]

    def those(chosen: NDArray[np.bool_], wires: Ints) -> _Events:
        on, at = chip[chosen], link[chosen]
        return _Events(
            cycle=(time + start)[chosen],
            queue=queue[chosen],
            row=row[chosen],
            instance=number[chosen],
            chip=on,
            link=at,
            wire=wires[on, at],
        )

    leaving, ending = _wires_at(system)
    return those(is_send == 1, leaving), those(is_send == 0, ending)


def _issued(system: SystemProgram) -> tuple[Ints, ...]:
    """(instance, cycle of its program, queue, row, link of the chip, 1 for a send) of all link instructions."""
    alike: defaultdict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for number, instance in enumerate(system.instances):
        alike[instance.program, instance.links].append(number)
    issues = {n: _link_issues(system.programs[n], system.chip) for n in {n for n, _ in alike}}
    blocks = [tuple(np.zeros(0, np.int64) for _ in range(6))]
    for (program, names), numbers in alike.items():
        time, queue, row, link, is_send = issues[program]
        columns = (time, queue, row, renamed(link, names), is_send)
        repeated = np.repeat(np.array(numbers, np.int64), len(time))
        blocks.append((repeated, *(np.tile(column, len(numbers)) for column in columns)))
    return tuple(np.concatenate(part) for part in zip(*blocks, strict=True))


def _link_issues(program: Program, chip: Chip) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """(cycle, queue, row, link, 1 for a send) of all sends and receives of one program, by (cycle, queue)."""
    rows = np.flatnonzero(np.isin(program.instructions["op"], LINK_OPS))
    few = replace(program, instructions=program.instructions[rows])
    few, kept = readable(few, verify(few, chip))
    issues = expand(few)
    order = np.lexsort((issues.queue, issues.time))
    return (
        issues.time[order],
        issues.queue[order].astype(np.int64),
        rows[kept[issues.index[order]]],
        issues.b[order].astype(np.int64),
        (issues.op[order] == BY_NAME["send"].op).astype(np.int64),
    )


def _wires_at(system: SystemProgram) -> tuple[Ints, Ints]:
    """[chips, links]: the wire that leaves from, and the one that ends at, each link; −1 for none."""
    leaving = np.full((system.n_chips, system.chip.c2c.links), -1, np.int64)
    ending = leaving.copy()
    for number, wire in enumerate(system.wires):
        leaving[wire.source_chip, wire.source_link] = number
        ending[wire.target_chip, wire.target_link] = number
    return leaving, ending


def _on_wires(events: _Events) -> _Events:
    """Those whose link leads somewhere, by (wire, cycle); of one cycle, lower queues first."""
    events = events.chosen(events.wire >= 0)
    return events.chosen(np.argsort((events.wire << _TIME_BITS) + events.cycle, kind="stable"))


def _busy(sends: _Events, chip: Chip) -> Iterator[SystemFault]:
    """Sends while an earlier vector, or one of the same cycle, goes into the link."""
    place = sends.chip * chip.c2c.links + sends.link
    sends = sends.chosen(np.argsort((place << _TIME_BITS) + sends.cycle, kind="stable"))
    place = sends.chip * chip.c2c.links + sends.link
    since = np.diff(sends.cycle)
    close = (np.diff(place) == 0) & (since < chip.c2c_vector_cycles)
    busy = np.zeros(len(place), np.bool_)
    busy[1:] |= close
    busy[:-1] |= close & (since == 0)
    return sends.first_fault("link busy", busy, sends.cycle)


def _first_of_wire(events: _Events, wire: Ints) -> Ints:
    """Position of the first event of each wire."""
    return np.searchsorted(events.wire, wire)


def _partner(ones: _Events, others: _Events) -> Ints:
    """For each of the others the one with its number on the same wire; −1 if there is none."""
    nth = np.arange(len(others.wire)) - _first_of_wire(others, others.wire)
    at = _first_of_wire(ones, others.wire) + nth
    there = at < np.searchsorted(ones.wire, others.wire, side="right")
    return np.where(there, at, -1)


def _overflows(
    sends: _Events, receives: _Events, arrival: Ints, limit: int
) -> Iterator[SystemFault]:
    """Vectors that arrive, and at the end of that cycle more than `limit` wait at the end of their wire."""
    nth = np.arange(len(sends.wire)) - _first_of_wire(sends, sends.wire)
    relief = _first_of_wire(receives, sends.wire) + nth - limit
    full = nth >= limit
    there = full & (relief < np.searchsorted(receives.wire, sends.wire, side="right"))
    late = full & ~there
    late[there] = receives.cycle[relief[there]] > arrival[there]
    return sends.first_fault("link overflow", late, arrival)
