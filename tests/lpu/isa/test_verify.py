"""The verifier: each rule is broken once, and sound programs pass."""

import time
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.chips import load_chip
from takt.errors import ProgramError
from takt.lpu.isa.asm import parse_program
from takt.lpu.isa.encode import MAX_ISSUES
from takt.lpu.isa.program import INSTRUCTION, Program, queues, sort_instructions
from takt.lpu.isa.table import BY_NAME, ROWS
from takt.lpu.isa.verify import verify

CHIP = load_chip("lpu-v1")
NUMBER = {queue.name: queue.number for queue in queues(CHIP)}

SOUND = """
0: mem.w0 read 0 e31 x8192 +1
0: mem.w1 read 8191 w0 x8192 @3 -1
0: mem.e0 readwrite 0 e0 4096 w1+ x4096 +1
0: mem.e1 gather e30 w5 8191
0: mem.e2 scatter w0+ e7 0 x2
0: mem.e3 ifetch mem.e43 8190
0: vxm.0 add e30.f16 a15 w28.f32
0: vxm.1 adds e3.u8 w7+.i8 e1.u8
0: vxm.2 itof e4.i32 e2.f16
0: vxm.3 ftoi e4.f32 e2.i8
0: vxm.4 mov e4.i8 w8.i32
0: vxm.5 mask e4.f16 w1.u8 -
0: vxm.6 mulI #i7 a0.i32 -.i32
0: mxm.0.w lw e16 g0 x20 +1
20: mxm.0.w iw
0: mxm.2.a abc e30 f16
0: mxm.3.a abc w31 i8
0: mxm.3.c acc r639 w28 add|keep|emit f32 x640 -1
0: sxm.shift.w0 shift e0 w4 32767 4|wrap x3 @2 -16384
0: sxm.select.e1 select e0 e4 w1 e8 4
0: sxm.permute.e0 permute e1 e2 w2 1
0: sxm.distribute.w3 distribute e0 w0 0xffff mfedcba9876543210
0: sxm.transpose.w1 transpose e0 w16
0: sxm.rotate.e0 rotate e4 w16 4
0: sxm.rotate.w0 rotate e5 w23 3
0: sxm.c2c.e1 send e1 link15
0: sxm.c2c.w1 receive w31 link0
9: sxm.c2c.w1 deskew
3: vxm.15 config 0xfffff
4: vxm.15 sync
5: vxm.15 notify
""".replace("mulI", "muli")


def test_a_program_of_every_instruction_is_sound() -> None:
    program = parse_program(SOUND, CHIP)
    assert verify(program, CHIP) == []
    names = {row.name for row in ROWS if row.op in program.instructions["op"]}
    vxm = {row.name for row in ROWS if row.unit == "vxm"}
    assert names | vxm | {"nop", "repeat", "read", "write"} == {row.name for row in ROWS}


BROKEN = (
    ("5: mem.w0 op99", "bad operand", 5, "no such instruction"),
    ("5: mem.w0 nop 0x4", "bad operand", 5, "no such instruction"),
    ("5: q200 iw", "bad operand", 5, "no such queue"),
    ("5: vxm.0 read 1 e1", "bad operand", 5, "only mem queues"),
    ("-5: mem.w0 read 1 e1", "bad operand", -5, "before cycle 0"),
    ("5: mem.w0 read 1 e1 x3 @2000000000", "bad operand", 5, "issued after"),
    ("5: mem.w0 read 1 e1 x0", "bad operand", 5, "less than once"),
    ("5: mem.w0 read 1 e1 x2 @0", "bad operand", 5, "gap"),
    ("5: mem.w0 read 1 e1 d=1", "bad operand", 5, "column d"),
    ("5: mxm.0.w iw x2 +1", "bad operand", 5, "could step"),
    ("5: mem.w0 read 1 $128", "bad operand", 5, "not a stream"),
    ("5: mem.w0 read 1 e1+", "bad operand", 5, "tap mark"),
    ("5: mem.w0 gather e1 e4 0", "bad operand", 5, "aligned"),
    ("5: mxm.0.w lw e8 g0", "bad operand", 5, "aligned"),
    ("5: mxm.0.c acc r0 e2 emit f32", "bad operand", 5, "aligned"),
    ("5: mxm.0.a abc e1 f16", "bad operand", 5, "aligned"),
    ("5: sxm.shift.e0 shift e2 e4 0 4", "bad operand", 5, "aligned"),
    ("5: sxm.rotate.e0 rotate e0 e24 3", "bad operand", 5, "beyond stream 31"),
    ("5: sxm.rotate.e0 rotate e0 e16 5", "bad operand", 5, "3 or 4"),
    ("5: mxm.1.a abc e0 f16", "bad operand", 5, "odd plane"),
    ("5: mxm.0.a abc e0 u8", "bad operand", 5, "not i8 or f16"),
    ("5: mxm.0.c acc r0 - keep f16", "bad operand", 5, "not i32 or f32"),
    ("5: mxm.0.c acc r0 - $8 f32", "bad operand", 5, "bits beyond"),
    ("5: mxm.0.c acc r638 - keep f32 x4 @7 +1", "bad operand", 19, "entry"),
    ("5: mxm.0.c acc r640 - keep f32", "bad operand", 5, "entry"),
    ("5: mxm.0.w lw e0 g18 x4 @7 +1", "bad operand", 19, "g is not in 0…19"),
    ("5: sxm.shift.e0 shift e0 e4 -32767 1 x4 @7 -1", "bad operand", 19, "n is not in"),
    ("5: sxm.select.e0 select e0 e1 e2 e3 1|wrap", "bad operand", 5, "1, 2 or 4"),
    ("5: sxm.permute.e0 permute e0 e2 e3 $3", "bad operand", 5, "1, 2 or 4"),
    ("5: sxm.c2c.e0 send e0 link16", "bad operand", 5, "link"),
    ("5: vxm.0 config $4294967296", "bad operand", 5, "superlanes"),
    ("5: vxm.0 ifetch 88 0", "bad operand", 5, "slice"),
    ("5: vxm.0 mov - e0.f32", "bad operand", 5, "a stream, an ALU"),
    ("5: vxm.0 mov e0.f32 a1", "bad operand", 5, "a stream or none"),
    ("5: vxm.0 mov a16 -", "bad operand", 5, "does not have"),
    ("5: vxm.0 mov a1.f16 -", "bad operand", 5, "32 bits"),
    ("5: vxm.0 mov $1925 -", "bad operand", 5, "no known type"),
    ("5: vxm.0 mov a1 $1", "bad operand", 5, "mean nothing"),
    ("5: vxm.0 mov e1.f16 -", "bad operand", 5, "aligned"),
    ("5: vxm.0 add e0.f16 w0.i8 -", "bad operand", 5, "y is of the wrong class"),
    ("5: vxm.0 addi e0.f16 w0.i8 -", "bad operand", 5, "x is of the wrong class"),
    ("5: vxm.0 itof e0.f16 e4.f16", "bad operand", 5, "x is of the wrong class"),
    ("5: vxm.0 ftoi e0.f16 e4.f16", "bad operand", 5, "z is of the wrong class"),
    ("5: vxm.0 mask e0.i8 e4.f16 e8.f32", "bad operand", 5, "z is of the wrong class"),
    ("5: vxm.0 mov e0.i8 e4+.i8", "bad operand", 5, "tap mark"),
    ("5: mem.w0 read 8192 e1", "address range", 5, "address is not in 0…8,191"),
    ("5: mem.w0 read 8000 e1 x3 @7 +100", "address range", 19, "address"),
    ("5: mem.w0 write 8 e1 x9 @7 -4", "address range", 26, "address"),
    ("5: mem.w0 readwrite 0 e0 8190 e1 x4 +1", "address range", 7, "waddress"),
    ("5: mem.w0 scatter e0 e4 8192", "address range", 5, "base"),
    ("5: vxm.0 ifetch mem.w0 8191", "address range", 5, "0…8,190"),
    ("0: mem.w0 read 1 e1 x3 @5\n10: mem.w0 read 1 e2", "queue order", 10, "still to be issued"),
)


@pytest.mark.parametrize(("text", "kind", "cycle", "message"), BROKEN)
def test_a_broken_rule_is_found_with_its_kind_and_cycle(
    text: str, kind: str, cycle: int, message: str
) -> None:
    program = parse_program(text, CHIP)
    found = verify(program, CHIP)
    assert [(v.kind, v.cycle, v.index) for v in found] == [
        (kind, cycle, len(program.instructions) - 1)
    ]
    assert found[0].queue == program.instructions["queue"][-1]
    assert message in found[0].message


def test_an_instruction_has_one_violation_of_each_kind_the_earliest() -> None:
    program = parse_program("5: mem.w0 read 8000 e1+ x3 @7 +100\n0: mem.w1 read 9000 $999", CHIP)
    found = [(v.kind, v.cycle, v.queue) for v in verify(program, CHIP)]
    assert found == [
        ("bad operand", 0, 1),
        ("address range", 0, 1),
        ("bad operand", 5, 0),
        ("address range", 19, 0),
    ]


def test_queues_that_are_not_sorted_are_out_of_order() -> None:
    program = parse_program("0: mem.w1 read 1 e1\n3: mem.w0 read 1 e1", CHIP)
    backwards = replace(program, instructions=program.instructions[::-1])
    assert [v.kind for v in verify(backwards, CHIP)] == ["queue order"]


def test_a_program_too_long_to_expand_is_refused() -> None:
    with pytest.raises(ProgramError, match="issues"):
        verify(parse_program(f"0: mem.w0 read 1 e1 x{MAX_ISSUES + 1}", CHIP), CHIP)


@given(
    st.lists(st.tuples(*(st.integers(0, 2**16 - 1) for _ in range(9))), max_size=10),
    st.integers(0, 2**32),
)
def test_any_program_is_judged_at_issues_of_what_it_blames(rows, seed) -> None:
    """Violations lie at issues of the instruction that they blame."""
    random = Random(seed)
    array = np.zeros(len(rows), INSTRUCTION)
    for record, (time_, queue, count, gap, a, b, c, d, imm) in zip(array, rows, strict=True):
        row = random.choice(ROWS)
        record["op"], record["time"], record["queue"] = row.op, time_, queue % 150
        record["count"], record["gap"], record["step"] = count % 7, gap % 3, count % 5 - 2
        for name, value in zip(("a", "b", "c", "d", "imm"), (a, b, c, d, imm), strict=True):
            record[name] = value >> random.randrange(17) if random.random() < 0.7 else 0
    program = Program(chip_id=CHIP.id, instructions=sort_instructions(array))
    for violation in verify(program, CHIP):
        record = program.instructions[violation.index]
        after = violation.cycle - int(record["time"])
        assert violation.queue == record["queue"]
        assert after == 0 or (
            after % record["gap"] == 0 and after // record["gap"] < record["count"]
        )


def test_three_hundred_thousand_instructions_are_verified_in_seconds() -> None:
    rows = np.zeros(300_000, INSTRUCTION)
    rows["op"], rows["count"], rows["gap"] = BY_NAME["read"].op, 1, 1
    rows["queue"] = np.arange(len(rows)) // 5_000
    rows["time"] = np.arange(len(rows)) % 5_000
    started = time.process_time()
    assert verify(Program(chip_id=CHIP.id, instructions=rows), CHIP) == []
    assert time.process_time() - started < 5
