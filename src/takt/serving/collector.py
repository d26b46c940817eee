"""What finished requests add up to, batch by batch: digests of their latencies, counts and tokens, for each tier.

Memory does not grow with the number of requests. Times are whole nanoseconds; a division rounds up, so that a time within a
target by the letter is within it here. Knows nothing of replicas.
"""

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError

from .digest import Digest
from .fleet import Fleet, Tier
from .records import FINISHED, Fate

__all__ = ["LATENCIES", "Collector", "Counts", "ttft_tpot_e2e_ns"]

# ttft: to the first token; tpot: between tokens, of requests with two or more; e2e: to the last; queue: until scheduled.
LATENCIES = ("ttft", "tpot", "e2e", "queue")

Ints = NDArray[np.int64]


class Counts:
    """Requests of one tier that have ended, and their tokens. `counted` are those after the warm-up, `good` of them met targets.

    `prompt_tokens`, `output_tokens` and `cached_tokens` are of requests that were done.
    """

    __slots__ = (
        "cached_tokens",
        "counted",
        "digests",
        "done",
        "good",
        "output_tokens",
        "preemptions",
        "prompt_tokens",
        "rejected",
        "too_long",
    )

    def __init__(self) -> None:
        self.digests = {name: Digest() for name in LATENCIES}
        self.done = self.rejected = self.too_long = 0
        self.counted = self.good = 0
        self.prompt_tokens = self.output_tokens = self.cached_tokens = 0
        self.preemptions = 0

    @property
    def requests(self) -> int:
        """All that have ended, however."""
        return self.done + self.rejected + self.too_long

    @classmethod
    def together(cls, parts: "list[Counts]") -> "Counts":
        """The sum of several tiers."""
        out = cls()
        for name in cls.__slots__:
            if name != "digests":
                setattr(out, name, sum(getattr(part, name) for part in parts))
        out.digests = {
            name: Digest.merged([part.digests[name] for part in parts]) for name in LATENCIES
        }
        return out


class Collector:
    """A sink of FINISHED batches. Requests of the source before row `warmup` are left out of latencies and of goodput."""

    __slots__ = ("_targets", "tiers", "warmup")

    def __init__(self, fleet: Fleet, *, warmup: int = 0) -> None:
        if warmup < 0:
            raise UsageError(f"a warm-up of {warmup} requests, expected 0 or more")
        self.warmup = warmup
        self.tiers = tuple(Counts() for _ in fleet.tiers)
        self._targets = fleet.tiers

    def finished(self, rows: NDArray[np.void]) -> None:
        """Take a batch of ended requests in. UsageError for a record of another layout, or of a tier that is none."""
        if rows.dtype != FINISHED:
            raise UsageError(f"finished requests come as FINISHED records, not as {rows.dtype}")
        if len(self.tiers) == 1 and not rows["tier"].any():
            _take(self.tiers[0], self._targets[0], rows, self.warmup)
            return
        known = set(np.unique(rows["tier"]).tolist())
        if not known <= set(range(len(self.tiers))):
            raise UsageError(f"a request of tier {max(known)}, the fleet has {len(self.tiers)}")
        for number in sorted(known):
            part = rows[rows["tier"] == number]
            _take(self.tiers[number], self._targets[number], part, self.warmup)

    @property
    def total(self) -> Counts:
        """All tiers together."""
        return Counts.together(list(self.tiers))


def ttft_tpot_e2e_ns(done: NDArray[np.void]) -> tuple[Ints, Ints, Ints]:
    """Latencies of requests that were done; the time between tokens is 0 where there was one only."""
    gaps = np.maximum(done["output_tokens"].astype(np.int64) - 1, 1)
    generating = done["last_ns"] - done["first_ns"]
    return (
        done["first_ns"] - done["arrival_ns"],
        -(-generating // gaps),
        done["last_ns"] - done["arrival_ns"],
    )


def _take(counts: Counts, tier: Tier, rows: NDArray[np.void], warmup: int) -> None:
    fates = np.bincount(rows["fate"], minlength=len(Fate))
    counts.rejected += int(fates[Fate.REJECTED])
    counts.too_long += int(fates[Fate.TOO_LONG])
    counts.done += int(fates[Fate.DONE])
    counts.preemptions += int(rows["preemptions"].sum())
    done = rows if fates[Fate.DONE] == len(rows) else rows[rows["fate"] == Fate.DONE]
    for name in ("prompt_tokens", "output_tokens", "cached_tokens"):
        setattr(counts, name, getattr(counts, name) + int(done[name].sum(dtype=np.int64)))
    if warmup:
        counts.counted += int((rows["request"] >= warmup).sum())
        done = done[done["request"] >= warmup]
    else:
        counts.counted += len(rows)
    ttft, tpot, e2e = ttft_tpot_e2e_ns(done)
    digests = counts.digests
    digests["ttft"].add(ttft)
    digests["tpot"].add(tpot[done["output_tokens"] > 1])
    digests["e2e"].add(e2e)
    digests["queue"].add(done["scheduled_ns"] - done["arrival_ns"])
    within = np.ones(len(done), np.bool_)
    for values, most in ((ttft, tier.ttft_ns), (tpot, tier.tpot_ns), (e2e, tier.e2e_ns)):
        if most is not None:
            within &= values <= most
    counts.good += int(within.sum())
