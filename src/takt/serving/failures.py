"""Failures of replicas over a run, drawn from its seed: each is up for an exponential time, then down for a repair.

Every replica has a stream of its own, so that more replicas leave the others' failures as they are. Knows no requests.
"""

from collections.abc import Iterator

import numpy as np

from takt.errors import UsageError
from takt.units import NS_PER_S

from .fleet import Failure

__all__ = ["MOST_FAILURES", "failures_of"]

MOST_FAILURES = 100_000
_LONGEST_S = 1e9
_STREAM = 0xFA11  # keeps these streams apart from all others of the seed


def failures_of(
    n_replicas: int, *, mtbf_s: float, repair_s: float, span_s: float, seed: int
) -> tuple[Failure, ...]:
    """Failures of all replicas that begin within `span_s`, in the order of time.

    `mtbf_s`: mean time that a replica is up between failures, `repair_s`: how long it is down, always. Raises UsageError
    for times that are none, or where more than `MOST_FAILURES` are to be expected.
    """
    for name, value in (("time between failures", mtbf_s), ("repair", repair_s), ("run", span_s)):
        if not 0 < value <= _LONGEST_S:
            raise UsageError(f"a {name} of {value:g} s, expected more than 0 and at most 1e9 s")
    expected = n_replicas * span_s / (mtbf_s + repair_s)
    if expected > MOST_FAILURES:
        raise UsageError(
            f"about {expected:,.0f} failures are to be expected, at most {MOST_FAILURES:,} are simulated",
            hint="failures further apart, or a shorter run",
        )
    down_ns = max(round(repair_s * NS_PER_S), 1)
    found = [
        Failure(at_ns=at_ns, replica=replica, down_ns=down_ns)
        for replica in range(n_replicas)
        for at_ns in _times_ns(replica, mtbf_s, down_ns, round(span_s * NS_PER_S), seed)
    ]
    return tuple(sorted(found, key=lambda failure: (failure.at_ns, failure.replica)))


def _times_ns(replica: int, mtbf_s: float, down_ns: int, span_ns: int, seed: int) -> Iterator[int]:
    seeds = np.random.SeedSequence(seed, spawn_key=(_STREAM, replica))
    stream = np.random.Generator(np.random.PCG64(seeds))
    at_ns = 0
    while True:
        at_ns += round(float(stream.standard_exponential()) * mtbf_s * NS_PER_S)
        if at_ns > span_ns:
            return
        yield at_ns
        at_ns += down_ns
