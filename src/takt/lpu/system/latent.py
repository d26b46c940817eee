"""Multi-head latent attention: all heads read one short vector a position.

Keys and values are never made. A head's query is carried into the latent space (its part of k_up, transposed), scored
against the cached latents there, and the mixed latents are carried out again (its part of v_up). So the cache of a
position is one latent and one rotated key, the same for all heads; every chip of a group holds it, for its own heads.
"""

from __future__ import annotations

import math
from collections.abc import Generator

from takt.lpu.compiler.blocks import SOFTMAX_SHIFT, Hidden, Operand
from takt.lpu.compiler.ir import Accumulator, Buffer, FromBuffer, FromNode, Source, Task, Tile
from takt.lpu.compiler.matrices import LEVELS, MARGIN
from takt.lpu.isa.table import Type
from takt.lpu.system.experts import ExpertStep
from takt.lpu.system.latent_lanes import sizes
from takt.lpu.system.lower import Own
from takt.models import ModelShape

F32, F16, I8 = Type.F32, Type.F16, Type.I8


class LatentStep(ExpertStep):
    """A step whose attention may be latent."""

    def attend_latent(
        self, x: Own, target: list[Buffer]
    ) -> Generator[list[list[Buffer]], list[list[Buffer]], Own]:
        """The attention part of a layer, the new latent to the cache included."""
        layout, side = self.layout, self.layout.attention_side(0)
        mine, ones = layout.latent, layout.image.ones(1 - side)
        assert mine is not None
        gathered = yield from self.normed_shards(x, 1 - side)
        cos_sin = FromBuffer(layout.inputs["rope_cos"]), FromBuffer(layout.inputs["rope_sin"])
        raw = self.rows_of("0.kv_down", gathered.sources, gathered.later)
        r_kv = self.root(raw, sizes(self.whole).kv_rank, 1 - side, "kv")
        angles = self.angles(gathered.later, *cos_sin)
        task, node = self.key_or_query(
            "0.k_rope", 0, gathered.sources, angles, gathered.later, None
        )
        k_rope = self.stored(task, node, "k_rope", F32)
        keys, values = self.cached(raw, r_kv, k_rope)
        sources, later = gathered.sources, gathered.later
        if sizes(self.whole).q_rank is not None:
            waist = self.rows_of("0.q_down", sources, later)
            r_q = self.root(waist, sizes(self.whole).q_rank or 1, 1 - side, "q")
            sources, later = [[self.short(row, r_q, i)] for i, row in enumerate(waist)], None
            angles = cos_sin
        queries = self.latent_queries(sources, later, angles)
        own = [self.own_score(h, q, keys, ones) for h, q in enumerate(queries)]
        weights = [self.latent_scores(b, queries, own) for b in range(self.block + 1)]
        outputs = self.latent_mix(weights, values, ones)
        self.append_rows(keys, values)
        by_chunk: list[list[Operand]] = [[] for _ in mine.values]
        for i, output in enumerate(outputs):
            by_chunk[i // mine.per_values].append(output)
        return (yield from self.reduced("0.o", by_chunk, x, target, "attention out"))

    # ------------------------------------------------------------------------------------------------------ rows
    @property
    def whole(self) -> ModelShape:
        """The whole model's shape."""
        return self.layout.whole

    def stored(self, task: Task, value: Source, name: str, type_: Type) -> Buffer:
        """A value in a buffer of its own."""
        out = self.temp(name, type_)
        task.out(value if isinstance(value, FromNode) else task.op("mov", value), out)
        return out

    def rows_of(self, key: str, sources: list[list[Operand]], later: Buffer | None) -> list[Buffer]:
        """All vectors of a product, f32."""
        out = []
        for c in range(len(self.layout.matrices[key].out)):
            task, value, _ = self.product(key, c, sources, key.partition(".")[2])
            node = self.scaled(task, key, c, value, later)
            out.append(self.stored(task, node, f"{key}{c}", F32))
        return out

    def root(self, rows: list[Buffer], width: int, side: int, name: str) -> Buffer:
        """1/√(mean square of `width` values + ε), in every lane."""
        hidden = Hidden()
        for c, row in enumerate(rows):
            task = self.task("norm")
            high, low = self.temp(f"{name}.high{c}", F16), self.temp(f"{name}.low{c}", F16)
            self.squares(task, task.op("mov", FromBuffer(row)), high, low)
            hidden.high.append(high)
            hidden.low.append(low)
        square = self.square_sum(hidden, side, f"{name}.square")
        task = self.task("norm")
        mean = task.op("mul", FromBuffer(square), 1.0 / width)
        return self.stored(task, self.inverse_root(task, mean, None), f"{name}.r", F32)

    def short(self, row: Buffer, r: Buffer, i: int) -> Operand:
        """A normalised vector of the queries' waist, as the next matrix takes it."""
        task = self.task("quantise")
        value = task.op("mul", FromBuffer(row), FromBuffer(r))
        return self.fixed(
            task, value, f"waist{i}", MARGIN * math.sqrt(sizes(self.whole).q_rank or 1)
        )

    def fixed(self, task: Task, value: FromNode, name: str, top: float) -> Operand:
        """A value of at most `top` as what a matrix multiplies: f16, or two bytes."""
        if self.layout.weights is F16:
            return (self.stored(task, value, name, F16),)
        parts = tuple(self.temp(f"{name}.byte{i}", I8) for i in range(2))
        self.quantise(task, value, LEVELS[2] / top, parts)
        return parts

    # --------------------------------------------------------------------------------------------- keys, queries
    def cached(
        self, raw: list[Buffer], r: Buffer, k_rope: Buffer
    ) -> tuple[list[Buffer], list[Buffer]]:
        """The new position's normalised latent as it is cached: with the rotated key, and without."""
        keys, values = [], []
        for c, row in enumerate(raw):
            task = self.task("latent")
            node = task.op("mul", FromBuffer(row), FromBuffer(r))
            values.append(self.stored(task, node, f"latent{c}", F16))
            if c < len(raw) - 1:
                keys.append(values[-1])
                continue
            task = self.task("latent")
            node = task.op("add", FromBuffer(values[-1]), FromBuffer(k_rope))
            keys.append(self.stored(task, node, f"key{c}", F16))
        return keys, values

    def latent_queries(
        self,
        sources: list[list[Operand]],
        later: Buffer | None,
        angles: tuple[FromBuffer, FromBuffer],
    ) -> list[list[Buffer]]:
        """Each head's query in the latent space, rotated part included."""
        mine = self.layout.latent
        assert mine is not None
        nope = []
        for c in range(len(mine.nope)):
            task, value, _ = self.product("0.q_nope", c, sources, "q")
            node = self.scaled(task, "0.q_nope", c, value, later)
            made = node if isinstance(node, FromNode) else task.op("mov", node)
            nope.append(self.operand(task, made, f"q_nope{c}", "0.absorb0"))
        out: list[list[Buffer]] = []
        for i in range(len(mine.heads)):
            task, node = self.key_or_query("0.q_rope", i, sources, angles, later, None)
            turned = self.stored(task, node, f"q_rope{i}", F32)
            out.append([])
            for c in range(len(mine.latent)):
                key = f"0.absorb{i}"
                task, value, _ = self.product(key, c, [[nope[i // mine.per_nope]]], "absorb")
                node = self.scaled(task, key, c, value, None)
                if c == len(mine.latent) - 1:
                    node = task.op("add", node, FromBuffer(turned))
                out[-1].append(self.stored(task, node, f"q{i}.{c}", F16))
        return out

    # ------------------------------------------------------------------------------------------------- attention
    def own_score(self, head: int, query: list[Buffer], keys: list[Buffer], ones: Tile) -> Buffer:
        """Query · own key, in every lane."""
        products = []
        for c, (q, k) in enumerate(zip(query, keys, strict=True)):
            task = self.task("scores")
            node = task.op("mul", FromBuffer(q), FromBuffer(k))
            products.append(self.stored(task, node, f"qk{head}.{c}", F16))
        return self.lane_sums(ones, [(products, 1.0)], f"own{head}")

    def latent_scores(
        self, block: int, queries: list[list[Buffer]], own: list[Buffer]
    ) -> list[Buffer]:
        """exp(score − own score) / 2¹⁰ of the positions of a block, a row for each head."""
        layout = self.layout
        seen = FromBuffer(layout.inputs[f"mask{self.shape.windows[0] or 0}"], block)
        groups = [Accumulator(1) for _ in queries]
        n = len(queries[0])
        for c in range(n - 1):
            tile = layout.k_tile(0, c, block)
            for query, group in zip(queries, groups, strict=True):
                self.task("scores").feed(tile, query[c], group, add=c > 0, last=False)
        tile, out = layout.k_tile(0, n - 1, block), []
        for head, (query, group) in enumerate(zip(queries, groups, strict=True)):
            task = self.task("scores")
            score = task.feed(tile, query[n - 1], group, add=n > 1)
            away = task.op("sub", task.op("sub", score, FromBuffer(own[head])), SOFTMAX_SHIFT)
            node = task.op("mask", task.op("exp", away), seen)
            out.append(self.stored(task, node, f"p{head}.{block}", F16))
        return out

    def latent_mix(
        self, weights: list[list[Buffer]], values: list[Buffer], ones: Tile
    ) -> list[Operand]:
        """Each head's mixed latents, carried out to its values."""
        heads = range(len(weights[0]))
        inverse = [self.denominator([w[h] for w in weights], ones, h) for h in heads]
        mixed: list[list[Operand]] = [[] for _ in heads]
        top = MARGIN * math.sqrt(sizes(self.whole).kv_rank)
        for c, value in enumerate(values):
            groups = [Accumulator(1) for _ in heads]
            for b, rows in enumerate(weights):
                tile, last = self.layout.v_tile(0, c, b), b == len(weights) - 1
                for h in heads:
                    task = self.task("mix")
                    feed = task.feed(tile, rows[h], groups[h], add=b > 0, last=last)
                    if last:
                        own = task.op("mul", FromBuffer(value), math.exp(-SOFTMAX_SHIFT))
                        node = task.op("add", feed, own)
                        node = task.op("mul", node, FromBuffer(inverse[h]))
                        mixed[h].append(self.fixed(task, node, f"mixed{h}.{c}", top))
        out = []
        for h in heads:
            key = f"0.v_up{h}"
            task, product, _ = self.product(key, 0, [[m] for m in mixed[h]], "v_up")
            scaled = self.scaled(task, key, 0, product, None)
            made = scaled if isinstance(scaled, FromNode) else task.op("mov", scaled)
            out.append(self.operand(task, made, f"o{h}", "0.o"))
        return out

    def denominator(self, weights: list[Buffer], ones: Tile, head: int) -> Buffer:
        """1 / Σ of a head's weights, its own included, in every lane."""
        total = self.lane_sums(ones, [(weights, 1.0)], f"weights{head}")
        task = self.task("mix")
        root = task.op("rsqrt", task.op("add", FromBuffer(total), math.exp(-SOFTMAX_SHIFT)))
        return self.stored(task, task.op("mul", root, root), f"inverse{head}", F32)

    def append_rows(self, keys: list[Buffer], values: list[Buffer]) -> None:
        """Put the new latent into the caches."""
        for vector, (key, value) in enumerate(zip(keys, values, strict=True)):
            self.append_vector(0, vector, key, value)
