"""LPUs in a fleet: a pipeline as a server of steps, GPUs that hand caches to it, and both kinds in one decode step.

    lpu_pool(LpuStepModel.of(model, deployment, users=16), name="lpu", replicas=2, expected_context=1500) -> Pool
    hand_over(gpu_pool, model, link, n_links=4, prompt_tokens=1024) -> Pool of role `prompt`
    afd_pool(model, deployment, steps, link=..., ...)               attention on GPUs, feed-forward on LPUs (`lpu_pairs`)

A token takes a step from its place in the pipeline to its logits, and another may follow it after an interval. So a step of the
simulation takes as long as one token's way (`floor_ns`) or as all tokens take to follow each other; prompts go through
token by token in places that users leave free. Imports what schedules rest on: no part of `takt.serving`'s own face.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from takt.errors import CapacityError, UsageError
from takt.models.outlines import Outline
from takt.perf.lpu import Link, LpuStepModel

from .fleet import Policy, Pool, Role
from .lpu_pairs import FEEDING, afd_pool, expert_loads, ffn_chips, without_ffn
from .step_table import Axis, Grid, StepTable
from .tables import places

__all__ = [
    "FEEDING",
    "afd_pool",
    "expert_loads",
    "ffn_chips",
    "hand_over",
    "lpu_pool",
    "lpu_table",
    "without_ffn",
]

Floats = NDArray[np.float64]

_NS = 1e9
_MOST_SEQS = 1 << 16
_MOST_BLOCKS = 48  # contexts in a table, beside those that were compiled
_CACHE_BYTES = 2.0  # LPUs keep 16-bit numbers


def lpu_pool(
    steps: LpuStepModel,
    *,
    name: str,
    replicas: int,
    expected_context: int,
    role: Role = "both",
    max_seqs: int | None = None,
    entry_ns: int = 0,
    usd_per_h: float | None = None,
) -> Pool:
    """`replicas` pipelines of a schedule; one has `steps.pace.chips` chips, whatever copies `steps` counts.

    Caches are places of `context_tokens` of the deployment each, cut when the schedule was made: a block of the
    policy is a whole one, and nothing of it serves another request. `usd_per_h` of one pipeline. `entry_ns`: what a host
    takes before a prompt begins; no LPU's is published. Raises CapacityError for more users than have a place.
    """
    pace, context = steps.pace, steps.deployment.context_tokens
    if not 1 <= expected_context <= context:
        raise UsageError(
            f"an expected context of {expected_context:,} in places for {context:,} positions",
            hint="a deployment with more context_tokens",
        )
    users = min(max_seqs or pace.max_users, _MOST_SEQS)
    if users > pace.max_users:
        raise CapacityError(
            f"{users:,} requests on one pipeline", resource="caches", needed=users, available=pace.max_users
        )  # fmt: skip
    way_s = float(_floor_s(steps, np.array(float(expected_context))))
    beside = int(np.ceil(way_s / float(pace.interval_s(expected_context))))
    policy = Policy(
        max_seqs=users,
        max_step_tokens=max(beside, users),
        n_blocks=users,
        block_tokens=context,
        prefix_caching=False,
    )
    return Pool(
        name=name,
        replicas=replicas,
        table=lpu_table(steps, max_step_tokens=policy.max_step_tokens, max_seqs=users),
        policy=policy,
        role=role,
        entry_ns=entry_ns,
        chip=steps.deployment.system,
        chips=pace.chips,
        usd_per_h=usd_per_h,
    )


def lpu_table(steps: LpuStepModel, *, max_seqs: int, max_step_tokens: int) -> StepTable:
    """Costs of the steps of one pipeline: intervals of all tokens, and no less than one token's way with the host's.

    Joules are idle power all the time, and each token's own while its interval lasts.
    """
    pace = steps.pace
    context = _positions(steps)
    users = np.array([0.0, float(max_seqs)])
    interval_s = pace.interval_s(context)
    idle_w = pace.idle_w * pace.chips
    busy_w = idle_w + pace.active_j(context) / interval_s
    new = places(1, min(max_step_tokens, steps.deployment.context_tokens), 3)
    cached = places(0, steps.deployment.context_tokens, 2)
    # Intervals end with the context; places at its end stand for chunks that end there.
    start = np.clip(steps.deployment.context_tokens - new[:, None], 0.0, cached[None, :])
    read_s = pace.intervals_s(start, start + new[:, None])
    made = steps.decode(1, context)
    return StepTable(
        tokens_ns=np.zeros(1),
        rows_ns=np.zeros(1),
        decode_ns=Grid(x=users, y=context, values=users[:, None] * interval_s[None, :] * _NS),
        prompt_ns=Grid(x=new, y=cached, values=read_s * _NS),
        floor_ns=_floor_s(steps, context) * _NS,
        factor=Grid(x=np.ones(1), y=np.ones(1), values=np.ones((1, 1))),
        decode_w=Grid(x=np.ones(1), y=context, values=busy_w[None, :]),
        prompt_w=float(busy_w[0] + busy_w[-1]) / 2,
        idle_w=idle_w,
        basis=made.basis,
        decode_error=made.error,
        prompt_error=made.error,
    )


def _floor_s(steps: LpuStepModel, context: Floats) -> Floats:
    """One token's way, and the host's round trip where the deployment counts it."""
    host_s = steps.pace.host_s if steps.deployment.with_host else 0.0
    return np.asarray(steps.pace.step_s(context) + host_s)


def _positions(steps: LpuStepModel) -> Floats:
    """Middles of blocks of lanes, in which a schedule is the same: the first, the last, those compiled and some between."""
    lanes = steps.pace.lanes
    last = (steps.deployment.context_tokens - 1) // lanes
    compiled = [position // lanes for position in steps.pace.row.positions]
    some = np.linspace(0, last, min(last + 1, _MOST_BLOCKS)).round()
    blocks = np.unique(np.concatenate([some, [each for each in compiled if each <= last]]))
    middles = blocks * lanes + (lanes - 1) // 2
    return Axis(np.unique(np.minimum(middles, steps.deployment.context_tokens - 1)))


def hand_over(
    pool: Pool,
    model: Outline,
    link: Link,
    *,
    n_links: int,
    prompt_tokens: int,
    ports_bytes_per_s: float = 0.0,
) -> Pool:
    """The pool as readers of prompts, whose caches cross `n_links` of a link layer by layer while the prompt is read.

    What is left to send when a prompt ends is one layer's part, or what the slower link is behind by; judged at
    `prompt_tokens`. `ports_bytes_per_s`: of all network ports of a reader, 0 where the link is all that counts.
    """
    if prompt_tokens < 1 or n_links < 1:
        raise UsageError(
            "prompts have at least one token, and at least one link carries their caches"
        )
    read_ns, left, seen = 0, prompt_tokens, 0
    while left:
        new = min(left, pool.policy.max_step_tokens)
        read_ns += pool.table.step(0, 0, 0, [(new, seen)])[0]
        left, seen = left - new, seen + new
    n_bytes = model.kv_bytes(prompt_tokens, _CACHE_BYTES)
    rate = link.bytes_per_s * n_links
    if ports_bytes_per_s > 0:
        rate = min(rate, ports_bytes_per_s)
    sent_ns = n_bytes / rate * _NS
    behind_ns = max(sent_ns - read_ns, 0.0) + min(sent_ns, read_ns) / model.n_layers
    return replace(
        pool,
        role="prompt",
        table=replace(pool.table, basis=pool.table.basis | link.basis),
        send_ns_per_token=behind_ns / prompt_tokens,
        send_ns=int(np.ceil(link.latency_s * _NS)),
    )
