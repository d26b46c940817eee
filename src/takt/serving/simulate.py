"""One call from requests to figures: runs an engine and collects what comes out. Knows neither rules nor statistics."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from . import fast, reference
from .collector import Collector
from .fleet import Fleet
from .outcome import Outcome
from .totals import Sink

__all__ = ["simulate"]


def simulate(
    requests: Iterable[NDArray[np.void]],
    fleet: Fleet,
    *,
    seed: int = 0,
    engine: Literal["fast", "reference"] = "fast",
    warmup: int = 0,
    events: Sink | None = None,
) -> Outcome:
    """Serve all `requests` (chunks of REQUEST rows) and say what they saw.

    The first `warmup` of them are left out of latencies. `events` takes batches of EVENT rows as they happen. The same
    seed and requests give the same bytes, by either engine. Raises DataError for rows that can't be.
    """
    collector = Collector(fleet, warmup=warmup)
    run = fast.run if engine == "fast" else reference.run
    totals = run(requests, fleet, seed=seed, finished=collector.finished, events=events)
    return Outcome.of(fleet, collector, totals)
