"""The matrices a model needs on the chip, with everything foldable folded in: norm gains, centring, attention scale.

`r` below is the norm's scalar per token, applied to the product afterwards (a dot product is linear), which takes the
norm off the critical path. LayerNorm: W·γ(x−μ)·r + Wβ = r·(W γ − mean) x + Wβ, so centring is folded into W.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.lpu.compiler.lanes import HeadLanes, Lanes
from takt.models import Model, ModelShape

F32 = NDArray[np.float32]

LEVELS = {2: 32512, 3: 127 * 65536}
"""Largest fixed-point magnitude of activations held in 2 or 3 signed bytes (highest byte at most 127)."""

MARGIN = 1.01
"""Activations may be larger than what bounds them by f16 rounding on the way to the product."""

HIGH = 127.0
"""Largest high byte of a fixed-point number of two bytes."""

CUBIC = (math.sqrt(2 / math.pi) * 0.044715) ** (1 / 3)
"""What an encoder's hidden rows are multiplied by, in the matrix, so that the cubic term of gelu has no factor."""


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """One [out, in] matrix: its tensor, its norm (folded into it, "" for none), a factor, and lanes on both sides."""

    key: str
    tensor: str
    out: Lanes
    into: Lanes
    norm: str = ""
    factor: float = 1.0
    bias: bool = False
    into_values: Matrix | None = (
        None  # output projection: the value matrix, whose bias passes through softmax unchanged
    )
    weight_factor: float = 1.0  # on the weights only, not on the bias
    n_bytes: int = 2  # of fixed-point activations, with i8 weights
    transposed: bool = False  # the tensor is [in, out], and the norm is of its outputs
    index: int | None = None  # of an expert, where the tensor holds several
    pairs: bool = (
        False  # i8: rotary partners share a scale, so that it can be applied after the rotation
    )

    def n_groups(self, chunk: int) -> int:
        """Groups of 16 columns that output chunk `chunk` uses."""
        return int(np.max(np.nonzero(self.out[chunk] != -1)[0])) // 16 + 1

    @property
    def levels(self) -> int:
        """Largest fixed-point magnitude of this matrix's activations."""
        return LEVELS[self.n_bytes]

    def scales(self, folded: F32) -> F32:
        """Largest magnitude ÷ 127 of every output (of both partners, with `pairs`), f32 [out]; 1 for zero rows."""
        top = np.abs(folded).max(axis=1)
        if self.pairs:
            for lanes in self.out:
                here = lanes[lanes >= 0].reshape(-1, 2)
                top[here] = top[here].max(axis=1, keepdims=True)
        return (np.where(top > 0, top, 127.0) / 127.0).astype(np.float32)

    def folded(self, model: Model) -> F32:
        """The matrix as the chip multiplies it, f32 [out, in]."""
        w = model.tensor(self.tensor + ".weight")
        w = (w if self.index is None else w[self.index]).astype(np.float64)
        if self.norm and model.has(self.norm + ".weight"):
            w = w * model.tensor(self.norm + ".weight").astype(np.float64)
        w = w.T if self.transposed else w
        if self.norm and model.shape.norm == "layer":
            w = w - w.mean(axis=1, keepdims=True)
        return (w * (self.factor * self.weight_factor)).astype(np.float32)

    def folded_bias(self, model: Model) -> F32 | None:
        """Bias after folding, f32 [out], or None."""
        terms: list[NDArray[np.float64]] = []

        def through(vector: F32) -> None:
            w = model.tensor(self.tensor + ".weight").astype(np.float64)
            terms.append(np.asarray(w @ vector.astype(np.float64)))

        values = self.into_values.folded_bias(model) if self.into_values is not None else None
        if values is not None:
            group = model.shape.n_heads // model.shape.n_kv_heads
            by_head = values.reshape(-1, model.shape.head_dim)
            through(np.repeat(by_head, group, axis=0).reshape(-1))
        if model.has(self.tensor + ".bias"):
            terms.append(model.tensor(self.tensor + ".bias").astype(np.float64))
        if self.norm and model.shape.norm == "layer" and model.has(self.norm + ".bias"):
            through(model.tensor(self.norm + ".bias"))
        return (sum(terms[1:], terms[0]) * self.factor).astype(np.float32) if terms else None

    def block(self, folded: F32, out_chunk: int, in_chunk: int, lanes: int) -> F32:
        """One tile, [column (output lane), row (input lane)], zero where no dimension lies."""
        rows, columns = self.into[in_chunk], self.out[out_chunk]
        tile = np.zeros((lanes, lanes), np.float32)
        used_out, used_in = np.nonzero(columns >= 0)[0], np.nonzero(rows >= 0)[0]
        tile[np.ix_(used_out, used_in)] = folded[np.ix_(columns[used_out], rows[used_in])]
        return tile


def model_matrices(
    shape: ModelShape,
    hidden: Lanes,
    heads: HeadLanes,
    ffn: Lanes,
    vocab: Lanes,
    *,
    i8: bool,
    folded: bool = False,
) -> list[Matrix]:
    """Every matrix of a model in the order it is used.

    With `i8` weights a post-norm model's matrices take the normalised rows before gain and shift, which are folded; with
    `folded` all of them do, and what gelu multiplies x by is in them as well (`CUBIC`).
    """
    pre = shape.norm_place == "pre"
    layer_norm = shape.norm == "layer"
    out: list[Matrix] = []

    def put(key: str, tensor: str, o: Lanes, i: Lanes, norm: str = "", **more: Any) -> None:
        part = ".".join(tensor.split(".")[-2:])
        bias = part in shape.biases or (bool(norm) and layer_norm) or "into_values" in more
        out.append(Matrix(key, tensor, o, i, norm, bias=bias, **more))

    for n in range(shape.n_layers):
        at, ff = f"layers.{n}.attn", f"layers.{n}.ffn"
        before = f"layers.{n - 1}.ffn.norm" if n else "embed.norm"
        norm = at + ".norm" if pre else before if i8 or folded else ""
        scale = shape.attention_scale if not shape.qk_norm else 1.0
        pairs = shape.position == "rope"
        put(f"{n}.k", at + ".k", heads.k, hidden, norm, pairs=pairs)
        put(f"{n}.q", at + ".q", heads.q, hidden, norm, factor=scale, pairs=pairs)
        values = Matrix(f"{n}.v", at + ".v", heads.v, hidden, norm if pre or folded else "")
        out.append(values)
        put(f"{n}.o", at + ".o", hidden, heads.o, into_values=values)
        norm = ff + ".norm" if pre else at + ".norm" if i8 or folded else ""
        if shape.gated:
            put(f"{n}.gate", ff + ".gate", ffn, hidden, norm)
        gelu = shape.activation in ("gelu", "gelu_tanh")
        unit = CUBIC if gelu and folded else 1.0
        put(f"{n}.up", ff + ".up", ffn, hidden, norm, factor=unit)
        halved = (0.5 if gelu else 1.0) / unit  # the activation leaves out its ½
        put(
            f"{n}.down",
            ff + ".down",
            hidden,
            ffn,
            weight_factor=halved,
            n_bytes=3 if shape.gated else 2,
        )
    if shape.family == "decoder":
        put("head", "head", vocab, hidden, "final.norm" if pre else "")
    return out


def activation_bounds(model: Model, matrices: dict[str, Matrix]) -> dict[str, float]:
    """For every matrix, a magnitude that its activations cannot exceed, whatever the input (for i8 weights).

    Normalised rows are at most √dim long; a row of W times one is at most ‖row‖ · √dim; softmax only averages.
    """
    shape = model.shape
    root = float(np.sqrt(shape.dim))
    out: dict[str, float] = {}

    def reach(key: str) -> NDArray[np.float64]:
        """Largest magnitude of each output of a matrix on normalised rows."""
        matrix = matrices[key]
        length = np.linalg.norm(matrix.folded(model).astype(np.float64), axis=1) * root
        bias = matrix.folded_bias(model)
        return length if bias is None else np.asarray(length + np.abs(bias))

    for key in matrices:
        layer, _, part = key.partition(".")
        if part == "o":
            out[key] = MARGIN * float(
                _value_reach(model, matrices[f"{layer}.v"], layer, root).max()
            )
        elif part == "down":
            top = reach(f"{layer}.up")
            top = (
                top * reach(f"{layer}.gate")
                if shape.gated
                else top * (2 if shape.activation != "relu" else 1)
            )
            out[key] = MARGIN * float(top.max())
        else:
            out[key] = MARGIN * root
    return out


def _value_reach(model: Model, matrix: Matrix, layer: str, root: float) -> NDArray[np.float64]:
    w = matrix.folded(model).astype(np.float64)
    if matrix.norm:
        return np.asarray(np.linalg.norm(w, axis=1) * root)
    norm = f"layers.{int(layer) - 1}.ffn.norm" if int(layer) else "embed.norm"
    gain, shift = model.tensor(norm + ".weight"), model.tensor(norm + ".bias")
    return np.asarray(np.linalg.norm(w * gain, axis=1) * root + np.abs(w @ shift))
