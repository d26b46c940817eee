"""Where the cycles of a program went: by kind of queue, by layer, by stage.

Two rules, both exact for what they say:

- A queue is *busy* in a cycle in which it issues an instruction. (How full streams or matrix planes
  are is another question; the compiler's bound answers it.)
- A cycle *belongs* to the task that completes next. So the cycles of all layers, or of all stages,
  add up to the program's; what follows the last task is called `retire`. Tasks that put keys and
  values into the cache own no cycles, since nothing in the step waits for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from takt.lpu import queues
from takt.report.schedule import Ints, Schedule, Span, issue_times

RETIRE = "retire"
UNAWAITED = ("cache key", "cache value")
"""Labels of tasks that nothing in the step waits for."""
_MXM = {"w": "mxm.load", "a": "mxm.activate", "c": "mxm.accumulate"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitUse:
    """How busy one kind of queue was; fractions are of the program's cycles."""

    kind: str
    n_queues: int
    issues: int
    busy_fraction: float  # mean over the queues
    busiest_fraction: float  # of the busiest queue
    active_fraction: float  # cycles in which any queue of the kind issues


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerUse:
    """One layer: first and last cycle of its tasks, and the cycles that belong to it, by stage."""

    name: str
    start_cycle: int
    end_cycle: int
    cycles: int
    stages: tuple[tuple[str, int], ...]


def kind_of(queue_name: str) -> str:
    """The kind of a queue: `mem`, `vxm`, `mxm.load`, `mxm.activate`, `mxm.accumulate`, `sxm.shift`, …"""
    unit, _, place = queue_name.rpartition(".")
    return _MXM[place] if unit.startswith("mxm") else unit


def unit_use(schedule: Schedule) -> tuple[UnitUse, ...]:
    """Use of each kind of queue, in the order of the chip's queue numbers; idle kinds included."""
    rows, cycles = schedule.program.instructions, max(schedule.cycles, 1)
    index, times = issue_times(rows)
    all_queues = queues(schedule.chip)
    kinds = list(dict.fromkeys(kind_of(queue.name) for queue in all_queues))
    kind_number = np.array([kinds.index(kind_of(queue.name)) for queue in all_queues])
    queue = rows["queue"].astype(np.int64)[index]
    by_queue = np.bincount(queue, minlength=len(all_queues))
    active = np.unique(kind_number[queue] * np.int64(cycles + 1) + times) // (cycles + 1)
    n_active = np.bincount(active, minlength=len(kinds))
    out = []
    for number, kind in enumerate(kinds):
        counts = by_queue[kind_number == number]
        out.append(
            UnitUse(
                kind=kind,
                n_queues=len(counts),
                issues=int(counts.sum()),
                busy_fraction=float(counts.mean()) / cycles,
                busiest_fraction=float(counts.max()) / cycles,
                active_fraction=float(n_active[number]) / cycles,
            )
        )
    return tuple(out)


def layer_names(spans: Sequence[Span]) -> dict[int, str]:
    """`embed`, `0`, `1`, …, `head`: how the layers of a step are called."""
    layers = sorted({span.layer for span in spans})
    names = {layer: str(layer) for layer in layers}
    if layers and layers[0] < 0:
        names[layers[0]] = "embed"
    if len(layers) > 1 and layers[-1] > 0:
        only = {span.label for span in spans if span.layer == layers[-1]}
        if not only & _labels_within(spans, layers[:-1]) - {"norm"}:
            names[layers[-1]] = "head"
    return names


def _labels_within(spans: Sequence[Span], layers: Sequence[int]) -> set[str]:
    return {span.label for span in spans if span.layer in layers}


def owned_cycles(schedule: Schedule) -> Ints:
    """Cycles that belong to each task, in the order of `schedule.spans`; see the rules above."""
    spans = schedule.spans
    out = np.zeros(len(spans), np.int64)
    order = sorted(
        (i for i, span in enumerate(spans) if span.label not in UNAWAITED),
        key=lambda i: spans[i].end,
    )
    done = -1
    for i in order:
        out[i] = spans[i].end - done
        done = spans[i].end
    return out


def layer_use(schedule: Schedule) -> tuple[LayerUse, ...]:
    """Each layer in order of index, and `retire` last; empty where the tasks are not known."""
    if not schedule.spans:
        return ()
    owned = owned_cycles(schedule)
    out = []
    for layer, name in layer_names(schedule.spans).items():
        members = [(i, span) for i, span in enumerate(schedule.spans) if span.layer == layer]
        stages: dict[str, int] = {}
        for i, span in members:
            stages[span.label] = stages.get(span.label, 0) + int(owned[i])
        out.append(
            LayerUse(
                name=name,
                start_cycle=min(span.start for _, span in members),
                end_cycle=max(span.end for _, span in members),
                cycles=sum(stages.values()),
                stages=tuple(stages.items()),
            )
        )
    rest = schedule.cycles - int(owned.sum())
    last = LayerUse(
        name=RETIRE,
        start_cycle=int(owned.sum()),
        end_cycle=schedule.cycles - 1,
        cycles=rest,
        stages=((RETIRE, rest),),
    )
    return (*out, last)


def stage_cycles(layers: Sequence[LayerUse]) -> dict[str, int]:
    """Cycles that belong to each stage over all layers, in order of first appearance."""
    out: dict[str, int] = {}
    for layer in layers:
        for stage, cycles in layer.stages:
            out[stage] = out.get(stage, 0) + cycles
    return out
