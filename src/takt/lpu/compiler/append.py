"""SXM patterns of the decode step that put one position into the caches (see `ir.Append`).

They run on one hemisphere, beside the MXM work: data goes outward from SRAM to the SXM and comes back inward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from takt.errors import CompileError
from takt.lpu.compiler.ir import EAST, Append, Buffer, Task
from takt.lpu.isa.table import WRAP, stream_ref

if TYPE_CHECKING:
    from takt.lpu.compiler.schedule import Scheduler, Undo

_ORIGIN = 64
_LIMIT = 1 << 18


def place_append(s: Scheduler, task: Task, work: Append) -> None:
    """Place one append task at the first cycle where it fits."""
    if work.kind == "lane":
        for k in _pieces(s, work):
            _search(s, task, work, k)
    else:
        _search(s, task, work, 0)
    for buffer in (work.source, work.maps, work.mask):
        if buffer is not None:
            s.release(buffer)


def _pieces(s: Scheduler, work: Append) -> list[int]:
    """First columns of the pieces of a tile: a slice cannot be read and written in the same cycle, so a piece ends
    before its first word comes back.
    """
    starts = []
    for k in range(min(16, work.columns)):
        starts += range(k, work.columns, 16 * _back(s, work, k))
    return starts


def _back(s: Scheduler, work: Append, column: int) -> int:
    """Cycles from the read of a word of the tile to its write, at least 1."""
    x = max(abs(s.g.slice_x[slices[column % 16]]) for slices in work.target.slices)
    return max(1, s.g.read + 2 * (s.g.x_sxm - x) + s.g.select)


def _search(s: Scheduler, task: Task, work: Append, k: int) -> None:
    tries = {"rotate": _rotate, "lane": _lane, "scatter": _scatter}[work.kind]
    start = (
        max(_ready(b) for b in (work.source, work.maps, work.mask) if b is not None) + 2 * s.g.x_mxm
    )
    for t in range(start, start + _LIMIT):
        undo = s.undo()
        mark = len(s.rows)
        if tries(s, work, k, t, undo):
            s.note(task, t, t + 2 * s.g.x_mxm)
            return
        undo.rollback()
        del s.rows[mark:]
    raise CompileError(f"no place found for task {task.label}")


def _ready(buffer: Buffer) -> int:
    return max(buffer.written, default=-1) + 1


def _outward(
    s: Scheduler,
    undo: Undo,
    buffer: Buffer,
    row: int,
    side: int,
    tau: int,
    rows: int,
    step: int,
    byte_count: int | None = None,
) -> list[int] | None:
    """Read rows so that row 0 passes x = 0 (or would) at cycle `tau` moving outward on `side`; stream references."""
    g = s.g
    n = byte_count or len(buffer.slices)
    span = (1 << rows) - 1
    for byte in range(n):
        slice_, word = buffer.location(byte, row)
        x = abs(g.slice_x[slice_])
        time = tau - g.read + (x if g.side_of(slice_) == side else -x)
        if time < 0 or not undo.take(s.queue[slice_], time, span):
            return None
        s.emit(time, slice_, "read", count=rows, step=step, a=word, b=0)
        buffer.last_read = max(buffer.last_read, time + rows)
    own = g.side_of(buffer.location(0, row)[0]) == side
    direction = 0 if side == EAST else 1
    first = s.take_streams(undo, direction, (side,) if own else (0, 1, 2), tau, span, n)
    if first < 0:
        return None
    refs = [stream_ref(first + i, direction) for i in range(n)]
    for i in range(n):
        at = len(s.rows) - n + i
        r = s.rows[at]
        s.rows[at] = (*r[:7], refs[i], *r[8:])
    return refs


def _inward(s: Scheduler, undo: Undo, side: int, at_sxm: int, rows: int, width: int) -> int:
    """Streams for results produced at the SXM at cycle `at_sxm`, moving inward; first stream or −1."""
    direction = 1 if side == EAST else 0
    return s.take_streams(undo, direction, (side,), at_sxm + s.g.x_sxm, (1 << rows) - 1, width)


def _write_back(
    s: Scheduler,
    undo: Undo,
    slices: tuple[int, ...],
    words: tuple[int, ...],
    refs: list[int],
    at_sxm: int,
    rows: int,
) -> tuple[int, ...] | None:
    g = s.g
    written = []
    for slice_, word, ref in zip(slices, words, refs, strict=True):
        time = at_sxm + g.x_sxm - abs(g.slice_x[slice_])
        if not undo.take(s.queue[slice_], time, (1 << rows) - 1):
            return None
        s.emit(time, slice_, "write", count=rows, step=1, a=word, b=ref)
        written.append(time)
    return tuple(written)


def _rotate(s: Scheduler, work: Append, k: int, t: int, undo: Undo) -> bool:
    """permute(source, maps) → target, all single rows; t is the cycle at the SXM."""
    g, side = s.g, work.target.side
    assert work.maps is not None
    letter = "e" if side == EAST else "w"
    queue = g.queue[f"sxm.permute.{letter}0"]
    inward = 1 if side == EAST else 0
    tau = t - g.x_sxm
    if not undo.take(s.queue[queue], t, 1):
        return False
    data = _outward(s, undo, work.source, 0, side, tau, 1, 0)
    maps = _outward(s, undo, work.maps, 0, side, tau, 1, 0) if data else None
    if not data or not maps:
        return False
    done = t + g.permute
    first = _inward(s, undo, side, done, 1, 2)
    if first < 0:
        return False
    s.emit(t, queue, "permute", a=data[0], b=maps[0], c=stream_ref(first, inward), d=2)
    chosen = s.free_slices(side, done + g.x_sxm, 1, 2, 1, inward=True)
    if chosen is None:
        return False
    times = [done + g.x_sxm - abs(g.slice_x[c]) for c in chosen]
    words = tuple(s.allocate(c, 1, w) for c, w in zip(chosen, times, strict=True))
    refs = [stream_ref(first + i, inward) for i in range(2)]
    written = _write_back(s, undo, chosen, words, refs, done, 1)
    if written is None:
        return False
    work.target.slices, work.target.bases = tuple((c,) for c in chosen), words
    work.target.written = written
    return True


def _lane(s: Scheduler, work: Append, k: int, t: int, undo: Undo) -> bool:
    """A piece, columns k, k + 16, …, of a transposed tile: lane ← source rotated by −column, where mask is set."""
    g, cache = s.g, work.target
    side = g.side_of(cache.slices[0][0])
    letter = "e" if side == EAST else "w"
    rows = min((work.columns - k + 15) // 16, _back(s, work, k))
    inward = 1 if side == EAST else 0
    assert work.mask is not None
    unit = next(
        (
            u
            for u in range(2)
            if undo.take(s.queue[g.queue[f"sxm.shift.{letter}{u}"]], t, (1 << rows) - 1)
        ),
        -1,
    )
    later = t + g.shift
    if unit < 0 or not undo.take(
        s.queue[g.queue[f"sxm.select.{letter}{unit}"]], later, (1 << rows) - 1
    ):
        return False
    data = _outward(s, undo, work.source, 0, side, t - g.x_sxm, rows, 0)
    if not data:
        return False
    mask = _outward(s, undo, work.mask, 0, side, later - g.x_sxm, rows, 0)
    if not mask:
        return False
    slices = (cache.slices[0][k % 16], cache.slices[1][k % 16])
    bases = tuple(base + k // 16 for base in cache.bases)
    old = Buffer(cache.name, cache.type, rows=rows, slices=tuple((c,) for c in slices), bases=bases)
    previous = _outward(s, undo, old, 0, side, later - g.x_sxm, rows, 1)
    if not previous:
        return False
    shifted = _inward(s, undo, side, later, rows, 2)
    result = _inward(s, undo, side, later + g.select, rows, 2) if shifted >= 0 else -1
    if result < 0:
        return False
    s.emit(
        t,
        g.queue[f"sxm.shift.{letter}{unit}"],
        "shift",
        count=rows,
        step=-16,
        a=data[0],
        b=stream_ref(shifted, inward),
        c=-k,
        d=2 | WRAP,
    )
    s.emit(
        later,
        g.queue[f"sxm.select.{letter}{unit}"],
        "select",
        count=rows,
        a=stream_ref(shifted, inward),
        b=previous[0],
        c=mask[0],
        d=stream_ref(result, inward),
        imm=2,
    )
    refs = [stream_ref(result + i, inward) for i in range(2)]
    return _write_back(s, undo, slices, bases, refs, later + g.select, rows) is not None


def _scatter(s: Scheduler, work: Append, k: int, t: int, undo: Undo) -> bool:
    """Row → one of sixteen slices: every slice scatters the row, the maps send all but one to the spare word."""
    g, cache = s.g, work.target
    side = g.side_of(cache.slices[0][0])
    n = len(cache.slices[0])
    assert work.maps is not None
    data = _outward(s, undo, work.source, 0, side, t, n, 0)
    maps = _outward(s, undo, work.maps, 0, side, t, n, 1) if data else None
    if not data or not maps:
        return False
    for j in range(n):
        pair = [cache.slices[b][j] for b in range(2)]
        far = max(abs(g.slice_x[c]) for c in pair)
        for byte, slice_ in enumerate(pair):
            x = abs(g.slice_x[slice_])
            if not undo.take(s.queue[slice_], t + j + x, 1):
                return False
            tap = 1 << 6 if x < far else 0
            s.emit(t + j + x, slice_, "scatter", a=maps[0] | tap, b=data[byte], c=cache.bases[byte])
    return True
