"""Delays from the chip's facts, the cycle rule, and the expansion of repeats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from takt.lpu.machine import expand, program_cycles
from takt.lpu.machine.timing import Timing


def test_latencies_are_sums_of_the_chips_facts(chip):
    timing = Timing(chip)
    assert timing.latency("read") == chip.mem.read_cycles
    assert timing.latency("gather") == chip.mem.read_cycles + chip.mem.gather_extra_cycles
    assert timing.latency("add") == chip.vxm.entry_cycles + chip.vxm.alu_cycles
    assert timing.latency("write") == 0
    slower = Timing(replace(chip, sxm=replace(chip.sxm, transpose_cycles=9)))
    assert slower.latency("transpose") == 9


def effect(bench, text):
    program = bench.program("0: " + text)
    record = program.instructions[0]
    effect = Timing(bench.chip).last_effect(record)
    assert program_cycles(program, bench.chip) == effect + 20
    return effect


def test_the_last_effect_of_each_kind_of_instruction(bench):
    assert effect(bench, "mem.w0 write 0 e0") == 1
    assert effect(bench, "mem.w0 gather e0 e4 0") == 2
    assert effect(bench, "mxm.0.w iw") == 1
    assert effect(bench, "mxm.0.a abc w0 i8") == 24
    assert effect(bench, "mxm.0.c acc r0 e0 keep i32") == 1
    assert effect(bench, "mxm.0.c acc r0 e0 keep|emit i32") == 2
    assert effect(bench, "vxm.0 add #1.0 #1.0 -") == 1
    assert effect(bench, "vxm.0 add #1.0 #1.0 e0.f32") == 8
    assert effect(bench, "vxm.0 notify") == 35
    assert effect(bench, "sxm.transpose.e0 transpose e0 w0") == 4


def test_a_repeat_ends_with_its_last_issue(bench):
    assert (
        program_cycles(bench.program("3: mem.w0 read 0 e0 x5 @7 +1"), bench.chip) == 3 + 28 + 1 + 20
    )
    assert program_cycles(bench.program(""), bench.chip) == 0


def test_expand_gives_a_row_for_each_issue(bench):
    text = "3: mem.w0 read 5 e0 x3 @4 +2\n9: sxm.shift.w0 shift e0 w0 -3 1 x3 @2 +2"
    issues = expand(bench.program(text))
    assert issues.time.tolist() == [3, 7, 11, 9, 11, 13]
    assert issues.index.tolist() == [0, 0, 0, 1, 1, 1]
    assert issues.a[:3].tolist() == [5, 7, 9]
    assert issues.c[3:].tolist() == [-3, -1, 1]
    assert len(issues) == 6


def test_stepped_operands_do_not_wrap(bench):
    program = bench.program("0: mem.w0 read 60 e0 x3 +30000")
    rows = program.instructions.copy()
    rows["a"] = 65_000
    issues = expand(replace(program, instructions=rows))
    assert issues.a.tolist() == [65_000, 95_000, 125_000]


def test_expand_agrees_with_a_loop_over_repeats(bench):
    rng = np.random.default_rng(0)
    lines, expected, time = [], [], 0
    for _ in range(50):
        count, gap, step = (int(rng.integers(1, high)) for high in (6, 5, 4))
        lines.append(
            f"{time}: mem.e3 read 7 e0 x{count} @{gap} +{step}"
            if count > 1
            else f"{time}: mem.e3 read 7 e0"
        )
        expected += [(time + i * gap, 7 + i * step) for i in range(count)]
        time += count * gap + int(rng.integers(1, 9))
    issues = expand(bench.program("\n".join(lines)))
    assert list(zip(issues.time.tolist(), issues.a.tolist(), strict=True)) == expected
