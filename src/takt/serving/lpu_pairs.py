"""Attention on GPUs, feed-forward on LPUs: the two as one replica that generates, its step shared by all its users.

Caches, attention and head stay on `copies` of a GPU deployment; LPUs hold the feed-forward weights. What an LPU takes for the
first token of a micro-batch is the schedule's; that further ones find the weights loaded is an assumption, and said. Prompts
are read elsewhere. Knows the step (`perf.lpu.afd_step`), and no requests.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from takt.chips import System, load_system
from takt.errors import UsageError
from takt.models.outlines import FeedForward, Outline
from takt.perf import Deployment, StepModel
from takt.perf.lpu import Link, LpuStepModel, afd_step

from .fleet import Pool
from .outcome import ENERGY_UNKNOWN
from .step_table import Grid, StepTable
from .tables import places, policy_of

__all__ = ["FEEDING", "afd_pool", "expert_loads", "ffn_chips", "without_ffn"]

Floats = NDArray[np.float64]

_NS = 1e9
_MOST_SEQS = 1 << 16
FEEDING = (
    "assumed: an LPU's feed-forward loads weights once a micro-batch, further tokens at peak rate"
)


def without_ffn(model: Outline) -> Outline:
    """The model without feed-forward blocks: what stays on the GPUs."""
    groups = tuple(replace(group, ffn=FeedForward(hidden_dim=0)) for group in model.groups)
    return replace(model, groups=groups, stored_experts="")


def ffn_chips(model: Outline, steps: LpuStepModel) -> int:
    """LPUs that hold the feed-forward weights: of a schedule's stages the share that these weights have."""
    share = 1.0 - without_ffn(model).n_parameters / model.n_parameters
    row = steps.pace.row
    return row.group * max(1, round(row.stages * share))


def afd_pool(
    model: Outline,
    deployment: Deployment,
    steps: LpuStepModel,
    *,
    link: Link,
    name: str,
    replicas: int,
    expected_context: int,
    copies: int = 1,
    microbatches: int = 2,
    max_context: int | None = None,
    usd_per_h: float | None = None,
) -> Pool:
    """Replicas of role `decode`, each `copies` of `deployment` for attention beside the LPUs of `ffn_chips`.

    `steps`: the whole model's schedule on LPUs, of which the feed-forward's part is taken. Users take turns in
    `microbatches`. `chip` of the pool is the GPU, `chips` counts both kinds. `usd_per_h` of one replica. Raises UsageError
    where the attention's weights don't fit.
    """
    if copies < 1 or microbatches < 1:
        raise UsageError(
            f"{copies} copies and {microbatches} micro-batches, expected at least 1 each"
        )
    pair = _Pair(
        model=model,
        part=without_ffn(model),
        gpu=StepModel.of(without_ffn(model), deployment),
        steps=steps,
        system=load_system(steps.deployment.system),
        held=ffn_chips(model, steps),
        link=link,
        copies=copies,
        microbatches=microbatches,
    )
    policy = policy_of(pair.part, deployment, expected_context=expected_context)
    policy = replace(
        policy,
        max_seqs=min(policy.max_seqs * copies, _MOST_SEQS),
        max_step_tokens=policy.max_step_tokens * copies,
        n_blocks=policy.n_blocks * copies,
        mixed=True,
    )
    longest = max_context or min(model.max_context or 131_072, 16 * expected_context)
    return Pool(
        name=name,
        replicas=replicas,
        table=pair.table(policy.max_seqs, policy.max_step_tokens, max(longest, expected_context)),
        policy=policy,
        role="decode",
        chip=deployment.chip.id,
        chips=deployment.n_chips * copies + pair.held,
        usd_per_h=usd_per_h,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """`part` of the model on `copies` of a GPU deployment, the rest on `held` LPUs."""

    model: Outline
    part: Outline
    gpu: StepModel
    steps: LpuStepModel
    system: System
    held: int
    link: Link
    copies: int
    microbatches: int

    def table(self, max_seqs: int, max_step_tokens: int, max_context: int) -> StepTable:
        """Costs of the shared step; what is read here (a cache that was lost) takes as long as generating it in full steps."""
        users = places(1, max_seqs, 3)
        context = places(1, max_context, 2, (16.0,))
        group = np.maximum(users / (self.copies * self.microbatches), 1.0)[:, None]
        made = self.gpu.decode(group, context[None, :])
        step_s = self._step_s(group, made.time_s)
        watts, idle_w = self._watts(group, context, made.time_s, made.energy_j, step_s)
        known = bool(np.isfinite(watts).all())
        new, cached = places(1, max_step_tokens, 1), places(0, max_context, 1)
        each_s = np.interp(cached, context, step_s[-1]) / users[-1]
        middle = int(np.searchsorted(users, users[-1] / 2))
        basis = made.basis | self.link.basis | self.steps.decode(1, 0).basis | {FEEDING}
        return StepTable(
            tokens_ns=np.zeros(1),
            rows_ns=np.zeros(1),
            decode_ns=Grid(x=users, y=context, values=step_s * _NS),
            prompt_ns=Grid(x=new, y=cached, values=new[:, None] * each_s[None, :] * _NS),
            floor_ns=np.zeros(len(context)),
            factor=Grid(x=np.ones(1), y=np.ones(1), values=np.ones((1, 1))),
            decode_w=Grid(x=users, y=context, values=watts if known else np.zeros_like(watts)),
            prompt_w=float(watts[middle].mean()) if known else 0.0,
            idle_w=idle_w if known else 0.0,
            basis=basis if known else basis | {ENERGY_UNKNOWN},
        )

    def _step_s(self, group: Floats, attention_s: Floats) -> Floats:
        """`group` users of a micro-batch on each copy; the first token of a micro-batch brings the weights to the MXMs."""
        fed = group * self.copies
        fed_s = self.steps.pace.ffn_s_per_layer * expert_loads(self.model, fed)
        fed_s = fed_s + (fed - 1) * self._next_token_s()
        return afd_step(
            attention_s / self.model.n_layers,
            fed_s,
            dim=self.model.dim,
            n_layers=self.model.n_layers,
            users=fed * self.microbatches,
            link=self.link,
            microbatches=self.microbatches,
            n_links=max(1, self.held // self.system.node.chips),
        )

    def _next_token_s(self) -> float:
        """Seconds of one token's mean feed-forward block on its share of the LPUs, at int8 peak."""
        n_ops = 2.0 * (self.model.n_active_parameters - self.part.n_active_parameters)
        return n_ops / (self.held * self.system.chip.int8_ops_per_s)

    def _watts(
        self,
        group: Floats,
        context: Floats,
        attention_s: Floats,
        attention_j: Floats,
        step_s: Floats,
    ) -> tuple[Floats, float]:
        """[users, contexts] watts of all chips of both kinds in a step, and while none is under way."""
        chip = self.gpu.deployment.chip
        n_gpus = self.gpu.deployment.n_chips * self.copies
        idle_w = (chip.power.idle_w or 0.0) * n_gpus
        pace, batches = self.steps.pace, self.microbatches
        lpu_w = pace.idle_w * self.held
        share = 1.0 - self.part.n_parameters / self.model.n_parameters
        users = group * self.copies * batches
        joules = attention_j * self.copies * batches
        joules = joules + idle_w * np.maximum(step_s - batches * attention_s, 0.0)
        joules = joules + users * share * pace.active_j(context)[None, :]
        return joules / step_s + lpu_w, idle_w + lpu_w


def expert_loads(model: Outline, tokens: Floats) -> Floats:
    """How many times one token's weights a micro-batch loads: distinct experts, if each choice were even, ÷ top_k."""
    routed = [group.ffn for group in model.groups if group.ffn.n_experts]
    if not routed:
        return np.ones_like(tokens)
    ffn = routed[-1]
    met = ffn.n_experts * (1.0 - (1.0 - ffn.top_k / ffn.n_experts) ** tokens)
    return np.maximum(met / ffn.top_k, 1.0)
