"""What the fast engine does for systems beside what random ones show: words that stay, shared tapes, first faults."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tests.lpu.fast.test_engine import CHIP, NAMES, Row, arrive, multiply
from tests.lpu.strategies import random_memory

from takt.chips import Wire
from takt.errors import MachineFault
from takt.lpu.fast import FastSystem
from takt.lpu.fast.lasting import lasting_constant
from takt.lpu.isa.program import Program, make_program
from takt.lpu.isa.table import ADD, EMIT, Type, stream_ref
from takt.lpu.machine import Instance, Memory, Move, ReferenceSystem, SystemProgram

EAST, WEST = 0, 1
SLICE = NAMES["mem.w0"]
LATER = 8 * CHIP.c2c.epoch_cycles


def made(rows: list[Row], constant: Sequence[tuple[int, int, int]] = ()) -> Program:
    program = make_program(CHIP, rows)
    return Program(
        chip_id=CHIP.id,
        instructions=program.instructions,
        constant=np.array(constant, np.int64).reshape(-1, 3),
    )


def copies(source: int, target: int, step: int = 0) -> list[Row]:
    """One word of the innermost western slice into another word of it."""
    ref = stream_ref(0, EAST)
    return [
        (SLICE, "read", 0, {"a": source, "b": ref}),
        (SLICE, "write", CHIP.mem.read_cycles, {"a": target, "b": ref, "step": step}),
    ]


def scatters(map_word: int, base: int) -> list[Row]:
    rows: list[Row] = [
        (NAMES[f"mem.w{1 + i}"], "read", arrive(f"mem.w{1 + i}", "mem.w0", 20), at)
        for i, at in enumerate(
            {"a": map_word + 8 * i, "b": stream_ref(2 + i, EAST)} for i in (0, 1)
        )
    ]
    rows.append((NAMES["mem.w3"], "read", arrive("mem.w3", "mem.w0", 20), {"a": 20, "b": 0}))
    return [*rows, (SLICE, "scatter", 20, {"a": stream_ref(2, EAST), "b": 0, "c": base})]


WEIGHTS = [(slice_, 14, 21) for slice_ in range(16)]


def test_weights_that_another_program_writes_are_not_measured_once() -> None:
    """A column of zeros is left out of products, if it stays. Here the first run fills it before the second multiplies."""
    weights = multiply(Type.F16, [1, 2], [EMIT, EMIT | ADD])
    system = SystemProgram(
        chip=CHIP,
        programs=(made(copies(40, 14)), made(weights, WEIGHTS)),
        instances=tuple(Instance(chip=0, program=n, start_cycle=n * LATER) for n in (0, 1)),
    )
    expected, got = random_memory(CHIP, 5), random_memory(CHIP, 5)
    for memory in (expected, got):
        memory.data[:8, 14:21] = 0
    before = got.data[:, 22:].copy()
    fast = FastSystem(CHIP, [got])
    prepared = fast.prepare(system)
    # Half of the columns are zeros that stay, but for the three of the range in which a word is written.
    assert len(prepared.runs[0][1].prepared.columns) == 3 * 8 + 3
    assert fast.run(prepared) == ReferenceSystem(CHIP, [expected]).run(system)
    assert np.array_equal(got.data, expected.data)
    assert np.any(got.data[:, 22:] != before)


@pytest.mark.parametrize(
    ("other", "promise", "kept"),
    [
        (copies(40, 14), [], False),
        (copies(40, 13), [], True),
        (copies(40, 21), [], True),
        (scatters(0, 30), [], False),
        (scatters(0, 30), [(SLICE, 10, 30)], True),
        (scatters(0, 30), [(SLICE, 15, 30)], False),
    ],
)
def test_a_range_stays_if_no_other_program_can_write_it(
    other: list[Row], promise: list[tuple[int, int, int]], kept: bool
) -> None:
    mine = made([], [(SLICE, 14, 21), (SLICE + 1, 14, 21)])
    rows = lasting_constant(mine, [made(other, promise)])
    assert (SLICE in rows[:, 0]) == kept
    assert SLICE + 1 in rows[:, 0]


def test_runs_of_one_kind_on_a_chip_share_a_tape_and_moved_ones_have_their_own() -> None:
    move = Move(first_word=40, end_word=41, delta=2)
    runs = [
        Instance(chip=chip, program=0, start_cycle=n * LATER, relocation=(move,) if n == 2 else ())
        for chip in (0, 1)
        for n in range(3)
    ]
    program = made(copies(40, 41))
    system = SystemProgram(chip=CHIP, programs=(program,), instances=tuple(runs))
    prepared = FastSystem(CHIP, [random_memory(CHIP, n) for n in (0, 1)]).prepare(system)
    tapes = [[run.prepared for run in runs] for runs in prepared.runs]
    for first, second, third in tapes:
        assert first is second and first is not third
    assert tapes[0][0] is not tapes[1][0]


def test_of_several_faults_of_data_the_first_in_time_is_reported() -> None:
    """Chip 0 takes its turn first and fails late; chip 1 fails early, on a vector that chip 0 sent before."""
    bad = [(queue, name, time + 400, columns) for queue, name, time, columns in scatters(0, 60)]
    unit = "sxm.c2c.e0"
    send: list[Row] = [
        (SLICE, "read", arrive("mem.w0", unit, 30), {"a": 9, "b": 1}),
        (NAMES[unit], "send", 30, {"a": 1, "b": 0}),
    ]
    got = 31 + CHIP.c2c.link_cycles
    take: list[Row] = [
        (NAMES[unit], "receive", 31, {"a": stream_ref(5, WEST), "b": 0}),
        (SLICE, "write", got + 1 + abs(_x(unit)), {"a": 33, "b": stream_ref(5, WEST)}),
        *((queue, name, time + 300, columns) for queue, name, time, columns in scatters(0, 60)),
    ]
    system = SystemProgram(
        chip=CHIP,
        programs=(made(bad + send), made(take)),
        instances=tuple(Instance(chip=n, program=n, start_cycle=0) for n in (0, 1)),
        wires=(Wire(source_chip=0, source_link=0, target_chip=1, target_link=0, extra_cycles=0),),
    )

    def memories() -> list[Memory]:
        both = [random_memory(CHIP, n) for n in (0, 1)]
        for memory in both:
            memory.data[NAMES["mem.w1"], 0] = 15
        return both

    fast = FastSystem(CHIP, memories())
    prepared = fast.prepare(system)
    with pytest.raises(MachineFault) as quick:
        fast.run(prepared)
    with pytest.raises(MachineFault) as stepped:
        ReferenceSystem(CHIP, memories()).run(system)
    for error in (quick.value, stepped.value):
        assert (error.cycle, error.queue) == (320, "mem.w0 of chip 1")
        assert error.message.startswith("address range")


def _x(queue: str) -> int:
    return CHIP.sxm_hops if queue.startswith("sxm") else 0
