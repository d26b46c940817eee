"""How model dimensions lie on lanes: every activation is a few 320-lane vectors ("chunks"), and a map from lane to dimension.

Heads never straddle a vector; rotary partners are neighbours, so that one SXM distribute exchanges them. Because the
maps also order the rows and columns of the weight tiles, no data is ever rearranged at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import UnsupportedError
from takt.models import ModelShape

Lanes = NDArray[np.int64]
"""[chunks, 320]: dimension on each lane, −1 for none, `ZERO` for none here though other chips have one there."""

ZERO = -2
"""A lane that is laid out but always zero, so that chips with fewer heads or columns run the same program."""


def plain(n: int, lanes: int) -> Lanes:
    """Dimensions in order, in as few vectors as hold them, split evenly in steps of 16 lanes."""
    chunks = -(-n // lanes)
    width = min(lanes, -(-n // (16 * chunks)) * 16)
    out = np.full((chunks, lanes), -1)
    for c in range(chunks):
        here = np.arange(c * width, min((c + 1) * width, n))
        out[c, : len(here)] = here
    return out


@dataclass(frozen=True, slots=True, eq=False)
class HeadLanes:
    """Lanes of the attention part. `kv` vectors hold `per_vector` key heads each; query vector g·len(kv) + v holds,
    for each key head of kv vector v, the g-th of the query heads that share it.
    """

    per_vector: int
    group: int  # query heads per key head
    q: Lanes
    k: Lanes
    v: Lanes
    o: Lanes

    @property
    def n_kv(self) -> int:
        """Vectors of keys."""
        return len(self.k)


def require_heads(shape: ModelShape, lanes: int) -> None:
    """Raise UnsupportedError for heads that the compiler cannot lay out or lower."""
    if shape.head_dim > lanes:
        raise UnsupportedError(f"head_dim {shape.head_dim} does not fit the chip's {lanes} lanes")
    if shape.qk_norm and {"attn.q", "attn.k"} & set(shape.biases):
        raise UnsupportedError(f"{shape.name} has a norm of every head behind a bias")


def head_lanes(shape: ModelShape, lanes: int, *, even: bool = False) -> HeadLanes:
    """Lane maps for queries, keys (rotary order), values and attention output (natural order).

    `even` spreads the heads evenly over the vectors, which are as few as without.
    """
    require_heads(shape, lanes)
    hd = shape.head_dim
    per = lanes // hd
    group = shape.n_heads // shape.n_kv_heads
    vectors = -(-shape.n_kv_heads // per)
    if even:
        per = -(-shape.n_kv_heads // vectors)
    natural = np.arange(hd)
    rotary = natural
    if shape.position == "rope" and not shape.rope_interleaved:
        rotary = np.arange(hd).reshape(2, hd // 2).T.reshape(-1)
    kv = np.full((2, vectors, lanes), -1)
    q = np.full((2, group * vectors, lanes), -1)
    for head in range(shape.n_kv_heads):
        vector, slot = divmod(head, per)
        at = slice(slot * hd, (slot + 1) * hd)
        for i, order in enumerate((rotary, natural)):
            kv[i, vector, at] = head * hd + order
            for g in range(group):
                q[i, g * vectors + vector, at] = (head * group + g) * hd + order
    return HeadLanes(per_vector=per, group=group, q=q[0], k=kv[0], v=kv[1], o=q[1])


def rope_rows(
    shape: ModelShape, lanes: int, positions: NDArray[np.int64], frequencies: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cos and signed sin on lanes, [len(positions), 320] each: out = x · cos + neighbour(x) · sin."""
    hd = shape.rope_dim
    angle = positions[:, None].astype(np.float64) * frequencies[None, :]
    cos, sin = np.repeat(np.cos(angle), 2, axis=1), np.repeat(np.sin(angle), 2, axis=1)
    sin[:, 0::2] *= -1
    out = np.zeros((2, len(positions), lanes), np.float32)
    slots = lanes // hd
    out[:, :, : slots * hd] = np.tile(np.stack([cos, sin]), slots)
    return out[0], out[1]
