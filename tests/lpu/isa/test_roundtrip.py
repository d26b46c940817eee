"""Laws of text, words and files: what is written is read back, and nothing else is read."""

import hashlib
import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from takt.chips import load_chip
from takt.errors import DataError, ProgramError, TaktError
from takt.lpu.isa.asm import instruction_text, line_text, parse_program, print_program
from takt.lpu.isa.encode import (
    MAX_ISSUES,
    NOP_MAX_CYCLES,
    decode,
    decode_queue,
    encode,
    encode_queue,
    fields_of,
)
from takt.lpu.isa.file import TaktFile, load, save
from takt.lpu.isa.program import INSTRUCTION, Program, queues, sort_instructions
from takt.lpu.isa.table import BY_NAME, ROWS

CHIP = load_chip("lpu-v1")
QUEUES = queues(CHIP)
IN_PROGRAMS = [row for row in ROWS if row.name not in ("nop", "repeat")]


def _any_of(name: str) -> st.SearchStrategy[int]:
    limits = np.iinfo(INSTRUCTION[name])
    small = st.integers(max(0, int(limits.min)), min(200, int(limits.max)))
    return small | st.integers(int(limits.min), int(limits.max))


@st.composite
def wild_programs(draw: st.DrawFn) -> Program:
    """Programs of any bits whatever, sorted."""
    columns = st.tuples(*(_any_of(name) for name in INSTRUCTION.names))
    array = np.array(draw(st.lists(columns, max_size=12)), INSTRUCTION)
    for record in array:
        if draw(st.booleans()):
            record["op"] = draw(st.sampled_from(ROWS)).op
    ranges = st.tuples(*3 * [st.integers(0, 65535)])
    return Program(
        chip_id=CHIP.id,
        instructions=sort_instructions(array),
        cycles=draw(st.integers(0, 2**31 - 1)),
        name=draw(st.text(max_size=8)),
        constant=np.array(draw(st.lists(ranges, max_size=3)), np.int64).reshape(-1, 3),
    )


@st.composite
def encodable_programs(draw: st.DrawFn) -> Program:
    """Programs whose instructions fit their fields and whose queues are in order."""
    records, free = [], dict.fromkeys(range(3), 0)
    for row in draw(st.lists(st.sampled_from(IN_PROGRAMS), max_size=12)):
        queue = draw(st.sampled_from(sorted(free)))
        record = dict.fromkeys(INSTRUCTION.names, 0) | {"op": row.op, "queue": queue}
        idle = draw(st.sampled_from((0, 0, 1, 5, 65535, 65536, 65537, 200_000)))
        record["time"] = free[queue] + idle
        record["count"] = draw(st.sampled_from((1, 1, 2, 20, 70_000)))
        record["gap"] = 1 if record["count"] == 1 else draw(st.integers(1, 100))
        record["step"] = 0 if record["count"] == 1 else draw(_any_of("step"))
        for spot in fields_of(row):
            bits = min(spot.bits, 8 * INSTRUCTION[spot.column].itemsize)
            record[spot.column] = draw(st.integers(0, (1 << bits) - 1))
        free[queue] = record["time"] + (record["count"] - 1) * record["gap"] + 1
        records.append(tuple(record.values()))
    array = sort_instructions(np.array(records, INSTRUCTION))
    return Program(chip_id=CHIP.id, instructions=array, name="p", cycles=draw(st.integers(0, 99)))


def _same(one: Program, other: Program) -> bool:
    return (
        np.array_equal(one.instructions, other.instructions)
        and np.array_equal(one.constant, other.constant)
        and (one.chip_id, one.cycles, one.name) == (other.chip_id, other.cycles, other.name)
    )


@given(wild_programs())
def test_text_of_any_program_is_read_back_exactly(program: Program) -> None:
    text = print_program(program, CHIP)
    assert _same(parse_program(text, CHIP), program)
    assert print_program(parse_program(text, CHIP), CHIP) == text


@settings(max_examples=30)
@given(wild_programs())
def test_an_instruction_reads_the_same_alone_and_in_its_program(program: Program) -> None:
    lines = print_program(program, CHIP).splitlines()
    for record in program.instructions:
        line = line_text(record, QUEUES)
        assert line in lines
        assert line.endswith(" " + instruction_text(record, QUEUES))


WORDS = """
.chip lpu-v1 .name .cycles .constant // : , $ # + - @ x3 +1 -1 = imm=5 q7 op99 " "a" "\\ é ٣
mem.e3 vxm.0 mxm.0.a read write add abc acc lw shift 12: 0: -5: 99999999999: 0x 0x1g 007 1_0
e4 w31+ e32 e4.f16 a7 a7.i32 #1.5 #i5 #nan #1e99 - f16 add|keep emit 2|wrap g3 r7 mem.w0
0xffffffffffffffff link3 m0123456789abcdef
"""
PIECES = ("\n", "", *WORDS.split())


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join) | st.text())
def test_any_text_is_a_program_or_a_program_error(text: str) -> None:
    try:
        program = parse_program(text, CHIP)
    except ProgramError as error:
        assert error.message.startswith("line ")
    else:
        assert _same(parse_program(print_program(program, CHIP), CHIP), program)


@given(wild_programs(), st.data())
def test_damaged_text_is_a_program_or_a_program_error(
    program: Program, data: st.DataObject
) -> None:
    text = print_program(program, CHIP)
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    try:
        parse_program(damaged, CHIP)
    except ProgramError as error:
        assert error.message.startswith("line ")


@given(encodable_programs())
def test_words_give_back_the_program_queue_by_queue_and_whole(program: Program) -> None:
    words, counts = encode(program.instructions)
    assert np.array_equal(decode(words, counts), program.instructions)
    for queue in np.unique(program.instructions["queue"]).tolist():
        text = encode_queue(program, queue)
        assert len(text) == 16 * counts[queue]
        mine = program.instructions[program.instructions["queue"] == queue]
        assert np.array_equal(decode_queue(text, queue), mine)


@settings(max_examples=40)
@given(encodable_programs(), st.integers(1, 70_000))
def test_shorter_nops_mean_the_same(program: Program, nop_max_cycles: int) -> None:
    program = replace(
        program, instructions=program.instructions[program.instructions["time"] < 10**6]
    )
    nop_max_cycles = max(nop_max_cycles, 1000)
    words, counts = encode(program.instructions, nop_max_cycles)
    assert np.array_equal(decode(words, counts), program.instructions)
    is_nop = words[:, 0] & np.uint64(0xFF) == BY_NAME["nop"].op
    assert np.all(words[is_nop, 0] >> np.uint64(8) <= min(nop_max_cycles, NOP_MAX_CYCLES))


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=6), st.data())
def test_any_words_are_instructions_or_a_program_error(
    parts: list[bytes], data: st.DataObject
) -> None:
    op = st.sampled_from([row.op for row in ROWS])
    zeroed = [bytes([data.draw(op)]) + p[1:5] + bytes(11) if p[0] % 2 else p for p in parts]
    try:
        rows = decode_queue(b"".join(zeroed), 5)
    except ProgramError:
        return
    again = decode_queue(encode_queue(Program(chip_id="", instructions=rows), 5), 5)
    assert np.array_equal(again, rows)


@given(wild_programs())
def test_what_cannot_be_encoded_is_a_program_error(program: Program) -> None:
    try:
        words, counts = encode(program.instructions)
    except ProgramError:
        return
    rows = program.instructions.copy()
    rows["gap"][rows["count"] == 1] = 1
    rows["step"][rows["count"] == 1] = 0
    if rows["count"].sum() < MAX_ISSUES:
        assert np.array_equal(decode(words, counts), rows)


def test_a_word_that_stands_for_too_many_issues_is_refused() -> None:
    rows = np.zeros(1, INSTRUCTION)
    rows["op"], rows["count"], rows["gap"] = BY_NAME["iw"].op, MAX_ISSUES + 1, 1
    with pytest.raises(ProgramError, match="issues"):
        decode(*encode(rows))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_field_overlaps_another_or_crosses_a_half_word(row) -> None:
    used = 0xFF
    for spot in fields_of(row):
        mask = ((1 << spot.bits) - 1) << spot.bit
        assert not used & mask
        assert spot.bit // 64 == (spot.bit + spot.bits - 1) // 64
        assert spot.bit + spot.bits <= 128
        used |= mask


def test_words_are_as_the_manual_says() -> None:
    """One word of each sort, worked out by hand from docs/isa.md."""
    text = "70000: mem.w0 read 17 w4+ x3 @2 -1\n70005: mem.w0 write 513 e31"
    words = encode_queue(parse_program(text, CHIP), 0)
    expected = (
        (0 | 65536 << 8),
        (0 | (70000 - 65536) << 8),
        (10 | 17 << 8 | (4 | 32 | 64) << 24),
        (1 | 2 << 8 | 2 << 64 | (2**32 - 1) << 96),
        (11 | 513 << 8 | 31 << 24),
    )
    assert words == b"".join(word.to_bytes(16, "little") for word in expected)


ARRAYS = st.sampled_from(
    (
        np.zeros(0, np.float32),
        np.arange(12, dtype=">i4").reshape(3, 2, 2),
        np.array(2.5, np.float16),
        np.arange(6, dtype=np.uint64)[::2],
        b"raw \x00 bytes",
    )
)
NAMES = st.text(st.characters(codec="utf-8"), max_size=6)
METADATA = st.dictionaries(
    NAMES,
    NAMES | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
)
REGIONS = st.dictionaries(NAMES, st.lists(st.tuples(*3 * [st.integers(0, 9999)]), max_size=3))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(encodable_programs(), max_size=3),
    METADATA,
    REGIONS,
    st.dictionaries(NAMES, ARRAYS, max_size=3),
)
def test_a_file_gives_back_everything(programs, metadata, regions, sections) -> None:
    named = tuple(replace(program, name=f"p{i}") for i, program in enumerate(programs))
    file = TaktFile(
        chip_id=CHIP.id,
        programs=named,
        metadata=metadata,
        regions=regions,
        sections=sections,
        chip_fingerprint=CHIP.fingerprint,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.takt"
        save(path, file)
        loaded = load(path)
        assert [entry.name for entry in Path(folder).iterdir()] == ["a.takt"]
    loaded.check_chip(CHIP)
    assert len(loaded.programs) == len(named)
    assert all(_same(one, other) for one, other in zip(loaded.programs, named, strict=True))
    assert (dict(loaded.metadata), dict(loaded.regions)) == (metadata, regions)
    assert list(loaded.sections) == list(sections)
    for name, given_array in sections.items():
        array = (
            np.frombuffer(given_array, np.uint8) if isinstance(given_array, bytes) else given_array
        )
        assert np.array_equal(loaded.sections[name], array)
        assert loaded.sections[name].dtype == array.dtype.newbyteorder("<")
        assert not loaded.sections[name].flags.writeable


def _example(tmp_path: Path) -> bytes:
    text = "0: mem.w0 read 1 w4 x20 +1\n30: mem.w0 read 1 w4\n9: vxm.3 add a7 #1.5 e4.f16\n"
    program = replace(parse_program(text, CHIP), name="decode")
    many = np.repeat(program.instructions[:1], 300)
    many["time"] = np.arange(300) * 40
    long = replace(program, instructions=many, name="long")
    file = TaktFile(
        chip_id=CHIP.id,
        programs=(program, long),
        metadata={"model": "m", "layers": 3, "scale": 0.5},
        regions={"kv": [(0, 0, 9)]},
        sections={"image": np.arange(100, dtype=np.float32)},
    )
    save(tmp_path / "example.takt", file)
    return (tmp_path / "example.takt").read_bytes()


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _example(tmp_path_factory.mktemp("takt"))


def _load_bytes(content: bytes) -> TaktFile:
    with tempfile.NamedTemporaryFile(suffix=".takt") as file:
        file.write(content)
        file.flush()
        return load(file.name)


def _resealed(content: bytes) -> bytes:
    """The same bytes with sizes and checksum made right, as an ill-meaning stranger would."""
    content = content[:16] + struct.pack("<Q", len(content)) + content[24:]
    digest = hashlib.sha256(content[:32] + content[64:]).digest()
    return content[:32] + digest + content[64:]


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_a_data_error(example: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(example) - 1))
    flipped = example[at] ^ data.draw(st.integers(1, 255))
    with pytest.raises(DataError):
        _load_bytes(example[:at] + bytes([flipped]) + example[at + 1 :])
    with pytest.raises(DataError):
        _load_bytes(example[:at])
    with pytest.raises(DataError):
        _load_bytes(example + data.draw(st.binary(min_size=1, max_size=70)))


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_forged_file_is_a_file_or_a_takt_error(example: bytes, data: st.DataObject) -> None:
    """The checksum is right, so every later check has to hold by itself."""
    content = bytearray(example)
    header_end = 64 + struct.unpack_from("<I", example, 12)[0]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(64, header_end - 1) | st.integers(64, len(content) - 1))
        digits = st.sampled_from(b'0123456789-.e[]{},"')
        content[at] = data.draw(digits | st.integers(0, 255))
    try:
        loaded = _load_bytes(_resealed(bytes(content)))
    except TaktError:
        return
    assert len(loaded.programs) == 2


@given(st.binary(max_size=300))
def test_any_bytes_are_a_data_error(content: bytes) -> None:
    with pytest.raises(DataError):
        _load_bytes(content)
    with pytest.raises(DataError):
        _load_bytes(_resealed(b"\x89TAKT\r\n\x1a" + content.ljust(60, b"\0")))


def _forged(header: str, blob: bytes = b"") -> bytes:
    text = header.encode()
    prefix = struct.pack("<8sIIQQ", b"\x89TAKT\r\n\x1a", 1, len(text), 0, 0)
    gap = bytes(-len(text) % 64) if '"stored_bytes"' in header else b""
    return _resealed(prefix + bytes(32) + text + gap + blob)


def _header(*, programs: str = "", sections: str = "") -> str:
    start = '{"chip":"c","chip_fingerprint":"","metadata":{},"regions":{}'
    return f'{start},"programs":[{programs}],"sections":[{sections}]}}'


def _section(
    n_bytes: int, shape: str, dtype: str = "<f4", codec: str = "raw", stored: int = 0
) -> str:
    blob = f'{{"stored_bytes":{stored},"n_bytes":{n_bytes},"codec":"{codec}"}}'
    return f'{{"name":"s","dtype":"{dtype}","shape":{shape},"content":{blob}}}'


@pytest.mark.parametrize(
    "header",
    [
        _header(sections=_section(1 << 40, "[1]", codec="zlib")),
        _header(sections=_section(1 << 40, "[1]")),
        _header(sections=_section(0, "[4000000000000000000, 0]")),
        _header(sections=_section(0, "[0, -1]")),
        _header(sections=_section(0, "[0,0,0,0,0,0,0,0,0]")),
        _header(sections=_section(0, "[0]", dtype="|O")),
        _header(sections=_section(-4, "[0]", stored=-4)),
        _header(sections=_section(0, "[0]") + "," + _section(0, "[0]")),
        _header(sections='{"name":"s"}'),
        _header() + "x",
        "[" * 100_000,
        "null",
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(header: str) -> None:
    with pytest.raises(DataError):
        _load_bytes(_forged(header))


def test_the_forger_of_these_tests_can_make_a_sound_file() -> None:
    loaded = _load_bytes(_forged(_header(sections=_section(8, "[2]", stored=8)), bytes(8)))
    assert loaded.sections["s"].tolist() == [0.0, 0.0]


def test_a_file_for_other_facts_is_refused() -> None:
    file = TaktFile(chip_id=CHIP.id, programs=(), chip_fingerprint="0" * 64)
    with pytest.raises(ProgramError, match="other facts"):
        file.check_chip(CHIP)
    with pytest.raises(ProgramError, match="for chip x"):
        replace(file, chip_id="x").check_chip(CHIP)


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"a": float("nan")}},
        {"metadata": {"a": True}},
        {"metadata": {"\ud800": 1}},
        {"sections": {"a": np.array(["text"])}},
        {"sections": {"a": np.zeros(3, np.complex64)}},
    ],
)
def test_what_a_file_cannot_hold_is_not_written(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(DataError):
        save(tmp_path / "a.takt", replace(TaktFile(chip_id="c", programs=()), **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_or_read_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        save(tmp_path / "missing" / "a.takt", TaktFile(chip_id="c", programs=()))
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "a.takt")
    with pytest.raises(DataError):
        load(tmp_path)


def test_two_programs_of_one_name_are_refused(tmp_path: Path) -> None:
    program = Program(chip_id="c", instructions=np.zeros(0, INSTRUCTION), name="same")
    with pytest.raises(DataError, match="unique names"):
        save(tmp_path / "a.takt", TaktFile(chip_id="c", programs=(program, program)))
