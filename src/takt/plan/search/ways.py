"""Ways to serve: one kind of replica, or two that share the work, in numbers that are still open.

Knows what a number of replicas can give at best, and what it costs; nothing of queues.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, inf
from typing import Literal

from takt.serving import Fleet, Tier

from ..plans import PlanPool, Targets
from .front import Point
from .parts import Part

__all__ = ["MOST_REPLICAS", "Counts", "Router", "Way", "tiers_of"]

Counts = tuple[int, ...]
Router = Literal["least-loaded", "prefix-aware"]
MOST_REPLICAS = 65_536
_NS = 1e9
_CHANCE = (
    0.97  # requests that happen to come quicker than their rate share idle replicas among more
)


@dataclass(frozen=True, eq=False)
class Way:
    """Parts that together read prompts and generate; `rate` requests/s of `output` tokens are to be served.

    `words` tells it from others. A way of two parts of role `both` is a mixed fleet behind one router.
    """

    parts: tuple[Part, ...]
    rate: float
    output: float
    router: Router = "least-loaded"

    @property
    def words(self) -> str:
        """Its parts, prompts first."""
        split = any(part.role != "both" for part in self.parts)
        return (" -> " if split else " + ").join(part.words for part in self.parts)

    @property
    def base(self) -> str:
        """The words without what only batches are varied by."""
        return " ".join(part.base for part in self.parts)

    def id_of(self, counts: Counts) -> str:
        """The words with numbers of replicas."""
        split = any(part.role != "both" for part in self.parts)
        each = [f"{n} x {part.words}" for n, part in zip(counts, self.parts, strict=True)]
        return (" -> " if split else " + ").join(each)

    @cached_property
    def first_s(self) -> float:
        """Least seconds to the first token of a late request: of the quickest part that reads."""
        return min(part.reach.first_s for part in self.parts if part.role != "decode")

    @cached_property
    def alone_s(self) -> float:
        """Seconds a token for one user alone."""
        return min(float(part.reach.pace_s[0]) for part in self.parts if part.role != "prompt")

    def least(self, targets: Targets) -> Counts | None:
        """Fewest replicas of each part by its bound; None where no number meets the targets. For ways with a part a role."""
        tpot_s = None if targets.tpot_at == "p50" else targets.tpot_s
        if targets.tpot_s is not None and self.alone_s > targets.tpot_s:
            return None
        if (
            targets.ttft_s is not None
            and self.first_s > targets.ttft_s
            and targets.ttft_at == "p99"
        ):
            return None
        counts = []
        for part in self.parts:
            most = part.reach.most_rate(None if part.role == "prompt" else tpot_s)
            if most <= 0:
                return None
            counts.append(max(1, ceil(self.rate * _CHANCE / most)))
        return tuple(counts)

    def point(self, counts: Counts) -> Point:
        """The least that the figures of so many replicas can be."""
        pace_s, reading_j, generating_j, idle_w = inf, 0.0, inf, 0.0
        for part, n in zip(self.parts, counts, strict=True):
            idle_w += part.reach.idle_w * n
            if part.role == "prompt":
                reading_j += part.reach.least_j
                continue
            pace_s = min(pace_s, part.reach.pace_at(self.rate * _CHANCE / n))
            generating_j = min(generating_j, part.reach.least_j)
        if sum(part.role != "prompt" for part in self.parts) > 1:
            pace_s = self.alone_s  # any share of the requests may go to the quickest
        joules = _CHANCE * (reading_j + generating_j + idle_w / self.rate)
        known = all("energy unknown" not in part.pool.table.basis for part in self.parts)
        return Point(
            usd_per_h=self.usd_per_h(counts),
            unpriced=self.unpriced(counts),
            pace_s=pace_s if pace_s < inf else self.alone_s,
            j_per_token=joules / self.output if known else None,
            mw=self.mw(counts),
            m2=self.m2(counts),
        )

    def chips(self, counts: Counts) -> Mapping[str, int]:
        """Chips of each kind, by id."""
        out: Counter[str] = Counter()
        for part, n in zip(self.parts, counts, strict=True):
            for chip, each in part.chips.items():
                out[chip] += each * n
        return dict(out)

    def unpriced(self, counts: Counts) -> Mapping[str, int]:
        """Chips of each kind whose price nobody knows."""
        names = {name for part in self.parts for name in part.unpriced}
        return {chip: n for chip, n in self.chips(counts).items() if chip in names}

    def usd_per_h(self, counts: Counts) -> float:
        """Dollars an hour of the priced chips."""
        return sum(part.usd_per_h * n for part, n in zip(self.parts, counts, strict=True))

    def mw(self, counts: Counts) -> float | None:
        """Megawatts at the meter with all chips at their limit; None where one is unknown."""
        total = 0.0
        for part, n in zip(self.parts, counts, strict=True):
            if part.meter_w is None:
                return None
            total += part.meter_w * n
        return total / 1e6

    def m2(self, counts: Counts) -> float | None:
        """Floor; None where a part's is unknown."""
        total = 0.0
        for part, n in zip(self.parts, counts, strict=True):
            if part.m2 is None:
                return None
            total += part.m2 * n
        return total

    def fleet(self, counts: Counts, tiers: tuple[Tier, ...], share: int = 1) -> Fleet:
        """One `share`-th of so many replicas, as a simulation takes them; several tiers are queued by priority."""
        pools = []
        for i, (part, n) in enumerate(zip(self.parts, counts, strict=True)):
            policy = part.pool.policy
            if len(tiers) > 1:
                policy = replace(policy, order="priority")
            name = f"{i}:{part.words}"[:60]
            pools.append(replace(part.pool, replicas=ceil(n / share), name=name, policy=policy))
        return Fleet(pools=tuple(pools), tiers=tiers, router=self.router)

    def shown(self, counts: Counts) -> tuple[PlanPool, ...]:
        """The pools of a plan."""
        return tuple(
            replace(pool, replicas=n)
            for part, n in zip(self.parts, counts, strict=True)
            for pool in part.shown
        )


def tiers_of(targets: Targets, tiers: Sequence[tuple[str, int]]) -> tuple[Tier, ...]:
    """(name, priority) of each with the targets as goodput counts them: for every single request."""

    def ns(seconds: float | None) -> int | None:
        return None if seconds is None else round(seconds * _NS)

    return tuple(
        Tier(
            name=name, priority=priority, ttft_ns=ns(targets.ttft_s),
            tpot_ns=ns(targets.tpot_s), e2e_ns=ns(targets.e2e_s),
        )
        for name, priority in tiers
    )  # fmt: skip
