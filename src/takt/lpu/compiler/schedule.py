"""The schedule pass: a cycle, streams, ALUs and SRAM words for every task, earliest fit in task order.

Tasks come in dependence order. Each is put at the first cycle at which its inputs are written and every resource it
needs is free (`timeline`), so later tasks may fill gaps that earlier ones left. Weight tiles are loaded column group
by column group into the free cycles of the outward streams, one tile ahead of use. The result is a claim; the checker
and the machine judge it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from takt.errors import CapacityError, CompileError
from takt.lpu.compiler.append import place_append
from takt.lpu.compiler.chain import Chain, FromMicro, Micro, solve
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.ir import (
    EAST,
    WEST,
    Append,
    Buffer,
    Constant,
    Feed,
    FromBuffer,
    FromFeed,
    FromGather,
    Node,
    Plan,
    Task,
    Tile,
)
from takt.lpu.compiler.timeline import Timeline, first_free, pattern
from takt.lpu.isa import table as isa
from takt.lpu.isa.program import INSTRUCTION, sort_instructions
from takt.lpu.isa.table import ADD, BY_NAME, EMIT, KEEP, Type, stream_ref, vxm_operand

_ORIGIN = 64  # bit of diagonal 0 in stream timelines: diagonals start below zero
_SWAP = sum(
    (lane ^ 1) << (4 * lane) for lane in range(16)
)  # distribute map: exchange neighbouring lanes
_TRIES = 4096  # cycles tried for one task (those that a known clash rules out are skipped) before giving up
_MAX_DELAY = (
    4  # copies tried before each output when a task's accesses to one slice collide with each other
)
_CENTRE = 2

Row = tuple[int, int, int, int, int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Placed:
    """When a task ran: first and last cycle of its effects (for reports)."""

    label: str
    layer: int
    start: int
    end: int


@dataclass(slots=True)
class Schedule:
    """Result of the pass: instructions, where each task ran, and the length without resource limits."""

    instructions: NDArray[np.void]
    placed: list[Placed]
    ideal_cycles: int
    words_used: list[int]


@dataclass(slots=True)
class _Engine:
    """State of one MXM engine (an f16 pair of planes, or one plane): tiles are used strictly in order."""

    tile: Tile | None = None
    active: int = 0  # abc may be dispatched from here on with the current tile
    installed: int = -1  # cycle of the last iw
    last_feed: int = -1


@dataclass(slots=True)
class Undo:
    """Claims of a task being placed, to be given back if it does not fit after all."""

    taken: list[tuple[Timeline, int, int]] = field(default_factory=list)
    rigid: bool = False  # a claim met another of the same task: no other cycle would help
    skip: int = 1  # the task cannot fit for this many cycles

    def take(self, line: Timeline, time: int, mask: int) -> bool:
        if (line.bits >> time) & mask:
            self.rigid = any(
                own is line and ((m << at) >> time) & mask for own, at, m in self.taken
            )
            self.skip = max(1, line.wait(time, mask))
            return False
        line.bits |= mask << time
        self.taken.append((line, time, mask))
        return True

    def rollback(self) -> None:
        for line, time, mask in self.taken:
            line.bits &= ~(mask << time)
        self.taken.clear()


class Scheduler:
    """Owner of all reservation tables while one program is scheduled."""

    def __init__(
        self,
        g: Geometry,
        work: dict[int, tuple[int, ...]],
        next_word: list[int],
        limit: list[int],
        zero_word: int = 0,
    ) -> None:
        """`work[side]` are the slices for temporaries; `next_word[slice]`/`limit[slice]` their free words."""
        self.g = g
        self.work = work
        self.next_word = next_word
        self.zero_word = zero_word  # a word of zeros in every weight slice
        self.limit = limit
        self.queue = [Timeline() for _ in range(len(g.queue))]
        # streams[direction][segment][stream]; segments: west of the VXM, east of it, and at it
        self.streams = [
            [[Timeline() for _ in range(g.n_streams)] for _ in range(3)] for _ in range(2)
        ]
        self.engines: dict[tuple[int, int], _Engine] = {}
        self.rows: list[Row] = []
        self.blocks: list[NDArray[np.void]] = []
        self.placed: list[Placed] = []
        self.ideal_end = 0
        self.free_words: dict[int, list[tuple[int, int, int]]] = {}
        self.turn = 0
        self.entry_turn: dict[int, int] = {}
        self.peers: dict[int, list[Buffer]] = {}
        self.dirty: dict[int, int] = {}  # column groups of a plane's buffer that may be non-zero

    # ------------------------------------------------------------------------------------------------- small parts
    def run(self, plan: Plan) -> Schedule:
        for task in plan.tasks:
            for buffer in (*inputs_of(task), *(b for _, b, _ in task.outputs)):
                if buffer.fixed:
                    buffer.written, buffer.n_readers, buffer.ideal, buffer.last_read = (), 0, 0, 0
                    buffer.done, buffer.ideal_done = -1, 0
        for task in plan.tasks:
            self._count_readers(task)
        for task in plan.tasks:
            self.place(task)
        n = len(self.rows)
        array = np.zeros(n, INSTRUCTION)
        if n:
            columns = np.array(self.rows, dtype=np.uint64)
            for i, name in enumerate(("time", "queue", "op", "count", "gap")):
                array[name] = columns[:, i]
            array["step"] = columns[:, 5].astype(np.int64)
            for i, name in enumerate(("a", "b", "c", "d", "imm")):
                array[name] = columns[:, 6 + i]
        everything = np.concatenate([array, *self.blocks])
        return Schedule(
            sort_instructions(everything), self.placed, self.ideal_end, list(self.next_word)
        )

    def _count_readers(self, task: Task) -> None:
        inputs = inputs_of(task)
        for buffer in inputs:
            buffer.n_readers += 1
        # Single rows meet in a slice only if one operation takes both; long runs overlap whatever takes them.
        together = (
            [inputs]
            if task.rows > 1 or task.sxm is not None
            else [
                [s.buffer for s in node.sources if isinstance(s, FromBuffer)] for node in task.nodes
            ]
        )
        for group in together:
            for buffer in group:
                self.peers.setdefault(id(buffer), []).extend(b for b in group if b is not buffer)

    def emit(
        self,
        time: int,
        queue: int,
        op: str,
        *,
        count: int = 1,
        gap: int = 1,
        step: int = 0,
        a: int = 0,
        b: int = 0,
        c: int = 0,
        d: int = 0,
        imm: int = 0,
    ) -> None:
        if count == 1:
            gap, step = 1, 0
        self.rows.append(
            (
                time,
                queue,
                BY_NAME[op].op,
                count,
                gap,
                step & 0xFFFFFFFFFFFFFFFF,
                a,
                b,
                c & 0xFFFF,
                d,
                imm,
            )
        )

    def segments(self, x0: int, x1: int) -> tuple[int, ...]:
        low, high = min(x0, x1), max(x0, x1)
        out = []
        if low < 0:
            out.append(WEST)
        if high > 0:
            out.append(EAST)
        if low <= 0 <= high:
            out.append(_CENTRE)
        return tuple(out)

    def take_streams(
        self,
        undo: Undo,
        direction: int,
        segments: tuple[int, ...],
        diagonal: int,
        mask: int,
        width: int,
    ) -> int:
        """Claim a group of `width` streams on the given diagonals; returns the first stream or −1."""
        lines = self.streams[direction]
        position = diagonal + _ORIGIN
        for first in range(0, self.g.n_streams, width):
            if all(
                not (lines[segment][s].bits >> position) & mask
                for segment in segments
                for s in range(first, first + width)
            ):
                for segment in segments:
                    for s in range(first, first + width):
                        undo.take(lines[segment][s], position, mask)
                return first
        return -1

    # -------------------------------------------------------------------------------------------------- placing tasks
    def place(self, task: Task) -> None:
        if task.sxm is not None:
            self._place_append(task, task.sxm)
            return
        for feed in task.feeds:
            self.ensure_tile(feed.tile)
        for delay in range(_MAX_DELAY):
            chain = solve(task, self.g, delay)
            time = max(self._earliest(task, chain, ideal=False), 0)
            for _ in range(_TRIES):
                undo = Undo()
                done = self._try(task, chain, time, undo)
                if done is not None:
                    ideal = max(self._earliest(task, chain, ideal=True), 0)
                    self._commit(task, chain, time, ideal, done)
                    return
                undo.rollback()
                if undo.rigid:
                    break
                time += undo.skip
        clash = _shared_slice(task)
        if clash is None:
            raise CompileError(f"no place found for task {task.label} of layer {task.layer}")
        self._relocate(task, clash)
        self.place(task)

    def _relocate(self, task: Task, buffer: Buffer) -> None:
        """Copy a buffer away from the slices of the task's other inputs, and let the task read the copy."""
        moved = Buffer(f"{buffer.name}.copy", buffer.type, rows=buffer.rows, n_readers=1)
        self.peers[id(moved)] = [b for b in inputs_of(task) if b is not buffer]
        copy = Task(label=task.label, layer=task.layer, rows=buffer.rows)
        copy.out(copy.op("mov", FromBuffer(buffer)), moved)
        self.place(copy)
        feeds = [feed for feed in task.feeds if feed.source is buffer]
        nodes = [i for i, node in enumerate(task.nodes) if _reads_buffer(node, buffer)]
        if (
            len(feeds) + len(nodes) > 1
        ):  # it clashes with itself: only one of its readers takes the copy
            buffer.n_readers += 1
            feeds, nodes = feeds[:0] if nodes else feeds[:1], nodes[:1]
        for feed in feeds:
            feed.source = moved
        for i in nodes:
            node = task.nodes[i]
            sources = tuple(
                FromBuffer(moved, s.row, s.fixed_row)
                if isinstance(s, FromBuffer) and s.buffer is buffer
                else s
                for s in node.sources
            )
            task.nodes[i] = Node(node.op, sources)

    def _reads(self, task: Task, chain: Chain) -> Iterator[tuple[FromBuffer, int]]:
        """Each buffer operand of the VXM part with the offset at which it must be at x = 0."""
        seen = set()
        for micro in chain.micros:
            for source in micro.sources:
                if isinstance(source, FromBuffer) and _key(source, micro.offset) not in seen:
                    seen.add(_key(source, micro.offset))
                    yield source, micro.offset

    def _feed_offset(self, chain: Chain, index: int) -> int:
        """Abc dispatch relative to the task's time."""
        g = self.g
        return chain.arrival.get(index, 0) - g.x_mxm - g.emit - g.depth

    def _earliest(self, task: Task, chain: Chain, *, ideal: bool) -> int:
        g, ii, n = self.g, chain.interval, task.rows
        first = 0
        for source, offset in self._reads(task, chain):
            buffer = source.buffer
            if ideal:
                ready = buffer.ideal + _slack(n, ii, buffer, source.fixed_row)
                first = max(first, ready + g.read + 1 - offset)
            else:
                for byte, written in enumerate(buffer.written):
                    x = g.slice_x[buffer.location(byte, source.row)[0]]
                    ready = (
                        written
                        + source.row * buffer.interval
                        + 1
                        + _slack(n, ii, buffer, source.fixed_row)
                    )
                    first = max(first, ready + abs(x) + g.read - offset)
                if not buffer.written:
                    x = max(
                        abs(g.slice_x[buffer.location(b, source.row)[0]])
                        for b in range(len(buffer.slices))
                    )
                    first = max(first, x + g.read - offset)
        for micro in chain.micros:
            if any(isinstance(source, FromGather) for source in micro.sources):
                first = max(first, 4 * g.x_mxm - micro.offset)
        for index, feed in enumerate(task.feeds):
            abc = self._feed_offset(chain, index)
            buffer = feed.source
            target = g.sign(feed.tile.side) * g.x_mxm
            if ideal:
                ready = buffer.ideal + _slack(n, ii, buffer, False)
                first = max(first, ready + g.x_mxm - 1 + g.read - abc)
                for written in feed.tile.sources:
                    first = max(first, written.ideal_done + g.read + g.install + 1 - abc)
                if feed.add:
                    first = max(first, feed.group.ideal + 1 - abc - g.depth)
            else:
                engine = self.engine(feed.tile)
                first = max(first, engine.active - abc, feed.group.last_time + 1 - abc - g.depth)
                for byte in range(len(buffer.slices)):
                    x = g.slice_x[buffer.location(byte, feed.row)[0]]
                    travel = abs(target - x) + g.read
                    first = max(first, travel - abc)
                    if buffer.written:
                        ready = (
                            buffer.written[byte]
                            + feed.row * buffer.interval
                            + 1
                            + _slack(n, ii, buffer, False)
                        )
                        first = max(first, ready + travel - abc)
        return first

    def _try(self, task: Task, chain: Chain, t: int, undo: Undo) -> _Picks | None:
        """Claim everything the task needs at time t; None if something is taken."""
        picks = _Picks()
        for index, feed in enumerate(task.feeds):
            if not self._try_feed(task, chain, t, index, feed, undo, picks):
                return None
        for source, offset in self._reads(task, chain):
            read = self._try_read(
                source.buffer,
                source.row,
                source.fixed_row,
                0,
                t + offset,
                task.rows,
                chain.interval,
                undo,
            )
            if read is None:
                return None
            picks.reads[_key(source, offset)] = read
        for micro in chain.micros:
            for source in micro.sources:
                if isinstance(source, FromGather) and not self._try_gather(
                    source, t + micro.offset, task.rows, undo, picks
                ):
                    return None
            if not self._try_micro(task, chain, t, micro, undo, picks):
                return None
        return picks

    def _try_read(
        self,
        buffer: Buffer,
        row: int,
        fixed: bool,
        target: int,
        arrival: int,
        rows: int,
        interval: int,
        undo: Undo,
    ) -> _Read | None:
        """Read `rows` rows of a buffer so that row 0 is at x = `target` at cycle `arrival`."""
        g = self.g
        exact = pattern(rows, interval)
        for s, time, span, _ in _runs(g, buffer, row, fixed, target, arrival, rows, interval):
            if time < 0 or not undo.take(self.queue[s], time, span):
                return None
        sides = {g.side_of(buffer.location(b, row)[0]) for b in range(len(buffer.slices))}
        if len(sides) != 1:
            raise CompileError(f"buffer {buffer.name} lies on both sides of the chip")
        source = g.sign(sides.pop())
        direction = 0 if target > source else 1
        diagonal = arrival - target if direction == 0 else arrival + target
        first = self.take_streams(
            undo, direction, self.segments(source, target), diagonal, exact, len(buffer.slices)
        )
        return _Read(buffer, row, fixed, target, arrival, direction, first) if first >= 0 else None

    def _try_feed(
        self, task: Task, chain: Chain, t: int, index: int, feed: Feed, undo: Undo, picks: _Picks
    ) -> bool:
        g, ii, n = self.g, chain.interval, task.rows
        abc = t + self._feed_offset(chain, index)
        f16 = feed.tile.type is Type.F16
        busy = g.interval_f16 if f16 else 1
        plane = _plane(feed.tile)
        claim = pattern(n, ii)
        for k in range(1, busy):
            claim |= claim << k
        span = _feed_span(task, feed, n, ii)
        for p in (plane, plane + 1) if f16 else (plane,):
            if not undo.take(self.queue[g.queue[f"mxm.{p}.a"]], abc, claim | span):
                return False
        if not undo.take(self.queue[g.queue[f"mxm.{plane}.c"]], abc + g.depth, span):
            return False
        side = feed.tile.side
        target = g.sign(side) * g.x_mxm
        read = self._try_read(feed.source, feed.row, False, target, abc, n, ii, undo)
        if read is None:
            return False
        picks.feeds.append(read)
        if not feed.last:
            picks.results.append((-1, -1))
            return True
        return self._try_result(feed, side, abc, n, ii, span, undo, picks)

    def _try_result(
        self,
        feed: Feed,
        side: int,
        abc: int,
        n: int,
        ii: int,
        span: int,
        undo: Undo,
        picks: _Picks,
    ) -> bool:
        """Streams (and distributors) of an emitted result on its way to the VXM."""
        g = self.g
        direction = 1 if side == EAST else 0
        exact = pattern(n, ii)
        diagonal = abc + g.depth + g.emit + g.x_mxm  # t + x eastern side, t − x western side
        first = self.take_streams(undo, direction, (side, _CENTRE), diagonal, exact, 4)
        if first < 0:
            return False
        swapped = -1
        if feed.swap:
            letter = "e" if side == EAST else "w"
            at = diagonal - g.x_sxm
            for k in range(4):
                if not undo.take(self.queue[g.queue[f"sxm.distribute.{letter}{k}"]], at, span):
                    return False
            swapped = self.take_streams(
                undo, direction, (side, _CENTRE), diagonal + g.distribute, exact, 4
            )
            if swapped < 0:
                return False
        picks.results.append((first, swapped))
        return True

    def _try_gather(
        self, source: FromGather, arrival: int, n: int, undo: Undo, picks: _Picks
    ) -> bool:
        """Table rows of which the first is at the VXM at `arrival`: maps pass the table's hop, rows come back."""
        g, table = self.g, source.table
        slices = [byte[0] for byte in table.slices]
        x = g.slice_x[slices[0]]
        when = arrival - abs(x) - g.gather
        for s in slices:
            if when < 0 or not undo.take(self.queue[s], when, _span(n, 1)):
                return False
        read = self._try_read(source.maps, source.row, False, x, when, n, 1, undo)
        if read is None:
            return False
        side = g.side_of(slices[0])
        first = self.take_streams(
            undo, 1 if side == EAST else 0, (side, _CENTRE), arrival, _span(n, 1), len(slices)
        )
        picks.gathers[id(source)] = (read, first)
        return first >= 0

    def _emit_gather(
        self, source: FromGather, read: _Read, first: int, arrival: int, n: int
    ) -> int:
        g, table = self.g, source.table
        self._emit_read(read, n, 1)
        inward = 0
        for byte, (s,) in enumerate(table.slices):
            inward = 1 if g.side_of(s) == EAST else 0
            self.emit(
                arrival - abs(g.slice_x[s]) - g.gather,
                s,
                "gather",
                count=n,
                a=stream_ref(read.first, read.direction),
                b=stream_ref(first + byte, inward),
                c=table.bases[byte],
            )
        return vxm_operand(isa.STREAM, table.type, stream_ref(first, inward))

    def _try_micro(
        self, task: Task, chain: Chain, t: int, micro: Micro, undo: Undo, picks: _Picks
    ) -> bool:
        g, ii, n = self.g, chain.interval, task.rows
        span, exact = _span(n, ii), pattern(n, ii)
        base = g.queue["vxm.0"]
        for k in range(g.n_alus):
            if self.queue[base + k].free(t + micro.offset, span):
                undo.take(self.queue[base + k], t + micro.offset, span)
                picks.alus.append(k)
                break
        else:
            return False
        done = t + micro.offset + g.exit
        if micro.via is not None:
            first = self.take_streams(undo, 0, (_CENTRE,), done, exact, micro.via.n_streams)
            direction = 0
            if first < 0:
                first, direction = (
                    self.take_streams(undo, 1, (_CENTRE,), done, exact, micro.via.n_streams),
                    1,
                )
            picks.streams.append((direction, first))
            return first >= 0
        if micro.output < 0:
            picks.streams.append((-1, -1))
            return True
        return self._try_output(task, micro, done, n, ii, undo, picks)

    def _try_output(
        self, task: Task, micro: Micro, done: int, n: int, ii: int, undo: Undo, picks: _Picks
    ) -> bool:
        g = self.g
        _, buffer, row = task.outputs[micro.output]
        exact = pattern(n, ii)
        width = buffer.type.n_streams
        if buffer.slices:
            side = g.side_of(buffer.location(0, row)[0])
            for s, time, span, _ in _runs(g, buffer, row, False, 0, done, n, ii, write=True):
                if not undo.take(self.queue[s], time, span):
                    return False
            direction = 0 if side == EAST else 1
            first = self.take_streams(undo, direction, (_CENTRE, side), done, exact, width)
            picks.streams.append((direction, first))
            return first >= 0
        self.turn += 1
        for side in (EAST, WEST) if self.turn & 1 else (WEST, EAST):
            if buffer.side not in (-1, side):
                continue
            span = _span(n, ii)
            chosen = self.free_slices(
                side, done, span, width, buffer.rows, avoid=self._avoid(buffer)
            )
            if (
                chosen is None
            ):  # whoever reads it beside another buffer in the same slice has it copied
                chosen = self.free_slices(side, done, span, width, buffer.rows)
            if chosen is None:
                continue
            direction = 0 if side == EAST else 1
            first = self.take_streams(undo, direction, (_CENTRE, side), done, exact, width)
            if first < 0:
                continue
            for s in chosen:
                undo.take(self.queue[s], done + abs(g.slice_x[s]), _span(n, ii))
            picks.streams.append((direction, first))
            picks.places[micro.output] = chosen
            return True
        return False

    def _avoid(self, buffer: Buffer) -> frozenset[int]:
        """Slices of buffers that some task reads together with this one: a slice gives one vector a cycle."""
        return frozenset(
            s for peer in self.peers.get(id(buffer), ()) for byte in peer.slices for s in byte
        )

    def undo(self) -> Undo:
        return Undo()

    def note(self, task: Task, start: int, end: int) -> None:
        self.placed.append(Placed(task.label, task.layer, start, end))

    def free_slices(
        self,
        side: int,
        done: int,
        span: int,
        width: int,
        rows: int,
        *,
        inward: bool = False,
        avoid: frozenset[int] = frozenset(),
    ) -> tuple[int, ...] | None:
        """`width` work slices of a side with room for `rows` words, free to write a value that is at x = 0 at cycle
        `done` (or would be).
        """
        work = self.work[side]
        chosen: list[int] = []
        for i in range(len(work)):
            s = work[(self.turn * 3 + i) % len(work)]
            x = abs(self.g.slice_x[s])
            time = done + (-x if inward else x)
            if s not in avoid and self.queue[s].free(time, span) and self.has_room(s, rows, time):
                chosen.append(s)
                if len(chosen) == width:
                    return tuple(chosen)
        return None

    # ------------------------------------------------------------------------------------------------- committing
    def _commit(self, task: Task, chain: Chain, t: int, ideal: int, picks: _Picks) -> None:
        g, ii, n = self.g, chain.interval, task.rows
        end = t
        for index, (feed, read, result) in enumerate(
            zip(task.feeds, picks.feeds, picks.results, strict=True)
        ):
            abc = t + self._feed_offset(chain, index)
            self._emit_read(read, n, ii)
            self._emit_feed(task, feed, abc, read, result, n, ii)
            feed.group.ideal = max(
                feed.group.ideal, ideal + self._feed_offset(chain, index) + g.depth
            )
            end = max(end, abc + g.depth)
        for read in picks.reads.values():
            self._emit_read(read, n, ii)
        for micro, alu, stream in zip(chain.micros, picks.alus, picks.streams, strict=True):
            self._emit_micro(task, chain, t, micro, alu, stream, picks)
            if micro.output >= 0:
                end = max(end, self._emit_output(task, micro, t, ideal, stream, picks, n, ii))
        for buffer in inputs_of(task):
            self.release(buffer)
        start = min([t, *(t + self._feed_offset(chain, i) for i in range(len(task.feeds)))])
        self.placed.append(Placed(task.label, task.layer, start, end + (n - 1) * ii))

    def _emit_read(self, read: _Read, rows: int, interval: int) -> None:
        """The MEM instructions of one buffer read."""
        g = self.g
        last = 0
        for s, time, _, (byte, word, count, gap) in _runs(
            g, read.buffer, read.row, read.fixed, read.target, read.arrival, rows, interval
        ):
            self.emit(
                time,
                s,
                "read",
                count=count,
                gap=gap,
                step=0 if read.fixed else 1,
                a=word,
                b=stream_ref(read.first + byte, read.direction),
            )
            last = max(last, time + (count - 1) * gap)
        read.buffer.last_read = max(read.buffer.last_read, last)

    def _emit_feed(
        self,
        task: Task,
        feed: Feed,
        abc: int,
        read: _Read,
        result: tuple[int, int],
        n: int,
        ii: int,
    ) -> None:
        g = self.g
        plane, side = _plane(feed.tile), feed.tile.side
        f16 = feed.tile.type is Type.F16
        engine = self.engine(feed.tile)
        engine.last_feed = max(engine.last_feed, abc + (n - 1) * ii)
        for other in self.overlapping(feed.tile):
            other.last_feed = max(other.last_feed, engine.last_feed)
        group = feed.group
        if group.entry < 0:
            group.entry = self._entry(plane, group.rows)
        at = abc + g.depth
        group.last_time = at + ((n - 1) * ii if group.fold else 0)
        flags = (ADD if feed.add else 0) | (EMIT if feed.last else KEEP)
        inward = 1 if side == EAST else 0
        step = 0 if group.fold else 1
        for first, count in [(r, 1) for r in range(n)] if _shares_plane(task, feed) else [(0, n)]:
            later = first * ii
            self.emit(
                abc + later,
                g.queue[f"mxm.{plane}.a"],
                "abc",
                count=count,
                gap=ii,
                a=stream_ref(read.first, read.direction),
                b=int(Type.F16 if f16 else Type.I8),
            )
            self.emit(
                at + later,
                g.queue[f"mxm.{plane}.c"],
                "acc",
                count=count,
                gap=ii,
                step=step,
                a=group.entry + first * step,
                b=stream_ref(result[0], inward) if feed.last else 0,
                c=flags,
                d=int(Type.F32 if f16 else Type.I32),
            )
            if feed.swap:
                letter = "e" if side == EAST else "w"
                when = at + later + g.emit + g.x_mxm - g.x_sxm
                for k in range(4):
                    self.emit(
                        when,
                        g.queue[f"sxm.distribute.{letter}{k}"],
                        "distribute",
                        count=count,
                        gap=ii,
                        a=stream_ref(result[0] + k, inward, tap=True),
                        b=stream_ref(result[1] + k, inward),
                        imm=_SWAP,
                    )

    def _entry(self, plane: int, rows: int) -> int:
        first = self.entry_turn.get(plane, 0)
        if first + rows > self.g.entries:
            first = 0
        self.entry_turn[plane] = first + rows
        return first

    def _emit_micro(
        self,
        task: Task,
        chain: Chain,
        t: int,
        micro: Micro,
        alu: int,
        stream: tuple[int, int],
        picks: _Picks,
    ) -> None:
        g = self.g
        operands: list[int] = []
        imm = 0
        for source in micro.sources:
            if isinstance(source, FromMicro) and source.via is not None:
                direction, first = picks.streams[source.index]
                operands.append(vxm_operand(isa.STREAM, source.via, stream_ref(first, direction)))
            elif isinstance(source, FromMicro):
                kind = Type.I32 if chain.micros[source.index].integer else Type.F32
                operands.append(vxm_operand(isa.ALU, kind, picks.alus[source.index]))
            elif isinstance(source, FromBuffer):
                read = picks.reads[_key(source, micro.offset)]
                operands.append(
                    vxm_operand(
                        isa.STREAM, source.buffer.type, stream_ref(read.first, read.direction)
                    )
                )
            elif isinstance(source, FromGather):
                operands.append(
                    self._emit_gather(
                        source, *picks.gathers[id(source)], t + micro.offset, task.rows
                    )
                )
            elif isinstance(source, FromFeed):
                feed = task.feeds[source.index]
                first = picks.results[source.index][1 if source.swapped else 0]
                kind = Type.F32 if feed.tile.type is Type.F16 else Type.I32
                inward = 1 if feed.tile.side == EAST else 0
                operands.append(vxm_operand(isa.STREAM, kind, stream_ref(first, inward)))
            else:
                imm = _immediate(source)
                operands.append(vxm_operand(isa.IMM, Type.I32 if source.integer else Type.F32))
        destination = 0
        if stream[1] >= 0:
            kind = micro.via if micro.via is not None else task.outputs[micro.output][1].type
            destination = vxm_operand(isa.STREAM, kind, stream_ref(stream[1], stream[0]))
        self.emit(
            t + micro.offset,
            g.queue[f"vxm.{alu}"],
            micro.op,
            count=task.rows,
            gap=chain.interval,
            a=operands[0],
            b=operands[1] if len(operands) > 1 else 0,
            c=destination,
            imm=imm,
        )

    def _emit_output(
        self,
        task: Task,
        micro: Micro,
        t: int,
        ideal: int,
        stream: tuple[int, int],
        picks: _Picks,
        n: int,
        ii: int,
    ) -> int:
        g = self.g
        _, buffer, row = task.outputs[micro.output]
        done = t + micro.offset + g.exit
        if not buffer.slices:
            chosen = picks.places[micro.output]
            buffer.slices = tuple((s,) for s in chosen)
            buffer.bases = tuple(
                self.allocate(s, buffer.rows, done + abs(g.slice_x[s])) for s in chosen
            )
        last = done
        for s, time, _, (byte, word, count, gap) in _runs(
            g, buffer, row, False, 0, done, n, ii, write=True
        ):
            buffer.done = max(buffer.done, time + (count - 1) * gap)
            self.emit(
                time,
                s,
                "write",
                count=count,
                gap=gap,
                step=1,
                a=word,
                b=stream_ref(stream[1] + byte, stream[0]),
            )
            last = max(last, time)
        written = tuple(
            done + abs(g.slice_x[buffer.location(b, row)[0]]) - row * ii
            for b in range(len(buffer.slices))
        )
        buffer.written = tuple(map(max, buffer.written, written)) if buffer.written else written
        buffer.interval = ii
        buffer.ideal = max(buffer.ideal, ideal + micro.offset + g.exit + 1)
        buffer.ideal_done = max(buffer.ideal_done, ideal + micro.offset + g.exit + 1 + (n - 1) * ii)
        self.ideal_end = max(self.ideal_end, buffer.ideal + (n - 1) * ii)
        return last

    # ------------------------------------------------------------------------------------------------------ words
    def allocate(self, slice_: int, rows: int, time: int) -> int:
        """Words for a temporary first written at `time`: reuse what nobody reads any more, else fresh ones."""
        spans = self.free_words.setdefault(slice_, [])
        for i, (base, length, free_at) in enumerate(spans):
            if length >= rows and free_at < time:
                if length == rows:
                    spans.pop(i)
                else:
                    spans[i] = (base + rows, length - rows, free_at)
                return base
        base = self.next_word[slice_]
        if base + rows > self.limit[slice_]:
            raise CapacityError(
                f"slice {slice_} has no room for {rows} more vectors of intermediate results"
            )
        self.next_word[slice_] = base + rows
        return base

    def has_room(self, slice_: int, rows: int, time: int) -> bool:
        """Whether `allocate` would find words."""
        if self.next_word[slice_] + rows <= self.limit[slice_]:
            return True
        return any(
            length >= rows and free_at < time
            for _, length, free_at in self.free_words.get(slice_, ())
        )

    def release(self, buffer: Buffer) -> None:
        buffer.n_readers -= 1
        if buffer.n_readers == 0 and not buffer.fixed:
            for (s,), base in zip(buffer.slices, buffer.bases, strict=True):
                self.free_words.setdefault(s, []).append((base, buffer.rows, buffer.last_read))

    # ------------------------------------------------------------------------------------------------------ tiles
    def engine(self, tile: Tile) -> _Engine:
        return self.engines.setdefault(
            (tile.side, -1 if tile.type is Type.F16 else tile.plane), _Engine()
        )

    def overlapping(self, tile: Tile) -> list[_Engine]:
        """Other engines that share planes with this tile's engine."""
        keys = [(tile.side, 0), (tile.side, 1)] if tile.type is Type.F16 else [(tile.side, -1)]
        return [self.engines.setdefault(key, _Engine()) for key in keys]

    def ensure_tile(self, tile: Tile) -> None:
        """Load and install a tile unless it is the one in the array."""
        engine = self.engine(tile)
        if engine.tile is tile:
            return
        g = self.g
        others = self.overlapping(tile)
        start = max([engine.installed, *(o.installed for o in others)]) + 1
        ready = max((b.done for b in tile.sources), default=-1)
        start = max(start, g.x_mxm + g.read, ready + 1 + g.read + g.x_mxm)
        planes = (_plane(tile), _plane(tile) + 1) if tile.type is Type.F16 else (_plane(tile),)
        groups = max([tile.first_group + tile.n_groups, *(self.dirty.get(p, 0) for p in planes)])
        cycles = self._load_cycles(tile, planes, start, groups)
        after = tile.first_group + tile.n_groups
        zeros = cycles[tile.n_groups :]
        self._emit_load(
            tile, planes, cycles[: tile.n_groups], tile.first_group, tile.base, tile.uniform
        )
        for first, last in ((0, tile.first_group), (after, groups)):
            self._emit_load(tile, planes, zeros[: last - first], first, self.zero_word, True)
            zeros = zeros[last - first :]
        for p in planes:
            self.dirty[p] = after
        install = max(cycles[-1] + 1, engine.last_feed, *(o.last_feed for o in others))
        queues = [self.queue[g.queue[f"mxm.{p}.w"]] for p in planes]
        while not all(q.free(install, 1) for q in queues):
            install += 1
        for p, q in zip(planes, queues, strict=True):
            q.take(install, 1)
            self.emit(install, g.queue[f"mxm.{p}.w"], "iw")
        engine.tile, engine.active, engine.installed = tile, install + g.install, install
        for other in others:
            other.tile, other.installed = None, install

    def _load_cycles(
        self, tile: Tile, planes: tuple[int, ...], start: int, groups: int
    ) -> list[int]:
        """Cycles (at the MXM) at which each column group arrives: the first free ones from `start` on."""
        g = self.g
        direction = 0 if tile.side == EAST else 1
        lines = self.streams[direction][tile.side]
        busy = 0
        first = 0 if tile.type is Type.F16 else tile.plane * g.per_group
        for s in range(first, first + len(tile.slices)):
            busy |= lines[s].bits >> max(start - g.x_mxm + _ORIGIN, 0)
        for s in tile.slices:
            travel = g.x_mxm - abs(g.slice_x[s]) + g.read
            busy |= self.queue[s].bits >> (start - travel)
        for p in planes:
            busy |= self.queue[g.queue[f"mxm.{p}.w"]].bits >> start
        return [start + c for c in first_free(busy, 0, groups)]

    def _emit_load(
        self,
        tile: Tile,
        planes: tuple[int, ...],
        cycles: list[int],
        first_group: int,
        word: int,
        uniform: bool,
    ) -> None:
        """MEM reads and `lw` of the column groups that arrive at the given cycles."""
        g = self.g
        direction = 0 if tile.side == EAST else 1
        first = 0 if tile.type is Type.F16 else tile.plane * g.per_group
        n = len(tile.slices)
        slices = np.array(tile.slices)
        travel = np.array([g.x_mxm - abs(g.slice_x[s]) + g.read for s in tile.slices])
        refs = np.array([stream_ref(first + i, direction) for i in range(n)])
        group = 0
        while group < len(cycles):
            run = 1
            while group + run < len(cycles) and cycles[group + run] == cycles[group] + run:
                run += 1
            at, mask = cycles[group], (1 << run) - 1
            block = np.zeros(n + len(planes), INSTRUCTION)
            block["count"], block["gap"] = run, 1
            block["time"][:n], block["queue"][:n] = at - travel, slices
            block["op"][:n] = BY_NAME["read"].op
            block["a"][:n] = word + (0 if uniform else group)
            block["b"][:n] = refs
            block["step"] = 0 if uniform or run == 1 else 1
            for k, p in enumerate(planes):
                block[n + k]["time"], block[n + k]["queue"] = at, g.queue[f"mxm.{p}.w"]
                block[n + k]["op"] = BY_NAME["lw"].op
                block[n + k]["a"] = stream_ref(first + k * g.per_group, direction)
                block[n + k]["b"] = first_group + group
                block[n + k]["step"] = 0 if run == 1 else 1
                self.queue[g.queue[f"mxm.{p}.w"]].take(at, mask)
            self.blocks.append(block)
            for i in range(n):
                self.queue[tile.slices[i]].take(at - int(travel[i]), mask)
                self.streams[direction][tile.side][first + i].take(at - g.x_mxm + _ORIGIN, mask)
            group += run

    def _place_append(self, task: Task, work: Append) -> None:
        place_append(self, task, work)


@dataclass(slots=True)
class _Read:
    """A buffer read that has been given streams."""

    buffer: Buffer
    row: int
    fixed: bool
    target: int
    arrival: int
    direction: int
    first: int


@dataclass(slots=True)
class _Picks:
    """What `_try` chose: streams, ALUs and slices."""

    feeds: list[_Read] = field(default_factory=list)
    results: list[tuple[int, int]] = field(default_factory=list)
    reads: dict[tuple[int, int, bool, int], _Read] = field(default_factory=dict)
    gathers: dict[int, tuple[_Read, int]] = field(default_factory=dict)
    alus: list[int] = field(default_factory=list)
    streams: list[tuple[int, int]] = field(default_factory=list)
    places: dict[int, tuple[int, ...]] = field(default_factory=dict)


def inputs_of(task: Task) -> list[Buffer]:
    """Every buffer a task reads, once."""
    out: dict[int, Buffer] = {}
    for feed in task.feeds:
        out[id(feed.source)] = feed.source
    for node in task.nodes:
        for source in node.sources:
            if isinstance(source, FromBuffer):
                out[id(source.buffer)] = source.buffer
            elif isinstance(source, FromGather):
                out[id(source.maps)] = source.maps
                out[id(source.table)] = source.table
    if task.sxm is not None:
        for buffer in (task.sxm.source, task.sxm.maps, task.sxm.mask):
            if buffer is not None:
                out[id(buffer)] = buffer
    return list(out.values())


def _reads_buffer(node: Node, buffer: Buffer) -> bool:
    return any(isinstance(s, FromBuffer) and s.buffer is buffer for s in node.sources)


def _shared_slice(task: Task) -> Buffer | None:
    """A temporary input that lies in a slice of another input, or is read at more than one point of the task."""
    inputs = inputs_of(task)
    for buffer in inputs:
        uses = sum(_reads_buffer(node, buffer) for node in task.nodes)
        if (not buffer.fixed or buffer.rows == 1) and uses + sum(
            f.source is buffer for f in task.feeds
        ) > 1:
            return buffer
    for buffer in inputs:
        mine = {s for byte in buffer.slices for s in byte}
        others = {
            s for other in inputs if other is not buffer for byte in other.slices for s in byte
        }
        if not buffer.fixed and mine & others:
            return buffer
    return None


def _plane(tile: Tile) -> int:
    return 2 * tile.side + (0 if tile.type is Type.F16 else tile.plane)


def _key(source: FromBuffer, offset: int) -> tuple[int, int, bool, int]:
    return id(source.buffer), source.row, source.fixed_row, offset


def _shares_plane(task: Task, feed: Feed) -> bool:
    """Several feeds of a task take turns on a plane: each issue is then an instruction of its own."""
    return task.rows > 1 and sum(_plane(f.tile) == _plane(feed.tile) for f in task.feeds) > 1


def _feed_span(task: Task, feed: Feed, rows: int, interval: int) -> int:
    return pattern(rows, interval) if _shares_plane(task, feed) else _span(rows, interval)


def _span(rows: int, interval: int) -> int:
    """Queue cycles of a repeated instruction: it owns its queue from first to last issue."""
    return (1 << ((rows - 1) * interval + 1)) - 1


def _slack(rows: int, interval: int, buffer: Buffer, fixed: bool) -> int:
    """Extra wait when rows are read faster than they were written."""
    if fixed:
        return 0
    return max(0, (rows - 1) * (buffer.interval - interval))


def _runs(
    g: Geometry,
    buffer: Buffer,
    row: int,
    fixed: bool,
    target: int,
    arrival: int,
    rows: int,
    interval: int,
    write: bool = False,
) -> Iterator[tuple[int, int, int, tuple[int, int, int, int]]]:
    """MEM issues of one access: (slice, first cycle, queue span, (byte, word, count, gap)), one per slice used."""
    for byte in range(len(buffer.slices)):
        k = len(buffer.slices[byte])
        if (
            k > 1 and rows > k and not fixed
        ):  # one issue each: reads and writes of a slice may then alternate
            for j in range(rows):
                s, word = buffer.location(byte, row + j)
                travel = abs(target - g.slice_x[s])
                yield (
                    s,
                    arrival + j * interval + (travel if write else -travel - g.read),
                    1,
                    (byte, word, 1, 1),
                )
            continue
        for j in range(min(k, rows) if not fixed else 1):
            s, word = buffer.location(byte, row + j)
            count = rows if fixed or k == 1 else (rows - j + k - 1) // k
            gap = interval if fixed or k == 1 else interval * k
            travel = abs(target - g.slice_x[s])
            time = arrival + j * interval + (travel if write else -travel - g.read)
            yield s, time, _span(count, gap), (byte, word, count, gap)


def _immediate(value: Constant) -> int:
    if value.integer:
        return int(np.int32(value.value).view(np.uint32))
    return int(np.float32(value.value).view(np.uint32))
