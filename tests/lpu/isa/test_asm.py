"""Assembly: how instructions read, and what is said about text that is none."""

import numpy as np
import pytest

from takt.chips import load_chip
from takt.errors import ProgramError
from takt.lpu.isa.asm import instruction_text, parse_program, print_program
from takt.lpu.isa.program import make_program, queues
from takt.lpu.isa.table import ALU, IMM, NONE, STREAM, Type, stream_ref, vxm_operand

CHIP = load_chip("lpu-v1")

LINES = (
    "0: mem.w0 read 17 e12",
    "0: mem.e43 write 8191 w3+",
    "1: mem.e1 readwrite 1 e0 4096 w31 x8 @2 +1",
    "2: mem.e2 gather e2+ w5 100",
    "3: mem.w3 ifetch mem.e40 12",
    "4: vxm.0 add e4.f16 a7 w8.f32",
    "5: vxm.1 addi w3.i8 #i-5 -.i32",
    "6: vxm.2 mul #1.5 a0 e0.f32",
    "7: vxm.3 max #-inf a0 -",
    "8: vxm.4 mov #x7fc00001 e4.f32",
    "9: vxm.5 add #1e-45 #1e-45 -",
    "10: mxm.0.w lw e16 g3 x16 +1",
    "11: mxm.1.w iw",
    "12: mxm.2.a abc e6 f16",
    "13: mxm.3.c acc r12 e4 add|emit i32",
    "14: mxm.3.c acc r12 - add|keep f32",
    "15: sxm.shift.w0 shift e0 w4 -3 4|wrap",
    "16: sxm.select.e1 select e0 e4 w1 e8 2",
    "17: sxm.permute.e0 permute e0 e2 w2 2",
    "18: sxm.distribute.w3 distribute e0 w0 0x00ff m0123456789abcdef",
    "19: sxm.transpose.w1 transpose e0 w16",
    "20: sxm.rotate.e0 rotate e0 e4 3",
    "21: sxm.c2c.e1 send e1 link3",
    "22: sxm.c2c.e1 deskew",
    "23: vxm.6 config 0xfffff",
    "24: vxm.6 sync",
    "25: vxm.7 notify",
)


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_written_as_it_was_read(line: str) -> None:
    assert print_program(parse_program(line, CHIP), CHIP).splitlines()[1:] == [line]


def test_a_program_made_from_columns_reads_as_one_would_write_it() -> None:
    number = {queue.name: queue.number for queue in queues(CHIP)}
    program = make_program(
        CHIP,
        [
            (
                number["mem.e3"],
                "read",
                12,
                {"a": 17, "b": stream_ref(4, 1), "count": 20, "step": 1},
            ),
            (
                number["vxm.0"],
                "sub",
                7,
                {
                    "a": vxm_operand(STREAM, Type.F16, stream_ref(6, 0, tap=True)),
                    "b": vxm_operand(IMM, Type.F32),
                    "c": vxm_operand(NONE, Type.F32),
                    "imm": int(np.float32(0.1).view(np.uint32)),
                },
            ),
            (
                number["vxm.1"],
                "mov",
                10,
                {"a": vxm_operand(ALU, Type.F32, 0), "c": vxm_operand(STREAM, Type.F32, 36)},
            ),
        ],
        name="two words",
        cycles=40,
    )
    assert print_program(program, CHIP) == (
        '.chip lpu-v1\n.name "two words"\n.cycles 40\n'
        "7: vxm.0 sub e6+.f16 #0.1 -\n"
        "10: vxm.1 mov a0 w4.f32\n"
        "12: mem.e3 read 17 w4 x20 +1\n"
    )


def test_comments_commas_and_blank_lines_are_no_matter() -> None:
    text = '\n// first\n .name "a // b" // c\n 5 : mem.w0  read 1,e2 // d\n\r\n'
    program = parse_program(text, CHIP)
    assert program.name == "a // b"
    assert [instruction_text(row) for row in program.instructions] == ["read 1 e2"]


def test_an_accumulation_that_goes_nowhere_may_leave_out_its_stream() -> None:
    one, other = parse_program(
        "1: mxm.0.c acc r3 keep f32\n2: mxm.0.c acc r3 - keep f32", CHIP
    ).instructions
    assert instruction_text(one) == instruction_text(other) == "acc r3 - keep f32"


def test_instructions_may_come_in_any_order() -> None:
    one = parse_program("9: mem.w1 read 1 e1\n5: mem.w1 read 2 e1\n7: mem.w0 read 3 e1", CHIP)
    assert one.instructions["a"].tolist() == [3, 2, 1]


def test_a_slice_has_its_name_only_where_the_queues_are_known() -> None:
    row = parse_program("0: vxm.0 ifetch mem.e1 4", CHIP).instructions[0]
    assert instruction_text(row) == "ifetch 45 4"
    assert instruction_text(row, queues(CHIP)) == "ifetch mem.e1 4"


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("5: mem.w0 raed 1 e2", "line 3: expected a mnemonic, found 'raed'", "'read'"),
        ("5: mem.w77 read 1 e2", "expected a queue such as mem.e3, found 'mem.w77'", "'mem.w7'"),
        ("5: mem.w0 read 1 e32", "operand s, a stream such as e12", None),
        ("5: mem.w0 read 1", "found 'the end of the line'", None),
        ("5: mem.w0 read 70000 e1", "operand address", None),
        ("5: mem.w0 read 1 e1 e2", "xN (count)", None),
        ("5: mem.w0 read 1 e1 x2 x3", "each once", None),
        ("5: mem.w0 read 1 e1 x99999999999", "count: from 0 to 4294967295", None),
        ("5: mem.w0 read 1 e1 a=5", "each once", None),
        ("five: mem.w0 read 1 e1", "expected a cycle from", None),
        ("mem.w0 read 1 e1", "`<cycle>: <queue> <mnemonic> …`", None),
        ("5: vxm.0 add #1 #2 -", "an instruction holds one", None),
        ("5: vxm.0 add e1 a2 -", "operand x, e4.f16", None),
        ("5: vxm.0 op10", "expected a mnemonic", None),
        ("5: vxm.0 ifetch mem.e99 0", "a slice such as mem.w3", "'mem.e9'"),
        (".chip lp30", "a program for chip lpu-v1, found 'lp30'", None),
        (".cycle 7", "one of .chip", "'.cycles'"),
        (".cycles many", "a number from 0", None),
        (".constant mem.w0 1", "expected 3 words", None),
        ('.name "open', "a quoted string", None),
        ('.name "a" b', "the end of the line", None),
    ],
)
def test_what_is_wrong_is_said_with_line_and_near_miss(
    line: str, message: str, hint: str | None
) -> None:
    with pytest.raises(ProgramError) as caught:
        parse_program(f"// one\n\n{line}\n", CHIP)
    assert message in caught.value.message
    assert caught.value.message.startswith("line 3: ")
    assert (hint or "") in (caught.value.hint or "")


def test_a_very_long_word_is_shortened_in_the_message() -> None:
    with pytest.raises(ProgramError) as caught:
        parse_program("5: mem.w0 " + "x" * 100_000, CHIP)
    assert len(caught.value.message) < 200
