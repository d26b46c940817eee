"""The proof that a program is free of hazards, without stepping a cycle.

`check` judges a whole program with sorts over its issues and reports what is wrong, how long it takes and what it
does; `prove` raises the first fault, the same one that the reference engine finds. Operands are judged in
`isa.verify`, instruction supply in `isa.supply`, stream registers in `slots`, everything else in `hazards`.

It knows no data: gather and scatter addresses, permute maps and the fill of links are judged when a program runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from takt.chips import Chip
from takt.lpu.isa.program import Program, queues
from takt.lpu.isa.supply import check_supply
from takt.lpu.isa.table import BY_NAME, BY_OP, Type, Unit
from takt.lpu.isa.verify import Violation, verify
from takt.lpu.machine.faults import fault_rank, machine_fault
from takt.lpu.machine.hazards import View, judge_units
from takt.lpu.machine.slots import Ints, judge_slots, stream_uses
from takt.lpu.machine.state import Activity
from takt.lpu.machine.timing import Timing, program_cycles

__all__ = ["CheckReport", "check", "prove"]

_LIMIT = 64  # violations of one kind in a report; a broken program can have them by the million
_N_OPS = 256
_SXM_UNITS = (Unit.PERMUTE, Unit.DISTRIBUTE, Unit.TRANSPOSE, Unit.SHIFT, Unit.SELECT, Unit.ROTATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a program does to the machine: cycles, violations by (cycle, queue), and activity.

    Without violations the program runs on any data, except for faults that only data can cause; `cycles` and
    `activity` are then exactly those of a run. With violations `activity` means nothing.
    """

    cycles: int
    issues: tuple[Violation, ...]
    activity: Activity


def check(program: Program, chip: Chip, *, limit: int = _LIMIT) -> CheckReport:
    """Judge a program. About `limit` violations of each kind are reported, the earliest among them.

    Raises ProgramError only for a program that is too long to expand.
    """
    malformed = verify(program, chip)
    sound, kept = readable(program, malformed)
    view = View(program=sound, chip=chip, queues=queues(chip), timing=Timing(chip), limit=limit)
    uses = stream_uses(sound.instructions, chip)
    faults, hops = judge_slots(uses, limit)
    found = [view.violation(fault.kind, fault.cycle, fault.instruction) for fault in faults]
    found += judge_units(view)
    found += check_supply(sound, chip) if len(kept) else []
    found = [replace(violation, index=int(kept[violation.index])) for violation in found]
    n_driven = np.bincount(uses.instruction[uses.drives], minlength=len(sound.instructions))
    return CheckReport(
        cycles=program_cycles(sound, chip),
        issues=tuple(sorted([*malformed, *found], key=_order)),
        activity=_activity(sound, chip, n_driven, hops),
    )


def prove(program: Program, chip: Chip) -> CheckReport:
    """The report of a program that is free of hazards. Raises MachineFault for the first fault otherwise."""
    report = check(program, chip, limit=1)
    if report.issues:
        first = report.issues[0]
        raise machine_fault(
            program,
            queues(chip),
            cycle=first.cycle,
            queue=first.queue,
            index=first.index,
            kind=first.kind,
            why=first.message,
        )
    return report


def _order(violation: Violation) -> tuple[int, int, int]:
    return violation.cycle, violation.queue, fault_rank(violation.kind)


def readable(program: Program, malformed: Sequence[Violation]) -> tuple[Program, Ints]:
    """The program as far as its operands make sense, and which rows these are.

    An instruction with a bad operand ends before its first bad issue: what happens later is not the first fault.
    """
    rows = program.instructions
    count = rows["count"].astype(np.int64)
    for violation in malformed:
        if violation.kind == "bad operand":
            i = violation.index
            done = (violation.cycle - int(rows["time"][i])) // max(1, int(rows["gap"][i]))
            count[i] = min(count[i], max(0, done))
    kept = np.flatnonzero(count > 0)
    rows = rows[kept]
    rows["count"] = count[kept]
    return replace(program, instructions=rows), kept


def _activity(program: Program, chip: Chip, n_driven: Ints, hops: int) -> Activity:
    """Counts of one run. `n_driven` is the number of streams that each row drives at one issue."""
    rows = program.instructions
    count = rows["count"].astype(np.int64)
    issues = np.bincount(rows["op"], weights=count, minlength=_N_OPS).astype(np.int64)

    def total(*names: str) -> int:
        return int(sum(issues[BY_NAME[name].op] for name in names))

    abc = rows["op"] == BY_NAME["abc"].op
    f16 = int(count[abc & (rows["b"] == Type.F16)].sum())
    vxm = [op for op, row in BY_OP.items() if row.unit is Unit.VXM]
    sxm = np.isin(rows["op"], [op for op, row in BY_OP.items() if row.unit in _SXM_UNITS])
    macs, vector = chip.mxm.rows * chip.mxm.cols, chip.lanes
    return Activity(
        instructions=int(count.sum()),
        mac_i8=macs * (total("abc") - f16),
        mac_f16=macs * f16,
        sram_read_bytes=vector * total("read", "gather", "readwrite"),
        sram_write_bytes=vector * total("write", "scatter", "readwrite"),
        vxm_lane_ops=vector * int(issues[vxm].sum()),
        sxm_bytes=vector * int((count * n_driven)[sxm].sum()),
        stream_byte_hops=vector * hops,
        weight_bytes=vector * 16 * total("lw"),
        link_bytes=vector * total("send"),
    )
