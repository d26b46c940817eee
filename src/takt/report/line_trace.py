"""The timeline of a system as Chrome / Perfetto JSON: all visits of a token, and a few of them in every detail.

    system           a thread for each stage: its visits, and the transfers that it takes part in
    users in flight  the same threads over one period, with a token of every user under way
    links            a thread for each wire: the vectors it carries
    chip N           its visits, the compiler's tasks, and its queues

The first two show the whole system; links and chips show some visits of one stage. Times are microseconds at the chip's
clock. Operands are those of the program; where its words lie on a chip is among the arguments of the visit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from takt.chips import Wire
from takt.files import write_whole
from takt.lpu import queues
from takt.report.causes import landed
from takt.report.line import Shown, SystemSchedule, Visit
from takt.report.schedule import Schedule, last_issue, texts
from takt.report.trace import rows_of

SYSTEM_PID, USERS_PID, LINKS_PID, FIRST_CHIP_PID = 1, 2, 3, 10
_VISITS_TID, _TASKS_TID, _QUEUES_TID = 1, 2, 1000
_PS_PER_S = 10**12


class Stay(NamedTuple):
    """A token in a stage: program cycles [start, end) of one period in which a user's token is served there."""

    stage: int
    user: int
    what: str
    start: int
    end: int


def write_system_trace(path: Path, system: SystemSchedule, detail: Shown) -> int:
    """Write the timeline, whole or not at all; returns the number of slices. DataError if it cannot."""
    clock_hz = system.chip.clock_hz
    writer = _Writer(clock_hz)
    for part in (_overview(system), _users(system), _links(system, detail), _chips(detail)):
        for event in part:
            writer.add(event)
    head = {
        "displayTimeUnit": "ns",
        "otherData": {
            "time": "microseconds at the chip's clock",
            "model": system.model,
            "system": system.system,
            "chips": system.n_chips,
            "clock_hz": clock_hz,
            "step_cycles": system.step_cycles,
            "period_cycles": system.period_cycles,
            "users": system.users,
        },
    }
    text = json.dumps(head)[:-1] + ', "traceEvents": [\n' + ",\n".join(writer.lines) + "\n]}\n"
    write_whole(path, text.encode())
    return writer.n_slices


# -------------------------------------------------------------------------------------------------------------- events
class _Name(NamedTuple):
    """Names a process (`tid` 0) or a thread; they are shown in the order of their numbers."""

    pid: int
    tid: int
    name: str


class _Slice(NamedTuple):
    """Cycles [start, end) of a thread; `args` is JSON."""

    pid: int
    tid: int
    name: str
    start: int
    end: int
    args: str


class _Writer:
    """Lines of JSON, one an event."""

    def __init__(self, clock_hz: int) -> None:
        self.lines: list[str] = []
        self.n_slices = 0
        self._clock_hz = clock_hz

    def add(self, event: _Name | _Slice) -> None:
        """Append an event."""
        if isinstance(event, _Name):
            self._add_name(event)
            return
        start, end = self._ps(event.start), self._ps(event.end)
        self.n_slices += 1
        self.lines.append(
            f'{{"name":{json.dumps(event.name)},"ph":"X","ts":{_us(start)},"dur":{_us(end - start)},'
            f'"pid":{event.pid},"tid":{event.tid},"args":{event.args}}}'
        )

    def _add_name(self, event: _Name) -> None:
        what = "thread" if event.tid else "process"
        order = event.tid or event.pid
        for key, args in (
            (f"{what}_name", {"name": event.name}),
            (f"{what}_sort_index", {"sort_index": order}),
        ):
            record = {
                "name": key,
                "ph": "M",
                "ts": 0,
                "pid": event.pid,
                "tid": event.tid,
                "args": args,
            }
            self.lines.append(json.dumps(record, separators=(",", ":")))

    def _ps(self, cycle: int) -> int:
        return cycle * _PS_PER_S // self._clock_hz


def _us(ps: int) -> str:
    """Picoseconds as microseconds, exactly."""
    return f"{ps // 10**6}.{ps % 10**6:06d}"


# ------------------------------------------------------------------------------------------------------- whole system
def _overview(system: SystemSchedule) -> Iterator[_Name | _Slice]:
    yield _Name(SYSTEM_PID, 0, f"{system.system}: one token")
    yield from _stage_names(system, SYSTEM_PID)
    for visit in system.visits:
        for stage in stages_of(system, visit):
            yield _Slice(
                SYSTEM_PID, stage + 1, visit.what, visit.start_cycle, visit.end_cycle, _about(visit)
            )


def _users(system: SystemSchedule) -> Iterator[_Name | _Slice]:
    yield _Name(USERS_PID, 0, "users in flight: one period")
    yield from _stage_names(system, USERS_PID)
    for stay in in_flight(system):
        args = json.dumps({"visit": stay.what})
        yield _Slice(USERS_PID, stay.stage + 1, f"user {stay.user}", stay.start, stay.end, args)


def _stage_names(system: SystemSchedule, pid: int) -> Iterator[_Name]:
    for stage, group in enumerate(system.groups):
        yield _Name(pid, stage + 1, f"stage {stage}: chips {chips_text(group)}")


def chips_text(group: Sequence[int]) -> str:
    """`8-15`, `3`, or a list where numbers do not follow each other."""
    if len(group) > 1 and list(group) == list(range(group[0], group[-1] + 1)):
        return f"{group[0]}-{group[-1]}"
    return ", ".join(map(str, group))


def stages_of(system: SystemSchedule, visit: Visit) -> tuple[int, ...]:
    """The stages whose chips take part in a visit: one, or for a transfer two."""
    return tuple(sorted({system.stage_of[chip] for chip in visit.chips}))


def in_flight(system: SystemSchedule) -> list[Stay]:
    """Every stay of every user's token within one period, once as many users are under way as were compiled for.

    User u starts u intervals after user 0. A stay that goes on into the next period is cut in two.
    """
    period, out = system.period_cycles, []
    for user in range(system.users):
        for visit in system.visits:
            start = (visit.start_cycle + user * system.interval_cycles) % period
            pieces = [(start, min(start + visit.cycles, period))]
            if start + visit.cycles > period:
                pieces.append((0, start + visit.cycles - period))
            for stage in stages_of(system, visit):
                out += [Stay(stage, user, visit.what, first, end) for first, end in pieces]
    return out


# -------------------------------------------------------------------------------------------------------------- detail
def _links(system: SystemSchedule, detail: Shown) -> Iterator[_Name | _Slice]:
    """Wires that a shown chip sends or receives on, and every vector on them."""
    yield _Name(LINKS_PID, 0, "links")
    threads: dict[Wire, int] = {}
    slot = system.chip.c2c_vector_cycles
    for visit in detail.visits:
        for flight in system.flights(visit, visit.chips):
            wire = flight.wire
            if not {wire.source_chip, wire.target_chip} & {*detail.chips}:
                continue
            if wire not in threads:
                threads[wire] = len(threads) + 1
                ends = f"chip {wire.source_chip} link {wire.source_link} → chip {wire.target_chip}"
                yield _Name(LINKS_PID, threads[wire], f"{ends} link {wire.target_link}")
            start = visit.start_cycle + flight.send
            args = {
                "visit": visit.what,
                "send_cycle": flight.send,
                "receive_cycle": flight.receive,
                "landed_cycle": landed(flight, system),
            }
            yield _Slice(LINKS_PID, threads[wire], "vector", start, start + slot, json.dumps(args))


def _chips(detail: Shown) -> Iterator[_Name | _Slice]:
    lines: dict[int, tuple[_Slice, ...]] = {}
    for chip in detail.chips:
        pid = FIRST_CHIP_PID + chip
        mine = [visit for visit in detail.visits if chip in visit.chips]
        names = {_VISITS_TID: "visits"}
        slices: list[_Slice] = []
        for visit in mine:
            schedule = visit.schedule_of(chip)
            if id(schedule) not in lines:
                lines[id(schedule)] = (*_task_slices(schedule), *_queue_slices(schedule))
            found = lines[id(schedule)]
            slices.append(
                _Slice(
                    pid, _VISITS_TID, visit.what, visit.start_cycle, visit.end_cycle, _about(visit)
                )
            )
            slices += _moved(found, pid, visit.start_cycle)
            names |= _thread_names(schedule, found)
        yield _Name(pid, 0, f"chip {chip}")
        yield from (_Name(pid, tid, names[tid]) for tid in sorted(names))
        yield from slices


def _moved(slices: Iterable[_Slice], pid: int, start: int) -> Iterator[_Slice]:
    """Slices of a program as those of a chip that runs it from system cycle `start` on."""
    for s in slices:
        yield _Slice(pid, s.tid, s.name, s.start + start, s.end + start, s.args)


def _thread_names(schedule: Schedule, slices: Iterable[_Slice]) -> dict[int, str]:
    known = {_QUEUES_TID + queue.number: queue.name for queue in queues(schedule.chip)}
    known |= {tid: f"tasks ({tid - _TASKS_TID + 1})" for tid in range(_TASKS_TID + 1, _QUEUES_TID)}
    known[_TASKS_TID] = "tasks"
    return {tid: known[tid] for tid in {s.tid for s in slices}}


def _task_slices(schedule: Schedule) -> Iterator[_Slice]:
    for row, spans in enumerate(rows_of(schedule.spans)):
        for span in spans:
            yield _Slice(0, _TASKS_TID + row, span.label, span.start, span.end + 1, "{}")


def _queue_slices(schedule: Schedule) -> Iterator[_Slice]:
    rows = schedule.program.instructions
    columns = zip(
        rows["time"].tolist(),
        rows["queue"].tolist(),
        last_issue(rows).tolist(),
        texts(schedule.program, schedule.chip),
        strict=True,
    )
    for time, queue, last, text in columns:
        mnemonic, _, operands = text.partition(" ")
        args = f'{{"operands":{json.dumps(operands)}}}'
        yield _Slice(0, _QUEUES_TID + queue, mnemonic, time, last + 1, args)


def _about(visit: Visit) -> str:
    return json.dumps(
        {
            "cycles": visit.cycles,
            "bound_cycles": visit.bound_cycles,
            "limit": visit.limit,
            "chips": chips_text(visit.chips),
            "moved": list(visit.moves),
        }
    )
