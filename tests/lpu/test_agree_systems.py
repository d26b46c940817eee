"""Systems of chips, three ways: the proof, the chips in lockstep, and the fast engine agree on random ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lpu.strategies import SEEDS, malformed, random_memory, small_chip
from tests.lpu.system_strategies import disturbed, random_system, with_room
from tests.lpu.test_agree import FROM_DATA

from takt.errors import MachineFault, ProgramError
from takt.lpu.fast import FastSystem
from takt.lpu.machine import Activity, Memory, ReferenceSystem, SystemProgram, prove_system

ROOMY = small_chip()
CHIP = replace(ROOMY, c2c=replace(ROOMY.c2c, receive_buffer_vectors=2))
"""Little room at the ends of links, so that it runs out."""

Verdict = tuple[int, Activity] | tuple[int | None, str | None, str] | str

_FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
_MANY = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])


def memories(system: SystemProgram, seed: int) -> list[Memory]:
    return [random_memory(system.chip, seed + n) for n in range(system.n_chips)]


def verdict_of(fault: MachineFault) -> Verdict:
    return fault.cycle, fault.queue, fault.message.split(":")[0]


def proved(system: SystemProgram) -> Verdict:
    try:
        report = prove_system(system)
    except MachineFault as fault:
        return verdict_of(fault)
    except ProgramError:
        return "malformed"
    return report.cycles, report.activity


def stepped(
    system: SystemProgram, seed: int, shuffle: Random | None = None
) -> tuple[Verdict, bool]:
    """What the chips in lockstep say, and whether that is a fault which only data can show."""
    try:
        chips = ReferenceSystem(system.chip, memories(system, seed), shuffle=shuffle)
        result = chips.run(system)
    except MachineFault as fault:
        name = (fault.instruction or "start").split()[0]
        from_data = (name, fault.message.split(":")[0]) in FROM_DATA - {("receive", "link empty")}
        return verdict_of(fault), from_data
    except ProgramError:
        return "malformed", False
    return (result.cycles, result.activity), False


def assert_agree(system: SystemProgram, seed: int = 0) -> Verdict:
    proof, (run, from_data) = proved(system), stepped(system, seed)
    if not from_data:
        assert proof == run
    return proof


@_FEW
@given(SEEDS, st.integers(1, 12))
def test_sound_systems_take_the_same_cycles_and_do_the_same(seed: int, n_flows: int) -> None:
    assert_agree(random_system(CHIP, seed, n_flows), seed)


@_FEW
@given(SEEDS, st.integers(1, 10), st.integers(1, 3))
def test_systems_with_a_mistake_have_the_same_first_fault(
    seed: int, n_flows: int, n_changes: int
) -> None:
    assert_agree(disturbed(random_system(CHIP, seed, n_flows), seed, n_changes), seed)
    assert_agree(random_system(CHIP, seed, n_flows, careless=0.3), seed)


@_FEW
@given(SEEDS, st.integers(1, 6), st.integers(1, 2))
def test_nonsense_in_a_program_has_the_same_first_fault(
    seed: int, n_flows: int, n_changes: int
) -> None:
    system = random_system(CHIP, seed, n_flows, careless=seed % 2 / 5)
    programs = list(system.programs)
    broken = seed % len(programs)
    programs[broken] = malformed(programs[broken], seed, n_changes)
    assert_agree(replace(system, programs=tuple(programs)), seed)


@pytest.mark.slow
@_MANY
@given(SEEDS, st.integers(1, 20), st.integers(0, 4), st.booleans())
def test_hundreds_of_systems_agree(seed: int, n_flows: int, n_changes: int, roomy: bool) -> None:
    chip = ROOMY if roomy else CHIP
    system = random_system(chip, seed, n_flows, careless=seed % 3 / 4)
    assert_agree(disturbed(system, seed, n_changes), seed)


def test_a_good_share_of_the_systems_runs_and_the_rest_breaks_every_law_of_links() -> None:
    kinds: Counter[str] = Counter()
    n_sound = n_carried = 0
    for seed in range(80):
        system = random_system(CHIP, seed, 8)
        verdict = proved(system)
        if len(verdict) == 2:
            n_sound += 1
            n_carried += len(prove_system(system).transfers)
        for broken in (
            disturbed(system, seed, 2),
            random_system(CHIP, seed, 20, careless=0.6),
            with_room(system, 1),
        ):
            verdict = proved(broken)
            kinds[verdict[2] if len(verdict) == 3 else "other"] += 1
    assert n_sound >= 40
    assert n_carried >= 200
    assert set(kinds) >= {
        "launch",
        "link missing",
        "link busy",
        "link overflow",
        "link unread",
        "link empty",
    }


def assert_same_memory(ones: list[Memory], others: list[Memory]) -> None:
    for chip, (one, other) in enumerate(zip(ones, others, strict=True)):
        different = np.argwhere((one.data != other.data).any(axis=2))
        assert not len(different), f"chip {chip}, (slice, address): {different[:5].tolist()}"


def assert_same(system: SystemProgram, seed: int, *, runs: int = 1, threads: int = 1) -> bool:
    """Lockstep and the fast engine end alike; False if the system breaks a law."""
    expected, got = memories(system, seed), memories(system, seed)
    fast = FastSystem(system.chip, got, threads=threads)
    try:
        prepared = fast.prepare(system)
    except (MachineFault, ProgramError):
        return False
    for _ in range(runs):
        try:
            result = ReferenceSystem(system.chip, expected).run(system)
        except MachineFault as fault:
            with pytest.raises(MachineFault) as caught:
                fast.run(prepared)
            assert verdict_of(caught.value) == verdict_of(fault)
            return True
        assert fast.run(prepared) == result
        assert_same_memory(got, expected)
    return True


@_FEW
@given(SEEDS, st.integers(1, 16), st.integers(1, 3))
def test_chips_at_native_speed_end_in_the_same_state(seed: int, n_flows: int, runs: int) -> None:
    assert_same(random_system(CHIP, seed, n_flows), seed, runs=runs)


@pytest.mark.slow
@_MANY
@given(SEEDS, st.integers(1, 30), st.booleans())
def test_hundreds_of_systems_end_in_the_same_state(seed: int, n_flows: int, roomy: bool) -> None:
    system = random_system(ROOMY if roomy else CHIP, seed, n_flows)
    assert_same(system, seed, runs=2, threads=1 + seed % 3)


@_FEW
@given(SEEDS, st.integers(1, 12))
def test_the_order_in_which_chips_are_heard_does_not_matter(seed: int, n_flows: int) -> None:
    system = random_system(CHIP, seed, n_flows, careless=seed % 4 / 20)
    one, other = memories(system, seed), memories(system, seed)
    verdicts = []
    for chips, shuffle in ((one, None), (other, Random(seed))):
        try:
            verdicts.append(ReferenceSystem(CHIP, chips, shuffle=shuffle).run(system))
        except MachineFault as fault:
            verdicts.append(str(fault))
        except ProgramError:
            return
    assert verdicts[0] == verdicts[1]
    assert_same_memory(one, other)
