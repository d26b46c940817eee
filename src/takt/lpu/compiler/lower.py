"""The lower pass: one step of a model as rigid tasks over buffers and tiles.

Decode step (one new position, whole cache): nothing waits for the new key and value to reach the cache. The new
position's own score q·k is the reference that softmax subtracts (it is summed into every lane by the ones tile), so its
weight is 1 and its value is added directly; cached positions weigh exp(score − reference). Norm scalars are computed
beside the matrix product they scale and applied to its result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from takt.lpu.compiler.image import Image, lanes_of
from takt.lpu.compiler.ir import (
    Accumulator,
    Append,
    Buffer,
    FromBuffer,
    FromFeed,
    FromGather,
    FromNode,
    Plan,
    Source,
    Task,
    Tile,
)
from takt.lpu.compiler.lanes import HeadLanes, Lanes, head_lanes, plain
from takt.lpu.compiler.matrices import Matrix, model_matrices
from takt.lpu.isa.table import Type
from takt.models import Model, ModelShape

F32, F16, U8 = Type.F32, Type.F16, Type.U8

SQUARE_BAND = 2.0**12
"""Squares are summed as two f16 numbers, high part / 2¹² and remainder, so that |x| up to 16,000 neither overflows nor is lost."""

SOFTMAX_SHIFT = 10 * math.log(2)
"""Cached weights are stored as f16 of exp(s − s_self) / 2¹⁰: exact to 2⁻¹⁰ relative, saturating 17.9 nats above the new
position's own score."""


@dataclass(slots=True)
class Layout:
    """Everything about a model's place on the chip that all its programs share."""

    shape: ModelShape
    image: Image
    hidden: Lanes
    heads: HeadLanes
    ffn: Lanes
    vocab: Lanes
    weights: Type
    n_blocks: int
    matrices: dict[str, Matrix] = field(default_factory=dict)
    bias: dict[str, list[Buffer]] = field(default_factory=dict)
    embed: list[list[Buffer]] = field(default_factory=list)  # [chunk][shard]
    position: list[list[Buffer]] = field(default_factory=list)
    head_mask: Buffer | None = None
    k_cache: dict[tuple[int, int], Buffer] = field(default_factory=dict)  # layer, key vector
    v_cache: dict[tuple[int, int, int], Buffer] = field(default_factory=dict)  # layer, key vector, block
    k_tiles: dict[tuple[int, int, int], Tile] = field(default_factory=dict)
    v_tiles: dict[tuple[int, int, int], Tile] = field(default_factory=dict)
    inputs: dict[str, Buffer] = field(default_factory=dict)
    outputs: dict[str, Buffer] = field(default_factory=dict)

    def attention_side(self, layer: int) -> int:
        return layer % 2


def lay_out(model: Model, image: Image, weights: Type, context: int) -> Layout:
    """Place a model: tiles, caches, tables, inputs and outputs, for contexts up to `context` positions."""
    shape, lanes = model.shape, image.g.lanes
    heads = head_lanes(shape, lanes)
    out = Layout(
        shape=shape, image=image, hidden=plain(shape.dim, lanes), heads=heads, ffn=plain(shape.hidden_dim, lanes),
        vocab=plain(shape.vocab_size, lanes), weights=weights, n_blocks=-(-context // lanes),
    )
    _small_things(out, model)
    for side in (0, 1):
        image.ones(side)
    _embedding(out, model)
    for matrix in model_matrices(shape, out.hidden, heads, out.ffn, out.vocab):
        out.matrices[matrix.key] = matrix
        image.add_matrix(matrix, Type.F16)
        bias = matrix.folded_bias(model) if matrix.bias else None
        if bias is not None:
            rows = lanes_of(matrix.out, bias)
            out.bias[matrix.key] = [
                image.buffer(f"{matrix.key}.bias{c}", F32, 1, content=rows[c : c + 1]) for c in range(len(rows))
            ]
    for layer in range(shape.n_layers):
        _caches(out, layer)
    return out


def _small_things(out: Layout, model: Model) -> None:
    image, lanes, shape, heads = out.image, out.image.g.lanes, out.shape, out.heads
    masks = np.zeros((heads.per_vector, lanes), np.uint8)
    for slot in range(heads.per_vector):
        masks[slot, slot * shape.head_dim : (slot + 1) * shape.head_dim] = 1
    out.head_mask = image.buffer("head_mask", U8, heads.per_vector, content=masks)
    for name, kind, rows in (
        ("rope_cos", F32, 1), ("rope_sin", F32, 1), ("lane", U8, 1), ("rotate", F16, 1), ("cache_row", F16, 16),
        ("position", F16, 1),
    ):
        if (name.startswith("rope") and shape.position != "rope") or (name == "position" and shape.position == "rope"):
            continue
        out.inputs[name] = image.buffer(name, kind, rows, hop=1)
    for window in sorted({w or 0 for w in shape.windows}):
        out.inputs[f"mask{window}"] = image.buffer(f"mask{window}", U8, out.n_blocks)
    out.outputs["logits"] = image.buffer("logits", F32, len(out.vocab))


def _caches(out: Layout, layer: int) -> None:
    image, lanes, side = out.image, out.image.g.lanes, out.attention_side(layer)
    for v in range(out.heads.n_kv):
        k = image.cache(f"{layer}.k_cache{v}", out.n_blocks * lanes, side)
        out.k_cache[layer, v] = k
        columns = int(np.max(np.nonzero(out.heads.v[v] >= 0)[0])) + 1
        for b in range(out.n_blocks):
            out.k_tiles[layer, v, b] = Tile(
                f"{layer}.K[{v},{b}]", F16, side, lanes // 16, slices=k.slices[0] + k.slices[1],
                base=k.bases[0] + b * (lanes // 16),
            )
            vt = image.cache(f"{layer}.v_cache{v}.{b}", columns, side)
            out.v_cache[layer, v, b] = vt
            out.v_tiles[layer, v, b] = Tile(
                f"{layer}.V[{v},{b}]", F16, side, -(-columns // 16), slices=vt.slices[0] + vt.slices[1],
                base=vt.bases[0],
            )


def _embedding(out: Layout, model: Model) -> None:
    def shards(name: str, tensor: str, rows: int) -> list[list[Buffer]]:
        table = model.tensor(tensor)[:rows]
        made = []
        for c, dims in enumerate(out.hidden):
            content = np.zeros((len(table), len(dims)), np.float16)
            content[:, dims >= 0] = table[:, dims[dims >= 0]].clip(-65504, 65504)
            made.append(out.image.table(f"{name}{c}", F16, content))
        return made

    out.embed = shards("embed", "embed.weight", out.shape.vocab_size)
    for i in range(len(out.embed[0])):
        out.inputs[f"token{i}"] = out.image.buffer(f"token{i}", F16, 1, hop=1)
    if out.shape.position == "learned":
        out.position = shards("pos", "position.weight", out.shape.max_context)


class Decode:
    """Builds the plan of one decode step for positions in block `block` (320·block … 320·block + 319)."""

    def __init__(self, layout: Layout, block: int) -> None:
        self.l = layout
        self.shape = layout.shape
        self.block = block
        self.plan = Plan(name=f"decode.{block}", inputs=layout.inputs, outputs=layout.outputs)
        self.layer = -1

    def build(self) -> Plan:
        x = self.embed()
        for layer in range(self.shape.n_layers):
            self.layer = layer
            x = self.block_of_layer(layer, x)
        self.layer = self.shape.n_layers
        self.head(x)
        return self.plan

    # ------------------------------------------------------------------------------------------------------ pieces
    def task(self, label: str) -> Task:
        made = Task(label=label, layer=self.layer)
        self.plan.tasks.append(made)
        return made

    def temp(self, name: str, type_: Type, side: int = -1) -> Buffer:
        return Buffer(f"{self.layer}.{name}", type_, side=side)

    def embed(self) -> "_Hidden":
        """Table rows of the token (and position), summed, one task per chunk and shard."""
        l = self.l
        out = _Hidden()
        for c in range(len(l.hidden)):
            tables = [(t, l.inputs[f"token{i}"]) for i, t in enumerate(l.embed[c])]
            if l.position:
                tables += [(t, l.inputs["position"]) for t in l.position[c]]
            partial: Buffer | None = None
            for i, (table, maps) in enumerate(tables):
                task = self.task("embed")
                value: Source = FromGather(table, maps)
                node = task.op("mov", value) if partial is None else task.op("add", value, FromBuffer(partial))
                if i == len(tables) - 1:
                    self.finish_hidden(task, node, c, out)
                else:
                    partial = self.temp(f"embed{c}", F32)
                    task.out(node, partial)
        return out

    def finish_hidden(self, task: Task, value: FromNode, chunk: int, out: "_Hidden") -> None:
        """Store a chunk of the residual stream and what the next norm and product need of it."""
        x, half = self.temp(f"x{chunk}", F32), self.temp(f"xh{chunk}", F16)
        high, low = self.temp(f"sq_high{chunk}", F16), self.temp(f"sq_low{chunk}", F16)
        task.out(value, x)
        task.out(value, half)
        square = task.op("mul", value, value)
        h = task.op("mul", square, 1.0 / SQUARE_BAND)
        rest = task.op("sub", square, task.op("mul", FromNode(h.index, F16), SQUARE_BAND))
        task.out(h, high)
        task.out(rest, low)
        out.x.append(x)
        out.half.append(half)
        out.high.append(high)
        out.low.append(low)
        if self.shape.norm == "layer":
            remainder = self.temp(f"xl{chunk}", F16)
            task.out(task.op("sub", value, FromNode(task.op("mov", value).index, F16)), remainder)
            out.rest.append(remainder)

    def norm_scalar(self, x: "_Hidden", side: int) -> Buffer:
        """1/√(mean square + ε) (RMSNorm) or 1/√(variance + ε) (LayerNorm) in every lane."""
        ones, n = self.l.image.ones(side), len(x.half)
        sums = [(Accumulator(1), x.high), (Accumulator(1), x.low)]
        parts = [(sums[0][0], b) for b in x.high[:-1]] + [(sums[1][0], b) for b in x.low[:-1]]
        mean_group = Accumulator(1)
        if self.shape.norm == "layer":
            parts += [(mean_group, b) for b in (*x.half, *x.rest[:-1])]
        seen: set[int] = set()
        for group, source in parts:
            self.task("norm").feed(ones, source, group, add=id(group) in seen, last=False)
            seen.add(id(group))
        task = self.task("norm")
        inverse = 1.0 / self.shape.dim
        high = task.op("mul", task.feed(ones, x.high[-1], sums[0][0], add=n > 1), SQUARE_BAND)
        total = task.op("add", high, task.feed(ones, x.low[-1], sums[1][0], add=n > 1))
        mean_square = task.op("mul", total, inverse)
        if self.shape.norm == "layer":
            mean = task.op("mul", task.feed(ones, x.rest[-1], mean_group, add=True), inverse)
            mean_square = task.op("sub", mean_square, task.op("mul", mean, mean))
        r = self.temp("r", F32)
        task.out(task.op("rsqrt", task.op("add", mean_square, float(self.shape.norm_eps))), r)
        return r

    def product(self, key: str, out_chunk: int, sources: list[list[Buffer]], label: str, *, swap: bool = False
                ) -> tuple[Task, FromFeed]:
        """Feed every source of every input chunk through the tiles of one output chunk; the last task emits."""
        matrix, image = self.l.matrices[key], self.l.image
        group = Accumulator(1)
        feeds = [
            (image.tiles[key, out_chunk, i], source) for i in range(len(matrix.into)) for source in sources[i]
        ]
        for n, (tile, source) in enumerate(feeds):
            last = n == len(feeds) - 1
            task = self.task(label)
            feed = task.feed(tile, source, group, add=n > 0, last=last, swap=swap and last)
        return task, feed

    def scaled(self, task: Task, key: str, chunk: int, value: Source, r: Buffer | None) -> FromNode:
        """value · r + bias, as far as the matrix has them."""
        node = task.op("mul", value, FromBuffer(r)) if r is not None else None
        bias = self.l.bias.get(key)
        if bias is not None:
            return task.op("add", node if node is not None else value, FromBuffer(bias[chunk]))
        return node if node is not None else task.op("mov", value)

    # ------------------------------------------------------------------------------------------------------- layers
    def block_of_layer(self, layer: int, x: "_Hidden") -> "_Hidden":
        x = self.attention(layer, x)
        return self.feed_forward(layer, x)

    def attention(self, layer: int, x: "_Hidden") -> "_Hidden":
        heads, side = self.l.heads, self.l.attention_side(layer)
        r = self.norm_scalar(x, 1 - side)
        sources = [[b] for b in x.half]
        k = [self.key_or_query(layer, "k", c, sources, r) for c in range(heads.n_kv)]
        q = [self.key_or_query(layer, "q", c, sources, r) for c in range(len(heads.q))]
        v = [self.value(layer, c, sources, r) for c in range(heads.n_kv)]
        queries = self.split_heads(q, k)
        weights = self.scores(layer, queries)
        outputs = self.mix(layer, weights, v)
        self.append(layer, k, v)
        merged = [[outputs[h] for h in self.heads_of(c)] for c in range(len(heads.o))]
        out = _Hidden()
        for c in range(len(self.l.hidden)):
            task, value = self.product(f"{layer}.o", c, merged, "attention out")
            node = self.scaled(task, f"{layer}.o", c, value, None) if f"{layer}.o" in self.l.bias else value
            self.finish_hidden(task, task.op("add", node, FromBuffer(x.x[c])), c, out)
        return out

    def heads_of(self, q_chunk: int) -> list[int]:
        """Heads, as (query vector · heads per vector + slot), that live in a query vector."""
        heads = self.l.heads
        vector = q_chunk % heads.n_kv
        here = min(heads.per_vector, self.shape.n_kv_heads - vector * heads.per_vector)
        return [q_chunk * heads.per_vector + slot for slot in range(here)]

    def key_or_query(self, layer: int, which: str, chunk: int, sources: list[list[Buffer]], r: Buffer) -> Buffer:
        rope = self.shape.position == "rope"
        key = f"{layer}.{which}"
        task, feed = self.product(key, chunk, sources, which, swap=rope)
        node = self.scaled(task, key, chunk, feed, r)
        if rope:
            swapped = FromFeed(feed.index, swapped=True)
            partner = task.op("mul", swapped, FromBuffer(r))
            if key in self.l.bias:
                partner = task.op("add", partner, FromBuffer(self.l.bias[key + ".swapped"][chunk]))
            cos, sin = self.l.inputs["rope_cos"], self.l.inputs["rope_sin"]
            node = task.op(
                "add", task.op("mul", node, FromBuffer(cos)), task.op("mul", partner, FromBuffer(sin))
            )
        out = self.temp(f"{which}{chunk}", F16)
        task.out(node, out)
        return out

    def value(self, layer: int, chunk: int, sources: list[list[Buffer]], r: Buffer) -> Buffer:
        task, feed = self.product(f"{layer}.v", chunk, sources, "v")
        out = self.temp(f"v{chunk}", F16)
        task.out(self.scaled(task, f"{layer}.v", chunk, feed, r), out)
        return out

    def split_heads(self, q: list[Buffer], k: list[Buffer]) -> dict[int, tuple[Buffer, Buffer]]:
        """Per head: its query alone on its lanes, and query · own key, lane by lane."""
        out = {}
        for chunk in range(len(q)):
            for head in self.heads_of(chunk):
                slot = head % self.l.heads.per_vector
                task = self.task("split heads")
                assert self.l.head_mask is not None
                alone = task.op("mask", FromBuffer(q[chunk]), FromBuffer(self.l.head_mask, slot))
                own = task.op("mul", alone, FromBuffer(k[chunk % self.l.heads.n_kv]))
                mine, product = self.temp(f"q.h{head}", F16), self.temp(f"qk.h{head}", F16)
                task.out(alone, mine)
                task.out(own, product)
                out[head] = (mine, product)
        return out

    def scores(self, layer: int, queries: dict[int, tuple[Buffer, Buffer]]) -> dict[tuple[int, int], Buffer]:
        """exp(score − own score) / 2¹⁰ of every cached position of every block, zero where masked."""
        l, out = self.l, {}
        ones = l.image.ones(1 - l.attention_side(layer))
        mask = l.inputs[f"mask{self.shape.windows[layer] or 0}"]
        for v in range(l.heads.n_kv):
            for b in range(self.block + 1):
                for chunk in range(v, len(l.heads.q), l.heads.n_kv):
                    for head in self.heads_of(chunk):
                        mine, product = queries[head]
                        task = self.task("scores")
                        score = task.feed(l.k_tiles[layer, v, b], mine, Accumulator(1))
                        own = task.feed(ones, product, Accumulator(1))
                        z = task.op("sub", task.op("sub", score, own), SOFTMAX_SHIFT)
                        p = self.temp(f"p.h{head}.{b}", F16)
                        task.out(task.op("mask", task.op("exp", z), FromBuffer(mask, b)), p)
                        out[head, b] = p
        return out

    def mix(self, layer: int, weights: dict[tuple[int, int], Buffer], v: list[Buffer]) -> dict[int, Buffer]:
        """(Σ p·V + own value) / (Σ p + 1) of every head, on its lanes, zero elsewhere."""
        l, out = self.l, {}
        ones = l.image.ones(1 - l.attention_side(layer))
        for vector in range(l.heads.n_kv):
            chunks = range(vector, len(l.heads.q), l.heads.n_kv)
            heads = [h for c in chunks for h in self.heads_of(c)]
            groups = {h: (Accumulator(1), Accumulator(1)) for h in heads}
            for b in range(self.block + 1):
                for head in heads:
                    task, last = self.task("mix"), b == self.block
                    p, (up, down) = weights[head, b], groups[head]
                    top = task.feed(l.v_tiles[layer, vector, b], p, up, add=b > 0, last=last)
                    bottom = task.feed(ones, p, down, add=b > 0, last=last)
                    if last:
                        out[head] = self.divide(task, head, top, bottom, v[vector])
        return out

    def divide(self, task: Task, head: int, top: FromFeed, bottom: FromFeed, v: Buffer) -> Buffer:
        own = math.exp(-SOFTMAX_SHIFT)
        root = task.op("rsqrt", task.op("add", bottom, own))
        reciprocal = task.op("mul", root, root)
        value = task.op("add", top, task.op("mul", FromBuffer(v), own))
        assert self.l.head_mask is not None
        slot = head % self.l.heads.per_vector
        o = task.op("mask", task.op("mul", value, reciprocal), FromBuffer(self.l.head_mask, slot))
        out = self.temp(f"o.h{head}", F16)
        task.out(o, out)
        return out

    def append(self, layer: int, k: list[Buffer], v: list[Buffer]) -> None:
        """Put the new key and value into the caches."""
        l, side = self.l, self.l.attention_side(layer)
        for vector in range(l.heads.n_kv):
            cache = l.k_cache[layer, vector]
            self.task("cache key").sxm = Append("scatter", k[vector], cache, maps=l.inputs["cache_row"])
            turned = self.temp(f"v.turned{vector}", F16, side)
            self.task("cache value").sxm = Append("rotate", v[vector], turned, maps=l.inputs["rotate"])
            target = l.v_cache[layer, vector, self.block]
            self.task("cache value").sxm = Append("lane", turned, target, mask=l.inputs["lane"], columns=target.rows)

    def feed_forward(self, layer: int, x: "_Hidden") -> "_Hidden":
        l, shape = self.l, self.shape
        r = self.norm_scalar(x, l.attention_side(layer))
        sources = [[b] for b in x.half]
        hidden = []
        for c in range(len(l.ffn)):
            gate = None
            if shape.gated:
                task, feed = self.product(f"{layer}.gate", c, sources, "gate")
                gate = self.temp(f"gate{c}", F32)
                task.out(self.activation(task, self.scaled(task, f"{layer}.gate", c, feed, r)), gate)
            task, feed = self.product(f"{layer}.up", c, sources, "up")
            node = self.scaled(task, f"{layer}.up", c, feed, r)
            node = self.activation(task, node) if gate is None else task.op("mul", node, FromBuffer(gate))
            h = self.temp(f"h{c}", F16)
            task.out(node, h)
            hidden.append([h])
        out = _Hidden()
        for c in range(len(l.hidden)):
            task, value = self.product(f"{layer}.down", c, hidden, "down")
            node = self.scaled(task, f"{layer}.down", c, value, None) if f"{layer}.down" in l.bias else value
            self.finish_hidden(task, task.op("add", node, FromBuffer(x.x[c])), c, out)
        return out

    def activation(self, task: Task, x: FromNode) -> FromNode:
        kind = self.shape.activation
        if kind == "relu":
            return task.op("relu", x)
        if kind == "silu":  # x / (1 + e⁻ˣ)
            root = task.op("rsqrt", task.op("add", task.op("exp", task.op("neg", x)), 1.0))
            return task.op("mul", x, task.op("mul", root, root))
        # ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))), also for the erf form (difference < 5e−4)
        inner = task.op("add", task.op("mul", task.op("mul", x, x), 0.044715), 1.0)
        t = task.op("tanh", task.op("mul", task.op("mul", inner, x), math.sqrt(2 / math.pi)))
        return task.op("mul", task.op("mul", task.op("add", t, 1.0), 0.5), x)

    def head(self, x: "_Hidden") -> None:
        r = self.norm_scalar(x, 0)
        sources = [[b] for b in x.half]
        for c in range(len(self.l.vocab)):
            task, feed = self.product("head", c, sources, "logits")
            task.out(self.scaled(task, "head", c, feed, r), self.l.outputs["logits"], c)


@dataclass(slots=True)
class _Hidden:
    """The residual stream between blocks, by chunk: f32, f16, the two parts of its square, and x − f16(x)."""

    x: list[Buffer] = field(default_factory=list)
    half: list[Buffer] = field(default_factory=list)
    high: list[Buffer] = field(default_factory=list)
    low: list[Buffer] = field(default_factory=list)
    rest: list[Buffer] = field(default_factory=list)
