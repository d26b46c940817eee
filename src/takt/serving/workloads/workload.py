"""A workload as a recipe, and the requests that it makes: arrivals × lengths × sessions × prefixes × tiers.

Each purpose draws from a stream of its own, so that changing one (lengths, say) leaves the others (arrivals) as they were.
Requests come in chunks, so that ten million of them need no more memory than one; their bytes do not depend on the chunks'
size. Knows nothing of what serves them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from takt.errors import UsageError
from takt.units import NS_PER_S

from ..records import NOBODY, REQUEST
from .arrivals import AtOnce, Process, Recorded
from .lengths import MOST_TOKENS, Generator, Ints, Lengths, Pairs, between
from .sessions import (
    MOST_GROUPS,
    MOST_TIERS,
    MOST_TURNS,
    Group,
    Sessions,
    TierShare,
    check_shares,
    pick,
)
from .source import CHUNK_ROWS, MOST_REQUESTS, Means, Rows, pieces

__all__ = ["Workload"]

_MEANS_ROWS = 20_000
_STREAMS = 0x3A7  # keeps these streams apart from those of other rooms with the same seed


class Purpose(IntEnum):
    """What a stream of random numbers is for. Numbers stay as they are: they are part of every seed's meaning."""

    ARRIVALS = 0
    PROMPTS = 1
    OUTPUTS = 2
    TIERS = 3
    TURNS = 4
    THINKING = 5
    GROUPS = 6
    NEW_TOKENS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A recipe for requests.

    - `arrivals` of sessions: where there are none, of requests.
    - `n_requests`: rows in all; `duration_s`: until when sessions start; the first of both that is reached ends it.
    - `max_context`: tokens of a prompt and its answer together. Longer prompts, then longer answers, are cut to it.
    """

    arrivals: Process
    lengths: Lengths | Pairs
    n_requests: int | None = None
    duration_s: float | None = None
    sessions: Sessions | None = None
    groups: tuple[Group, ...] = ()
    tiers: tuple[TierShare, ...] = (TierShare(name="all", share=1.0),)
    max_context: int = MOST_TOKENS
    name: str = "workload"

    def __post_init__(self) -> None:
        between("tiers", len(self.tiers), 1, MOST_TIERS)
        between("groups", len(self.groups), 0, MOST_GROUPS)
        between("longest context", self.max_context, 2, MOST_TOKENS)
        check_shares("tiers", [tier.share for tier in self.tiers], whole=True)
        check_shares("groups", [group.share for group in self.groups], whole=False)
        if len({tier.name for tier in self.tiers}) < len(self.tiers):
            raise UsageError("tiers need names of their own")
        self._check_end()
        if any(group.tokens >= self.max_context - 1 for group in self.groups):
            raise UsageError(f"a shared prefix leaves no room in a context of {self.max_context:,}")
        kinds = (self.lengths, *(tier.lengths for tier in self.tiers))
        cached = any(isinstance(each, Pairs) and each.seen_tokens is not None for each in kinds)
        if cached and (self.sessions or self.groups):
            raise UsageError(
                "lengths with recorded cache hits don't go with sessions or shared prefixes",
                hint="both would say what is cached",
            )

    def _check_end(self) -> None:
        if self.n_requests is not None:
            between("requests", self.n_requests, 1, MOST_REQUESTS)
        if self.duration_s is not None:
            between("duration (s)", self.duration_s, 1e-9, 1e9)
        once = isinstance(self.arrivals, Recorded) and not self.arrivals.loop
        timed = self.duration_s is not None and self.arrivals.mean_rate_per_s is not None
        if self.n_requests is None and not timed and not once:
            raise UsageError("a workload has an end", hint="say how many requests, or how long")

    @property
    def concurrency(self) -> int:
        """For `Fleet.concurrency`; 0: no limit."""
        return self.arrivals.concurrency if isinstance(self.arrivals, AtOnce) else 0

    @property
    def requests_per_s(self) -> float | None:
        """Mean rate of requests, all turns counted; None where all are there at once."""
        rate = self.arrivals.mean_rate_per_s
        return None if rate is None else rate * (self.means().turns if self.sessions else 1.0)

    @property
    def description(self) -> str:
        """One line."""
        parts = [str(self.arrivals), str(self.lengths)]
        parts += [str(self.sessions)] if self.sessions else []
        parts += [f"{len(self.groups)} shared prefixes"] if self.groups else []
        if len(self.tiers) > 1:
            parts.append(
                "tiers " + ", ".join(f"{t.name} {100 * t.share:.3g} %" for t in self.tiers)
            )
        return "; ".join(parts)

    def at_rate(self, requests_per_s: float) -> "Workload":
        """The same requests, more or less often. Raises UsageError where all are there at once."""
        now = self.requests_per_s
        if isinstance(self.arrivals, AtOnce) or now is None:
            raise UsageError("requests that are all there at once have no rate")
        between("a rate (requests/s)", requests_per_s, 1e-6, 1e9)
        starts = (self.arrivals.mean_rate_per_s or 0.0) * requests_per_s / now
        return replace(self, arrivals=self.arrivals.at_rate(starts))

    def limited(self, requests: int) -> "Workload":
        """The first so many requests."""
        return replace(self, n_requests=min(requests, self.n_requests or requests))

    def lasting(self, requests: int) -> "Workload":
        """So many requests, whatever end it has of its own: recorded arrivals begin again."""
        arrivals = self.arrivals
        if isinstance(arrivals, Recorded):
            arrivals = replace(arrivals, loop=True)
        return replace(self, arrivals=arrivals, n_requests=requests, duration_s=None)

    def means(self) -> Means:
        """Exact where lengths are independent and uncut, else those of 20,000 requests of seed 0."""
        plain = self.sessions is None and self.max_context == MOST_TOKENS
        if not plain or self._cut_apart():
            return self._sampled_means()
        kinds = [(tier.share, tier.lengths or self.lengths) for tier in self.tiers]
        total = sum(share for share, _ in kinds)
        prompt = sum(share * kind.mean_tokens[0] for share, kind in kinds) / total
        output = sum(share * kind.mean_tokens[1] for share, kind in kinds) / total
        seen = sum(share * _seen(kind) for share, kind in kinds) / total
        shared = sum(group.tokens * group.share for group in self.groups)
        return Means(
            prompt_tokens=prompt + shared, output_tokens=output, new_tokens=prompt - seen, turns=1.0
        )

    def _cut_apart(self) -> bool:
        """Whether texts may be longer than the longest there are."""
        kinds = (self.lengths, *(tier.lengths for tier in self.tiers if tier.lengths))
        means = [kind.mean_tokens for kind in kinds]
        shared = max((group.tokens for group in self.groups), default=0)
        return max(prompt + output for prompt, output in means) + shared > self.max_context / 8

    def _sampled_means(self) -> Means:
        probe = replace(self, arrivals=AtOnce(), n_requests=_MEANS_ROWS, duration_s=None)
        rows = np.concatenate(list(probe.requests(0)))
        firsts = rows["turn"] == 0
        held = np.maximum(rows["group_tokens"], rows["seen_tokens"]).astype(np.int64)
        before = (rows["prompt_tokens"] + rows["output_tokens"])[:-1]
        held[1:] = np.where(firsts[1:], held[1:], before)
        prompt = rows["prompt_tokens"]
        return Means(
            prompt_tokens=float(prompt.mean()),
            output_tokens=float(rows["output_tokens"].mean()),
            new_tokens=float((prompt - np.minimum(held, prompt)).mean()),
            turns=len(rows) / int(firsts.sum()),
        )

    def requests(self, seed: int, chunk_rows: int = CHUNK_ROWS) -> Iterator[Rows]:
        """Chunks of at most `chunk_rows` rows (at least 1,024), sessions whole; `seed` ≥ 0 chooses them."""
        between("seed", seed, 0, (1 << 64) - 1)
        between("rows of a chunk", chunk_rows, MOST_TURNS, 1 << 24)
        draw = _Draw(self, seed)
        left = self.n_requests if self.n_requests is not None else MOST_REQUESTS
        end_ns = None if self.duration_s is None else round(self.duration_s * NS_PER_S)
        turns = self.sessions.turns.mean_tokens if self.sessions else 1.0
        n_starts = max(1, min(int(chunk_rows / turns), chunk_rows))
        for times in self.arrivals.times_ns(draw.stream(Purpose.ARRIVALS), n_starts):
            starts = times
            if end_ns is not None and not isinstance(self.arrivals, AtOnce):
                starts = times[: int(np.searchsorted(times, end_ns))]
            for rows in pieces(draw.rows(starts)[:left], chunk_rows):
                left -= len(rows)
                yield rows
            if left <= 0 or len(starts) < len(times):
                return


def _seen(kind: Lengths | Pairs) -> float:
    seen = kind.seen_tokens if isinstance(kind, Pairs) else None
    return 0.0 if seen is None else float(seen.mean())


class _Draw:
    """The streams of one run, and the rows drawn from them so far."""

    __slots__ = ("_n_sessions", "_seed", "_streams", "_workload")

    def __init__(self, workload: Workload, seed: int) -> None:
        self._workload = workload
        self._seed = seed
        self._streams: dict[tuple[Purpose, int], Generator] = {}
        self._n_sessions = 0

    def stream(self, purpose: Purpose, tier: int = 0) -> Generator:
        """The stream of a purpose; tiers with lengths of their own count from 1."""
        key = (purpose, tier)
        if key not in self._streams:
            spawn_key = (_STREAMS, int(purpose), tier)
            seeds = np.random.SeedSequence(self._seed, spawn_key=spawn_key)
            self._streams[key] = np.random.Generator(np.random.PCG64(seeds))
        return self._streams[key]

    def rows(self, starts: Ints) -> Rows:
        """The rows of sessions that start at these times."""
        workload, n = self._workload, len(starts)
        tier = np.zeros(n, dtype=np.int64)
        if len(workload.tiers) > 1:
            shares = [each.share for each in workload.tiers]
            tier = np.minimum(pick(shares, self.stream(Purpose.TIERS), n), len(shares) - 1)
        group, shared = self._groups(n)
        if workload.sessions is not None:
            return self._turns(workload.sessions, starts, tier, group, shared)
        out = np.zeros(n, dtype=REQUEST)
        prompt, output, seen = self._lengths(tier)
        prompt = np.minimum(prompt + shared, workload.max_context - 1)
        out["arrival_ns"], out["session"] = starts, NOBODY
        out["prompt_tokens"] = prompt
        out["output_tokens"] = np.minimum(output, workload.max_context - prompt)
        out["seen_tokens"] = np.minimum(seen, prompt)
        out["tier"], out["group"], out["group_tokens"] = tier, group, shared
        return out

    def _groups(self, n: int) -> tuple[Ints, Ints]:
        """([n] groups, [n] tokens they share)."""
        groups = self._workload.groups
        if not groups:
            return np.full(n, NOBODY, dtype=np.int64), np.zeros(n, dtype=np.int64)
        group = pick([each.share for each in groups], self.stream(Purpose.GROUPS), n)
        tokens = np.asarray([*(each.tokens for each in groups), 0], dtype=np.int64)[group]
        return np.where(group < len(groups), group, NOBODY), tokens

    def _lengths(self, tier: Ints) -> tuple[Ints, Ints, Ints]:
        """([n] prompt, [n] output, [n] seen) tokens of rows of these tiers."""
        workload, n = self._workload, len(tier)
        own = {i + 1: each.lengths for i, each in enumerate(workload.tiers) if each.lengths}
        prompt, output, seen = (np.zeros(n, dtype=np.int64) for _ in range(3))
        kind = np.zeros(n, dtype=np.int64)
        for i in own:
            kind[tier == i - 1] = i
        for i, lengths in {0: workload.lengths, **own}.items():
            where = np.flatnonzero(kind == i) if own else slice(None)
            count = n if isinstance(where, slice) else len(where)
            prompts, outputs = self.stream(Purpose.PROMPTS, i), self.stream(Purpose.OUTPUTS, i)
            prompt[where], output[where], held = lengths.sample(prompts, outputs, count)
            if held is not None:
                seen[where] = held
        return prompt, output, seen

    def _turns(
        self, sessions: Sessions, starts: Ints, tier: Ints, group: Ints, shared: Ints
    ) -> Rows:
        """All turns of sessions, one after the other: each reads what the one before read and wrote."""
        limit = self._workload.max_context
        turns = sessions.sample(self.stream(Purpose.TURNS), len(starts))
        of = np.repeat(np.arange(len(starts)), turns)
        first = np.cumsum(turns) - turns
        turn = np.arange(len(of)) - first[of]
        later = turn > 0
        new, output, _ = self._lengths(tier[of])
        if sessions.new is not None:
            new[later] = sessions.new.sample(self.stream(Purpose.NEW_TOKENS), int(later.sum()))
        new[first] = np.minimum(new[first] + shared, limit - 1)
        output[first] = np.minimum(output[first], limit - new[first])
        new[1:] += np.where(later[1:], output[:-1], 0)
        prompt = np.cumsum(new)
        prompt -= (prompt[first] - new[first])[of]
        full = np.cumsum(prompt + output > limit)  # first turns always fit
        keep = full == full[first][of]
        out = np.zeros(len(of), dtype=REQUEST)
        out["arrival_ns"] = starts[of]
        think = self.stream(Purpose.THINKING)
        out["arrival_ns"][later] = sessions.think.sample_ns(think, int(later.sum()))
        out["session"] = self._n_sessions + of
        out["prompt_tokens"], out["output_tokens"], out["turn"] = prompt, output, turn
        out["tier"], out["group"], out["group_tokens"] = tier[of], group[of], shared[of]
        self._n_sessions += len(starts)
        kept: Rows = out[keep]
        return kept
