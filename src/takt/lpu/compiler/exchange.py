"""A row over a link: out at one chip, and in at the same chip from the one at the link's other end.

Both ends run the same program in lockstep, so what is received over a link was sent over it at the same cycle of the
program: one schedule serves both. Each byte of the row is a vector of its own, sent as soon as the link is free.
"""

from __future__ import annotations

from takt.errors import CapacityError, CompileError
from takt.lpu.compiler.board import Board, inward, outward
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.ir import EAST, WEST, Append, Buffer
from takt.lpu.compiler.timeline import TRIES, Undo
from takt.lpu.compiler.words import Words


def place_exchange(board: Board, words: Words, label: str, work: Append) -> list[tuple[int, int]]:
    """Place the vectors of an exchange, each at the first cycle where it fits; first and last cycle of each.

    Raises CompileError if one fits nowhere, CapacityError if there is no room for what comes in.
    """
    g, source, target = board.g, work.source, work.target
    _choose_slices(board, words, source, target)
    placed = [_search(board, label, work, byte) for byte in range(len(source.slices))]
    target.written = tuple(end for _, end in placed)
    target.done = max(target.written)
    target.ideal = source.ideal + _flight(g) + 2 * g.read
    target.ideal_done = target.ideal
    return placed


def _flight(g: Geometry) -> int:
    """Cycles from x = 0 on the way out to x = 0 on the way in."""
    return 2 * g.x_sxm + 1 + g.link_margin + g.link


def _choose_slices(board: Board, words: Words, source: Buffer, target: Buffer) -> None:
    """Slices and words for what comes in: where a write at about its arrival fits."""
    if target.slices:
        return
    g = board.g
    due = max(source.written, default=0) + _flight(g)
    for side in (target.side,) if target.side >= 0 else words.next_sides():
        avoid = words.peers_slices(target)
        chosen = words.free_slices(
            side, due, 1, target.type.n_streams, 1, inward=True, avoid=avoid
        ) or words.free_slices(side, due, 1, target.type.n_streams, 1, inward=True)
        if chosen is not None:
            target.slices = tuple((c,) for c in chosen)
            target.bases = tuple(words.allocate(c, 1, due - abs(g.slice_x[c])) for c in chosen)
            return
    raise CapacityError(f"no room in the work slices for {target.name}")


def _search(board: Board, label: str, work: Append, byte: int) -> tuple[int, int]:
    """The first cycle at which a byte can be sent and received; that of its send and that of its write."""
    g = board.g
    slice_, _ = work.source.location(byte, 0)
    ready = work.source.written[byte] + 1 if work.source.written else 0
    time = ready + g.read + g.x_sxm - abs(g.slice_x[slice_])
    slot = (1 << g.link_slot) - 1
    for _ in range(TRIES):
        link = min(work.links, key=lambda n: board.links[n].wait(time, slot))
        undo = Undo()
        end = _reserve(board, undo, work, byte, time, link)
        if end is not None:
            return time, end
        undo.rollback()
        if undo.rigid:
            break
        time += undo.skip()
    raise CompileError(f"no place found for task {label}")


def _reserve(board: Board, undo: Undo, work: Append, byte: int, time: int, link: int) -> int | None:
    """Claim and emit one vector sent at cycle `time`; the cycle of its write, None if something is taken."""
    g = board.g
    source, word = work.source.location(byte, 0)
    target, place = work.target.location(byte, 0)
    side, home = g.side_of(source), g.side_of(target)
    receive = time + 1 + g.link_margin
    back = receive + g.link
    read = time - g.read - (g.x_sxm - abs(g.slice_x[source]))
    write = back + g.x_sxm - abs(g.slice_x[target])
    if not undo.take(board.links[link], time, (1 << g.link_slot) - 1):
        return None
    if not undo.take(board.queue[source], read, 1) or not undo.take(board.queue[target], write, 1):
        return None
    sender, receiver = port(board, undo, side, time), port(board, undo, home, receive)
    if sender is None or receiver is None:
        return None
    out = board.take_streams(undo, outward(side), (side,), time - g.x_sxm, 1, 1)
    into = board.take_streams(undo, inward(home), (home,), back + g.x_sxm, 1, 1)
    if out is None or into is None:
        return None
    board.emit(read, source, "read", a=word, b=out.ref())
    board.emit(time, sender, "send", a=out.ref(), b=link)
    board.emit(receive, receiver, "receive", a=into.ref(), b=link)
    board.emit(write, target, "write", a=place, b=into.ref())
    work.source.last_read = max(work.source.last_read, read)
    return write


def port(board: Board, undo: Undo, side: int, time: int) -> int | None:
    """Claim a C2C queue of a side for one cycle; its number."""
    letter = {EAST: "e", WEST: "w"}[side]
    numbers = [board.g.queue[f"sxm.c2c.{letter}{k}"] for k in range(board.g.n_c2c)]
    free = next((n for n in numbers if board.queue[n].free(time, 1)), numbers[0])
    return free if undo.take(board.queue[free], time, 1) else None
