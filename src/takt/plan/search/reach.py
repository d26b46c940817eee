"""What one replica can do at best: the bound that screening drops by, from the very table that a simulation asks.

In a steady state of n users generating, each step ends n ÷ (output − 1) requests, and as many prompts must be read. A
token takes at least the step's clean time at n users with the prompts in it that come while others generate: n − 1 − √n of
n, since nobody waits for his own and each goes to the replica with fewest; none where requests come in bursts, all read
before the first of them generates. No request waits, and every prompt shares its steps. A simulation adds waiting and chance
to that, so it needs at least as many replicas. What step times do to numbers of tokens and of users is taken from below (the
convex hull of the table), so that uneven steps do no better than even ones. Knows no queues.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.serving import Policy, Pool, StepTable

from .traffic import Sizes

__all__ = ["Reach", "first_token_s", "reach_of"]

Floats = NDArray[np.float64]
_NS = 1e-9
_DENSE_TO = 64
# For what a mean step leaves out: steps of fewer users with another correction, contexts before the mean one.
_SLACK = 0.98


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reach:
    """One replica over numbers of users (ascending).

    - `pace_s`: least seconds a token; `rate`: requests a second at that pace; `added_j`: joules a request adds to idling.
    - `first_s`: least seconds to the first token of a late one among requests; of replicas that only decode 0.
    """

    users: Floats
    pace_s: Floats
    rate: Floats
    added_j: Floats
    first_s: float
    idle_w: float

    def most_rate(self, tpot_s: float | None) -> float:
        """Most requests a second with tokens at least at that pace; 0 where not even one user has it."""
        if tpot_s is None or tpot_s >= self.pace_s[-1]:
            return float(self.rate.max())
        if self.pace_s[0] > tpot_s:
            return 0.0
        return float(np.interp(tpot_s, self.pace_s, np.maximum.accumulate(self.rate)))

    def pace_at(self, rate: float) -> float:
        """Least seconds a token at so many requests a second; infinite beyond what it can do."""
        can = np.maximum.accumulate(self.rate)
        if rate > can[-1]:
            return float("inf")
        index = int(np.searchsorted(can, rate, side="right")) - 1
        return float(self.pace_s[max(index, 0)])

    @property
    def least_j(self) -> float:
        """Joules that a request adds to idling at best."""
        return float(self.added_j.min())


def reach_of(pool: Pool, sizes: Sizes, entry_s: float) -> Reach:
    """The bound of one replica of a pool, in the pool's role."""
    if pool.role == "prompt":
        return _reader(pool, sizes, entry_s)
    table, policy = pool.table, pool.policy
    users = _users(policy, sizes)
    ends = 1.0 / max(sizes.output - 1.0, 1e-9) if sizes.output > 1.0 else 1.0
    ended = users * _kept(policy) * ends  # requests that a step ends
    reads = pool.role == "both"
    # Nobody waits for his own prompt, which goes where users happen to be fewest; those who come all at once wait for none.
    seen = np.maximum(users - 1.0 - np.sqrt(users), 0.0)
    others = 0.0 if not reads or sizes.bursty else seen / users
    paced = _Step.of(pool, sizes, users, ended * others)
    full = paced if not reads else _Step.of(pool, sizes, users, ended)
    rate = ended / paced.time_s
    if reads:
        needed = sizes.fresh + sizes.output * (1 + policy.draft_tokens) / _kept(policy)
        most = np.minimum(ended, policy.max_step_tokens / needed) / full.time_s
        rate = np.minimum(rate, most.max())
    return Reach(
        users=users,
        # Corrections may make more users the quicker ones: the least at so many or more.
        pace_s=np.minimum.accumulate(paced.time_s[::-1])[::-1] / _kept(policy),
        rate=rate,
        added_j=full.added_j / np.maximum(ended, 1e-12),
        first_s=first_token_s(pool, sizes, entry_s) if reads else 0.0,
        idle_w=table.idle_w,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """Steps of numbers of users with numbers of prompts in them: seconds, and joules beyond idling."""

    time_s: Floats
    added_j: Floats

    @classmethod
    def of(cls, pool: Pool, sizes: Sizes, users: Floats, prompts: Floats) -> "_Step":
        """At the mean context, every prompt in the cheapest of chunks."""
        table, policy = pool.table, pool.policy
        tokens = users * (1 + policy.draft_tokens)
        counted, rows = _hull(table.tokens_ns), _hull(table.rows_ns)
        attention = _grid_at(table, "decode_ns", users, sizes.context)
        generating = _counted(counted, tokens) + _counted(rows, users) + attention
        work = _counted(counted, tokens + prompts * sizes.fresh) + attention
        work = work + _counted(rows, users + prompts)
        work = work + prompts * _read_ns(table, policy, sizes.fresh, alone=False)
        floor = float(np.interp(sizes.context, table.decode_ns.y, table.floor_ns))
        factor = _grid_at(table, "factor", users, sizes.context)
        read_factor = np.minimum(factor, table.factor.at(0, 0.0))
        watts = _grid_at(table, "decode_w", users, sizes.context)
        # What waits for the floor draws idle power: only work adds to it.
        added = factor * generating * np.maximum(watts - table.idle_w, 0.0)
        reading = read_factor * np.maximum(work - generating, 0.0)
        added = added + reading * max(table.prompt_w - table.idle_w, 0.0)
        scale = _NS * _SLACK
        return cls(_below(users, factor * np.maximum(work, floor)) * scale, added * scale)


def first_token_s(pool: Pool, sizes: Sizes, entry_s: float) -> float:
    """Least seconds to the first token of a prompt as long as 1 of 100 is, after whatever entry takes.

    Alone, or, where the replica generates too, beside one user whose work is nothing: several groups then don't wait for
    the longest chunk, and times are corrected otherwise.
    """
    policy = pool.policy
    most = min(policy.max_chunk_tokens or policy.max_step_tokens, policy.max_step_tokens)
    left, seen, total_ns = max(int(sizes.late_fresh), 1), 0, 0.0
    while left > 0:
        new = min(left, most)
        alone_ns = float(pool.table.step(0, 0, 0, [(new, seen)])[0])
        total_ns += (
            alone_ns if pool.role == "prompt" else min(alone_ns, _beside_ns(pool, new, seen))
        )
        left, seen = left - new, seen + new
    return entry_s + total_ns * (_NS * _SLACK)


def _beside_ns(pool: Pool, new: int, seen: int) -> float:
    """What a chunk takes at least in a step of others: no less than its own work, with the smallest correction."""
    table = pool.table
    own_ns = float(_counted(table.tokens_ns, np.array([new]))[0]) + float(table.rows_ns[0])
    alone = table.prompt_ns if table.alone_ns is None else table.alone_ns
    own_ns += max(table.prompt_ns.at(new, seen), alone.at(new, seen))
    return max(own_ns, float(table.floor_ns.min())) * float(table.factor.values.min())


def _reader(pool: Pool, sizes: Sizes, entry_s: float) -> Reach:
    """A replica that reads only: as many tokens in a step as do it fastest."""
    table, policy = pool.table, pool.policy
    most = policy.max_step_tokens
    sizes_of_steps = np.unique(np.round(np.geomspace(1, most, 24)))
    prompts = sizes_of_steps / sizes.fresh
    work = _counted(table.tokens_ns, sizes_of_steps) + _counted(
        table.rows_ns, np.maximum(prompts, 1)
    )
    work = work + prompts * _read_ns(table, policy, sizes.fresh, alone=True)
    factor = table.factor.at(0, 0.0)
    each_s = float(np.min(work * factor / prompts)) * (_NS * _SLACK)
    send_s = (pool.send_ns_per_token * sizes.prompt + pool.send_ns) * _NS
    rate = 1.0 / max(each_s, send_s, 1e-12)
    return Reach(
        users=np.ones(1),
        pace_s=np.zeros(1),
        rate=np.array([rate]),
        added_j=np.array([max(table.prompt_w - table.idle_w, 0.0) * each_s]),
        first_s=first_token_s(pool, sizes, entry_s),
        idle_w=table.idle_w,
    )


def _users(policy: Policy, sizes: Sizes) -> Floats:
    """1 to as many as the policy and the cache allow on average, 32 an octave beyond 64."""
    most = min(policy.max_seqs, policy.max_step_tokens // (1 + policy.draft_tokens))
    most = max(1, min(most, int(policy.kv_tokens / max(sizes.context, 1.0))))
    dense = np.arange(1, min(most, _DENSE_TO) + 1)
    wide = np.round(_DENSE_TO * 2.0 ** np.arange(1 / 32, np.log2(max(most, 64) / 64), 1 / 32))
    return np.unique(np.concatenate([dense, wide[wide <= most], [most]])).astype(np.float64)


def _kept(policy: Policy) -> float:
    """Tokens a user gets each step."""
    return sum(policy.acceptance**i for i in range(policy.draft_tokens + 1))


def _read_ns(table: StepTable, policy: Policy, fresh: float, *, alone: bool) -> float:
    """Attention of a whole prompt, in the chunks of the policy."""
    left, seen, total = fresh, 0.0, 0.0
    while left > 0:
        new = min(left, float(policy.max_step_tokens))
        total += table.prompt_ns.at(new, seen)
        left, seen = left - new, seen + new
    return total if alone else min(total, table.prompt_ns.at(fresh, 0.0))


def _counted(values: Floats, count: Floats) -> Floats:
    """A table of counts at counts that need not be whole; constant beyond its end."""
    return np.interp(count, np.arange(len(values), dtype=np.float64), values)


def _hull(values: Floats) -> Floats:
    """The largest convex function below a table of counts."""
    n = len(values)
    if n < 3:
        return values
    places = np.unique(np.concatenate([np.arange(min(n, 65)), np.geomspace(1, n - 1, 129).round()]))
    return np.interp(np.arange(n), places, _below(places, values[places.astype(int)]))


def _below(x: Floats, y: Floats) -> Floats:
    """At ascending places, the largest convex function that is nowhere above y."""
    kept: list[int] = []
    for place in range(len(x)):
        while len(kept) > 1 and _bends_down(x, y, kept[-2], kept[-1], place):
            kept.pop()
        kept.append(place)
    found: Floats = np.interp(x, x[kept], y[kept])
    return found


def _bends_down(x: Floats, y: Floats, a: int, b: int, c: int) -> bool:
    return bool((y[b] - y[a]) * (x[c] - x[a]) >= (y[c] - y[a]) * (x[b] - x[a]))


def _grid_at(table: StepTable, name: str, users: Floats, context: float) -> Floats:
    """One of the table's grids over users × context, at one context."""
    grid = {"decode_ns": table.decode_ns, "factor": table.factor, "decode_w": table.decode_w}[name]
    rows = np.array([np.interp(context, grid.y, row) for row in grid.values])
    found: Floats = np.interp(users, grid.x, rows)
    return found
