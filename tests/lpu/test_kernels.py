"""Small programs with published cycles: what they compute, and that their cycles follow the chip's facts."""

from dataclasses import replace

import numpy as np
import pytest

from takt.chips import load_chip, load_system
from takt.errors import UnsupportedError
from takt.lpu.isa.program import queues
from takt.lpu.kernels import (
    all_reduce_cycles,
    all_reduce_program,
    barrier_cycles,
    weight_load_cycles,
)
from takt.lpu.machine import Memory, ReferenceSystem


def test_the_barrier_is_that_of_the_chip() -> None:
    chip = load_chip("lpu-v1")
    assert barrier_cycles(chip) == 35
    slower = replace(chip, icu=replace(chip.icu, barrier_cycles=50))
    assert barrier_cycles(slower) == 50


def test_all_weights_load_in_less_than_40_cycles() -> None:
    chip = load_chip("lpu-v1")
    assert weight_load_cycles(chip) < 40
    slower = replace(chip, mem=replace(chip.mem, read_cycles=3))
    assert weight_load_cycles(slower) == weight_load_cycles(chip) + 2


@pytest.mark.parametrize("n_chips", [2, 4, 8])
def test_every_chip_gets_the_sum(n_chips: int) -> None:
    system = load_system("groqnode-v1")
    number = {queue.name: queue.number for queue in queues(system.chip)}
    memories = [Memory(system.chip) for _ in range(n_chips)]
    words = np.random.default_rng(n_chips).integers(0, 256, (n_chips, 320))
    for memory, word in zip(memories, words, strict=True):
        memory.data[number["mem.e40"], 0] = word
    program = all_reduce_program(system, n_chips)
    result = ReferenceSystem(system.chip, memories).run(program)
    assert result.cycles == all_reduce_cycles(system, n_chips)
    for memory in memories:
        parts = [memory.data[number[f"mem.e{36 + i}"], 1] for i in range(4)]
        sums = np.ascontiguousarray(np.stack(parts, axis=1)).view(np.int32)[:, 0]
        assert np.array_equal(sums, words.sum(axis=0))


def test_a_slower_link_shows_in_full() -> None:
    system = load_system("groqnode-v1")
    c2c = replace(system.chip.c2c, link_cycles=system.chip.c2c.link_cycles + 100)
    slower = replace(system, chip=replace(system.chip, c2c=c2c))
    assert all_reduce_cycles(slower, 8) == all_reduce_cycles(system, 8) + 100


@pytest.mark.parametrize("n_chips", [1, 3, 16])
def test_other_counts_of_chips_are_refused(n_chips: int) -> None:
    with pytest.raises(UnsupportedError, match="all-reduce"):
        all_reduce_cycles(load_system("groqnode-v1"), n_chips)
