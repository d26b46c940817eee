"""A recorded run, simulated with its own arrivals and lengths, and held against it request by request.

The engine is set as the run's was (requests and tokens of a step, cache as recorded where it is). `VARIANTS` are ways to
predict: `kernels` from kernel tables and engine overheads, nothing fitted to end-to-end rows; `cache counted` the same
with the cache that Takt itself would count on; `corrected` with the shipped corrections, as a plan has them. Knows no files.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from takt.chips import find_accelerator
from takt.errors import UsageError, did_you_mean
from takt.models.outlines import find_outline, why_not
from takt.perf import Deployment, Precision
from takt.serving import Fleet, Pool
from takt.serving.fast import run as fast_run
from takt.serving.tables import policy_of, pool_of

from .runs import Run

__all__ = ["LATENCIES", "VARIANTS", "LatencyError", "Replay", "pool_for", "replayed", "ways_of"]

Floats = NDArray[np.float64]
Engine = Callable[..., object]
Variant = Literal["kernels", "cache counted", "corrected"]
VARIANTS: tuple[Variant, ...] = ("kernels", "cache counted", "corrected")
LATENCIES = ("tpot", "e2e", "ttft")
_QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyError:
    """Of one latency over all requests, as fractions.

    `median`, `mean`: of |simulated ÷ measured − 1| of each request. `of_mean`, `of_p50`, `of_p90`, `of_p99`: simulated ÷
    measured − 1 of the mean and of percentiles over requests.
    """

    median: float
    mean: float
    of_mean: float
    of_p50: float
    of_p90: float
    of_p99: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replay:
    """One variant of a run: simulated seconds of each request, in the run's order, and errors by latency."""

    run: Run
    variant: Variant
    blocks: int
    preemptions: int
    tpot_s: Floats
    e2e_s: Floats
    ttft_s: Floats
    errors: dict[str, LatencyError]


def replayed(
    run: Run, variant: Variant = "kernels", *, seed: int = 0, engine: Engine = fast_run
) -> Replay:
    """Simulate a run. Raises UsageError for a chip, model or variant that nobody knows."""
    if variant not in VARIANTS:
        hint = did_you_mean(variant, VARIANTS) or f"known are {', '.join(VARIANTS)}"
        raise UsageError(f"no way to predict '{variant}'", hint=hint)
    pool = pool_for(run, variant)
    batches: list[NDArray[np.void]] = []
    engine([run.requests()], Fleet(pools=(pool,)), seed=seed, finished=batches.append)
    done = np.concatenate(batches)
    done = done[np.argsort(done["request"], kind="stable")]
    gaps = np.maximum(done["output_tokens"] - 1, 1)
    tpot_s = (done["last_ns"] - done["first_ns"]) / gaps * 1e-9
    e2e_s = (done["last_ns"] - done["arrival_ns"]) * 1e-9
    ttft_s = (done["first_ns"] - done["arrival_ns"]) * 1e-9
    return Replay(
        run=run,
        variant=variant,
        blocks=pool.policy.n_blocks,
        preemptions=int(done["preemptions"].sum()),
        tpot_s=tpot_s,
        e2e_s=e2e_s,
        ttft_s=ttft_s,
        errors={
            "tpot": _error(tpot_s, run.tpot_s),
            "e2e": _error(e2e_s, run.e2e_s),
            "ttft": _error(ttft_s, run.ttft_s),
        },
    )


def ways_of(run: Run) -> tuple[Variant, ...]:
    """The variants that differ for a run: its own count of the cache only matters where another was recorded."""
    return tuple(way for way in VARIANTS if way != "cache counted" or run.facts.blocks)


def pool_for(run: Run, variant: Variant) -> Pool:
    """One replica as the run's was: `dp` engines side by side count as one that has the sum of their sizes."""
    chip, model, facts = find_accelerator(run.gpu), find_outline(run.model), run.facts
    if chip is None:
        raise UsageError(f"no chip of the catalogue is meant by '{run.gpu}'")
    if model is None:
        raise UsageError(why_not(run.model))
    deployment = Deployment(
        chip=chip,
        tp=run.tp,
        dp=facts.dp,
        ep=facts.ep,
        precision=Precision(weights=run.weights or model.stored),
        engine="vllm",
    )
    context = int(np.mean(run.prompt_tokens + run.output_tokens / 2))
    policy = policy_of(
        model,
        deployment,
        expected_context=context,
        max_seqs=run.max_seqs * facts.dp,
        max_step_tokens=run.step_tokens * facts.dp,
    )
    if facts.blocks and variant != "cache counted":
        policy = replace(policy, n_blocks=facts.blocks, block_tokens=facts.block_tokens)
    pool = pool_of(
        model,
        deployment,
        name=run.gpu,
        replicas=1,
        expected_context=context,
        max_context=int((run.prompt_tokens + run.output_tokens).max()),
        prompts_per_token=float(run.prompt_tokens.sum() / run.output_tokens.sum()),
        policy=policy,
        corrections=variant == "corrected",
    )
    if facts.entry_s is not None:
        pool = replace(pool, entry_ns=round(facts.entry_s * 1e9))
    return pool


def _error(simulated: Floats, measured: Floats) -> LatencyError:
    known = measured > 0
    each = np.abs(simulated[known] / measured[known] - 1.0)
    of = [float(np.quantile(simulated, q) / np.quantile(measured, q) - 1.0) for q in _QUANTILES]
    return LatencyError(
        median=float(np.median(each)),
        mean=float(np.mean(each)),
        of_mean=float(simulated.mean() / measured.mean() - 1.0),
        of_p50=of[0],
        of_p90=of[1],
        of_p99=of[2],
    )
