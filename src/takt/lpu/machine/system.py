"""The proof that a system program is free of hazards, without stepping a cycle.

Each distinct program is checked once; a relocation is judged by the program's footprint; what is left are starts of
instances and links, judged by a few sorts over all sends and receives. The cost grows with distinct programs and with
vectors on wires, not with chips times instructions. `lockstep` finds the same first fault by stepping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from takt.lpu.machine.checker import CheckReport, check
from takt.lpu.machine.footprint import Footprint, make_footprint
from takt.lpu.machine.network import Instance, Move, SystemProgram, relocated, verify_system
from takt.lpu.machine.state import Activity, RunResult, total_activity
from takt.lpu.machine.transfers import Transfers, match_transfers
from takt.lpu.machine.verdict import SystemFault, launch_faults

_Windows = tuple[tuple[int, int, tuple[int, ...]], ...]
"""What some moves take, without how far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemReport:
    """What a system program does: cycles until the last instance has ended, activity of all chips, vectors on wires.

    `programs` are the results of each program of the system by itself; one that no instance runs does nothing.
    """

    cycles: int
    activity: Activity
    programs: tuple[RunResult, ...]
    transfers: Transfers


def prove_system(system: SystemProgram) -> SystemReport:
    """The report of a system program that is free of hazards, up to those that only data can cause.

    Raises ProgramError for one that is malformed, and MachineFault for the first broken law.
    """
    verify_system(system)
    runs = Counter(instance.program for instance in system.instances)
    reports = {number: check(system.programs[number], system.chip, limit=1) for number in runs}
    transfers, faults = match_transfers(system)
    faults += [*launch_faults(system), *_program_faults(system, reports)]
    if faults:
        raise min(faults, key=lambda fault: fault.order(system)).error(system)
    idle = RunResult(cycles=0, activity=total_activity(()))
    programs = [idle] * len(system.programs)
    for number, report in reports.items():
        programs[number] = RunResult(cycles=report.cycles, activity=report.activity)
    return SystemReport(
        cycles=max(
            (i.start_cycle + programs[i.program].cycles for i in system.instances), default=0
        ),
        activity=total_activity((programs[number].activity, n) for number, n in runs.items()),
        programs=tuple(programs),
        transfers=transfers,
    )


def _program_faults(
    system: SystemProgram, reports: Mapping[int, CheckReport]
) -> Iterator[SystemFault]:
    """The first fault of each distinct program as relocated, at the first instance that runs it."""
    first: dict[tuple[int, tuple[Move, ...]], Instance] = {}
    numbers = {}
    for number, instance in enumerate(system.instances):
        key = instance.program, instance.relocation
        if key not in first or _when(instance) < _when(first[key]):
            first[key], numbers[key] = instance, number
    footprints: dict[tuple[int, _Windows], Footprint] = {}
    for key, instance in first.items():
        report = _relocated_report(system, instance, reports[instance.program], footprints)
        if report.issues:
            violation = report.issues[0]
            yield SystemFault(
                cycle=instance.start_cycle + violation.cycle,
                chip=instance.chip,
                queue=violation.queue,
                kind=violation.kind,
                instance=numbers[key],
                row=violation.index,
                why=violation.message,
            )


def _when(instance: Instance) -> tuple[int, int]:
    return instance.start_cycle, instance.chip


def _relocated_report(
    system: SystemProgram,
    instance: Instance,
    report: CheckReport,
    footprints: dict[tuple[int, _Windows], Footprint],
) -> CheckReport:
    """The report of the program as the instance runs it, from that of the program; links keep their names."""
    moves, program = instance.relocation, system.programs[instance.program]
    if not moves:
        return report
    if not report.issues:
        windows = tuple((move.first_word, move.end_word, move.slices) for move in moves)
        key = instance.program, windows
        if key not in footprints:
            footprints[key] = make_footprint(program, system.chip, moves)
        if footprints[key].admits(moves, system.chip):
            return report
    return check(relocated(program, replace(instance, links=())), system.chip, limit=1)
