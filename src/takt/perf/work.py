"""What a step moves and multiplies, whatever chip does it: bytes, operations, and what must fit in memory.

Sizes only; no times. A multiply-accumulate counts as two operations.
"""

from dataclasses import dataclass

import numpy as np

from takt.errors import UsageError
from takt.models.outlines import Attention, LayerGroup, Outline

from .deployment import TYPE_BITS, Deployment
from .estimate import Floats

__all__ = [
    "Memory",
    "Work",
    "experts_touched",
    "max_users",
    "memory_of",
    "step_work",
    "weight_bytes",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Bytes read from memory and operations of one step, of all chips together."""

    n_bytes: Floats
    n_ops: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one chip of a deployment: capacity, weights, what an engine keeps back, a user's cache.

    `user_bytes` is a mean over the chips of the copy.
    """

    capacity_bytes: float
    weight_bytes: float
    reserve_bytes: float
    user_bytes: float

    @property
    def free_bytes(self) -> float:
        """Bytes for caches; negative where the weights alone are too many."""
        return self.capacity_bytes - self.weight_bytes - self.reserve_bytes


def _bytes(kind: str) -> float:
    return TYPE_BITS[kind] / 8.0


def weight_bytes(model: Outline, deployment: Deployment) -> float:
    """Stored weights of the model in the deployment's types, each once; embeddings and head are 16-bit."""
    precision = deployment.precision
    tables = 1 if model.tied_embeddings or model.encoder else 2
    total = tables * model.vocab_size * model.dim * 2.0
    for group in model.groups:
        dense = model.attention_parameters(group) + model.dense_parameters(group)
        routed = group.ffn.n_experts * model.expert_parameters(group)
        total += group.count * dense * _bytes(precision.weights)
        total += group.count * routed * _bytes(precision.experts or precision.weights)
    return total


def _copied_bytes(model: Outline, deployment: Deployment) -> float:
    """What every attention group holds for itself beyond the one copy counted in `weight_bytes`."""
    attention = sum(group.count * model.attention_parameters(group) for group in model.groups)
    tables = 2 * model.vocab_size * model.dim * 2.0
    return (deployment.dp - 1) * (attention * _bytes(deployment.precision.weights) + tables)


def memory_of(
    model: Outline,
    deployment: Deployment,
    context: float,
    *,
    reserve_fraction: float,
    activation_tokens: int,
    fixed_bytes: float = 0.0,
) -> Memory:
    """Memory of one chip: weights and caches divided over the chips of the copy.

    `reserve_fraction` of the capacity is the engine's (graphs, workspaces, fragmentation), and `fixed_bytes` however
    large the chip; activations of `activation_tokens` tokens are held four times over at the widest place of a layer.
    """
    chips = deployment.n_chips
    widest = max(
        max(g.ffn.hidden_dim, g.ffn.shared_dim) * max(1, g.ffn.top_k) for g in model.groups
    )
    activations = 2.0 * activation_tokens * (4 * model.dim + 2 * widest / deployment.tp)
    capacity = float(deployment.chip.memory.capacity_bytes)
    heads = max((g.attention.n_kv_heads for g in model.groups), default=1) or 1
    latent = any(g.attention.kind == "latent" for g in model.groups)
    # Fewer key heads than chips: the same cache lies on several of them.
    copies = deployment.tp if latent else max(1, deployment.tp // heads)
    user = model.kv_bytes(int(context), _bytes(deployment.precision.kv)) * copies
    return Memory(
        capacity_bytes=capacity,
        weight_bytes=(weight_bytes(model, deployment) + _copied_bytes(model, deployment)) / chips,
        reserve_bytes=reserve_fraction * capacity + fixed_bytes + activations,
        user_bytes=user / chips,
    )


def max_users(memory: Memory, deployment: Deployment) -> int:
    """Users whose caches fit the copy at once; raises UsageError where the weights don't fit at all.

    A user of one of `dp` groups lies on that group's chips only, so per-chip bytes already average over them.
    """
    if memory.free_bytes <= 0:
        need = memory.weight_bytes + memory.reserve_bytes
        raise UsageError(
            f"weights and reserve need {need / 1e9:.0f} GB on each of {deployment.n_chips} "
            f"{deployment.chip.id}, which has {memory.capacity_bytes / 1e9:.0f} GB",
            hint="more chips, or weights of fewer bits",
        )
    return int(min(memory.free_bytes / max(memory.user_bytes, 1.0), 1 << 20))


def experts_touched(n_experts: int, top_k: int, tokens: Floats) -> Floats:
    """Distinct experts that `tokens` tokens meet in one layer if each choice were even: E (1 − (1 − k/E)^T)."""
    return n_experts * (1.0 - (1.0 - top_k / n_experts) ** tokens)


def step_work(
    model: Outline,
    deployment: Deployment,
    tokens: Floats,
    users: Floats,
    context: Floats,
    *,
    sampled: Floats | None = None,
) -> Work:
    """Bytes and operations of a step of `tokens` tokens of `users` users, each query seeing `context` positions.

    Weights are read once by the copy (attention by each of its `dp` groups), each user's cache once. `sampled`:
    tokens that have logits, all by default. The arrays broadcast.
    """
    shape = np.broadcast_shapes(np.shape(tokens), np.shape(users), np.shape(context))
    head = 0.0 if model.encoder else float(model.vocab_size * model.dim)
    n_bytes = np.full(shape, head * 2.0)
    n_ops = np.broadcast_to(2.0 * head * (tokens if sampled is None else sampled), shape).copy()
    for group in model.groups:
        for part in (
            _products(model, group, deployment, tokens),
            _mixing(group.attention, deployment, tokens, users, context),
        ):
            n_bytes += group.count * part.n_bytes
            n_ops += group.count * part.n_ops
    return Work(n_bytes=n_bytes, n_ops=n_ops)


def _products(model: Outline, group: LayerGroup, deployment: Deployment, tokens: Floats) -> Work:
    """Weights that one layer reads, and the operations of its products."""
    precision, ffn = deployment.precision, group.ffn
    projected = float(model.attention_parameters(group))
    dense = float(model.dense_parameters(group))
    expert = float(model.expert_parameters(group))
    n_bytes = np.full(np.shape(tokens), (projected * deployment.dp + dense))
    n_bytes *= _bytes(precision.weights)
    if ffn.n_experts:
        met = experts_touched(ffn.n_experts, ffn.top_k, np.asarray(tokens, dtype=np.float64))
        n_bytes += met * expert * _bytes(precision.experts or precision.weights)
    return Work(
        n_bytes=n_bytes,
        n_ops=2.0 * tokens * (projected + dense + ffn.top_k * expert),
    )


def _mixing(
    attention: Attention, deployment: Deployment, tokens: Floats, users: Floats, context: Floats
) -> Work:
    """Caches and states that one layer reads, and the operations of attention over them."""
    seen = np.minimum(context, attention.window or np.inf)
    entries = seen / attention.compression
    pairs = np.minimum(entries, attention.topk or np.inf)
    # Of sparse attention's cache only the chosen entries are read, and every key of the index.
    chosen = pairs / np.maximum(entries, 1.0)
    index = attention.index_dim / attention.compression if attention.topk else 0.0
    kept = (attention.kv_elements - index) * chosen + index
    cached = seen * kept * _bytes(deployment.precision.kv)
    met_numbers = attention.head_dim + attention.value_dim
    if attention.kind == "latent":
        met_numbers = 2 * attention.kv_rank + attention.rope_dim
    return Work(
        n_bytes=users * (cached + attention.state_elements * 4.0),
        n_ops=2.0 * tokens * pairs * attention.n_heads * met_numbers,
    )
