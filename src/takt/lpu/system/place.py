"""A chip's share of a model in SRAM: what one program of a tensor-parallel group reads and writes, and where.

A program knows one slot of each kind: the attention of a layer, a part of its feed-forward, the caches of one user.
A chip holds many (layers, users); each lies in a *region* of the same size as the program's, elsewhere, and a program
runs on it by having its addresses moved. Nothing here reads weights: `fill` does, when a chip is really run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from takt.errors import CapacityError
from takt.lpu.compiler.image import Image
from takt.lpu.compiler.ir import Buffer
from takt.lpu.compiler.lanes import Lanes, plain
from takt.lpu.compiler.layout import Layout
from takt.lpu.compiler.matrices import Matrix
from takt.lpu.isa.table import Type
from takt.lpu.system.latent_lanes import LatentLanes, latent_lanes, latent_matrices
from takt.lpu.system.shards import Shard, columns
from takt.models import ModelShape

F32, F16, I8, U8 = Type.F32, Type.F16, Type.I8, Type.U8


Parts = tuple[int, int, int]
"""(first, count, of): which parts of something that is cut into `of` parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Words [first, end) of every weight slice, and [work_first, work_end) of every work slice, that move together."""

    name: str
    first: int
    end: int
    work_first: int
    work_end: int

    @property
    def words(self) -> int:
        """Words of a weight slice."""
        return self.end - self.first

    @property
    def work_words(self) -> int:
        """Words of a work slice."""
        return self.work_end - self.work_first


@dataclass(slots=True)
class SplitLayout(Layout):
    """The layout of one program of a group. `hidden` are the chip's own vectors; `state` lasts between programs."""

    shard: Shard = field(kw_only=True)
    whole: ModelShape = field(kw_only=True)
    state: dict[str, list[Buffer]] = field(default_factory=dict)
    factor: dict[str, Buffer] = field(default_factory=dict)
    tail_masks: list[Buffer] = field(default_factory=list)
    regions: dict[str, Region] = field(default_factory=dict)
    n_parts: int = 1  # chips that share a context: each has one of so many blocks
    latent: LatentLanes | None = None
    zero: Buffer | None = None  # a row of i8 zeros
    choice: dict[str, list[Buffer]] = field(default_factory=dict)  # constant rows of the router
    parts: Parts = (0, 1, 1)  # of the feed-forward
    stride: int = 0  # weight words from one expert to the next

    @property
    def part(self) -> tuple[int, int]:
        """Which blocks of 320 cached positions the chip has: of every n the i-th, as (i, n)."""
        return self.shard.rank % self.n_parts, self.n_parts

    @property
    def n_blocks(self) -> int:
        """Blocks of cached positions on the chip."""
        return -(-self.context // (self.lanes * self.n_parts))


def new_layout(
    whole: ModelShape,
    shard: Shard,
    image: Image,
    weights: Type,
    context: int,
    n_parts: int = 1,
) -> SplitLayout:
    """The part of a layout that all programs of a chip share: inputs, tables, constant tiles, state between programs."""
    out = SplitLayout(
        shape=shard.shape,
        whole=whole,
        shard=shard,
        image=image,
        hidden=shard.own,
        heads=shard.heads,
        ffn=shard.ffn,
        vocab=shard.vocab,
        weights=weights,
        context=context,
        n_parts=n_parts,
        chunk=1,
    )
    for side in (0, 1):
        image.ones(side)
    if shard.tail and shard.slots > 1:
        image.pattern("spread", 0, _spread(shard, out.lanes))
        masks = np.zeros((shard.slots, out.lanes), np.uint8)
        for slot in range(shard.slots):
            masks[slot, slot * shard.tail : (slot + 1) * shard.tail] = 1
        for slot in range(shard.slots):
            out.tail_masks.append(
                image.buffer(f"tail_mask{slot}", U8, 1, content=masks[slot : slot + 1])
            )
    heads = np.zeros((out.heads.per_vector, out.lanes), np.uint8)
    for slot in range(out.heads.per_vector):
        heads[slot, slot * whole.head_dim : (slot + 1) * whole.head_dim] = 1
    out.tables["head_mask"] = image.buffer("head_mask", U8, len(heads), content=heads)
    if whole.qk_norm:
        for side in (0, 1):
            image.head_ones(side, whole.head_dim)
    if whole.experts is not None:
        _choice_tables(out, whole.experts.n_experts, whole.experts.top_k)
        if whole.experts.n_groups > 1:
            _group_tables(out, whole.experts.n_experts, whole.experts.n_groups)
    _inputs(out)
    for name in ("x", "before"):
        out.state[name] = [image.buffer(f"{name}{c}", F32, 1) for c in range(shard.n_own)]
    return out


def _choice_tables(out: SplitLayout, n_experts: int, top_k: int) -> None:
    """Constant rows with which experts are ranked: one lane each, the lanes after each, the numbers of the slots."""
    n = min(n_experts, out.lanes)
    one = np.eye(n, out.lanes, dtype=np.uint8)
    after = (np.arange(n)[:, None] < np.arange(out.lanes)).astype(np.uint8)
    slots = np.repeat(np.arange(top_k, dtype=np.float32)[:, None], out.lanes, axis=1)
    for name, kind, rows in (("one", U8, one), ("after", U8, after), ("slot", F32, slots)):
        out.tables[name] = out.image.buffer(name, kind, len(rows), content=rows)
    out.image.pattern("count", 1, np.eye(out.lanes, dtype=np.float32), I8)
    out.zero = replace(
        out.image.zero_row(), type=I8, slices=out.image.zero_row().slices[:1], bases=(0,)
    )


def _group_tables(out: SplitLayout, n_experts: int, n_groups: int) -> None:
    """Constant rows with which groups of experts are ranked, and the tile that sums over each group."""
    group = np.full(out.lanes, -1)
    group[:n_experts] = np.arange(n_experts) * n_groups // n_experts
    here = group >= 0
    same = (group[:n_experts, None] == group) & here
    first = np.zeros((n_groups, out.lanes), np.uint8)
    first[np.arange(n_groups), np.arange(n_groups) * n_experts // n_groups] = 1
    after = (np.arange(n_groups)[:, None] < group) & here
    for name, rows in (("same", same), ("first", first), ("group_after", after)):
        out.tables[name] = out.image.buffer(name, U8, len(rows), content=rows.astype(np.uint8))
    block = (group[:, None] == group) & here[:, None] & here
    out.image.pattern("groups", 0, block.astype(np.float32))


def _spread(shard: Shard, lanes: int) -> np.ndarray:
    """[column, row]: column l takes row l mod tail, so that the tail lies in every slot."""
    block = np.zeros((lanes, lanes), np.float32)
    columns = np.arange(shard.slots * shard.tail)
    block[columns, columns % shard.tail] = 1.0
    return block


def _inputs(out: SplitLayout) -> None:
    image, shape = out.image, out.whole
    inputs = [("lane", U8, 1), ("rotate", F16, 1), ("cache_row", F16, 16)]
    if shape.position == "rope":
        inputs += [("rope_cos", F32, 1), ("rope_sin", F32, 1)]
    inputs += [(f"mask{w}", U8, out.n_blocks) for w in sorted({w or 0 for w in shape.windows})]
    for name, kind, rows in inputs:
        out.inputs[name] = image.buffer(name, kind, rows, hop=1)


# ------------------------------------------------------------------------------------------------------------- regions
_WORK_ROOM = 2048
"""Words of a work slice that look-up tables leave free."""

WORK_WORDS = 1024
"""Words of a work slice kept for the constants of everything that lies on a chip; intermediate results come above."""


def close(out: SplitLayout, common: int) -> None:
    """Keep the room for other constants, once everything of a program is placed; `common` is where they start."""
    for s in out.image.work_slices:
        out.image.next_word[s] = common + WORK_WORDS


def level(image: Image) -> tuple[int, int]:
    """Bring all weight slices to one height, and all work slices; the heights."""
    heights = []
    for group in (image.weight_slices, image.work_slices):
        top = max(image.next_word[s] for s in group)
        for s in group:
            image.next_word[s] = top
        heights.append(top)
    return heights[0], heights[1]


@contextmanager
def region(outs: Sequence[SplitLayout], name: str) -> Iterator[None]:
    """All that is placed inside, on any rank, is one region of the chip."""
    image = outs[0].image
    first, work_first = level(image)
    yield
    end, work_end = level(image)
    made = Region(name=name, first=first, end=end, work_first=work_first, work_end=work_end)
    for out in outs:
        out.regions[name] = made


def place_attention(out: SplitLayout) -> None:
    """Projections of a layer."""
    if out.whole.latent is not None:
        shard = out.shard
        out.latent = latent_lanes(out.whole, shard.rank, shard.n, out.lanes)
        _place(out, attention_matrices(out, 0))
        if out.weights is I8:
            row = out.image.constant_row("0.absorb0.factor", F32, 1, _blank(out))
            out.factor["0.absorb0"] = row
        return
    _place(out, attention_matrices(out, 0))
    if out.whole.attention_sinks:
        n_heads = len(out.heads.q) * out.heads.per_vector
        out.bias["0.sinks"] = [
            out.image.constant_row(f"sink{h}", F32, 1, _blank(out)) for h in range(n_heads)
        ]
    if out.whole.qk_norm:
        for part in ("q", "k"):
            for which in ("gain", "gain_swapped"):
                name = f"0.{part}.{which}"
                out.bias[name] = [out.image.constant_row(name, F32, 0, _blank(out))]


def place_caches(out: SplitLayout) -> None:
    """One user's keys and values of a layer."""
    side = out.attention_side(0)
    if out.latent is not None:
        for c, dims in enumerate(out.latent.latent):
            out.k_cache[0, c] = out.image.cache(f"k{c}", out.n_blocks * out.lanes, side)
            columns = max(16, int((dims >= 0).sum()))
            for b in range(out.n_blocks):
                out.v_cache[0, c, b] = out.image.cache(f"v{c}.{b}", columns, side)
        return
    for v in range(out.heads.n_kv):
        out.k_cache[0, v] = out.image.cache(f"k{v}", out.n_blocks * out.lanes, side)
        columns = int(np.max(np.nonzero(out.heads.v[v] != -1)[0])) + 1
        for b in range(out.n_blocks):
            out.v_cache[0, v, b] = out.image.cache(f"v{v}.{b}", columns, side)


def part_of(lanes: Lanes, parts: Parts) -> Lanes:
    """The vectors that some parts hold."""
    first, count, of = parts
    n = len(lanes)
    return lanes[first * n // of : (first + count) * n // of]


def rows_of(n_rows: int, parts: Parts) -> range:
    """The rows of a table that some parts hold."""
    first, count, of = parts
    return range(first * n_rows // of, (first + count) * n_rows // of)


def place_feed_forward(out: SplitLayout, parts: Parts) -> None:
    """Some parts of a layer's feed-forward."""
    out.ffn = part_of(out.shard.ffn, parts)
    _place(out, feed_forward_matrices(out, 0))


def place_experts(outs: Sequence[SplitLayout], parts: Parts) -> None:
    """The router and some experts of a layer: one expert is laid out, the others follow at equal distances."""
    image = outs[0].image
    for out in outs:
        experts = out.whole.experts
        assert experts is not None
        out.parts = parts
        out.ffn = columns(experts.hidden_dim, out.shard.rank, out.shard.n, out.lanes)
        router = router_matrix(out, 0)
        out.matrices[router.key] = router
        out.image.add_matrix(router, F16)
        _router_rows(out)
    first, _ = level(image)
    for out in outs:
        _place(out, expert_matrices(out, 0, 0))
    end, _ = level(image)
    count = len(rows_of(n_experts(outs[0].whole), parts))
    for s in image.weight_slices:
        image.next_word[s] += (count - 1) * (end - first)
        if image.next_word[s] > image.top[s]:
            raise CapacityError(f"{count} experts do not fit the weight slices")
    for out in outs:
        out.stride = end - first
        _place_shared(out)
        if out.whole.experts is not None and out.whole.experts.biases:
            _bias_tables(out, count)


def _bias_tables(out: SplitLayout, count: int) -> None:
    """Biases of the experts, one row each, looked up by the expert's number; `down` on the own shard only."""
    n_chunks = {"gate": len(out.ffn), "up": len(out.ffn), "down": out.shard.n_own}
    hop = 0
    for part, chunks in n_chunks.items():
        out.choice[f"{part}.bias"] = []
        for c in range(chunks):
            hop = hop % 3 + 1
            name = f"{part}.bias{c}"
            out.choice[f"{part}.bias"].append(out.image.buffer(name, F32, count, hop=hop))


def _place_shared(out: SplitLayout) -> None:
    """The experts that every token meets: their sums join those of the others, on the same planes."""
    for matrix in shared_matrices(out, 0):
        is_down = matrix.out is out.shard.out
        out.matrices[matrix.key] = matrix
        out.image.add_matrix(matrix, out.weights, beside="0.down" if is_down else "")
        if out.weights is I8 and not is_down:
            out.scale[matrix.key] = [
                out.image.constant_row(f"{matrix.key}.scale{c}", F32, 0, _blank(out))
                for c in range(len(matrix.out))
            ]


def n_experts(shape: ModelShape) -> int:
    """Routed experts of a layer, 0 without any."""
    return 0 if shape.experts is None else shape.experts.n_experts


def router_lanes(out: SplitLayout) -> Lanes:
    """Experts on lanes."""
    return plain(n_experts(out.whole), out.lanes)


def _router_rows(out: SplitLayout) -> None:
    """Constant rows of the choice of experts; what they hold is written by `fill`."""
    vectors = len(router_lanes(out))
    names = ["bias", "select", "high", "low", "within", "number"]
    for name in names:
        out.choice[name] = [
            out.image.constant_row(f"{name}{v}", F32, 0, _blank(out)) for v in range(vectors)
        ]


def router_matrix(out: SplitLayout, layer: int) -> Matrix:
    """Scores of the experts from the own shard."""
    ff = f"layers.{layer}.ffn"
    return Matrix("0.router", ff + ".router", router_lanes(out), out.shard.own, ff + ".norm")


def expert_matrices(out: SplitLayout, layer: int, expert: int) -> list[Matrix]:
    """Gate, up and down of one routed expert."""
    return _block(out, f"layers.{layer}.ffn", "experts", out.ffn, expert)


def shared_matrices(out: SplitLayout, layer: int) -> list[Matrix]:
    """Gate, up and down of the experts that every token meets; they go with the first part."""
    experts = out.whole.experts
    if experts is None or not experts.n_shared or out.parts[0]:
        return []
    lanes = columns(experts.shared_hidden_dim, out.shard.rank, out.shard.n, out.lanes)
    return _block(out, f"layers.{layer}.ffn", "shared", lanes, None)


def _block(out: SplitLayout, ff: str, name: str, lanes: Lanes, expert: int | None) -> list[Matrix]:
    prefix = "0.shared." if name == "shared" else "0."
    made = [
        Matrix(
            f"{prefix}{p}", f"{ff}.{name}.{p}", lanes, out.shard.into, ff + ".norm", index=expert
        )
        for p in ("gate", "up")
    ]
    down = Matrix(
        f"{prefix}down", f"{ff}.{name}.down", out.shard.out, lanes, n_bytes=3, index=expert
    )
    return [*made, down]


def place_head(out: SplitLayout, parts: Parts) -> None:
    """Some parts of the matrix of the logits, and their place."""
    out.vocab = part_of(out.shard.vocab, parts)
    _place(out, [head_matrix(out)])
    out.outputs["logits"] = out.image.buffer("logits", F32, len(out.vocab))


def place_embedding(out: SplitLayout, parts: Parts) -> None:
    """Some rows of the table of tokens, of the chip's own dimensions."""
    shape = out.whole
    n_rows = len(rows_of(shape.vocab_size, parts))
    blank = np.zeros((n_rows, 1), np.int8 if out.weights is I8 else np.float16)
    chunks = [np.broadcast_to(blank, (n_rows, out.lanes)) for _ in out.shard.own]
    if out.weights is I8:
        out.inputs["token_scale"] = out.image.buffer("token_scale", F32, 1, side=1, hop=1)
    out.embed = out.image.tables("embed", out.weights, chunks, _WORK_ROOM)
    for i in range(len(out.embed[0])):
        out.inputs[f"token{i}"] = out.image.buffer(f"token{i}", F16, 1, side=0, hop=1)
    if shape.position == "learned" and parts[0] == 0:
        rows = np.broadcast_to(np.zeros((out.context, 1), np.float16), (out.context, out.lanes))
        out.position = out.image.tables("position", F16, [rows for _ in out.shard.own], _WORK_ROOM)
        out.inputs["position"] = out.image.buffer("position", F16, 1, hop=1)


# ------------------------------------------------------------------------------------------------------------ matrices
def _biased(shape: ModelShape, tensor: str, norm: str) -> bool:
    part = ".".join(tensor.split(".")[-2:])
    return part in shape.biases or (bool(norm) and shape.norm == "layer")


def attention_matrices(out: SplitLayout, layer: int) -> list[Matrix]:
    """k, q, v and o of a layer; the keys name layer 0, which is how programs know them."""
    shape, shard = out.whole, out.shard
    if out.latent is not None:
        return latent_matrices(shape, shard.into, shard.out, out.latent, layer)
    at = f"layers.{layer}.attn"
    norm = at + ".norm"
    scale = shape.attention_scale if not shape.qk_norm else 1.0
    pairs = shape.position == "rope"
    made = [
        Matrix(
            f"0.{part}",
            f"{at}.{part}",
            lanes,
            shard.into,
            norm,
            factor=scale if part == "q" else 1.0,
            pairs=pairs and part != "v",
            bias=(part != "v" or shape.attention_sinks) and _biased(shape, f"{at}.{part}", norm),
        )
        for part, lanes in (("k", shard.heads.k), ("q", shard.heads.q), ("v", shard.heads.v))
    ]
    # Softmax weights add up to 1, so that a bias of the values can be added behind it; with sinks they do not.
    values = made[-1] if _biased(shape, at + ".v", norm) and not shape.attention_sinks else None
    biased = _biased(shape, at + ".o", "") or values is not None
    made.append(Matrix("0.o", at + ".o", shard.out, shard.heads.o, into_values=values, bias=biased))
    return made


def feed_forward_matrices(out: SplitLayout, layer: int) -> list[Matrix]:
    """Gate, up and down of (a part of) a layer's feed-forward."""
    shape, shard = out.whole, out.shard
    ff = f"layers.{layer}.ffn"
    norm = ff + ".norm"
    parts = ("gate", "up") if shape.gated else ("up",)
    made = [
        Matrix(
            f"0.{part}",
            f"{ff}.{part}",
            out.ffn,
            shard.into,
            norm,
            bias=_biased(shape, f"{ff}.{part}", norm),
        )
        for part in parts
    ]
    halved = 0.5 if shape.activation in ("gelu", "gelu_tanh") else 1.0
    made.append(
        Matrix(
            "0.down",
            ff + ".down",
            shard.out,
            out.ffn,
            weight_factor=halved,
            n_bytes=3 if shape.gated else 2,
            bias=_biased(shape, ff + ".down", ""),
        )
    )
    return made


def head_matrix(out: SplitLayout) -> Matrix:
    """The matrix of the logits, with the final norm."""
    norm = "final.norm"
    bias = out.whole.norm == "layer"
    return Matrix("head", "head", out.vocab, out.shard.into, norm, bias=bias)


def _blank(out: SplitLayout) -> np.ndarray:
    return np.zeros((1, out.lanes), np.float32)


def _place(out: SplitLayout, matrices: list[Matrix]) -> None:
    """Tiles of the matrices, and rows for their biases, scales and the factors that activations are quantised by."""
    image, i8 = out.image, out.weights is I8
    for matrix in matrices:
        out.matrices[matrix.key] = matrix
        image.add_matrix(matrix, out.weights)
        reduced = matrix.out is out.shard.out  # only the own shard's sums get scaled
        n_rows = out.shard.n_own if reduced else len(matrix.out)
        names = [f"{matrix.key}.scale"] if i8 else []
        names += [f"{matrix.key}.bias"] if matrix.bias else []
        if matrix.bias and matrix.pairs and out.shape.position == "rope":
            names.append(f"{matrix.key}.swapped")
        for name in names:
            side = 1 if name.endswith(".bias") else 0
            rows = [image.constant_row(f"{name}{c}", F32, side, _blank(out)) for c in range(n_rows)]
            if name.endswith(".scale"):
                out.scale[matrix.key] = rows
            else:
                out.bias[name.removesuffix(".bias")] = rows
        if i8 and reduced:
            out.factor[matrix.key] = image.constant_row(f"{matrix.key}.factor", F32, 1, _blank(out))
