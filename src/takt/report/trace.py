"""The timeline of a schedule as Chrome / Perfetto JSON: open it at ui.perfetto.dev or chrome://tracing.

One process per kind of queue, one thread per queue, one slice per instruction, as long as it keeps
its queue (a repeat: from first to last issue). In front, the compiler's tasks by layer. The format
counts microseconds; here one microsecond stands for one cycle, and the file says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from takt.files import write_whole
from takt.lpu import queues
from takt.report.profile import kind_of, layer_names
from takt.report.schedule import Schedule, Span, last_issue, texts

_TASKS_PID = 1
_Event = dict[str, object]


def write_trace(path: Path, schedule: Schedule) -> int:
    """Write the timeline, whole or not at all; returns the number of slices. DataError if it cannot."""
    tasks, instructions = list(_task_events(schedule)), list(_instruction_events(schedule))
    head = {
        "displayTimeUnit": "ms",
        "otherData": {
            "time": "1 us in this trace is 1 cycle",
            "chip": schedule.chip.id,
            "clock_hz": schedule.chip.clock_hz,
            "program": schedule.program.name,
            "cycles": schedule.cycles,
        },
    }
    lines = ",\n".join(
        json.dumps(event, separators=(",", ":")) for event in (*tasks, *instructions)
    )
    text = json.dumps(head)[:-1] + ', "traceEvents": [\n' + lines + "\n]}\n"
    write_whole(path, text.encode())
    return sum(event["ph"] == "X" for event in (*tasks, *instructions))


def _instruction_events(schedule: Schedule) -> Iterator[_Event]:
    all_queues = queues(schedule.chip)
    kinds = list(dict.fromkeys(kind_of(queue.name) for queue in all_queues))
    pids = {kind: _TASKS_PID + 1 + i for i, kind in enumerate(kinds)}
    rows = schedule.program.instructions
    used = set(rows["queue"].tolist())
    for kind in dict.fromkeys(kind_of(q.name) for q in all_queues if q.number in used):
        yield from _name("process", pids[kind], 0, kind, pids[kind])
    for queue in all_queues:
        if queue.number in used:
            pid = pids[kind_of(queue.name)]
            yield from _name("thread", pid, queue.number + 1, queue.name, queue.number)
    pid_of = [pids[kind_of(queue.name)] for queue in all_queues]
    asm = texts(schedule.program, schedule.chip)
    columns = zip(
        rows["time"].tolist(), rows["queue"].tolist(), last_issue(rows).tolist(), asm, strict=True
    )
    for time, number, last, text in columns:
        mnemonic, _, operands = text.partition(" ")
        yield {
            "name": mnemonic,
            "ph": "X",
            "ts": time,
            "dur": last - time + 1,
            "pid": pid_of[number],
            "tid": number + 1,
            "args": {"operands": operands},
        }


def _task_events(schedule: Schedule) -> Iterator[_Event]:
    if not schedule.spans:
        return
    yield from _name("process", _TASKS_PID, 0, "tasks by layer", 0)
    thread = 0
    for layer, name in layer_names(schedule.spans).items():
        title = f"layer {name}" if name.isdigit() else name
        members = [span for span in schedule.spans if span.layer == layer]
        for number, row in enumerate(rows_of(members)):
            thread += 1
            label = title if number == 0 else f"{title} ({number + 1})"
            yield from _name("thread", _TASKS_PID, thread, label, thread)
            for span in row:
                yield {
                    "name": span.label,
                    "ph": "X",
                    "ts": span.start,
                    "dur": span.end - span.start + 1,
                    "pid": _TASKS_PID,
                    "tid": thread,
                    "args": {"layer": name},
                }


def rows_of(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans on as few rows as hold them without overlap, each in order of time."""
    rows: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        for row in rows:
            if row[-1].end < span.start:
                row.append(span)
                break
        else:
            rows.append([span])
    return rows


def _name(what: str, pid: int, tid: int, name: str, order: int) -> Iterator[_Event]:
    yield {"name": f"{what}_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
    args = {"sort_index": order}
    yield {"name": f"{what}_sort_index", "ph": "M", "pid": pid, "tid": tid, "args": args}
