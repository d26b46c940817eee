"""The critical path of one token: visit after visit, in the longest program phase after phase, and why each took so long.

Visits of a token never overlap, so its path is all of them and the gaps between them: every cycle of the step belongs to
one visit or one gap, and within a visit to one cause (`causes`). A gap is `launch` for as long as queues are filled, then
`epoch` until the next start that clocks of all chips agree on.

Within a program a phase is what its plan does at one time; the cycles from the end of all phases before to its own end
are its cycles. So phases add up to the program too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from takt.chips import Chip
from takt.report.causes import EXCHANGE, Cause, Causes, causes
from takt.report.line import SystemSchedule, Visit, plain
from takt.report.profile import RETIRE, UNAWAITED
from takt.report.schedule import Ints, Span
from takt.report.use import streams_in

GAP = "gaps"
Tally = Mapping[Cause, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseShare:
    """Cycles of one cause and part; meanwhile `stream_fraction` of the streams into the MXM were in use."""

    cause: str
    part: str
    cycles: int
    stream_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramShare:
    """All visits of one kind: how many, their cycles and bounds together, and what sets the bound of most of them."""

    kind: str
    count: int
    cycles: int
    bound_cycles: int
    limit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of a program, program cycles [start, end); `stream_fraction` of the streams into the MXM were in use."""

    name: str
    start_cycle: int
    end_cycle: int
    causes: tuple[CauseShare, ...]
    stream_fraction: float

    @property
    def cycles(self) -> int:
        """Cycles that the program waited for it."""
        return self.end_cycle - self.start_cycle


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPath:
    """Where the `step_cycles` of one token went. `causes` and `programs` (with the gaps) each add up to them.

    `program` is the kind whose visits take most of the step, `phases` are those of its first visit.
    """

    step_cycles: int
    causes: tuple[CauseShare, ...]
    programs: tuple[ProgramShare, ...]
    gap_cycles: int
    program: str
    program_cycles: int
    phases: tuple[Phase, ...]

    @property
    def by_cause(self) -> dict[str, int]:
        """Cycles of each cause, all its parts together; most first."""
        out: Counter[str] = Counter()
        for share in self.causes:
            out[share.cause] += share.cycles
        return dict(out.most_common())


class _Seen(NamedTuple):
    """What a program does in each of its cycles."""

    causes: Causes
    streams: Ints  # into the MXM

    def counted(self, first: int = 0, end: int | None = None) -> tuple[Tally, Tally]:
        """(cycles, streams summed over them) by cause within program cycles [first, end)."""
        return self.causes.counted(first, end), self.causes.summed(self.streams, first, end)


def _see(system: SystemSchedule, visit: Visit) -> _Seen:
    """A visit's programs, cycle by cycle. Those of a transfer may differ in length, and use no MXM."""
    streams = np.zeros(visit.cycles, np.int64)
    found = streams_in(visit.schedules[0])
    streams[: len(found)] = found
    return _Seen(causes(system, visit), streams)


def critical_path(system: SystemSchedule) -> CriticalPath:
    """The critical path of one token."""
    cycles: Counter[Cause] = Counter()
    streams: Counter[Cause] = Counter()
    known: dict[tuple[int, ...], _Seen] = {}
    of_visit: Counter[int] = Counter()
    done = 0
    for number in sorted(range(len(system.visits)), key=lambda n: system.visits[n].end_cycle):
        visit = system.visits[number]
        cycles.update(_gap(system, done, visit))
        key = tuple(map(id, visit.schedules))
        if key not in known:
            known[key] = _see(system, visit)
        first = max(
            0, done - visit.start_cycle
        )  # visits that overlap: what comes after the last end
        for total, part in zip((cycles, streams), known[key].counted(first), strict=True):
            total.update(part)
        of_visit[number] = visit.cycles - first
        done = visit.end_cycle
    longest = system.longest
    return CriticalPath(
        step_cycles=done,
        causes=_shares(cycles, streams, system.chip),
        programs=tuple(_programs(system.visits, of_visit)),
        gap_cycles=sum(n for cause, n in cycles.items() if cause.cause == GAP),
        program=longest.kind,
        program_cycles=longest.cycles,
        phases=tuple(_phases(longest, known[tuple(map(id, longest.schedules))])),
    )


def _shares(cycles: Tally, streams: Tally, chip: Chip) -> tuple[CauseShare, ...]:
    """Most cycles first."""
    width = 2 * chip.core.streams_per_direction
    return tuple(
        CauseShare(
            cause=name.cause,
            part=name.part,
            cycles=n,
            stream_fraction=streams.get(name, 0) / (n * width),
        )
        for name, n in sorted(cycles.items(), key=lambda item: -item[1])
    )


def _gap(system: SystemSchedule, done: int, visit: Visit) -> dict[Cause, int]:
    """Cycles between the end of all visits so far and the start of the next, by cause."""
    gap = max(0, visit.start_cycle - done)
    launch = min(gap, system.chip.launch_cycles)
    parts = {Cause(GAP, "launch"): launch, Cause(GAP, "epoch"): gap - launch}
    return {cause: cycles for cause, cycles in parts.items() if cycles}


def _programs(visits: Sequence[Visit], cycles: Counter[int]) -> Iterator[ProgramShare]:
    """Visits by kind, most cycles first."""
    groups: dict[str, list[int]] = {}
    for number, visit in enumerate(visits):
        groups.setdefault(visit.kind, []).append(number)
    for kind, members in sorted(groups.items(), key=lambda g: -sum(cycles[n] for n in g[1])):
        yield ProgramShare(
            kind=kind,
            count=len(members),
            cycles=sum(cycles[n] for n in members),
            bound_cycles=sum(visits[n].bound_cycles for n in members),
            limit=Counter(visits[n].limit for n in members).most_common(1)[0][0],
        )


def _phases(visit: Visit, seen: _Seen) -> Iterator[Phase]:
    schedule, start = visit.schedules[0], 0
    width = 2 * schedule.chip.core.streams_per_direction
    for name, last in (*planned(schedule.spans), (RETIRE, visit.cycles - 1)):
        if last < start:
            continue
        end = last + 1
        yield Phase(
            name=name,
            start_cycle=start,
            end_cycle=end,
            causes=_shares(*seen.counted(start, end), schedule.chip),
            stream_fraction=float(seen.streams[start:end].mean()) / width,
        )
        start = end


def planned(spans: Sequence[Span]) -> list[tuple[str, int]]:
    """What a program does one after the other, as its tasks were planned: (labels, last cycle) of each phase.

    Tasks that take turns, such as gate and up, are one phase, but never across an exchange. What nothing waits for is
    left out.
    """
    labels: list[list[str]] = []
    ends: list[int] = []
    for span in spans:
        label = plain(span.label)
        if label in UNAWAITED:
            continue
        if labels and label in labels[-1]:
            ends[-1] = max(ends[-1], span.end)
        elif len(labels) > 1 and label in labels[-2] and EXCHANGE not in (label, *labels[-1]):
            labels[-2:] = [[*labels[-2], *labels[-1]]]
            ends[-2:] = [max(*ends[-2:], span.end)]
        else:
            labels.append([label])
            ends.append(span.end)
    return [(", ".join(dict.fromkeys(each)), end) for each, end in zip(labels, ends, strict=True)]
