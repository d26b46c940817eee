"""The front door: a model on a system of chips, as one exact schedule.

A group of chips shares every layer it holds (tensor parallel); groups stand in a line (pipeline). One token's way
through the line is a `SystemProgram`; as many users' tokens are on their way at once as caches fit. Programs are
compiled once each and stand for all chips and layers that do the same, so time grows with distinct programs, not chips.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from takt.chips import Chip, Network, System
from takt.errors import CapacityError, CompileError, UnsupportedError, UsageError
from takt.lpu.compiler.geometry import geometry
from takt.lpu.isa.table import Type
from takt.lpu.machine import Activity
from takt.lpu.machine.network import Move, SystemProgram
from takt.lpu.system.boundary import Transfer, signature, transfer
from takt.lpu.system.line import groups_in_line
from takt.lpu.system.programs import Compiled, Cut, Kind, Library
from takt.lpu.system.shards import can_split, key_sharers
from takt.lpu.system.stages import Slot, Stage, TooLarge, cut_into_stages
from takt.lpu.system.visits import Visit, epoch_from, system_program
from takt.models import Experts, ModelShape

OBJECTIVES = ("latency", "throughput")

WEIGHTS = {"fp16": Type.F16, "int8": Type.I8}

SIZES_TRIED = ((1_000_000_000, 64), (20_000_000_000, 2))
"""Parameters up to which so many sizes of a group are compiled, the largest that fit; of larger models one."""
LONG_CONTEXT = 16_384
"""Positions from which spreading a context over chips is tried even where it fits without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVisit(Visit):
    """A visit of a token; a slot's says which slot it is and how it was compiled."""

    slot: Slot | None = None
    compiled: Compiled | None = None


@dataclass(slots=True, eq=False)
class SystemCompiled:
    """A model on a system. Cycles are of one token at the end of the context."""

    shape: ModelShape
    system: System
    network: Network
    n_chips: int
    library: Library
    stages: tuple[Stage, ...]
    groups: tuple[tuple[int, ...], ...]
    users: int
    objective: str
    position: int
    visits: tuple[TokenVisit, ...]
    transfers: dict[object, Transfer] = field(default_factory=dict)
    _blocks: dict[int, SystemCompiled] = field(default_factory=dict)
    _programs: dict[int, SystemProgram] = field(default_factory=dict)

    def at(self, position: int) -> SystemCompiled:
        """The same system for a token at another position: attention reads as many blocks of 320 as there are."""
        lanes = self.cut.chip.lanes * self.cut.n_parts
        if position // lanes == self.position // lanes:
            return self
        block = position // lanes
        if block not in self._blocks:
            other = replace(self, position=position, visits=(), _programs={})
            other.visits = tuple(_visits(other))
            self._blocks[block] = other
        return self._blocks[block]

    @property
    def cut(self) -> Cut:
        """How the model is cut within a group."""
        return self.library.cut

    @property
    def step_cycles(self) -> int:
        """From the token to its logits."""
        return max(v.end_cycle for v in self.visits)

    @property
    def bound_cycles(self) -> int:
        """What the visits take one after the other if each met its own bound, without gaps between them."""
        return sum(v.bound_cycles for v in self.visits)

    @property
    def interval_cycles(self) -> int:
        """Cycles after which the next user's token can follow: the busiest group's time, filled up to an epoch."""
        chip = self.cut.chip
        busiest = 0
        for stage in range(len(self.stages)):
            mine = [v for v in self.visits if set(self.groups[stage]) & set(v.chips)]
            start = min(v.start_cycle for v in mine)
            busiest = max(busiest, max(v.end_cycle for v in mine) - start)
        return epoch_from(busiest + chip.launch_cycles, chip)

    @property
    def period_cycles(self) -> int:
        """Cycles between two tokens of one user, when all users are served in turn."""
        return max(self.step_cycles, self.users * self.interval_cycles)

    @property
    def tokens_per_s_user(self) -> float:
        """Tokens a second that each user sees."""
        return self.cut.chip.clock_hz / self.period_cycles

    @property
    def tokens_per_s_total(self) -> float:
        """Tokens a second of all users."""
        return self.users * self.tokens_per_s_user

    def program(self, user: int = 0) -> SystemProgram:
        """The schedule of one token of a user on every chip."""
        if not 0 <= user < self.users:
            raise UsageError(f"user {user}: the system was compiled for {self.users}")
        if user not in self._programs:
            self._programs[user] = self._program(user)
        return self._programs[user]

    def _program(self, user: int) -> SystemProgram:
        moves = {id(visit): _moves(visit, user) for visit in self.visits}
        return system_program(
            self.cut.chip, self.network, self.visits, lambda visit, _: moves[id(visit)]
        )

    def activities(self) -> list[tuple[Activity, int]]:
        """What one token makes each program do, and on how many chips."""
        return [pair for visit in self.visits for pair in visit.activity]

    @property
    def sram_used_fraction(self) -> float:
        """Words of weights and caches taken, of all words of the weight slices of all chips of the system."""
        taken = sum(stage.words for stage in self.stages) * self.cut.n
        return taken / (self.stages[0].capacity * self.n_chips)


def compile_system(
    shape: ModelShape,
    system: System,
    *,
    n_chips: int,
    weights: str = "int8",
    context: int = 4096,
    users: int = 1,
    objective: str = "latency",
    group: int | None = None,
) -> SystemCompiled:
    """Cut, place and schedule a model on the first `n_chips` chips of a system, for `users` caches of `context` positions.

    Of the sizes of a group (or only `group`) the one is kept that serves each user fastest, or (`objective`
    "throughput") all users together; `SIZES_TRIED` says how many of them are compiled. Raises CapacityError that says
    what would fit.
    """
    if weights not in WEIGHTS:
        raise UsageError(f"weights {weights!r}: expected 'fp16' or 'int8'")
    if objective not in OBJECTIVES:
        raise UsageError(f"objective {objective!r}: expected one of {', '.join(OBJECTIVES)}")
    if not 1 <= context <= shape.max_context:
        raise UsageError(f"context {context}: {shape.name} allows 1 to {shape.max_context}")
    if users < 1:
        raise UsageError(f"users {users}: expected at least 1")
    require_supported(shape)
    network = system.network(n_chips)
    made: list[SystemCompiled] = []
    errors: list[CapacityError | CompileError] = []
    most = next((sizes for limit, sizes in SIZES_TRIED if shape.n_parameters <= limit), 1)
    for n in reversed(_group_sizes(shape, network, group)):
        if len({m.cut.n for m in made}) == most:
            break
        for n_parts in _context_parts(shape, n, context, system.chip):
            cut = Cut(
                shape=shape,
                chip=system.chip,
                n=n,
                n_links=len(network.links(0, 1)) if n > 1 else 0,
                weights=WEIGHTS[weights],
                context=context,
                n_parts=n_parts,
            )
            try:
                made.append(_lay_out(cut, system, network, users, objective))
                if context < LONG_CONTEXT:
                    break
            except (CapacityError, CompileError) as error:
                errors.append(error)
    if not made:
        raise min(errors, key=_regret)
    if objective == "latency":
        return min(made, key=lambda m: (m.period_cycles, m.cut.n))
    return max(made, key=lambda m: (m.tokens_per_s_total, -m.cut.n))


SPECIAL_PARTS = ("a mixture of experts", "latent attention", "attention sinks")
"""What this compiler does beyond a plain transformer (names of `ModelShape.special_parts`)."""


def require_supported(shape: ModelShape) -> None:
    """Raise UnsupportedError for a model with parts that this compiler does not know."""
    if shape.family != "decoder":
        raise UnsupportedError(f"{shape.name} is an encoder: systems run decoders so far")
    experts = shape.experts
    if experts is not None and experts.n_groups > 1 and experts.n_experts > 320:
        raise UnsupportedError(f"{shape.name}: groups among more than 320 experts")
    if experts is not None and experts.scoring == "softmax" and _needs_probabilities(experts):
        raise UnsupportedError(
            f"{shape.name}: experts chosen by more than the order of their probabilities"
        )
    if experts is not None and experts.weighted_inputs:
        raise UnsupportedError(f"{shape.name}: experts whose inputs are weighted")
    unknown = [part for part in shape.special_parts if part not in SPECIAL_PARTS]
    if unknown:
        raise UnsupportedError(
            f"{shape.name} has {', '.join(unknown)}: not compiled for systems yet"
        )


def _needs_probabilities(experts: Experts) -> bool:
    """Whether experts are chosen by numbers that logits, which routers here rank, are not in the order of."""
    return experts.selection_bias or experts.n_groups > 1


def compile_on_one_chip(
    shape: ModelShape,
    system: System,
    *,
    n: int,
    weights: str = "fp16",
    context: int = 256,
    n_parts: int = 1,
) -> SystemCompiled:
    """What a group of `n` chips computes, on one chip: the same sums in the same order, so the same bits.

    `n_parts` as in `Cut`: chips that share a context.
    """
    cut = Cut(
        shape=shape,
        chip=system.chip,
        n=n,
        n_links=0,
        weights=WEIGHTS[weights],
        context=context,
        n_parts=n_parts,
        on_one_chip=True,
    )
    return _lay_out(cut, system, system.network(1), users=1, objective="latency")


def _context_parts(shape: ModelShape, n: int, context: int, chip: Chip) -> list[int]:
    """Over how many chips a context may be spread: those that would hold the same keys, if it is long enough."""
    sharers = key_sharers(shape, n)
    even = sharers & (sharers - 1) == 0  # others are not relative chips 0, 1, … of each other
    return [1, sharers] if sharers > 1 and even and context > chip.lanes else [1]


def _regret(error: CapacityError | CompileError) -> tuple[int, int]:
    """Errors that name the fewest chips come first."""
    chips = error.chips if isinstance(error, TooLarge) else 0
    return (0, chips) if chips else (1, 0)


def _group_sizes(shape: ModelShape, network: Network, group: int | None) -> list[int]:
    sizes = [1 << k for k in range(network.node_chips.bit_length())]
    fit = [
        n for n in sizes if n <= min(network.node_chips, network.n_chips) and can_split(shape, n)
    ]
    if group is None:
        return fit
    if group not in fit:
        raise UsageError(
            f"groups of {group} chips: expected one of {', '.join(map(str, fit))} "
            f"(a power of two that divides {shape.dim} dimensions, within a node)"
        )
    return [group]


def _lay_out(
    cut: Cut, system: System, network: Network, users: int, objective: str
) -> SystemCompiled:
    library = Library(cut)
    n_stages = network.n_chips // cut.group_chips
    stages = cut_into_stages(library, n_stages, users, even=objective == "throughput")
    out = SystemCompiled(
        shape=cut.shape,
        system=system,
        network=network,
        n_chips=network.n_chips,
        library=library,
        stages=stages,
        groups=groups_in_line(network, cut.group_chips, len(stages)),
        users=users,
        objective=objective,
        position=cut.context - 1,
        visits=(),
    )
    out.visits = tuple(_visits(out))
    return out


def _visits(system: SystemCompiled) -> list[TokenVisit]:
    """Every program of one token's way, in order, each at an epoch after the one before has ended."""
    chip = system.cut.chip
    out: list[TokenVisit] = []

    def start() -> int:
        return epoch_from(out[-1].end_cycle + chip.launch_cycles, chip) if out else 0

    for s, stage in enumerate(system.stages):
        for slot in stage.slots:
            compiled = system.library.program(slot.kind, system.position)
            out.append(
                TokenVisit(
                    what=slot.kind.name if slot.layer < 0 else f"{slot.layer}.{slot.kind.name}",
                    stage=s,
                    start_cycle=start(),
                    cycles=compiled.cycles,
                    bound_cycles=compiled.bound_cycles,
                    limit=compiled.limit,
                    chips=system.groups[s],
                    programs=(compiled.program,),
                    activity=((compiled.activity, len(system.groups[s])),),
                    slot=slot,
                    compiled=compiled,
                )
            )
        if s + 1 < len(system.stages):
            moved = _transfer(system, s)
            out.append(
                TokenVisit(
                    what="transfer",
                    stage=s,
                    start_cycle=start(),
                    cycles=moved.cycles,
                    bound_cycles=moved.bound_cycles,
                    limit="links",
                    chips=(*system.groups[s], *system.groups[s + 1]),
                    programs=moved.programs,
                    activity=tuple((a, 1) for a in moved.activity),
                )
            )
    return out


def _transfer(system: SystemCompiled, s: int) -> Transfer:
    """From stage `s` to the next: the residual stream, and inside a feed-forward also the rows it started from."""
    first, second = system.groups[s], system.groups[s + 1]
    begun = system.stages[s].slots[-1].kind.ffn
    inside = begun[1] > 0 and begun[0] + begun[1] < begun[2]
    key = (inside, signature(system.network, first, second))
    if key not in system.transfers:
        layout = system.cut.layouts(Kind())[0]
        state = [*layout.state["x"], *(layout.state["before"] if inside else ())]
        g = geometry(system.cut.chip)
        image = layout.image
        system.transfers[key] = transfer(
            system.network,
            first,
            second,
            state,
            g,
            system.cut.chip,
            (image.work, image.next_word, image.top),
            image.text_ranges(),
        )
    return system.transfers[key]


def _moves(visit: TokenVisit, user: int) -> tuple[Move, ...]:
    """Where a slot's regions lie, from where its program has them; nothing moves for a transfer."""
    if visit.compiled is None or visit.slot is None:
        return ()
    layout = visit.compiled.layouts[0]
    banks, work = layout.image.weight_slices, layout.image.work_slices
    out = []
    for name, region in layout.regions.items():
        at, work_at = visit.slot.bases[name]
        if name == "cache":
            at += user * region.words
        for first, end, to, slices in (
            (region.first, region.end, at, banks),
            (region.work_first, region.work_end, work_at, work),
        ):
            if end > first and to != first:
                out.append(Move(first_word=first, end_word=end, delta=to - first, slices=slices))
    return tuple(out)
