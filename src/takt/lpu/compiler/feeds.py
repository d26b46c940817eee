"""The MXM part of a task: rows from SRAM through a tile, and results on their way to the VXM."""

from __future__ import annotations

from takt.lpu.compiler.access import Access, emit_read, reserve_read
from takt.lpu.compiler.attempt import Attempt
from takt.lpu.compiler.board import CENTRE, Board, inward
from takt.lpu.compiler.ir import EAST, Accumulator, Feed
from takt.lpu.compiler.loading import Engines
from takt.lpu.compiler.timeline import pattern, span
from takt.lpu.isa.table import ADD, EMIT, KEEP, Type

# Map of distribute: exchange neighbouring lanes.
_SWAP = sum((lane ^ 1) << (4 * lane) for lane in range(16))


class Feeds:
    """Reserves and emits passes through tiles, and hands out accumulator entries, each plane's in turn."""

    __slots__ = ("_board", "_engines", "_entries")

    def __init__(self, board: Board, engines: Engines) -> None:
        self._board = board
        self._engines = engines
        self._entries: dict[int, _Entries] = {}

    # ---------------------------------------------------------------------------------------------------- reserving
    def reserve(self, attempt: Attempt, index: int) -> bool:
        """Claim all that feed `index` needs; False if something is taken."""
        g, board, undo = self._board.g, self._board, attempt.undo
        n, ii = attempt.rows, attempt.interval
        feed = attempt.task.feeds[index]
        abc = attempt.abc(index, g)
        claim = pattern(n, ii)
        for k in range(1, g.interval_f16 if feed.tile.type is Type.F16 else 1):
            claim |= claim << k
        queued = _queue_span(attempt, feed)
        for p in feed.planes:
            if not undo.take(board.named(f"mxm.{p}.a"), abc, claim | queued):
                return False
        if not undo.take(board.named(f"mxm.{feed.plane}.c"), abc + g.depth, queued):
            return False
        if feed.group.entry < 0 and self._of(feed).find(feed.group.rows, abc + g.depth) is None:
            undo.forget()
            return False
        target = g.sign(feed.tile.side) * g.x_mxm
        read = reserve_read(board, undo, Access(feed.source, feed.row, False, target, abc, n, ii))
        if read is None:
            return False
        attempt.feeds.append(read)
        if not feed.last:
            attempt.results.append((None, None))
            return True
        return self._reserve_result(attempt, feed, abc + g.depth + g.emit)

    def _reserve_result(self, attempt: Attempt, feed: Feed, out: int) -> bool:
        """Streams (and distributors) of a result that leaves the MXM at cycle `out` for the VXM."""
        g, board, undo, side = self._board.g, self._board, attempt.undo, feed.tile.side
        way = (side, CENTRE)
        exact = pattern(attempt.rows, attempt.interval)
        diagonal = out + g.x_mxm
        result = board.take_streams(undo, inward(side), way, diagonal, exact, 4)
        if result is None:
            return False
        swapped = None
        if feed.swap:
            queued = _queue_span(attempt, feed)
            for name in _distributors(side):
                if not undo.take(board.named(name), diagonal - g.x_sxm, queued):
                    return False
            later = diagonal + g.distribute
            swapped = board.take_streams(undo, inward(side), way, later, exact, 4)
            if swapped is None:
                return False
        attempt.results.append((result, swapped))
        return True

    # ----------------------------------------------------------------------------------------------------- emitting
    def emit(self, attempt: Attempt, index: int, ideal: int) -> int:
        """Instructions of a reserved feed; `ideal` is the task's time without resource limits.

        Returns the cycle of the first `acc`.
        """
        g = self._board.g
        task, n, ii = attempt.task, attempt.rows, attempt.interval
        feed = task.feeds[index]
        abc = attempt.abc(index, g)
        emit_read(self._board, attempt.feeds[index])
        self._engines.fed(feed.tile, abc + (n - 1) * ii)
        group = feed.group
        if group.entry < 0:
            group.entry = self._of(feed).take(group, abc + g.depth)
        group.end_time = abc + g.depth + (n - 1) * ii
        group.last_time = group.end_time if group.fold else abc + g.depth
        group.finished = feed.last
        group.ideal = max(group.ideal, ideal + abc - attempt.time + g.depth)
        for first, count in [(r, 1) for r in range(n)] if _takes_turns(attempt, feed) else [(0, n)]:
            self._emit_pass(attempt, index, first, count)
            if feed.swap:
                self._emit_swap(attempt, index, first, count)
        return abc + g.depth

    def _emit_pass(self, attempt: Attempt, index: int, first: int, count: int) -> None:
        """`abc` and `acc` of `count` rows from row `first` on."""
        g, ii = self._board.g, attempt.interval
        feed = attempt.task.feeds[index]
        result, _ = attempt.results[index]
        plane, f16 = feed.plane, feed.tile.type is Type.F16
        step = 0 if feed.group.fold else 1
        at = attempt.abc(index, g) + first * ii
        self._board.emit(
            at,
            g.queue[f"mxm.{plane}.a"],
            "abc",
            count=count,
            gap=ii,
            a=attempt.feeds[index].streams.ref(),
            b=int(Type.F16 if f16 else Type.I8),
        )
        self._board.emit(
            at + g.depth,
            g.queue[f"mxm.{plane}.c"],
            "acc",
            count=count,
            gap=ii,
            step=step,
            a=feed.group.entry + first * step,
            b=result.ref() if result is not None else 0,
            c=(ADD if feed.add else 0) | (EMIT if feed.last else KEEP),
            d=int(Type.F32 if f16 else Type.I32),
        )

    def _emit_swap(self, attempt: Attempt, index: int, first: int, count: int) -> None:
        """`distribute` of `count` rows from row `first` on: a copy with neighbouring lanes exchanged."""
        g, ii = self._board.g, attempt.interval
        result, swapped = attempt.results[index]
        assert result is not None and swapped is not None
        time = attempt.abc(index, g) + first * ii + g.depth + g.emit + g.x_mxm - g.x_sxm
        for byte, name in enumerate(_distributors(attempt.task.feeds[index].tile.side)):
            self._board.emit(
                time,
                g.queue[name],
                "distribute",
                count=count,
                gap=ii,
                a=result.ref(byte, tap=True),
                b=swapped.ref(byte),
                imm=_SWAP,
            )

    def has_entries(self, feed: Feed) -> bool:
        """Whether the accumulator of a feed has its entries, or could get some at a later time."""
        group = feed.group
        return group.entry >= 0 or self._of(feed).find(group.rows, _EVER) is not None

    def _of(self, feed: Feed) -> _Entries:
        return self._entries.setdefault(feed.plane, _Entries(self._board.g.entries))


_EVER = 1 << 62


class _Entries:
    """Accumulator entries of a plane: each group gets the ones after those of the group before it, if they are free."""

    __slots__ = ("_groups", "_next", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = 0
        self._groups: list[Accumulator] = []

    def find(self, rows: int, time: int) -> int | None:
        """The first of `rows` entries that nobody uses from cycle `time` on, or None."""
        busy = [
            (group.entry, group.entry + group.rows)
            for group in self._groups
            if not group.finished or group.end_time >= time
        ]
        for start in (self._next, 0):
            first = start
            for low, high in sorted(busy):
                if low < first + rows and first < high:
                    first = high
            if first + rows <= self._size:
                return first
        return None

    def take(self, group: Accumulator, time: int) -> int:
        """Give a group the entries that `find` finds."""
        first = self.find(group.rows, time)
        assert first is not None
        self._next = first + group.rows
        end = first + group.rows
        self._groups = [g for g in self._groups if g.entry + g.rows <= first or end <= g.entry]
        self._groups.append(group)
        return first


def _distributors(side: int) -> tuple[str, ...]:
    letter = "e" if side == EAST else "w"
    return tuple(f"sxm.distribute.{letter}{k}" for k in range(4))


def _takes_turns(attempt: Attempt, feed: Feed) -> bool:
    """Several feeds of a task take turns on a plane: each issue is then an instruction of its own."""
    return attempt.rows > 1 and sum(f.plane == feed.plane for f in attempt.task.feeds) > 1


def _queue_span(attempt: Attempt, feed: Feed) -> int:
    """Queue cycles of a feed's instructions, from the first on."""
    cycles = pattern if _takes_turns(attempt, feed) else span
    return cycles(attempt.rows, attempt.interval)
