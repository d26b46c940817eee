"""Reports: the cycles they share out add up, their files are sound, their pictures match the program."""

import itertools
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.chips import load_chip
from takt.errors import DataError, UsageError
from takt.files import write_whole
from takt.lpu import Compiled, Program, Step, TaktFile, compile_model, load_takt, queues, save_takt
from takt.lpu.isa import instruction_text
from takt.lpu.isa.program import make_program
from takt.lpu.machine import expand
from takt.models import SHAPES, random_model
from takt.report import Schedule, pack, unpack, write_plot, write_trace
from takt.report.profile import layer_use, owned_cycles, stage_cycles, unit_use
from takt.report.raster import CATEGORIES, rasterise
from takt.report.schedule import Span, issue_times, mnemonics, texts
from takt.report.trace import rows_of

CHIP = load_chip("lpu-v1")


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    shape = replace(
        SHAPES["stories260k"], name="tiny", n_layers=2, windows=(None, None), max_context=400
    )
    return compile_model(random_model(shape), CHIP)


@pytest.fixture(scope="module")
def step(compiled: Compiled) -> Step:
    return compiled.decode(0)


@pytest.fixture(scope="module")
def schedule(step: Step) -> Schedule:
    return Schedule.of_step(step, CHIP)


def with_spans(schedule: Schedule, *spans: Span) -> Schedule:
    return replace(schedule, spans=spans)


# ------------------------------------------------------------------------------------- schedule


def test_issues_are_those_that_the_machine_sees(schedule: Schedule) -> None:
    seen = expand(schedule.program)
    index, times = issue_times(schedule.program.instructions)
    assert (index == seen.index).all()
    assert (times == seen.time).all()


def test_every_instruction_gets_its_own_text(schedule: Schedule) -> None:
    rows, names = schedule.program.instructions, queues(CHIP)
    found = texts(schedule.program, CHIP)
    for i in range(0, len(rows), 97):
        assert found[i] == instruction_text(rows[i], names)
    table = mnemonics(schedule.program, CHIP)
    assert {table[op] for op in rows["op"].tolist()} == {text.split()[0] for text in found}


# -------------------------------------------------------------------------------------- profile


def test_use_of_units_is_that_of_the_issues(schedule: Schedule, step: Step) -> None:
    uses = unit_use(schedule)
    assert sum(use.issues for use in uses) == step.activity.instructions
    assert sum(use.n_queues for use in uses) == CHIP.icu.queues
    issues = expand(schedule.program)
    (vxm,) = [use for use in uses if use.kind == "vxm"]
    numbers = [queue.number for queue in queues(CHIP) if queue.name.startswith("vxm.")]
    on_vxm = np.isin(issues.queue, numbers)
    assert vxm.issues == on_vxm.sum()
    assert vxm.busy_fraction == pytest.approx(on_vxm.sum() / 16 / schedule.cycles)
    assert vxm.active_fraction == len(np.unique(issues.time[on_vxm])) / schedule.cycles
    busiest = max(int((issues.queue == number).sum()) for number in numbers)
    assert vxm.busiest_fraction == busiest / schedule.cycles


def test_layers_and_stages_share_out_every_cycle(schedule: Schedule) -> None:
    layers = layer_use(schedule)
    assert [layer.name for layer in layers] == ["embed", "0", "1", "head", "retire"]
    assert sum(layer.cycles for layer in layers) == schedule.cycles == schedule.program.cycles
    assert sum(stage_cycles(layers).values()) == schedule.cycles
    assert all(layer.cycles >= 0 for layer in layers)


def test_a_cycle_belongs_to_the_task_that_completes_next(schedule: Schedule) -> None:
    a, b = Span("a", 0, 5, 9), Span("b", 0, 0, 19)
    cache = Span("cache value", 0, 0, 30)
    c = Span("c", 1, 25, 39)
    assert owned_cycles(with_spans(schedule, b, a, cache, c)).tolist() == [10, 10, 0, 20]


SPANS = st.lists(
    st.builds(
        lambda label, layer, start, length: Span(label, layer, start, start + length),
        st.sampled_from(("norm", "mix", "cache key")),
        st.integers(-1, 3),
        st.integers(0, 1000),
        st.integers(0, 200),
    ),
    max_size=20,
)


@given(SPANS)
def test_sharing_out_adds_up_for_any_tasks(spans: list[Span]) -> None:
    empty = Schedule(program=_empty(1300), chip=CHIP, spans=tuple(spans))
    layers = layer_use(empty)
    assert sum(layer.cycles for layer in layers) == (1300 if spans else 0)
    assert min((layer.cycles for layer in layers), default=0) >= 0


def _empty(cycles: int) -> Program:
    return Program(chip_id=CHIP.id, instructions=make_program(CHIP, []).instructions, cycles=cycles)


# ---------------------------------------------------------------------------------------- trace


def test_the_timeline_has_every_instruction_in_its_place(
    schedule: Schedule, tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    n_slices = write_trace(path, schedule)
    found = json.loads(path.read_text())
    slices = [event for event in found["traceEvents"] if event["ph"] == "X"]
    assert n_slices == len(slices) == len(schedule.program.instructions) + len(schedule.spans)
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in found["traceEvents"]
        if event["name"] == "thread_name"
    }
    asm = sorted(
        (e["ts"], names[e["pid"], e["tid"]], f"{e['name']} {e['args']['operands']}".strip())
        for e in slices
        if "operands" in e["args"]
    )
    rows, known = schedule.program.instructions, queues(CHIP)
    expected = sorted(
        (time, known[queue].name, text)
        for time, queue, text in zip(
            rows["time"].tolist(),
            rows["queue"].tolist(),
            texts(schedule.program, CHIP),
            strict=True,
        )
    )
    assert asm == expected


def test_slices_of_one_row_never_overlap(schedule: Schedule, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    write_trace(path, schedule)
    rows: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in json.loads(path.read_text())["traceEvents"]:
        if event["ph"] == "X":
            rows[event["pid"], event["tid"]].append((event["ts"], event["dur"]))
    for row in rows.values():
        row.sort()
        assert all(a + length <= b for (a, length), (b, _) in itertools.pairwise(row))


@given(SPANS)
def test_rows_hold_all_tasks_without_overlap(spans: list[Span]) -> None:
    rows = rows_of(spans)
    assert sorted(span for row in rows for span in row) == sorted(spans)
    for row in rows:
        assert all(a.end < b.start for a, b in itertools.pairwise(row))
    at_once = max((sum(s.start <= t.start <= s.end for s in spans) for t in spans), default=0)
    assert len(rows) == at_once


# ----------------------------------------------------------------------------------------- plot


def test_pixels_count_issues(schedule: Schedule) -> None:
    raster = rasterise(schedule, 300)
    assert raster.n_bins <= 300
    assert raster.n_bins * raster.bin_cycles >= schedule.cycles
    issues = expand(schedule.program)
    assert (raster.busy.sum(axis=1) * raster.bin_cycles).round().tolist() == np.bincount(
        issues.queue, minlength=len(raster.names)
    ).tolist()
    assert raster.busy.max() <= 1
    load = raster.names.index("mxm.0.w")
    seen = {CATEGORIES[k] for k in raster.category[load][raster.busy[load] > 0]}
    assert "lw: load weights" in seen
    assert seen <= {"lw: load weights", "iw: install weights", "icu, c2c"}


@pytest.mark.parametrize("known", [True, False])
def test_a_picture_is_made_with_and_without_tasks(
    schedule: Schedule, tmp_path: Path, known: bool
) -> None:
    pytest.importorskip("matplotlib")
    shown = schedule if known else with_spans(schedule)
    write_plot(tmp_path / "a.png", shown)
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    width, height = (int.from_bytes(content[k : k + 4], "big") for k in (16, 20))
    assert width == 1920
    assert height > 900


# ------------------------------------------------------------------------------------- packages


def test_a_schedule_survives_its_file(compiled: Compiled, step: Step, tmp_path: Path) -> None:
    steps = [step, compiled.decode(320)]
    path = tmp_path / "a.takt"
    save_takt(path, pack(compiled, steps))
    file = load_takt(path)
    for each in steps:
        found = unpack(str(path), file, CHIP, each.program.name)
        assert found.spans == Schedule.of_step(each, CHIP).spans
        assert (found.program.instructions == each.program.instructions).all()
        assert found.cycles == each.program.cycles
    assert unpack(str(path), file, CHIP).program.name == "decode.0"


def test_a_file_without_tasks_is_fine(step: Step) -> None:
    file = TaktFile(chip_id=CHIP.id, programs=(step.program,))
    assert unpack("a.takt", file, CHIP).spans == ()


def test_a_program_that_is_not_there_gets_a_near_miss(step: Step) -> None:
    file = TaktFile(chip_id=CHIP.id, programs=(step.program,))
    with pytest.raises(UsageError) as caught:
        unpack("a.takt", file, CHIP, "decode.o")
    assert caught.value.hint == "did you mean 'decode.0'?"
    with pytest.raises(UsageError, match="holds no program"):
        unpack("a.takt", TaktFile(chip_id=CHIP.id, programs=()), CHIP)


@given(
    st.binary(max_size=60)
    | st.sampled_from(
        [
            b'[["a",0,5,3]]',
            b'[["a",0,-5,3]]',
            b'[["a",0,1,99999999999]]',
            b'[["a",0,1]]',
            b"[" * 5000,
        ]
    )
)
def test_tasks_from_a_stranger_are_read_or_refused(content: bytes) -> None:
    program = replace(_empty(1), name="decode.0")
    file = TaktFile(chip_id=CHIP.id, programs=(program,), sections={"decode.0.tasks": content})
    try:
        spans = unpack("a.takt", file, CHIP).spans
    except DataError:
        return
    assert all(0 <= span.start <= span.end for span in spans)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "full").touch()
    for path in (tmp_path / "taken", tmp_path / "no" / "where"):
        with pytest.raises(DataError, match="cannot be written"):
            write_whole(path, b"content")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]
