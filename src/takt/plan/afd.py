"""Attention on GPUs, feed-forward on LPUs: each token's activations cross twice a layer, in micro-batches taking turns.

Caches, attention and head stay on GPUs, LPUs hold the feed-forward weights only. What an LPU takes for the first token
of a micro-batch is the schedule's; that further ones find the weights loaded is an assumption, and said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from takt.chips import Accelerator, System
from takt.models.outlines import Outline
from takt.perf import Deployment, StepModel
from takt.perf.lpu import Link, LpuStepModel, afd_step
from takt.serving.lpus import FEEDING, expert_loads, without_ffn

from .layout import Layout, PairLayout, fitting_deployments, room_for_users
from .lpus import Lpus, schedules_of
from .pairs import Floats, Loads, Reader
from .precision import choose_precision
from .request import Request

__all__ = ["ffn_loads"]

_MICROBATCHES = (1, 2, 4)
_COPIES = (1, 2, 4, 8, 16, 32, 64)
_GRID = np.unique(np.round(2.0 ** np.arange(0, 12.01, 0.25)))


def ffn_loads(
    model: Outline,
    gpu: Accelerator,
    lpus: Lpus,
    request: Request,
    readers: Sequence[Reader],
    link: Link,
) -> Iterator[Loads]:
    """Attention, caches and head on GPUs; feed-forward weights on the LPUs that they take of the smallest schedule."""
    part = without_ffn(model)
    steps = min(schedules_of(model, lpus, request), key=lambda each: each[0].n_chips)[0]
    row = steps.pace.row
    share = 1.0 - part.n_parameters / model.n_parameters
    held = Layout(tp=row.group, pp=max(1, round(row.stages * share)))
    split = _Split(
        model=model,
        part=part,
        share=share,
        steps=steps,
        held=held,
        reader=min(readers, key=lambda each: each.prompt_s * each.layout.chips),
        link=link,
        n_links=max(1, held.chips // lpus.system.node.chips),
        next_token_s=_at_peak_s(model, part, lpus.system, held.chips),
        request=request,
    )
    precision = choose_precision(model, gpu, request.precision)
    for deployment in fitting_deployments(part, gpu, precision, request):
        yield from split.loads(deployment)


def _at_peak_s(model: Outline, part: Outline, system: System, chips: int) -> float:
    """Seconds of one token's mean feed-forward block on its share of the LPUs, at int8 peak."""
    ops = 2.0 * (model.n_active_parameters - part.n_active_parameters)
    return ops / (chips * system.chip.int8_ops_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """Attention (`part` of the model) on GPUs, `share` of the weights on `held` LPUs; a micro-batch at a time."""

    model: Outline
    part: Outline
    share: float
    steps: LpuStepModel
    held: Layout
    reader: Reader
    link: Link
    n_links: int
    next_token_s: float
    request: Request

    def loads(self, deployment: Deployment) -> Iterator[Loads]:
        """One to 64 copies of a deployment beside the same LPUs, one to four micro-batches."""
        room = room_for_users(self.part, deployment, self.request)
        at = self.request.prompt_tokens + self.request.output_tokens / 2
        gpu = StepModel.of(self.part, deployment)
        for batches in _MICROBATCHES:
            group = _GRID[_GRID * batches <= room]  # users of a micro-batch on one copy
            if group.size:
                made = gpu.decode(group, at)
                basis = made.basis | self.reader.basis | self.link.basis
                basis |= self.steps.decode(1, at).basis
                for copies in _COPIES:
                    yield self._load(
                        deployment, group, made.time_s, made.energy_j, copies, batches,
                        basis | {FEEDING},
                    )  # fmt: skip

    def _load(
        self,
        deployment: Deployment,
        group: Floats,
        attention_s: Floats,
        attention_j: Floats,
        copies: int,
        batches: int,
        basis: frozenset[str],
    ) -> Loads:
        """The first token of a micro-batch takes as long as in the schedule, and brings the weights to the MXMs."""
        middle = np.array(self.request.prompt_tokens + self.request.output_tokens / 2)
        pace, n_layers = self.steps.pace, self.model.n_layers
        fed_s = pace.ffn_s_per_layer * expert_loads(self.model, group * copies)
        fed_s = fed_s + (group * copies - 1) * self.next_token_s
        users = group * copies * batches
        step = afd_step(
            attention_s / n_layers, fed_s, dim=self.model.dim, n_layers=n_layers, users=users,
            link=self.link, microbatches=batches, n_links=self.n_links,
        )  # fmt: skip
        chips = deployment.n_chips * copies
        idle_w = deployment.chip.power.idle_w or 0.0
        idle_j = idle_w * chips * np.maximum(step - batches * attention_s, 0.0)
        lpu_j = pace.idle_w * self.held.chips * step
        lpu_j = lpu_j + users * self.share * float(pace.active_j(middle))
        per_step_j = attention_j * copies * batches + idle_j + lpu_j
        output = self.request.output_tokens
        rate = users / (output * step)
        readers = self.reader.chips_for(rate)
        layout = Layout.of(deployment)
        return Loads(
            layout=tuple(
                PairLayout(first=layout, copies=copies, second=self.held, readers=int(each))
                for each in readers
            ),
            users=users,
            ttft_s=self.reader.waited_s(rate) + step,
            tpot_s=step,
            tokens_per_s=users / step,
            j_per_token=per_step_j / users + self.reader.prompt_j / output,
            basis=basis,
            error=None,
        )
