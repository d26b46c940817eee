"""Random systems of two to four chips: wires, flows that cross them, several runs a chip, moved memory, renamed links.

As in `strategies`, flows grow backwards from what uses a value. Where one would come from a link, the chip at the other
end of the wire sends it a little earlier, and has to find it in turn. All chips keep one book of attempts, so that a flow
that cannot be placed leaves nothing anywhere. `disturbed` breaks a system a little. Everything follows from one seed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
from tests.lpu.strategies import FIRST_FREE_WORD, FlowBuilder, _Stuck, perturbed

from takt.chips import Chip, Wire
from takt.lpu.isa.program import Program, make_program
from takt.lpu.isa.table import Unit, stream_ref
from takt.lpu.machine import Instance, Move, SystemProgram, program_cycles


class _ChipBuilder(FlowBuilder):
    """Flows of one chip among others."""

    def __init__(self, system: SystemBuilder, number: int, seed: int, careless: float) -> None:
        super().__init__(system.chip, seed, careless=careless)
        self.system = system
        self.number = number
        self.books.journal = system.journal

    def from_link(self, x: int, time: int, direction: int, base: int, end: int) -> int:
        sign = 1 if direction == 0 else -1
        wires = [wire for wire in self.system.wires if wire.target_chip == self.number]
        upstream = [q for q in self.by_unit[Unit.C2C] if sign * q.x <= sign * x]
        if not wires or not upstream:
            raise _Stuck
        wire, queue = self.pick(wires), self.pick(upstream)
        arrival = time - abs(x - queue.x)
        self.way(direction, base, queue.x, arrival, end)
        received = arrival - self.timing.latency("receive")
        to = stream_ref(base, direction)
        self.put(queue, "receive", received, a=to, b=wire.target_link)
        self.system.send_for(wire, received, self.count, self.gap)
        return base

    def end_other(self, time: int, depth: int) -> None:
        """A vector from another chip into some word."""
        queue = self.pick(self.by_unit[Unit.MEM])
        direction = int(self.rng.integers(2))
        stream = int(self.rng.integers(32))
        self.from_link(queue.x, time, direction, stream, queue.x)
        a, step = self.address(FIRST_FREE_WORD, self.chip.mem.words_per_slice)
        self.put(queue, "write", time, a=a, b=stream_ref(stream, direction), step=step)


class SystemBuilder:
    """Chips with wires, and the flows of one round: each chip runs one program. Times are those of the system, shifted."""

    def __init__(self, chip: Chip, seed: int, *, careless: float = 0.0) -> None:
        self.chip = chip
        self.rng = np.random.default_rng(seed)
        self.journal: list[list[Any]] = []
        n_chips = int(self.rng.integers(2, 5))
        self.wires = self._random_wires(n_chips)
        self.carried: defaultdict[Wire, list[tuple[int, int]]] = defaultdict(list)
        self.careless = careless
        self.builders = [_ChipBuilder(self, n, seed + n, careless) for n in range(n_chips)]

    def _random_wires(self, n_chips: int) -> tuple[Wire, ...]:
        """Up to three wires a chip; a few lead back to the chip they come from."""
        n, links = int(self.rng.integers(n_chips, 3 * n_chips + 1)), self.chip.c2c.links
        ends = [self.rng.permutation(n_chips * links)[:n] for _ in range(2)]
        return tuple(
            Wire(
                source_chip=int(source) // links,
                source_link=int(source) % links,
                target_chip=int(target) // links,
                target_link=int(target) % links,
                extra_cycles=int(self.rng.choice((0, 0, 1, 5, 40))),
            )
            for source, target in zip(*ends, strict=True)
        )

    def send_for(self, wire: Wire, received: int, count: int, gap: int) -> None:
        """Let the source of a wire send what is received from that cycle on; vectors must keep their order."""
        delay = 1 + wire.extra_cycles
        slack = int(self.rng.choice((0, 0, 1, 7, int(self.rng.integers(60)))))
        sent, carried = received - delay - slack, self.carried[wire]
        builder = self.builders[wire.source_chip]
        careless = builder.books.is_careless()
        for k in range(count):
            pair = sent + k * gap, received + k * gap
            if any((s < pair[0]) != (r < pair[1]) or r == pair[1] for s, r in carried):
                raise _Stuck
            carried.append(pair)
            self.journal.append(carried)
        waiting = (sum(s + delay <= at + delay < r for s, r in carried) for at, _ in list(carried))
        if max(waiting) > self.chip.c2c.receive_buffer_vectors and not careless:
            raise _Stuck
        before, (builder.count, builder.gap) = (builder.count, builder.gap), (count, gap)
        try:
            builder.send(builder.pick(builder.by_unit[Unit.C2C]), sent, wire.source_link, 1)
        finally:
            builder.count, builder.gap = before

    def grow(self) -> None:
        """One more flow on some chip; half of them end with a vector from another chip."""
        builder = self.builders[int(self.rng.integers(len(self.builders)))]
        if self.rng.random() < 0.4:
            builder.grow(depth=1)
            return
        builder.count = int(self.rng.integers(2, 4)) if self.rng.random() < 0.3 else 1
        builder.gap = self.chip.c2c_vector_cycles + int(self.rng.integers(3))
        for _ in range(4):
            try:
                with builder.books.attempt():
                    builder.end_other(int(self.rng.integers(builder.span_cycles)), 1)
                return
            except _Stuck:
                continue

    def programs(self) -> tuple[list[Program], list[int]]:
        """A program for each chip, and when each starts: multiples of an epoch, the first less than two epochs."""
        epoch = self.chip.c2c.epoch_cycles
        times = [[row[2] for row in b.books.rows] for b in self.builders]
        first = min((min(t) for t in times if t), default=0)
        shift = int(self.rng.integers(epoch)) - first
        programs, starts = [], []
        for builder, own in zip(self.builders, times, strict=True):
            start = (min(own, default=-shift) + shift) // epoch * epoch
            rows = [(q, op, t + shift - start, c) for q, op, t, c in builder.books.rows]
            programs.append(make_program(self.chip, rows, name=f"chip{builder.number}"))
            starts.append(start)
        return programs, starts


def random_system(chip: Chip, seed: int, n_flows: int, *, careless: float = 0.0) -> SystemProgram:
    """One or two rounds of programs that break no law unless careless; the second may be the first, moved in memory."""
    builder = SystemBuilder(chip, seed, careless=careless)
    for _ in range(n_flows):
        builder.grow()
    programs, starts = builder.programs()
    instances = [Instance(chip=n, program=n, start_cycle=start) for n, start in enumerate(starts)]
    if builder.rng.random() < 0.5:
        instances += _second_round(chip, builder.rng, programs, instances)
    system = SystemProgram(
        chip=chip, programs=tuple(programs), instances=tuple(instances), wires=builder.wires
    )
    return with_renamed_links(system, builder.rng) if builder.rng.random() < 0.5 else system


def _second_round(
    chip: Chip, rng: np.random.Generator, programs: list[Program], first: list[Instance]
) -> list[Instance]:
    """All instances again, as soon as all chips may start, with some words moved."""
    end = max(i.start_cycle + program_cycles(programs[i.program], chip) for i in first)
    epoch = chip.c2c.epoch_cycles
    later = -(-(end + chip.launch_cycles) // epoch) * epoch
    return [
        replace(i, start_cycle=i.start_cycle + later, relocation=random_moves(chip, rng))
        for i in first
    ]


def random_moves(chip: Chip, rng: np.random.Generator) -> tuple[Move, ...]:
    """No moves, or one or two of upper words, mostly by little."""
    half = chip.mem.words_per_slice // 2
    low = Move(first_word=FIRST_FREE_WORD, end_word=half, delta=int(rng.integers(-3, 4)))
    high = Move(
        first_word=half, end_word=2 * half, delta=int(rng.integers(-half, 3)), slices=(1, 3, 9)
    )
    return ((), (low,), (high,), (low, high))[int(rng.integers(4))]


def with_renamed_links(system: SystemProgram, rng: np.random.Generator) -> SystemProgram:
    """The same system with other link numbers in its programs, and instances that undo that."""
    n_links = system.chip.c2c.links
    programs, names = [], []
    for program in system.programs:
        name = rng.permutation(n_links)
        rows = program.instructions.copy()
        uses = np.isin(rows["op"], (70, 71))
        rows["b"][uses] = np.argsort(name)[rows["b"][uses]]
        programs.append(replace(program, instructions=rows))
        names.append(tuple(name.tolist()))
    instances = tuple(replace(i, links=names[i.program]) for i in system.instances)
    return replace(system, programs=tuple(programs), instances=instances)


def with_room(system: SystemProgram, n_vectors: int) -> SystemProgram:
    """The system on chips with room for so many vectors at the end of a link."""
    chip = system.chip
    c2c = replace(chip.c2c, receive_buffer_vectors=n_vectors)
    return replace(system, chip=replace(chip, c2c=c2c))


def disturbed(system: SystemProgram, seed: int, n_changes: int) -> SystemProgram:
    """The system with small changes: an instruction, a start, a wire, a link, a moved word, a lost run."""
    rng = np.random.default_rng(seed)
    for n in range(n_changes):
        system = _disturb(system, rng, seed + n)
    return system


def _disturb(system: SystemProgram, rng: np.random.Generator, seed: int) -> SystemProgram:
    what, epoch = int(rng.integers(10)), system.chip.c2c.epoch_cycles
    programs, instances = list(system.programs), list(system.instances)
    wires = list(system.wires)
    i, w = (int(rng.integers(len(x))) for x in (instances, wires))
    if what <= 2:
        n = instances[i].program
        programs[n] = perturbed(programs[n], system.chip, seed, 1)
    elif what == 3:
        later = int(rng.choice((-2 * epoch, -epoch, epoch, 3 * epoch, 7)))
        start = max(0, instances[i].start_cycle + later)
        instances[i] = replace(instances[i], start_cycle=start)
    elif what == 4:
        wires[w] = replace(wires[w], extra_cycles=int(rng.integers(80)))
    elif what == 5:
        del wires[w]
    elif what == 6 and instances[i].links:
        names = list(instances[i].links)
        names[int(rng.integers(len(names)))] = int(rng.integers(system.chip.c2c.links))
        instances[i] = replace(instances[i], links=tuple(names))
    elif what == 7:
        instances[i] = replace(instances[i], relocation=random_moves(system.chip, rng))
    elif what == 8 and len(instances) > 1:
        del instances[i]
    elif what == 9:
        system = with_room(system, 1)
    return replace(system, programs=tuple(programs), instances=tuple(instances), wires=tuple(wires))
