"""Many vectors from chips to chips, at the same places in SRAM or others, over every wire that helps.

Where chips stand between, vectors pass through them without resting: what a chip receives goes out again from the
stream. Each vector is placed at the first cycle at which all wires, queues and streams of its way are free. Chips run
one program each, all from the same cycle on. Does not know what the vectors are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from takt.chips import Chip, Network, Wire
from takt.errors import CompileError
from takt.lpu.compiler.board import Board, inward, outward
from takt.lpu.compiler.geometry import Geometry, geometry
from takt.lpu.compiler.ir import EAST
from takt.lpu.compiler.timeline import TRIES, Undo
from takt.lpu.isa import Program, plan_supply
from takt.lpu.machine import Activity
from takt.lpu.machine.checker import prove

Place = tuple[int, int]
"""Slice and word."""
Text = list[tuple[int, int, int]]
"""(slice, first word, end word) of what is kept for program text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One vector: where it is and where it goes."""

    source_chip: int
    source: Place
    target_chip: int
    target: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What it takes to move parcels: a program for each chip that takes part."""

    chips: tuple[int, ...]
    programs: tuple[Program, ...]
    activity: tuple[Activity, ...]
    cycles: int
    bound_cycles: int
    n_vectors: int


def carry(
    parcels: Sequence[Parcel], network: Network, relays: Iterable[int], chip: Chip, text: Text
) -> Passage:
    """Schedule all parcels; `relays` are chips that vectors may pass through, beside those of the parcels.

    Raises CompileError where no wires join two chips, directly or through one other.
    """
    g = geometry(chip)
    ends = {c for p in parcels for c in (p.source_chip, p.target_chip)}
    allowed = frozenset((*ends, *relays))
    boards: dict[int, Board] = {}
    load: dict[Wire, int] = {}
    ways: dict[tuple[int, int], list[tuple[Wire, ...]]] = {}
    for parcel in parcels:
        pair = parcel.source_chip, parcel.target_chip
        if pair not in ways:
            ways[pair] = _ways(network, *pair, allowed)
        way = min(ways[pair], key=lambda w: (max(load.get(wire, 0) for wire in w), len(w)))
        for wire in way:
            load[wire] = load.get(wire, 0) + 1
            for end in (wire.source_chip, wire.target_chip):
                boards.setdefault(end, Board(g))
        _place(boards, parcel, way, g)
    chips = tuple(sorted(boards))
    made = [_program(boards[c], chip, text) for c in chips]
    return Passage(
        chips=chips,
        programs=tuple(program for program, _ in made),
        activity=tuple(activity for _, activity in made),
        cycles=max(program.cycles for program, _ in made),
        bound_cycles=(max(load.values()) - 1) * g.link_slot + g.link,
        n_vectors=len(parcels),
    )


def _ways(network: Network, a: int, b: int, allowed: frozenset[int]) -> list[tuple[Wire, ...]]:
    """All wires from a to b, and all ways of two wires through one allowed chip."""
    ways: list[tuple[Wire, ...]] = [(wire,) for wire in network.links(a, b)]
    for one in network.leaving(a):
        if one.target_chip in allowed and one.target_chip != b:
            ways += [(one, two) for two in network.links(one.target_chip, b)]
    if not ways:
        raise CompileError(f"no wires lead from chip {a} to chip {b}, or through one other")
    return ways


def _place(boards: dict[int, Board], parcel: Parcel, way: tuple[Wire, ...], g: Geometry) -> None:
    """Claim and emit a parcel's way at the first cycle at which it fits. Raises CompileError if there is none."""
    x = abs(g.slice_x[parcel.source[0]])
    slot = (1 << g.link_slot) - 1
    time = g.read + g.x_sxm - x
    time += boards[parcel.source_chip].links[way[0].source_link].wait(time, slot)
    for _ in range(TRIES):
        trial = _Trial(boards, g)
        if trial.reserve(parcel, way, time):
            for board, instruction in trial.emits:
                board.emit(*instruction[:3], a=instruction[3], b=instruction[4])
            return
        trial.undo.rollback()
        time += trial.undo.skip()
    raise CompileError(f"no place found for a vector from chip {parcel.source_chip}")


_Emit = tuple[int, int, str, int, int]  # cycle, queue, operation, operands a and b


class _Trial:
    """One parcel at one cycle: what it claims, and the instructions that would carry it."""

    __slots__ = ("_boards", "_g", "emits", "undo")

    def __init__(self, boards: dict[int, Board], g: Geometry) -> None:
        self._boards, self._g = boards, g
        self.undo = Undo()
        self.emits: list[tuple[Board, _Emit]] = []

    def reserve(self, parcel: Parcel, way: tuple[Wire, ...], time: int) -> bool:
        """Claim everything for a first send at cycle `time`; False if something is taken."""
        g, (slice_, word) = self._g, parcel.source
        board, side = self._boards[parcel.source_chip], g.side_of(slice_)
        read = time - g.read - (g.x_sxm - abs(g.slice_x[slice_]))
        if not self.undo.take(board.queue[slice_], read, 1):
            return False
        out = board.take_streams(self.undo, outward(side), (side,), time - g.x_sxm, 1, 1)
        if out is None:
            return False
        self.emits.append((board, (read, slice_, "read", word, out.ref())))
        stream = out.ref()
        for i, wire in enumerate(way):
            if not self._send(wire, side, time, stream):
                return False
            last = i == len(way) - 1
            side = g.side_of(parcel.target[0]) if last else side
            found = self._receive(wire, side, time + 1 + wire.extra_cycles, last)
            if found is None:
                return False
            stream, time = found
        return self._write(parcel, time, stream)

    def _send(self, wire: Wire, side: int, time: int, stream: int) -> bool:
        board = self._boards[wire.source_chip]
        slot = (1 << self._g.link_slot) - 1
        if not self.undo.take(board.links[wire.source_link], time, slot):
            return False
        port = self._port(board, side, time)
        if port is None:
            return False
        self.emits.append((board, (time, port, "send", stream, wire.source_link)))
        return True

    def _receive(self, wire: Wire, side: int, time: int, last: bool) -> tuple[int, int] | None:
        """Stream of what comes in, and when it is there at the SXM: outward to be sent on at once, inward at the end."""
        g, board = self._g, self._boards[wire.target_chip]
        port, there = self._port(board, side, time), time + g.link
        if port is None:
            return None
        direction = inward(side) if last else outward(side)
        diagonal = there + g.x_sxm if last else there - g.x_sxm
        streams = board.take_streams(self.undo, direction, (side,), diagonal, 1, 1)
        if streams is None:
            return None
        self.emits.append((board, (time, port, "receive", streams.ref(), wire.target_link)))
        return streams.ref(), there

    def _write(self, parcel: Parcel, there: int, stream: int) -> bool:
        g, (slice_, word) = self._g, parcel.target
        board = self._boards[parcel.target_chip]
        time = there + g.x_sxm - abs(g.slice_x[slice_])
        if not self.undo.take(board.queue[slice_], time, 1):
            return False
        self.emits.append((board, (time, slice_, "write", word, stream)))
        return True

    def _port(self, board: Board, side: int, time: int) -> int | None:
        letter = "e" if side == EAST else "w"
        ports = [self._g.queue[f"sxm.c2c.{letter}{k}"] for k in range(self._g.n_c2c)]
        free = next((n for n in ports if board.queue[n].free(time, 1)), ports[0])
        return free if self.undo.take(board.queue[free], time, 1) else None


def _program(board: Board, chip: Chip, text: Text) -> tuple[Program, Activity]:
    program = Program(chip_id=chip.id, instructions=board.instructions(), name="transfer")
    program = plan_supply(program, chip, text)
    report = prove(program, chip)
    return replace(program, cycles=report.cycles), report.activity
