"""Tokens a second and megawatt: GPUs with LPUs for the feed-forward, beside GPUs alone. Times come from room `perf`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from takt.chips import Accelerator, load_accelerator
from takt.claims.found import Answer
from takt.claims.sheet import Computation
from takt.claims.steps import SPLITS, given, room_for, watts_of
from takt.errors import UnsupportedError
from takt.models.outlines import FeedForward, Outline, outline_of
from takt.perf import Deployment, Precision, StepModel
from takt.perf.lpu import LpuDeployment, LpuStepModel, afd_step, link_of

_WIDE = (8, 16, 32, 64)
_MICROBATCHES = (1, 2, 4, 8, 16, 32, 64)
_USERS = tuple(1 << k for k in range(13))
_SPEEDS = (10, 25, 50, 100, 200, 400)


def per_megawatt(what: Computation) -> Answer:
    """Tokens a second and megawatt at a speed for each user: GPUs with LPUs for the feed-forward, over GPUs alone.

    `beside` alone against `gpu` with `system`; `speed` tokens a second for each user at least. UnsupportedError, with how fast they
    get, where either misses it: there is no ratio then. `fastest_ratio`: times as fast for one user, at any power.
    """
    model = outline_of(given(what.model))
    alone = list(_alone(what, model))
    both = list(_split(what, model))
    if not alone or not both:
        raise UnsupportedError(f"{model.name} does not fit at a context of {what.context:,}")
    fastest = [max(speed for speed, _ in each) for each in (alone, both)]
    wanted = what.speed or 0.0
    best = [_best_rate(each, wanted) for each in (alone, both)]
    speeds = [s for s in _SPEEDS if s <= min(fastest)]
    rows = [
        f"{_best_rate(both, s) / _best_rate(alone, s):.2g} at {s} tokens/s a user" for s in speeds
    ]
    workloads = "times the tokens a second and megawatt: " + ", ".join(rows)
    if what.quantity == "per_mw_ratio" and not all(best):
        raise UnsupportedError(
            f"at {wanted:,.0f} tokens/s a user there is no ratio: {what.beside} alone gets to {fastest[0]:,.0f}, "
            f"{what.gpu} with {what.system} to {fastest[1]:,.0f} ({model.name}, context {what.context:,}); {workloads}"
        )
    return Answer(
        values={
            "fastest_ratio": fastest[1] / fastest[0],
            **({"per_mw_ratio": best[1] / best[0]} if all(best) else {}),
        },
        basis="estimated GPUs × simulated LPUs × assumed power",
        detail=f"at best {fastest[0]:,.0f} tokens/s a user alone, {fastest[1]:,.0f} together",
        workloads=workloads,
    )


def _best_rate(points: Sequence[tuple[float, float]], speed: float) -> float:
    """Most tokens a second and megawatt with at least that speed for each user; 0 where none has it."""
    return max((rate for each, rate in points if each >= speed), default=0.0)


def _alone(what: Computation, model: Outline) -> Iterator[tuple[float, float]]:
    """(tokens/s of a user, tokens/s/MW of all) of the GPUs alone, by split and users."""
    chip = load_accelerator(given(what.beside))
    for deployment in _wide(chip, what.precision):
        room = room_for(model, deployment, what.context)
        users = np.array([n for n in _USERS if n <= room], np.float64)
        if users.size:
            made = StepModel.of(model, deployment).decode(users, what.context)
            watts = deployment.n_chips * watts_of(chip)
            for n, time_s in zip(users, made.time_s, strict=True):
                yield 1 / float(time_s), float(n / time_s) / watts * 1e6


def _split(what: Computation, model: Outline) -> Iterator[tuple[float, float]]:
    """The same with attention on GPUs and feed-forward on LPUs, whose chips hold its weights only."""
    chip = load_accelerator(given(what.gpu))
    part = _without_ffn(model)
    link = link_of(given(what.link))
    deployment = LpuDeployment(system=given(what.system), context_tokens=2048, with_host=False)
    steps = LpuStepModel.of(model, deployment, users=1)
    pace = steps.pace
    share = 1 - part.n_parameters / model.n_parameters
    held = share * steps.n_chips
    end = np.float64(what.context)
    for split in _wide(chip, what.precision):
        room = room_for(part, split, what.context)
        gpus = StepModel.of(part, split)
        for batches in _MICROBATCHES:
            users = np.array([n for n in _USERS if n * batches <= room], np.float64)
            if not users.size:
                continue
            attention_s = gpus.decode(users, end).time_s / model.n_layers
            feed_s = pace.ffn_s_per_layer + (users - 1) * float(pace.interval_s(np.float64(0)))
            step_s = afd_step(
                attention_s, feed_s, dim=model.dim, n_layers=model.n_layers, users=users * batches,
                link=link, microbatches=batches,
            )  # fmt: skip
            active_w = users * batches * share * float(pace.active_j(np.float64(0))) / step_s
            watts = split.n_chips * watts_of(chip) + held * pace.idle_w + active_w
            rates = users * batches / step_s / watts * 1e6
            for time_s, rate in zip(step_s, rates, strict=True):
                yield 1 / float(time_s), float(rate)


def _wide(chip: Accelerator, precision: str) -> Iterator[Deployment]:
    """Splits of models with many experts: attention over a few chips each, experts over all."""
    for n_chips in _WIDE:
        if n_chips <= chip.scale_up.chips:
            for tp in (each for each in SPLITS if each <= n_chips):
                yield Deployment(
                    chip=chip, tp=tp, dp=n_chips // tp, ep=n_chips,
                    precision=Precision(weights=precision),
                )  # fmt: skip


def _without_ffn(model: Outline) -> Outline:
    groups = tuple(replace(group, ffn=FeedForward(hidden_dim=0)) for group in model.groups)
    return replace(model, groups=groups)
