"""How long estimates take: many step costs in one call beside a loop of bare rooflines, and first answers of a cold process.

A roofline is the least that anybody computes for a step: bytes ÷ bandwidth or operations ÷ peak, whichever
takes longer. Written as a plain Python loop it is what a script of one's own would do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from measure import Spread, spread

from takt.chips import load_accelerator
from takt.models.outlines import LayerGroup, Outline, outline_of
from takt.perf import Deployment, Precision, step_cost

Found = TypeVar("Found")
_SEED = 20_260_101
_MOST_USERS, _LONGEST = 512, 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCosts:
    """`n_steps` decode steps priced by one call of `step_cost`, and one after the other by bare rooflines."""

    model: str
    deployment: str
    n_steps: int
    rounds: int
    first_ms: float  # of the first call in this process for this model: tables of the chip are read
    ours_ms: Spread
    loop_ms: Spread
    ratio: Spread  # loop ÷ ours, round by round
    over_roofline: (
        float  # median of our time of a step ÷ the loop's: it has no overheads and no inefficiency
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """A command in a process of its own, beside one that only imports numpy, round by round."""

    command: str
    rounds: int
    ours_ms: Spread
    import_ms: Spread
    ratio: Spread  # ours ÷ import


def step_costs(name: str, tp: int, dp: int, ep: int, *, n_steps: int, rounds: int) -> StepCosts:
    """Decode steps of random batches and contexts of a model with fp8 weights on `tp` × `dp` H200s."""
    model, precision = outline_of(name), Precision(weights="fp8", kv="fp8")
    deployment = Deployment(
        chip=load_accelerator("h200-sxm"), tp=tp, dp=dp, ep=ep, precision=precision, engine="vllm"
    )
    split = ", ".join(f"{k} {n}" for k, n in (("tp", tp), ("dp", dp), ("ep", ep)) if n > 1)
    draw = np.random.default_rng(_SEED)
    users = np.rint(np.exp(draw.uniform(np.log(deployment.n_chips), np.log(_MOST_USERS), n_steps)))
    context = np.rint(draw.uniform(128, _LONGEST, n_steps))
    pairs = list(zip(users.tolist(), context.tolist(), strict=True))
    first_s, _ = _timed(lambda: step_cost(model, deployment, "decode", users, context))
    ours, loop = [], []
    for _ in range(rounds):
        seconds, estimate = _timed(lambda: step_cost(model, deployment, "decode", users, context))
        ours.append(seconds * 1e3)
        seconds, bounds = _timed(lambda: [roofline_s(model, deployment, u, c) for u, c in pairs])
        loop.append(seconds * 1e3)
    return StepCosts(
        model=name,
        deployment=f"{deployment.n_chips} {deployment.chip.id}, {split or 'whole'}",
        n_steps=n_steps,
        rounds=rounds,
        first_ms=first_s * 1e3,
        ours_ms=spread(ours),
        loop_ms=spread(loop),
        ratio=spread([b / a for a, b in zip(ours, loop, strict=True)]),
        over_roofline=float(np.median(estimate.time_s / np.asarray(bounds))),
    )


def first_answer(arguments: tuple[str, ...], *, rounds: int) -> FirstAnswer:
    """`takt` with these arguments, and `import numpy`, in turn."""
    ours, bare = [], []
    for _ in range(rounds):
        bare.append(_process_ms(["-c", "import numpy"]))
        ours.append(_process_ms(["-m", "takt", *arguments]))
    return FirstAnswer(
        command=" ".join(("takt", *arguments)),
        rounds=rounds,
        ours_ms=spread(ours),
        import_ms=spread(bare),
        ratio=spread([a / b for a, b in zip(ours, bare, strict=True)]),
    )


def roofline_s(model: Outline, deployment: Deployment, users: float, context: float) -> float:
    """Seconds of a decode step if nothing but bytes and operations took time, each weight of one byte."""
    chips, chip = deployment.n_chips, deployment.chip
    bandwidth = chips * chip.memory.bytes_per_s
    peak = chips * chip.ops_per_s(deployment.precision.weights)
    head = float(model.vocab_size * model.dim)
    total = max(2 * head / bandwidth, 2 * head * users / (chips * chip.ops_per_s("bf16")))
    for group in model.groups:
        total += group.count * _layer_s(model, group, users, context, bandwidth, peak)
    return total


def _layer_s(
    model: Outline, group: LayerGroup, users: float, context: float, bandwidth: float, peak: float
) -> float:
    ffn, mixer = group.ffn, group.attention
    dense = model.attention_parameters(group) + model.dense_parameters(group)
    expert = model.expert_parameters(group)
    met = ffn.n_experts * (1 - (1 - ffn.top_k / ffn.n_experts) ** users) if ffn.n_experts else 0.0
    products = max(
        (dense + met * expert) / bandwidth, 2 * users * (dense + ffn.top_k * expert) / peak
    )
    seen = min(context, mixer.window or context)
    met_numbers = mixer.head_dim + mixer.value_dim
    if mixer.kind == "latent":
        met_numbers = 2 * mixer.kv_rank + mixer.rope_dim
    mixing = max(
        users * seen * mixer.kv_elements / bandwidth,
        2 * users * seen * mixer.n_heads * met_numbers / peak,
    )
    return products + mixing


def _timed(work: Callable[[], Found]) -> tuple[float, Found]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def _process_ms(arguments: list[str]) -> float:
    source = str(Path(__file__).resolve().parents[1] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    return (time.perf_counter() - started) * 1e3
