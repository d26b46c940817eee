"""Checker and reference engine on random programs: the same first fault, or the same cycles and activity.

The two were written apart: one sorts the program's uses of everything, the other steps it cycle by cycle.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from takt.chips import Chip
from takt.errors import MachineFault
from takt.lpu.isa.asm import print_program
from takt.lpu.isa.program import Program, queues
from takt.lpu.machine import Activity, ReferenceEngine, check
from tests.lpu.strategies import (
    SEEDS,
    flow_program,
    flow_programs,
    malformed,
    perturbed,
    random_memory,
    raw_program,
    raw_programs,
    shrunk,
    small_chip,
)

CHIP = small_chip()
TIGHT = replace(CHIP, icu=replace(CHIP.icu, queue_depth_instructions=4, fetch_bytes=32, fetch_latency_cycles=5))
"""Buffers so small that supply fails often."""

DATA_KINDS = {"address range", "bad permute", "link empty"}
"""Faults that the checker cannot see when they come from data."""

Verdict = tuple[int | None, str | None, str] | tuple[int, Activity]
_FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
_MANY = settings(max_examples=800, suppress_health_check=[HealthCheck.too_slow])


def checked(program: Program, chip: Chip) -> Verdict:
    report = check(program, chip, limit=1)
    if not report.issues:
        return report.cycles, report.activity
    first = report.issues[0]
    names = queues(chip)
    name = names[first.queue].name if first.queue < len(names) else str(first.queue)
    return first.cycle, name, first.kind


def stepped(program: Program, chip: Chip, seed: int) -> Verdict:
    links = {link: [bytes([link]) * chip.lanes] * 64 for link in range(chip.c2c.links)}
    try:
        result = ReferenceEngine(chip, random_memory(chip, seed)).run(program, links=links)
    except MachineFault as fault:
        return fault.cycle, fault.queue, fault.message.split(":")[0]
    return result.cycles, result.activity


def differ(program: Program, chip: Chip, seed: int) -> bool:
    """Whether the verdicts differ by more than a fault of data that comes before what the checker found."""
    proof, run = checked(program, chip), stepped(program, chip, seed)
    if proof == run:
        return False
    from_data = len(run) == 3 and run[2] in DATA_KINDS
    return not from_data or (len(proof) == 3 and proof[0] < run[0])  # type: ignore[operator]


def assert_agree(program: Program, chip: Chip = CHIP, seed: int = 0) -> None:
    if differ(program, chip, seed):
        small = shrunk(program, lambda p: differ(p, chip, seed))
        verdicts = checked(small, chip), stepped(small, chip, seed)
        pytest.fail(f"checker and engine differ: {verdicts}\n{print_program(small, chip)}")


@_FEW
@given(raw_programs(CHIP))
def test_random_instructions_have_the_same_first_fault(program: Program) -> None:
    assert_agree(program)


@_FEW
@given(flow_programs(CHIP), SEEDS)
def test_data_flows_take_the_same_cycles_and_do_the_same(program: Program, seed: int) -> None:
    assert_agree(program, seed=seed)


@_FEW
@given(flow_programs(CHIP, max_changes=3))
def test_data_flows_with_a_mistake_have_the_same_first_fault(program: Program) -> None:
    assert_agree(program)


@_FEW
@given(flow_programs(CHIP, max_flows=2, max_changes=2), SEEDS)
def test_nonsense_in_the_columns_has_the_same_first_fault(program: Program, seed: int) -> None:
    assert_agree(malformed(program, seed, 2))


@_FEW
@given(raw_programs(TIGHT, max_instructions=6), flow_programs(TIGHT, max_flows=5, max_changes=4))
def test_short_buffers_have_the_same_first_fault(raw: Program, flow: Program) -> None:
    assert_agree(raw, TIGHT)
    assert_agree(flow, TIGHT)


@pytest.mark.slow
@_MANY
@given(SEEDS, st.integers(0, 4), st.booleans())
def test_thousands_of_programs_agree(seed: int, n_changes: int, tight: bool) -> None:
    chip = TIGHT if tight else CHIP
    program = flow_program(chip, seed, 1 + seed % 8, depth=1 + seed % 3)
    assert_agree(perturbed(program, chip, seed, n_changes), chip, seed)
    assert_agree(raw_program(chip, seed, 1 + seed % 40), chip)
    assert_agree(malformed(program, seed, 1 + seed % 3), chip, seed)


def test_a_good_share_of_the_data_flows_runs() -> None:
    """Otherwise the tests above would compare little more than first instructions."""
    verdicts = [checked(flow_program(CHIP, seed, 5), CHIP) for seed in range(40)]
    assert sum(len(verdict) == 2 for verdict in verdicts) >= 30
    broken = [checked(perturbed(flow_program(CHIP, seed, 5), CHIP, seed, 2), CHIP) for seed in range(80)]
    assert len({verdict[2] for verdict in broken if len(verdict) == 3}) >= 4
