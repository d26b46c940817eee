"""The few distinct programs of a system, compiled once each.

A `Kind` says what a program does: look tokens up, attention of a layer, some parts of its feed-forward, some parts of
the logits. Chips and layers that do the same share the program; their places in SRAM differ (`place`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from takt.chips import Chip
from takt.errors import CapacityError, CompileError
from takt.lpu.compiler.bound import Bound
from takt.lpu.compiler.geometry import geometry
from takt.lpu.compiler.image import new_image
from takt.lpu.compiler.ir import Plan
from takt.lpu.compiler.passes import Work, run_passes
from takt.lpu.compiler.schedule import Placed
from takt.lpu.isa import Program
from takt.lpu.isa.table import BY_NAME, Type
from takt.lpu.machine import Activity
from takt.lpu.system.drive import on_one_chip, over_links
from takt.lpu.system.latent import LatentStep
from takt.lpu.system.lower import Own, Swap
from takt.lpu.system.place import (
    WORK_WORDS,
    Region,
    SplitLayout,
    close,
    level,
    new_layout,
    place_attention,
    place_caches,
    place_embedding,
    place_experts,
    place_feed_forward,
    place_head,
    region,
)
from takt.lpu.system.shards import Shard, shard
from takt.models import ModelShape

F32 = Type.F32

TEXT_WORDS = 768
"""Words of each work slice kept for program text."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """What a program does, in this order. Parts are (first, count, of); a count of 0 means none."""

    embed: tuple[int, int, int] = (0, 0, 1)
    attention: bool = False
    window: int = 0  # of the attention, 0 for none
    ffn: tuple[int, int, int] = (0, 0, 1)
    experts: bool = False  # the feed-forward is a mixture: its parts are experts, not columns
    head: tuple[int, int, int] = (0, 0, 1)

    @property
    def pattern(self) -> Kind:
        """A kind that runs the same program: which of equal parts of the experts it is makes no difference but to the
        first, which has the experts that every token meets.
        """
        first, count, of = self.ffn
        if not self.experts or first < 2:
            return self
        return replace(self, ffn=(1 if count < of else 0, count, of))

    @property
    def name(self) -> str:
        """Such as `attention+ffn` or `ffn.1-2/4`."""
        out = (
            [f"attention.w{self.window}" if self.window else "attention"] if self.attention else []
        )
        for what, (first, count, of) in (
            ("embed", self.embed),
            ("experts" if self.experts else "ffn", self.ffn),
            ("head", self.head),
        ):
            if count:
                part = f".{first}-{first + count - 1}/{of}" if count < of else ""
                out.append(what + part)
        return "+".join(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One program with what is known of it."""

    kind: Kind
    program: Program
    layouts: tuple[SplitLayout, ...]
    bound: Bound
    activity: Activity
    placed: tuple[Placed, ...]
    link_cycles: int  # the busiest link's

    @property
    def cycles(self) -> int:
        """The proved length."""
        return self.program.cycles

    @property
    def bound_cycles(self) -> int:
        """No schedule of this work is shorter."""
        return max(self.bound.cycles, self.link_cycles)

    @property
    def limit(self) -> str:
        """What sets the bound."""
        return "links" if self.link_cycles > self.bound.cycles else self.bound.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How a model is cut for a group: its shape, the group's size, weights and context."""

    shape: ModelShape
    chip: Chip
    n: int
    n_links: int  # to each other chip of the group
    weights: Type
    context: int
    n_parts: int = 1  # chips that share a context
    on_one_chip: bool = False  # all ranks on one chip: the same sums in the same order

    def ranks(self, place: int) -> Sequence[int]:
        """Ranks on the chip at a place of the group: its own, or all of them."""
        return range(self.n) if self.on_one_chip else (place,)

    @property
    def group_chips(self) -> int:
        """Chips of a group."""
        return 1 if self.on_one_chip else self.n

    def layouts(self, kind: Kind, place: int = 0) -> tuple[SplitLayout, ...]:
        """Place what a program needs on the chip at a place of the group; one layout for each rank there.

        Raises CapacityError if not even this fits.
        """
        image = new_image(geometry(self.chip), TEXT_WORDS, even=True)
        outs = []
        for rank in self.ranks(place):
            mine = replace(
                image, tiles={}, buffers={}, contents={}, matrices={}, patterns={}
            )  # heights are shared
            part = self.shard(rank)
            outs.append(
                new_layout(self.shape, part, mine, self.weights, self.context, self.n_parts)
            )
            windows = (kind.window or None,) * self.shape.n_layers
            outs[-1].shape = replace(part.shape, windows=windows)
        _, common = level(image)
        if kind.attention:
            with region(outs, "attention"):
                for out in outs:
                    place_attention(out)
            with region(outs, "cache"):
                for out in outs:
                    place_caches(out)
        if kind.ffn[1]:
            with region(outs, "ffn"):
                if kind.experts:
                    place_experts(outs, kind.ffn)
                else:
                    for out in outs:
                        place_feed_forward(out, kind.ffn)
        if kind.head[1]:
            with region(outs, "head"):
                for out in outs:
                    place_head(out, kind.head)
        if level(image)[1] > common + WORK_WORDS:
            raise CapacityError(f"the constants of {kind.name} do not fit the work slices")
        close(outs[0], common)
        if kind.embed[1]:
            for out in outs:
                place_embedding(out, kind.embed)
        return tuple(outs)

    def shard(self, rank: int) -> Shard:
        """What the chip of a rank holds."""
        return shard(self.shape, rank, self.n, self.chip.lanes)


@dataclass(slots=True)
class Library:
    """Programs of a cut, made when first asked for."""

    cut: Cut
    programs: dict[tuple[Kind, int], Compiled] = field(default_factory=dict)
    sizes: dict[Kind, dict[str, Region]] = field(default_factory=dict)
    _table_words: dict[Kind, int] = field(default_factory=dict)
    _capacity: int = 0

    def regions(self, kind: Kind) -> dict[str, Region]:
        """What a kind takes in SRAM, without scheduling it."""
        kind = kind.pattern
        if kind not in self.sizes:
            self.sizes[kind] = self.cut.layouts(kind)[0].regions
        return self.sizes[kind]

    @property
    def capacity(self) -> int:
        """Words of a weight slice for regions."""
        if not self._capacity:
            image = self.cut.layouts(Kind())[0].image
            height = max(image.next_word[s] for s in image.weight_slices)
            self._capacity = image.g.words - height
        return self._capacity

    def table_words(self, kind: Kind) -> int:
        """Words of a weight slice that the look-up tables of a kind take from its top."""
        if kind not in self._table_words:
            image = self.cut.layouts(kind)[0].image
            self._table_words[kind] = image.g.words - min(image.top[s] for s in image.weight_slices)
        return self._table_words[kind]

    def program(self, kind: Kind, position: int) -> Compiled:
        """The program of a kind for positions in the same block of 320 as `position`."""
        kind = kind.pattern
        block = position // (self.cut.chip.lanes * self.cut.n_parts) if kind.attention else 0
        key = (kind, block)
        if key not in self.programs:
            self.programs[key] = self._compile(kind, block)
        return self.programs[key]

    def _compile(self, kind: Kind, block: int) -> Compiled:
        cut = self.cut
        layouts = cut.layouts(kind)
        name = f"{kind.name}.{block}" if kind.attention else kind.name

        def build() -> Plan:
            def pieces(step: LatentStep) -> Swap:
                return steps(step, kind)

            if cut.on_one_chip:
                return on_one_chip(layouts, name, block, pieces)
            return over_links(layouts[0], name, block, cut.n_links, pieces)

        layout = layouts[0]
        work = run_passes(Work(chip=cut.chip, geometry=layout.image.g, layout=layout, build=build))
        if work.program is None or work.bound is None or work.activity is None:
            raise CompileError(f"the passes made no program for {name}")
        return Compiled(
            kind=kind,
            program=work.program,
            layouts=layouts,
            bound=work.bound,
            activity=work.activity,
            placed=work.placed,
            link_cycles=link_cycles(work.program, cut.chip),
        )


def link_cycles(program: Program, chip: Chip) -> int:
    """Cycles for which a program's sends occupy the busiest link."""
    sends = program.instructions[program.instructions["op"] == BY_NAME["send"].op]
    busiest = 0
    for link in set(sends["b"].tolist()):
        busiest = max(busiest, int(sends["count"][sends["b"] == link].sum()))
    return busiest * chip.c2c_vector_cycles


def steps(step: LatentStep, kind: Kind) -> Swap:
    """What a program of a kind does, as a generator (see `lower`)."""
    state = step.layout.state
    if kind.embed[1]:
        step.embedding(add=kind.embed[0] > 0)
        if not (kind.attention or kind.ffn[1] or kind.head[1]):
            return
    x = step.load_state()
    before = x
    first, count, of = kind.ffn
    if kind.attention:
        target = [step.temp(f"mid{c}", F32) for c in range(len(x.x))] if count else state["x"]
        attend = step.attend if step.whole.latent is None else step.attend_latent
        x = yield from attend(x, target)
        before = x
    if count:
        if first > 0:
            before = Own(x=list(state["before"]))
        elif count < of:  # other parts, elsewhere, start from the same rows
            before = step.saved(before, state["before"])
        forward = step.mixture if kind.experts else step.forward
        x = yield from forward(before, x, state["x"])
    if kind.head[1]:
        yield from step.logits(x)
