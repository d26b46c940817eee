"""Runs of `takt simulate`: one with all its sinks, or one for each of several seeds on processes or Ray.

Watches whether requests take longer and longer to the end: a fleet that falls behind has no steady figures. Knows no options.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.serving import Fate, Fleet, simulate
from takt.serving.results import Outcome, document, figures
from takt.serving.workloads import Source

__all__ = ["SIMULATORS", "Growth", "Run", "perform", "replications", "simulated"]

SIMULATORS = ("fast", "reference")
Sink = Callable[[NDArray[np.void]], None]

_PIECES = 64
_LEAST_REQUESTS = 256
_MUCH = 0.25
_RISE = 1.2  # of the last quarter over the third: a queue that grows steadily gives 1.4 and less what was there before


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One simulation; the same values give the same bytes."""

    fleet: Fleet
    source: Source
    seed: int
    warmup: int
    simulator: str


class Growth:
    """A sink of finished requests: mean times of earlier and of later ones, in at most `_PIECES` pieces."""

    __slots__ = ("_counts", "_firsts_s", "_lasts_s", "_width")

    def __init__(self) -> None:
        self._width = 16
        self._counts = np.zeros(_PIECES)
        self._firsts_s = np.zeros(_PIECES)
        self._lasts_s = np.zeros(_PIECES)

    def add(self, rows: NDArray[np.void]) -> None:
        """Take a batch of ended requests in."""
        done = rows[rows["fate"] == Fate.DONE]
        if not len(done):
            return
        last = int(done["request"].max())
        while last >= _PIECES * self._width:
            self._halve()
        piece = done["request"] // self._width
        self._counts += np.bincount(piece, minlength=_PIECES)
        for name, sums in (("first_ns", self._firsts_s), ("last_ns", self._lasts_s)):
            took_s = (done[name] - done["arrival_ns"]) * 1e-9
            sums += np.bincount(piece, took_s, minlength=_PIECES)

    def _halve(self) -> None:
        self._width *= 2
        for values in (self._counts, self._firsts_s, self._lasts_s):
            values[: _PIECES // 2] = values[::2] + values[1::2]
            values[_PIECES // 2 :] = 0

    @property
    def steady(self) -> bool:
        """False where later requests wait ever longer for their first token or their last: quarter by quarter, and by much."""
        if self._counts.sum() < _LEAST_REQUESTS:
            return True
        edges = np.linspace(0, int(np.flatnonzero(self._counts)[-1]) + 1, 5).astype(int)[:-1]
        counts = np.maximum(np.add.reduceat(self._counts, edges), 1.0)
        lasts_s = np.add.reduceat(self._lasts_s, edges) / counts
        firsts_s = np.add.reduceat(self._firsts_s, edges) / counts
        return not any(_grows(means_s, lasts_s[0]) for means_s in (firsts_s, lasts_s))


def _grows(means_s: NDArray[np.float64], whole_s: float) -> bool:
    """Whether means of four quarters rise to the end, by much of what a whole request takes at first."""
    rises = bool((np.diff(means_s) > 0).all())
    return bool(
        rises and means_s[3] > _RISE * means_s[2] and means_s[3] - means_s[0] > _MUCH * whole_s
    )


def perform(
    run: Run, *, events: Sequence[Sink] = (), tick: Callable[[int], None] | None = None
) -> tuple[Outcome, bool]:
    """(figures, whether times were steady). `events` are sinks of all that happens; `tick` hears how many have ended."""
    growth = Growth()

    def finished(rows: NDArray[np.void]) -> None:
        growth.add(rows)
        if tick is not None:
            tick(len(rows))

    def happened(rows: NDArray[np.void]) -> None:
        for sink in events:
            sink(rows)

    outcome = simulate(
        run.source.requests(run.seed),
        run.fleet,
        seed=run.seed,
        engine=run.simulator,
        warmup=run.warmup,
        finished=finished,
        events=happened if events else None,
    )
    # Requests that are there at once, or wait for a place, come as fast as they are served.
    return outcome, run.source.requests_per_s is None or growth.steady


def simulated(run: Run) -> dict[str, Any]:
    """What a task of a sweep gives: `Shown`'s parts of one run, as JSON."""
    outcome, steady = perform(run)
    return {"document": document(outcome), "figures": figures(outcome), "steady": steady}


def replications(
    runs: Sequence[Run],
    *,
    ray: str | None,
    resume: Path | None,
    progress: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    """`simulated` of each run, in their order, on processes or Ray; kept in `resume` and not done again."""
    from takt.serving.sweeps import Store, Task, runner_of, sweep  # processes, SQLite, Parquet

    tasks = [Task(function=simulated, arguments=run, name=f"seed {run.seed}") for run in runs]
    runner = runner_of(ray=ray)
    if resume is None:
        found = sweep(tasks, runner=runner, progress=progress)
        return [result.read(dict) for result in found]
    with Store(resume) as store:
        found = sweep(tasks, runner=runner, store=store, progress=progress)
        return [result.read(dict) for result in found]
