"""Latent attention on lanes: what a chip of a group holds, and the matrices it multiplies (see `latent`).

On lanes the latent takes whole vectors, and what is left over shares the last one with the rotated key.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from takt.lpu.compiler.lanes import ZERO, Lanes, plain
from takt.lpu.compiler.matrices import Matrix
from takt.models import Latent, ModelShape


@dataclass(frozen=True, slots=True, eq=False)
class LatentLanes:
    """Lanes of one chip's share: `heads` are the numbers of its heads, `ZERO` for none."""

    heads: tuple[int, ...]
    waist: Lanes  # queries between their two matrices
    latent: Lanes
    rope: Lanes  # the rotated key, on the last vector of the latent
    nope: Lanes  # unrotated queries, several heads a vector
    turned: Lanes  # rotated queries, one vector a head, on the lanes of the rotated key
    values: Lanes  # mixed values, several heads a vector

    @property
    def per_nope(self) -> int:
        """Heads in a vector of unrotated queries."""
        return -(-len(self.heads) // len(self.nope))

    @property
    def per_values(self) -> int:
        """Heads in a vector of values."""
        return -(-len(self.heads) // len(self.values))


def latent_lanes(shape: ModelShape, rank: int, n: int, lanes: int) -> LatentLanes:
    """What a chip of a group holds of a latent attention."""
    parts = sizes(shape)
    share = -(-shape.n_heads // n)
    mine = range(rank * share, (rank + 1) * share)
    heads = tuple(h if h < shape.n_heads else ZERO for h in mine)
    n_full, rest = divmod(parts.kv_rank, lanes)
    at = -(-rest // parts.rope_dim) * parts.rope_dim
    if at + parts.rope_dim > lanes:
        n_full, rest, at = n_full + (rest > 0), 0, 0
    latent = np.full((n_full + 1, lanes), -1)
    latent.reshape(-1)[: parts.kv_rank] = np.arange(parts.kv_rank)
    order = np.arange(parts.rope_dim)
    if not shape.rope_interleaved:
        order = order.reshape(2, -1).T.reshape(-1)
    rope = np.full((1, lanes), -1)
    rope[0, at : at + parts.rope_dim] = order
    turned = np.full((len(heads), lanes), -1)
    for i, head in enumerate(heads):
        known = head * shape.head_dim + parts.nope_dim + order if head >= 0 else ZERO
        turned[i, at : at + parts.rope_dim] = known
    return LatentLanes(
        heads=heads,
        waist=plain(parts.q_rank or 1, lanes),
        latent=latent,
        rope=rope,
        nope=_packed(heads, parts.nope_dim, shape.head_dim, lanes),
        turned=turned,
        values=_packed(heads, parts.value_dim, parts.value_dim, lanes),
    )


def sizes(shape: ModelShape) -> Latent:
    """The latent attention of a shape that has one."""
    assert shape.latent is not None
    return shape.latent


def _packed(heads: tuple[int, ...], width: int, stride: int, lanes: int) -> Lanes:
    """`width` dimensions of each head, `stride` apart in the model, as many heads a vector as fit."""
    per = min(len(heads), lanes // width)
    out = np.full((-(-len(heads) // per), lanes), -1)
    for i, head in enumerate(heads):
        vector, slot = divmod(i, per)
        dims = head * stride + np.arange(width) if head >= 0 else ZERO
        out[vector, slot * width : (slot + 1) * width] = dims
    return out


def alone(lanes: Lanes, head: int, per: int, width: int) -> Lanes:
    """The lanes of one head only, of vectors that hold `per` heads of `width` each."""
    chunk, slot = divmod(head, per)
    out = np.full((1, lanes.shape[1]), -1)
    here = slice(slot * width, (slot + 1) * width)
    out[0, here] = lanes[chunk, here]
    return out


def latent_matrices(
    shape: ModelShape, into: Lanes, out: Lanes, mine: LatentLanes, layer: int
) -> list[Matrix]:
    """Everything that a chip multiplies in a layer's attention; keys name layer 0."""
    parts, at = sizes(shape), f"layers.{layer}.attn"
    norm, q_norm, kv_norm = f"{at}.norm", f"{at}.q_down_norm", f"{at}.kv_down_norm"
    scale, hd = shape.attention_scale, shape.head_dim
    made = [
        Matrix("0.kv_down", f"{at}.kv_down", mine.latent, into, norm),
        Matrix("0.k_rope", f"{at}.k_rope", mine.rope, into, norm, pairs=True),
    ]
    tensor, first, before = f"{at}.q", into, norm
    if parts.q_rank is not None:
        made.append(Matrix("0.q_down", f"{at}.q_down", mine.waist, into, norm))
        tensor, first, before = f"{at}.q_up", mine.waist, q_norm
    made += [
        Matrix("0.q_nope", tensor, mine.nope, first, before, factor=scale),
        Matrix("0.q_rope", tensor, mine.turned, first, before, factor=scale, pairs=True),
    ]
    for i, head in enumerate(mine.heads):
        rows = alone(mine.nope, i, mine.per_nope, parts.nope_dim)
        # k_up counts unrotated dimensions only, a query all of a head's.
        rows = np.where(rows >= 0, rows - head * hd + head * parts.nope_dim, rows)
        made.append(
            Matrix(f"0.absorb{i}", f"{at}.k_up", mine.latent, rows, kv_norm, transposed=True)
        )
    for i in range(len(mine.heads)):
        values = alone(mine.values, i, mine.per_values, parts.value_dim)
        made.append(Matrix(f"0.v_up{i}", f"{at}.v_up", values, mine.latent, kv_norm))
    made.append(Matrix("0.o", f"{at}.o", out, mine.values))
    return made
