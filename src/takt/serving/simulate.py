"""One call from requests to figures: runs an engine and collects what comes out. Knows neither rules nor statistics."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError, did_you_mean

from . import fast, reference
from .collector import Collector
from .fleet import Fleet
from .outcome import Outcome
from .totals import Sink

__all__ = ["SIMULATORS", "simulate"]

SIMULATORS = {"fast": fast.run, "reference": reference.run}


def simulate(
    requests: Iterable[NDArray[np.void]],
    fleet: Fleet,
    *,
    seed: int = 0,
    engine: str = "fast",
    warmup: int = 0,
    finished: Sink | None = None,
    events: Sink | None = None,
) -> Outcome:
    """Serve all `requests` (chunks of REQUEST rows) and say what they saw.

    The first `warmup` of them are left out of latencies. `finished` and `events` take batches of FINISHED and EVENT rows too,
    as they come. The same seed and requests give the same bytes, by either engine of SIMULATORS. Raises DataError for rows
    that can't be, UsageError for another engine.
    """
    if engine not in SIMULATORS:
        hint = did_you_mean(engine, SIMULATORS) or f"there are {', '.join(SIMULATORS)}"
        raise UsageError(f"no simulator {engine[:40]!r}", hint=hint)
    collector = Collector(fleet, warmup=warmup)

    def ended(rows: NDArray[np.void]) -> None:
        collector.finished(rows)
        if finished is not None:
            finished(rows)

    totals = SIMULATORS[engine](requests, fleet, seed=seed, finished=ended, events=events)
    return Outcome.of(fleet, collector, totals)
