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
    finished: Sink | None = None,
    events: Sink | None = None,
) -> Outcome:
    """Serve all `requests` (chunks of REQUEST rows) and say what they saw.

    The first `warmup` of them are left out of latencies. `finished` and `events` take batches of FINISHED and EVENT rows too,
    as they come. The same seed and requests give the same bytes, by either engine. Raises DataError for rows that can't be.
    """
    collector = Collector(fleet, warmup=warmup)

    def ended(rows: NDArray[np.void]) -> None:
        collector.finished(rows)
        if finished is not None:
            finished(rows)

    run = fast.run if engine == "fast" else reference.run
    totals = run(requests, fleet, seed=seed, finished=ended, events=events)
    return Outcome.of(fleet, collector, totals)
