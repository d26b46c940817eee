"""Which part of a model one chip of a tensor-parallel group holds, as lanes (`compiler.lanes`) of its vectors.

The hidden dimensions are cut into as many shards as the group has chips; a chip's residual stream is its own shard.
Every chip counts the others from itself: relative shard j of chip r is shard r ^ j. All chips of a group therefore run
one program – relative shard j comes over link j − 1 – and only the contents of their memories differ. Heads, columns of
the feed-forward and the vocabulary are cut likewise; where they do not come out even, some chips hold zeros.

A shard is rarely a multiple of the vector: what is left over (its *tail*) of several shards shares one vector, each at
the lanes of its relative number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from takt.errors import UnsupportedError
from takt.lpu.compiler.lanes import ZERO, HeadLanes, Lanes, plain, require_heads
from takt.models import ModelShape


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """What chip `rank` of `n` holds. Lanes name dimensions of the whole model.

    `into`: the gathered hidden vector, as matrices take it: whole vectors of shard j at j · `n_full` …, then the shared
    tails. `out`: hidden vectors as matrices give them: `n_own` for each relative shard. `shape` is the model as far as
    this chip sees it: its heads and columns.
    """

    rank: int
    n: int
    shape: ModelShape
    n_full: int  # whole vectors of a shard
    tail: int  # lanes of its tail, 0 for none
    slots: int  # tails that share a vector
    into: Lanes
    out: Lanes
    heads: HeadLanes
    ffn: Lanes
    vocab: Lanes

    @property
    def n_own(self) -> int:
        """Vectors of a shard."""
        return self.n_full + (self.tail > 0)

    @property
    def own(self) -> Lanes:
        """Lanes of the chip's own shard."""
        return self.out[: self.n_own]


def can_split(shape: ModelShape, n: int) -> bool:
    """Whether a group of `n` chips can share a model."""
    return n & (n - 1) == 0 and shape.dim % n == 0


def key_sharers(shape: ModelShape, n: int) -> int:
    """Chips of a group of `n` that hold the same keys and values, for different queries."""
    return 1 if shape.latent is not None else max(1, n // shape.n_kv_heads)


def shard(shape: ModelShape, rank: int, n: int, lanes: int) -> Shard:
    """Chip `rank`'s part of a model cut over `n` chips.

    Raises UnsupportedError unless n is a power of two that divides the hidden dimension.
    """
    if not can_split(shape, n):
        raise UnsupportedError(
            f"{shape.name} cannot be cut over {n} chips: expected a power of two that divides its {shape.dim} dimensions"
        )
    size = shape.dim // n
    n_full, tail = divmod(size, lanes)
    slots = max(1, min(n, lanes // tail)) if tail else 1
    heads, local = _heads(shape, rank, n, lanes)
    return Shard(
        rank=rank,
        n=n,
        shape=local,
        n_full=n_full,
        tail=tail,
        slots=slots,
        into=_gathered(size, rank, n, lanes, slots),
        out=_shards(size, rank, n, lanes),
        heads=heads,
        ffn=columns(shape.hidden_dim, rank, n, lanes),
        vocab=columns(shape.vocab_size, rank, n, lanes),
    )


def _gathered(size: int, rank: int, n: int, lanes: int, slots: int) -> Lanes:
    n_full, tail = divmod(size, lanes)
    n_tails = -(-n // slots) if tail else 0
    out = np.full((n * n_full + n_tails, lanes), -1)
    for j in range(n):
        first = (rank ^ j) * size
        dims = np.arange(first, first + size)
        out[j * n_full : (j + 1) * n_full] = dims[: n_full * lanes].reshape(n_full, lanes)
        if tail:
            vector, slot = divmod(j, slots)
            out[n * n_full + vector, slot * tail : (slot + 1) * tail] = dims[n_full * lanes :]
    return out


def _shards(size: int, rank: int, n: int, lanes: int) -> Lanes:
    n_own = -(-size // lanes)
    out = np.full((n, n_own * lanes), -1)
    for j in range(n):
        out[j, :size] = np.arange((rank ^ j) * size, ((rank ^ j) + 1) * size)
    return out.reshape(n * n_own, lanes)


def columns(total: int, rank: int, n: int, lanes: int) -> Lanes:
    """An even share of columns, rounded up; columns beyond the last are zeros."""
    share = -(-total // n)
    out = plain(share, lanes)
    columns = np.where(out >= 0, out + rank * share, out)
    return np.where(columns >= total, ZERO, columns)


def _heads(shape: ModelShape, rank: int, n: int, lanes: int) -> tuple[HeadLanes, ModelShape]:
    """Lanes of the chip's heads, and the shape with as many heads as that is.

    If there are fewer key heads than chips, several chips hold the same one for different queries. If the key heads of
    a chip fill less than a vector, they are laid down more than once, so that queries fill theirs.
    """
    require_heads(shape, lanes)
    hd = shape.head_dim
    group = shape.n_heads // shape.n_kv_heads
    sharers = max(1, n // shape.n_kv_heads)  # as `key_sharers`
    per_kv = -(-group // sharers)
    mine: list[tuple[int, list[int]]] = []
    for i in range(-(-shape.n_kv_heads * sharers // n)):
        kv, part = divmod(rank * -(-shape.n_kv_heads * sharers // n) + i, sharers)
        queries = [kv * group + q for q in range(part * per_kv, min(group, (part + 1) * per_kv))]
        known = kv < shape.n_kv_heads
        queries = queries if known else []
        mine.append((kv if known else ZERO, queries + [ZERO] * (per_kv - len(queries))))
    per_vector = lanes // hd
    times = max(
        m
        for m in range(1, per_kv + 1)
        if per_kv % m == 0 and (m == 1 or m * len(mine) <= per_vector)
    )
    per_kv //= times
    laid = [(kv, q[t * per_kv : (t + 1) * per_kv]) for kv, q in mine for t in range(times)]
    local = replace(
        shape,
        n_heads=len(laid) * per_kv,
        n_kv_heads=len(laid),
        hidden_dim=-(-shape.hidden_dim // n),
        vocab_size=-(-shape.vocab_size // n),
    )
    return _lay_heads(shape, laid, per_kv, lanes), local


def _lay_heads(
    shape: ModelShape, laid: list[tuple[int, list[int]]], group: int, lanes: int
) -> HeadLanes:
    hd = shape.head_dim
    per = lanes // hd
    vectors = -(-len(laid) // per)
    natural = np.arange(hd)
    rotary = natural
    if shape.position == "rope" and not shape.rope_interleaved:
        rotary = np.arange(hd).reshape(2, hd // 2).T.reshape(-1)
    kv = np.full((2, vectors, lanes), -1)
    q = np.full((2, group * vectors, lanes), -1)
    for i, (head, queries) in enumerate(laid):
        vector, slot = divmod(i, per)
        at = slice(slot * hd, (slot + 1) * hd)
        for which, order in enumerate((rotary, natural)):
            kv[which, vector, at] = head * hd + order if head >= 0 else ZERO
            for g, query in enumerate(queries):
                q[which, g * vectors + vector, at] = query * hd + order if query >= 0 else ZERO
    return HeadLanes(per_vector=per, group=group, q=q[0], k=kv[0], v=kv[1], o=q[1])
