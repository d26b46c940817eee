"""A run over time: what the looks at the replicas (events SAMPLE) found, added up for each pool.

    timeline = Timeline(fleet)                       fleet.sample_ns says how often it is looked at
    run(requests, fleet, seed=0, finished=..., events=timeline.add)
    timeline.series()["h100"].waiting

Memory is bounded: of more looks than `MOST_LOOKS` every second is dropped, then every second of the rest. Knows only looks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError

from .fleet import Fleet
from .records import EVENT, EventKind

__all__ = ["MOST_LOOKS", "Series", "Timeline"]

MOST_LOOKS = 8192

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """A pool at each look [looks]: requests in steps and in queues, replicas that take requests.

    `kv`: share of the blocks of those replicas that is in use; 0 where none is up.
    """

    time_s: Floats
    running: Ints
    waiting: Ints
    up: Ints
    kv: Floats


class Timeline:
    """A sink of events that keeps sums over the replicas of each pool, look by look."""

    __slots__ = ("_every_ns", "_looks", "_pool_of", "_pools", "_stride")

    def __init__(self, fleet: Fleet) -> None:
        if not fleet.sample_ns:
            raise UsageError(
                "a timeline needs looks at the replicas", hint="give the fleet a sample_ns"
            )
        self._every_ns = fleet.sample_ns
        self._stride = 1
        self._pools = fleet.pools
        self._pool_of = np.repeat(
            np.arange(len(fleet.pools)), [pool.replicas for pool in fleet.pools]
        )
        self._looks: dict[
            int, Ints
        ] = {}  # time → [pools, (running, waiting, up, blocks of those up)]

    def add(self, rows: NDArray[np.void]) -> None:
        """Take a batch of EVENT records in, in the order of time; all but looks are passed over."""
        if rows.dtype != EVENT:
            raise UsageError(f"events come as EVENT records, not as {rows.dtype}")
        looks = rows[rows["kind"] == EventKind.SAMPLE]
        looks = looks[looks["time_ns"] // self._every_ns % self._stride == 0]
        if not len(looks):
            return
        times, inverse = np.unique(looks["time_ns"], return_inverse=True)
        sums = np.zeros((len(times), len(self._pools), 4), np.int64)
        up = looks["d"] != 0
        values = np.stack([looks["a"], looks["b"], up, looks["c"] * up], axis=1)
        np.add.at(sums, (inverse, self._pool_of[looks["replica"]]), values)
        for time_ns, found in zip(times.tolist(), sums, strict=True):
            before = self._looks.get(time_ns)
            self._looks[time_ns] = found if before is None else before + found
        while len(self._looks) > MOST_LOOKS:
            self._thin()

    @property
    def n_looks(self) -> int:
        """Looks that were kept so far."""
        return len(self._looks)

    def series(self) -> Mapping[str, Series]:
        """What was found, by the name of the pool; UsageError where a run ended before the first look."""
        if not self._looks:
            raise UsageError(
                "the run ended before the first look at its replicas",
                hint="look more often: a smaller sample_ns",
            )
        return dict(self._series())

    def _series(self) -> Iterator[tuple[str, Series]]:
        time_s = np.array(list(self._looks), np.float64) / 1e9
        sums = np.stack(list(self._looks.values()))
        for i, pool in enumerate(self._pools):
            running, waiting, up, blocks = sums[:, i].T
            kv = blocks / (np.maximum(up, 1) * pool.policy.n_blocks)
            yield pool.name, Series(time_s=time_s, running=running, waiting=waiting, up=up, kv=kv)

    def _thin(self) -> None:
        """Keep every second look, of those there are and of those to come."""
        self._stride *= 2
        self._looks = {
            time_ns: found
            for time_ns, found in self._looks.items()
            if time_ns // self._every_ns % self._stride == 0
        }
