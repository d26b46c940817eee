"""What one chip does in a step of a model: products, attention and exchanges of its share, in seconds.

Everything that depends only on how many tokens a step has is summed once into a curve over tokens
(`LinearCurve`); attention, which depends on contexts too, is asked from the kernels each time. Knows nothing
of engines (`step` adds their overheads) nor of users in flight.
"""

from dataclasses import dataclass

import numpy as np

from takt.models.outlines import Attention, LayerGroup, Outline

from .deployment import Deployment
from .estimate import Floats
from .kernels import Kernels

__all__ = ["LinearCurve", "attention_decode_s", "attention_prompt_s", "head_curve", "linear_curve"]

_ACTIVATION_BYTES = 2  # activations travel and are normalised as 16-bit numbers
# Passes over a token's activations in a layer outside products: two norms joined with their residual sums,
# rotation with the cache written, activation function; each reads and writes about dim numbers.
_PASSES_A_LAYER = 4
# Tokens at which a curve is computed: every count to 8, then eight an octave.
_MAX_TOKENS = 1 << 18
_GRID = np.unique(
    np.concatenate(
        [np.arange(1, 9), np.round(2 ** np.arange(3, np.log2(_MAX_TOKENS) + 0.01, 0.125))]
    )
).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearCurve:
    """Seconds of all that depends on the tokens of a step alone: straight lines between logarithms.

    `log_tokens`, `log_s`: [grid] natural logarithms, both rising.
    """

    log_tokens: Floats
    log_s: Floats

    def __call__(self, tokens: Floats) -> Floats:
        """Seconds for that many tokens (any shape); beyond the grid in proportion."""
        at = np.log(np.maximum(tokens, 1.0))
        beyond = np.maximum(at - self.log_tokens[-1], 0.0)
        return np.asarray(np.exp(np.interp(at, self.log_tokens, self.log_s) + beyond))


def linear_curve(model: Outline, deployment: Deployment, kernels: Kernels) -> LinearCurve:
    """The curve of a model's layers on one chip of a deployment.

    Tokens are those of one attention group; products of the feed-forward see the tokens of all `dp`
    groups. Raises UsageError for a number type no kernel knows, UnsupportedError for a split over a
    chip without known links.
    """
    tokens = _GRID
    total = np.zeros_like(tokens)
    for group in model.groups:
        total += group.count * (
            _projections_s(group.attention, deployment, kernels, tokens)
            + _feed_forward_s(model, group, deployment, kernels, tokens)
            + _exchanges_s(model, group, deployment, kernels, tokens)
            + _passes_s(model, kernels, tokens)
        )
    if deployment.pp > 1:
        total += (deployment.pp - 1) * kernels.send(tokens * model.dim * _ACTIVATION_BYTES)
    return _curve(total)


def head_curve(model: Outline, deployment: Deployment, kernels: Kernels) -> LinearCurve:
    """Seconds of the logits of that many tokens: of a prompt only the last one has any, of a read text none."""
    if model.encoder:
        return _curve(np.zeros_like(_GRID))
    return _curve(kernels.gemm(_GRID, _ceil(model.vocab_size, deployment.tp), model.dim))


def _curve(seconds: Floats) -> LinearCurve:
    """Over the grid; measurement noise in a table must not make a larger step cheaper."""
    rising = np.maximum.accumulate(np.maximum(seconds, 1e-12))
    return LinearCurve(log_tokens=np.log(_GRID), log_s=np.log(rising))


def _ceil(size: int, parts: int) -> int:
    return max(1, -(-size // parts))


def _projections_s(
    attention: Attention, deployment: Deployment, kernels: Kernels, tokens: Floats
) -> Floats:
    """All projections of a layer: those in cut by outputs, the one out cut by inputs.

    Matrices that read the same input are one product, as every engine joins them. The low-rank matrices of
    latent attention are whole on every chip: their results feed all heads.
    """
    precision, tp = deployment.precision, deployment.tp
    joined: dict[int, int] = {}
    *ins, out = attention.matrices or ((0, 0),)
    for rows, columns in ins:
        whole = attention.kind == "latent" and _is_low_rank(attention, rows)
        joined[columns] = joined.get(columns, 0) + (rows if whole else _ceil(rows, tp))
    products = [(rows, columns) for columns, rows in joined.items()]
    if out[0]:
        products.append((out[0], _ceil(out[1], tp)))
    total = np.zeros_like(tokens)
    for rows, columns in products:
        total += kernels.gemm(tokens, rows, columns, precision.weights, deployment.compute)
    return total


def _is_low_rank(attention: Attention, rows: int) -> bool:
    """Whether a matrix of latent attention narrows its input instead of feeding all heads."""
    return rows < attention.n_heads * attention.head_dim // 2 and rows <= 4096


def _feed_forward_s(
    model: Outline, group: LayerGroup, deployment: Deployment, kernels: Kernels, tokens: Floats
) -> Floats:
    """Products of a layer's block: a dense or shared part cut over all chips, router, routed experts."""
    ffn, precision = group.ffn, deployment.precision
    cut = deployment.tp * deployment.dp
    everyone = tokens * deployment.dp
    width = ffn.shared_dim if ffn.n_experts else ffn.hidden_dim
    total = np.zeros_like(tokens)
    if width:
        part = _ceil(width, cut)
        types = (precision.weights, deployment.compute)
        total += kernels.gemm(everyone, (ffn.n_matrices - 1) * part, model.dim, *types)
        total += kernels.gemm(everyone, model.dim, part, *types)
    if ffn.n_experts:
        total += kernels.gemm(tokens, ffn.n_experts, model.dim)
        total += kernels.experts(
            everyone,
            ffn.expert_dim or model.dim,
            ffn.hidden_dim,
            ffn.n_experts,
            ffn.top_k,
            n_matrices=ffn.n_matrices,
            tp=cut // deployment.ep,
            ep=deployment.ep,
            weights=precision.experts or precision.weights,
        )
    return total


def _exchanges_s(
    model: Outline, group: LayerGroup, deployment: Deployment, kernels: Kernels, tokens: Floats
) -> Floats:
    """Sums and exchanges between chips in one layer.

    One attention group: two sums. Several: a sum inside each, and tokens travel to the chips of their
    experts and back, or are gathered and scattered where every expert is cut over all chips.
    """
    tp, dp, ep = deployment.tp, deployment.dp, deployment.ep
    n_bytes = tokens * model.dim * _ACTIVATION_BYTES
    total = np.zeros_like(tokens)
    if tp > 1:
        total += kernels.all_reduce(n_bytes, tp)
    if dp == 1:
        return total + (kernels.all_reduce(n_bytes, tp) if tp > 1 else 0.0)
    if group.ffn.n_experts and ep > 1:
        return total + kernels.dispatch_combine(
            tokens / tp, model.dim, group.ffn.top_k, group.ffn.n_experts, ep
        )
    everyone = n_bytes * dp
    gathered_s = kernels.all_gather(everyone, tp * dp)
    return total + gathered_s + kernels.reduce_scatter(everyone, tp * dp)


def _passes_s(model: Outline, kernels: Kernels, tokens: Floats) -> Floats:
    """What a layer does to a token's activations outside products."""
    return _PASSES_A_LAYER * kernels.elementwise(2 * tokens * model.dim * _ACTIVATION_BYTES)


def _seen(attention: Attention, context: Floats) -> Floats:
    """Cache entries that a query reads."""
    entries = context / attention.compression
    if attention.topk is not None:
        entries = np.minimum(entries, attention.topk)
    if attention.local:
        entries = entries + np.minimum(context, attention.local)
    return np.maximum(entries, 1.0)


def _index_decode_s(
    attention: Attention, kernels: Kernels, users: Floats, context: Floats
) -> Floats | float:
    """Choosing the best positions for one query a user: every index key is read, one byte a number."""
    if attention.topk is None:
        return 0.0
    return kernels.elementwise(users * context / attention.compression * attention.index_dim)


def _index_prompt_s(
    attention: Attention, kernels: Kernels, batch: Floats, new_tokens: Floats, context: Floats
) -> Floats | float:
    """The same for prompts, where every index head meets every key: a product."""
    if attention.topk is None:
        return 0.0
    keys = (context + new_tokens / 2) / attention.compression
    columns = np.maximum(keys * max(attention.index_heads, 1), 1.0)
    return batch * kernels.gemm(new_tokens, columns, max(attention.index_dim, 1))


def _chosen_share(attention: Attention, new_tokens: Floats, context: Floats) -> Floats | float:
    """Of all pairs of a query and an earlier position, the share that sparse attention computes."""
    if attention.topk is None:
        return 1.0
    mean_seen = np.maximum((context + new_tokens / 2) / attention.compression, 1.0)
    return np.minimum(attention.topk / mean_seen, 1.0)


def attention_decode_s(
    model: Outline,
    deployment: Deployment,
    kernels: Kernels,
    batch: Floats,
    context: Floats,
    *,
    beside: bool = False,
) -> Floats:
    """Attention of a decode step in all layers: `batch` users of one group with `context` positions each.

    Drafted tokens read the cache once for all of them, as verification does. `beside`: in one call with prompts.
    """
    total = np.zeros(np.broadcast_shapes(batch.shape, context.shape))
    for group in model.groups:
        if group.attention.kind != "none":
            total += group.count * _mix_decode_s(
                group.attention, deployment, kernels, batch, context, beside
            )
    return total


def _mix_decode_s(
    part: Attention,
    deployment: Deployment,
    kernels: Kernels,
    batch: Floats,
    context: Floats,
    beside: bool,
) -> Floats:
    """One layer of `attention_decode_s`."""
    kv, tp = deployment.precision.kv, deployment.tp
    heads = _ceil(part.n_heads, tp)
    if part.kind == "linear":
        # The state is read and written, 2 bytes a number.
        return kernels.elementwise(4.0 * batch * part.state_elements / tp)
    if part.kind == "latent":
        once = kernels.latent_decode(batch, _seen(part, context), heads, kv)
    else:
        once = kernels.attention_decode(
            batch,
            _seen(part, context),
            heads,
            _ceil(part.n_kv_heads, tp),
            max(part.head_dim, 1),
            kv,
            part.window,
            beside=beside,
        )
    return once + _index_decode_s(part, kernels, batch, context)


def attention_prompt_s(
    model: Outline,
    deployment: Deployment,
    kernels: Kernels,
    batch: Floats,
    new_tokens: Floats,
    context: Floats,
) -> Floats:
    """Attention of prompts in all layers: `batch` texts of one group, `new_tokens` each after `context` cached ones."""
    total = np.zeros(np.broadcast_shapes(batch.shape, new_tokens.shape, context.shape))
    for group in model.groups:
        if group.attention.kind != "none":
            total += group.count * _mix_prompt_s(
                group.attention, deployment, kernels, batch, new_tokens, context
            )
    return total


def _mix_prompt_s(
    part: Attention,
    deployment: Deployment,
    kernels: Kernels,
    batch: Floats,
    new_tokens: Floats,
    context: Floats,
) -> Floats:
    """One layer of `attention_prompt_s`."""
    kv, tp = deployment.precision.kv, deployment.tp
    heads = _ceil(part.n_heads, tp)
    if part.kind == "linear":
        # Chunks of 64 tokens: each reads and writes the state once.
        return kernels.elementwise(4.0 * batch * new_tokens / 64.0 * part.state_elements / tp)
    if part.kind == "latent":
        once = kernels.latent_prompt(batch, new_tokens, context, heads, kv)
    else:
        once = kernels.attention_prompt(
            batch,
            new_tokens,
            context / part.compression,
            heads,
            _ceil(part.n_kv_heads, tp),
            max(part.head_dim, 1),
            kv,
            part.window,
        )
    once = once * _chosen_share(part, new_tokens, context)
    return once + _index_prompt_s(part, kernels, batch, new_tokens, context)
