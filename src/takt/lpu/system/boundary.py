"""From one group of chips to the next: the residual stream over whatever wires join them.

Chip p of a group hands its shard to chip p of the next. Where a wire joins the two it takes that; elsewhere it goes
through chips of either group that have one, at most three hops. All chips of both groups take part in one schedule,
vector by vector, each hop as early as wires, queues and streams allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from takt.chips import Chip, Network, Wire
from takt.errors import CompileError
from takt.lpu.compiler.board import Board, inward, outward
from takt.lpu.compiler.exchange import port
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.ir import Buffer
from takt.lpu.compiler.timeline import TRIES, Undo
from takt.lpu.compiler.words import Words
from takt.lpu.isa import Program, plan_supply
from takt.lpu.machine import Activity
from takt.lpu.machine.checker import prove

Way = tuple[Wire, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Programs of the chips of both groups, by place: those of the first group, then those of the second."""

    programs: tuple[Program, ...]
    activity: tuple[Activity, ...]
    cycles: int
    bound_cycles: int
    n_vectors: int


@dataclass(slots=True)
class _Site:
    """One chip's reservations, and room for vectors that only pass through it."""

    board: Board
    words: Words


@dataclass(slots=True)
class _Vector:
    """One vector on its way: where it is, from when on, and where it has to go."""

    way: Way
    slice_: int
    word: int
    ready: int
    target: tuple[int, int]
    hop: int = 0


def signature(network: Network, first: Sequence[int], second: Sequence[int]) -> tuple[object, ...]:
    """What a transfer between two groups depends on: equal for groups that are wired alike."""
    place = {chip: i for i, chip in enumerate((*first, *second))}
    return tuple(
        (place[w.source_chip], w.source_link, place[w.target_chip], w.target_link, w.extra_cycles)
        for chip in (*first, *second)
        for w in network.leaving(chip)
        if w.target_chip in place
    )


def transfer(
    network: Network,
    first: Sequence[int],
    second: Sequence[int],
    state: Iterable[Buffer],
    g: Geometry,
    chip: Chip,
    site_words: tuple[dict[int, tuple[int, ...]], list[int], list[int]],
    text: list[tuple[int, int, int]],
) -> Transfer:
    """Schedule `state` from each chip of `first` to the same buffers of its counterpart in `second`.

    Raises CompileError if no wires join the groups.
    """
    sites: dict[int, _Site] = {}
    for c in (*first, *second):
        board = Board(g)
        work, next_word, limit = site_words
        sites[c] = _Site(board, Words(board, work, list(next_word), limit))
    load: dict[tuple[int, int], int] = {}
    vectors = []
    buffers = list(state)
    chips = frozenset((*first, *second))
    ways = {a: _ways(network, a, b, chips) for a, b in zip(first, second, strict=True)}
    for buffer, byte in [(b, byte) for b in buffers for byte in range(b.type.n_streams)]:
        for a in first:
            at = buffer.location(byte, 0)
            vectors.append(_Vector(_choose(ways[a], a, load), *at, 0, at))
    for hop in range(max(len(v.way) for v in vectors)):
        for vector in sorted((v for v in vectors if len(v.way) > hop), key=lambda v: v.ready):
            _hop(sites, vector, g)
    made = [_program(sites[c].board, chip, text) for c in (*first, *second)]
    return Transfer(
        programs=tuple(p for p, _ in made),
        activity=tuple(a for _, a in made),
        cycles=max(p.cycles for p, _ in made),
        bound_cycles=(max(load.values()) - 1) * g.link_slot + g.link,
        n_vectors=len(vectors),
    )


def _choose(ways: list[Way], a: int, load: dict[tuple[int, int], int]) -> Way:
    """The way whose fullest wire is emptiest; of equals the shortest. Its wires are then one vector fuller."""
    if not ways:
        raise CompileError(
            f"no wires lead from chip {a} to its counterpart within their two groups"
        )

    def cost(way: Way) -> tuple[int, int]:
        return max(load.get((w.source_chip, w.source_link), 0) for w in way), len(way)

    best = min(ways, key=cost)
    for w in best:
        load[w.source_chip, w.source_link] = load.get((w.source_chip, w.source_link), 0) + 1
    return best


def _ways(network: Network, a: int, b: int, chips: frozenset[int]) -> list[Way]:
    """The wires from a to b; without any, every way of two or three hops through other chips of the two groups."""
    direct = network.links(a, b)
    if direct:
        return [(wire,) for wire in direct]
    found: list[Way] = []
    for one in network.leaving(a):
        if one.target_chip not in chips:
            continue
        for two in network.leaving(one.target_chip):
            if two.target_chip == b:
                found.append((one, two))
            elif two.target_chip in chips and two.target_chip != a:
                found += [(one, two, three) for three in network.links(two.target_chip, b)]
    return found


def _hop(sites: dict[int, _Site], vector: _Vector, g: Geometry) -> None:
    """Move a vector over the next wire of its way, at the first cycle at which that is possible."""
    wire = vector.way[vector.hop]
    last = vector.hop == len(vector.way) - 1
    source, sink = sites[wire.source_chip], sites[wire.target_chip]
    x = abs(g.slice_x[vector.slice_])
    time = vector.ready + g.read + g.x_sxm - x
    for _ in range(TRIES):
        undo = Undo()
        arrived = _reserve(source, sink, undo, vector, wire, time, last, g)
        if arrived is not None:
            vector.slice_, vector.word, vector.ready = arrived
            vector.hop += 1
            return
        undo.rollback()
        time += undo.skip()
    raise CompileError("no place found for a vector between groups")


def _reserve(
    source: _Site,
    sink: _Site,
    undo: Undo,
    vector: _Vector,
    wire: Wire,
    time: int,
    last: bool,
    g: Geometry,
) -> tuple[int, int, int] | None:
    """Claim and emit one hop sent at cycle `time`; slice, word and first cycle at which it can be read there."""
    side = g.side_of(vector.slice_)
    read = time - g.read - (g.x_sxm - abs(g.slice_x[vector.slice_]))
    receive = time + 1 + wire.extra_cycles
    back = receive + g.link
    board, other = source.board, sink.board
    if not undo.take(board.links[wire.source_link], time, (1 << g.link_slot) - 1):
        return None
    if not undo.take(board.queue[vector.slice_], read, 1):
        return None
    home = g.side_of(vector.target[0])
    chosen: tuple[int, ...] | None = (vector.target[0],)
    if not last:
        for home in sink.words.next_sides():
            chosen = sink.words.free_slices(home, back + 2 * g.x_sxm, 1, 1, 1, inward=True)
            if chosen is not None:
                break
    if chosen is None:
        return None
    target = chosen[0]
    write = back + g.x_sxm - abs(g.slice_x[target])
    if not undo.take(other.queue[target], write, 1):
        return None
    sender, receiver = port(board, undo, side, time), port(other, undo, home, receive)
    if sender is None or receiver is None:
        return None
    out = board.take_streams(undo, outward(side), (side,), time - g.x_sxm, 1, 1)
    into = other.take_streams(undo, inward(home), (home,), back + g.x_sxm, 1, 1)
    if out is None or into is None:
        return None
    word = vector.target[1] if last else sink.words.allocate(target, 1, write)
    board.emit(read, vector.slice_, "read", a=vector.word, b=out.ref())
    board.emit(time, sender, "send", a=out.ref(), b=wire.source_link)
    other.emit(receive, receiver, "receive", a=into.ref(), b=wire.target_link)
    other.emit(write, target, "write", a=word, b=into.ref())
    return target, word, write + 1


def _program(
    board: Board, chip: Chip, text: list[tuple[int, int, int]]
) -> tuple[Program, Activity]:
    program = Program(chip_id=chip.id, instructions=board.instructions(), name="transfer")
    program = plan_supply(program, chip, text)
    report = prove(program, chip)
    return replace(program, cycles=report.cycles), report.activity
