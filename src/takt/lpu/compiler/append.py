"""SXM patterns of the decode step that put one position into the caches (see `ir.Append`).

They run on one hemisphere, beside the MXM work: data goes outward from SRAM to the SXM and comes back inward. A try at
one cycle claims and emits as it goes; if something is taken, both are taken back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from takt.errors import CompileError
from takt.lpu.compiler.board import Board, StreamGroup, inward, outward
from takt.lpu.compiler.exchange import place_exchange
from takt.lpu.compiler.ir import EAST, Append, Buffer
from takt.lpu.compiler.timeline import TRIES, Undo
from takt.lpu.compiler.words import Words
from takt.lpu.isa.table import WRAP


def place_append(board: Board, words: Words, label: str, work: Append) -> list[tuple[int, int]]:
    """Place one append task, each piece at the first cycle where it fits; first and last cycle of the pieces.

    Raises CompileError if a piece fits nowhere.
    """
    if work.kind == "exchange":
        placed = place_exchange(board, words, label, work)
        words.release(work.source)
        return placed
    pieces = _pieces(board, work) if work.kind == "lane" else [0]
    placed = [_search(board, words, label, work, k) for k in pieces]
    for buffer in (work.source, work.maps, work.mask):
        if buffer is not None:
            words.release(buffer)
    return placed


def _pieces(board: Board, work: Append) -> list[int]:
    """First columns of the pieces of a tile: a slice cannot be read and written in the same cycle, so a piece ends
    before its first word comes back.
    """
    starts: list[int] = []
    for k in range(min(16, work.columns)):
        starts += range(k, work.columns, 16 * _back(board, work, k))
    return starts


def _back(board: Board, work: Append, column: int) -> int:
    """Cycles from the read of a word of the tile to its write, at least 1."""
    g = board.g
    x = max(abs(g.slice_x[slices[column % 16]]) for slices in work.target.slices)
    return max(1, g.read + 2 * (g.x_sxm - x) + g.select)


@dataclass(slots=True, eq=False)
class _Try:
    """One piece at one cycle `time`: `column` is the first of a "lane" piece."""

    board: Board
    words: Words
    work: Append
    column: int
    time: int
    side: int
    undo: Undo = field(default_factory=Undo)


def _search(board: Board, words: Words, label: str, work: Append, column: int) -> tuple[int, int]:
    place = {"rotate": _rotate, "lane": _lane, "scatter": _scatter}[work.kind]
    g, target = board.g, work.target
    side = target.side if work.kind == "rotate" else g.side_of(target.slices[0][0])
    inputs = [b for b in (work.source, work.maps, work.mask) if b is not None]
    time = max(max(b.written, default=-1) + 1 for b in inputs) + 2 * g.x_mxm
    mark = board.mark()
    for _ in range(TRIES):
        attempt = _Try(board, words, work, column, time, side)
        if place(attempt):
            return time, time + 2 * g.x_mxm
        board.rewind(mark)
        attempt.undo.rollback()
        if attempt.undo.rigid:
            break
        # Own claims move along with the time, so they are given back before the wait is measured.
        time += attempt.undo.skip()
    raise CompileError(f"no place found for task {label}")


# ------------------------------------------------------------------------------------------------------------- parts
def _outward(
    t: _Try, buffer: Buffer, tau: int, rows: int = 1, *, step: int = 0
) -> StreamGroup | None:
    """Read rows so that row 0 passes x = 0 (or would) at cycle `tau` moving outward; `step` words from row to row."""
    g, board = t.board.g, t.board
    span = (1 << rows) - 1
    reads = []
    for byte in range(len(buffer.slices)):
        slice_, word = buffer.location(byte, 0)
        x = abs(g.slice_x[slice_])
        time = tau - g.read + (x if g.side_of(slice_) == t.side else -x)
        if time < 0 or not t.undo.take(board.queue[slice_], time, span):
            return None
        reads.append((time, slice_, word))
    own = g.side_of(buffer.location(0, 0)[0]) == t.side
    streams = board.take_streams(
        t.undo, outward(t.side), (t.side,) if own else (0, 1, 2), tau, span, len(reads)
    )
    if streams is None:
        return None
    for byte, (time, slice_, word) in enumerate(reads):
        board.emit(time, slice_, "read", count=rows, step=step, a=word, b=streams.ref(byte))
        buffer.last_read = max(buffer.last_read, time + rows)
    return streams


def _inward(t: _Try, at_sxm: int, rows: int) -> StreamGroup | None:
    """Two streams for results produced at the SXM at cycle `at_sxm`, moving inward."""
    diagonal = at_sxm + t.board.g.x_sxm
    return t.board.take_streams(t.undo, inward(t.side), (t.side,), diagonal, (1 << rows) - 1, 2)


def _write_back(
    t: _Try,
    slices: tuple[int, ...],
    words: tuple[int, ...],
    streams: StreamGroup,
    at_sxm: int,
    rows: int,
) -> tuple[int, ...] | None:
    """Write what leaves the SXM at cycle `at_sxm`, a slice a byte; the cycle of the first write of each."""
    g = t.board.g
    written = []
    for byte, (slice_, word) in enumerate(zip(slices, words, strict=True)):
        time = at_sxm + g.x_sxm - abs(g.slice_x[slice_])
        if not t.undo.take(t.board.queue[slice_], time, (1 << rows) - 1):
            return None
        t.board.emit(time, slice_, "write", count=rows, step=1, a=word, b=streams.ref(byte))
        written.append(time)
    return tuple(written)


def _letter(side: int) -> str:
    return "e" if side == EAST else "w"


# ---------------------------------------------------------------------------------------------------------- patterns
def _rotate(t: _Try) -> bool:
    """permute(source, maps) → target, all single rows; the try's time is the cycle at the SXM."""
    g, work = t.board.g, t.work
    assert work.maps is not None
    queue = g.queue[f"sxm.permute.{_letter(t.side)}0"]
    if not t.undo.take(t.board.queue[queue], t.time, 1):
        return False
    data = _outward(t, work.source, t.time - g.x_sxm)
    maps = _outward(t, work.maps, t.time - g.x_sxm) if data else None
    if data is None or maps is None:
        return False
    done = t.time + g.permute
    result = _inward(t, done, 1)
    if result is None:
        return False
    t.board.emit(t.time, queue, "permute", a=data.ref(), b=maps.ref(), c=result.ref(), d=2)
    chosen = t.words.free_slices(t.side, done + g.x_sxm, 1, 2, 1, inward=True)
    if chosen is None:
        return False
    times = [done + g.x_sxm - abs(g.slice_x[c]) for c in chosen]
    words = tuple(t.words.allocate(c, 1, w) for c, w in zip(chosen, times, strict=True))
    written = _write_back(t, chosen, words, result, done, 1)
    if written is None:
        return False
    work.target.slices, work.target.bases = tuple((c,) for c in chosen), words
    work.target.written = written
    return True


def _lane(t: _Try) -> bool:
    """A piece, columns k, k + 16, …, of a transposed tile: lane ← source rotated by −column, where mask is set."""
    g, k = t.board.g, t.column
    rows = min((t.work.columns - k + 15) // 16, _back(t.board, t.work, k))
    later = t.time + g.shift
    assert t.work.mask is not None
    unit = _shift_unit(t, rows)
    if unit is None:
        return False
    piece = _piece(t, rows)
    data = _outward(t, t.work.source, t.time - g.x_sxm, rows)
    mask = _outward(t, t.work.mask, later - g.x_sxm, rows) if data else None
    previous = _outward(t, piece, later - g.x_sxm, rows, step=1) if mask else None
    if data is None or mask is None or previous is None:
        return False
    shifted = _inward(t, later, rows)
    result = _inward(t, later + g.select, rows) if shifted else None
    if shifted is None or result is None:
        return False
    t.board.emit(
        t.time,
        g.queue[f"sxm.shift.{unit}"],
        "shift",
        count=rows,
        step=-16,
        a=data.ref(),
        b=shifted.ref(),
        c=-k,
        d=2 | WRAP,
    )
    t.board.emit(
        later,
        g.queue[f"sxm.select.{unit}"],
        "select",
        count=rows,
        a=shifted.ref(),
        b=previous.ref(),
        c=mask.ref(),
        d=result.ref(),
        imm=2,
    )
    slices = tuple(slice_ for (slice_,) in piece.slices)
    return _write_back(t, slices, piece.bases, result, later + g.select, rows) is not None


def _piece(t: _Try, rows: int) -> Buffer:
    """The words of a piece's columns in the cache, as a buffer."""
    cache, k = t.work.target, t.column
    slices = tuple((byte[k % 16],) for byte in cache.slices)
    bases = tuple(base + k // 16 for base in cache.bases)
    return Buffer(cache.name, cache.type, rows=rows, slices=slices, bases=bases)


def _shift_unit(t: _Try, rows: int) -> str | None:
    """Claim the first shifter that is free, and the selector beside it."""
    span = (1 << rows) - 1
    units = [f"{_letter(t.side)}{u}" for u in range(2)]
    shifters = [t.board.named(f"sxm.shift.{unit}") for unit in units]
    # If all are busy, the claim that fails is the one that fits first: nothing does before it.
    index = min(range(2), key=lambda i: shifters[i].wait(t.time, span))
    if not t.undo.take(shifters[index], t.time, span):
        return None
    selector, later = t.board.named(f"sxm.select.{units[index]}"), t.time + t.board.g.shift
    if not selector.free(
        later, span
    ):  # no claim that fails: the other unit may fit before this one
        return None
    t.undo.take(selector, later, span)
    return units[index]


def _scatter(t: _Try) -> bool:
    """Row → one of sixteen slices: every slice scatters the row, the maps send all but one to the spare word."""
    g, cache = t.board.g, t.work.target
    n = len(cache.slices[0])
    assert t.work.maps is not None
    data = _outward(t, t.work.source, t.time, n)
    maps = _outward(t, t.work.maps, t.time, n, step=1) if data else None
    if data is None or maps is None:
        return False
    for j in range(n):
        pair = [cache.slices[b][j] for b in range(2)]
        far = max(abs(g.slice_x[c]) for c in pair)
        for byte, slice_ in enumerate(pair):
            x = abs(g.slice_x[slice_])
            time = t.time + j + x
            if not t.undo.take(t.board.queue[slice_], time, 1):
                return False
            a = maps.ref(tap=x < far)
            t.board.emit(time, slice_, "scatter", a=a, b=data.ref(byte), c=cache.bases[byte])
    return True
