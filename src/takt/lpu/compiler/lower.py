"""The lower pass: one step of a model as rigid tasks over buffers and tiles.

`Decode` takes one new position against the whole cache; `Chunk` takes a run of prompt positions and fills the cache
(its last token is left to a decode step, which makes the logits). Whole sequences of an encoder are lowered in `encode`.
"""

from __future__ import annotations

from collections.abc import Callable

from takt.lpu.compiler.blocks import Builder, Hidden, Operand
from takt.lpu.compiler.ir import (
    Accumulator,
    Append,
    Buffer,
    FromBuffer,
    FromGather,
    FromNode,
    Plan,
    Source,
    Task,
    Tile,
)
from takt.lpu.compiler.layout import Layout
from takt.lpu.isa.table import Type

F32, F16, I8 = Type.F32, Type.F16, Type.I8


class _Step(Builder):
    """What decoder steps share: embedding and the frame of a layer."""

    def embed(self, positions: list[Source]) -> Hidden:
        """Table rows of the tokens (and positions), summed, one task per chunk and shard."""
        layout, out = self.layout, Hidden()
        for c in range(len(layout.hidden)):
            values: list[Source] = [
                FromGather(t, layout.inputs[f"token{i}"]) for i, t in enumerate(layout.embed[c])
            ]
            n_tokens = len(values)
            values += positions[c : c + 1]
            partial: Buffer | None = None
            for i, value in enumerate(values):
                task = self.task("embed")
                if i < n_tokens and layout.weights is I8:
                    node = task.op(
                        "mul", task.op("itof", value), FromBuffer(layout.inputs["token_scale"])
                    )
                else:
                    node = _node(task, value)
                if partial is not None:
                    node = task.op("add", node, FromBuffer(partial))
                if i == len(values) - 1:
                    self.finish_hidden(task, node, c, out)
                else:
                    partial = self.temp(f"embed{c}", F32)
                    task.out(node, partial)
        return out


class _Positions(_Step):
    """What decoder steps over one and over many positions share: keys, queries and values of the new positions."""

    def projection(
        self,
        layer: int,
        sources: list[list[Operand]],
        cos_sin: tuple[FromBuffer, FromBuffer] | None,
        later: Buffer | None,
    ) -> Callable[[str, int], tuple[Task, FromNode]]:
        """How to make vector `c` of the keys ("k") or queries ("q"), as (task, result)."""
        side = 1 - self.layout.attention_side(layer)
        turned = None
        if cos_sin is not None and not self.shape.qk_norm:
            turned = self.angles(later, *cos_sin)

        def project(which: str, c: int) -> tuple[Task, FromNode]:
            key = f"{layer}.{which}"
            if self.shape.qk_norm and cos_sin is not None:
                gained = self.gained_angles(key, *cos_sin)
                task, value = self.normed_heads(key, c, sources, gained, later, side)
            else:
                shift = self.turned_bias(key, c, *cos_sin) if cos_sin is not None else None
                task, value = self.key_or_query(key, c, sources, turned, later, shift)
            return task, _node(task, value)

        return project

    def values(self, layer: int, x: Hidden, r: Buffer) -> list[Buffer]:
        """Value rows of the new positions, by vector."""
        out = []
        for c in range(self.layout.heads.n_kv):
            task, feed, _ = self.product(f"{layer}.v", c, [[(b,)] for b in x.half], "v")
            out.append(self.temp(f"v{c}", F16))
            task.out(task.op("mul", feed, FromBuffer(r)), out[-1])
        return out


class Decode(_Positions):
    """One decode step for positions in block `block` (320·block … 320·block + 319)."""

    def __init__(self, layout: Layout, block: int) -> None:
        super().__init__(layout, f"decode.{block}", 1)
        self.block = block

    def build(self) -> Plan:
        """Embedding to logits."""
        layout = self.layout
        x = self.embed(
            [FromGather(shards[0], layout.inputs["position"]) for shards in layout.position]
        )
        for layer in range(self.shape.n_layers):
            self.layer = layer
            x = self.attention(layer, x)
            sources, _, later = self.normed(x, f"{layer}.up", layout.attention_side(layer))
            hidden = self.feed_forward(layer, sources, later)
            x = self.residual(f"{layer}.down", hidden, x, "down")
        self.layer = self.shape.n_layers
        self.head(x)
        return self.plan

    def attention(self, layer: int, x: Hidden) -> Hidden:
        """The attention part of a layer, new key and value to the caches included."""
        layout, heads, side = self.layout, self.layout.heads, self.layout.attention_side(layer)
        ones = layout.image.ones(1 - side)
        sources, r, later = self.normed(x, f"{layer}.q", 1 - side)
        cos_sin = None
        if self.shape.position == "rope":
            cos_sin = FromBuffer(layout.inputs["rope_cos"]), FromBuffer(layout.inputs["rope_sin"])
        project = self.projection(layer, sources, cos_sin, later)
        projected: dict[str, list[Buffer]] = {"k": [], "q": []}
        for which, chunks in (("k", heads.n_kv), ("q", len(heads.q))):
            for c in range(chunks):
                task, node = project(which, c)
                out = self.temp(f"{which}{c}", F16)
                task.out(node, out)
                projected[which].append(out)
        v = self.values(layer, x, r)
        queries = self.split_heads(projected["q"], projected["k"])
        mask = layout.inputs[f"mask{self.shape.windows[layer] or 0}"]
        blocks = range(self.block + 1)
        weights = {
            vector: [
                self.scores(
                    layout.k_tile(layer, vector, b), ones, mine, queries, FromBuffer(mask, b)
                )
                for b in blocks
            ]
            for vector, mine in self.vectors()
        }
        outputs: dict[int, Operand] = {}
        for vector, mine in self.vectors():
            tiles = [layout.v_tile(layer, vector, b) for b in blocks]
            outputs |= self.mix(tiles, ones, mine, weights[vector], v[vector], f"{layer}.o")
        self.append(layer, projected["k"], v)
        return self.residual(f"{layer}.o", self.by_chunk(outputs), x, "attention out")

    def append(self, layer: int, k: list[Buffer], v: list[Buffer]) -> None:
        """Put the new key and value into the caches."""
        for vector in range(self.layout.heads.n_kv):
            self.append_vector(layer, vector, k[vector], v[vector])

    def append_vector(self, layer: int, vector: int, k: Buffer, v: Buffer) -> None:
        """Put one vector of the new key and value into the caches."""
        layout, side = self.layout, self.layout.attention_side(layer)
        cache = layout.k_cache[layer, vector]
        self.task("cache key").sxm = Append("scatter", k, cache, maps=layout.inputs["cache_row"])
        turned = self.temp(f"v.turned{vector}", F16, side)
        self.task("cache value").sxm = Append("rotate", v, turned, maps=layout.inputs["rotate"])
        target = layout.v_cache[layer, vector, self.block]
        self.task("cache value").sxm = Append(
            "lane", turned, target, mask=layout.inputs["lane"], columns=target.rows
        )

    def head(self, x: Hidden) -> None:
        """Final norm and logits."""
        sources, _, later = self.normed(x, "head", 0)
        for c in range(len(self.layout.vocab)):
            task, feed, _ = self.product("head", c, sources, "logits")
            task.out(
                _node(task, self.scaled(task, "head", c, feed, later)),
                self.layout.outputs["logits"],
                c,
            )


class _Rows(_Step):
    """Steps over many positions: keys and values of all rows go to SRAM first and come back as tiles."""

    def columns(self, layer: int, x: Hidden, r: Buffer | None) -> list[Tile]:
        """The rows, normalised, as weight tiles (column = row): what values are made with, already transposed."""
        layout, side = self.layout, self.layout.attention_side(layer)
        tiles = []
        for c in range(len(layout.hidden)):
            target = layout.columns[side, c]
            task = self.task("columns")
            value: Source = FromBuffer(x.x[c])
            task.out(
                task.op("mov", value) if r is None else task.op("mul", value, FromBuffer(r)), target
            )
            first = self.first_lane() // 16
            tiles.append(
                Tile(
                    f"{layer}.columns{c}",
                    F16,
                    side,
                    self.rows // 16,
                    slices=target.slices[0] + target.slices[1],
                    base=target.bases[0],
                    first_group=first,
                    sources=(target,),
                )
            )
        return tiles

    def first_lane(self) -> int:
        """Lane of the first row within its block of cached positions."""
        return 0

    def transposed_values(
        self, layer: int, tiles: list[Tile], block: int, keep: FromBuffer | None
    ) -> None:
        """Value rows over positions, into the cache: every row of W_v passes through the columns tiles."""
        layout = self.layout
        for vector in range(layout.heads.n_kv):
            cache = layout.v_cache[layer, vector, block]
            group = Accumulator(cache.rows)
            for c, tile in enumerate(tiles):
                weights = layout.image.tiles[f"{layer}.v", vector, c]
                half = len(weights.slices) // 2
                source = Buffer(
                    f"{layer}.v_rows",
                    F16,
                    rows=cache.rows,
                    fixed=True,
                    slices=(weights.slices[:half], weights.slices[half:]),
                    bases=(weights.base,) * 2,
                )
                task = self.task("values", rows=cache.rows)
                feed = task.feed(tile, source, group, add=c > 0, last=c == len(tiles) - 1)
            if keep is None:
                task.out(task.op("mov", feed), cache)
            else:
                old = task.op("mask", FromBuffer(cache), keep)
                task.out(task.op("add", feed, old), cache)


class Chunk(_Rows, _Positions):
    """`layout.chunk` prompt positions from `start` on: fills the caches, makes no logits."""

    def __init__(self, layout: Layout, start: int) -> None:
        super().__init__(layout, f"prompt.{start}", layout.chunk)
        self.start = start
        self.block, self.lane = divmod(start, layout.lanes)

    def first_lane(self) -> int:
        """Lane of the first row within its block of cached positions."""
        return self.lane

    def build(self) -> Plan:
        """Embedding to the last layer's keys and values."""
        layout = self.layout
        x = self.embed([FromBuffer(shards[0], self.start) for shards in layout.position])
        for layer in range(self.shape.n_layers):
            self.layer = layer
            last = layer == self.shape.n_layers - 1
            attended = self.attention(layer, x, last)
            if attended is not None:
                sources, _, later = self.normed(
                    attended, f"{layer}.up", layout.attention_side(layer)
                )
                hidden = self.feed_forward(layer, sources, later)
                x = self.residual(f"{layer}.down", hidden, attended, "down")
        return self.plan

    def attention(self, layer: int, x: Hidden, last: bool) -> Hidden | None:
        """The attention part; of the last layer only keys and values are needed."""
        layout, heads, side = self.layout, self.layout.heads, self.layout.attention_side(layer)
        ones = layout.image.ones(1 - side)
        sources, r, later = self.normed(x, f"{layer}.q", 1 - side)
        cos_sin = None
        if self.shape.position == "rope":
            cos_sin = (
                FromBuffer(layout.tables["cos"], self.start),
                FromBuffer(layout.tables["sin"], self.start),
            )
        project = self.projection(layer, sources, cos_sin, later)
        projected: dict[str, list[Buffer]] = {"k": [], "q": []}
        for which, chunks in (("k", heads.n_kv), ("q", 0 if last else len(heads.q))):
            for c in range(chunks):
                task, node = project(which, c)
                out = self.temp(f"{which}{c}", F16)
                if not last:
                    task.out(node, out)
                projected[which].append(out)
                if which == "k":
                    task.out(node, layout.k_cache[layer, c], self.start)
        keep = FromBuffer(layout.tables["seen0"], self.lane, fixed_row=True) if self.lane else None
        self.transposed_values(layer, self.columns(layer, x, r), self.block, keep)
        if last:
            return None
        v = self.values(layer, x, r)
        queries = self.split_heads(projected["q"], projected["k"])
        outputs: dict[int, Operand] = {}
        for vector, mine in self.vectors():
            weights, tiles = [], []
            for b in range(self.block + 1):
                new = b == self.block
                tile = layout.k_tile(
                    layer, vector, b, (layout.k_cache[layer, vector],) if new else ()
                )
                weights.append(self.scores(tile, ones, mine, queries, self.seen(layer, b)))
                tiles.append(
                    layout.v_tile(
                        layer, vector, b, (layout.v_cache[layer, vector, b],) if new else ()
                    )
                )
            outputs |= self.mix(tiles, ones, mine, weights, v[vector], f"{layer}.o")
        return self.residual(f"{layer}.o", self.by_chunk(outputs), x, "attention out")

    def seen(self, layer: int, block: int) -> FromBuffer:
        """Which positions of a block each row sees (its own excluded): row r of the table sees lanes below r."""
        window = self.shape.windows[layer] or 0
        table = self.layout.tables[f"seen{window}"]
        row = self.start - block * self.layout.lanes
        if not window and row >= self.layout.lanes:
            return FromBuffer(table, self.layout.lanes, fixed_row=True)
        if row + self.rows > table.rows:  # all further rows see nothing of this block
            row = table.rows - 1
            return FromBuffer(table, row, fixed_row=True)
        return FromBuffer(table, row)


def _node(task: Task, value: Source) -> FromNode:
    """`value` as an operation of the task."""
    return value if isinstance(value, FromNode) else task.op("mov", value)
