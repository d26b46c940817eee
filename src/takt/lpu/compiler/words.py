"""Temporary SRAM words: the slices and words that intermediate results get, and when they are free again.

Slices are chosen so that buffers some task reads together do not meet in one: a slice gives one vector a cycle. Words
are reused once the last reader is done; fresh ones come from above what the image has placed.
"""

from __future__ import annotations

from takt.errors import CapacityError
from takt.lpu.compiler.board import Board
from takt.lpu.compiler.ir import EAST, WEST, Buffer


class Words:
    """Owner of the words above the image: `next_word[slice]` up to `limit[slice]`, in the slices `work[side]`."""

    __slots__ = ("_board", "_free", "_limit", "_peers", "_turn", "_work", "next_word")

    def __init__(
        self,
        board: Board,
        work: dict[int, tuple[int, ...]],
        next_word: list[int],
        limit: list[int],
    ) -> None:
        self.next_word = next_word
        self._board = board
        self._work = work
        self._limit = limit
        self._free: dict[int, list[tuple[int, int, int]]] = {}  # slice → (base, words, last read)
        self._peers: dict[int, list[Buffer]] = {}
        self._turn = 0

    # ------------------------------------------------------------------------------------------------------- slices
    def meet(self, group: list[Buffer]) -> None:
        """Note that some task reads these buffers together."""
        for buffer in group:
            self._peers.setdefault(id(buffer), []).extend(b for b in group if b is not buffer)

    def set_peers(self, buffer: Buffer, others: list[Buffer]) -> None:
        """Note which buffers a new one is read together with."""
        self._peers[id(buffer)] = others

    def peers_slices(self, buffer: Buffer) -> frozenset[int]:
        """Slices of the buffers that some task reads together with this one."""
        return frozenset(
            s for peer in self._peers.get(id(buffer), ()) for byte in peer.slices for s in byte
        )

    def next_sides(self) -> tuple[int, int]:
        """The sides in the order in which the next result tries them; the first alternates."""
        self._turn += 1
        return (EAST, WEST) if self._turn & 1 else (WEST, EAST)

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
        g, queue = self._board.g, self._board.queue
        work = self._work[side]
        chosen: list[int] = []
        for i in range(len(work)):
            s = work[(self._turn * 3 + i) % len(work)]
            x = abs(g.slice_x[s])
            time = done + (-x if inward else x)
            if s not in avoid and queue[s].free(time, span) and self.has_room(s, rows, time):
                chosen.append(s)
                if len(chosen) == width:
                    return tuple(chosen)
        return None

    # -------------------------------------------------------------------------------------------------------- words
    def allocate(self, slice_: int, rows: int, time: int) -> int:
        """Words for a temporary first written at cycle `time`: reuse what nobody reads any more, else fresh ones.

        Raises CapacityError if the slice is full.
        """
        spans = self._free.setdefault(slice_, [])
        for i, (base, length, free_at) in enumerate(spans):
            if length >= rows and free_at < time:
                if length == rows:
                    spans.pop(i)
                else:
                    spans[i] = (base + rows, length - rows, free_at)
                return base
        base = self.next_word[slice_]
        if base + rows > self._limit[slice_]:
            raise CapacityError(
                f"slice {slice_} has no room for {rows} more vectors of intermediate results"
            )
        self.next_word[slice_] = base + rows
        return base

    def has_room(self, slice_: int, rows: int, time: int) -> bool:
        """Whether `allocate` would find words."""
        if self.next_word[slice_] + rows <= self._limit[slice_]:
            return True
        return any(
            length >= rows and free_at < time for _, length, free_at in self._free.get(slice_, ())
        )

    def release(self, buffer: Buffer) -> None:
        """One reader of a buffer is placed; after the last a temporary's words are free."""
        buffer.n_readers -= 1
        if buffer.n_readers == 0 and not buffer.fixed:
            for (s,), base in zip(buffer.slices, buffer.bases, strict=True):
                self._free.setdefault(s, []).append((base, buffer.rows, buffer.last_read))
