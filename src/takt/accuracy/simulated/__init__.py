"""Simulations beside measurements: rows at a constant number of users, and recorded runs request by request.

    beside = simulated_beside(scored, n_rows=1000)            the same rows by the closed loop and by simulation
    replays = [replayed(run) for run in read_runs(path)]      every request of a recorded run

Knows cases, setups and the serving room. Does not know files other than those of single requests, nor text.
"""

from .beside import Beside, metrics_of, sampled, simulated_beside
from .replay import LATENCIES, VARIANTS, LatencyError, Replay, replayed, ways_of
from .runs import Run, has_requests, read_runs

__all__ = [
    "LATENCIES",
    "VARIANTS",
    "Beside",
    "LatencyError",
    "Replay",
    "Run",
    "has_requests",
    "metrics_of",
    "read_runs",
    "replayed",
    "sampled",
    "simulated_beside",
    "ways_of",
]
