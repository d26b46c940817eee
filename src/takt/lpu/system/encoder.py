"""An encoder on a system of chips, as one exact schedule: layers in a line, rows shared within a group.

    compile_encoder   cuts, places and schedules; of several sizes of a group it keeps the best
    EncoderCompiled   every program run in order (`visits`), and what one sequence takes

One program serves every layer (`encoder_lower`), so time to compile does not grow with them. Between chips go the rows
in the form that matrices take them (`relay`). Weights are read by `encoder_session` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from takt.chips import Chip, Network, System
from takt.errors import CapacityError, CompileError, UnsupportedError, UsageError
from takt.lpu.compiler.ir import Buffer
from takt.lpu.compiler.passes import Work, run_passes
from takt.lpu.isa import Program
from takt.lpu.isa.table import Type
from takt.lpu.machine import Activity, Move, SystemProgram
from takt.lpu.system.compile import OBJECTIVES, WEIGHTS
from takt.lpu.system.encoder_lower import EncoderStep
from takt.lpu.system.encoder_place import (
    ChipPlan,
    EncoderLayout,
    moves_to,
    place_embedding,
    place_layer,
    room_for,
    skip,
    timing_model,
)
from takt.lpu.system.encoder_stages import Group, Held, hold_layers
from takt.lpu.system.line import groups_in_line
from takt.lpu.system.relay import Parcel, Passage, carry
from takt.lpu.system.visits import Visit, epoch_from, system_program
from takt.models import Model, ModelShape


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderVisit(Visit):
    """A visit of a sequence, and where a layer's slot moves its program."""

    moves: tuple[tuple[Move, ...], ...] = ()  # a chip


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderProgram:
    """One compiled program of a chip."""

    program: Program
    bound_cycles: int
    limit: str
    activity: Activity


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderParts:
    """What all cuts of a model on a kind of chip share: layouts, programs by (kind, rows), and room in layers."""

    model: Model  # of one layer
    plan: ChipPlan
    layout: EncoderLayout
    tables: EncoderLayout  # with the token tables
    room: int
    room_beside_tables: int
    programs: dict[tuple[str, int], EncoderProgram] = field(default_factory=dict)

    def program(self, kind: str, rows: int) -> EncoderProgram:
        """The program "look_up", "layer_of" or "pooled" for `rows` rows of the chip's own."""
        if (kind, rows) not in self.programs:
            self.programs[kind, rows] = self._compile(kind, rows)
        return self.programs[kind, rows]

    def _compile(self, kind: str, rows: int) -> EncoderProgram:
        layout = self.tables if kind == "look_up" else self.layout
        build = getattr(EncoderStep(layout, f"{kind}.{rows}", rows), kind)
        chip = self.plan.chip
        work = run_passes(Work(chip=chip, geometry=layout.image.g, layout=layout, build=build))
        if work.program is None or work.bound is None or work.activity is None:
            raise CompileError(f"the passes made no program for {kind}")
        return EncoderProgram(
            program=work.program,
            bound_cycles=work.bound.cycles,
            limit=work.bound.limit,
            activity=work.activity,
        )


@dataclass(slots=True, eq=False)
class EncoderCompiled:
    """An encoder on a system. Cycles are of one sequence of `length` tokens, from its tokens to its vector."""

    shape: ModelShape
    system: System
    network: Network
    n_chips: int
    weights: str
    length: int
    objective: str
    parts: EncoderParts
    groups: tuple[Group, ...]
    held: tuple[Held, ...]
    visits: tuple[EncoderVisit, ...] = ()

    @property
    def chip(self) -> Chip:
        """What each chip of the system is."""
        return self.system.chip

    @property
    def group_chips(self) -> int:
        """Chips of a group."""
        return len(self.groups[0])

    @property
    def pool_chip(self) -> int:
        """The chip that makes the vector."""
        return self.held[-1].chips[0]

    @property
    def token_chip(self) -> int:
        """The chip that looks tokens up."""
        return self.groups[0][0]

    @property
    def step_cycles(self) -> int:
        """From the tokens to the vector."""
        return max(v.end_cycle for v in self.visits)

    @property
    def bound_cycles(self) -> int:
        """What the visits take one after the other if each met its own bound, without gaps between them."""
        return sum(v.bound_cycles for v in self.visits)

    @property
    def interval_cycles(self) -> int:
        """Cycles after which the next sequence can follow: the busiest chip's time, filled up to an epoch."""
        busiest = 0
        for chip in {c for v in self.visits for c in v.chips}:
            mine = [v for v in self.visits if chip in v.chips]
            busiest = max(busiest, mine[-1].end_cycle - mine[0].start_cycle)
        return epoch_from(busiest + self.chip.launch_cycles, self.chip)

    @property
    def step_s(self) -> float:
        """Seconds from the tokens to the vector."""
        return self.step_cycles / self.chip.clock_hz

    @property
    def sequences_per_s(self) -> float:
        """Sequences a second, as many on their way at once as there is room for in the line."""
        return self.chip.clock_hz / self.interval_cycles

    @property
    def sram_used_fraction(self) -> float:
        """Slots taken by layers, of all slots of the system's chips."""
        taken = sum(len(h.chips) for h in self.held)
        return taken / sum(_rooms(self.parts, self.groups).values())

    def program(self) -> SystemProgram:
        """The schedule of one sequence on every chip."""

        def moves(visit: EncoderVisit, i: int) -> tuple[Move, ...]:
            return visit.moves[i] if visit.moves else ()

        return system_program(self.chip, self.network, self.visits, moves)

    def activities(self) -> list[tuple[Activity, int]]:
        """What one sequence makes each program do, and on how many chips."""
        return [pair for visit in self.visits for pair in visit.activity]


def compile_encoder(
    shape: ModelShape,
    system: System,
    *,
    n_chips: int,
    weights: str = "int8",
    length: int = 128,
    objective: str = "latency",
    group: int | None = None,
) -> EncoderCompiled:
    """Cut, place and schedule an encoder on the first `n_chips` chips of a system, for sequences up to `length` tokens.

    Of the sizes of a group (or only `group`) the one is kept that gives a vector first, or (`objective` "throughput")
    most of them. Raises UsageError, UnsupportedError, and CapacityError where the model does not fit.
    """
    if weights not in WEIGHTS:
        raise UsageError(f"weights {weights!r}: expected 'fp16' or 'int8'")
    if objective not in OBJECTIVES:
        raise UsageError(f"objective {objective!r}: expected one of {', '.join(OBJECTIVES)}")
    if not 1 <= length <= min(shape.max_context, system.chip.lanes):
        most = min(shape.max_context, system.chip.lanes)
        raise UsageError(f"length {length}: {shape.name} is compiled for 1 to {most} tokens")
    _require_encoder(shape)
    network = system.network(n_chips)
    parts = _parts(shape, system.chip, WEIGHTS[weights], length)
    made: list[EncoderCompiled] = []
    errors: list[CompileError] = []
    for n in _group_sizes(network, parts.layout.chunk, group):
        try:
            groups = groups_in_line(network, n, n_chips // n)
            held = hold_layers(shape.n_layers, groups, _rooms(parts, groups))
            out = EncoderCompiled(
                shape=shape,
                system=system,
                network=network,
                n_chips=n_chips,
                weights=weights,
                length=length,
                objective=objective,
                parts=parts,
                groups=groups,
                held=held,
            )
            out.visits = tuple(_Way(out).visits())
            made.append(out)
        except CompileError as error:
            errors.append(error)
    if not made:
        raise errors[0]
    if objective == "latency":
        return min(made, key=lambda m: m.step_cycles)
    return min(made, key=lambda m: m.interval_cycles)


def _require_encoder(shape: ModelShape) -> None:
    if shape.family != "encoder":
        raise UsageError(f"{shape.name} is a decoder: compile_system cuts it")
    if shape.norm_place != "post" or not shape.embedding_norm or shape.norm != "layer":
        raise UnsupportedError(f"{shape.name}: encoders on systems norm after each block")
    if shape.special_parts:
        parts = ", ".join(shape.special_parts)
        raise UnsupportedError(f"{shape.name} has {parts}: not compiled for systems yet")


def _group_sizes(network: Network, rows: int, group: int | None) -> list[int]:
    most = min(network.node_chips, network.n_chips)
    sizes = [1 << k for k in range(most.bit_length()) if 1 << k <= most]
    fit = [n for n in sizes if rows % n == 0 and network.n_chips % n == 0]
    if group is None:
        return fit
    if group not in fit:
        raise UsageError(f"groups of {group} chips: expected one of {', '.join(map(str, fit))}")
    return [group]


def _parts(shape: ModelShape, chip: Chip, weights: Type, length: int) -> EncoderParts:
    model = timing_model(shape)
    plan = ChipPlan(chip=chip, weights=weights, length=length)
    layout = place_layer(model, plan)
    room = min(shape.n_layers, room_for(layout))
    plan = replace(plan, n_slots=max(room, 1))
    tables, beside = _beside_tables(model, plan)
    slot = layout.slot
    skip(layout.image, ((plan.n_slots - 1) * slot.words, (plan.n_slots - 1) * slot.work_words))
    # No program writes where tables may lie.
    layout.image.top = list(tables.image.top)
    taken = zip(layout.image.next_word, tables.image.next_word, strict=True)
    layout.image.next_word = [max(pair) for pair in taken]
    return EncoderParts(
        model=model,
        plan=plan,
        layout=layout,
        tables=tables,
        room=room,
        room_beside_tables=beside,
    )


def _beside_tables(model: Model, plan: ChipPlan) -> tuple[EncoderLayout, int]:
    """The most layers that fit beside the token tables, and the layout. Raises CapacityError if none does."""
    for n_slots in range(plan.n_slots, 1, -1):
        try:
            return place_embedding(model, plan, n_slots), n_slots
        except CapacityError:
            continue
    return place_embedding(model, plan, 1), 1


def _rooms(parts: EncoderParts, groups: tuple[Group, ...]) -> dict[int, int]:
    rooms = {chip: parts.room for group in groups for chip in group}
    rooms[groups[0][0]] = parts.room_beside_tables
    return rooms


class _Way:
    """One sequence's way through the chips: which blocks of rows are where, and what runs next.

    The rows of a sequence are as many blocks as a group has chips. The chip at place j of its group keeps block b in the
    (b xor j)-th part of its rows, so that its own comes first.
    """

    def __init__(self, compiled: EncoderCompiled) -> None:
        self._c = compiled
        self._rows = compiled.parts.layout.chunk
        self._n = compiled.group_chips
        self._place = {chip: j for group in compiled.groups for j, chip in enumerate(group)}
        self._have: dict[int, set[int]] = {}
        self._end = -1
        self._passages: dict[tuple[tuple[int, int, int], ...], Passage] = {}

    def visits(self) -> Iterator[EncoderVisit]:
        """Every run of programs, in order, each at an epoch after the one before has ended."""
        c, every = self._c, set(range(self._n))
        yield self._run("embed", 0, (c.token_chip,), c.parts.program("look_up", self._rows))
        self._have = {c.token_chip: set(every)}
        for held in c.held:
            yield from self._bring(held.chips, held.group)
            made = c.parts.program("layer_of", self._rows // len(held.chips))
            moves = tuple(moves_to(slot, c.parts.layout) for slot in held.slots)
            yield self._run(f"{held.layer}.layer", held.group, held.chips, made, moves)
            alone = len(held.chips) == 1
            self._have = {x: set(every) if alone else {self._place[x]} for x in held.chips}
        yield from self._bring((c.pool_chip,), c.held[-1].group)
        made = c.parts.program("pooled", self._rows)
        moves = (moves_to(c.held[-1].slots[0], c.parts.layout),)
        yield self._run("pool", c.held[-1].group, (c.pool_chip,), made, moves)

    def _run(
        self,
        what: str,
        stage: int,
        chips: tuple[int, ...],
        made: EncoderProgram,
        moves: tuple[tuple[Move, ...], ...] = (),
    ) -> EncoderVisit:
        visit = EncoderVisit(
            what=what,
            stage=stage,
            start_cycle=self._start(),
            cycles=made.program.cycles,
            bound_cycles=made.bound_cycles,
            limit=made.limit,
            chips=chips,
            programs=(made.program,),
            activity=((made.activity, len(chips)),),
            moves=moves,
        )
        self._end = visit.end_cycle
        return visit

    def _start(self) -> int:
        chip = self._c.chip
        return epoch_from(self._end + chip.launch_cycles, chip) if self._end >= 0 else 0

    def _bring(self, chips: tuple[int, ...], stage: int) -> Iterator[EncoderVisit]:
        """All rows to some chips, from wherever they are."""
        wanted = []
        sends = dict.fromkeys(self._have, 0)
        for chip in chips:
            for block in range(self._n):
                if block in self._have.get(chip, ()):
                    continue
                holders = [c for c, blocks in self._have.items() if block in blocks]
                source = min(holders, key=lambda c: sends[c])
                sends[source] += 1
                wanted.append((source, chip, block))
        if not wanted:
            return
        key = tuple(wanted)
        if key not in self._passages:
            self._passages[key] = self._carry(key)
        passage = self._passages[key]
        visit = EncoderVisit(
            what="transfer",
            stage=stage,
            start_cycle=self._start(),
            cycles=passage.cycles,
            bound_cycles=passage.bound_cycles,
            limit="links",
            chips=passage.chips,
            programs=passage.programs,
            activity=tuple((a, 1) for a in passage.activity),
        )
        self._end = visit.end_cycle
        yield visit

    def _carry(self, wanted: tuple[tuple[int, int, int], ...]) -> Passage:
        c, rows = self._c, self._rows // self._n
        network = c.network
        parcels = []
        for row in range(rows):
            for buffer in (b for parts in c.parts.layout.state for b in parts):
                for byte in range(buffer.type.n_streams):
                    for a, b, block in wanted:
                        parcels.append(
                            Parcel(
                                source_chip=a,
                                source=self._at(buffer, byte, a, block, row),
                                target_chip=b,
                                target=self._at(buffer, byte, b, block, row),
                            )
                        )
        ends = {chip for a, b, _ in wanted for chip in (a, b)}
        nodes = {network.node(chip) for chip in ends}
        relays = range(network.n_chips) if c.objective == "latency" else ()
        near = [chip for chip in relays if network.node(chip) in nodes]
        return carry(parcels, network, near, c.chip, c.parts.layout.image.text_ranges())

    def _at(self, buffer: Buffer, byte: int, chip: int, block: int, row: int) -> tuple[int, int]:
        """Slice and word of a row of a block on a chip."""
        part = block ^ self._place[chip]
        return buffer.location(byte, part * (self._rows // self._n) + row)
