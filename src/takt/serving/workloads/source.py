"""What every source of requests has, whether it draws them or replays a recording; and how rows are cut into chunks.

Knows rows, not where they come from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .lengths import Ints
from .sessions import TierShare

__all__ = ["CHUNK_ROWS", "MOST_REQUESTS", "Means", "Rows", "Source", "pieces"]

Rows = NDArray[np.void]

CHUNK_ROWS = 65_536
MOST_REQUESTS = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Means over requests. `new_tokens`: of a prompt, what neither an earlier turn nor a shared prefix held."""

    prompt_tokens: float
    output_tokens: float
    new_tokens: float
    turns: float


class Source(Protocol):
    """Where requests come from: a recipe or a recording."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def tiers(self) -> tuple[TierShare, ...]:
        """Tiers with their shares of requests; a row's `tier` is a place in it."""

    @property
    def requests_per_s(self) -> float | None:
        """Mean rate of requests; None where all are there at once."""

    @property
    def n_requests(self) -> int | None:
        """How many there are; None where time ends them."""

    @property
    def concurrency(self) -> int:
        """Requests that may be inside at once, for `Fleet.concurrency`; 0: no limit."""

    @property
    def description(self) -> str:
        """One line."""

    def requests(self, seed: int, chunk_rows: int = CHUNK_ROWS) -> Iterator[Rows]:
        """Rows in order, in chunks of at most `chunk_rows`; the turns of a session are in one chunk."""

    def means(self) -> Means:
        """What to expect of a request."""

    def at_rate(self, requests_per_s: float) -> "Source":
        """The same requests, more or less often."""

    def limited(self, requests: int) -> "Source":
        """The first so many."""

    def lasting(self, requests: int) -> "Source":
        """So many, whatever end it has of its own: a recording begins again."""


def pieces(rows: Rows, most: int) -> Iterator[Rows]:
    """Rows in pieces of at most `most`, cut only before a turn 0; none of no rows."""
    if len(rows) <= most:
        if len(rows):
            yield rows
        return
    firsts = np.flatnonzero(rows["turn"] == 0)
    start = 0
    while start < len(rows):
        end = _end_of(firsts, start, most, len(rows))
        yield rows[start:end]
        start = end


def _end_of(firsts: Ints, start: int, most: int, end: int) -> int:
    """Where a piece from `start` ends: before the last first turn within `most` rows, or at `end`."""
    if end - start <= most:
        return end
    return int(firsts[np.searchsorted(firsts, start + most, side="right") - 1])
