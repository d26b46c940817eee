"""Reports of systems: every cycle has one cause, every vector its slot, and timelines are sound."""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from takt.chips import load_chip
from takt.cli.line_text import describe
from takt.errors import UsageError
from takt.lpu.isa.table import BY_NAME, EMIT, Type
from takt.lpu.machine import expand
from takt.lpu.system import SystemCompiled
from takt.report import (
    SystemProfile,
    SystemSchedule,
    write_pipeline_plot,
    write_plot,
    write_system_trace,
)
from takt.report.causes import LINKS, REST, WEIGHTS, WORK, Cause, causes, landed, weight_loads
from takt.report.critical import GAP, critical_path, planned
from takt.report.line import matrix_name
from takt.report.line_trace import FIRST_CHIP_PID, LINKS_PID, SYSTEM_PID, USERS_PID, in_flight
from takt.report.schedule import Span
from takt.report.use import ICU, IN, OUT, busy_of, busy_of_step, streams_in, system_use

CHIP = load_chip("lpu-v1")


def programs(system: SystemSchedule) -> list[Any]:
    """One visit of each kind of program."""
    return list({v.kind: v for v in system.visits if not v.is_transfer}.values())


# --------------------------------------------------------------------------------------- causes


def test_causes_of_a_program_worked_out_by_hand(by_hand: SystemSchedule) -> None:
    found = causes(by_hand, by_hand.visits[0]).counted()
    # 20 column groups; then 5 of keys and 2 of zeros that clear what is left of the columns before.
    assert found == {
        Cause(WEIGHTS, "q, k, v"): 20,
        Cause(WEIGHTS, "keys and values"): 7,
        Cause(WORK, "k"): 40 + 10,
        Cause(WORK, "sum"): 10,
        Cause(REST, "nothing under way"): 400 - 87,
    }


def test_a_transfer_waits_for_its_links(by_hand: SystemSchedule) -> None:
    found = causes(by_hand, by_hand.visits[1]).counted()
    flying = 50 + CHIP.c2c.link_cycles - 5  # from the first send to the end of the last receive
    assert found == {
        Cause(LINKS, "to the next group"): flying,
        Cause(REST, "nothing under way"): 300 - flying,
    }


def test_every_cycle_of_a_visit_has_one_cause(line: SystemSchedule) -> None:
    for visit in line.visits:
        assert sum(causes(line, visit).counted().values()) == visit.cycles


def test_weights_are_the_cause_exactly_while_planes_load(line: SystemSchedule) -> None:
    for visit in programs(line):
        found = causes(line, visit)
        of_weights = [i for i, name in enumerate(found.names) if name.cause == WEIGHTS]
        issues = expand(visit.schedules[0].program)
        loads = np.unique(issues.time[issues.op == BY_NAME["lw"].op])
        assert np.flatnonzero(np.isin(found.of_cycle, of_weights)).tolist() == loads.tolist()


def test_every_matrix_of_a_program_is_loaded_as_itself(
    line: SystemSchedule, compiled: SystemCompiled
) -> None:
    tiles: dict[str, Counter[str]] = {}
    for made in compiled.visits:
        if made.compiled is not None:
            of_kind = tiles.setdefault(made.compiled.kind.name, Counter())
            if not of_kind:
                for (key, _, _), tile in made.compiled.layouts[0].image.tiles.items():
                    of_kind[matrix_name(key)] += tile.n_groups
    seen = set()
    for visit in programs(line):
        found = weight_loads(visit)
        seen |= {*found}
        for name, groups in tiles[visit.kind].items():
            if name != "constant tiles":
                # Both sides of the chip may load in one cycle, two planes each.
                assert 4 * len(found[name]) >= groups, (visit.kind, name)
    assert {"q, k, v", "attention out", "gate, up", "down", "logits", "keys and values"} <= seen


def test_chosen_experts_count_as_the_matrices_that_they_are(mixture: SystemSchedule) -> None:
    visit = next(visit for visit in mixture.visits if "experts" in visit.kind)
    found = weight_loads(visit)
    assert {"gate, up", "down", "router"} <= {*found}
    assert not [name for name in found if "@" in name]
    issues = expand(visit.schedules[0].program)
    assert (issues.op == BY_NAME["gather"].op).any()
    # Gate and up of two experts, 64 columns on two chips: two column groups each, all looked up.
    assert 2 * len(found["gate, up"]) >= 2 * 2 * 2
    assert {name for name, _ in planned(visit.schedules[0].spans)} >= {"gate, up", "down"}


def test_vectors_fly_as_the_wires_allow(line: SystemSchedule) -> None:
    n_flights = 0
    for visit in line.visits:
        flights = line.flights(visit, visit.chips)
        n_flights += len(flights)
        by_wire: dict[Any, list[int]] = defaultdict(list)
        for flight in flights:
            assert flight.receive >= flight.send + 1 + flight.wire.extra_cycles
            assert landed(flight, line) < visit.cycles
            by_wire[flight.wire].append(flight.send)
        for sends in by_wire.values():
            assert all(b - a >= CHIP.c2c_vector_cycles for a, b in itertools.pairwise(sends))
    assert n_flights


# -------------------------------------------------------------------------------- critical path


def test_the_critical_path_by_hand(by_hand: SystemSchedule) -> None:
    path = critical_path(by_hand)
    launch = CHIP.launch_cycles
    found = {(share.cause, share.part): share.cycles for share in path.causes}
    assert found[GAP, "launch"] == 2 * launch
    assert found[GAP, "epoch"] == (512 - 400) + (1024 - 812) - 2 * launch
    assert path.gap_cycles == (512 - 400) + (1024 - 812)
    assert path.step_cycles == sum(found.values()) == 1424
    assert [(p.kind, p.count, p.cycles) for p in path.programs] == [
        ("attention", 2, 800),
        ("transfer", 1, 300),
    ]
    assert [(p.name, p.start_cycle, p.end_cycle) for p in path.phases] == [
        ("k, sum", 0, 150),
        ("retire", 150, 400),
    ]
    weights = next(share for share in path.causes if share.part == "q, k, v")
    assert weights.stream_fraction == 16 / 64


def test_the_critical_path_is_the_step(line: SystemSchedule, compiled: SystemCompiled) -> None:
    path = critical_path(line)
    assert path.step_cycles == compiled.step_cycles
    assert sum(share.cycles for share in path.causes) == compiled.step_cycles
    assert sum(path.by_cause.values()) == compiled.step_cycles
    assert sum(p.cycles for p in path.programs) + path.gap_cycles == compiled.step_cycles
    assert sum(phase.cycles for phase in path.phases) == path.program_cycles
    for phase in path.phases:
        assert sum(share.cycles for share in phase.causes) == phase.cycles
        assert 0 <= phase.stream_fraction <= 1
    assert {"weights", "work", "links", "gaps", "rest"} <= {*path.by_cause}


def test_visits_that_overlap_still_add_up_to_the_step(by_hand: SystemSchedule) -> None:
    first, moved, last = by_hand.visits
    early = replace(by_hand, visits=(first, replace(moved, start_cycle=256), last))
    path = critical_path(early)
    assert sum(share.cycles for share in path.causes) == path.step_cycles == 1424
    assert path.programs[1].cycles == 556 - 400


def test_phases_follow_the_plan() -> None:
    spans = [
        Span(label, 0, 0, end)
        for label, end in (
            ("norm", 9), ("spread", 5), ("norm", 12), ("exchange", 30), ("gate", 40), ("up", 41), ("gate", 60),
            ("up", 55), ("cache key", 99), ("exchange", 58), ("norm", 70),
        )
    ]  # fmt: skip
    assert planned(spans) == [
        ("norm, spread", 12),
        ("exchange", 30),
        ("gate, up", 60),
        ("exchange", 58),
        ("norm", 70),
    ]


def test_the_text_of_a_system_worked_out_by_hand(
    by_hand: SystemSchedule, golden: Callable[[str, str], None]
) -> None:
    golden("by_hand.txt", describe(by_hand, SystemProfile.of(by_hand)))


# ------------------------------------------------------------------------------------------ use


def test_use_is_what_programs_issue(line: SystemSchedule, compiled: SystemCompiled) -> None:
    for visit, made in zip(line.visits, compiled.visits, strict=True):
        if made.compiled is None:
            continue
        busy = busy_of(visit.schedules[0])
        assert busy[ICU] == made.compiled.activity.instructions
        vectors = made.compiled.activity.link_bytes // CHIP.vector_bytes
        assert busy["links"] == vectors * CHIP.c2c_vector_cycles
        issues = expand(visit.schedules[0].program)
        assert busy["mxm.activate"] == (issues.op == BY_NAME["abc"].op).sum()
        assert busy[OUT] == 4 * ((issues.op == BY_NAME["acc"].op) & (issues.c & EMIT != 0)).sum()
        assert busy[IN] == streams_in(visit.schedules[0]).sum() == _streams_in(issues)


def _streams_in(issues: Any) -> int:
    """Streams into the MXM counted one by one, from the columns of the instructions."""
    seen = set()
    for i in np.flatnonzero(np.isin(issues.op, [BY_NAME["lw"].op, BY_NAME["abc"].op])).tolist():
        load = issues.op[i] == BY_NAME["lw"].op
        width = 16 if load else 1 + (issues.b[i] == Type.F16)
        first_mxm = CHIP.mem_slices + CHIP.vxm.alus
        east = issues.queue[i] >= first_mxm + 6  # three queues a plane, two planes a side
        seen |= {(bool(east), (issues.a[i] & 31) + n, issues.time[i]) for n in range(width)}
    return len(seen)


def test_use_of_the_system_is_the_sum_over_chips(
    line: SystemSchedule, compiled: SystemCompiled
) -> None:
    total = sum(activity.instructions * n for activity, n in compiled.activities())
    assert busy_of_step(line)[ICU] == total
    sent = sum(activity.link_bytes * n for activity, n in compiled.activities())
    assert busy_of_step(line)["links"] == sent // CHIP.vector_bytes * CHIP.c2c_vector_cycles


def test_no_unit_is_used_more_than_all_the_time(line: SystemSchedule) -> None:
    uses = system_use(line)
    assert {use.unit: use.count for use in uses}[ICU] == CHIP.icu.queues
    for use in uses:
        for part in (use.program, use.working, use.step, use.full):
            assert 0 <= part.busy <= part.available
        assert use.step.fraction <= use.working.fraction
        assert use.step.fraction <= use.full.fraction
    profile = SystemProfile.of(line)
    assert profile.use == uses
    assert profile.path == critical_path(line)


# ---------------------------------------------------------------------------------------- trace


@pytest.fixture(scope="module")
def trace(line: SystemSchedule, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("trace") / "a.json"
    n_slices = write_system_trace(path, line, line.shown(stage=0))
    events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    assert n_slices == sum(event["ph"] == "X" for event in events)
    return events


def cycles(us: float) -> int:
    return round(us * CHIP.clock_hz / 1e6)


def slices(trace: list[dict[str, Any]], pid: int) -> list[dict[str, Any]]:
    return [event for event in trace if event["ph"] == "X" and event["pid"] == pid]


def test_every_event_is_one_that_perfetto_reads(trace: list[dict[str, Any]]) -> None:
    processes, threads = set(), set()
    for event in trace:
        assert {"name", "ph", "pid", "tid", "ts", "args"} <= {*event}
        assert event["ph"] in ("X", "M")
        if event["name"] == "process_name":
            processes.add(event["pid"])
        if event["name"] == "thread_name":
            threads.add((event["pid"], event["tid"]))
            assert event["args"]["name"]
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] > 0
    used = {(event["pid"], event["tid"]) for event in trace if event["ph"] == "X"}
    assert used <= threads
    assert {pid for pid, _ in used} == processes
    assert len(threads) == sum(event["name"] == "thread_name" for event in trace)


def test_slices_of_one_thread_never_overlap(trace: list[dict[str, Any]]) -> None:
    threads: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in trace:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for found in threads.values():
        found.sort()
        assert all(end <= start + 1e-6 for (_, end), (start, _) in itertools.pairwise(found))


def test_the_overview_has_every_visit_of_every_stage(
    trace: list[dict[str, Any]], line: SystemSchedule
) -> None:
    found = Counter(
        (e["name"], cycles(e["ts"]), cycles(e["dur"])) for e in slices(trace, SYSTEM_PID)
    )
    expected = Counter()
    for visit in line.visits:
        expected[visit.what, visit.start_cycle, visit.cycles] += 1 + visit.is_transfer
    assert found == expected


def test_links_are_occupied_for_a_slot_by_every_vector(
    trace: list[dict[str, Any]], line: SystemSchedule, compiled: SystemCompiled
) -> None:
    found = slices(trace, LINKS_PID)
    assert {cycles(event["dur"]) for event in found} == {CHIP.c2c_vector_cycles}
    sends = 0
    chips = {*line.groups[0]}
    wires = {(w.source_chip, w.source_link): w.target_chip for w in compiled.network.wires}
    for visit in compiled.visits:
        if visit.stage == 0:
            for place, chip in enumerate(visit.chips):
                issues = expand(visit.programs[place % len(visit.programs)])
                for link in issues.b[issues.op == BY_NAME["send"].op].tolist():
                    sends += bool({chip, wires[chip, link]} & chips)
    assert len(found) == sends > 0


def test_chips_show_every_instruction_and_task_of_the_stage(
    trace: list[dict[str, Any]], line: SystemSchedule
) -> None:
    for chip in line.groups[0]:
        mine = [visit for visit in line.visits if visit.stage == 0 and chip in visit.chips]
        expected = len(mine)
        for visit in mine:
            schedule = visit.schedule_of(chip)
            expected += len(schedule.program.instructions) + len(schedule.spans)
        assert len(slices(trace, FIRST_CHIP_PID + chip)) == expected
    assert not slices(trace, FIRST_CHIP_PID + line.groups[1][0])


def test_users_take_turns(trace: list[dict[str, Any]], line: SystemSchedule) -> None:
    stays = in_flight(line)
    each = sum(visit.cycles * (1 + visit.is_transfer) for visit in line.visits)
    assert sum(stay.end - stay.start for stay in stays) == line.users * each
    for stage in range(len(line.groups)):
        mine = sorted((s.start, s.end) for s in stays if s.stage == stage)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(mine))
        assert mine[0][0] >= 0
        assert mine[-1][1] <= line.period_cycles
    assert len(slices(trace, USERS_PID)) == len(stays)


def test_by_default_one_layer_is_shown(line: SystemSchedule) -> None:
    shown = line.shown(n_chips=1)
    assert len({visit.layer for visit in shown.visits}) == 1
    assert line.longest in shown.visits
    assert shown.chips == line.groups[shown.stage][:1]
    whole = line.shown(stage=shown.stage)
    assert len(whole.visits) > len(shown.visits)
    assert not whole.longest.is_transfer
    for stage, n_chips in ((2, None), (-1, None), (0, 3), (0, 0)):
        with pytest.raises(UsageError):
            line.shown(stage, n_chips)


# --------------------------------------------------------------------------------------- plots


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_pictures_are_what_their_names_say(
    line: SystemSchedule, tmp_path: Path, suffix: str
) -> None:
    pytest.importorskip("matplotlib")
    layer, pipeline = tmp_path / f"layer.{suffix}", tmp_path / f"pipeline.{suffix}"
    write_plot(layer, line.longest.schedules[0])
    write_pipeline_plot(pipeline, line)
    for path in (layer, pipeline):
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n" if suffix == "png" else b"<?xml")
    if suffix == "svg":
        text = layer.read_text()
        assert all(
            f">{word}<" in text for word in ("exchange", "gate", "up", "attention out", "links")
        )
        assert all(f">user {n}<" in pipeline.read_text() for n in range(line.users))
        write_pipeline_plot(layer, line)
        assert layer.read_bytes() == pipeline.read_bytes()
