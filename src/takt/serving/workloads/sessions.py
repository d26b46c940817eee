"""What requests share: turns of a conversation, system prompts of a group, and tiers.

Knows how they are drawn; `workload` makes rows of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from takt.errors import UsageError
from takt.units import NS_PER_S

from .lengths import Generator, Ints, Length, Lengths, Pairs, between

__all__ = [
    "MOST_GROUPS",
    "MOST_TIERS",
    "MOST_TURNS",
    "Group",
    "Sessions",
    "Think",
    "TierShare",
    "check_shares",
    "pick",
]

MOST_TURNS = 1024
MOST_GROUPS = 65_536
MOST_TIERS = 256
_LONGEST_S = 1e8


@dataclass(frozen=True, slots=True, kw_only=True)
class Think:
    """How long a user waits after an answer: lognormal with a mean and a cv; cv 0: always as long; cv None: exponential."""

    mean_s: float
    cv: float | None = None

    def __post_init__(self) -> None:
        between("mean think time (s)", self.mean_s, 0, _LONGEST_S)
        if self.cv is not None:
            between("cv of think times", self.cv, 0, 100)

    def sample_ns(self, stream: Generator, n: int) -> Ints:
        """[n] waits."""
        if self.cv is None:
            seconds = stream.standard_exponential(n) * self.mean_s
        else:
            sigma = math.sqrt(math.log1p(self.cv * self.cv))
            seconds = np.exp(sigma * stream.standard_normal(n) - sigma**2 / 2) * self.mean_s
        waits: Ints = np.rint(np.minimum(seconds, 10 * _LONGEST_S) * NS_PER_S).astype(np.int64)
        return waits

    def __str__(self) -> str:
        kind = "exponential" if self.cv is None else f"cv {self.cv:.3g}" if self.cv else "always"
        return f"{self.mean_s:.4g} s ({kind})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Conversations: each turn's prompt is all that was said before, and new tokens.

    - `turns` of a session, a length in turns.
    - `think` between an answer's end and the next turn.
    - `new`: tokens that a later turn adds; None: drawn as those of first turns are.

    A session ends early where its next turn would not fit the longest context.
    """

    turns: Length
    think: Think
    new: Length | None = None

    def __post_init__(self) -> None:
        between("mean turns of a session", self.turns.mean_tokens, 1, MOST_TURNS)

    def sample(self, stream: Generator, n: int) -> Ints:
        """[n] turns, at most MOST_TURNS."""
        return np.minimum(self.turns.sample(stream, n), MOST_TURNS)

    def __str__(self) -> str:
        return f"sessions of {self.turns} turns, {self.think} apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A share of sessions whose prompts all begin with the same `tokens` tokens, on top of what is drawn."""

    tokens: int
    share: float

    def __post_init__(self) -> None:
        between("tokens of a shared prefix", self.tokens, 1, 1 << 20)
        between("share of a group", self.share, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierShare:
    """A share of sessions that belongs to a tier; `priority` 0 goes first. Lengths None: those of the workload."""

    name: str
    share: float
    priority: int = 0
    lengths: Lengths | Pairs | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= 100:
            raise UsageError("a tier has a name of at most 100 characters")
        between(f"share of tier {self.name}", self.share, 0, 1)
        between(f"priority of tier {self.name}", self.priority, 0, 1_000_000)


def check_shares(what: str, shares: Sequence[float], *, whole: bool) -> None:
    """UsageError unless shares add up: to 1 where they are `whole`, at most to 1 else."""
    total = math.fsum(shares)
    if total > 1 + 1e-6 or (whole and total < 1 - 1e-6):
        least = "1" if whole else "at most 1"
        raise UsageError(f"shares of {what} add up to {total:.6g}, expected {least}")


def pick(shares: Sequence[float], stream: Generator, n: int) -> Ints:
    """[n] indices of shares, as often as they say; len(shares) for what they leave of 1."""
    ends = np.cumsum(shares)
    if ends[-1] > 1 - 1e-6:
        ends[-1] = 1.0
    return np.searchsorted(ends, stream.random(n), side="right").astype(np.int64)
