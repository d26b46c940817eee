"""The lower pass of an encoder on many chips: programs that look up, run one layer, or pool.

A chip works on `rows` rows of its own out of all rows of a sequence. For a layer it needs all of them in `state`, its
own first; it makes keys and values of all, everything else of its own, and leaves its own rows of the next layer in
`state`. The order of the others does not matter: attention is a sum. Where rows come from, and who holds the others, is
not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from takt.lpu.compiler.blocks import SQUARE_BAND, Hidden, Operand
from takt.lpu.compiler.ir import Accumulator, Buffer, FromBuffer, FromNode, Plan, Source, Task, Tile
from takt.lpu.compiler.lower import Encode
from takt.lpu.isa.table import Type
from takt.lpu.system.encoder_place import EncoderLayout

F32, F16, I8 = Type.F32, Type.F16, Type.I8


class EncoderStep(Encode):
    """One program; `rows` are the chip's own."""

    layout: EncoderLayout

    def __init__(self, layout: EncoderLayout, name: str, rows: int) -> None:
        super().__init__(layout)
        self.plan.name = name
        self.rows = rows
        self._together: dict[int, Buffer] = {}

    # ------------------------------------------------------------------------------------------------------ programs
    def look_up(self) -> Plan:
        """Tokens to rows."""
        x = self.embed([FromBuffer(shards[0]) for shards in self.layout.position])
        self.leave(x, "embed.norm")
        return self.plan

    def layer_of(self) -> Plan:
        """Rows to the rows of the next layer."""
        self.layer = 0
        with self.all_rows():
            x = self.rebuilt("embed.norm")
        x = self.normalised(self.attend(x), "layers.0.attn.norm")
        sources: list[list[Operand]] = [[p] for p in x.parts] or [[(b,)] for b in x.half]
        hidden = self.feed_forward(0, sources, None)
        self.leave(self.residual("0.down", hidden, x, "down"), "layers.0.ffn.norm")
        return self.plan

    def pooled(self) -> Plan:
        """Rows to one vector."""
        self.pool(self.rebuilt(""))
        return self.plan

    @contextmanager
    def all_rows(self) -> Iterator[None]:
        """What is built inside is built for all rows of the sequence."""
        own, self.rows = self.rows, self.layout.chunk
        yield
        self.rows = own

    # --------------------------------------------------------------------------------------------------------- state
    def rebuilt(self, norm: str) -> Hidden:
        """The rows as numbers, from `state`: f32, as both residual and values take them. `norm` "" is the last norm."""
        layout, out = self.layout, Hidden()
        for c, state in enumerate(layout.state):
            task = self.task("rebuild")
            if layout.weights is F16:
                node = task.op("mov", FromBuffer(state[0]))
            else:
                gain, shift = (
                    layout.bias[f"{norm}.{part}"][c] if norm else layout.last[part][c]
                    for part in ("weight", "bias")
                )
                step = layout.bounds["0.q"] / layout.matrices["0.q"].levels
                high = task.op("mul", task.op("itof", FromBuffer(state[0])), 256 * step)
                low = task.op("mul", task.op("itof", FromBuffer(state[1])), step)
                node = task.op("mul", task.op("add", high, low), FromBuffer(gain, fixed_row=True))
                node = task.op("add", node, FromBuffer(shift, fixed_row=True))
            x = self.temp(f"x{c}", F32)
            task.out(node, x)
            out.x.append(x)
        return out

    def leave(self, x: Hidden, name: str) -> None:
        """LayerNorm of the own rows, into `state`: i8 weights take it without gain and shift, as bytes."""
        layout = self.layout
        scalar, shift = self.norm_scalars(x)
        for c, state in enumerate(layout.state):
            task = self.task("norm")
            scaled = task.op("mul", FromBuffer(x.x[c]), FromBuffer(scalar))
            # In the other hemisphere, since `state` cannot avoid the slices of what it is made of.
            away = 1 - int(state[0].slices[0][0] >= layout.image.g.n_side)
            centred = self.temp(f"centred{c}", F32, away)
            task.out(task.op("sub", scaled, FromBuffer(shift)), centred)
            task = self.task("norm")
            if layout.weights is I8:
                factor = layout.matrices["0.q"].levels / layout.bounds["0.q"]
                self.quantise(task, FromBuffer(centred), factor, state)
                continue
            gain, beta = (layout.bias[f"{name}.{part}"][c] for part in ("weight", "bias"))
            node = task.op("mul", FromBuffer(centred), FromBuffer(gain, fixed_row=True))
            task.out(task.op("add", node, FromBuffer(beta, fixed_row=True)), state[0])

    def moments(self, x: Hidden, side: int, label: str) -> tuple[Task, FromNode, FromNode | None]:
        """As `Builder.moments`: squares are summed in one hemisphere and means in the other, side by side."""
        squares, means = (self.layout.image.ones(s) for s in (side, 1 - side))
        high, low, mean = (Accumulator(self.rows) for _ in range(3))
        inverse = 1.0 / self.shape.dim
        for sources, group, tile in ((x.high, high, squares), (x.low, low, squares)):
            for i, source in enumerate(sources[:-1]):
                self.task(label).feed(tile, source, group, add=i > 0, last=False)
        for i, source in enumerate((*x.half, *x.rest[:-1])):
            self.task(label).feed(means, source, mean, add=i > 0, last=False)
        task, kept = self.task(label), self.temp("mean", F32)
        task.out(task.op("mul", task.feed(means, x.rest[-1], mean, add=True), inverse), kept)
        task, more = self.task(label), len(x.high) > 1
        upper = task.op("mul", task.feed(squares, x.high[-1], high, add=more), SQUARE_BAND)
        total = task.op("add", upper, task.feed(squares, x.low[-1], low, add=more))
        square = self.temp("square", F32)
        task.out(task.op("mul", total, inverse), square)
        task = self.task(label)
        return task, task.op("mov", FromBuffer(square)), task.op("mov", FromBuffer(kept))

    def norm_scalars(self, x: Hidden) -> tuple[Buffer, Buffer]:
        """1/√(variance + ε) of each row, and mean times that, in every lane."""
        task, square, mean = self.moments(x, 0, "norm")
        assert mean is not None
        root = self.inverse_root(task, square, mean)
        scalar, shift = self.temp("r", F32), self.temp("r_mean", F32)
        task.out(root, scalar)
        task.out(task.op("mul", mean, root), shift)
        return scalar, shift

    # ----------------------------------------------------------------------------------------------------- attention
    def attend(self, x: Hidden) -> Hidden:
        """The attention part: keys and values of all rows, everything else of the own."""
        layout, heads = self.layout, self.layout.heads
        sources: list[list[Operand]] = [[parts] for parts in layout.state]
        with self.all_rows():
            keys = [self.projected("k", c, sources) for c in range(heads.n_kv)]
            self.value_columns(x)
        queries = [self.projected("q", c, sources) for c in range(len(heads.q))]
        split = self.split_heads(queries, keys)
        outputs: dict[int, Operand] = {}
        seen = FromBuffer(layout.inputs["seen"], fixed_row=True)
        for vector, mine in self.vectors():
            ones = layout.image.ones(1 - layout.vector_side(0, vector))
            tile = layout.k_tile(0, vector, 0, (layout.k_cache[0, vector],))
            weights = [self.scores(tile, ones, mine, split, seen)]
            values = layout.v_tile(0, vector, 0, (layout.v_cache[0, vector, 0],))
            outputs |= self.mix([values], ones, mine, weights, None, "0.o")
        return self.residual("0.o", self.by_chunk(outputs), x, "attention out")

    def projected(self, which: str, c: int, sources: list[list[Operand]]) -> Buffer:
        """One vector of keys (which also become columns of a tile) or queries."""
        task, value = self.key_or_query(f"0.{which}", c, sources, None, None, None)
        node = value if isinstance(value, FromNode) else task.op("mov", value)
        out = self.temp(f"{which}{c}", F16)
        task.out(node, out)
        if which == "k":
            task.out(node, self.layout.k_cache[0, c])
        return out

    def value_columns(self, x: Hidden) -> None:
        """Values of all rows, already transposed: rows of the value matrix pass through tiles of the rows."""
        layout = self.layout
        tiles = [self.row_tiles(x, side) for side in (0, 1)]
        for vector in range(layout.heads.n_kv):
            cache = layout.v_cache[0, vector, 0]
            group = Accumulator(cache.rows)
            mine = tiles[layout.vector_side(0, vector)]
            for c, tile in enumerate(mine):
                weights = layout.image.tiles["0.v", vector, c]
                half = len(weights.slices) // 2
                source = Buffer(
                    "v_rows",
                    F16,
                    rows=cache.rows,
                    fixed=True,
                    slices=(weights.slices[:half], weights.slices[half:]),
                    bases=(weights.base,) * 2,
                )
                task = self.task("values", rows=cache.rows)
                feed = task.feed(tile, source, group, add=c > 0, last=c == len(mine) - 1)
            task.out(task.op("mov", feed), cache)

    def row_tiles(self, x: Hidden, side: int) -> list[Tile]:
        """The rows as weight tiles of a hemisphere, column = row."""
        tiles = []
        for c, rows in enumerate(x.x):
            target = self.layout.columns[side, c]
            task = self.task("columns")
            task.out(task.op("mov", FromBuffer(rows)), target)
            tiles.append(
                Tile(
                    f"columns{side}.{c}",
                    F16,
                    side,
                    self.rows // 16,
                    slices=target.slices[0] + target.slices[1],
                    base=target.bases[0],
                    sources=(target,),
                )
            )
        return tiles

    def divide(
        self, task: Task, head: int, top: Source, bottom: Source, v: Buffer | None, key: str
    ) -> Operand:
        """As `Builder.divide`; heads that share a vector come together in it, since they lie on lanes of their own.

        Only the last of them gives what the output projection multiplies.
        """
        per_vector = self.layout.heads.per_vector
        chunk, slot = divmod(head, per_vector)
        root = task.op("rsqrt", bottom)
        mask = FromBuffer(self.layout.tables["head_mask"], slot, fixed_row=True)
        node = task.op("mask", task.op("mul", top, task.op("mul", root, root)), mask)
        if chunk in self._together:
            node = task.op("add", node, FromBuffer(self._together[chunk]))
        if head == self.heads_of(chunk)[-1]:
            return self.operand(task, node, f"o{chunk}", key)
        self._together[chunk] = self.temp(f"o{chunk}.{slot}", F16)
        task.out(node, self._together[chunk])
        return ()

    def by_chunk(self, outputs: dict[int, Operand]) -> list[list[Operand]]:
        """What the output projection multiplies: one operand a vector."""
        return [[outputs[self.heads_of(c)[-1]]] for c in range(len(self.layout.heads.o))]

    # ------------------------------------------------------------------------------------------------------ products
    def operand(self, task: Task, value: FromNode, name: str, key: str) -> Operand:
        """As `Builder.operand`; the factor of fixed-point values is a row in SRAM, since it differs by layer."""
        if self.layout.weights is F16:
            return super().operand(task, value, name, key)
        source: Source = value
        if self.rows > 1 and len(task.nodes) > 1:
            half = self.temp(name, F16)
            task.out(value, half)
            task, source = self.task("quantise"), FromBuffer(half)
        scaled = task.op("mul", source, FromBuffer(self.layout.factor[key], fixed_row=True))
        n_bytes = self.layout.matrices[key].n_bytes
        parts = tuple(self.temp(f"{name}.byte{i}", I8) for i in range(n_bytes))
        self.quantise(task, scaled, 1.0, parts)
        return parts
