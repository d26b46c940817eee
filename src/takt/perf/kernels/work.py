"""What a kernel must move and multiply at the very least: bytes and operations of each family.

Knows the shapes of the kernels, not the chips: dividing by a chip's peaks gives its roofline, the floor
under every estimate of this wing. `Work.at` are the coordinates under which a family's measurements are
kept: few, and such that time grows with each. All arguments broadcast as numpy arrays; results are float64.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from takt.errors import UsageError, did_you_mean

from ..deployment import TYPE_BITS
from .routing import active_share, hottest

__all__ = [
    "Floats",
    "Work",
    "bytes_of",
    "decode_work",
    "elementwise_work",
    "experts_work",
    "floats",
    "gemm_work",
    "latent_decode_work",
    "latent_prompt_work",
    "prompt_work",
]

Floats = NDArray[np.float64]

# The latent attention that was measured is DeepSeek's: a cache of 512 + 64 numbers a position, heads that
# score over 128 + 64 and mix over 128 numbers (config.json of deepseek-ai/DeepSeek-V3).
_RANK = 512
_ROPE = 64
_HEAD = 128
# Heads were measured at this width; others count as that many more or fewer of them.
_MEASURED_HEAD_DIM = 128

# Bytes of a stored number; the scales of 128 × 128 blocks of fp8 take next to nothing.
_BYTES = {name: bits / 8 for name, bits in TYPE_BITS.items()} | {"fp8_block": 1.0}


def bytes_of(type_name: str) -> float:
    """Bytes of one number of that type. Raises UsageError for a type nobody knows."""
    if type_name not in _BYTES:
        hint = did_you_mean(type_name, _BYTES) or f"known types are {', '.join(_BYTES)}"
        raise UsageError(f"no number type '{type_name}'", hint=hint)
    return _BYTES[type_name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Bytes through memory (or over a link) and operations of one call on one chip, and its coordinates."""

    n_bytes: Floats
    n_ops: Floats
    at: tuple[Floats, ...]


def floats(*values: ArrayLike) -> tuple[Floats, ...]:
    """The arguments as float64 arrays, not broadcast: a scalar stays one, which makes tables fast."""
    return tuple(np.asarray(value, dtype=np.float64) for value in values)


def gemm_work(m: ArrayLike, n: ArrayLike, k: ArrayLike, weights: str, compute: str) -> Work:
    """(m, k) × (k, n): weights and inputs in once, outputs out once in two bytes. At (m, n, k)."""
    rows, outs, ins = floats(m, n, k)
    moved = outs * ins * bytes_of(weights) + rows * (ins * bytes_of(compute) + outs * 2)
    return Work(n_bytes=moved, n_ops=2 * rows * outs * ins, at=(rows, outs, ins))


def _pairs(new: Floats, before: Floats, window: ArrayLike | None) -> Floats:
    """Pairs of query and seen position: each new token sees itself and all before it, at most `window`."""
    if window is None:
        return new * before + new * (new + 1) / 2
    (seen,) = floats(window)
    # New tokens that still see all there is; the rest see a full window each.
    growing = np.clip(seen - before, 0, new)
    return growing * before + growing * (growing + 1) / 2 + (new - growing) * seen


def _same_as_length(pairs: Floats) -> Floats:
    """Length of a prompt without anything before it that has as many pairs."""
    return (np.sqrt(1 + 8 * pairs) - 1) / 2


def prompt_work(
    batch: ArrayLike,
    new_tokens: ArrayLike,
    context: ArrayLike,
    n_heads: ArrayLike,
    n_kv_heads: ArrayLike,
    head_dim: ArrayLike,
    kv: str,
    window: ArrayLike | None = None,
) -> Work:
    """Causal attention of new tokens over what the cache holds and themselves.

    At (users × heads, length of a fresh prompt with as many pairs, share of heads with keys of their own).
    """
    users, new, before, heads, kv_heads, width = floats(
        batch, new_tokens, context, n_heads, n_kv_heads, head_dim
    )
    pairs = _pairs(new, before, window)
    kept = before if window is None else np.minimum(before, floats(window)[0])
    moved = users * width * (new * heads * 4 + (kept + new) * kv_heads * 2 * bytes_of(kv))
    return Work(
        n_bytes=moved,
        n_ops=4 * users * heads * width * pairs,
        at=(users * heads * (width / _MEASURED_HEAD_DIM), _same_as_length(pairs), kv_heads / heads),
    )


def decode_work(
    batch: ArrayLike,
    context: ArrayLike,
    n_heads: ArrayLike,
    n_kv_heads: ArrayLike,
    head_dim: ArrayLike,
    kv: str,
    window: ArrayLike | None = None,
) -> Work:
    """One new token a user over cached positions. At (users × heads of keys, positions, heads a key head).

    Users and heads of keys are alike to the kernels: in the tables calls with the same product and different
    factors differ by 0.6 % (median; H200, TensorRT-LLM).
    """
    users, seen, heads, kv_heads, width = floats(batch, context, n_heads, n_kv_heads, head_dim)
    if window is not None:
        seen = np.minimum(seen, floats(window)[0])
    moved = users * width * (seen * kv_heads * 2 * bytes_of(kv) + heads * 4)
    return Work(
        n_bytes=moved,
        n_ops=4 * users * heads * width * seen,
        at=(users * kv_heads * (width / _MEASURED_HEAD_DIM), seen, heads / kv_heads),
    )


def latent_prompt_work(
    batch: ArrayLike, new_tokens: ArrayLike, context: ArrayLike, n_heads: ArrayLike, kv: str
) -> Work:
    """Latent attention of a prompt, keys (192 wide) and values (128) of each head written out.

    At (users × heads, length of a fresh prompt with as many pairs).
    """
    users, new, before, heads = floats(batch, new_tokens, context, n_heads)
    pairs = _pairs(new, before, None)
    per_token = heads * (2 * (_HEAD + _ROPE) + 2 * _HEAD) * 2
    moved = users * (new * per_token + before * (_RANK + _ROPE) * bytes_of(kv))
    ops = 2 * users * heads * pairs * (2 * _HEAD + _ROPE)
    return Work(n_bytes=moved, n_ops=ops, at=(users * heads, _same_as_length(pairs)))


def latent_decode_work(batch: ArrayLike, context: ArrayLike, n_heads: ArrayLike, kv: str) -> Work:
    """Latent attention of one new token a user: all heads read the same cached row.

    At (users, positions, heads).
    """
    users, seen, heads = floats(batch, context, n_heads)
    row = _RANK + _ROPE
    moved = users * (seen * row * bytes_of(kv) + heads * (row + _RANK) * 2)
    ops = 2 * users * heads * seen * (row + _RANK)
    return Work(n_bytes=moved, n_ops=ops, at=(users, seen, heads))


def experts_work(
    tokens: ArrayLike,
    dim: ArrayLike,
    hidden_dim: ArrayLike,
    n_experts: ArrayLike,
    top_k: ArrayLike,
    n_matrices: int,
    tp: ArrayLike,
    ep: ArrayLike,
    weights: str,
    even: bool = False,
) -> Work:
    """The share of routed experts that falls to the busiest chip; `tokens` are all of the `tp` × `ep` chips.

    At (tokens an expert, experts on the chip, numbers of one matrix of an expert on the chip).
    """
    routed, width, hidden, experts, picked, cut, dealt = floats(
        tokens, dim, hidden_dim, n_experts, top_k, tp, ep
    )
    own = experts / dealt
    per_expert = routed * picked / experts
    if not even:
        per_expert = per_expert * hottest(own, dealt)
    matrix = width * hidden / cut
    pairs = per_expert * own
    read = own * active_share(per_expert, even) * matrix * n_matrices * bytes_of(weights)
    return Work(
        n_bytes=read + pairs * width * 2 * bytes_of("bf16"),
        n_ops=2 * pairs * matrix * n_matrices,
        at=(per_expert, own, matrix * (n_matrices / 3)),
    )


def elementwise_work(n_bytes: ArrayLike) -> Work:
    """A kernel that reads and writes `n_bytes` in all and computes little. At (bytes,)."""
    (size,) = floats(n_bytes)
    return Work(n_bytes=size, n_ops=np.zeros_like(size), at=(size,))
