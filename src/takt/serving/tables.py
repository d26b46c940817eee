"""Step tables, policies and pools from room `perf`: what a replica of GPUs (or of any chip with kernels) is to a simulation.

    steps = StepModel.of(model, deployment)
    table_of(steps, max_seqs=256, max_step_tokens=8192, max_context=32768) -> StepTable
    policy_of(model, deployment, expected_context=2048) -> Policy
    pool_of(model, deployment, name="h100", replicas=4, expected_context=2048) -> Pool

A table is made of differences of what `StepModel` answers, so that a step of users alone, or of one text alone, comes out as
there: what follows from tokens, from rows, and the rest over users × context or new × cached tokens. Knows kernels only by
their sums, and no requests. LPUs, and pairs of GPUs and LPUs: `lpus`.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from takt.errors import UnsupportedError, UsageError
from takt.models.outlines import Outline
from takt.perf import Deployment, StepModel, max_users, memory_of
from takt.perf.corrections import figure_error, time_factor

from .defaults import defaults_of, network_defaults
from .fleet import Policy, Pool, Role
from .outcome import ENERGY_UNKNOWN
from .step_table import Axis, Grid, StepTable

__all__ = ["places", "policy_of", "pool_of", "send_ns_per_token", "table_of"]

Floats = NDArray[np.float64]

CORRECTED = "fitted: end-to-end corrections"
_NS = 1e9
_KV_BITS = {"fp32": 32, "bf16": 16, "fp16": 16}  # caches of any other type take 8 bits
# Longest list of times by tokens: 2 MiB. Steps of more tokens take as long as this many.
_MOST_TOKENS = 1 << 18
_MOST_SEQS = 1 << 16
_DENSE_TO = 64  # sizes to here are all asked for, then so many an octave that lines between them do
_OCTAVE = 16
_MOST_TEXTS = (
    8.0  # read side by side in one group: with so many, one more adds its share of a busy chip
)
# Users (of a group) and positions at which the slopes of corrections are 0: the middle of what was measured.
_MIDDLE_USERS = 16.0
_MIDDLE_CONTEXT = 2048.0


def table_of(
    steps: StepModel,
    *,
    max_seqs: int = 256,
    max_step_tokens: int = 8192,
    max_context: int = 32_768,
    prompts_per_token: float = 1.0,
    corrections: bool = True,
) -> StepTable:
    """Costs of all steps of at most `max_seqs` requests and `max_step_tokens` tokens, contexts to `max_context`.

    `corrections`: times with users are multiplied by what end-to-end measurements say of times between tokens, those of
    prompts alone by what all times of the deployment share, energy by what they say of it; `prompts_per_token`: prompt
    tokens for each generated one, which the measurements depend on. Raises UsageError for sizes below 1.
    """
    if min(max_seqs, max_step_tokens, max_context) < 1 or max_seqs > _MOST_SEQS:
        raise UsageError(
            f"a table of {max_seqs:,} requests, {max_step_tokens:,} tokens a step, {max_context:,} positions",
            hint=f"sizes are 1 or more, requests at most {_MOST_SEQS:,}",
        )
    groups = steps.deployment.dp * steps.deployment.pp
    tokens_ns = _tokens_ns(steps, groups, max_step_tokens)
    rows_ns = _rows_ns(steps, groups, max_seqs)
    decode_ns = _decode_ns(steps, tokens_ns, rows_ns, max_seqs, max_context)
    prompt_ns, alone_ns = _prompt_ns(steps, groups, max_step_tokens, max_context)
    table = StepTable(
        tokens_ns=tokens_ns,
        rows_ns=rows_ns,
        decode_ns=decode_ns,
        prompt_ns=prompt_ns,
        alone_ns=alone_ns,
        mixed_ns=_mixed_ns(steps, decode_ns),
        floor_ns=_floor_ns(steps, decode_ns.y),
        factor=_constant(1.0),
        decode_w=_constant(0.0),
        prompt_w=0.0,
        idle_w=0.0,
        groups=groups,
        basis=steps.basis,
        decode_error=steps.decode(1, 1).error,
        prompt_error=steps.decode(1, 1).error,
    )
    table = _with_power(table, steps, max_seqs, max_step_tokens, max_context)
    return _corrected(table, steps, prompts_per_token) if corrections else table


def policy_of(
    model: Outline,
    deployment: Deployment,
    *,
    expected_context: int,
    max_seqs: int | None = None,
    max_step_tokens: int | None = None,
    block_tokens: int | None = None,
    prefix_caching: bool | None = None,
    mixed: bool | None = None,
    reserve_fraction: float | None = None,
) -> Policy:
    """How the deployment's engine schedules by default, over as many blocks as fit beside the weights.

    A user's cache is counted as at `expected_context` positions. Where windows or states bound it, a token takes less
    the longer the text: blocks are then those of texts of that length, too many for shorter ones, too few for longer.
    Raises UsageError where not even the weights fit.
    """
    if expected_context < 1:
        raise UsageError(f"an expected context of {expected_context}, expected at least 1 position")
    engine = StepModel.of(model, deployment).engine
    known = defaults_of(deployment.engine, deployment.chip)
    groups = deployment.dp * deployment.pp
    copies = groups if known.by_group else 1
    step_tokens = max_step_tokens or known.step_tokens * copies
    per_user = 1 + deployment.draft_tokens
    memory = memory_of(
        model,
        deployment,
        expected_context,
        reserve_fraction=engine.reserve_fraction if reserve_fraction is None else reserve_fraction,
        fixed_bytes=engine.fixed_bytes,
        activation_tokens=-(-step_tokens // groups),
    )
    max_users(memory, deployment)  # says what is missing where the weights don't fit
    block = block_tokens or known.block_tokens
    kv_tokens = memory.free_bytes / max(memory.user_bytes, 1.0) * expected_context
    seqs = max_seqs or known.max_seqs * copies
    return Policy(
        max_seqs=min(seqs, max(step_tokens // per_user, 1), _MOST_SEQS),
        max_step_tokens=max(step_tokens, per_user),
        # Each group reads texts of its own, with its share of a step.
        max_chunk_tokens=max(step_tokens // groups, 1) if groups > 1 else 0,
        n_blocks=int(min(max(kv_tokens // block, 1), (1 << 31) - 1)),
        block_tokens=block,
        prefix_caching=known.prefix_caching if prefix_caching is None else prefix_caching,
        mixed=known.mixed if mixed is None else mixed,
        draft_tokens=deployment.draft_tokens,
        acceptance=deployment.acceptance,
    )


def pool_of(
    model: Outline,
    deployment: Deployment,
    *,
    name: str,
    replicas: int,
    expected_context: int,
    role: Role = "both",
    usd_per_h: float | None = None,
    policy: Policy | None = None,
    max_context: int | None = None,
    prompts_per_token: float = 1.0,
    corrections: bool = True,
    steps: StepModel | None = None,
) -> Pool:
    """`replicas` copies of a deployment, their engine's defaults (or `policy`), and what their steps cost.

    `usd_per_h` of one replica. `max_context`: the longest text that the table is exact for (default: the model's limit, at most
    16 times `expected_context`). `steps` spares looking the kernels up again. Role `prompt` sends caches over the
    chips' own network ports; UnsupportedError where nothing is known of them.
    """
    steps = steps or StepModel.of(model, deployment)
    policy = policy or policy_of(model, deployment, expected_context=expected_context)
    longest = max_context or min(model.max_context or 131_072, 16 * expected_context)
    table = table_of(
        steps,
        max_seqs=policy.max_seqs,
        max_step_tokens=policy.max_step_tokens,
        max_context=max(longest, expected_context),
        prompts_per_token=prompts_per_token,
        corrections=corrections,
    )
    known = defaults_of(deployment.engine, deployment.chip)
    entry_s = steps.engine.first_s if known.entry_s is None else known.entry_s
    basis = table.basis | {known.basis}
    sends, latency_ns = 0.0, 0
    if role == "prompt":
        sends = send_ns_per_token(model, deployment, expected_context)
        latency_ns = network_defaults().latency_ns
        basis |= {network_defaults().basis}
    return Pool(
        name=name,
        replicas=replicas,
        table=replace(table, basis=basis),
        policy=policy,
        role=role,
        entry_ns=round(entry_s * _NS),
        send_ns_per_token=sends,
        send_ns=latency_ns,
        chip=deployment.chip.id,
        chips=deployment.n_chips,
        usd_per_h=usd_per_h,
    )


def send_ns_per_token(model: Outline, deployment: Deployment, context: int) -> float:
    """Nanoseconds in which the network ports of all chips of a replica send one token's cache, at that context.

    Raises UnsupportedError where the chip's network is not known.
    """
    port = deployment.chip.scale_out.bytes_per_s
    if port is None:
        raise UnsupportedError(
            f"nothing is known of the network between {deployment.chip.id}",
            hint="state scale_out.bytes_per_s in a chip file of your own",
        )
    element_bytes = _KV_BITS.get(deployment.precision.kv, 8) / 8.0
    n_bytes = model.kv_bytes(context, element_bytes) / context
    return n_bytes / (port * deployment.n_chips * network_defaults().share) * _NS


def places(least: int, most: int, per_octave: float, extra: tuple[float, ...] = ()) -> Floats:
    """Whole numbers from `least` to `most`, evenly spaced in their logarithms, `extra` ones between them too."""
    first, last = max(least, 1), max(most, 1)
    n = int(np.ceil(np.log2(last / first) * per_octave)) + 1 if last > first else 1
    spaced = np.round(np.geomspace(first, last, n))
    found = np.concatenate([[least], spaced, [e for e in extra if least < e < last]])
    return Axis(np.unique(found))


def _tokens_ns(steps: StepModel, groups: int, max_step_tokens: int) -> Floats:
    """By tokens of the whole copy, spread over its groups; long enough for one text that a single group reads."""
    most = min(max_step_tokens * groups, _MOST_TOKENS)
    nodes = places(1, most, _OCTAVE, tuple(range(1, min(_DENSE_TO * groups, 1024, most))))
    return np.interp(np.arange(most + 1), nodes, steps.curve(nodes / groups)) * _NS


def _rows_ns(steps: StepModel, groups: int, max_seqs: int) -> Floats:
    """By rows that get logits: the head, and what the host does for each step and row."""
    rows = np.arange(max_seqs + groups + 1) / groups
    return np.asarray(steps.head(rows) + steps.engine.overhead_s(rows, 0.0)) * _NS


def _floor_ns(steps: StepModel, context: Floats) -> Floats:
    """At the first place, where nobody generates: what the host takes to start all kernels of a step that reads."""
    floor_ns = np.zeros(len(context))
    known = defaults_of(steps.deployment.engine, steps.deployment.chip)
    host_s = sum(
        group.count * (known.experts_s if group.ffn.n_experts else known.layer_s)
        for group in steps.model.groups
    )
    floor_ns[0] = host_s / steps.deployment.pp * _NS
    return floor_ns


def _kinks(steps: StepModel) -> tuple[float, ...]:
    """Contexts at which attention changes its ways: windows, and as many entries as sparse attention reads."""
    found: set[float] = set()
    for group in steps.model.groups:
        part = group.attention
        found |= {
            float(part.window or 0),
            float(part.local),
            part.compression * float(part.topk or 0),
        }
    return tuple(sorted(found - {0.0}))


def _decode_ns(
    steps: StepModel, tokens_ns: Floats, rows_ns: Floats, max_seqs: int, max_context: int
) -> Grid:
    """What is left of a step of users alone: attention, guessing ahead, the head for guesses."""
    groups = steps.deployment.dp * steps.deployment.pp
    users = places(1, max_seqs, 3, (2.0, 3.0, *(float(groups * i) for i in (1, 2))))
    # Nobody generates at context 0: it is where steps without users find their floor.
    context = places(0, max_context, 3, (1.0, 16.0, *_kinks(steps)))
    took_ns = steps.decode_s(users[:, None], np.maximum(context, 1.0)[None, :]) * _NS
    drafted = users.astype(np.int64) * (1 + steps.deployment.draft_tokens)
    known = _at(tokens_ns, drafted) + _at(rows_ns, users.astype(np.int64))
    return Grid(x=users, y=context, values=np.ascontiguousarray(took_ns - known[:, None]))


def _mixed_ns(steps: StepModel, decode_ns: Grid) -> Grid | None:
    """The same beside prompts; None where attention takes no longer there."""
    context = np.maximum(decode_ns.y, 1.0)
    longer_ns = steps.beside_s(decode_ns.x[:, None], context[None, :]) * _NS
    return replace(decode_ns, values=decode_ns.values + longer_ns) if longer_ns.any() else None


def _at(values: Floats, counts: NDArray[np.int64]) -> Floats:
    return values[np.minimum(counts, len(values) - 1)]


def _prompt_ns(
    steps: StepModel, groups: int, max_step_tokens: int, max_context: int
) -> tuple[Grid, Grid]:
    """Attention of a text (and what an engine without graphs does to start it): in a full step, and alone; a group's share.

    Texts are read side by side: a short one after a long context leaves most of a chip idle.
    """
    new = places(1, max_step_tokens, 3, (16.0,))
    cached = places(0, max_context, 1.5, _kinks(steps))
    full = np.clip(max_step_tokens / groups / new, 1.0, _MOST_TEXTS)
    texts = np.stack([np.ones_like(full), full])[:, :, None]
    made = steps.prompt(texts * groups, new[:, None], cached[None, :])
    known = steps.curve(texts * new[:, None]) + steps.head(texts)
    known = known + steps.engine.overhead_s(texts, 0.0)
    alone, many = np.maximum(made.time_s - known, 0.0) * _NS
    share = np.minimum(many / full[:, None], alone) / groups
    return Grid(x=new, y=cached, values=share), Grid(x=new, y=cached, values=alone / groups)


def _constant(value: float) -> Grid:
    return Grid(x=np.ones(1), y=np.ones(1), values=np.full((1, 1), value))


def _with_power(
    table: StepTable, steps: StepModel, max_seqs: int, max_step_tokens: int, max_context: int
) -> StepTable:
    """Watts from joules ÷ seconds; none where nobody knows the chip's power, and the basis says so."""
    chip, n_chips = steps.deployment.chip, steps.deployment.n_chips
    limit_w = chip.power.tdp_w
    if limit_w is None or not np.isfinite(limit_w):
        return replace(table, basis=table.basis | {ENERGY_UNKNOWN})
    users, context = places(1, max_seqs, 1.5), places(1, max_context, 1, (16.0,))
    made = steps.decode(users[:, None], context[None, :])
    chunk = max(max_step_tokens // table.groups, 1)
    read = steps.prompt(table.groups, min(chunk, int(_MIDDLE_CONTEXT)))
    idle_w = chip.power.idle_w
    if idle_w is None:
        idle_w = float(steps.kernels.power_w(0.0, 0.0))
    kind = steps.deployment.precision.weights
    return replace(
        table,
        decode_w=Grid(x=users, y=context, values=made.energy_j / made.time_s),
        prompt_w=float(read.energy_j / read.time_s),
        idle_w=idle_w * n_chips,
        energy_error=steps.kernels.error("power", kind),
        basis=table.basis | {steps.kernels.basis("power", kind)},
    )


def _corrected(table: StepTable, steps: StepModel, prompts_per_token: float) -> StepTable:
    """Times by `tpot` with users, by what all times share without; joules by `energy`."""
    model, deployment = steps.model, steps.deployment
    prompts = np.asarray(float(prompts_per_token))
    users = places(1, int(table.decode_ns.x[-1]), 2)
    context = places(16, max(int(table.decode_ns.y[-1]), 16), 2)
    sizes = users[:, None], context[None, :]
    tpot = time_factor(model, deployment, "tpot", *sizes, prompts)
    # What was measured of other loads must not make a step quicker than its bytes can be read.
    tpot = np.maximum(tpot, steps.floor_s(*sizes) / steps.decode_s(*sizes))
    # What a text takes has no users of its own: taken in the middle, where the slopes are 0.
    middle = np.asarray(_MIDDLE_USERS * deployment.dp), np.asarray(_MIDDLE_CONTEXT)
    shared = float(time_factor(model, deployment, None, *middle, prompts))
    values = np.concatenate([np.full((1, len(context)), shared), tpot])
    table = replace(
        table,
        factor=Grid(x=np.concatenate([[0.0], users]), y=context, values=values),
        decode_error=figure_error(model, deployment, "tpot"),
        prompt_error=figure_error(model, deployment, "ttft"),
        basis=table.basis | {CORRECTED},
    )
    if ENERGY_UNKNOWN in table.basis:
        return table
    x, y = table.decode_w.x[:, None], table.decode_w.y[None, :]
    energy = time_factor(model, deployment, "energy", x, y, prompts)
    pace = time_factor(model, deployment, "tpot", x, y, prompts)
    read = float(time_factor(model, deployment, "energy", *middle, prompts))
    # Both factors were fitted apart: their ratio may ask for more than boards are allowed to draw.
    most_w = (deployment.chip.power.tdp_w or np.inf) * deployment.n_chips
    watts = np.minimum(table.decode_w.values * (energy / pace), most_w)
    return replace(
        table,
        decode_w=replace(table.decode_w, values=watts),
        prompt_w=min(table.prompt_w * read / shared, most_w),
        energy_error=figure_error(model, deployment, "energy"),
    )
