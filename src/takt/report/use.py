"""How much of each unit of a chip was in use, by a program, in one token's step, and with all users under way.

Use is counted in whole cycles of whole things, so that it adds up over programs and chips:

    a queue is in use in a cycle in which it issues an instruction (`mem`, `vxm`, `mxm.…`, `sxm`, `c2c`; `icu` is all of them)
    a stream into (out of) the MXM is in use in a cycle in which a plane samples (drives) it
    a link is in use for as long as a vector occupies it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from takt.chips import Chip
from takt.lpu import queues
from takt.report.line import SystemSchedule
from takt.report.profile import kind_of
from takt.report.schedule import Ints, Schedule, issue_times, links_of, mnemonics, texts

IN, OUT, LINKS, ICU = "streams into mxm", "streams out of mxm", "links", "icu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """`busy` of the `available` cycles of all things of a kind together."""

    busy: int
    available: int

    @property
    def fraction(self) -> float:
        """The share in use, 0 to 1."""
        return self.busy / self.available if self.available else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemUse:
    """Use of one kind of unit, of which a chip has `count`.

    In one run of the `program` that takes most of the step; over all chips that hold the model: `working`, while they
    run a program of one token's step; `step`, from the token to its logits; `full`, with a token of every user under way.
    """

    unit: str
    count: int
    program: Use
    working: Use
    step: Use
    full: Use


def system_use(system: SystemSchedule) -> tuple[SystemUse, ...]:
    """Use of every kind of unit, in the order of queue numbers; streams, links and instruction queues last."""
    one = system.longest.schedules[0]
    program, step = busy_of(one), busy_of_step(system)
    working_cycles = sum(len(visit.chips) * visit.cycles for visit in system.visits)
    step_cycles = system.chips_used * system.step_cycles
    full_cycles = system.chips_used * system.period_cycles
    return tuple(
        SystemUse(
            unit=unit,
            count=n,
            program=Use(busy=program[unit], available=n * one.cycles),
            working=Use(busy=step[unit], available=n * working_cycles),
            step=Use(busy=step[unit], available=n * step_cycles),
            full=Use(busy=step[unit] * system.users, available=n * full_cycles),
        )
        for unit, n in units_of(system.chip).items()
    )


def units_of(chip: Chip) -> dict[str, int]:
    """Kinds of unit of a chip, and how many it has of each."""
    kinds = Counter(_kind(queue.name) for queue in queues(chip))
    streams = 2 * chip.core.streams_per_direction
    return {**kinds, IN: streams, OUT: streams, LINKS: chip.c2c.links, ICU: len(queues(chip))}


def busy_of(schedule: Schedule) -> Counter[str]:
    """Cycles in use by kind of unit in one run of a program."""
    chip, rows = schedule.chip, schedule.program.instructions
    all_queues = queues(chip)
    issues = np.bincount(rows["queue"], rows["count"], len(all_queues)).astype(np.int64)
    out: Counter[str] = Counter()
    for queue, n in zip(all_queues, issues.tolist(), strict=True):
        out[_kind(queue.name)] += n
    out[ICU] = int(issues.sum())
    out[IN] = int(streams_in(schedule).sum())
    out[OUT] = _streams_out(schedule)
    sends = sum(len(times) for times in links_of(schedule, "send").values())
    out[LINKS] = sends * chip.c2c_vector_cycles
    return out


def busy_of_step(system: SystemSchedule) -> Counter[str]:
    """The same over all programs of one token's step, on all chips that run them."""
    known: dict[int, Counter[str]] = {}
    out: Counter[str] = Counter()
    for visit in system.visits:
        each = len(visit.chips) // len(visit.schedules)
        for schedule in visit.schedules:
            if id(schedule) not in known:
                known[id(schedule)] = busy_of(schedule)
            out.update({unit: n * each for unit, n in known[id(schedule)].items()})
    return out


def _kind(queue_name: str) -> str:
    kind = kind_of(queue_name)
    if kind.startswith("sxm"):
        return "c2c" if ".c2c" in kind else "sxm"
    return kind


# ------------------------------------------------------------------------------------------------------------- streams
def streams_in(schedule: Schedule) -> Ints:
    """[cycles]: streams that the planes of the MXM sample in each cycle. Planes of one side that share them count once."""
    seen: set[tuple[int, int, str]] = set()
    out = np.zeros(schedule.cycles, np.int64)
    for side, words, times in _mxm_rows(schedule, ("lw", "abc")):
        width = schedule.chip.mxm.load_streams if words[0] == "lw" else 1 + ("f16" in words)
        for time in times:
            key = (side, time, words[1])
            if key not in seen:
                seen.add(key)
                out[time] += width
    return out


def _streams_out(schedule: Schedule) -> int:
    """Streams that the MXM drives, summed over cycles: four for each accumulator value that is emitted."""
    found = _mxm_rows(schedule, ("acc",))
    return sum(4 * len(times) for _, words, times in found if words[2] != "-")


def _mxm_rows(
    schedule: Schedule, names: tuple[str, ...]
) -> Iterator[tuple[int, list[str], list[int]]]:
    """(side, text split into words, dispatch cycles) of instructions of the MXM."""
    chip, rows = schedule.chip, schedule.program.instructions
    wanted = [op for op, name in mnemonics(schedule.program, chip).items() if name in names]
    few = schedule.only(np.isin(rows["op"], wanted))
    half = chip.mxm.planes // 2
    side = {
        queue.number: int(queue.name.split(".")[1]) // half
        for queue in queues(chip)
        if queue.name.startswith("mxm.")
    }
    index, times = issue_times(few.program.instructions)
    starts = np.searchsorted(index, np.arange(len(few.program.instructions) + 1)).tolist()
    all_times = times.tolist()
    owners = few.program.instructions["queue"].tolist()
    for row, text in enumerate(texts(few.program, chip)):
        yield side[owners[row]], text.split(), all_times[starts[row] : starts[row + 1]]
