"""One step of a tensor-parallel group as tasks: what every chip of the group does, and what they hand one another.

The residual stream is cut into shards, one a chip. Before a product the shards are gathered (as f16, with each
shard's part of the norm's sum); after the products that close a block, partial sums go back to the shards' owners, which
add them as a tree over relative numbers: the same pairs on every chip, so the same bits as on any number of chips.

A step is written as a generator that yields what it sends to each chip of the group and is sent what it receives. On
chips of their own that is an exchange over links; `on_one_chip` runs all generators side by side on one chip instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from takt.lpu.compiler.blocks import SOFTMAX_SHIFT, SQUARE_BAND, Hidden, Operand
from takt.lpu.compiler.ir import (
    Accumulator,
    Buffer,
    FromBuffer,
    FromGather,
    FromNode,
    Plan,
    Source,
    Task,
    Tile,
)
from takt.lpu.compiler.lower import Decode
from takt.lpu.compiler.matrices import LEVELS, MARGIN
from takt.lpu.isa.table import Type
from takt.lpu.system.place import SplitLayout

F32, F16, I8 = Type.F32, Type.F16, Type.I8

Swap = Generator[list[list[Buffer]], list[list[Buffer]], None]
"""Yields the buffers for relative chips 0, 1, …; is sent those from relative chips 0, 1, …."""

_APART = 1 << 16
"""Between the numbers of the own heads and those of another chip's."""


@dataclass(slots=True)
class Own:
    """The chip's own shard of the residual stream, by vector."""

    x: list[Buffer] = field(default_factory=list)


@dataclass(slots=True)
class Gathered:
    """What a matrix takes, the norm's scalar, and the scalar again if it is still to be applied to products.

    `extras` are sums over all chips of what each made of its own shard.
    """

    sources: list[list[Operand]]
    r: Buffer
    later: Buffer | None
    extras: list[Buffer]


class SplitStep(Decode):
    """Pieces of a decode step on one chip of a group. `layer` is 0 in all keys: programs know one slot of each kind."""

    layout: SplitLayout

    def __init__(
        self, layout: SplitLayout, name: str, block: int, plan: Plan | None = None
    ) -> None:
        super().__init__(layout, block)
        self.plan.name = name
        self.prefix = ""
        if plan is not None:  # several chips' steps in one plan
            self.plan, self.prefix = plan, f"{layout.shard.rank}:"
        self.layer = 0
        self.n = layout.shard.n
        self.sinks: dict[int, Buffer] = {}

    def temp(self, name: str, type_: Type, side: int = -1, rows: int | None = None) -> Buffer:
        """A temporary buffer, named by chip where a plan holds several."""
        return super().temp(self.prefix + name, type_, side, rows)

    # ------------------------------------------------------------------------------------------------- state
    def load_state(self) -> Own:
        """The residual stream as the program before left it."""
        return Own(x=list(self.layout.state["x"]))

    def saved(self, x: Own, target: list[Buffer]) -> Own:
        """A copy of the residual stream that lasts."""
        for source, buffer in zip(x.x, target, strict=True):
            task = self.task("save")
            task.out(task.op("mov", FromBuffer(source)), buffer)
        return Own(x=list(target))

    def embedding(self, *, add: bool = False) -> Own:
        """Table rows of the token (and its position), summed; with `add`, to the residual stream."""
        layout, out = self.layout, Own()
        for c in range(layout.shard.n_own):
            values: list[Source] = [
                FromGather(t, layout.inputs[f"token{i}"]) for i, t in enumerate(layout.embed[c])
            ]
            n_tokens = len(values)
            if layout.position:
                values.append(FromGather(layout.position[c][0], layout.inputs["position"]))
            if add:
                values.append(FromBuffer(layout.state["x"][c]))
            partial: Buffer | None = None
            for i, value in enumerate(values):
                task = self.task("embed")
                node = task.op("itof" if i < n_tokens and layout.weights is I8 else "mov", value)
                if i < n_tokens and layout.weights is I8:
                    node = task.op("mul", node, FromBuffer(layout.inputs["token_scale"]))
                if partial is not None:
                    node = task.op("add", node, FromBuffer(partial))
                last = i == len(values) - 1
                partial = layout.state["x"][c] if last else self.temp(f"embed{c}.{i}", F32)
                task.out(node, partial)
            assert partial is not None
            out.x.append(partial)
        return out

    # ------------------------------------------------------------------------------------------------- gathering
    def normed_shards(
        self, x: Own, side: int, extra: Callable[[Hidden], list[Buffer]] | None = None
    ) -> Generator[list[list[Buffer]], list[list[Buffer]], Gathered]:
        """Gather the hidden vector and the norm's sums of all shards, and whatever `extra` makes of the own one."""
        shard = self.layout.shard
        hidden = self.halves(x)
        sent = list(hidden.half)
        if shard.tail and shard.slots > 1:
            sent[-1] = self.spread(sent[-1])
        sums = self.partial_moments(hidden, side)
        more = extra(hidden) if extra is not None else []
        received = yield [[*sent, *sums, *more]] * self.n
        vectors = [r[: shard.n_own] for r in received]
        square = self.total([r[shard.n_own] for r in received], "square")
        mean = None
        if self.shape.norm == "layer":
            mean = self.total([r[shard.n_own + 1] for r in received], "mean")
        r, shift = self.scalars(square, mean)
        gathered = [v for own in vectors for v in own[: shard.n_full]]
        gathered += self.tails([own[-1] for own in vectors]) if shard.tail else []
        first = shard.n_own + len(sums)
        extras = [
            self.total(list(each), f"extra{i}")
            for i, each in enumerate(zip(*(part[first:] for part in received), strict=True))
        ]
        if self.layout.weights is F16:
            return Gathered([[(b,)] for b in gathered], r, r, extras)
        parts = [[self.normal_bytes(b, i, r, shift)] for i, b in enumerate(gathered)]
        return Gathered(parts, r, None, extras)

    def halves(self, x: Own) -> Hidden:
        """f16 of the own shard, the two parts of its squares, and for LayerNorm what f16 leaves over."""
        out = Hidden()
        for c, buffer in enumerate(x.x):
            task = self.task("norm")
            self.finish_half(task, task.op("mov", FromBuffer(buffer)), c, out)
        return out

    def finish_half(self, task: Task, value: FromNode, c: int, out: Hidden) -> None:
        """Store f16 of a vector and what the norm needs of it."""
        half = self.temp(f"xh{c}", F16)
        task.out(value, half)
        out.half.append(half)
        high, low = self.temp(f"sq_high{c}", F16), self.temp(f"sq_low{c}", F16)
        self.squares(task, value, high, low)
        out.high.append(high)
        out.low.append(low)
        if self.shape.norm == "layer":
            rest = self.temp(f"xl{c}", F16)
            task.out(task.op("sub", value, FromNode(task.op("mov", value).index, F16)), rest)
            out.rest.append(rest)

    def spread(self, tail: Buffer) -> Buffer:
        """The tail in every slot of a vector: each receiver keeps the slot of its relative number."""
        task = self.task("spread")
        feed = task.feed(self.layout.image.pattern("spread", 0), tail, Accumulator(1))
        out = self.temp("spread", F16)
        task.out(task.op("mov", feed), out)
        return out

    def partial_moments(self, x: Hidden, side: int) -> list[Buffer]:
        """Σ x² of the own shard in every lane, and for LayerNorm Σ x."""
        ones = self.layout.image.ones(side)
        out = [self.square_sum(x, side, "square")]
        if self.shape.norm == "layer":
            out.append(self.lane_sums(ones, [(x.half, 1.0), (x.rest, 1.0)], "mean"))
        return out

    def square_sum(self, x: Hidden, side: int, name: str) -> Buffer:
        """Σ x² of some vectors, in every lane."""
        ones = self.layout.image.ones(side)
        return self.lane_sums(ones, [(x.high, SQUARE_BAND), (x.low, 1.0)], name)

    def lane_sums(self, tile: Tile, groups: list[tuple[list[Buffer], float]], name: str) -> Buffer:
        """Σ factor · (sum over lanes of all buffers of a group), in every lane; `tile` holds ones."""
        sums = [Accumulator(1) for _ in groups]
        for (buffers, _), group in zip(groups, sums, strict=True):
            for i, buffer in enumerate(buffers[:-1]):
                self.task("norm").feed(tile, buffer, group, add=i > 0, last=False)
        task = self.task("norm")
        total: FromNode | None = None
        for (buffers, factor), group in zip(groups, sums, strict=True):
            feed = task.feed(tile, buffers[-1], group, add=len(buffers) > 1)
            node = task.op("mul", feed, factor)
            total = node if total is None else task.op("add", total, node)
        assert total is not None
        out = self.temp(f"sum.{name}", F32)
        task.out(total, out)
        return out

    def total(self, parts: Sequence[Buffer], name: str) -> Buffer:
        """Sum of one value from every chip, as a tree over relative numbers."""
        level = list(parts)
        while len(level) > 1:
            pairs = []
            for i in range(0, len(level), 2):
                task = self.task("sum")
                node = task.op("add", FromBuffer(level[i]), FromBuffer(level[i + 1]))
                pairs.append(self.temp(f"{name}.tree{i}", F32))
                task.out(node, pairs[-1])
            level = pairs
        return level[0]

    def scalars(self, square: Buffer, mean: Buffer | None) -> tuple[Buffer, Buffer | None]:
        """1/√(mean square + ε) in every lane; for LayerNorm also mean/√(variance + ε)."""
        task, inverse = self.task("norm"), 1.0 / self.shape.dim
        mean_square = task.op("mul", FromBuffer(square), inverse)
        average = None if mean is None else task.op("mul", FromBuffer(mean), inverse)
        root = self.inverse_root(task, mean_square, average)
        r = self.temp("r", F32)
        task.out(root, r)
        if average is None:
            return r, None
        shift = self.temp("r_mean", F32)
        task.out(task.op("mul", average, root), shift)
        return r, shift

    def tails(self, tails: list[Buffer]) -> list[Buffer]:
        """Vectors of tails: of each, the slot of its relative number."""
        shard = self.layout.shard
        if shard.slots == 1:
            return tails
        out = []
        for first in range(0, self.n, shard.slots):
            vector: Buffer | None = None
            for slot, tail in enumerate(tails[first : first + shard.slots]):
                task = self.task("tails")
                mask = FromBuffer(self.layout.tail_masks[slot])
                node = task.op("mask", FromBuffer(tail), mask)
                if vector is not None:
                    node = task.op("add", node, FromBuffer(vector))
                vector = self.temp(f"tails{first}.{slot}", F16)
                task.out(node, vector)
            assert vector is not None
            out.append(vector)
        return out

    def normal_bytes(self, half: Buffer, i: int, r: Buffer, shift: Buffer | None) -> Operand:
        """Normalised values as fixed-point bytes."""
        task = self.task("quantise")
        value = task.op("mul", FromBuffer(half), FromBuffer(r))
        if shift is not None:
            value = task.op("sub", value, FromBuffer(shift))
        parts = tuple(self.temp(f"n{i}.byte{b}", I8) for b in range(2))
        self.quantise(task, value, LEVELS[2] / (MARGIN * math.sqrt(self.shape.dim)), parts)
        return parts

    def operand(self, task: Task, value: FromNode, name: str, key: str) -> Operand:
        """As `Builder.operand`; the factor of fixed-point values is a row in SRAM, since it differs by layer."""
        if self.layout.weights is F16:
            return super().operand(task, value, name, key)
        scaled = task.op("mul", value, FromBuffer(self.layout.factor[key], fixed_row=True))
        n_bytes = self.layout.matrices[key].n_bytes
        parts = tuple(self.temp(f"{name}.byte{i}", I8) for i in range(n_bytes))
        self.quantise(task, scaled, 1.0, parts)
        return parts

    # -------------------------------------------------------------------------------------------------- reducing
    def reduced(
        self,
        key: str,
        sources: list[list[Operand]],
        x: Own,
        target: list[Buffer],
        label: str,
        more: list[Buffer] | None = None,
    ) -> Generator[list[list[Buffer]], list[list[Buffer]], Own]:
        """X + Σ over chips of the product (+ bias, + `more`), each shard on its owner, stored in `target`."""
        own = self.layout.shard.n_own
        partial: list[list[Buffer]] = [[] for _ in range(self.n)]
        for j in (*range(1, self.n), 0):  # the own shard last: it need not travel
            for c in range(own):
                task, value, _ = self.product(key, j * own + c, sources, label)
                node = value if isinstance(value, FromNode) else task.op("mov", value)
                partial[j].append(self.temp(f"{label}.{j}.{c}", F32))
                task.out(node, partial[j][-1])
        received = yield partial
        for c in range(own):
            total = self.total([r[c] for r in received], f"{label}{c}")
            task = self.task(label)
            value = self.scaled(task, key, c, FromBuffer(total), None)
            if more is not None:
                value = task.op("add", value, FromBuffer(more[c]))
            task.out(task.op("add", value, FromBuffer(x.x[c])), target[c])
        return Own(x=list(target))

    # ---------------------------------------------------------------------------------------------------- blocks
    def attend(
        self, x: Own, target: list[Buffer]
    ) -> Generator[list[list[Buffer]], list[list[Buffer]], Own]:
        """The attention part of a layer, new key and value to the caches included."""
        layout, heads, side = self.layout, self.layout.heads, self.layout.attention_side(0)
        ones = layout.image.ones(1 - side)  # for sinks
        gathered = yield from self.normed_shards(x, 1 - side)
        sources, later = gathered.sources, gathered.later
        cos_sin = None
        if self.shape.position == "rope":
            cos_sin = FromBuffer(layout.inputs["rope_cos"]), FromBuffer(layout.inputs["rope_sin"])
        project = self.projection(0, sources, cos_sin, later)
        made: dict[str, list[Buffer]] = {"k": [], "q": []}
        for which, chunks in (("k", heads.n_kv), ("q", len(heads.q))):
            for c in range(chunks):
                task, node = project(which, c)
                made[which].append(self.temp(f"{which}{c}", F16))
                task.out(node, made[which][-1])
        v = []
        for c in range(heads.n_kv):
            task, value, _ = self.product("0.v", c, sources, "v")
            scaled = self.scaled(task, "0.v", c, value, later)
            v.append(self.temp(f"v{c}", F16))
            task.out(scaled if isinstance(scaled, FromNode) else task.op("mov", scaled), v[-1])
        queries = self.split_heads(made["q"], made["k"])
        if self.shape.attention_sinks:
            self.sink_weights(queries, ones)
        outputs = yield from self.attended(queries, v)
        self.append(0, made["k"], v)
        return (yield from self.reduced("0.o", self.by_chunk(outputs), x, target, "attention out"))

    def attended(
        self, queries: dict[int, tuple[Buffer, Buffer]], v: list[Buffer]
    ) -> Generator[list[list[Buffer]], list[list[Buffer]], dict[int, Operand]]:
        """Σ p·V / Σ p of the chip's heads.

        Chips that share a context score each other's queries, too, each against its own blocks. All measure from the own
        score, which they make of the same two vectors, so what they find simply adds up.
        """
        n = self.layout.n_parts
        if n == 1:
            return self.over_blocks(queries, v)
        sent = [b for pair in queries.values() for b in pair]
        received = yield [sent] * n + [[] for _ in range(self.n - n)]
        asked = {
            h + _APART * j: (received[j][2 * i], received[j][2 * i + 1])
            for j in range(n)
            for i, h in enumerate(queries)
        }
        found = self.over_blocks(asked, v)
        back = [[b for h in queries for b in found[h + _APART * j]] for j in range(n)]
        received = yield back + [[] for _ in range(self.n - n)]
        out: dict[int, Operand] = {}
        for i, h in enumerate(queries):
            top, bottom = (
                self.total([received[j][2 * i + k] for j in range(n)], f"mix{h}.{k}")
                for k in range(2)
            )
            vector = h // self.layout.heads.per_vector % self.layout.heads.n_kv
            task = self.task("mix")
            out[h] = self.whole_division(task, h, FromBuffer(top), FromBuffer(bottom), v[vector])
        return out

    def over_blocks(
        self, queries: dict[int, tuple[Buffer, Buffer]], v: list[Buffer]
    ) -> dict[int, Operand]:
        """Scores and mixed values of some heads over the blocks that the chip holds."""
        layout, side = self.layout, self.layout.attention_side(0)
        ones, mask = layout.image.ones(1 - side), layout.inputs[f"mask{self.shape.windows[0] or 0}"]
        blocks = range(self.block + 1)
        outputs: dict[int, Operand] = {}
        for vector, mine in self.vectors():
            heads = [h + _APART * j for j in range(layout.n_parts) for h in mine]
            weights = [
                self.scores(layout.k_tile(0, vector, b), ones, heads, queries, FromBuffer(mask, b))
                for b in blocks
            ]
            tiles = [layout.v_tile(0, vector, b) for b in blocks]
            outputs |= self.mix(tiles, ones, heads, weights, v[vector], "0.o")
        return outputs

    def sink_weights(self, queries: dict[int, tuple[Buffer, Buffer]], ones: Tile) -> None:
        """e^(sink − own score) of every head, in the steps of softmax weights: it joins the denominator."""
        for head, (_, product) in queries.items():
            task = self.task("sinks")
            own = task.feed(ones, product, Accumulator(1))
            sink = FromBuffer(self.layout.bias["0.sinks"][head], fixed_row=True)
            away = task.op("sub", task.op("sub", sink, own), SOFTMAX_SHIFT)
            self.sinks[head] = self.temp(f"sink{head}", F32)
            task.out(task.op("exp", away), self.sinks[head])

    def divide(
        self, task: Task, head: int, top: Source, bottom: Source, v: Buffer | None, key: str
    ) -> Operand:
        """As `Builder.divide`; of a shared context only the two sums, which others join."""
        if self.layout.n_parts == 1:
            return self.whole_division(task, head, top, bottom, v)
        sums = self.temp(f"top{head}", F32), self.temp(f"bottom{head}", F32)
        for value, buffer in zip((top, bottom), sums, strict=True):
            task.out(task.op("mov", value), buffer)
        return sums

    def whole_division(
        self, task: Task, head: int, top: Source, bottom: Source, v: Buffer | None
    ) -> Operand:
        """As `Builder.divide`, with the head's sink in the denominator."""
        if head in self.sinks:
            bottom = task.op("add", bottom, FromBuffer(self.sinks[head]))
        return super().divide(task, head, top, bottom, v, "0.o")

    def forward(
        self, before: Own, x: Own, target: list[Buffer]
    ) -> Generator[list[list[Buffer]], list[list[Buffer]], Own]:
        """(A part of) the feed-forward of `before`, added to `x`."""
        gathered = yield from self.normed_shards(before, 0)
        hidden = self.feed_forward(0, gathered.sources, gathered.later)
        return (yield from self.reduced("0.down", hidden, x, target, "down"))

    def logits(self, x: Own) -> Swap:
        """Final norm and the chip's share of the logits."""
        gathered = yield from self.normed_shards(x, 0)
        sources, later = gathered.sources, gathered.later
        for c in range(len(self.layout.vocab)):
            task, feed, _ = self.product("head", c, sources, "logits")
            value = self.scaled(task, "head", c, feed, later)
            node = value if isinstance(value, FromNode) else task.op("mov", value)
            task.out(node, self.layout.outputs["logits"], c)
