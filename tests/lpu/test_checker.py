"""The checker on programs written by hand: each law kept, each law broken, by the least margin.

The table says what the first fault is; the reference engine has to find the same one. Times follow from the floor plan
of lpu-v1: mem.w0…3 are at −1, mem.e0…3 at +1, mem.e40…43 at +11, the MXM of planes 2 and 3 at +16; a read is on its
stream one cycle after dispatch.
"""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest

from takt.chips import Chip, load_chip
from takt.errors import MachineFault
from takt.lpu.isa.asm import parse_program
from takt.lpu.isa.program import Program, queues, sort_instructions
from takt.lpu.machine import Memory, ReferenceEngine, check, prove
from takt.lpu.machine.checker import CheckReport

FEED_F16 = """
    4: mem.e40 read 0 e0
    4: mem.e41 read 0 e1
    10: mxm.2.a abc e0 f16
"""
CONFIGS = "\n".join(f"{t}: vxm.0 config 1" for t in range(130))

FAULTS = {
    "a result meets a value from upstream": (
        "0: mem.w4 read 0 e3\n1: mem.w0 read 1 e3",
        ("stream collision", 2, "mem.w0"),
    ),
    "two results meet in one register": (
        "0: mem.w1 read 0 e3\n0: mem.w0 read 1 e3",
        ("stream collision", 1, "mem.w0"),
    ),
    "a result meets a value that is taken in that register": (
        "0: mem.w4 read 0 e3\n1: mem.w0 read 1 e3\n2: mem.w1 write 9 e3",
        ("stream collision", 2, "mem.w0"),
    ),
    "a tapped value is met further on": (
        "0: mem.w4 read 0 e3\n2: mem.w1 write 9 e3+\n3: mem.e0 read 1 e3",
        ("stream collision", 4, "mem.e0"),
    ),
    "nothing was ever driven": ("3: mem.e0 write 9 e3", ("empty stream", 3, "mem.e0")),
    "the value passed a cycle ago": (
        "0: mem.w0 read 0 e3\n4: mem.e0 write 9 e3",
        ("empty stream", 4, "mem.e0"),
    ),
    "the value was taken before": (
        "0: mem.w0 read 0 e3\n3: mem.e1 write 9 e3\n4: mem.e4 write 9 e3",
        ("empty stream", 4, "mem.e4"),
    ),
    "one of two at a register takes": (
        "0: mem.w0 read 0 e3\n3: mem.e1 write 9 e3\n3: mem.e0 write 9 e3+\n4: mem.e4 write 9 e3",
        ("empty stream", 4, "mem.e4"),
    ),
    "one stream of a group is missing": (
        "0: mem.w0 read 0 e0\n0: mem.w1 read 0 e1\n0: mem.w2 read 0 e2\n2: vxm.4 abs e0.f32 -",
        ("empty stream", 2, "vxm.4"),
    ),
    "the value flows the other way": (
        "0: mem.e0 read 0 e3\n2: vxm.0 mov e3.i8 -.i32",
        ("empty stream", 2, "vxm.0"),
    ),
    "the third issue of a repeat": (
        "0: mem.w0 read 0 e3 x2 @2\n3: mem.e0 write 9 e3 x3 @2 +1",
        ("empty stream", 7, "mem.e0"),
    ),
    "a read and a write in one bank": (
        "0: mem.w1 read 0 e1\n1: mem.w0 readwrite 1 e0 2 e1",
        ("bank conflict", 1, "mem.w0"),
    ),
    "text is fetched from a slice that reads": (
        "0: vxm.0 ifetch mem.w0 4\n1: mem.w0 read 0 e0",
        ("bank conflict", 1, "mem.w0"),
    ),
    "text is fetched from the bank that is written": (
        "0: mem.w1 read 0 w1\n0: mem.w5 ifetch mem.w0 4\n1: mem.w0 write 6 w1",
        ("bank conflict", 1, "mem.w0"),
    ),
    "two fetches from one slice": (
        "0: vxm.0 ifetch mem.w0 4\n1: mem.w9 ifetch mem.w0 40",
        ("bank conflict", 1, "mem.w9"),
    ),
    "a constant is written": (
        ".constant 44 8 10\n0: mem.w0 read 0 e3 x2\n3: mem.e0 write 7 e3 x2 @1 +1",
        ("constant write", 4, "mem.e0"),
    ),
    "the ALU dispatched a cycle later": (
        "0: vxm.1 mov #1.0 -\n4: vxm.0 mov a1 -",
        ("alu empty", 4, "vxm.0"),
    ),
    "another ALU dispatched": ("0: vxm.1 mov #1.0 -\n3: vxm.0 mov a2 -", ("alu empty", 3, "vxm.0")),
    "an activation on the other plane of the tandem": (
        FEED_F16 + "5: mem.e42 read 0 e2\n11: mxm.3.a abc e2 i8",
        ("mxm busy", 11, "mxm.3.a"),
    ),
    "both planes of the tandem in one cycle": (
        FEED_F16 + "4: mem.e42 read 0 e2\n10: mxm.3.a abc e2 i8",
        ("mxm busy", 10, "mxm.2.a"),
    ),
    "an f16 activation every cycle": (
        "4: mem.e40 read 0 e0 x2\n4: mem.e41 read 0 e1 x2\n10: mxm.2.a abc e0 f16 x2",
        ("mxm busy", 11, "mxm.2.a"),
    ),
    "a result taken too late": (
        FEED_F16 + "35: mxm.2.c acc r0 e0 keep f32",
        ("mxm result missing", 35, "mxm.2.c"),
    ),
    "a result of the tandem on its other plane": (
        FEED_F16 + "34: mxm.3.c acc r0 e0 keep f32",
        ("mxm result missing", 34, "mxm.3.c"),
    ),
    "a result of the other type": (
        FEED_F16 + "34: mxm.2.c acc r0 e0 keep i32",
        ("mxm type", 34, "mxm.2.c"),
    ),
    "a queue that nobody releases": ("4: vxm.0 sync\n3: vxm.1 notify", ("queue order", 4, "vxm.0")),
    "a queue that goes on before its release": (
        "4: vxm.0 sync\n9: vxm.1 notify\n43: vxm.0 config 1",
        ("queue order", 43, "vxm.0"),
    ),
    "a link that goes on before its epoch": (
        "4: sxm.c2c.e0 deskew\n255: sxm.c2c.e0 config 1",
        ("queue order", 255, "sxm.c2c.e0"),
    ),
    "an instruction between the issues of another": (
        "0: mem.w0 read 0 e0 x3 @4\n6: mem.w0 read 0 e1",
        ("queue order", 6, "mem.w0"),
    ),
    "a queue longer than its buffer": (CONFIGS, ("instruction supply", 128, "vxm.0")),
    "an address that runs out of its slice": (
        "0: mem.w0 read 60 e0 x10 @1 +1",
        ("address range", 4, "mem.w0"),
    ),
    "an operand that makes no sense": (
        "0: mem.w0 read 0 e1\n7: vxm.0 abs e1.f16 -",
        ("bad operand", 7, "vxm.0"),
    ),
    "a fault before an operand that makes no sense": (
        "3: mem.e0 write 9 e3\n7: vxm.0 abs e1.f16 -",
        ("empty stream", 3, "mem.e0"),
    ),
    "the lower queue of one cycle": (
        "3: mem.e1 write 9 e3\n3: mem.e0 write 9 e3",
        ("empty stream", 3, "mem.e0"),
    ),
}

SOUND = {
    "nothing": "",
    "a slot is free behind the unit that takes": (
        "0: mem.w4 read 0 e3\n2: mem.w1 write 9 e3\n3: mem.e0 read 1 e3\n5: mem.e4 write 9 e3"
    ),
    "a value is sampled where and when it arrives": "0: mem.w0 read 0 e3\n1: mem.w1 write 9 e3",
    "several units sample one register": (
        "0: mem.w0 read 0 e3\n3: mem.e1 write 9 e3\n3: mem.e0 write 9 e3+\n3: mem.e2 write 9 e3"
    ),
    "taps along the way": "0: mem.w0 read 0 e3\n3: mem.e1 write 9 e3+\n4: mem.e4 write 9 e3+",
    "values follow each other in every cycle": "0: mem.w0 read 0 e3 x20 @1 +1\n3: mem.e0 write 0 e3 x20 @1 +1",
    "a read and a write in two banks": "0: mem.w1 read 0 e1\n1: mem.w0 readwrite 1 e0 40 e1",
    "text is fetched while the other bank is written": (
        "0: mem.w1 read 0 w1\n0: mem.w5 ifetch mem.w0 4\n1: mem.w0 write 40 w1"
    ),
    "a write beside constants": ".constant 44 8 10\n0: mem.w0 read 0 e3\n3: mem.e0 write 10 e3",
    "a chain of ALUs": "0: vxm.1 mov #1.0 -\n3: vxm.0 mov a1 -\n3: vxm.2 neg a1 -\n6: vxm.1 add a0 a2 -",
    "f16 every second cycle": (
        "4: mem.e40 read 0 e0 x2 @2\n4: mem.e41 read 0 e1 x2 @2\n10: mxm.2.a abc e0 f16 x2 @2\n"
        "34: mxm.2.c acc r0 e4 add|keep|emit f32 x2 @2"
    ),
    "a barrier": "4: vxm.0 sync\n9: vxm.1 notify\n44: vxm.0 config 1",
    "release and parking in one cycle": "4: vxm.0 sync\n4: vxm.1 notify\n39: vxm.0 config 1",
    "an epoch": "4: sxm.c2c.e0 deskew\n256: sxm.c2c.e0 config 1",
}


@pytest.fixture(scope="module")
def chip() -> Chip:
    """lpu-v1 with 64 words a slice."""
    full = load_chip("lpu-v1")
    return replace(full, mem=replace(full.mem, words_per_slice=64))


def program_of(chip: Chip, text: str) -> Program:
    return parse_program(f".chip {chip.id}\n{dedent(text)}", chip)


def first_of(report: CheckReport, chip: Chip) -> tuple[str, int, str] | None:
    if not report.issues:
        return None
    first = report.issues[0]
    return first.kind, first.cycle, queues(chip)[first.queue].name


@pytest.mark.parametrize("what", FAULTS)
def test_the_first_fault_is_named_with_cycle_and_queue(chip: Chip, what: str) -> None:
    text, expected = FAULTS[what]
    program = program_of(chip, text)
    assert first_of(check(program, chip), chip) == expected
    for judge in (
        lambda: prove(program, chip),
        lambda: ReferenceEngine(chip, Memory(chip)).run(program),
    ):
        with pytest.raises(MachineFault) as caught:
            judge()
        fault = caught.value
        assert (fault.message.split(":")[0], fault.cycle, fault.queue) == expected


@pytest.mark.parametrize("what", SOUND)
def test_a_program_within_the_laws_has_the_cycles_and_activity_of_a_run(
    chip: Chip, what: str
) -> None:
    program = program_of(chip, SOUND[what])
    report = prove(program, chip)
    result = ReferenceEngine(chip, Memory(chip)).run(program)
    assert (report.issues, report.cycles, report.activity) == ((), result.cycles, result.activity)


def test_violations_come_by_cycle_and_queue_with_the_row_of_the_instruction(chip: Chip) -> None:
    program = program_of(chip, "9: mem.w0 write 0 e0\n3: mem.e1 write 9 e3\n3: mem.e0 write 9 e3")
    issues = check(program, chip).issues
    assert [(v.cycle, queues(chip)[v.queue].name) for v in issues] == [
        (3, "mem.e0"),
        (3, "mem.e1"),
        (9, "mem.w0"),
    ]
    for violation in issues:
        row = program.instructions[violation.index]
        assert (int(row["time"]), int(row["queue"])) == (violation.cycle, violation.queue)


def test_a_report_keeps_the_earliest_violations_of_each_kind(chip: Chip) -> None:
    program = program_of(chip, "5: mem.e0 write 0 e3 x50 @1\n2: vxm.0 mov a1 -")
    issues = check(program, chip, limit=3).issues
    assert [(v.kind, v.cycle) for v in issues] == [
        ("alu empty", 2),
        ("empty stream", 5),
        ("empty stream", 6),
        ("empty stream", 7),
    ]


def test_the_fault_shows_the_instruction_and_its_neighbours(chip: Chip) -> None:
    program = program_of(chip, "0: mem.w0 read 0 e3\n4: mem.e0 write 9 e3\n6: vxm.0 config 1")
    with pytest.raises(MachineFault) as caught:
        prove(program, chip)
    assert caught.value.instruction == "write 9 e3"
    assert len(caught.value.neighbourhood) == 3
    assert "mem.e0 write 9 e3" in caught.value.neighbourhood[1]


def test_the_program_is_left_as_it_was(chip: Chip) -> None:
    program = program_of(chip, FAULTS["an operand that makes no sense"][0])
    before = program.instructions.copy()
    check(program, chip)
    assert np.array_equal(program.instructions, before)


def test_repeats_give_what_their_issues_give(chip: Chip) -> None:
    folded = program_of(chip, SOUND["values follow each other in every cycle"])
    lines = [f"{t}: mem.w0 read {t} e3\n{t + 3}: mem.e0 write {t} e3" for t in range(20)]
    written_out = check(program_of(chip, "\n".join(lines)), chip)
    assert check(folded, chip) == written_out
    assert written_out.activity.stream_byte_hops == 20 * 2 * chip.lanes


@pytest.mark.slow
def test_a_long_program_is_judged_whole(chip: Chip) -> None:
    """320,000 instructions, 1,280,000 issues, on 4 pairs of slices; then one write is a cycle late."""
    pattern = program_of(chip, "0: mem.w0 read 0 e0 x4 @1 +1\n3: mem.e0 write 8 e0 x4 @1 +1")
    n_pairs, n_times = 4, 40_000
    rows = np.tile(pattern.instructions, n_pairs * n_times)
    pair = np.repeat(np.arange(n_pairs), 2 * n_times)
    rows["queue"] += pair.astype(np.uint16)
    rows["b"] += pair.astype(np.uint16)
    rows["time"] += np.tile(np.repeat(8 * np.arange(n_times), 2), n_pairs).astype(np.int32)
    rows = sort_instructions(rows)
    roomy = replace(chip, icu=replace(chip.icu, queue_depth_instructions=1 << 20))
    report = check(Program(chip_id=chip.id, instructions=rows), roomy)
    assert report.issues == ()
    assert report.activity.instructions == 4 * len(rows)
    rows["time"][-1] += 1
    late = check(Program(chip_id=chip.id, instructions=rows), roomy).issues
    assert {(v.kind, v.index) for v in late} == {("empty stream", len(rows) - 1)}
