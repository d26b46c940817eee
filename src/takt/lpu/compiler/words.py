"""Temporary SRAM words: the slices and words that intermediate results get, and when they are free again.

Slices are chosen so that buffers some task reads together do not meet in one: a slice gives one vector a cycle. Words
are reused once the last reader is done; fresh ones come from above what the image has placed.
"""

from __future__ import annotations

from takt.errors import CapacityError
from takt.lpu.compiler.board import Board
from takt.lpu.compiler.ir import EAST, WEST, Buffer

AHEAD = 512
"""Cycles over which slices are compared by how busy they are."""


class Words:
    """Owner of the words above the image: `next_word[slice]` up to `limit[slice]`, in the slices `work[side]`."""

    __slots__ = (
        "_banks",
        "_board",
        "_due",
        "_free",
        "_limit",
        "_peers",
        "_turn",
        "_work",
        "next_word",
    )

    def __init__(
        self,
        board: Board,
        work: dict[int, tuple[int, ...]],
        next_word: list[int],
        limit: list[int],
        banks: dict[int, list[tuple[int, ...]]] | None = None,
    ) -> None:
        self.next_word = next_word
        self._banks = banks or {}
        self._board = board
        self._work = work
        self._limit = limit
        self._free: dict[int, list[tuple[int, int, int]]] = {}  # slice → (base, words, last read)
        self._peers: dict[int, list[Buffer]] = {}
        self._turn = 0
        self._due: dict[int, float] = {}  # slice → cycles of reads that are known but not placed

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
        zone: int = -1,
    ) -> tuple[int, ...] | None:
        """`width` work slices of a side with room for `rows` words, free to write a value that is at x = 0 at cycle
        `done` (or would be). With a `zone` the idlest of them and of that bank's slices, the other banks' if need be.
        """
        g, queue = self._board.g, self._board.queue
        chosen: list[int] = []
        for s in self._candidates(side, zone, done):
            x = abs(g.slice_x[s])
            time = done + (-x if inward else x)
            if s not in avoid and queue[s].free(time, span) and self.has_room(s, rows, time):
                chosen.append(s)
                if len(chosen) == width:
                    return tuple(chosen)
        return None

    def _candidates(self, side: int, zone: int, time: int) -> list[int]:
        """Slices in the order in which they are tried."""
        work = self._work[side]
        start = self._turn * 3 % len(work)
        turned = [*work[start:], *work[:start]]
        if zone < 0:
            return turned
        banks = self._banks[side]
        first = turned + [s for bank in banks[zone : zone + 1] for s in bank]
        last = [s for i, bank in enumerate(banks) if i != zone for s in bank]
        queue, window = self._board.queue, (1 << AHEAD) - 1

        def load(s: int) -> float:
            return ((queue[s].bits >> time) & window).bit_count() + self._due.get(s, 0.0)

        return sorted(first, key=load) + sorted(last, key=load)

    def expect(self, buffer: Buffer, cycles: float) -> None:
        """Note that so many cycles of reads of a placed buffer are still to come in the next `AHEAD` cycles."""
        for slices in buffer.slices:
            for s in slices:
                self._due[s] = self._due.get(s, 0.0) + cycles / len(slices)

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
        if not buffer.fixed:
            self.expect(buffer, -buffer.rows)
        if buffer.n_readers == 0 and not buffer.fixed:
            for (s,), base in zip(buffer.slices, buffer.bases, strict=True):
                self._free.setdefault(s, []).append((base, buffer.rows, buffer.last_read))
