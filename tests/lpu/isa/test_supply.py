"""Instruction supply: the rule against a word-by-word model, and plans that keep it."""

from collections import deque
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.chips import load_chip
from takt.errors import CapacityError, CompileError
from takt.lpu.isa.asm import parse_program
from takt.lpu.isa.encode import encode_queue, last_issue
from takt.lpu.isa.program import INSTRUCTION, Program, sort_instructions
from takt.lpu.isa.supply import check_supply, plan_supply, remaining_text, text_image
from takt.lpu.isa.table import BY_NAME
from takt.lpu.isa.verify import verify

CHIP = load_chip("lpu-v1")
DEPTH, FETCH = CHIP.icu.queue_depth_instructions, CHIP.icu.fetch_bytes // 16
LATENCY = CHIP.icu.fetch_latency_cycles
TEXT = [(38, 100, 4000), (39, 0, 8192), (85, 0, 8192)]
IFETCH = BY_NAME["ifetch"].op


def _step_by_step(rows: np.ndarray) -> tuple[str, int] | None:
    """First fault of one queue, found by moving words in and out of a buffer, one cycle at a time."""
    words: list[
        tuple[int, int]
    ] = []  # (cycle in which the word leaves, 1 if it is a fetch's own word)
    free = 0
    for row in rows:
        first, count, gap = int(row["time"]), int(row["count"]), int(row["gap"])
        words += [(first, 0)] * -(-(first - free) // CHIP.icu.nop_max_cycles)
        words.append((first, 0))
        last = first + (count - 1) * gap
        if count > 1:
            words.append((last, 0))
        free = last + 1
    text, buffer, coming = deque(words), deque(), deque()
    while text and len(buffer) < DEPTH:
        buffer.append(text.popleft())
    fetched = {int(r["time"]) for r in rows if r["op"] == IFETCH}
    due = deque(words)
    for cycle in range(free + LATENCY):
        while coming and coming[0] == cycle:
            coming.popleft()
            for _ in range(min(FETCH, len(text))):
                buffer.append(text.popleft())
            if len(buffer) > DEPTH:
                return "queue overflow", cycle
        while due and due[0][0] == cycle:
            due.popleft()
            if not buffer:
                return "instruction supply", cycle
            buffer.popleft()
        if cycle in fetched:
            coming.append(cycle + LATENCY)
    return None


@st.composite
def queues_of_reads(draw: st.DrawFn, fetches: bool = True, n: int = 260) -> np.ndarray:
    """One queue of reads and fetches, with few or many idle cycles."""
    random = Random(draw(st.integers(0, 2**32)))
    often = random.choice((0.03, 0.2, 0.6))
    rows = np.zeros(random.randrange(1, n), INSTRUCTION)
    rows["count"] = rows["gap"] = 1
    free, fetch_every = 0, random.choice((30, 38, 45, 60))
    for i, row in enumerate(rows):
        idle = random.randrange(1, 60) if random.random() < often else 0
        row["time"], row["op"] = free + idle, BY_NAME["read"].op
        if fetches and i % fetch_every == fetch_every - 1:
            row["op"], row["a"] = IFETCH, 39
        elif random.random() < 0.2:
            row["count"], row["gap"] = random.randrange(2, 30), random.randrange(1, 4)
        free = int(row["time"]) + (int(row["count"]) - 1) * int(row["gap"]) + 1
    return rows


@settings(max_examples=100)
@given(queues_of_reads())
def test_the_rule_agrees_with_a_buffer_stepped_word_by_word(rows: np.ndarray) -> None:
    found = check_supply(Program(chip_id=CHIP.id, instructions=rows), CHIP)
    first = (found[0].kind, found[0].cycle) if found else None
    assert first == _step_by_step(rows)


def test_both_verdicts_of_the_rule_occur() -> None:
    """150 reads need one fetch of 40; too late it starves the queue, too early it floods it."""

    def verdict(at: int | None) -> list[tuple[str, int]]:
        rows = np.zeros(150, INSTRUCTION)
        rows["op"], rows["count"], rows["gap"] = BY_NAME["read"].op, 1, 1
        rows["time"] = np.arange(150) + (np.arange(150) > 100)
        rows["time"][1:] += 1
        rows["time"][120:] += 50
        if at is not None:
            fetch = np.zeros(1, INSTRUCTION)
            fetch["op"], fetch["count"], fetch["gap"], fetch["time"] = IFETCH, 1, 1, at
            rows = sort_instructions(np.concatenate((rows, fetch)))
        return [
            (v.kind, v.cycle) for v in check_supply(Program(chip_id="", instructions=rows), CHIP)
        ]

    assert verdict(102) == []
    assert verdict(None) == [("instruction supply", 177)]
    assert verdict(150) == [("instruction supply", 175)]
    early = np.zeros(150, INSTRUCTION)
    early["op"], early["count"], early["gap"] = BY_NAME["read"].op, 1, 1
    early["time"] = np.arange(150)
    early["time"][1:] += 100
    early["op"][0] = IFETCH
    found = check_supply(Program(chip_id="", instructions=early), CHIP)
    assert (found[0].kind, found[0].cycle) == ("queue overflow", LATENCY)


def _program(parts: list[np.ndarray]) -> Program:
    for number, rows in enumerate(parts):
        rows["queue"] = number
    return Program(chip_id=CHIP.id, instructions=np.concatenate(parts))


@settings(max_examples=25)
@given(st.lists(queues_of_reads(fetches=False, n=900), min_size=1, max_size=4))
def test_a_plan_keeps_the_rule_or_says_which_queue_is_too_dense(parts: list[np.ndarray]) -> None:
    program = _program(parts)
    try:
        planned = plan_supply(program, CHIP, TEXT)
    except CompileError as error:
        assert "queue mem.w" in error.message
        return
    assert check_supply(planned, CHIP) == []
    assert verify(planned, CHIP) == []
    fetch = planned.instructions["op"] == IFETCH
    assert np.array_equal(planned.instructions[~fetch], program.instructions)
    _judge_places(planned.instructions[fetch], planned)


def _judge_places(fetches: np.ndarray, planned: Program) -> None:
    """No two fetches read one slice at once or one place twice; all text is declared constant."""
    ports = [(f["a"], f["time"] + i) for f in fetches for i in (0, 1)]
    places = [(f["a"], f["b"] + i) for f in fetches for i in (0, 1)]
    assert len(set(ports)) == len(ports)
    assert len(set(places)) == len(places)
    for slice_, address in places:
        assert any(s == slice_ and a <= address < e for s, a, e in TEXT)
        assert any(s == slice_ and a <= address < e for s, a, e in planned.constant.tolist())


def _busy_program(n: int, every: int = 30, queue: str = "mem.w0") -> Program:
    """n reads with two idle cycles after each `every`."""
    lines = [f"{i + 2 * (i // every)}: {queue} read {i % 4000} e{i % 32}" for i in range(n)]
    return parse_program("\n".join(lines), CHIP)


def test_a_program_that_fits_its_buffers_needs_no_fetch() -> None:
    program = _busy_program(DEPTH - 4)
    assert plan_supply(program, CHIP, []) is program
    assert check_supply(program, CHIP) == []


def test_a_program_is_planned_once() -> None:
    planned = plan_supply(_busy_program(400), CHIP, TEXT)
    with pytest.raises(CompileError, match="already"):
        plan_supply(planned, CHIP, TEXT)


def test_a_queue_without_idle_cycles_is_named() -> None:
    with pytest.raises(CompileError, match=r"queue mem\.w7 is too dense") as caught:
        plan_supply(_busy_program(400, every=1000, queue="mem.w7"), CHIP, TEXT)
    assert caught.value.stage == "supply"


def test_text_that_does_not_fit_is_a_capacity_error() -> None:
    with pytest.raises(CapacityError):
        plan_supply(_busy_program(400), CHIP, [(38, 0, 4)])


def test_fetches_keep_clear_of_the_text_slice_s_own_instructions() -> None:
    reads = "\n".join(f"{t}: mem.w38 read 5000 e1" for t in range(0, 450, 32))
    own = parse_program(reads, CHIP).instructions
    program = _busy_program(400)
    both = replace(
        program, instructions=sort_instructions(np.concatenate((program.instructions, own)))
    )
    planned = plan_supply(both, CHIP, [(38, 0, 100)])
    fetches = planned.instructions[planned.instructions["op"] == IFETCH]
    assert len(fetches) > 3
    taken = set(fetches["time"].tolist()) | set((fetches["time"] + 1).tolist())
    assert not taken & set(own["time"].tolist())


def test_programs_share_the_text_slices_one_after_the_other() -> None:
    first = plan_supply(_busy_program(400), CHIP, TEXT)
    left = remaining_text(first, TEXT)
    second = plan_supply(_busy_program(600), CHIP, left)
    places = [
        (int(row["a"]), int(row["b"]))
        for program in (first, second)
        for row in program.instructions
        if row["op"] == IFETCH
    ]
    assert len(places) == len(set(places)) > 10


def test_the_text_in_memory_is_what_the_queue_holds_after_its_buffer() -> None:
    planned = plan_supply(_busy_program(400), CHIP, TEXT)
    words = encode_queue(planned, 0, CHIP.icu.nop_max_cycles)
    image = text_image(planned, CHIP)
    fetched = b"".join(content for _, _, content in image)
    tail = words[DEPTH * 16 :]
    assert fetched[: len(tail)] == tail
    assert not any(fetched[len(tail) :])
    fetches = planned.instructions[planned.instructions["op"] == IFETCH]
    assert [(s, a) for s, a, _ in image] == list(zip(fetches["a"], fetches["b"], strict=True))


def test_a_hundred_and_fifty_thousand_instructions_are_planned_and_kept() -> None:
    rng = np.random.default_rng(3)
    rows = np.zeros(150_000, INSTRUCTION)
    rows["op"], rows["gap"] = BY_NAME["read"].op, 1
    rows["count"] = np.where(rng.random(len(rows)) < 0.3, rng.integers(2, 30, len(rows)), 1)
    rows["queue"] = np.arange(len(rows)) // 2_000
    idle = np.where(rng.random(len(rows)) < 0.4, rng.integers(1, 200, len(rows)), 0)
    end = np.cumsum(idle + rows["count"])
    start_of_queue = np.concatenate(([0], end))[rows["queue"].astype(int) * 2_000]
    rows["time"] = end - rows["count"] - start_of_queue
    planned = plan_supply(Program(chip_id=CHIP.id, instructions=rows), CHIP, TEXT)
    assert len(planned.instructions) > len(rows) + 5_000
    assert check_supply(planned, CHIP) == []
    assert last_issue(planned.instructions).max() == last_issue(rows).max()
