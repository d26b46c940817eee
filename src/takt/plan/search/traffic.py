"""The requests a plan must serve: rows for a simulation at any rate, and the sizes that bounds are made of.

Knows workloads by their face and requests by their sizes; nothing of chips.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.serving.workloads import Source

__all__ = ["MOST_RATE", "Rows", "Sizes", "Traffic", "sizes_of"]

Rows = tuple[NDArray[np.void], ...]
MOST_RATE = 1e6
_LATE = 0.985  # below the 99th, which is not the same under every seed
_BURSTY = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests of a source, `rate` of them a second. UsageError for a rate that is none, or beyond `MOST_RATE`."""

    source: Source
    rate: float

    def __post_init__(self) -> None:
        if not (isfinite(self.rate) and 0 < self.rate <= MOST_RATE):
            raise UsageError(
                f"a rate of {self.rate:g} requests/s",
                hint=f"more than 0 and at most {MOST_RATE:,.0f}",
            )

    @property
    def description(self) -> str:
        """One line."""
        return self.source.at_rate(self.rate).description

    @property
    def tiers(self) -> tuple[tuple[str, int], ...]:
        """(name, priority) of each."""
        return tuple((tier.name, tier.priority) for tier in self.source.tiers)

    def rows(self, rate: float, requests: int, seed: int) -> Rows:
        """So many REQUEST rows at a rate, in chunks; the same arguments give the same bytes.

        A plan is for traffic that goes on: whatever end the source has of its own is put off.
        """
        return tuple(self.source.at_rate(rate).lasting(requests).requests(seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Means over requests, in tokens.

    - `fresh`: of a prompt, what no earlier request of its session or group can have left in a cache; `late_fresh`: of one
      that is longer than all but 1.5 of 100.
    - `context`: cached positions while tokens are generated, in the mean step or of the mean request, whichever is less.
    - `longest`: prompt and output of the longest request.
    - `turns`: requests of a conversation; `wait_s`: seconds between them, all of a conversation's together.
    - `bursty`: gaps between requests differ by more than chance (standard deviation beyond 1.2 times the mean).
    """

    prompt: float
    output: float
    fresh: float
    late_fresh: float
    context: float
    longest: int
    turns: float = 1.0
    wait_s: float = 0.0
    bursty: bool = False

    @property
    def router(self) -> Literal["least-loaded", "prefix-aware"]:
        """Requests that share nothing go where there is least to do, others where their cache is."""
        return "prefix-aware" if self.fresh < self.prompt else "least-loaded"


def sizes_of(rows: Rows) -> Sizes:
    """Sizes of drawn requests. UsageError where there are none."""
    if not rows or not sum(map(len, rows)):
        raise UsageError("the workload has no requests")
    every = np.concatenate(rows)
    prompt, output = every["prompt_tokens"].astype(float), every["output_tokens"].astype(float)
    fresh = np.maximum(prompt - _cachable(every), 1.0)
    steps = np.maximum(output - 1.0, 0.0)
    first = max(int((every["turn"] == 0).sum()), 1)
    seen = prompt + output / 2
    mean_seen = float((steps * seen).sum() / steps.sum()) if steps.any() else float(seen.mean())
    return Sizes(
        prompt=float(prompt.mean()),
        output=float(output.mean()),
        fresh=float(fresh.mean()),
        late_fresh=float(np.quantile(fresh, _LATE)),
        context=min(mean_seen, float(seen[steps > 0].mean()) if steps.any() else mean_seen),
        longest=int((prompt + output).max()),
        turns=len(every) / first,
        wait_s=float(every["arrival_ns"][every["turn"] > 0].sum()) * 1e-9 / first,
        bursty=_bursty(every),
    )


def _cachable(every: NDArray[np.void]) -> NDArray[np.float64]:
    """Tokens at the start of each prompt that may be cached: of the turn before, of the group, or as recorded."""
    before = np.zeros(len(every))
    later = np.flatnonzero(every["turn"] > 0)
    before[later] = every["prompt_tokens"][later - 1] + every["output_tokens"][later - 1]
    group = np.where(every["group"] >= 0, every["group_tokens"], 0)
    found: NDArray[np.float64] = np.maximum(np.maximum(before, group), every["seen_tokens"])
    return found


def _bursty(every: NDArray[np.void]) -> bool:
    gaps_ns = np.diff(np.sort(every["arrival_ns"][every["turn"] == 0]).astype(float))
    return bool(len(gaps_ns) > 1 and gaps_ns.std() > _BURSTY * gaps_ns.mean())
