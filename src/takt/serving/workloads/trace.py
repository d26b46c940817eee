"""A recording of requests: its columns, and its replay as requests.

Knows what the columns mean and how turns of a session are put in order. Does not know files (`read`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from takt.errors import UsageError

from ..records import NOBODY, REQUEST
from .arrivals import Recorded
from .lengths import MOST_TOKENS, Ints, Pairs, between
from .sessions import MOST_TIERS, MOST_TURNS, TierShare
from .source import CHUNK_ROWS, MOST_REQUESTS, Means, Rows, pieces

__all__ = ["Replay", "Trace"]

_UNKNOWN = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """[n ≥ 1] recorded requests, in the order of their arrivals.

    - `arrival_ns` from the first; None for a list of lengths alone.
    - `seen_tokens` of each prompt were cached when it came; 0 where nobody says.
    - `session`: a number from 0, or NOBODY; `tier`: a place in `tier_names`.
    - `wait_ns`: from the end of a session's answer to this turn of it; -1 where the recording does not tell.
    - `notes`: what was noticed while reading, for people.
    """

    name: str
    arrival_ns: Ints | None
    prompt_tokens: Ints
    output_tokens: Ints
    seen_tokens: Ints
    session: Ints
    tier: Ints
    tier_names: tuple[str, ...] = ("all",)
    wait_ns: Ints | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = (
            self.arrival_ns,
            self.output_tokens,
            self.seen_tokens,
            self.session,
            self.tier,
            self.wait_ns,
        )
        if not len(self) or any(len(c) != len(self) for c in columns if c is not None):
            raise UsageError(f"columns of {self.name} are of one length, at least 1")
        for name in ("prompt_tokens", "output_tokens"):
            values = getattr(self, name)
            between(f"shortest {name} of {self.name}", int(values.min()), 1, MOST_TOKENS)
            between(f"longest {name} of {self.name}", int(values.max()), 1, MOST_TOKENS)
        between(f"tiers of {self.name}", len(self.tier_names), 1, MOST_TIERS)
        if self.arrival_ns is not None and (np.diff(self.arrival_ns, prepend=0) < 0).any():
            raise UsageError(f"arrivals of {self.name} ascend from 0")

    def __len__(self) -> int:
        return len(self.prompt_tokens)

    @property
    def pairs(self) -> Pairs:
        """Its lengths, to be drawn from; with cached tokens where it has some."""
        return Pairs(
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            seen_tokens=self.seen_tokens if self.seen_tokens.any() else None,
            name=self.name,
        )

    @property
    def tiers(self) -> tuple[TierShare, ...]:
        """Its tiers with their shares; the first goes first."""
        counts = np.bincount(self.tier, minlength=len(self.tier_names))
        return tuple(
            TierShare(name=name, share=int(counts[i]) / len(self), priority=i)
            for i, name in enumerate(self.tier_names)
        )

    @property
    def recorded(self) -> Recorded:
        """Its arrivals. Raises UsageError for a list of lengths alone."""
        if self.arrival_ns is None:
            raise UsageError(
                f"{self.name} has lengths but no arrival times",
                hint="give a rate, and draw lengths from it",
            )
        return Recorded(recorded_ns=self.arrival_ns, name=self.name)

    def at_once(self) -> "Trace":
        """The same requests, all at 0."""
        return replace(self, arrival_ns=np.zeros(len(self), dtype=np.int64))

    def turns(self) -> tuple[Ints, Ints]:
        """([n] turn of each request within its session, [n] row of the turn before it, or -1)."""
        order = np.argsort(self.session, kind="stable")
        ids = self.session[order]
        new = np.ones(len(ids), dtype=bool)
        new[1:] = (ids[1:] != ids[:-1]) | (ids[1:] == NOBODY)
        places = np.arange(len(ids))
        starts = np.maximum.accumulate(np.where(new, places, 0))
        turn, before = np.empty_like(order), np.full_like(order, _UNKNOWN)
        turn[order] = places - starts
        before[order[1:]] = np.where(new[1:], _UNKNOWN, order[:-1])
        return turn, before

    def rows(self) -> Rows:
        """Requests in order.

        Turns wait for the answers before them where the recording tells how long users waited, and every turn's prompt is
        at least as long as the one before. Otherwise all come at their recorded times, and a session goes on, for the
        cache, as long as its prompts grow.
        """
        turn, before = self.turns()
        out = np.zeros(len(self), dtype=REQUEST)
        out["arrival_ns"] = 0 if self.arrival_ns is None else self.arrival_ns
        out["prompt_tokens"], out["output_tokens"] = self.prompt_tokens, self.output_tokens
        out["seen_tokens"], out["tier"], out["group"] = self.seen_tokens, self.tier, NOBODY
        later = turn > 0
        grows = np.ones(len(self), dtype=bool)
        grows[later] = self.prompt_tokens[later] >= self.prompt_tokens[before[later]]
        waits = self.wait_ns
        if waits is None or not grows.all() or (waits[later] < 0).any() or turn.max() >= MOST_TURNS:
            out["session"] = _unbroken(self.session, turn, grows)
            return out
        out["session"], out["turn"] = self.session, turn
        out["arrival_ns"][later] = waits[later]
        root = np.arange(len(self))
        for row in np.flatnonzero(later):  # turns before are rows before
            root[row] = root[before[row]]
        return out[np.lexsort((turn, root))]


def _unbroken(session: Ints, turn: Ints, grows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Ints:
    """Numbers of sessions, with a new one from each turn whose prompt is shorter than the last."""
    order = np.lexsort((turn, session))
    starts = (turn[order] == 0) | ~grows[order]
    out = np.empty_like(session)
    out[order] = np.cumsum(starts) - 1
    return np.where(session == NOBODY, NOBODY, out)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replay:
    """A recording played again: `speed` times as fast, its first `requests_limit` requests, with `loop` again and again."""

    trace: Trace
    speed: float = 1.0
    requests_limit: int | None = None
    loop: bool = False
    max_context: int = MOST_TOKENS

    def __post_init__(self) -> None:
        replace(self.trace.recorded, speed=self.speed)  # both checked there
        between("longest context", self.max_context, 2, MOST_TOKENS)
        if self.requests_limit is not None:
            between("requests", self.requests_limit, 1, MOST_REQUESTS)
        elif self.loop:
            raise UsageError(
                "a recording that begins again needs an end", hint="say how many requests"
            )

    @property
    def name(self) -> str:
        """That of the recording."""
        return self.trace.name

    @property
    def tiers(self) -> tuple[TierShare, ...]:
        """Those of the recording."""
        return self.trace.tiers

    @property
    def concurrency(self) -> int:
        """No limit."""
        return 0

    @property
    def requests_per_s(self) -> float | None:
        """Mean rate; None where all arrive at once."""
        return replace(self.trace.recorded, speed=self.speed).mean_rate_per_s

    @property
    def n_requests(self) -> int | None:
        """Rows in all."""
        if self.loop:
            return self.requests_limit
        return min(len(self.trace), self.requests_limit or len(self.trace))

    @property
    def description(self) -> str:
        """One line."""
        means = self.means()
        arrivals = replace(self.trace.recorded, speed=self.speed)
        return f"{arrivals}; prompts {means.prompt_tokens:,.0f}, outputs {means.output_tokens:,.0f} tokens on average"

    def means(self) -> Means:
        """Means of the whole recording, before cuts to the longest context."""
        trace = self.trace
        turn, before = trace.turns()
        later = turn > 0
        held = trace.seen_tokens.copy()
        said = trace.prompt_tokens + trace.output_tokens
        held[later] = np.maximum(held[later], said[before[later]])
        return Means(
            prompt_tokens=float(trace.prompt_tokens.mean()),
            output_tokens=float(trace.output_tokens.mean()),
            new_tokens=float(np.maximum(trace.prompt_tokens - held, 0).mean()),
            turns=len(trace) / int((turn == 0).sum()),
        )

    def at_rate(self, requests_per_s: float) -> "Replay":
        """Played as fast as gives this mean rate."""
        return replace(self, speed=self.trace.recorded.at_rate(requests_per_s).speed)

    def limited(self, requests: int) -> "Replay":
        """The first so many requests."""
        return replace(self, requests_limit=min(requests, self.requests_limit or requests))

    def lasting(self, requests: int) -> "Replay":
        """So many requests: where there are fewer the recording begins again."""
        return replace(self, loop=True, requests_limit=requests)

    def requests(self, seed: int, chunk_rows: int = CHUNK_ROWS) -> Iterator[Rows]:
        """Chunks of at most `chunk_rows` rows, sessions whole. Nothing is drawn: every `seed` gives the same."""
        between("rows of a chunk", chunk_rows, MOST_TURNS, 1 << 24)
        rows = self.trace.rows()
        rows["prompt_tokens"] = np.minimum(rows["prompt_tokens"], self.max_context - 1)
        rows["output_tokens"] = np.minimum(
            rows["output_tokens"], self.max_context - rows["prompt_tokens"]
        )
        rows["seen_tokens"] = np.minimum(rows["seen_tokens"], rows["prompt_tokens"])
        firsts = rows["turn"] == 0
        clock = replace(self.trace.recorded, speed=self.speed, loop=self.loop)
        n_sessions = int(rows["session"].max()) + 1
        left = self.requests_limit if self.requests_limit is not None else len(rows)
        for round_, shift_ns in enumerate(clock.rounds_ns()):
            again = rows.copy()
            again["arrival_ns"][firsts] = clock.scaled(again["arrival_ns"][firsts] + shift_ns)
            again["session"][again["session"] != NOBODY] += round_ * n_sessions
            for piece in pieces(again[:left], chunk_rows):
                left -= len(piece)
                yield piece
            if left <= 0:
                return
