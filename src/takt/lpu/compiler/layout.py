"""A model's place on a chip: tiles, caches, tables, inputs and outputs, shared by all its programs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from takt.lpu.compiler.image import Image, lanes_of
from takt.lpu.compiler.ir import Buffer, Tile
from takt.lpu.compiler.lanes import HeadLanes, Lanes, head_lanes, plain, rope_rows
from takt.lpu.compiler.matrices import HIGH, Matrix, activation_bounds, model_matrices
from takt.lpu.compiler.packs import Packs, place_packs
from takt.lpu.isa.table import Type
from takt.models import Model, ModelShape, rope_frequencies

F32, F16, I8, U8 = Type.F32, Type.F16, Type.I8, Type.U8

MAX_CHUNK = 64
"""Most prompt positions one program takes; fewer if all heads of a key vector would not fit the accumulators."""

_KEY_STEP = 2.0**-18
"""What a step of an encoder's i8 key sums counts for: they reach about 10⁸, and are stored as f16."""

_ROOM_PER_ROW = (
    14  # words of a work slice that tables leave free for each position worked on together
)


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
    context: int
    chunk: int  # prompt positions (decoder) or sequence positions (encoder) of one program
    matrices: dict[str, Matrix] = field(default_factory=dict)
    bias: dict[str, list[Buffer]] = field(default_factory=dict)
    scale: dict[str, list[Buffer]] = field(
        default_factory=dict
    )  # i8 weights: what an accumulator step is worth
    factors: dict[str, float] = field(
        default_factory=dict
    )  # i8 weights: the same where it is one for all outputs
    bounds: dict[str, float] = field(
        default_factory=dict
    )  # i8 weights: largest activation of each matrix
    embed: list[list[Buffer]] = field(default_factory=list)  # [chunk][shard]
    embed_scale: np.ndarray | None = None  # i8 weights: what a step of each row is worth
    position: list[list[Buffer]] = field(default_factory=list)
    tables: dict[str, Buffer] = field(default_factory=dict)
    k_cache: dict[tuple[int, int], Buffer] = field(default_factory=dict)  # layer, key vector
    v_cache: dict[tuple[int, int, int], Buffer] = field(
        default_factory=dict
    )  # layer, key vector, block
    columns: dict[tuple[int, int], Buffer] = field(
        default_factory=dict
    )  # side, hidden chunk: rows as MXM columns
    packs: Packs | None = None  # of an encoder: its attention
    inputs: dict[str, Buffer] = field(default_factory=dict)
    outputs: dict[str, Buffer] = field(default_factory=dict)

    @property
    def n_blocks(self) -> int:
        """Blocks of 320 cached positions."""
        return -(-self.context // self.image.g.lanes)

    @property
    def lanes(self) -> int:
        """Lanes of a vector."""
        return self.image.g.lanes

    def attention_side(self, layer: int) -> int:
        """The hemisphere whose MXM holds a layer's keys and values; the other sums with ones."""
        return layer % 2

    def k_tile(self, layer: int, vector: int, block: int, after: tuple[Buffer, ...] = ()) -> Tile:
        """Keys of one block as a weight tile: column = position."""
        k, groups = self.k_cache[layer, vector], self.lanes // 16
        return Tile(
            f"{layer}.K[{vector},{block}]",
            F16,
            self.attention_side(layer),
            min(groups, k.rows // 16),
            slices=k.slices[0] + k.slices[1],
            base=k.bases[0] + block * groups,
            sources=after,
        )

    def v_tile(self, layer: int, vector: int, block: int, after: tuple[Buffer, ...] = ()) -> Tile:
        """Values of one block as a weight tile: row = position, column = lane of the value vector."""
        v = self.v_cache[layer, vector, block]
        return Tile(
            f"{layer}.V[{vector},{block}]",
            F16,
            self.attention_side(layer),
            -(-v.rows // 16),
            slices=v.slices[0] + v.slices[1],
            base=v.bases[0],
            sources=after,
        )


def lay_out(model: Model, image: Image, weights: Type, context: int) -> Layout:
    """Place a model for contexts (decoder) or sequences (encoder) of up to `context` positions."""
    packed = model.shape.family == "encoder"
    out = start_layout(model.shape, image, weights, context, packed=packed)
    if out.packs is not None:  # rows first: look-up tables take what is left
        lay_layers(out, model)
        lay_embedding(out, model)
        return out
    lay_embedding(out, model)
    lay_layers(out, model)
    lay_caches(out)
    return out


def start_layout(
    shape: ModelShape,
    image: Image,
    weights: Type,
    context: int,
    *,
    kind: type[Layout] = Layout,
    packed: bool = False,
) -> Layout:
    """What all models have: lanes, tables of masks and angles, inputs and outputs. Reads no weights.

    `packed`: of an encoder, for several heads in a tile (`packs`).
    """
    lanes = image.g.lanes
    heads = head_lanes(shape, lanes, even=packed)
    in_vector = heads.group * min(heads.per_vector, shape.n_kv_heads)
    chunk = max(16, min(MAX_CHUNK, image.g.entries // in_vector // 16 * 16))
    if shape.family == "encoder":
        context = chunk = -(-context // 16) * 16
    out = kind(
        shape=shape,
        image=image,
        hidden=plain(shape.dim, lanes),
        heads=heads,
        ffn=plain(shape.hidden_dim, lanes),
        vocab=plain(shape.vocab_size, lanes),
        weights=weights,
        context=context,
        chunk=chunk,
    )
    for side in (0, 1):
        image.ones(side)
    _tables(out)
    if packed:
        image.identity(0)
        out.packs = place_packs(image, heads, shape.n_heads, shape.head_dim, chunk)
    _inputs(out)
    return out


def lay_layers(out: Layout, model: Model) -> None:
    """Matrices and norms of all layers."""
    if out.packs is not None:
        _encoder(out, model)
        return
    _matrices(out, model)
    if out.shape.norm_place == "post":
        _norms(out, model)
    if out.shape.qk_norm:
        _head_norms(out, model)


def lay_caches(out: Layout) -> None:
    """Keys, values and rows as columns of tiles."""
    image = out.image
    if out.shape.family == "encoder":
        image.identity(0)
    for side in (0, 1):
        for c in range(len(out.hidden)):
            out.columns[side, c] = image.cache(f"columns{side}.{c}", out.chunk, side)
    for layer in range(out.shape.n_layers):
        for v in range(out.heads.n_kv):
            _cache(out, layer, v)


def _tables(out: Layout) -> None:
    """Constant vectors: head masks, which cached positions a position sees, rotary angles."""
    image, lanes, shape, heads = out.image, out.lanes, out.shape, out.heads
    masks = np.zeros((heads.per_vector, lanes), np.uint8)
    for slot in range(heads.per_vector):
        masks[slot, slot * shape.head_dim : (slot + 1) * shape.head_dim] = 1
    out.tables["head_mask"] = image.buffer("head_mask", U8, heads.per_vector, content=masks)
    if shape.family == "decoder":
        where = np.arange(lanes)
        for window in sorted({w or 0 for w in shape.windows} | {0}):  # prompt chunks always need 0
            reach = np.arange(lanes + min(window or 0, out.context) + 1)[:, None]
            seen = (where < reach) & ((where > reach - window) if window else True)
            out.tables[f"seen{window}"] = image.buffer(
                f"seen{window}", U8, len(reach), content=seen.astype(np.uint8)
            )
    if shape.position == "rope":
        rows = (
            -(-out.context // out.chunk) * out.chunk
        )  # the last chunk may reach beyond the context
        cos, sin = rope_rows(shape, lanes, np.arange(rows), rope_frequencies(shape))
        out.tables["cos"] = image.buffer("cos", F32, rows, content=cos)
        out.tables["sin"] = image.buffer("sin", F32, rows, content=sin)


def _inputs(out: Layout) -> None:
    image, shape = out.image, out.shape
    if shape.family == "decoder":
        decode = [("lane", U8, 1), ("rotate", F16, 1), ("cache_row", F16, 16)]
        if shape.position == "rope":
            decode += [("rope_cos", F32, 1), ("rope_sin", F32, 1)]
        else:
            decode += [("position", F16, 1)]
        decode += [(f"mask{w}", U8, out.n_blocks) for w in sorted({w or 0 for w in shape.windows})]
        for name, kind, rows in decode:
            out.inputs[name] = image.buffer(name, kind, rows, hop=1)
        out.outputs["logits"] = image.buffer("logits", F32, len(out.vocab))
    else:
        if out.packs is None:
            out.inputs["seen"] = image.buffer("seen", U8, 1, hop=1)
        for side in (0, 1) if out.packs is not None else ():
            out.inputs[f"seen{side}"] = image.constant_row(f"seen{side}", U8, 0, None, 11 - side)
        out.inputs["share"] = image.buffer("share", F32, out.chunk)
        for name in ("pooled", "first"):
            out.outputs[name] = image.buffer(name, F32, len(out.hidden))


def _cache(out: Layout, layer: int, v: int) -> None:
    image, side = out.image, out.attention_side(layer)
    rows = out.n_blocks * out.lanes if out.shape.family == "decoder" else out.chunk
    out.k_cache[layer, v] = image.cache(f"{layer}.k_cache{v}", rows, side)
    columns = int(np.max(np.nonzero(out.heads.v[v] >= 0)[0])) + 1
    for b in range(out.n_blocks):
        out.v_cache[layer, v, b] = image.cache(f"{layer}.v_cache{v}.{b}", columns, side)


def lay_embedding(out: Layout, model: Model) -> None:
    """Look-up tables of tokens (i8 with a scale a row that the host writes, if weights are i8) and positions (f16)."""
    shape, room = out.shape, _ROOM_PER_ROW * out.chunk
    table = model.tensor("embed.weight")
    if out.weights is I8:
        out.embed_scale = (np.abs(table).max(axis=1) / 127).astype(np.float32)
        table = np.rint(table / np.where(out.embed_scale > 0, out.embed_scale, 1)[:, None]).astype(
            np.int8
        )
        out.inputs["token_scale"] = out.image.buffer("token_scale", F32, out.chunk, side=1, hop=1)
    out.embed = out.image.tables("embed", out.weights, _laid(out, table, out.weights), room)
    for i in range(len(out.embed[0])):
        side = i % 2 if shape.family == "encoder" else 0
        out.inputs[f"token{i}"] = out.image.buffer(f"token{i}", F16, out.chunk, side=side, hop=1)
    if shape.position == "learned":
        positions = model.tensor("position.weight")[: out.context]
        if shape.n_token_types:  # every token is of type 0: its row joins the position's
            positions = positions + model.tensor("token_type.weight")[0]
        positions = np.pad(
            positions, ((0, -len(positions) % out.chunk), (0, 0))
        )  # the last chunk may reach beyond
        rows = _laid(out, positions, F16)
        if (
            shape.family == "encoder"
        ):  # read in order, without look-up, and together with the tokens' scales
            out.position = [
                [out.image.buffer(f"position{c}", F16, len(content), side=0, content=content)]
                for c, content in enumerate(rows)
            ]
            return
        out.position = out.image.tables("position", F16, rows, room)


def _laid(out: Layout, table: np.ndarray, type_: Type) -> list[np.ndarray]:
    """Rows of a table on lanes, by hidden chunk."""
    chunks = []
    for dims in out.hidden:
        content = np.zeros((len(table), len(dims)), np.int8 if type_ is I8 else np.float16)
        rows = table[:, dims[dims >= 0]]
        content[:, dims >= 0] = rows if type_ is I8 else rows.clip(-65504, 65504)
        chunks.append(content)
    return chunks


def _matrices(out: Layout, model: Model) -> None:
    image, i8 = out.image, out.weights is I8
    everything = model_matrices(out.shape, out.hidden, out.heads, out.ffn, out.vocab, i8=i8)
    out.matrices = {matrix.key: matrix for matrix in everything}
    if i8:
        out.bounds = activation_bounds(model, out.matrices)
    for matrix in everything:
        layer, _, part = matrix.key.partition(".")
        if (
            part == "v"
        ):  # a prompt's values are made with these rows as f16 activations, on the attention side
            image.add_matrix(matrix, F16, out.attention_side(int(layer)))
            continue
        image.add_matrix(matrix, out.weights)
        if i8:
            step = matrix.scales(matrix.folded(model)) * np.float32(
                out.bounds[matrix.key] / matrix.levels
            )
            out.scale[matrix.key] = _rows(out, f"{matrix.key}.scale", lanes_of(matrix.out, step), 0)
        bias = matrix.folded_bias(model) if matrix.bias else None
        if bias is not None:
            rows = lanes_of(matrix.out, bias)
            out.bias[matrix.key] = _rows(out, f"{matrix.key}.bias", rows, 1)
            if part in ("q", "k") and out.shape.position == "rope":
                swapped = rows.reshape(-1, out.lanes // 2, 2)[..., ::-1].reshape(-1, out.lanes)
                out.bias[matrix.key + ".swapped"] = _rows(
                    out, f"{matrix.key}.bias_swapped", swapped, 0
                )


def _norms(out: Layout, model: Model) -> None:
    """Gains and shifts of norms whose result is itself the residual (post-norm models); f16, to need fewer slices."""
    names = ["embed.norm"] if out.shape.embedding_norm else []
    for n in range(out.shape.n_layers):
        names += [f"layers.{n}.attn.norm", f"layers.{n}.ffn.norm"]
    for name in names:
        for part in ("weight", "bias"):
            values = lanes_of(out.hidden, model.tensor(f"{name}.{part}"))
            out.bias[f"{name}.{part}"] = _rows(
                out, f"{name}.{part}", values, int(part == "bias"), F16
            )


def _encoder(out: Layout, model: Model) -> None:
    """Matrices, constant rows and attention of an encoder (see `encode`).

    Rows that are read for tiles of one side lie in other slices than those for tiles of the other.
    """
    image, shape, i8 = out.image, out.shape, out.weights is I8
    everything = model_matrices(
        shape, out.hidden, out.heads, out.ffn, out.vocab, i8=i8, folded=True
    )
    out.matrices = {matrix.key: matrix for matrix in everything}
    if i8:
        out.bounds = activation_bounds(model, out.matrices)
    step = HIGH / out.bounds["0.q"] if i8 else 1.0
    for n in range(shape.n_layers):
        before = f"layers.{n - 1}.ffn.norm" if n else "embed.norm"
        for part, norm in (
            ("k", ""),
            ("q", ""),
            ("v", ""),
            ("o", before),
            ("up", ""),
            ("down", f"layers.{n}.attn.norm"),
        ):
            matrix = out.matrices[f"{n}.{part}"]
            bank = None if image.compact else int(part in ("up", "down"))
            image.add_matrix(matrix, out.weights, twin=i8, bank=bank, across=part == "down")
            _encoder_rows(out, model, matrix, norm, step)
    names = [
        "embed.norm",
        *(f"layers.{n}.{p}.norm" for n in range(shape.n_layers) for p in ("attn", "ffn")),
    ]
    for name in names:
        gain = lanes_of(out.hidden, model.tensor(f"{name}.weight"))
        out.bias[f"{name}.weight"] = _rows(out, f"{name}.weight", gain, 0, F16, place=4)
    shift = lanes_of(out.hidden, model.tensor(f"{names[-1]}.bias"))
    out.bias[f"{names[-1]}.bias"] = _rows(out, f"{names[-1]}.bias", shift, 1)


def _encoder_rows(out: Layout, model: Model, matrix: Matrix, norm: str, step: float) -> None:
    """A matrix's constant rows, by output chunk: its weight scales, and its bias; with `norm`, for a sum with the
    normed rows times `step`, the scales times that, and `.base`: bias and the norm's shift.
    """
    key = matrix.key
    sides = [out.image.tiles[key, c, 0].side for c in range(len(matrix.out))]
    factor = np.full(len(matrix.folded(model)), step if norm else 1.0, np.float32)
    layer, _, part = key.partition(".")
    if out.weights is I8:
        scale = matrix.scales(matrix.folded(model)) * np.float32(out.bounds[key] / matrix.levels)
        if part == "k":  # queries take over what differs from key to key
            out.factors[key] = _KEY_STEP
            return
        if part == "q":
            keys = out.matrices[f"{layer}.k"]
            worth = out.bounds[keys.key] / (keys.levels * _KEY_STEP)
            factor *= keys.scales(keys.folded(model)) * np.float32(worth)
        out.scale[key] = _by_side(
            out, f"{key}.scale", lanes_of(matrix.out, scale * factor), sides, 0
        )
    if part == "k":  # its bias adds the same to all scores of a query
        return
    bias = matrix.folded_bias(model) if matrix.bias else None
    if norm:
        shift = model.tensor(f"{norm}.bias")
        shift = (shift if bias is None else shift + bias) * factor
        out.bias[f"{key}.base"] = _rows(out, f"{key}.base", lanes_of(matrix.out, shift), 1)
    elif bias is not None:
        others = [1 - side for side in sides]
        out.bias[key] = _by_side(out, f"{key}.bias", lanes_of(matrix.out, bias * factor), others, 1)


def _by_side(
    out: Layout, name: str, rows: np.ndarray, sides: list[int], place: int
) -> list[Buffer]:
    return [
        out.image.constant_row(f"{name}{c}", F32, side, rows[c : c + 1], place)
        for c, side in enumerate(sides)
    ]


def _head_norms(out: Layout, model: Model) -> None:
    """Gains of per-head norms on lanes, and those of the rotary partners; the queries' include the attention scale."""
    shape, heads = out.shape, out.heads
    for side in (0, 1):
        out.image.head_ones(side, shape.head_dim)
    for n in range(shape.n_layers):
        for part, lanes, factor in (("q", heads.q, shape.attention_scale), ("k", heads.k, 1.0)):
            gain = model.tensor(f"layers.{n}.attn.{part}_norm.weight") * np.float32(factor)
            row = np.where(lanes[:1] >= 0, gain[lanes[:1] % shape.head_dim], 0).astype(np.float32)
            swapped = row.reshape(-1, 2)[:, ::-1].reshape(1, -1)
            out.bias[f"{n}.{part}.gain"] = _rows(out, f"{n}.{part}.gain", row, 0)
            out.bias[f"{n}.{part}.gain_swapped"] = _rows(
                out, f"{n}.{part}.gain_swapped", swapped, 0
            )


def _rows(
    out: Layout, name: str, rows: np.ndarray, side: int, type_: Type = F32, place: int = 0
) -> list[Buffer]:
    return [
        out.image.constant_row(f"{name}{c}", type_, side, rows[c : c + 1], place)
        for c in range(len(rows))
    ]
