"""The fast engine against the reference engine: same memory to the bit, same cycles, activity, links and faults."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lpu.strategies import SEEDS, flow_program, flow_programs, random_memory, small_chip

from takt.errors import MachineFault, ProgramError, UnsupportedError, UsageError
from takt.lpu.fast import FastEngine
from takt.lpu.fast.lift import lift
from takt.lpu.isa.program import Program, make_program, queues
from takt.lpu.isa.table import ADD, EMIT, KEEP, STREAM, Type, stream_ref, vxm_operand
from takt.lpu.machine import Activity, Memory, ReferenceEngine

CHIP = small_chip()
NAMES = {queue.name: queue.number for queue in queues(CHIP)}
EAST, WEST = 0, 1
Links = dict[int, list[bytes]]
Outcome = tuple[tuple[int, Activity] | tuple[int | None, str | None, str], Memory, Links]
Row = tuple[int, str, int, dict[str, int]]


def links(seed: int) -> Links:
    """Up to four vectors on each link, all different."""
    return {n: [bytes([n, i] * 160) for i in range(seed % 5)] for n in range(CHIP.c2c.links)}


def outcome(program: Program, seed: int, *, fast: bool, threads: int = 1) -> Outcome:
    memory, lines = random_memory(CHIP, seed), links(seed)
    try:
        if fast:
            engine = FastEngine(CHIP, memory, threads=threads)
            result = engine.run(engine.prepare(program), links=lines)
        else:
            result = ReferenceEngine(CHIP, memory).run(program, links=lines)
    except MachineFault as fault:
        return (fault.cycle, fault.queue, fault.message.split(":")[0]), memory, lines
    return (result.cycles, result.activity), memory, lines


def assert_same(program: Program, seed: int, threads: int = 1) -> None:
    expected, expected_memory, expected_links = outcome(program, seed, fast=False)
    got, memory, lines = outcome(program, seed, fast=True, threads=threads)
    assert got == expected
    different = np.argwhere((memory.data != expected_memory.data).any(axis=2))
    assert not len(different), f"words that differ (slice, address): {different[:5].tolist()}"
    if len(expected) == 2:
        assert lines == expected_links


_FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
_MANY = settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])


@_FEW
@given(flow_programs(CHIP), SEEDS)
def test_random_data_flows_end_in_the_same_state(program: Program, seed: int) -> None:
    assert_same(program, seed, threads=1 + seed % 3)


@pytest.mark.slow
@_MANY
@given(SEEDS, st.integers(1, 14), st.integers(1, 4))
def test_hundreds_of_data_flows_end_in_the_same_state(seed: int, n_flows: int, depth: int) -> None:
    assert_same(flow_program(CHIP, seed, n_flows, depth=depth), seed)


# Programs made by hand, for what random ones do too rarely.


def x_of(queue: str) -> int:
    return queues(CHIP)[NAMES[queue]].x


def arrive(source: str, target: str, time: int) -> int:
    """When `source` must read for its vector to be at `target` at `time`."""
    return time - abs(x_of(target) - x_of(source)) - CHIP.mem.read_cycles


def write_word(queue: str, address: int, ref: int, time: int, source: str) -> Row:
    """Write what was in the register at `source` at `time`."""
    return NAMES[queue], "write", time + abs(x_of(queue) - x_of(source)), {"a": address, "b": ref}


def load_plane(plane: int, time: int, first_word: int, groups: int) -> list[Row]:
    """`groups` loads from `time` on: eight slices of one side, two words each a cycle apart are too few streams, so every
    group is gathered from the eight slices of both sides and installed when all are there."""
    west = plane < 2
    ref = WEST if west else EAST
    rows: list[Row] = []
    unit = f"mxm.{plane}.w"
    for group in range(groups):
        when = time + 2 * group
        for i in range(16):
            source = f"mem.{'w' if i < 8 else 'e'}{i % 8}"
            at = {"a": first_word + group, "b": stream_ref(i, ref)}
            rows.append((NAMES[source], "read", arrive(source, unit, when), at))
        rows.append((NAMES[unit], "lw", when, {"a": stream_ref(0, ref), "b": group}))
    return rows


def multiply(type_: Type, entries: list[int], flags: list[int], start: int = 100) -> list[Row]:
    """Weights into planes 0 and 1, one activation for each entry, every emitted result written as four bytes."""
    rows = load_plane(0, start, 14, 3) + load_plane(1, start + 20, 18, 3)
    rows += [(NAMES[f"mxm.{p}.w"], "iw", start + 40, {}) for p in (0, 1)]
    interval = CHIP.mxm.fp16_interval_cycles
    for n, (entry, flag) in enumerate(zip(entries, flags, strict=True)):
        when = start + 50 + interval * n
        for i in range(type_.n_streams):
            source = f"mem.w{i}"
            at = {"a": 22 + n, "b": stream_ref(i, WEST)}
            rows.append((NAMES[source], "read", arrive(source, "mxm.0.a", when), at))
        rows.append((NAMES["mxm.0.a"], "abc", when, {"a": stream_ref(0, WEST), "b": type_}))
        done = when + CHIP.mxm.activation_to_result_cycles
        result = Type.F32 if type_ is Type.F16 else Type.I32
        out = {"a": entry, "b": stream_ref(8, EAST), "c": flag, "d": result}
        rows.append((NAMES["mxm.0.c"], "acc", done, out))
        if flag & EMIT:
            there = done + CHIP.mxm.result_to_stream_cycles
            for i in range(4):
                rows.append(
                    write_word(f"mem.w{i}", 40 + n, stream_ref(8 + i, EAST), there, "mxm.0.c")
                )
    return rows


_FLAGS = [KEEP, KEEP | ADD, EMIT, EMIT | ADD, EMIT | ADD | KEEP, KEEP, EMIT | ADD]
_ENTRIES = [5, 5, 5, 5, 5, 6, 5]


@pytest.mark.parametrize("type_", [Type.I8, Type.F16])
@pytest.mark.parametrize("seed", range(4))
def test_products_with_accumulation_are_the_same(type_: Type, seed: int) -> None:
    program = make_program(CHIP, multiply(type_, _ENTRIES * 2, _FLAGS * 2))
    assert_same(program, seed)
    memory = random_memory(CHIP, seed)
    engine = FastEngine(CHIP, memory)
    before = memory.data.copy()
    engine.run(engine.prepare(program))
    assert np.any(memory.data[:, 40:54] != before[:, 40:54]), "nothing was computed"


def test_activations_on_one_tile_share_a_pass_and_no_batch_outlasts_its_first_result() -> None:
    program = make_program(CHIP, multiply(Type.F16, [1] * 18, [EMIT] * 18))
    prepared = FastEngine(CHIP, Memory(CHIP)).prepare(program)
    batches = prepared.ops["n"][prepared.ops["code"] == 122]
    most = CHIP.mxm.activation_to_result_cycles // CHIP.mxm.fp16_interval_cycles
    assert batches.sum() == 18 and batches.max() == most
    for seed in (0, 1):
        assert_same(program, seed, threads=2)


def test_constant_weights_are_used_where_they_lie_and_columns_of_zeros_are_dropped() -> None:
    rows = multiply(Type.F16, [1, 2], [EMIT, EMIT])
    memory = random_memory(CHIP, 1)
    memory.data[:8, 14:17] = (
        0  # what plane 0 loads from the west, the low bytes of eight columns a group
    )
    memory.data[:8, 18:21] = 0
    constant = np.array([(slice_, 14, 21) for slice_ in range(16)])
    program = replace(make_program(CHIP, rows), constant=constant)
    expected = Memory(CHIP)
    expected.data[:] = memory.data
    ReferenceEngine(CHIP, expected).run(program)
    engine = FastEngine(CHIP, memory)
    prepared = engine.prepare(program)
    assert len(prepared.columns) == 3 * 8  # of 320: three groups loaded, half of each all zero
    assert not np.any(prepared.ops["code"] == 100)  # every read is the memory itself
    engine.run(prepared)
    assert np.array_equal(memory.data, expected.data)


def test_a_read_keeps_its_value_when_the_word_is_overwritten_before_its_use() -> None:
    """The word is read, then written while its old value is still under way to another slice."""
    ref = stream_ref(3, EAST)
    start = 20
    rows: list[Row] = [
        (NAMES["mem.w7"], "read", start, {"a": 20, "b": ref}),
        (NAMES["mem.w6"], "read", start, {"a": 50, "b": stream_ref(4, WEST)}),
        write_word("mem.w7", 20, stream_ref(4, WEST), start + CHIP.mem.read_cycles, "mem.w6"),
        write_word("mem.e7", 20, ref, start + CHIP.mem.read_cycles, "mem.w7"),
    ]
    # mem.w6 and mem.w7 may share a place; then the write is as early as it can be.
    for seed in range(3):
        assert_same(make_program(CHIP, rows), seed)


def test_one_prepared_program_runs_again_on_what_it_left() -> None:
    program = flow_program(CHIP, 11, 12, links=False)
    memory, expected = random_memory(CHIP, 11), random_memory(CHIP, 11)
    engine, reference = FastEngine(CHIP, memory), ReferenceEngine(CHIP, expected)
    prepared = engine.prepare(program)
    for _ in range(4):
        assert engine.run(prepared) == reference.run(program)
        assert np.array_equal(memory.data, expected.data)


def test_a_value_used_by_several_operations_is_widened_once() -> None:
    """Two ALUs tap the same f16 stream; a third takes it."""
    ref = stream_ref(6, EAST, tap=True)
    rows: list[Row] = [
        (
            NAMES[f"mem.w{i}"],
            "read",
            arrive(f"mem.w{i}", "vxm.0", 30),
            {"a": 20, "b": stream_ref(6 + i, EAST)},
        )
        for i in (0, 1)
    ]
    for alu in range(3):
        columns = {
            "a": vxm_operand(STREAM, Type.F16, ref),
            "b": vxm_operand(STREAM, Type.F16, ref if alu < 2 else stream_ref(6, EAST)),
            "c": vxm_operand(STREAM, Type.F16, stream_ref(10 + 2 * alu, EAST)),
        }
        rows.append((NAMES[f"vxm.{alu}"], ("mul", "add", "max")[alu], 30, columns))
        done = 30 + CHIP.vxm.entry_cycles + CHIP.vxm.alu_cycles
        for i in (0, 1):
            target = f"mem.e{2 * alu + i}"
            rows.append(write_word(target, 60, stream_ref(10 + 2 * alu + i, EAST), done, "vxm.0"))
    program = make_program(CHIP, rows)
    assert_same(program, 2)
    ops = lift(program, CHIP).placed.ops
    assert int((ops.code == 110).sum()) == 1


def test_hazards_are_found_when_preparing_and_bad_data_when_running() -> None:
    memory = Memory(CHIP)
    engine = FastEngine(CHIP, memory)
    empty = make_program(CHIP, [(NAMES["mem.e0"], "write", 3, {"a": 1, "b": 0})])
    with pytest.raises(MachineFault, match="empty stream"):
        engine.prepare(empty)
    rows: list[Row] = [
        (
            NAMES[f"mem.w{i}"],
            "read",
            arrive(f"mem.w{i}", "mem.e0", 20),
            {"a": 0, "b": stream_ref(i, EAST)},
        )
        for i in (0, 1)
    ]
    rows.append(
        (
            NAMES["mem.e0"],
            "gather",
            20,
            {"a": stream_ref(0, EAST), "b": stream_ref(5, EAST), "c": 10},
        )
    )
    prepared = engine.prepare(make_program(CHIP, rows))
    engine.run(prepared)
    memory.data[0, 0, 16] = 60
    with pytest.raises(MachineFault, match="address range") as caught:
        engine.run(prepared)
    assert (caught.value.cycle, caught.value.queue) == (20, "mem.e0")


def test_engines_in_several_threads_do_not_disturb_each_other() -> None:
    """Helper threads belong to one run at a time; the others do without."""
    program = make_program(CHIP, multiply(Type.F16, [1] * 18, [EMIT] * 18))
    expected = random_memory(CHIP, 3)
    ReferenceEngine(CHIP, expected).run(program)

    def run_often(_: int) -> bool:
        memory = random_memory(CHIP, 3)
        engine = FastEngine(CHIP, memory, threads=3)
        prepared = engine.prepare(program)
        for _ in range(50):
            engine.run(prepared)
        return np.array_equal(memory.data, expected.data)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run_often, range(8)))


def test_a_wrong_chip_or_memory_is_refused() -> None:
    program = make_program(CHIP, [])
    engine = FastEngine(CHIP, Memory(CHIP))
    with pytest.raises(UsageError, match="for chip"):
        engine.prepare(replace(program, chip_id="another"))
    with pytest.raises(UsageError, match="another memory"):
        FastEngine(CHIP, Memory(CHIP)).run(engine.prepare(program))
    wide = replace(CHIP, core=replace(CHIP.core, superlanes=40, lanes=640))
    with pytest.raises(UnsupportedError, match="320 lanes"):
        FastEngine(wide, Memory(CHIP))


def test_lifting_an_unproved_program_says_so() -> None:
    rows: list[Row] = [(NAMES["mem.e0"], "write", 3, {"a": 1, "b": 0})]
    with pytest.raises(ProgramError, match="check the program"):
        lift(make_program(CHIP, rows), CHIP)


def test_the_number_of_threads_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKT_THREADS", "3")
    assert FastEngine(CHIP, Memory(CHIP)).threads == 3
    monkeypatch.setenv("TAKT_THREADS", "many")
    with pytest.raises(UsageError, match="TAKT_THREADS"):
        FastEngine(CHIP, Memory(CHIP))
