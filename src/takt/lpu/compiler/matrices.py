"""The matrices a model needs on the chip, with everything foldable folded in: norm gains, centring, attention scale.

`r` below is the norm's scalar per token, applied to the product afterwards (a dot product is linear), which takes the
norm off the critical path. LayerNorm: W·γ(x−μ)·r + Wβ = r·(W γ − mean) x + Wβ, so centring is folded into W.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.lpu.compiler.lanes import HeadLanes, Lanes
from takt.models import Model, ModelShape

F32 = NDArray[np.float32]


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
    into_values: Matrix | None = None  # output projection: the value matrix, whose bias passes through softmax unchanged
    weight_factor: float = 1.0  # on the weights only, not on the bias

    def n_groups(self, chunk: int) -> int:
        """Groups of 16 columns that output chunk `chunk` uses."""
        return int(np.max(np.nonzero(self.out[chunk] >= 0)[0])) // 16 + 1

    def folded(self, model: Model) -> F32:
        """The matrix as the chip multiplies it, f32 [out, in]."""
        w = model.tensor(self.tensor + ".weight").astype(np.float64)
        if self.norm and model.has(self.norm + ".weight"):
            w = w * model.tensor(self.norm + ".weight").astype(np.float64)
        if self.norm and model.shape.norm == "layer":
            w = w - w.mean(axis=1, keepdims=True)
        return (w * (self.factor * self.weight_factor)).astype(np.float32)

    def folded_bias(self, model: Model) -> F32 | None:
        """Bias after folding, f32 [out], or None."""
        has = model.has(self.tensor + ".bias")
        beta = self.norm and model.shape.norm == "layer" and model.has(self.norm + ".bias")
        total = np.zeros(int(self.out.max()) + 1, np.float64)
        if self.into_values is not None:
            value_bias = self.into_values.folded_bias(model)
            if value_bias is not None:
                w = model.tensor(self.tensor + ".weight").astype(np.float64)
                group = model.shape.n_heads // model.shape.n_kv_heads
                by_head = value_bias.reshape(-1, model.shape.head_dim)
                total = total + w @ np.repeat(by_head, group, axis=0).reshape(-1).astype(np.float64)
                has_value = True
            else:
                has_value = False
        else:
            has_value = False
        if not has and not beta and not has_value:
            return None
        if has:
            total = total + model.tensor(self.tensor + ".bias")
        if beta:
            w = model.tensor(self.tensor + ".weight").astype(np.float64)
            total = total + w @ model.tensor(self.norm + ".bias").astype(np.float64)
        return (total * self.factor).astype(np.float32)

    def block(self, folded: F32, out_chunk: int, in_chunk: int, lanes: int) -> F32:
        """One tile, [column (output lane), row (input lane)], zero where no dimension lies."""
        rows, columns = self.into[in_chunk], self.out[out_chunk]
        tile = np.zeros((lanes, lanes), np.float32)
        used_out, used_in = np.nonzero(columns >= 0)[0], np.nonzero(rows >= 0)[0]
        tile[np.ix_(used_out, used_in)] = folded[np.ix_(columns[used_out], rows[used_in])]
        return tile


def model_matrices(shape: ModelShape, hidden: Lanes, heads: HeadLanes, ffn: Lanes, vocab: Lanes) -> list[Matrix]:
    """Every matrix of a model in the order it is used."""
    pre = shape.norm_place == "pre"
    layer_norm = shape.norm == "layer"
    out: list[Matrix] = []

    def put(key: str, tensor: str, o: Lanes, i: Lanes, norm: str = "", factor: float = 1.0,
            values: Matrix | None = None, weight_factor: float = 1.0) -> None:
        part = ".".join(tensor.split(".")[-2:])
        has_bias = part in shape.biases or (bool(norm) and layer_norm) or values is not None
        out.append(Matrix(key, tensor, o, i, norm, factor, has_bias, values, weight_factor))

    for n in range(shape.n_layers):
        at, ff = f"layers.{n}.attn", f"layers.{n}.ffn"
        norm = at + ".norm" if pre else ""
        scale = shape.attention_scale if not shape.qk_norm else 1.0
        put(f"{n}.k", at + ".k", heads.k, hidden, norm)
        put(f"{n}.q", at + ".q", heads.q, hidden, norm, scale)
        values = Matrix(f"{n}.v", at + ".v", heads.v, hidden, norm)
        out.append(values)
        put(f"{n}.o", at + ".o", hidden, heads.o, values=values)
        norm = ff + ".norm" if pre else ""
        if shape.gated:
            put(f"{n}.gate", ff + ".gate", ffn, hidden, norm)
        put(f"{n}.up", ff + ".up", ffn, hidden, norm)
        halved = 0.5 if shape.activation in ("gelu", "gelu_tanh") else 1.0  # the activation leaves out its ½
        put(f"{n}.down", ff + ".down", hidden, ffn, weight_factor=halved)
    if shape.family == "decoder":
        put("head", "head", vocab, hidden, "final.norm" if pre else "")
    return out
