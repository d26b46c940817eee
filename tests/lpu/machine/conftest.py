"""What the machine's tests share: the full-size chip, and a bench that runs assembly text on its memory."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from textwrap import dedent

import numpy as np
import pytest

from takt.chips import Chip, load_chip
from takt.errors import MachineFault
from takt.lpu.isa.asm import parse_program
from takt.lpu.isa.program import Program, queues
from takt.lpu.machine import Memory, ReferenceEngine, RunResult, program_cycles


class Bench:
    """A chip with memory; slices are named as in queue names (`mem.e0`)."""

    def __init__(self, chip: Chip, seed: int = 0) -> None:
        self.chip = chip
        self.memory = Memory(chip)
        self.rng = np.random.default_rng(seed)
        self.number = {queue.name: queue.number for queue in queues(chip)}

    def with_facts(self, group: str, **facts: int) -> Bench:
        """A new bench on a chip with other facts in one group."""
        changed = replace(getattr(self.chip, group), **facts)
        return Bench(replace(self.chip, **{group: changed}))

    def slice(self, name: str) -> np.ndarray:
        """Words of a slice, uint8 [words, lanes]."""
        return self.memory.data[self.number[name]]

    def fill(self, name: str, address: int, words: int = 1) -> np.ndarray:
        """Put random bytes into some words and give them back."""
        data = self.rng.integers(0, 256, (words, self.chip.lanes), np.uint8)
        self.slice(name)[address : address + words] = data
        return data

    def program(self, text: str) -> Program:
        return parse_program(f".chip {self.chip.id}\n{dedent(text)}", self.chip)

    def run(self, text: str, links: dict[int, list[bytes]] | None = None) -> RunResult:
        """Run text; cycles must be those of the rule in `timing`, whatever order units are heard in."""
        program = self.program(text)
        before = self.memory.data.copy() if self.memory.data.size < 1 << 24 else None
        result = ReferenceEngine(self.chip, self.memory).run(program, links=links)
        assert result.cycles == program_cycles(program, self.chip)
        if before is not None and links is None:
            again = Memory(self.chip)
            again.data[:] = before
            shuffled = ReferenceEngine(self.chip, again, shuffle=Random(1)).run(program)
            assert shuffled == result
            assert np.array_equal(again.data, self.memory.data)
        return result

    def fault(self, text: str, links: dict[int, list[bytes]] | None = None) -> MachineFault:
        """The fault that a program ends with."""
        with pytest.raises(MachineFault) as caught:
            ReferenceEngine(self.chip, self.memory).run(self.program(text), links=links)
        return caught.value

    def kind(self, text: str) -> tuple[str, int | None, str | None]:
        """(kind, cycle, queue) of the fault."""
        fault = self.fault(text)
        return fault.message.split(":")[0], fault.cycle, fault.queue


@pytest.fixture(scope="session")
def chip() -> Chip:
    return load_chip("lpu-v1")


@pytest.fixture
def full(chip: Chip) -> Bench:
    """All of lpu-v1."""
    return Bench(chip)


@pytest.fixture
def bench(chip: Chip) -> Bench:
    """lpu-v1 with 64 words a slice, so that whole memories are quick to compare."""
    return Bench(replace(chip, mem=replace(chip.mem, words_per_slice=64)))
