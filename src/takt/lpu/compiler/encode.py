"""The lower pass for encoders: a whole sequence, hidden states to pooled output, in blocks of rows.

Rows are cut into blocks of at most 64. Blocks share keys and values and nothing else, so that one block's norm runs
beside another's products; the scheduler chooses (`ready`). Every weight tile is a twin: both planes of a side hold it,
one takes the high bytes of the rows and the other the low ones.

A norm's result is kept as x̂ · `step` (before gain and shift; `step` is what makes fixed-point numbers of it, 1 with f16
weights): the next matrices have gain and shift folded in, and the residual gets them in the task that prepares it.
Hidden rows between two norms are in the same unit. See `packs` for attention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from takt.lpu.compiler.blocks import SOFTMAX_SHIFT, Operand, Tasks
from takt.lpu.compiler.ir import (
    Accumulator,
    Buffer,
    Constant,
    FromBuffer,
    FromGather,
    FromNode,
    Plan,
    Source,
    Task,
)
from takt.lpu.compiler.layout import Layout
from takt.lpu.compiler.matrices import CUBIC, HIGH
from takt.lpu.compiler.packs import Packs
from takt.lpu.isa.table import Type

F32, F16, I8 = Type.F32, Type.F16, Type.I8

_BLOCK = 64  # most rows of a block

BAND = 2.0**4
"""Sums of squares go to the MXM divided by this: those of |x| up to 500 do not overflow f16, those of 0.02 stay exact."""

_SHARDS = 1  # of a look-up table in one task

_ATTENTION, _FFN, _INSIDE = 0, 1, 2
"""Banks of the weights of either part of a layer: while one is loaded from, the other has room for intermediate results."""


Sided = dict[int, Operand]
"""What matrices multiply, by the side of the chip that it lies on: either MXM reads its own copy."""


@dataclass(slots=True)
class Normed:
    """Rows after a norm, by chunk: what matrices multiply, and x̂ · step in f32."""

    operands: list[Sided] = field(default_factory=list)
    steps: list[Buffer] = field(default_factory=list)


@dataclass(slots=True)
class Projected:
    """Queries of a block and their products with the own keys, lane by lane, by vector of heads; for either side."""

    queries: list[dict[int, Buffer]] = field(default_factory=list)
    own: list[dict[int, Buffer]] = field(default_factory=list)


class Encode(Tasks):
    """A whole sequence of up to `layout.chunk` positions."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, f"encode.{layout.chunk}", layout.chunk)
        assert layout.packs is not None
        self.packs: Packs = layout.packs
        self.plan.reorder = True
        self.wide = F16 if layout.weights is I8 else F32  # of rows between matrices
        self.zone = _FFN
        self.first = 0  # of the block being lowered; `rows` are its rows
        groups = layout.chunk // 16
        n = -(-layout.chunk // _BLOCK)
        cuts = [16 * (groups * i // n) for i in range(n + 1)]
        self.blocks = [(a, b - a) for a, b in pairwise(cuts)]
        self.step = 1.0  # with i8 weights x̂ · step is the high byte and a fraction
        if layout.weights is I8:
            self.step = HIGH / layout.bounds["0.q"]

    def build(self) -> Plan:
        """Embedding to pooled output."""
        rows = [self.norm(self.embedded(), 1.0) for _ in self.each_block()]
        for layer in range(self.shape.n_layers):
            rows = self.encoder_layer(layer, rows)
        self.layer = self.shape.n_layers
        self.pool(rows)
        return self.plan

    def temp(self, name: str, type_: Type, side: int = -1, rows: int | None = None) -> Buffer:
        """A temporary buffer; it may lie beside the weights that are not used at its time."""
        made = super().temp(name, type_, side, rows)
        made.zone = self.zone
        return made

    def each_block(self) -> Iterator[int]:
        """Indices of the blocks; while one is worked on, `first` and `rows` are its own."""
        for index, block in enumerate(self.blocks):
            self.first, self.rows = block
            yield index

    def encoder_layer(self, layer: int, rows: list[Normed]) -> list[Normed]:
        """One layer, from the rows of every block after the norm before it to those after its last norm."""
        self.layer = layer
        before = f"layers.{layer - 1}.ffn.norm" if layer else "embed.norm"
        self.zone = _ATTENTION
        projected = [self.projected(layer, rows[b]) for b in self.each_block()]
        self.zone = _INSIDE
        self.transpose(layer)
        mixed = self.mix(layer, self.scores(layer, projected))
        attended = []
        for b in self.each_block():
            self.zone = _ATTENTION
            x = self.residual(f"{layer}.o", mixed[b], self.base(f"{layer}.o", before, rows[b]))
            self.zone = _ATTENTION
            attended.append(self.norm(x, self.step))
        self.zone = _ATTENTION
        hidden = [self.hidden(layer, attended[b]) for b in self.each_block()]
        out = []
        for b in self.each_block():
            self.zone = _INSIDE
            base = self.base(f"{layer}.down", f"layers.{layer}.attn.norm", attended[b])
            x = self.residual(f"{layer}.down", hidden[b], base)
            self.zone = _INSIDE
            out.append(self.norm(x, self.step))
        return out

    # ------------------------------------------------------------------------------------------------ rows and norms
    def embedded(self) -> list[Buffer]:
        """Table rows of the tokens plus those of their positions, by chunk, f32."""
        layout, out = self.layout, []
        for c, shards in enumerate(layout.embed):
            total: Buffer | None = None
            for start in range(0, len(shards), _SHARDS):
                task = self.task("embed")
                terms: list[Source] = [] if total is None else [FromBuffer(total)]
                for i in range(start, min(start + _SHARDS, len(shards))):
                    row = FromGather(shards[i], layout.inputs[f"token{i}"], self.first)
                    terms.append(task.op("itof" if layout.weights is I8 else "mov", row))
                total = self.temp(f"embed{c}.{start}", F32)
                task.out(_sum(task, terms), total)
            assert total is not None
            task = self.task("embed")
            node: Source = FromBuffer(total)
            if layout.weights is I8:
                scale = FromBuffer(layout.inputs["token_scale"], self.first)
                node = task.op("mul", node, scale)
            node = task.op("add", node, FromBuffer(layout.position[c][0], self.first))
            out.append(self.temp(f"embed{c}", F32))
            task.out(node, out[-1])
        return out

    def norm(self, x: list[Buffer], unit: float) -> Normed:
        """LayerNorm of rows, given times `unit`, up to gain and shift."""
        scalar, shift = self.moments(*self.sums(x, unit), unit)
        out = Normed()
        for c, chunk in enumerate(x):
            task = self.task("norm")
            scaled = task.op("mul", FromBuffer(chunk), FromBuffer(scalar))
            node = task.op("sub", scaled, FromBuffer(shift))
            out.steps.append(self.temp(f"n{c}", self.wide))
            task.out(node, out.steps[-1])
            out.operands.append(self.stored(task, node, f"n{c}"))
        return out

    def sums(self, x: list[Buffer], unit: float) -> tuple[Buffer, Buffer]:
        """Over chunks, lane by lane: Σ x and Σ x² / `BAND`, f16 and without the unit."""
        total: Buffer | None = None
        square: Buffer | None = None
        for i in range(0, len(x), 2):
            task = self.task("norm sums")
            here = [FromBuffer(b) for b in x[i : i + 2]]
            squares = [task.op("mul", v, v) for v in here]
            s: Source = here[0] if len(here) == 1 else task.op("add", here[0], here[1])
            q = squares[0] if len(here) == 1 else task.op("add", squares[0], squares[1])
            if total is not None and square is not None:
                s = task.op("add", s, FromBuffer(total))
                q = task.op("add", q, FromBuffer(square))
            if i + 2 < len(x):
                total, square = self.temp(f"total{i}", F32), self.temp(f"square{i}", F32)
                task.out(_node(task, s), total)
                task.out(q, square)
        half, squares_half = self.temp("half", F16), self.temp("squares", F16)
        task.out(_node(task, s) if unit == 1 else task.op("mul", s, 1.0 / unit), half)
        task.out(task.op("mul", q, 1.0 / (BAND * unit * unit)), squares_half)
        return half, squares_half

    def moments(self, half: Buffer, squares: Buffer, unit: float) -> tuple[Buffer, Buffer]:
        """What rows times `unit` are multiplied by, and what is then subtracted, for x̂ · step; in every lane, f32."""
        image, n = self.layout.image, self.shape.dim
        side = (self.first // _BLOCK + self.layer) % 2
        task = self.task("norm sums")
        found = task.op("mul", task.feed(image.ones(side), half, Accumulator(self.rows)), 1.0 / n)
        mean, squared = self.temp("mean", self.wide), self.temp("mean_squared", self.wide)
        task.out(found, mean)
        task.out(task.op("mul", found, found), squared)
        task = self.task("norm sums")
        total = task.feed(image.ones(1 - side), squares, Accumulator(self.rows))
        mean_square = task.op("mul", total, BAND / n)
        variance = task.op("sub", mean_square, FromBuffer(squared))
        root = task.op("rsqrt", task.op("add", variance, float(self.shape.norm_eps)))
        scaled = root if self.step == 1 else task.op("mul", root, self.step)
        scalar, shift = self.temp("r", F32), self.temp("r_mean", self.wide)
        task.out(task.op("mul", FromBuffer(mean), scaled), shift)
        task.out(root if unit == self.step else task.op("mul", scaled, 1.0 / unit), scalar)
        return scalar, shift

    def stored(
        self, task: Task, value: Source, name: str, sides: tuple[int, ...] = (0, 1)
    ) -> Sided:
        """A value as what matrices multiply: f16, or with i8 weights rounded to 1/256 and in two bytes, high one first."""
        if self.layout.weights is F16:
            halves = self.on_sides(task, _node(task, value), name, F16, sides)
            return {side: (half,) for side, half in halves.items()}
        high = task.op("ftoi", value)
        whole = task.op("ftoi", task.op("mul", value, 256.0))
        back = task.op("muli", high, Constant(256, integer=True))
        upper = self.on_sides(task, high, f"{name}.high", I8, sides)
        lower = self.on_sides(task, task.op("subi", whole, back), f"{name}.low", I8, sides)
        return {side: (upper[side], lower[side]) for side in sides}

    def levels(self, key: str) -> Source | float:
        """What activations of a matrix are multiplied by before they are stored."""
        return 1.0 if self.layout.weights is F16 else HIGH / self.layout.bounds[key]

    def on_sides(
        self,
        task: Task,
        value: FromNode,
        name: str,
        type_: Type,
        sides: tuple[int, ...] = (0, 1),
    ) -> dict[int, Buffer]:
        """Store a value on several sides of the chip."""
        out = {side: self.temp(f"{name}.{side}", type_, side) for side in sides}
        for buffer in out.values():
            task.out(value, buffer)
        return out

    # ----------------------------------------------------------------------------------------------------- products
    def result(
        self,
        key: str,
        chunk: int,
        sources: dict[int, Sided],
        label: str,
        *,
        whole: bool = True,
    ) -> tuple[Task, FromNode]:
        """Rows times tiles of one output chunk, scales of i8 weights included: the task that emits, and the sum.

        `sources` are the input chunks, all of one side. `whole`: sums of i8 products are sure to fit i32, which they
        do for normalised rows.
        """
        tiles = {i: self.layout.image.tiles[key, chunk, i] for i in sources}
        groups = [Accumulator(self.rows) for _ in sources[min(tiles)][tiles[min(tiles)].side]]
        for i, tile in tiles.items():
            task, add, last = self.task(label), i > min(tiles), i == max(tiles)
            feeds = [
                task.feed(tile, b, group, add=add, last=last, part=p)
                for p, (b, group) in enumerate(zip(sources[i][tile.side], groups, strict=True))
            ]
        if len(feeds) == 1:
            return task, task.op("mov", feeds[0])
        if whole:
            high = task.op("muli", feeds[0], Constant(256, integer=True))
            total = task.op("itof", task.op("addi", high, feeds[1]))
        else:
            high = task.op("mul", task.op("itof", feeds[0]), 256.0)
            total = task.op("add", high, task.op("itof", feeds[1]))
        scale: Source | float
        if key in self.layout.scale:
            scale = FromBuffer(self.layout.scale[key][chunk], fixed_row=True)
        else:
            scale = self.layout.factors[key]
        return task, task.op("mul", total, scale)

    def biased(self, task: Task, value: FromNode, key: str, chunk: int) -> FromNode:
        """Value + bias, if the matrix has one."""
        bias = self.layout.bias.get(key)
        if bias is None:
            return value
        return task.op("add", value, FromBuffer(bias[chunk], fixed_row=True))

    def base(self, key: str, norm: str, rows: Normed) -> list[Buffer]:
        """What the product of matrix `key` is added to, by chunk: the rows with gain and shift of their norm, and bias."""
        out = []
        for c, steps in enumerate(rows.steps):
            task = self.task("residual")
            gain = FromBuffer(self.layout.bias[norm + ".weight"][c], fixed_row=True)
            shift = FromBuffer(self.layout.bias[key + ".base"][c], fixed_row=True)
            out.append(self.temp(f"{key}.base{c}", self.wide))
            task.out(task.op("add", task.op("mul", FromBuffer(steps), gain), shift), out[-1])
        return out

    def residual(self, key: str, sources: list[Sided], base: list[Buffer]) -> list[Buffer]:
        """Base + product, by chunk; the parts that either side makes are added one after the other."""
        out, label = [], key.partition(".")[2]
        for c, x in enumerate(base):
            by_side: dict[int, dict[int, Sided]] = {}
            for i, source in enumerate(sources):
                side = self.layout.image.tiles[key, c, i].side
                by_side.setdefault(side, {})[i] = source
            for side, mine in by_side.items():
                task, value = self.result(key, c, mine, label, whole=False)
                below, x = x, self.temp(f"{key}.x{c}.{side}", self.wide)
                task.out(task.op("add", value, FromBuffer(below)), x)
            out.append(x)
        return out

    def hidden(self, layer: int, rows: Normed) -> list[Sided]:
        """Activated hidden rows, by chunk."""
        out = []
        step = self.levels(f"{layer}.down")
        for c in range(len(self.layout.ffn)):
            task, value = self.result(f"{layer}.up", c, dict(enumerate(rows.operands)), "up")
            x = self.temp(f"up{c}", F16)
            task.out(self.biased(task, value, f"{layer}.up", c), x)
            tiles = self.layout.image.tiles
            sides = {tiles[f"{layer}.down", o, c].side for o in range(len(self.layout.hidden))}
            out.append(self.activated(FromBuffer(x), step, f"h{c}", tuple(sorted(sides))))
        return out

    def activated(
        self, x: FromBuffer, step: Source | float, name: str, sides: tuple[int, ...]
    ) -> Sided:
        """Activation of x, times `step`. Rounded in a task of its own: together they would need too many ALUs."""
        task = self.task("activation")
        if self.shape.activation == "relu":
            return self.stored(task, task.op("mul", task.op("relu", x), step), name, sides)
        if self.shape.activation == "silu":  # x / (1 + e⁻ˣ)
            held = task.op("mul", x, step)
            root = task.op("rsqrt", task.op("add", task.op("exp", task.op("neg", x)), 1.0))
            node = task.op("mul", task.op("mul", root, root), held)
        else:  # x (1 + tanh(x (x² + k))), x times what makes it so: the rest is in the matrices (`matrices.CUBIC`)
            inner = task.op("add", task.op("mul", x, x), math.sqrt(2 / math.pi) / CUBIC)
            held = task.op("mov", task.op("mov", x))
            t = task.op("tanh", task.op("mul", inner, held))
            node = task.op("mul", task.op("add", t, 1.0), task.op("mul", held, step))
        if self.layout.weights is F16:
            return self.stored(task, node, name, sides)
        half = self.temp(f"{name}.half", F16)
        task.out(node, half)
        task = self.task("activation")
        return self.stored(task, FromBuffer(half), name, sides)

    # ---------------------------------------------------------------------------------------------------- attention
    def projected(self, layer: int, rows: Normed) -> Projected:
        """Keys and values of the block into the rows of their tiles; its queries."""
        keys, out = [], Projected()
        packs, turn = self.packs, layer % 2
        for which in ("k", "v"):
            for v in range(self.layout.heads.n_kv):
                key = f"{layer}.{which}"
                task, value = self.result(key, v, dict(enumerate(rows.operands)), which)
                halves = self.on_sides(task, value, f"{which}{v}", F16)
                for half in halves.values():
                    half.zone, half.apart = _INSIDE, True  # from the rows that are written from it
                self.spread(halves, packs.keys if which == "k" else packs.rows, turn, v)
                if which == "k":
                    keys.append(halves[0])
        for v in range(self.layout.heads.n_kv):
            task, value = self.result(f"{layer}.q", v, dict(enumerate(rows.operands)), "q")
            value = self.biased(task, value, f"{layer}.q", v)
            out.queries.append(self.on_sides(task, value, f"q{v}", F16))
            product = task.op("mul", value, FromBuffer(keys[v]))
            out.own.append(self.on_sides(task, product, f"qk{v}", F16))
        return out

    def spread(
        self,
        halves: dict[int, Buffer],
        target: dict[tuple[int, int], Buffer],
        turn: int,
        vector: int,
    ) -> None:
        """The rows of every head of a vector into the head's slot, zero on the lanes of other heads.

        Tasks with a head each of two packs, which lie on different sides: the same rows of two slots of a pack, or of two
        packs of a side, lie in the same slice.
        """
        packs = self.packs.by_vector[vector]
        for pair in (packs[i : i + 2] for i in range(0, len(packs), 2)):
            for slot in range(max(pack.n_heads for pack in pair)):
                task = self.task("split heads")
                for pack in pair:
                    if slot < pack.n_heads:
                        mask = FromBuffer(self.packs.masks[pack.first + slot], fixed_row=True)
                        alone = task.op("mask", FromBuffer(halves[slot % 2]), mask)
                        row = slot * self.packs.span + self.first
                        task.out(alone, target[turn, pack.index], row)

    def transpose(self, layer: int) -> None:
        """Values, position on lanes: every row of the identity passes through the tile of the value rows."""
        for pack in self.packs.all():
            n = pack.n_groups * 16
            task = self.task("values", rows=n)
            feed = task.feed(
                self.packs.row_tile(layer, pack), self.packs.units[pack.index], Accumulator(n)
            )
            task.out(task.op("mov", feed), self.packs.values[layer % 2, pack.index])

    def scores(self, layer: int, projected: list[Projected]) -> list[dict[int, dict[int, Buffer]]]:
        """exp(score − own score) / 2¹⁰ of all positions, zero where there is no token, by block and pack."""
        out: list[dict[int, dict[int, Buffer]]] = [{} for _ in projected]
        for pack in self.packs.all():
            side, v = self.packs.score_side(layer, pack), pack.vector
            tile, own = self.packs.key_tile(layer, pack), self.packs.own[side, pack.index]
            seen = FromBuffer(self.layout.inputs[f"seen{side}"], fixed_row=True)
            groups = [Accumulator(self.rows) for _ in self.each_block()]
            for b in self.each_block():
                self.task("scores").feed(tile, projected[b].queries[v][side], groups[b], last=False)
            for b in self.each_block():
                task = self.task("scores")
                z = task.feed(own, projected[b].own[v][side], groups[b], add=True)
                p = task.op("exp", task.op("sub", z, SOFTMAX_SHIFT))
                p = task.op("mask", p, seen)
                out[b][pack.index] = self.on_sides(task, p, f"p{pack.index}", F16)
        return out

    def mix(self, layer: int, weights: list[dict[int, dict[int, Buffer]]]) -> list[list[Sided]]:
        """Σ p·V / Σ p on the lanes of each head, by block and vector, as the output projection wants them."""
        out: list[list[Sided]] = [[] for _ in weights]
        step = self.levels(f"{layer}.o")
        for vector, packs in enumerate(self.packs.by_vector):
            tiles = [self.packs.value_tile(layer, pack) for pack in packs]
            side = 1 - self.packs.value_side(layer, vector)
            for b in self.each_block():
                group = Accumulator(self.rows)
                for pack in packs:
                    task, last = self.task("weights"), pack is packs[-1]
                    total = self.packs.totals[side, pack.index]
                    p = weights[b][pack.index][side]
                    feed = task.feed(total, p, group, add=pack is not packs[0], last=last)
                root = task.op("rsqrt", feed)
                reciprocal = task.op("mul", root, root)
                over = self.temp(f"over{vector}", F32)
                task.out(reciprocal if step == 1 else task.op("mul", reciprocal, step), over)
                group = Accumulator(self.rows)
                for pack, tile in zip(packs, tiles, strict=True):
                    task, last = self.task("mix"), pack is packs[-1]
                    p = weights[b][pack.index][tile.side]
                    feed = task.feed(tile, p, group, add=pack is not packs[0], last=last)
                node = task.op("mul", feed, FromBuffer(over))
                out[b].append(self.stored(task, node, f"o{vector}"))
        return out

    # -------------------------------------------------------------------------------------------------------- output
    def pool(self, rows: list[Normed]) -> None:
        """Weighted sum of the rows (mean pooling: weight 1/n where there is a token) and the first row."""
        layout = self.layout
        norm = f"layers.{self.shape.n_layers - 1}.ffn.norm"
        same, share = layout.image.identity(0), layout.inputs["share"]
        for c in range(len(layout.hidden)):
            group = Accumulator(1, fold=True)
            gain = FromBuffer(layout.bias[norm + ".weight"][c], fixed_row=True)
            shift = FromBuffer(layout.bias[norm + ".bias"][c], fixed_row=True)
            for b in self.each_block():
                task = self.task("pool")
                y, weighted = self.temp(f"y{c}", F32), self.temp(f"weighted{c}", F16)
                node = task.op("mul", FromBuffer(rows[b].steps[c]), gain)
                node = task.op("add", task.op("mul", node, 1.0 / self.step), shift)
                task.out(node, y)
                task = self.task("pool")
                task.out(task.op("mul", FromBuffer(y), FromBuffer(share, self.first)), weighted)
                start = 0
                if b == 0:
                    first = self.task("pool", rows=1)
                    first.out(first.op("mov", FromBuffer(y)), layout.outputs["first"], c)
                    self.task("pool", rows=1).feed(same, weighted, group, last=False)
                    start = 1
                self.task("pool", rows=self.rows - start).feed(
                    same, weighted, group, row=start, add=True, last=False
                )
            emit = self.task("pool", rows=1)
            value = emit.feed(same, layout.image.zero_row(), group, add=True)
            emit.out(emit.op("mov", value), layout.outputs["pooled"], c)


def _sum(task: Task, terms: list[Source]) -> FromNode:
    """The terms, added one after the other."""
    total = terms[0]
    for term in terms[1:]:
        total = task.op("add", total, term)
    return _node(task, total)


def _node(task: Task, value: Source) -> FromNode:
    """`value` as an operation of the task."""
    return value if isinstance(value, FromNode) else task.op("mov", value)
