"""MXM engines: which weight tile is in the array, and when the next one is loaded and installed.

A tile is loaded column group by column group into the free cycles of the outward streams, one tile ahead of use, and
installed once the last feed of the tile before it is through. Columns that an earlier tile filled and this one does not
are loaded with zeros. An f16 tile takes both planes of a side, so it also waits for i8 tiles there, and they for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.lpu.compiler.board import Board, outward
from takt.lpu.compiler.ir import Buffer, Tile
from takt.lpu.compiler.timeline import first_free
from takt.lpu.isa.program import INSTRUCTION
from takt.lpu.isa.table import BY_NAME, Type, stream_ref

_BREATH = 200
"""A queue that was busy for as many cycles is left idle for one, in which it can fetch instructions."""


@dataclass(slots=True)
class Plane:
    """State of one plane: tiles are used strictly in order."""

    tile: Tile | None = None
    active: int = 0  # abc may be dispatched from here on with the current tile
    installed: int = -1  # cycle of the last iw
    last_feed: int = -1


@dataclass(frozen=True, slots=True)
class _Part:
    """Bytes of a tile: the planes that take them, their sixteen slices, the first of the streams they take, and how far
    from the tile's base they lie.
    """

    planes: tuple[int, ...]
    slices: tuple[int, ...]
    first: int
    words: int = 0


class Engines:
    """All MXM engines of a chip while one program is scheduled."""

    __slots__ = ("_board", "_dirty", "_planes", "_zero_word")

    def __init__(self, board: Board, zero_word: int) -> None:
        """`zero_word` is a word of zeros in every weight slice."""
        self._board = board
        self._zero_word = zero_word
        self._planes: dict[int, Plane] = {}
        self._dirty: dict[int, int] = {}  # column groups of a plane's buffer that may be non-zero

    def active(self, tile: Tile) -> int:
        """The cycle from which on the tile in the array takes activations."""
        return max(plane.active for plane in self._of(tile))

    def expected(self, tile: Tile) -> int:
        """About the cycle from which on a tile that may not be there yet can take further activations."""
        planes = self._of(tile)
        if all(plane.tile is tile for plane in planes):
            return max(max(plane.active, plane.last_feed + 1) for plane in planes)
        ready = max((b.done for b in tile.sources), default=-1)
        loaded = max(ready, *(plane.installed for plane in planes)) + tile.n_groups
        travel = self._board.g.x_mxm + self._board.g.read
        return max(loaded + travel, *(plane.last_feed for plane in planes)) + 2

    def fed(self, tile: Tile, last: int) -> None:
        """Note that a tile in the array is in use up to the dispatch of abc at cycle `last`."""
        for plane in self._of(tile):
            plane.last_feed = max(plane.last_feed, last)

    def ensure(self, tile: Tile) -> None:
        """Load and install a tile unless it is the one in the array."""
        planes = self._of(tile)
        if all(plane.tile is tile for plane in planes):
            return
        loaded = self._load(tile, 1 + max(plane.installed for plane in planes))
        install = max(loaded + 1, *(plane.last_feed for plane in planes))
        install = self._install(tile, install)
        for plane in planes:
            plane.tile, plane.installed = tile, install
            plane.active = install + self._board.g.install

    def _of(self, tile: Tile) -> list[Plane]:
        return [self._planes.setdefault(p, Plane()) for p in tile.planes]

    def _load(self, tile: Tile, start: int) -> int:
        """Load a tile's columns, and zeros over what is left of earlier tiles; the cycle of the last `lw`.

        Of the ways to use the outward streams the one that is done first is taken.
        """
        g = self._board.g
        ready = max((b.done for b in tile.sources), default=-1)
        start = max(start, g.x_mxm + g.read, ready + 1 + g.gather + g.x_mxm)
        groups = max(
            [tile.first_group + tile.n_groups, *(self._dirty.get(p, 0) for p in tile.planes)]
        )
        plans = [self._plan(tile, way, start, groups) for way in self._ways(tile)]
        plan = min(plans, key=lambda stages: max(cycles[-1] for _, cycles in stages))
        for parts, cycles in plan:
            self._emit_stage(tile, parts, cycles, groups)
        for p in tile.planes:
            self._dirty[p] = tile.first_group + tile.n_groups
        return max(cycles[-1] for _, cycles in plan)

    def _ways(self, tile: Tile) -> list[list[list[_Part]]]:
        """Ways to load a tile: stages of parts that are loaded together, each part on sixteen streams.

        An f16 tile takes all streams at once, or the lower sixteen for one plane after the other. A tile that is looked
        up leaves two of the other sixteen to its addresses.
        """
        n, planes = self._board.g.per_group, tile.planes
        if tile.type is not Type.F16:
            home = max(tile.plane, 0) * n
            return [[[_Part(planes, tile.slices, first)]] for first in (home, n - home)]
        low, high = tile.slices[:n], tile.slices[n:]
        stages = [[_Part(planes[:1], low, 0)], [_Part(planes[1:], high, 0, tile.high)]]
        if tile.maps is not None:
            return [stages]
        if tile.high:  # in the slices of the low bytes: one after the other
            return [stages, [[_Part(p.planes, p.slices, n, p.words)] for (p,) in stages]]
        return [[[_Part(planes[:1], low, 0), _Part(planes[1:], high, n)]], stages]

    def _plan(
        self, tile: Tile, way: list[list[_Part]], start: int, groups: int
    ) -> list[tuple[list[_Part], list[int]]]:
        """Each stage of a way with the cycles (at the MXM) at which its column groups arrive: the first free ones."""
        out: list[tuple[list[_Part], list[int]]] = []
        taken = 0
        for parts in way:
            cycles = self._free_cycles(tile, parts, start, groups, taken)
            taken |= sum(1 << (c - start) for c in cycles)
            out.append((parts, cycles))
        return out

    def _emit_stage(self, tile: Tile, parts: list[_Part], cycles: list[int], groups: int) -> None:
        """The loads of one stage: the tile's columns, then zeros in the column groups around them."""
        after = tile.first_group + tile.n_groups
        zeros = cycles[tile.n_groups :]
        self._emit_load(
            tile, parts, cycles[: tile.n_groups], tile.first_group, tile.base, tile.uniform
        )
        for first, last in ((0, tile.first_group), (after, groups)):
            self._emit_load(tile, parts, zeros[: last - first], first, self._zero_word, True)
            zeros = zeros[last - first :]

    def _install(self, tile: Tile, time: int) -> int:
        """Dispatch `iw` on all planes of a tile at the first common free cycle from `time` on; returns the cycle."""
        g = self._board.g
        numbers = [g.queue[f"mxm.{p}.w"] for p in tile.planes]
        queues = [self._board.queue[number] for number in numbers]
        while not all(q.free(time, 1) for q in queues):
            time += 1
        for number, q in zip(numbers, queues, strict=True):
            q.take(time, 1)
            self._board.emit(time, number, "iw")
            past = max(0, time - _BREATH)
            if q.wait(past, 1) > time - past:
                q.take(time + 1, 1)
        return time

    def _free_cycles(
        self, tile: Tile, parts: list[_Part], start: int, groups: int, taken: int
    ) -> list[int]:
        """The first `groups` cycles at the MXM, from `start` on, that are free for all parts and not `taken`."""
        g, board = self._board.g, self._board
        busy = taken
        for part in parts:
            busy |= board.busy_streams(
                outward(tile.side), tile.side, part.first, len(part.slices), start - g.x_mxm
            )
            for s in part.slices:
                busy |= board.queue[s].bits >> (start - self._travel(s))
                if tile.maps is not None:
                    busy |= board.queue[s].bits >> (start - self._travel(s) - self._lookup)
            for p in part.planes:
                busy |= board.named(f"mxm.{p}.w").bits >> start
            if tile.maps is not None:
                busy |= self._busy_maps(tile, part, start)
        return [start + c for c in first_free(busy, 0, groups)]

    def _emit_load(
        self,
        tile: Tile,
        parts: list[_Part],
        cycles: list[int],
        first_group: int,
        word: int,
        uniform: bool,
    ) -> None:
        """MEM reads and `lw` of the column groups that arrive at the given cycles, one repeat for each unbroken run."""
        group = 0
        while group < len(cycles):
            run = 1
            while group + run < len(cycles) and cycles[group + run] == cycles[group] + run:
                run += 1
            at = cycles[group]
            maps = None if uniform else tile.maps
            for part in parts:
                base = word if word == self._zero_word else word + part.words
                base = base if uniform else base + group
                block = self._run(tile.side, part, at, run, first_group + group, base, uniform)
                if maps is not None:
                    self._look_up(tile, maps, part, at, run, block)
                self._board.emit_block(block)
                self._book_run(
                    tile.side, part, at - (self._lookup if maps else 0), at, (1 << run) - 1
                )
            group += run

    @property
    def _lookup(self) -> int:
        """Cycles by which a gather is dispatched before the read that it replaces."""
        return self._board.g.gather - self._board.g.read

    def _map_streams(self, part: _Part) -> int:
        """The first of the two streams that addresses take: not among the sixteen of the part."""
        return self._board.g.per_group if part.first == 0 else 0

    def _map_reads(self, tile: Tile, at: int) -> list[tuple[int, int, int]]:
        """(slice, word, dispatch) of the reads of the address whose columns are at the MXM at cycle `at`."""
        g, maps = self._board.g, tile.maps
        assert maps is not None
        out = []
        for byte in range(2):
            slice_, word = maps.location(byte, tile.map_row)
            x = abs(g.slice_x[slice_]) * (1 if g.side_of(slice_) == tile.side else -1)
            out.append((slice_, word, at - g.x_mxm - g.gather + x - g.read))
        return out

    def _busy_maps(self, tile: Tile, part: _Part, start: int) -> int:
        """Cycles at the MXM, bit 0 `start`, for which an address cannot be on its way."""
        g, board = self._board.g, self._board
        assert tile.maps is not None
        first, diagonal = self._map_streams(part), start - g.x_mxm - g.gather
        busy = 0
        for segment in self._map_segments(tile):
            busy |= board.busy_streams(outward(tile.side), segment, first, 2, diagonal)
        for slice_, _, time in self._map_reads(tile, start):
            bits = board.queue[slice_].bits
            busy |= bits >> time if time >= 0 else bits << -time | (1 << -time) - 1
        return busy

    def _map_segments(self, tile: Tile) -> tuple[int, ...]:
        assert tile.maps is not None
        own = self._board.g.side_of(tile.maps.location(0, 0)[0]) == tile.side
        return (tile.side,) if own else (0, 1, 2)

    def _look_up(
        self, tile: Tile, maps: Buffer, part: _Part, at: int, run: int, block: NDArray[np.void]
    ) -> None:
        """Turn the reads of a run into gathers, and send the address past them in every cycle of it."""
        g, board, n = self._board.g, self._board, len(part.slices)
        direction, first = outward(tile.side), self._map_streams(part)
        block["op"][:n] = BY_NAME["gather"].op
        block["time"][:n] -= self._lookup
        block["c"][:n] = block["a"][:n]
        block["a"][:n] = stream_ref(first, direction, True)
        mask = (1 << run) - 1
        for byte, (slice_, word, time) in enumerate(self._map_reads(tile, at)):
            board.emit(
                time, slice_, "read", count=run, a=word, b=stream_ref(first + byte, direction)
            )
            board.queue[slice_].take(time, mask)
            for segment in self._map_segments(tile):
                board.book_stream(direction, segment, first + byte, at - g.x_mxm - g.gather, mask)
            maps.last_read = max(maps.last_read, time + run)

    def _run(
        self, side: int, part: _Part, at: int, run: int, group: int, word: int, uniform: bool
    ) -> NDArray[np.void]:
        """The instructions that load `run` column groups from `group` on, in successive cycles from `at` on."""
        g = self._board.g
        direction, n = outward(side), len(part.slices)
        block = np.zeros(n + len(part.planes), INSTRUCTION)
        block["count"], block["gap"] = run, 1
        block["time"][:n] = at - np.array([self._travel(s) for s in part.slices])
        block["queue"][:n] = part.slices
        block["op"][:n] = BY_NAME["read"].op
        block["a"][:n] = word
        block["b"][:n] = [stream_ref(part.first + i, direction) for i in range(n)]
        block["step"] = 0 if uniform or run == 1 else 1
        load = block[n:]
        load["time"], load["queue"] = at, [g.queue[f"mxm.{p}.w"] for p in part.planes]
        load["op"] = BY_NAME["lw"].op
        load["a"], load["b"] = stream_ref(part.first, direction), group
        load["step"] = 0 if run == 1 else 1
        return block

    def _book_run(self, side: int, part: _Part, read: int, at: int, mask: int) -> None:
        """Take what a run of column groups needs that is at the MXM from cycle `at` on; slices are busy as if it were
        read to be there at cycle `read`.
        """
        g, board = self._board.g, self._board
        for p in part.planes:
            board.named(f"mxm.{p}.w").take(at, mask)
        for i, s in enumerate(part.slices):
            board.queue[s].take(read - self._travel(s), mask)
            board.book_stream(outward(side), side, part.first + i, at - g.x_mxm, mask)

    def _travel(self, slice_: int) -> int:
        """Cycles from the dispatch of a read to its arrival at the MXM of the same side."""
        g = self._board.g
        return g.x_mxm - abs(g.slice_x[slice_]) + g.read
