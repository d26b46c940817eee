"""The pieces that steps are built of: norms, products, attention heads, feed-forward, over `rows` positions at a time.

Sums over lanes are products with a tile of ones: the result is in every lane. Norm scalars are computed beside the
product they scale and applied to its result. The position's own key is never needed from the cache: its score q·k is
the reference that softmax subtracts, so its weight is 1 and its value is added directly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from takt.lpu.compiler.ir import (
    Accumulator,
    Buffer,
    Constant,
    FromBuffer,
    FromFeed,
    FromNode,
    Plan,
    Source,
    Task,
    Tile,
)
from takt.lpu.compiler.layout import Layout
from takt.lpu.isa.table import Type

F32, F16, I8 = Type.F32, Type.F16, Type.I8

SQUARE_BAND = 2.0**12
"""Squares are summed as two f16 numbers, high part / 2¹² and remainder, so that |x| up to 16,000 neither overflows nor is lost."""

SOFTMAX_SHIFT = 10 * math.log(2)
"""Softmax weights are f16 of exp(s − s_own) / 2¹⁰: exact to 2⁻¹⁰ relative, saturating 17.9 nats above the own score."""


Operand = tuple[Buffer, ...]
"""What a product multiplies: one f16 buffer, or i8 buffers, highest byte first."""


@dataclass(slots=True)
class Hidden:
    """The residual stream between blocks, by chunk: f32, f16, the two parts of its square, and x − f16(x)."""

    x: list[Buffer] = field(default_factory=list)
    half: list[Buffer] = field(default_factory=list)
    high: list[Buffer] = field(default_factory=list)
    low: list[Buffer] = field(default_factory=list)
    rest: list[Buffer] = field(default_factory=list)


class Tasks:
    """Appends tasks to a plan. `rows` positions are worked on together."""

    def __init__(self, layout: Layout, name: str, rows: int) -> None:
        self.layout = layout
        self.shape = layout.shape
        self.rows = rows
        self.plan = Plan(name=name, inputs=layout.inputs, outputs=layout.outputs)
        self.layer = -1

    def task(self, label: str, rows: int | None = None) -> Task:
        """A new task at the end of the plan."""
        made = Task(label=label, layer=self.layer, rows=self.rows if rows is None else rows)
        self.plan.tasks.append(made)
        return made

    def temp(self, name: str, type_: Type, side: int = -1, rows: int | None = None) -> Buffer:
        """A temporary buffer, by default of as many rows as the step has."""
        return Buffer(
            f"{self.layer}.{name}", type_, rows=self.rows if rows is None else rows, side=side
        )


class Builder(Tasks):
    """The pieces of steps whose rows are worked on all at once."""

    # ------------------------------------------------------------------------------------------------ residual, norms
    def finish_hidden(self, task: Task, value: FromNode, chunk: int, out: Hidden) -> None:
        """Store a chunk of the residual stream and what the next norm and product need of it."""
        x = self.temp(f"x{chunk}", F32)
        task.out(value, x)
        out.x.append(x)
        half = self.temp(f"xh{chunk}", F16)
        out.half.append(half)
        if (
            self.rows > 1
        ):  # of many rows one task at a time: all inputs and outputs together would need too many slices
            task = self.task(task.label)
            value = task.op("mov", FromBuffer(x))
        task.out(value, half)
        high, low = self.temp(f"sq_high{chunk}", F16), self.temp(f"sq_low{chunk}", F16)
        self.squares(task, value, high, low)
        out.high.append(high)
        out.low.append(low)
        if self.shape.norm == "layer":
            remainder = self.temp(f"xl{chunk}", F16)
            task.out(task.op("sub", value, FromNode(task.op("mov", value).index, F16)), remainder)
            out.rest.append(remainder)

    def squares(self, task: Task, value: FromNode, high: Buffer, low: Buffer) -> None:
        """Store value² as two f16 numbers."""
        square = task.op("mul", value, value)
        h = task.op("mul", square, 1.0 / SQUARE_BAND)
        rest = task.op("sub", square, task.op("mul", FromNode(h.index, F16), SQUARE_BAND))
        task.out(h, high)
        task.out(rest, low)

    def moments(self, x: Hidden, side: int, label: str) -> tuple[Task, FromNode, FromNode | None]:
        """A task that holds the mean square of the rows and, for LayerNorm, their mean, in every lane."""
        ones, n = self.layout.image.ones(side), len(x.high)
        high, low, mean = (Accumulator(self.rows) for _ in range(3))
        parts = [(high, b) for b in x.high[:-1]] + [(low, b) for b in x.low[:-1]]
        centred = self.shape.norm == "layer" and bool(x.rest)
        if centred:
            parts += [(mean, b) for b in (*x.half, *x.rest[:-1])]
        seen: set[int] = set()
        for group, source in parts:
            self.task(label).feed(ones, source, group, add=id(group) in seen, last=False)
            seen.add(id(group))
        task = self.task(label)
        inverse = 1.0 / self.shape.dim
        upper = task.op("mul", task.feed(ones, x.high[-1], high, add=n > 1), SQUARE_BAND)
        total = task.op("add", upper, task.feed(ones, x.low[-1], low, add=n > 1))
        mean_square = task.op("mul", total, inverse)
        if not centred:
            return task, mean_square, None
        return (
            task,
            mean_square,
            task.op("mul", task.feed(ones, x.rest[-1], mean, add=True), inverse),
        )

    def inverse_root(self, task: Task, square: FromNode, mean: FromNode | None) -> FromNode:
        """1/√(mean square + ε) (RMSNorm) or 1/√(variance + ε) (LayerNorm), in every lane."""
        if mean is not None:
            square = task.op("sub", square, task.op("mul", mean, mean))
        return task.op("rsqrt", task.op("add", square, float(self.shape.norm_eps)))

    # ----------------------------------------------------------------------------------------------------- products
    def operand(self, task: Task, value: FromNode, name: str, key: str) -> Operand:
        """Store a value as what matrix `key` multiplies: one f16, or the bytes of a fixed-point number (i8 weights)."""
        matrix = self.layout.matrices[key]
        if self.layout.image.tiles[key, 0, 0].type is F16:
            half = self.temp(name, F16)
            task.out(value, half)
            return (half,)
        source: Source = value
        # Of many rows each operation owns an ALU for all of them, so they get another task.
        if self.rows > 1 and len(task.nodes) > 1:
            half = self.temp(name, F16)
            task.out(value, half)
            task, source = self.task("quantise"), FromBuffer(half)
        parts = tuple(self.temp(f"{name}.byte{i}", I8) for i in range(matrix.n_bytes))
        self.quantise(task, source, matrix.levels / self.layout.bounds[key], parts)
        return parts

    def quantise(self, task: Task, value: Source, factor: float, parts: Operand) -> None:
        """Value · factor, rounded, as signed bytes, highest first: Σ byte_i · 256^(n−1−i)."""
        scaled: Source = task.op("mul", value, factor)
        rest: Source = task.op("ftoi", scaled)
        for i, part in enumerate(parts[:-1]):
            weight = 256 ** (len(parts) - 1 - i)
            high = task.op("ftoi", task.op("mul", scaled, 1.0 / weight))
            task.out(high, part)
            rest = task.op("subi", rest, task.op("muli", high, Constant(weight, integer=True)))
            if i < len(parts) - 2:
                if self.rows > 1:  # of many rows each operation owns an ALU: go on in another task
                    carried = self.temp(f"{part.name}.rest", Type.I32)
                    task.out(rest, carried)
                    task = self.task("quantise")
                    rest = task.op("mov", FromBuffer(carried))
                scaled = task.op("itof", rest)
        assert isinstance(rest, FromNode)
        task.out(rest, parts[-1])

    def product(
        self,
        key: str,
        out_chunk: int,
        sources: list[list[Operand]],
        label: str,
        *,
        swap: bool = False,
    ) -> tuple[Task, Source, Source | None]:
        """Feed every source of every input chunk through the tiles of one output chunk.

        Returns the task that emits, the sum over all bytes, and with `swap` the same with neighbouring lanes swapped.
        """
        matrix, image = self.layout.matrices[key], self.layout.image
        feeds = [
            (image.tiles[key, out_chunk, i], source)
            for i in range(len(matrix.into))
            for source in sources[i]
        ]
        n_parts = len(feeds[0][1])
        groups = [Accumulator(self.rows) for _ in range(n_parts)]
        for n, (tile, source) in enumerate(feeds[:-1]):
            for part, group in zip(source, groups, strict=True):
                self.task(label).feed(tile, part, group, add=n > 0, last=False)
        tile, source = feeds[-1]
        task, add = self.task(label), len(feeds) > 1
        if tile.type is F16:
            feed = task.feed(tile, source[0], groups[0], add=add, swap=swap)
            return task, feed, FromFeed(feed.index, swapped=True) if swap else None
        sums: list[Source | None] = [None, None]
        for p, (part, group) in enumerate(zip(source, groups, strict=True)):
            feed = task.feed(tile, part, group, add=add, swap=swap)
            weight = 256.0 ** (n_parts - 1 - p)
            for w, swapped in enumerate((False, True) if swap else (False,)):
                node = task.op("itof", FromFeed(feed.index, swapped))
                if weight > 1:
                    node = task.op("mul", node, weight)
                before = sums[w]
                sums[w] = node if before is None else task.op("add", before, node)
            if (
                self.rows > 1 and p < n_parts - 1
            ):  # rows of one plane cannot interleave: carry the sum in SRAM
                for w, total in enumerate(sums):
                    if isinstance(total, FromNode):
                        carried = self.temp(f"{key}.part{p}{w}", F32)
                        task.out(total, carried)
                        sums[w] = FromBuffer(carried)
                task = self.task(label)
        assert sums[0] is not None
        return task, sums[0], sums[1]

    def scaled(self, task: Task, key: str, chunk: int, value: Source, r: Buffer | None) -> Source:
        """Value · weight scales · r + bias, as far as the matrix has them."""
        if r is not None:
            value = task.op("mul", value, FromBuffer(r))
        value = self.weighed(task, key, chunk, value)
        bias = self.layout.bias.get(key)
        if bias is not None:
            value = task.op("add", value, FromBuffer(bias[chunk], fixed_row=True))
        return value

    def weighed(self, task: Task, key: str, chunk: int, value: Source) -> Source:
        """Value · the scales of i8 weights."""
        scale = self.layout.scale.get(key)
        return (
            value
            if scale is None
            else task.op("mul", value, FromBuffer(scale[chunk], fixed_row=True))
        )

    def residual(self, key: str, sources: list[list[Operand]], x: Hidden, label: str) -> Hidden:
        """X + product (+ bias)."""
        out = Hidden()
        for c in range(len(self.layout.hidden)):
            task, value, _ = self.product(key, c, sources, label)
            node = self.scaled(task, key, c, value, None)
            if self.rows > 1 and isinstance(node, FromNode):  # again for want of slices
                carried = self.temp(f"{key}.sum{c}", F32)
                task.out(node, carried)
                task, node = self.task(label), FromBuffer(carried)
            self.finish_hidden(task, task.op("add", node, FromBuffer(x.x[c])), c, out)
        return out

    def normed(
        self, x: Hidden, key: str, side: int
    ) -> tuple[list[list[Operand]], Buffer, Buffer | None]:
        """What a matrix after a norm multiplies, the norm's scalar, and the scalar if it is still to be applied.

        f16 weights take the rows as they are and the scalar comes after; i8 weights need them normalised, which also
        bounds them by √dim.
        """
        i8 = self.layout.image.tiles[key, 0, 0].type is I8
        task, square, mean = self.moments(x, side, "norm")
        root = self.inverse_root(task, square, mean)
        r = self.temp("r", F32)
        task.out(root, r)
        if not i8:
            return [[(b,)] for b in x.half], r, r
        shift = None
        if mean is not None:
            shift = self.temp("r_mean", F32)
            task.out(task.op("mul", mean, root), shift)
        sources = []
        for c, chunk in enumerate(x.x):
            task = self.task("quantise")
            value = task.op("mul", FromBuffer(chunk), FromBuffer(r))
            if shift is not None:
                value = task.op("sub", value, FromBuffer(shift))
            parts = tuple(self.temp(f"n{c}.byte{i}", I8) for i in range(2))
            matrix = self.layout.matrices[key]
            self.quantise(task, value, matrix.levels / self.layout.bounds[key], parts)
            sources.append([parts])
        return sources, r, None

    # ---------------------------------------------------------------------------------------------------- attention
    def heads_of(self, q_chunk: int) -> list[int]:
        """Heads, as (query vector · heads per vector + slot), that live in a query vector."""
        heads = self.layout.heads
        vector = q_chunk % heads.n_kv
        here = min(heads.per_vector, self.shape.n_kv_heads - vector * heads.per_vector)
        return [q_chunk * heads.per_vector + slot for slot in range(here)]

    def vectors(self) -> list[tuple[int, list[int]]]:
        """Each key vector with all heads that use it."""
        heads = self.layout.heads
        return [
            (v, [h for c in range(v, len(heads.q), heads.n_kv) for h in self.heads_of(c)])
            for v in range(heads.n_kv)
        ]

    def key_or_query(
        self,
        key: str,
        chunk: int,
        sources: list[list[Operand]],
        angles: tuple[FromBuffer, FromBuffer] | None,
        r: Buffer | None,
        shift: Buffer | None,
    ) -> tuple[Task, Source]:
        """Projected rows; with `angles` (cos and sin, times r if it is still to be applied) rotated, `shift` is then the
        rotated bias.
        """
        task, straight, partner = self.product(
            key, chunk, sources, key.partition(".")[2], swap=angles is not None
        )
        if angles is None or partner is None:
            return task, self.scaled(task, key, chunk, straight, r)
        # Many rows of i8 sums: the sums, the angles, the scale and the bias together would need every work slice.
        in_turn = self.rows > 1 and shift is not None and isinstance(straight, FromNode)
        if in_turn:
            straight, partner = (
                self.carried(task, value, f"{key}.{name}{chunk}")
                for value, name in ((straight, "sum"), (partner, "partner"))
            )
            task = self.task("rotate")
        turned = task.op("mul", straight, angles[0])
        node: Source = task.op("add", turned, task.op("mul", partner, angles[1]))
        if in_turn:
            node = self.carried(task, node, f"{key}.turned{chunk}")
            task = self.task("rotate")
        node = self.weighed(task, key, chunk, node)
        return task, node if shift is None else task.op("add", node, FromBuffer(shift))

    def carried(self, task: Task, value: Source, name: str) -> FromBuffer:
        """`value` in SRAM as f32, for another task to go on with."""
        buffer = self.temp(name, F32)
        task.out(value if isinstance(value, FromNode) else task.op("mov", value), buffer)
        return FromBuffer(buffer)

    def gained_angles(
        self, key: str, cos: FromBuffer, sin: FromBuffer
    ) -> tuple[FromBuffer, FromBuffer]:
        """Cos and sin times the gain of a per-head norm (of the lane itself, of its rotary partner)."""
        out = []
        for name, table in ((".gain", cos), (".gain_swapped", sin)):
            task = self.task("angles")
            turned = self.temp(f"{key}{name}", F32)
            task.out(
                task.op("mul", FromBuffer(self.layout.bias[key + name][0], fixed_row=True), table),
                turned,
            )
            out.append(FromBuffer(turned))
        return out[0], out[1]

    def normed_heads(
        self,
        key: str,
        chunk: int,
        sources: list[list[Operand]],
        angles: tuple[FromBuffer, FromBuffer],
        r: Buffer | None,
        side: int,
    ) -> tuple[Task, Source]:
        """Projected rows with an RMSNorm of every head (Qwen3) and rotary positions; `angles` hold the norm's gains.

        The norm's scalar is one for all lanes of a head, so it comes last; with `r` still to be applied to the rows,
        x·r is normed as r / √(r² · mean square of x + ε).
        """
        part = key.partition(".")[2]
        task, straight, partner = self.product(key, chunk, sources, part, swap=True)
        assert partner is not None
        x, again, swapped = (
            self.temp(f"{part}{chunk}.{n}", F32) for n in ("x", "again", "swapped")
        )
        # x is kept in steps of i8 weights, if there are any; their scale joins in the square and the scalar
        for value, target in ((straight, x), (straight, again), (partner, swapped)):
            task.out(value if isinstance(value, FromNode) else task.op("mov", value), target)
        high, low = self.temp(f"{part}{chunk}.high", F16), self.temp(f"{part}{chunk}.low", F16)
        task = self.task("head norm")
        whole = self.weighed(task, key, chunk, FromBuffer(again))
        self.squares(
            task, whole if isinstance(whole, FromNode) else task.op("mov", whole), high, low
        )
        task = self.task("head norm")
        ones, rows = self.layout.image.head_ones(side), self.rows
        upper = task.op("mul", task.feed(ones, high, Accumulator(rows)), SQUARE_BAND)
        total = task.op("add", upper, task.feed(ones, low, Accumulator(rows)))
        square = task.op("mul", total, 1.0 / self.shape.head_dim)
        if r is not None:
            square = task.op("mul", square, FromBuffer(r))
            square = task.op("mul", square, FromBuffer(r))
        root = task.op("rsqrt", task.op("add", square, float(self.shape.norm_eps)))
        scalar = self.temp(f"{part}{chunk}.scalar", F32)
        if r is not None:
            root = task.op("mul", root, FromBuffer(r))
        weighed = self.weighed(task, key, chunk, root)
        assert isinstance(weighed, FromNode)
        task.out(weighed, scalar)
        task = self.task("head norm")
        turned = task.op("mul", FromBuffer(x), angles[0])
        rotated: Source = task.op("add", turned, task.op("mul", FromBuffer(swapped), angles[1]))
        if self.rows > 1:  # all at once would need too many slices
            rotated = self.carried(task, rotated, f"{part}{chunk}.turned")
            task = self.task("head norm")
        return task, task.op("mul", rotated, FromBuffer(scalar))

    def turned_bias(self, key: str, chunk: int, cos: FromBuffer, sin: FromBuffer) -> Buffer | None:
        """Bias · cos + partner's bias · sin, per position."""
        bias = self.layout.bias.get(key)
        if bias is None:
            return None
        task = self.task("bias")
        node = task.op(
            "add",
            task.op("mul", FromBuffer(bias[chunk], fixed_row=True), cos),
            task.op(
                "mul", FromBuffer(self.layout.bias[key + ".swapped"][chunk], fixed_row=True), sin
            ),
        )
        out = self.temp(f"{key}.bias{chunk}", F32)
        task.out(node, out)
        return out

    def angles(
        self, r: Buffer | None, cos: FromBuffer, sin: FromBuffer
    ) -> tuple[FromBuffer, FromBuffer]:
        """Cos and sin, times r if there is one."""
        if r is None:
            return cos, sin
        out = []
        for name, table in (("cos", cos), ("sin", sin)):
            task = self.task("angles")
            turned = self.temp(f"r{name}", F32)
            task.out(task.op("mul", FromBuffer(r), table), turned)
            out.append(FromBuffer(turned))
        return out[0], out[1]

    def split_heads(self, q: list[Buffer], k: list[Buffer]) -> dict[int, tuple[Buffer, Buffer]]:
        """Per head: its query alone on its lanes, and query · own key, lane by lane."""
        out = {}
        for chunk in range(len(q)):
            for head in self.heads_of(chunk):
                slot = head % self.layout.heads.per_vector
                task = self.task("split heads")
                mask = FromBuffer(self.layout.tables["head_mask"], slot, fixed_row=True)
                alone = task.op("mask", FromBuffer(q[chunk]), mask)
                own = task.op("mul", alone, FromBuffer(k[chunk % self.layout.heads.n_kv]))
                mine, product = self.temp(f"q.h{head}", F16), self.temp(f"qk.h{head}", F16)
                task.out(alone, mine)
                task.out(own, product)
                out[head] = (mine, product)
        return out

    def scores(
        self,
        tile: Tile,
        ones: Tile,
        heads: list[int],
        queries: dict[int, tuple[Buffer, Buffer]],
        seen: FromBuffer,
    ) -> dict[int, tuple[Buffer, Buffer]]:
        """exp(score − own score) / 2¹⁰ of the positions of one block, zero where not seen.

        Two copies if there are many rows: the values' side and the ones' side read them at the same time.
        """
        out = {}
        for head in heads:
            mine, product = queries[head]
            task = self.task("scores")
            score = task.feed(tile, mine, Accumulator(self.rows))
            own = task.feed(ones, product, Accumulator(self.rows))
            z = task.op("sub", task.op("sub", score, own), SOFTMAX_SHIFT)
            p = task.op("mask", task.op("exp", z), seen)
            copies = [self.temp(f"p.h{head}.{i}", F16) for i in range(2 if self.rows > 1 else 1)]
            for copy in copies:
                task.out(p, copy)
            out[head] = copies[0], copies[-1]
        return out

    def mix(
        self,
        tiles: list[Tile],
        ones: Tile,
        heads: list[int],
        weights: list[dict[int, tuple[Buffer, Buffer]]],
        v: Buffer | None,
        key: str,
    ) -> dict[int, Operand]:
        """Σ p·V / Σ p of every head on its lanes, zero elsewhere; with `v`, the own value joins with weight 1."""
        out = {}
        groups = {h: (Accumulator(self.rows), Accumulator(self.rows)) for h in heads}
        for b, tile in enumerate(tiles):
            last = b == len(tiles) - 1
            for head in heads:
                task = self.task("mix")
                up, down = groups[head]
                top = task.feed(tile, weights[b][head][0], up, add=b > 0, last=last)
                bottom = task.feed(ones, weights[b][head][1], down, add=b > 0, last=last)
                if last:
                    out[head] = self.divide(task, head, top, bottom, v, key)
        return out

    def divide(
        self, task: Task, head: int, top: Source, bottom: Source, v: Buffer | None, key: str
    ) -> Operand:
        """Weighted values over weights of one head, stored as the output projection wants them."""
        own = math.exp(-SOFTMAX_SHIFT)
        if v is not None:
            bottom = task.op("add", bottom, own)
        root = task.op("rsqrt", bottom)
        reciprocal = task.op("mul", root, root)
        if v is not None:
            top = task.op("add", top, task.op("mul", FromBuffer(v), own))
        slot = head % self.layout.heads.per_vector
        mask = FromBuffer(self.layout.tables["head_mask"], slot, fixed_row=True)
        return self.operand(
            task, task.op("mask", task.op("mul", top, reciprocal), mask), f"o.h{head}", key
        )

    def by_chunk(self, outputs: dict[int, Operand]) -> list[list[Operand]]:
        """Head outputs grouped by the input chunk of the output projection that they belong to."""
        return [[outputs[h] for h in self.heads_of(c)] for c in range(len(self.layout.heads.o))]

    # ------------------------------------------------------------------------------------------------- feed-forward
    def feed_forward(
        self, layer: int, sources: list[list[Operand]], r: Buffer | None
    ) -> list[list[Operand]]:
        """Activated hidden rows, by chunk, as sources for the down projection."""
        hidden = []
        for c in range(len(self.layout.ffn)):
            gate = None
            if self.shape.gated:
                task, node = self.activated(f"{layer}.gate", c, sources, r)
                gate = self.temp(f"gate{c}", F32)
                task.out(node, gate)
                task, feed, _ = self.product(f"{layer}.up", c, sources, "up")
                node = task.op(
                    "mul", self.scaled(task, f"{layer}.up", c, feed, r), FromBuffer(gate)
                )
            else:
                task, node = self.activated(f"{layer}.up", c, sources, r)
            hidden.append([self.operand(task, node, f"h{c}", f"{layer}.down")])
        return hidden

    def activated(
        self, key: str, chunk: int, sources: list[list[Operand]], r: Buffer | None
    ) -> tuple[Task, FromNode]:
        """Product and activation. Of many rows in two tasks: each operation then owns an ALU for all of them, and
        reading the product twice is cheaper than carrying it along.
        """
        part = key.partition(".")[2]
        task, feed, _ = self.product(key, chunk, sources, part)
        x = self.scaled(task, key, chunk, feed, r)
        if not isinstance(x, FromNode):
            x = task.op("mov", x)
        if self.rows == 1 or self.shape.activation == "relu":
            return task, self.activation(task, x, x)
        copies = [self.temp(f"{part}{chunk}.{i}", F32) for i in range(2)]
        for copy in copies:
            task.out(x, copy)
        task = self.task(part)
        return task, self.activation(task, FromBuffer(copies[0]), FromBuffer(copies[1]))

    def activation(self, task: Task, x: Source, again: Source) -> FromNode:
        """Activation of x; `again` is x once more, for use later in the chain."""
        kind = self.shape.activation
        if kind == "relu":
            return task.op("relu", x)
        if kind == "silu":  # x / (1 + e⁻ˣ)
            root = task.op("rsqrt", task.op("add", task.op("exp", task.op("neg", x)), 1.0))
            return task.op("mul", task.op("mul", root, root), again)
        # x (1 + tanh(√(2/π) (x + 0.044715 x³))), also for the erf form (difference < 5e−4); the ½ is in the next matrix
        c = math.sqrt(2 / math.pi)
        inner = task.op("add", task.op("mul", task.op("mul", x, x), c * 0.044715), c)
        held = task.op("mov", again)
        t = task.op("tanh", task.op("mul", inner, held))
        return task.op("mul", task.op("add", t, 1.0), held)
