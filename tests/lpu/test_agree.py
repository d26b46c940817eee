"""Checker and reference engine on random programs: the same first fault, or the same cycles and activity.

The two were written apart: one sorts the program's uses of everything, the other steps it cycle by cycle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lpu.strategies import (
    SEEDS,
    flow_program,
    flow_programs,
    long_queues,
    malformed,
    perturbed,
    random_memory,
    raw_program,
    raw_programs,
    refetched,
    shrunk,
    small_chip,
    supplied,
)

from takt.chips import Chip
from takt.errors import MachineFault
from takt.lpu.isa.asm import print_program
from takt.lpu.isa.program import Program, queues
from takt.lpu.machine import Activity, ReferenceEngine, check
from takt.lpu.machine.faults import FAULT_KINDS

CHIP = small_chip()
TIGHT = replace(
    CHIP,
    icu=replace(CHIP.icu, queue_depth_instructions=32, fetch_bytes=128, fetch_latency_cycles=5),
)
"""Buffers so small that supply fails often."""

FROM_DATA = {
    ("gather", "address range"),
    ("scatter", "address range"),
    ("scatter", "constant write"),
    ("permute", "bad permute"),
    ("receive", "link empty"),
}
"""Faults that the checker cannot see, as (instruction, kind)."""

OF_SYSTEMS = {"launch", "link missing", "link overflow", "link unread"}
"""Faults that a chip by itself cannot commit."""

_FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
_MANY = settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The first fault of a program; a queue that does not exist comes after all others."""

    cycle: int
    queue: int
    kind: str


Verdict = Fault | tuple[int, Activity]


def checked(program: Program, chip: Chip) -> Verdict:
    report = check(program, chip, limit=1)
    if not report.issues:
        return report.cycles, report.activity
    first = report.issues[0]
    return Fault(cycle=first.cycle, queue=first.queue, kind=first.kind)


def stepped(program: Program, chip: Chip, seed: int) -> tuple[Verdict, bool]:
    """What the engine says, and whether that is a fault which only data can show."""
    links = {link: [bytes([link]) * chip.lanes] * 64 for link in range(chip.c2c.links)}
    numbers = {queue.name: queue.number for queue in queues(chip)}
    try:
        result = ReferenceEngine(chip, random_memory(chip, seed)).run(program, links=links)
    except MachineFault as fault:
        assert fault.cycle is not None and fault.queue and fault.instruction
        kind = fault.message.split(":")[0]
        number = numbers[fault.queue] if fault.queue in numbers else int(fault.queue)
        from_data = (fault.instruction.split()[0], kind) in FROM_DATA
        return Fault(cycle=fault.cycle, queue=number, kind=kind), from_data
    return (result.cycles, result.activity), False


def differ(program: Program, chip: Chip, seed: int) -> bool:
    """Whether the verdicts differ by more than a fault of data that comes before what the checker found."""
    proof, (run, from_data) = checked(program, chip), stepped(program, chip, seed)
    if proof == run:
        return False
    if not from_data:
        return True
    assert isinstance(run, Fault)
    return isinstance(proof, Fault) and (proof.cycle, proof.queue) < (run.cycle, run.queue)


def assert_agree(program: Program, chip: Chip = CHIP, seed: int = 0) -> None:
    if differ(program, chip, seed):
        small = shrunk(program, lambda p: differ(p, chip, seed))
        verdicts = checked(small, chip), stepped(small, chip, seed)[0]
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
@given(flow_programs(CHIP, max_flows=10, careless=0.5))
def test_flows_that_meet_have_the_same_first_fault(program: Program) -> None:
    assert_agree(program)


@_FEW
@given(flow_programs(TIGHT, max_flows=4), SEEDS, st.integers(0, 4))
def test_short_buffers_have_the_same_first_fault(
    program: Program, seed: int, n_changes: int
) -> None:
    assert_agree(perturbed(program, TIGHT, seed, n_changes), TIGHT)
    fed = supplied(long_queues(TIGHT, seed), TIGHT)
    for same in (long_queues(TIGHT, seed), fed, refetched(fed, seed)):
        assert_agree(same, TIGHT)
    assert_agree(perturbed(fed, TIGHT, seed, n_changes), TIGHT)


@pytest.mark.slow
@_MANY
@given(SEEDS, st.integers(0, 4), st.booleans())
def test_thousands_of_programs_agree(seed: int, n_changes: int, tight: bool) -> None:
    chip = TIGHT if tight else CHIP
    program = flow_program(chip, seed, 1 + seed % 8, depth=1 + seed % 3, careless=seed % 2 / 2)
    fed = supplied(long_queues(chip, seed, 20 + seed % 80), chip)
    assert_agree(fed, chip)
    assert_agree(refetched(fed, seed, 1 + seed % 8), chip)
    assert_agree(perturbed(program, chip, seed, n_changes), chip, seed)
    assert_agree(raw_program(chip, seed, 1 + seed % 40), chip)
    assert_agree(malformed(program, seed, 1 + seed % 3), chip, seed)


def test_a_good_share_of_the_programs_runs_and_the_rest_breaks_every_law() -> None:
    """Otherwise the tests above would compare little more than first instructions."""
    seeds = range(60)
    flows = [checked(flow_program(CHIP, seed, 5), CHIP) for seed in seeds]
    assert sum(not isinstance(verdict, Fault) for verdict in flows) >= 40
    kinds = set()
    for seed in seeds:
        for chip, program in (
            (CHIP, perturbed(flow_program(CHIP, seed, 5), CHIP, seed, 2)),
            (CHIP, flow_program(CHIP, seed, 12, careless=0.5)),
            (CHIP, raw_program(CHIP, seed, 20)),
            (CHIP, malformed(flow_program(CHIP, seed, 2), seed, 2)),
            (TIGHT, long_queues(TIGHT, seed)),
            (TIGHT, refetched(supplied(long_queues(TIGHT, seed), TIGHT), seed)),
        ):
            verdict = checked(program, chip)
            kinds |= {verdict.kind} if isinstance(verdict, Fault) else set()
    assert kinds >= set(FAULT_KINDS) - OF_SYSTEMS - {"bad permute", "link empty"}
