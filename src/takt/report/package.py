"""Schedules in a `.takt` file, and back: programs, with the compiler's tasks and figures beside them.

The file format knows programs, metadata and raw sections; this module says which of them hold what:

    metadata  model, weights, context, sram_bytes; NAME.bound_cycles and NAME.bound_limit per program
    sections  NAME.tasks: JSON, one [stage, layer, first cycle, last cycle] per task, in plan order
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from takt.chips import Chip
from takt.errors import DataError, UsageError, did_you_mean
from takt.lpu import Compiled, Step, TaktFile
from takt.report.schedule import Schedule, Span

MAX_TASKS = 1 << 20


def pack(compiled: Compiled, steps: Sequence[Step]) -> TaktFile:
    """A file of the steps' programs. Weights are not in it: they are the model's."""
    metadata: dict[str, str | int | float] = {
        "model": compiled.model.shape.name,
        "weights": compiled.weights,
        "context": compiled.context,
        "sram_bytes": max(step.sram_bytes for step in steps),
    }
    sections = {}
    for step in steps:
        name = step.program.name
        metadata[f"{name}.bound_cycles"] = step.bound.cycles
        metadata[f"{name}.bound_limit"] = step.bound.limit
        spans = Schedule.of_step(step, compiled.chip).spans
        sections[f"{name}.tasks"] = msgspec.json.encode([tuple(span) for span in spans])
    return TaktFile(
        chip_id=compiled.chip.id,
        chip_fingerprint=compiled.chip.fingerprint,
        programs=tuple(step.program for step in steps),
        metadata=metadata,
        sections=sections,
    )


def unpack(path: str, file: TaktFile, chip: Chip, name: str | None = None) -> Schedule:
    """The schedule of the program `name` (default: the first) of a file read from `path`.

    Raises UsageError for a name the file does not have, DataError for tasks that cannot be read.
    """
    programs = {program.name: program for program in file.programs}
    if not programs:
        raise UsageError(f"{path} holds no program")
    chosen = next(iter(programs)) if name is None else name
    if chosen not in programs:
        hint = did_you_mean(chosen, programs) or f"there are {', '.join(programs)}"
        raise UsageError(f"{path} has no program {chosen!r}", hint=hint)
    spans = _spans(path, file.sections, f"{chosen}.tasks")
    return Schedule(program=programs[chosen], chip=chip, spans=spans)


def _spans(path: str, sections: Mapping[str, object], key: str) -> tuple[Span, ...]:
    section = sections.get(key)
    if section is None:
        return ()
    content = section if isinstance(section, bytes) else bytes(memoryview(section).cast("B"))  # type: ignore[arg-type]
    try:
        rows = msgspec.json.decode(content, type=list[tuple[str, int, int, int]])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DataError("not a list of tasks", file=path, key=key) from error
    spans = tuple(Span(*row) for row in rows)
    limit = 1 << 31
    if len(spans) > MAX_TASKS or any(
        not (-limit < span.layer < limit and 0 <= span.start <= span.end < limit) for span in spans
    ):
        raise DataError("tasks outside any program", file=path, key=key)
    return spans
