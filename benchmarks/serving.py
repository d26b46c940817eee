"""How fast requests are simulated: the fast engine beside the slow one, on the same requests in the same run."""

from __future__ import annotations

import time
from dataclasses import dataclass

from measure import Spread, spread

from takt.chips import load_accelerator
from takt.models.outlines import outline_of
from takt.perf import Deployment
from takt.serving import Fleet, fast, reference
from takt.serving.results import Collector
from takt.serving.tables import pool_of
from takt.serving.workloads import Source, workload_of

_PROMPT, _OUTPUT = 1137, 212


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """`requests` on a fleet by the fast engine, the first `slow_requests` of them by both; `ratio`: of requests a second."""

    fleet: str
    requests: int
    slow_requests: int
    rounds: int
    steps: int
    seconds: Spread
    ns_per_step: Spread
    requests_per_s: Spread
    slow_requests_per_s: Spread
    ratio: Spread


def simulated(
    model: str, chip: str, replicas: int, rate: float, *, requests: int, slow: int, rounds: int
) -> Simulated:
    """Poisson arrivals of prompts and answers of one length, as in the fastest simulators' own benchmarks."""
    pool = pool_of(
        outline_of(model),
        Deployment(chip=load_accelerator(chip), engine="vllm"),
        name=chip,
        replicas=replicas,
        expected_context=_PROMPT + _OUTPUT,
    )
    fleet = Fleet(pools=(pool,))
    source = workload_of(rate=rate, prompt=str(_PROMPT), output=str(_OUTPUT), requests=requests)
    steps, whole, ours, theirs = 0, [], [], []
    for _ in range(rounds):
        seconds, steps = _timed(fast, source, fleet)
        whole.append(seconds)
        ours.append(slow / _timed(fast, source.limited(slow), fleet)[0])
        theirs.append(slow / _timed(reference, source.limited(slow), fleet)[0])
    return Simulated(
        fleet=f"{model} on {replicas} {chip}, {rate:g} requests/s",
        requests=requests,
        slow_requests=slow,
        rounds=rounds,
        steps=steps,
        seconds=spread(whole),
        ns_per_step=spread([seconds / steps * 1e9 for seconds in whole]),
        requests_per_s=spread([requests / seconds for seconds in whole]),
        slow_requests_per_s=spread(theirs),
        ratio=spread([a / b for a, b in zip(ours, theirs, strict=True)]),
    )


def _timed(engine: object, source: Source, fleet: Fleet) -> tuple[float, int]:
    """Seconds, requests drawn and figures collected in them; steps."""
    started = time.perf_counter()
    collector = Collector(fleet)
    totals = engine.run(source.requests(0), fleet, seed=0, finished=collector.finished)
    return time.perf_counter() - started, int(totals.replicas["steps"].sum())
