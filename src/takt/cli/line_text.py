"""How the critical path of a system and the use of its units read, as text and as JSON (keys in docs/verbs.md)."""

from collections.abc import Iterable

from takt.cli.table import aligned
from takt.cli.text import percent
from takt.lpu.system import SystemCompiled
from takt.report import SystemProfile, SystemSchedule
from takt.units import cycles_to_s, format_si

__all__ = ["describe", "document"]

_PARTS_SHOWN = 3


def describe(schedule: SystemSchedule, profile: SystemProfile) -> str:
    """The critical path, its visits, the phases of its longest program, and the use of units, as tables."""
    sections = (
        _path_text(schedule, profile),
        _visits_text(profile),
        _phases_text(profile),
        _use_text(profile),
    )
    return "\n".join(sections)


def document(
    compiled: SystemCompiled, schedule: SystemSchedule, profile: SystemProfile
) -> dict[str, object]:
    """The same as a JSON object: keys in docs/verbs.md."""
    path = profile.path
    return {
        "model": schedule.model,
        "system": schedule.system,
        "chips": schedule.n_chips,
        "chips_used": schedule.chips_used,
        "stages": len(schedule.groups),
        "clock_hz": schedule.chip.clock_hz,
        "context": compiled.cut.context,
        "users": schedule.users,
        "step_cycles": schedule.step_cycles,
        "interval_cycles": schedule.interval_cycles,
        "period_cycles": schedule.period_cycles,
        "by_cause": path.by_cause,
        "critical_path": [
            {
                "cause": share.cause,
                "part": share.part,
                "cycles": share.cycles,
                "mxm_stream_fraction": share.stream_fraction,
            }
            for share in path.causes
        ],
        "visits": [
            {
                "kind": program.kind,
                "count": program.count,
                "cycles": program.cycles,
                "bound_cycles": program.bound_cycles,
                "bound_limit": program.limit,
            }
            for program in path.programs
        ],
        "gap_cycles": path.gap_cycles,
        "program": path.program,
        "program_cycles": path.program_cycles,
        "phases": [
            {
                "name": phase.name,
                "start_cycle": phase.start_cycle,
                "cycles": phase.cycles,
                "causes": [[each.cause, each.part, each.cycles] for each in phase.causes],
                "mxm_stream_fraction": phase.stream_fraction,
            }
            for phase in path.phases
        ],
        "by_unit": {
            use.unit: {
                "per_chip": use.count,
                "program_fraction": use.program.fraction,
                "working_fraction": use.working.fraction,
                "step_fraction": use.step.fraction,
                "full_fraction": use.full.fraction,
            }
            for use in profile.use
        },
    }


def _most(parts: Iterable[tuple[str, int]]) -> str:
    ordered = sorted(dict(parts).items(), key=lambda part: -part[1])[:_PARTS_SHOWN]
    return "; ".join(f"{name} {cycles:,}" for name, cycles in ordered)


def _path_text(schedule: SystemSchedule, profile: SystemProfile) -> str:
    path, step = profile.path, profile.path.step_cycles
    seconds = format_si(cycles_to_s(step, schedule.chip.clock_hz), "s")
    rows = [("CAUSE", "CYCLES", "SHARE", "MXM STREAMS", "PARTS, MOST CYCLES FIRST")]
    for cause, cycles in path.by_cause.items():
        members = [share for share in path.causes if share.cause == cause]
        streams = sum(share.stream_fraction * share.cycles for share in members)
        rows.append(
            (
                cause,
                f"{cycles:,}",
                percent(cycles, step),
                percent(streams, cycles),
                _most((share.part, share.cycles) for share in members),
            )
        )
    title = f"The critical path of one token, {step:,} cycles = {seconds}:\n"
    return title + aligned(rows, right=(1, 2, 3))


def _visits_text(profile: SystemProfile) -> str:
    path = profile.path
    rows = [("VISIT", "COUNT", "CYCLES", "SHARE", "BOUND", "SET BY")]
    rows += [
        (
            program.kind,
            str(program.count),
            f"{program.cycles:,}",
            percent(program.cycles, path.step_cycles),
            f"{program.bound_cycles:,}",
            program.limit,
        )
        for program in path.programs
    ]
    share = percent(path.gap_cycles, path.step_cycles)
    n_gaps = sum(program.count for program in path.programs) - 1
    rows.append(("(gaps)", str(n_gaps), f"{path.gap_cycles:,}", share, "", "launch, epochs"))
    return "Visit by visit, cycles of all visits of a kind:\n" + aligned(rows, right=(1, 2, 3, 4))


def _phases_text(profile: SystemProfile) -> str:
    path = profile.path
    rows = [("PHASE", "FROM", "CYCLES", "SHARE", "MXM STREAMS", "WHY, MOST CYCLES FIRST")]
    rows += [
        (
            phase.name,
            f"{phase.start_cycle:,}",
            f"{phase.cycles:,}",
            percent(phase.cycles, path.program_cycles),
            percent(phase.stream_fraction, 1),
            _most((f"{each.cause} {each.part}", each.cycles) for each in phase.causes),
        )
        for phase in path.phases
    ]
    title = (
        f"Phase by phase, in {path.program} of {path.program_cycles:,} cycles, most of the step:\n"
    )
    return title + aligned(rows, right=(1, 2, 3, 4))


def _use_text(profile: SystemProfile) -> str:
    rows = [("UNIT", "A CHIP", "PROGRAM", "WORKING", "STEP", "FULL")]
    for use in profile.use:
        one, working, step, full = (
            percent(part.fraction, 1) for part in (use.program, use.working, use.step, use.full)
        )
        rows.append((use.unit, str(use.count), one, working, step, full))
    title = "Unit by unit, share of cycles in use: that program; chips at work; a token's step; all users:\n"
    return title + aligned(rows, right=(1, 2, 3, 4, 5))
