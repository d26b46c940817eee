"""Random programs and memories for tests that compare the checker and the engines.

Two sorts of program on a small chip (few slices, all units): `raw_programs`, well-formed instructions at random times,
nearly all of which fault; and `flow_programs`, which grows data flows backwards from what uses a value (write, load of
weights, accumulate, send) to what produces it (read, gather, VXM, SXM, MXM, link), keeps the books of queues, slots and
planes, and therefore mostly runs. `perturbed` breaks a program a little. Everything follows from one seed.

Memory words 0–7 hold small numbers and 8–11 zeros, so that their pairs serve as gather maps; words 12 and 13 hold the
low and high bytes of a permutation of all lanes; the rest is random bytes rich in f16 specials.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from takt.chips import Chip, load_chip
from takt.errors import CompileError
from takt.lpu.isa.program import Program, Queue, make_program, queues, sort_instructions
from takt.lpu.isa.supply import plan_supply
from takt.lpu.isa.table import (
    ALU,
    BY_NAME,
    BY_OP,
    EMIT,
    IMM,
    NONE,
    ROWS,
    STREAM,
    WRAP,
    Kind,
    Type,
    Unit,
    stream_ref,
    vxm_operand,
)
from takt.lpu.machine.state import Memory
from takt.lpu.machine.timing import Timing

EAST, WEST = 0, 1
GATHER_WORDS = ((0, 8), (8, 12))
PERMUTE_WORDS = (12, 13)
FIRST_FREE_WORD = 16
_FLOAT_TYPES, _INT_TYPES = (Type.F32, Type.F16), (Type.I32, Type.I8, Type.U8)
_SPECIAL_F16 = np.array(
    [
        0x0000,
        0x8000,
        0x0001,
        0x83FF,
        0x0400,
        0x3C00,
        0xBC00,
        0x7BFF,
        0xFBFF,
        0x7C00,
        0xFC00,
        0x7E00,
        0x7C01,
    ],
    np.uint16,
)

Columns = dict[str, int]


def small_chip(*, slices_per_hemisphere: int = 8, words_per_slice: int = 64) -> Chip:
    """The first chip of the catalogue with little memory; lanes, units and latencies as they are."""
    chip = load_chip("lpu-v1")
    mem = replace(
        chip.mem, slices_per_hemisphere=slices_per_hemisphere, words_per_slice=words_per_slice
    )
    layout = replace(chip.layout, io_crossing_hops=2)
    return replace(chip, mem=mem, layout=layout)


def random_memory(chip: Chip, seed: int) -> Memory:
    """Memory with the special words described above, the rest random bytes; a third of the words f16 specials."""
    rng = np.random.default_rng(seed)
    memory = Memory(chip)
    shape = memory.data.shape
    memory.data[:] = rng.integers(0, 256, shape, np.uint8)
    pairs = rng.choice(_SPECIAL_F16, (shape[0], shape[1], shape[2]))
    special = rng.random((shape[0], shape[1] // 2)) < 1 / 3
    low, high = memory.data[:, 0 : shape[1] // 2 * 2 : 2], memory.data[:, 1::2]
    low[special] = (pairs[:, 0 : shape[1] // 2 * 2 : 2] & 0xFF).astype(np.uint8)[special]
    high[special] = (pairs[:, 0 : shape[1] // 2 * 2 : 2] >> 8).astype(np.uint8)[special]
    memory.data[:, slice(*GATHER_WORDS[0])] %= 16
    memory.data[:, slice(*GATHER_WORDS[1])] = 0
    order = rng.permutation(chip.lanes).astype(np.uint16)
    memory.data[:, PERMUTE_WORDS[0]] = order & 0xFF
    memory.data[:, PERMUTE_WORDS[1]] = order >> 8
    return memory


class _Stuck(Exception):
    """This flow cannot be placed; try another."""


@dataclass(slots=True)
class _Books:
    """What is taken: queue times, ways of values, planes, links. `journal` undoes what a failed attempt wrote."""

    queue_times: defaultdict[int, list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    ways: defaultdict[tuple[int, int, int], list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    planes: defaultdict[int, list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    links: defaultdict[int, list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    rows: list[tuple[int, str, int, Columns]] = field(default_factory=list)
    journal: list[list[Any]] = field(default_factory=list)
    is_careless: Callable[[], bool] = lambda: False

    def claim(
        self, taken: list[tuple[int, int]], start: int, end: int, *, strict: bool = False
    ) -> None:
        if any(s <= end and start <= e for s, e in taken) and (strict or not self.is_careless()):
            raise _Stuck
        taken.append((start, end))
        self.journal.append(taken)

    def add(self, row: tuple[int, str, int, Columns]) -> None:
        self.rows.append(row)
        self.journal.append(self.rows)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        mark = len(self.journal)
        try:
            yield
        except _Stuck:
            while len(self.journal) > mark:
                self.journal.pop().pop()
            raise


class FlowBuilder:
    """Grows flows backwards into one program. Times are relative; `program` moves them to start near zero.

    `careless` is the probability with which a stream or plane that is in use is used all the same; careless flows are
    also packed into less time, so that they meet more often.
    """

    def __init__(self, chip: Chip, seed: int, *, links: bool = True, careless: float = 0.0) -> None:
        self.chip = chip
        self.rng = np.random.default_rng(seed)
        self.links = links
        self.timing = Timing(chip)
        self.queues = queues(chip)
        self.edge = max(abs(q.x) for q in self.queues)
        self.by_unit: defaultdict[Unit, list[Queue]] = defaultdict(list)
        for queue in self.queues:
            self.by_unit[queue.unit].append(queue)
        self.books = _Books(is_careless=lambda: careless > 0 and self.chance(careless))
        self.span_cycles = 6 if careless else 60
        self.count = self.gap = 1

    # small helpers

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def first_of(self, attempts: list[Callable[[], int]]) -> int:
        """The result of the first attempt, in random order, that is not stuck."""
        for i in self.rng.permutation(len(attempts)):
            try:
                with self.books.attempt():
                    return attempts[i]()
            except _Stuck:
                continue
        raise _Stuck

    def put(self, queue: Queue, name: str, time: int, **columns: int) -> None:
        last = time + (self.count - 1) * self.gap
        self.books.claim(self.books.queue_times[queue.number], time, last, strict=True)
        repeat = {"count": self.count, "gap": self.gap if self.count > 1 else 1}
        self.books.add((queue.number, name, time, {**columns, **repeat}))

    def address(self, low: int, high: int) -> tuple[int, int]:
        """A word whose repeats stay in [low, high), and the step."""
        room = high - low
        steps = [s for s in (0, 1, 1, 2, -1) if abs(s) * (self.count - 1) < room]
        step = self.pick(steps) if self.count > 1 else 0
        reach = step * (self.count - 1)
        return int(self.rng.integers(low - min(0, reach), high - max(0, reach))), step

    def way(self, direction: int, stream: int, start_x: int, time: int, end_x: int) -> None:
        """Claim the way of a value that is in the register at start_x at `time`, for all repeats."""
        sign = 1 if direction == EAST else -1
        for k in range(self.count):
            diagonal = time + k * self.gap - sign * start_x
            self.books.claim(
                self.books.ways[direction, stream, diagonal], sign * start_x, sign * end_x
            )

    # producers: each brings streams base … base + width − 1 to x at cycle `time`

    def deliver(
        self, x: int, time: int, direction: int, width: int, depth: int, words: Any = None
    ) -> int:
        """Produce a group of streams for a unit at x; the reference with or without tap mark."""
        base = int(self.rng.integers(32 // width)) * width
        sign = 1 if direction == EAST else -1
        tap = self.chance(0.2)
        end = sign * self.edge if tap else x
        sources: list[Callable[[], int]] = [
            lambda: self.reads(x, time, direction, base, width, end, words)
        ]
        if words is None and depth > 0:
            for make, at in (
                (self.from_vxm, 0),
                (self.from_sxm, sign * -self._sxm_x()),
                (self.from_sxm, sign * self._sxm_x()),
                (self.from_acc, sign * -self.edge),
            ):
                if sign * at <= sign * x and self.chance(0.7):
                    then = time - abs(x - at)
                    sources.append(
                        lambda make=make, at=at, then=then: make(
                            at, then, direction, base, width, end, depth - 1
                        )
                    )
        if words is None and self.links and width == 1 and self.chance(0.2):
            sources.append(lambda: self.from_link(x, time, direction, base, end))
        if depth > 0 and len(sources) > 1 and self.chance(0.7):
            sources = sources[1:]
        self.first_of(sources)
        return stream_ref(base, direction, tap)

    def _sxm_x(self) -> int:
        return max(q.x for q in self.by_unit[Unit.SHIFT])

    def reads(
        self, x: int, time: int, direction: int, base: int, width: int, end: int, words: Any
    ) -> int:
        sign = 1 if direction == EAST else -1
        for i in range(width):
            upstream = [q for q in self.by_unit[Unit.MEM] if sign * q.x <= sign * x]
            word = None if words is None else words[i]
            self.first_of(
                [
                    lambda q=q, i=i, word=word: self.read(
                        q, x, time, direction, base + i, end, word
                    )
                    for q in upstream
                ]
            )
        return base

    def read(
        self,
        queue: Queue,
        x: int,
        time: int,
        direction: int,
        stream: int,
        end: int,
        word: int | None,
    ) -> int:
        arrival = time - abs(x - queue.x)
        self.way(direction, stream, queue.x, arrival, end)
        ref, half = stream_ref(stream, direction), self.chip.mem.words_per_slice // 2
        sort = self.rng.random()
        if word is not None:
            self.put(queue, "read", arrival - self.timing.latency("read"), a=word, b=ref)
        elif sort < 0.1:
            dispatch = arrival - self.timing.latency("readwrite")
            data = self.deliver(queue.x, dispatch, int(self.rng.integers(2)), 1, 0)
            a, step = self.address(FIRST_FREE_WORD, half - 8)
            back = self.chance(0.5) and a + half < 2 * half
            lower, upper = a, a + half
            a, c = (upper, lower) if back else (lower, upper)
            self.put(queue, "readwrite", dispatch, a=a, b=ref, c=c, d=data, step=step)
        elif sort < 0.2:
            dispatch = arrival - self.timing.latency("gather")
            map_ = self.deliver(
                queue.x, dispatch, int(self.rng.integers(2)), 2, 0, self.map_words()
            )
            base, step = self.address(0, 2 * half - 16)
            self.put(queue, "gather", dispatch, a=map_, b=ref, c=base, step=step)
        else:
            a, step = self.address(0, 2 * half)
            self.put(queue, "read", arrival - self.timing.latency("read"), a=a, b=ref, step=step)
        return stream

    def map_words(self) -> tuple[int, int]:
        low, high = (int(self.rng.integers(*bounds)) for bounds in GATHER_WORDS)
        return low, high

    def from_link(self, x: int, time: int, direction: int, base: int, end: int) -> int:
        sign = 1 if direction == EAST else -1
        queue = self.pick([q for q in self.by_unit[Unit.C2C] if sign * q.x < 0])
        arrival = time - abs(x - queue.x)
        if sign * queue.x > sign * x:
            raise _Stuck
        self.way(direction, base, queue.x, arrival, end)
        link = int(self.rng.integers(self.chip.c2c.links))
        self.put(
            queue,
            "receive",
            arrival - self.timing.latency("receive"),
            a=stream_ref(base, direction),
            b=link,
        )
        return base

    def from_vxm(
        self, at: int, time: int, direction: int, base: int, width: int, end: int, depth: int
    ) -> int:
        fitting = [t for t in Type if t.n_streams == width]
        if not fitting:
            raise _Stuck
        type_ = self.pick(fitting)
        for i in range(width):
            self.way(direction, base + i, at, time, end)
        destination = vxm_operand(STREAM, type_, stream_ref(base, direction))
        return self.vxm(
            time - self.timing.latency("add"), destination, is_float=type_.is_float, depth=depth
        )

    def vxm(self, time: int, destination: int, *, is_float: bool, depth: int) -> int:
        """An operation whose result is of that class; returns the ALU."""
        queue = self.pick(self.by_unit[Unit.VXM])
        row = self.pick(
            [r for r in ROWS if r.unit is Unit.VXM and r.result in ("x", "f" if is_float else "i")]
        )
        takes_float = is_float if row.name not in ("itof", "ftoi") else not is_float
        wide = Type.F32 if takes_float else Type.I32
        imm = int(self.rng.integers(1 << 32))
        columns = {"c": destination}
        for name in "ab"[: row.n_sources]:
            how = self.rng.random()
            if how < 0.25 and depth > 0:
                alu = self.vxm(
                    time - self.chip.vxm.alu_cycles,
                    vxm_operand(NONE, wide),
                    is_float=takes_float,
                    depth=depth - 1,
                )
                columns[name] = vxm_operand(ALU, wide, alu)
            elif how < 0.4 and "imm" not in columns:
                columns |= {name: vxm_operand(IMM, wide), "imm": imm}
            else:
                type_ = self.pick(_FLOAT_TYPES if takes_float else _INT_TYPES)
                ref = self.deliver(0, time, int(self.rng.integers(2)), type_.n_streams, depth - 1)
                columns[name] = vxm_operand(STREAM, type_, ref)
        self.put(queue, row.name, time, **columns)
        return queue.index

    def from_sxm(
        self, at: int, time: int, direction: int, base: int, width: int, end: int, depth: int
    ) -> int:
        names = {1: ("shift", "select", "permute", "distribute"), 16: ("transpose", "rotate")}
        name = self.pick(names.get(width, ("shift", "select", "permute")))
        dispatch = time - self.timing.latency(name)
        row = next(r for r in ROWS if r.name == name)
        queue = self.pick([q for q in self.by_unit[row.unit] if q.x == at])
        for i in range(width):
            self.way(direction, base + i, at, time, end)
        outward = EAST if at > 0 else WEST

        def source(n: int, words: Any = None) -> int:
            return self.deliver(
                at, dispatch, outward if self.chance(0.8) else 1 - outward, n, depth, words
            )

        to = stream_ref(base, direction)
        if name == "shift":
            amount, step = self.address(-40, 41)
            wrap = WRAP if self.chance(0.5) else 0
            self.put(
                queue,
                name,
                dispatch,
                a=source(width),
                b=to,
                c=amount & 0xFFFF,
                d=width | wrap,
                step=step,
            )
        elif name == "select":
            self.put(
                queue,
                name,
                dispatch,
                a=source(width),
                b=source(width),
                c=source(1),
                d=to,
                imm=width,
            )
        elif name == "permute":
            self.put(
                queue, name, dispatch, a=source(width), b=source(2, PERMUTE_WORDS), c=to, d=width
            )
        elif name == "distribute":
            map_, zero = int(self.rng.integers(1 << 63)), int(self.rng.integers(1 << 16))
            self.put(queue, name, dispatch, a=source(1), b=to, c=zero, imm=map_)
        elif name == "transpose":
            self.put(queue, name, dispatch, a=source(16), b=to)
        else:
            self.put(queue, name, dispatch, a=source(4), b=to, c=4)
        return base

    def from_acc(
        self, at: int, time: int, direction: int, base: int, width: int, end: int, depth: int
    ) -> int:
        if width != 4:
            raise _Stuck
        for i in range(width):
            self.way(direction, base + i, at, time, end)
        flags = EMIT | int(self.rng.integers(4))
        self.accumulate(
            at, time - self.timing.latency("acc"), stream_ref(base, direction), flags, depth
        )
        return base

    # consumers: the ends of flows

    def accumulate(self, at: int, time: int, ref: int, flags: int, depth: int) -> int:
        """abc and the acc that takes its result at `time`."""
        plane = self.pick([q.index for q in self.by_unit[Unit.MXM_A] if q.x == at])
        type_ = self.pick((Type.F16, Type.I8)) if plane % 2 == 0 else Type.I8
        dispatch = time - self.timing.latency("abc")
        interval = self.chip.mxm.fp16_interval_cycles if type_ is Type.F16 else 1
        for k in range(self.count):
            start = dispatch + k * self.gap
            for claimed in (plane, plane + 1)[: type_.n_streams]:
                self.books.claim(self.books.planes[claimed], start, start + interval - 1)
        source = self.deliver(at, dispatch, EAST if at > 0 else WEST, type_.n_streams, depth)
        feeds = next(q for q in self.by_unit[Unit.MXM_A] if q.index == plane)
        takes = next(q for q in self.by_unit[Unit.MXM_C] if q.index == plane)
        self.put(feeds, "abc", dispatch, a=source, b=type_)
        entry, step = self.address(0, 8)
        result = Type.F32 if type_ is Type.F16 else Type.I32
        self.put(takes, "acc", time, a=entry, b=ref, c=flags, d=result, step=step)
        return plane

    def grow(self, *, depth: int = 2, attempts: int = 6) -> bool:
        """Add one flow at a random time; False if none could be placed."""
        ends = (
            self.end_write,
            self.end_write,
            self.end_write,
            self.end_weights,
            self.end_acc,
            self.end_vxm,
            self.end_other,
        )
        for _ in range(attempts):
            self.count = int(self.rng.integers(2, 6)) if self.chance(0.3) else 1
            self.gap = int(self.rng.integers(1, 4))
            try:
                with self.books.attempt():
                    self.pick(ends)(int(self.rng.integers(self.span_cycles)), depth)
                return True
            except _Stuck:
                continue
        return False

    def end_write(self, time: int, depth: int) -> None:
        queue = self.pick(self.by_unit[Unit.MEM])
        direction = int(self.rng.integers(2))
        data = self.deliver(queue.x, time, direction, 1, depth)
        if self.chance(0.15):
            map_ = self.deliver(queue.x, time, direction, 2, 0, self.map_words())
            base, step = self.address(FIRST_FREE_WORD, self.chip.mem.words_per_slice - 16)
            self.put(queue, "scatter", time, a=map_, b=data, c=base, step=step)
        else:
            a, step = self.address(FIRST_FREE_WORD, self.chip.mem.words_per_slice)
            self.put(queue, "write", time, a=a, b=data, step=step)

    def end_weights(self, time: int, depth: int) -> None:
        queue = self.pick(self.by_unit[Unit.MXM_W])
        columns = self.chip.mxm.cols // 16
        group, step = self.address(0, columns)
        source = self.deliver(queue.x, time, EAST if queue.x > 0 else WEST, 16, depth)
        self.put(queue, "lw", time, a=source, b=group, step=step)
        if self.chance(0.8):
            after = time + (self.count - 1) * self.gap + int(self.rng.integers(1, 4))
            self.count = 1
            self.put(queue, "iw", after)

    def end_acc(self, time: int, depth: int) -> None:
        self.accumulate(
            self.pick((-self.edge, self.edge)), time, 0, int(self.rng.integers(4)), depth
        )

    def end_vxm(self, time: int, depth: int) -> None:
        is_float = self.chance(0.5)
        self.vxm(
            time,
            vxm_operand(NONE, Type.F32 if is_float else Type.I32),
            is_float=is_float,
            depth=depth,
        )

    def end_other(self, time: int, depth: int) -> None:
        if self.links and self.chance(0.5):
            queue = self.pick(self.by_unit[Unit.C2C])
            self.send(queue, time, int(self.rng.integers(self.chip.c2c.links)), depth)
        elif self.chance(0.5):
            self.put(self.pick(self.by_unit[Unit.MXM_W]), "iw", time)
        else:  # a value that nobody wants
            queue = self.pick(self.by_unit[Unit.MEM])
            direction = int(self.rng.integers(2))
            end = self.edge if direction == EAST else -self.edge
            self.read(queue, queue.x, time, direction, int(self.rng.integers(32)), end, None)

    def send(self, queue: Queue, time: int, link: int, depth: int) -> None:
        """Bring some vector to a C2C queue and send it, once the link is free."""
        for k in range(self.count):
            start = time + k * self.gap
            end = start + self.chip.c2c_vector_cycles - 1
            self.books.claim(self.books.links[link], start, end)
        source = self.deliver(queue.x, time, EAST if queue.x > 0 else WEST, 1, depth)
        self.put(queue, "send", time, a=source, b=link)

    def program(self, name: str = "flow") -> Program:
        """Everything grown so far, shifted to start at cycle 0 to 3."""
        start = min((row[2] for row in self.books.rows), default=0) - int(self.rng.integers(4))
        rows = [(queue, op, time - start, columns) for queue, op, time, columns in self.books.rows]
        return make_program(self.chip, rows, name=name)


def flow_program(
    chip: Chip,
    seed: int,
    n_flows: int,
    *,
    links: bool = True,
    depth: int = 2,
    careless: float = 0.0,
) -> Program:
    """A program of up to n_flows flows that breaks no law unless careless, with some barriers and epochs."""
    builder = FlowBuilder(chip, seed, links=links, careless=careless)
    for _ in range(n_flows):
        builder.grow(depth=depth)
    return _with_barriers(builder.program(), chip, builder.rng)


def _with_barriers(program: Program, chip: Chip, rng: np.random.Generator) -> Program:
    """Now and then a queue that parks, another that releases it, a link that waits for its epoch."""
    rows = program.instructions
    extra: list[tuple[int, str, int]] = []
    last = rows["time"].astype(np.int64) + (rows["count"] - 1).astype(np.int64) * rows["gap"]
    horizon = int(last.max(initial=0)) + 1

    def busy_until(queue: int) -> int:
        return int(last[rows["queue"] == queue].max(initial=-1)) + 1

    all_queues = queues(chip)
    if rng.random() < 0.3:
        parked, herald = rng.choice(len(all_queues), 2, replace=False)
        start = busy_until(int(parked)) + int(rng.integers(3))
        release = max(start, busy_until(int(herald))) + int(rng.integers(3))
        extra += [(int(parked), "sync", start), (int(herald), "notify", release)]
        extra += [(int(parked), "notify", release + chip.icu.barrier_cycles + int(rng.integers(2)))]
    if rng.random() < 0.3:
        link = [q.number for q in all_queues if q.unit is Unit.C2C][int(rng.integers(2))]
        if all(queue != link for queue, _, _ in extra):
            start = busy_until(link) + int(rng.integers(horizon))
            after = (start // chip.c2c.epoch_cycles + 1) * chip.c2c.epoch_cycles
            extra += [(link, "deskew", start), (link, "config", after)] if after < 600 else []
    more = make_program(
        chip, [(q, name, t, {"imm": 0xFFFFF if name == "config" else 0}) for q, name, t in extra]
    )
    return replace(
        program, instructions=sort_instructions(np.concatenate((rows, more.instructions)))
    )


def long_queues(chip: Chip, seed: int, n_instructions: int = 60) -> Program:
    """Two or three queues with many instructions that do nothing, some repeated, loosely spaced; no fetches."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, str, int, Columns]] = []
    for queue in rng.choice(len(queues(chip)), int(rng.integers(2, 4)), replace=False).tolist():
        time = int(rng.integers(4))
        for _ in range(n_instructions):
            count = int(rng.integers(2, 5)) if rng.random() < 0.2 else 1
            gap = int(rng.integers(1, 4)) if count > 1 else 1
            rows.append((queue, "config", time, {"count": count, "gap": gap}))
            time += (count - 1) * gap + int(rng.choice((1, 1, 2, 5, 12)))
    return make_program(chip, rows, name="long")


def raw_program(chip: Chip, seed: int, n_instructions: int) -> Program:
    """Well-formed instructions on random queues at random early times; hardly any law is kept."""
    rng = np.random.default_rng(seed)
    all_queues = queues(chip)
    rows = []
    for _ in range(n_instructions):
        queue = all_queues[int(rng.integers(len(all_queues)))]
        own = [r for r in ROWS if r.unit is queue.unit]
        common = [r for r in ROWS if r.unit is Unit.ANY and r.name not in ("nop", "repeat")]
        choice = common if rng.random() < 0.06 else own
        row = choice[int(rng.integers(len(choice)))]
        rows.append(
            (
                queue.number,
                row.name,
                int(rng.integers(40)),
                _random_columns(rng, chip, queue, row.op),
            )
        )
    program = make_program(chip, rows, name="raw")
    if rng.random() < 0.2:
        constant = np.array(
            [[int(rng.integers(2 * chip.mem.slices_per_hemisphere)), 16, 48]], np.int64
        )
        program = replace(program, constant=constant)
    return program


def _random_columns(rng: np.random.Generator, chip: Chip, queue: Queue, op: int) -> Columns:
    row = BY_OP[op]
    draw = lambda *bounds: int(rng.integers(*bounds))  # noqa: E731
    width = (1, 2, 4)[draw(3)]
    type_ = Type.F16 if op == 52 and queue.index % 2 == 0 and rng.random() < 0.5 else Type.I8
    columns: Columns = {}
    if rng.random() < 0.2:
        columns |= {"count": draw(2, 4), "gap": draw(1, 4)}
        columns |= {"step": draw(0, 2)} if row.step and row.name != "shift" else {}
    for operand in row.operands:
        size = operand.width or (type_.n_streams if op == 52 else width)
        size = {-1: 4, -2: 16}.get(size, size)
        near = size * draw(min(4, 32 // size))
        tap = operand.role == "in" and rng.random() < 0.3
        columns[operand.column] = {
            Kind.ADDRESS: lambda: draw(chip.mem.words_per_slice - 8),
            Kind.STREAM: lambda near=near, tap=tap: stream_ref(near, draw(2), tap),
            Kind.OPERAND: lambda: 0,
            Kind.COLUMN: lambda: draw(16),
            Kind.ENTRY: lambda: draw(8),
            Kind.TYPE: lambda: int(type_ if op == 52 else (Type.F32, Type.I32)[draw(2)]),
            Kind.FLAGS: lambda: draw(8),
            Kind.AMOUNT: lambda: draw(-40, 41) & 0xFFFF,
            Kind.WIDTH: lambda: width | (WRAP if op == 60 and rng.random() < 0.5 else 0),
            Kind.LANES: lambda: draw(1 << 16),
            Kind.COUNT: lambda: 4,
            Kind.SLICE: lambda: draw(2 * chip.mem.slices_per_hemisphere),
            Kind.LINK: lambda: draw(chip.c2c.links),
            Kind.MAP16: lambda: draw(1 << 63),
            Kind.WORD: lambda: draw(1 << 20),
        }[operand.kind]()
    if row.unit is Unit.VXM:
        columns |= _random_vxm(rng, chip, op)
    return columns


def _random_vxm(rng: np.random.Generator, chip: Chip, op: int) -> Columns:
    row = BY_OP[op]
    is_float = {"f": True, "i": False}.get(row.result, bool(rng.integers(2)))
    takes_float = not is_float if row.name in ("itof", "ftoi") else is_float
    columns = {"imm": 0}
    for name in "abc"[: row.n_sources] if row.n_sources < 2 else "ab":
        kind = (STREAM, ALU, IMM)[int(rng.integers(3))]
        types = _FLOAT_TYPES if takes_float else _INT_TYPES
        type_ = types[int(rng.integers(len(types)))] if kind == STREAM else types[0]
        columns[name] = vxm_operand(kind, type_, _vxm_value(rng, chip, kind, type_))
        if kind == IMM:
            columns["imm"] = int(rng.integers(1 << 32))
    types = _FLOAT_TYPES if is_float else _INT_TYPES
    type_ = types[int(rng.integers(len(types)))]
    kind = (STREAM, NONE)[int(rng.integers(2))]
    type_ = type_ if kind == STREAM else types[0]
    columns["c"] = vxm_operand(kind, type_, _vxm_value(rng, chip, kind, type_) & ~64)
    return columns


def _vxm_value(rng: np.random.Generator, chip: Chip, kind: int, type_: Type) -> int:
    if kind == STREAM:
        size = type_.n_streams
        return stream_ref(
            size * int(rng.integers(8 // size)), int(rng.integers(2)), bool(rng.random() < 0.3)
        )
    return int(rng.integers(chip.vxm.alus)) if kind == ALU else 0


def perturbed(program: Program, chip: Chip, seed: int, n_changes: int) -> Program:
    """The program with small changes: a cycle earlier or later, another stream, a tap, a lost or doubled instruction."""
    rng = np.random.default_rng(seed)
    rows = program.instructions.copy()
    for _ in range(n_changes):
        if len(rows):
            rows = _change(rows, chip, rng)
    if n_changes and rng.random() < 0.15:
        n_slices, words = 2 * chip.mem.slices_per_hemisphere, chip.mem.words_per_slice
        constant = np.array([(s, words // 2, words) for s in range(n_slices)], np.int64)
        program = replace(program, constant=constant)
    return replace(program, instructions=sort_instructions(rows))


def supplied(program: Program, chip: Chip) -> Program:
    """The program with fetches for queues that do not fit their buffers, if there is room for them."""
    n_slices, words = 2 * chip.mem.slices_per_hemisphere, chip.mem.words_per_slice
    text = [(slice_, words - 16, words) for slice_ in range(n_slices)]
    try:
        fed = plan_supply(program, chip, text)
    except CompileError:
        return program
    # As in real programs the text is constant; most of these programs write there, so they mostly drop the promise.
    return fed if len(program.instructions) % 4 == 0 else replace(fed, constant=program.constant)


def refetched(program: Program, seed: int, one_in: int = 8) -> Program:
    """The program with one fetch in `one_in` up to 40 cycles earlier or later: too early to have room, or too late."""
    rng = np.random.default_rng(seed)
    rows = program.instructions.copy()
    moved = (rows["op"] == BY_NAME["ifetch"].op) & (rng.random(len(rows)) < 1 / one_in)
    times = rows["time"] + rng.integers(-40, 41, len(rows))
    rows["time"][moved] = np.maximum(times[moved], 0)
    return replace(program, instructions=sort_instructions(rows))


def _change(rows: np.ndarray, chip: Chip, rng: np.random.Generator) -> np.ndarray:
    i = int(rng.integers(len(rows)))
    row = BY_OP[int(rows["op"][i])]
    what = int(rng.integers(13))
    streams = [
        o.column
        for o in row.operands
        if o.kind in (Kind.STREAM, Kind.OPERAND) and o.column != "imm"
    ]
    if what <= 1:
        rows["time"][i] = max(0, int(rows["time"][i]) + int(rng.choice((-1, 1, 2))))
    elif what == 2 and streams:
        rows[streams[int(rng.integers(len(streams)))]][i] ^= 1 << int(rng.integers(2, 6))
    elif what == 3 and streams:
        inputs = [o.column for o in row.operands if o.role == "in" and o.column in streams]
        if inputs:
            rows[inputs[int(rng.integers(len(inputs)))]][i] ^= 64
    elif what == 4:
        rows = np.delete(rows, i)
    elif what == 5:
        twin = rows[i : i + 1].copy()
        twin["time"] += int(rng.integers(1, 30))
        rows = np.concatenate((rows, twin))
    elif what == 6:
        rows["count"][i] += 1
    elif what == 7 and rows["count"][i] > 1:
        rows["gap"][i] += 1
    elif what == 8:
        rows = np.concatenate((rows, _stray(chip, rng, int(rows["time"].max()) + 1)))
    elif what == 9:
        rows = np.concatenate((rows, _rival(rows, chip, rng)))
    elif what <= 11:
        rows = np.concatenate((rows, _fetch(rows, chip, rng)))
    elif what == 12:
        results = np.flatnonzero(rows["op"] == BY_NAME["acc"].op)
        rows["d"][results[:1]] ^= Type.F32 ^ Type.I32
    return rows


def _rival(rows: np.ndarray, chip: Chip, rng: np.random.Generator) -> np.ndarray:
    """A read of another slice that drives the stream and diagonal of one of the reads."""
    reads = rows[rows["op"] == BY_NAME["read"].op]
    if not len(reads):
        return reads
    all_queues = queues(chip)
    twin = reads[[int(rng.integers(len(reads)))]]
    old = all_queues[int(twin["queue"][0])].x
    number = int(rng.integers(2 * chip.mem.slices_per_hemisphere))
    hops = all_queues[number].x - old
    twin["time"] += -hops if int(twin["b"][0]) >> 5 & 1 else hops
    twin["queue"] = number
    return twin if twin["time"][0] >= 0 else twin[:0]


def _fetch(rows: np.ndarray, chip: Chip, rng: np.random.Generator) -> np.ndarray:
    """A fetch for a queue in use, from a slice in use when it is used."""
    reader, fetcher = rows[rng.integers(len(rows), size=2)]
    n_slices = 2 * chip.mem.slices_per_hemisphere
    slice_ = int(reader["queue"]) if reader["queue"] < n_slices else int(rng.integers(n_slices))
    time = max(0, int(reader["time"]) - int(rng.integers(2)))
    columns = {"a": slice_, "b": int(rng.integers(chip.mem.words_per_slice - 1))}
    return make_program(chip, [(int(fetcher["queue"]), "ifetch", time, columns)]).instructions


def _stray(chip: Chip, rng: np.random.Generator, horizon: int) -> np.ndarray:
    """One instruction that has nothing to do with the rest."""
    stray = raw_program(chip, int(rng.integers(1 << 62)), 1).instructions
    stray["time"] = int(rng.integers(horizon))
    return stray


def malformed(program: Program, seed: int, n_changes: int) -> Program:
    """The program with random bits in random columns: what no compiler would write, but a file may hold."""
    rng = np.random.default_rng(seed)
    rows = program.instructions.copy()
    for _ in range(n_changes if len(rows) else 0):
        i = int(rng.integers(len(rows)))
        column = str(
            rng.choice(["time", "queue", "op", "count", "gap", "step", "a", "b", "c", "d", "imm"])
        )
        bits = {"time": 5, "queue": 8, "op": 6, "count": 3, "gap": 2, "step": 6, "imm": 40}.get(
            column, 13
        )
        if rng.random() < 0.3 and column not in ("count", "gap"):
            rows[column][i] = -1 if column in ("time", "step") else np.iinfo(rows[column].dtype).max
        else:
            rows[column][i] = int(rng.integers(1 << bits))
    return replace(program, instructions=sort_instructions(rows))


SEEDS = st.integers(0, 2**62)


def raw_programs(chip: Chip, *, max_instructions: int = 24) -> st.SearchStrategy[Program]:
    """Random instructions, mostly faulty."""
    return st.builds(
        lambda seed, n: raw_program(chip, seed, n), SEEDS, st.integers(1, max_instructions)
    )


def flow_programs(
    chip: Chip,
    *,
    max_flows: int = 6,
    max_changes: int = 0,
    links: bool = True,
    careless: float = 0.0,
) -> st.SearchStrategy[Program]:
    """Data flows that keep the laws unless careless, with up to max_changes small changes that break some."""

    def build(seed: int, n_flows: int, n_changes: int) -> Program:
        program = flow_program(chip, seed, n_flows, links=links, careless=careless)
        return perturbed(program, chip, seed + 1, n_changes) if n_changes else program

    return st.builds(build, SEEDS, st.integers(1, max_flows), st.integers(0, max_changes))


def shrunk(program: Program, fails: Callable[[Program], bool]) -> Program:
    """The program without all instructions that do not matter to `fails`; for the message of a failed comparison."""
    rows = program.instructions
    size = max(1, len(rows) // 2)
    while size:
        start = 0
        while start < len(rows):
            fewer = np.concatenate((rows[:start], rows[start + size :]))
            if fails(replace(program, instructions=fewer)):
                rows = fewer
            else:
                start += size
        size //= 2
    return replace(program, instructions=rows)
