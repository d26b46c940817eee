"""MXM engines: which weight tile is in the array, and when the next one is loaded and installed.

A tile is loaded column group by column group into the free cycles of the outward streams, one tile ahead of use, and
installed once the last feed of the tile before it is through. Columns that an earlier tile filled and this one does not
are loaded with zeros. An f16 tile takes both planes of a side, so it also waits for i8 tiles there, and they for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from takt.lpu.compiler.board import Board, outward
from takt.lpu.compiler.ir import Tile
from takt.lpu.compiler.timeline import first_free
from takt.lpu.isa.program import INSTRUCTION
from takt.lpu.isa.table import BY_NAME, Type, stream_ref


@dataclass(slots=True)
class Engine:
    """State of one MXM engine (an f16 pair of planes, or one plane): tiles are used strictly in order."""

    tile: Tile | None = None
    active: int = 0  # abc may be dispatched from here on with the current tile
    installed: int = -1  # cycle of the last iw
    last_feed: int = -1


class Engines:
    """All MXM engines of a chip while one program is scheduled."""

    __slots__ = ("_board", "_dirty", "_engines", "_zero_word")

    def __init__(self, board: Board, zero_word: int) -> None:
        """`zero_word` is a word of zeros in every weight slice."""
        self._board = board
        self._zero_word = zero_word
        self._engines: dict[tuple[int, int], Engine] = {}
        self._dirty: dict[int, int] = {}  # column groups of a plane's buffer that may be non-zero

    def engine(self, tile: Tile) -> Engine:
        """The engine that a tile runs on."""
        return self._engines.setdefault(
            (tile.side, -1 if tile.type is Type.F16 else tile.plane), Engine()
        )

    def overlapping(self, tile: Tile) -> list[Engine]:
        """Other engines that share planes with this tile's engine."""
        keys = [(tile.side, 0), (tile.side, 1)] if tile.type is Type.F16 else [(tile.side, -1)]
        return [self._engines.setdefault(key, Engine()) for key in keys]

    def fed(self, tile: Tile, last: int) -> None:
        """Note that a tile in the array is in use up to the dispatch of abc at cycle `last`."""
        engine = self.engine(tile)
        engine.last_feed = max(engine.last_feed, last)
        for other in self.overlapping(tile):
            other.last_feed = max(other.last_feed, engine.last_feed)

    def ensure(self, tile: Tile) -> None:
        """Load and install a tile unless it is the one in the array."""
        engine = self.engine(tile)
        if engine.tile is tile:
            return
        others = self.overlapping(tile)
        loaded = self._load(tile, 1 + max([engine.installed, *(o.installed for o in others)]))
        install = max(loaded + 1, engine.last_feed, *(o.last_feed for o in others))
        install = self._install(tile, install)
        engine.tile, engine.installed = tile, install
        engine.active = install + self._board.g.install
        for other in others:
            other.tile, other.installed = None, install

    def _load(self, tile: Tile, start: int) -> int:
        """Load a tile's columns, and zeros over what is left of earlier tiles; the cycle of the last `lw`."""
        g = self._board.g
        ready = max((b.done for b in tile.sources), default=-1)
        start = max(start, g.x_mxm + g.read, ready + 1 + g.read + g.x_mxm)
        planes = planes_of(tile)
        after = tile.first_group + tile.n_groups
        groups = max([after, *(self._dirty.get(p, 0) for p in planes)])
        cycles = self._free_cycles(tile, start, groups)
        zeros = cycles[tile.n_groups :]
        self._emit_load(tile, cycles[: tile.n_groups], tile.first_group, tile.base, tile.uniform)
        for first, last in ((0, tile.first_group), (after, groups)):
            self._emit_load(tile, zeros[: last - first], first, self._zero_word, True)
            zeros = zeros[last - first :]
        for p in planes:
            self._dirty[p] = after
        return cycles[-1]

    def _install(self, tile: Tile, time: int) -> int:
        """Dispatch `iw` on all planes of a tile at the first common free cycle from `time` on; returns the cycle."""
        g = self._board.g
        numbers = [g.queue[f"mxm.{p}.w"] for p in planes_of(tile)]
        queues = [self._board.queue[number] for number in numbers]
        while not all(q.free(time, 1) for q in queues):
            time += 1
        for number, q in zip(numbers, queues, strict=True):
            q.take(time, 1)
            self._board.emit(time, number, "iw")
        return time

    def _free_cycles(self, tile: Tile, start: int, groups: int) -> list[int]:
        """Cycles (at the MXM) at which each column group arrives: the first free ones from `start` on."""
        g, board = self._board.g, self._board
        busy = board.busy_streams(
            outward(tile.side), tile.side, self._stream(tile), len(tile.slices), start - g.x_mxm
        )
        for s in tile.slices:
            busy |= board.queue[s].bits >> (start - self._travel(s))
        for p in planes_of(tile):
            busy |= board.named(f"mxm.{p}.w").bits >> start
        return [start + c for c in first_free(busy, 0, groups)]

    def _emit_load(
        self, tile: Tile, cycles: list[int], first_group: int, word: int, uniform: bool
    ) -> None:
        """MEM reads and `lw` of the column groups that arrive at the given cycles, one repeat for each unbroken run."""
        group = 0
        while group < len(cycles):
            run = 1
            while group + run < len(cycles) and cycles[group + run] == cycles[group] + run:
                run += 1
            at = cycles[group]
            base = word if uniform else word + group
            self._emit_run(tile, at, run, first_group + group, base, uniform)
            self._book_run(tile, at, (1 << run) - 1)
            group += run

    def _emit_run(
        self, tile: Tile, at: int, run: int, group: int, word: int, uniform: bool
    ) -> None:
        """The instructions that load `run` column groups from `group` on, in successive cycles from `at` on."""
        g = self._board.g
        direction, first, planes = outward(tile.side), self._stream(tile), planes_of(tile)
        n = len(tile.slices)
        block = np.zeros(n + len(planes), INSTRUCTION)
        block["count"], block["gap"] = run, 1
        block["time"][:n] = at - np.array([self._travel(s) for s in tile.slices])
        block["queue"][:n] = tile.slices
        block["op"][:n] = BY_NAME["read"].op
        block["a"][:n] = word
        block["b"][:n] = [stream_ref(first + i, direction) for i in range(n)]
        block["step"] = 0 if uniform or run == 1 else 1
        for k, p in enumerate(planes):
            block[n + k]["time"], block[n + k]["queue"] = at, g.queue[f"mxm.{p}.w"]
            block[n + k]["op"] = BY_NAME["lw"].op
            block[n + k]["a"] = stream_ref(first + k * g.per_group, direction)
            block[n + k]["b"] = group
            block[n + k]["step"] = 0 if run == 1 else 1
        self._board.emit_block(block)

    def _book_run(self, tile: Tile, at: int, mask: int) -> None:
        """Take what a run of column groups at the MXM from cycle `at` on needs."""
        g, board = self._board.g, self._board
        first = self._stream(tile)
        for p in planes_of(tile):
            board.named(f"mxm.{p}.w").take(at, mask)
        for i, s in enumerate(tile.slices):
            board.queue[s].take(at - self._travel(s), mask)
            board.book_stream(outward(tile.side), tile.side, first + i, at - g.x_mxm, mask)

    def _stream(self, tile: Tile) -> int:
        """First of the streams that feed a tile's planes."""
        return 0 if tile.type is Type.F16 else tile.plane * self._board.g.per_group

    def _travel(self, slice_: int) -> int:
        """Cycles from the dispatch of a read to its arrival at the MXM of the same side."""
        g = self._board.g
        return g.x_mxm - abs(g.slice_x[slice_]) + g.read


def first_plane(tile: Tile) -> int:
    """The plane that takes a tile's activations."""
    return 2 * tile.side + (0 if tile.type is Type.F16 else tile.plane)


def planes_of(tile: Tile) -> tuple[int, ...]:
    """All planes that a tile fills."""
    plane = first_plane(tile)
    return (plane, plane + 1) if tile.type is Type.F16 else (plane,)
