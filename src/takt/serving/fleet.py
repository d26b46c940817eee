"""What serves: replicas in pools, how each schedules, how requests find them, and what may happen to them.

Values only; `scheduler` and the engines act on them. Sizes are tokens or blocks of tokens, times integer nanoseconds.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from takt.errors import UsageError, did_you_mean

from .step_table import StepTable

__all__ = [
    "ORDERS",
    "ROLES",
    "ROUTERS",
    "Autoscale",
    "Failure",
    "Fleet",
    "Policy",
    "Pool",
    "Tier",
]

Role = Literal["both", "prompt", "decode"]
ROLES: tuple[Role, ...] = ("both", "prompt", "decode")
Order = Literal["fcfs", "priority", "deadline"]
ORDERS: tuple[Order, ...] = ("fcfs", "priority", "deadline")
Router = Literal["round-robin", "least-loaded", "prefix-aware", "deadline-aware"]
ROUTERS: tuple[Router, ...] = ("round-robin", "least-loaded", "prefix-aware", "deadline-aware")

MOST_REPLICAS = 65_536
_MOST = 1 << 31
_LONGEST_NS = 1 << 60


def _one_of(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        hint = did_you_mean(name, known) or f"known are {', '.join(known)}"
        raise UsageError(f"no {what} '{name}'", hint=hint)


def _between(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{what} is {value:,}, expected {least:,} to {most:,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one replica schedules: the words are those of vLLM's engine arguments.

    - `max_seqs`: requests in one step; `max_step_tokens`: tokens computed in one step, prompts cut to chunks for it;
      `max_chunk_tokens`: of one prompt in one step, 0 for as many as fit.
    - `n_blocks` of `block_tokens` tokens each: the cache.
    - `prefix_caching`: blocks of sessions and groups stay until their place is needed.
    - `mixed`: chunks of prompts share steps with users generating; else prompts go first, in steps of their own.
    - `order` of the queue: `fcfs` by arrival, `priority` by tier first, `deadline` by the time the first token is due.
    - `draft_tokens`, `acceptance`: tokens guessed ahead each step, and the probability that the next guess holds.
    """

    max_seqs: int = 256
    max_step_tokens: int = 8192
    max_chunk_tokens: int = 0
    n_blocks: int = 1 << 20
    block_tokens: int = 16
    prefix_caching: bool = True
    mixed: bool = True
    order: Order = "fcfs"
    draft_tokens: int = 0
    acceptance: float = 0.0

    def __post_init__(self) -> None:
        _one_of("order", self.order, ORDERS)
        for name in ("max_seqs", "max_step_tokens", "n_blocks", "block_tokens"):
            _between(name, getattr(self, name), 1, _MOST - 1)
        _between("max_chunk_tokens", self.max_chunk_tokens, 0, _MOST - 1)
        _between("draft_tokens", self.draft_tokens, 0, 64)
        if not 0.0 <= self.acceptance <= 1.0:
            raise UsageError("acceptance of drafts is from 0 to 1")
        if self.max_step_tokens < 1 + self.draft_tokens:
            raise UsageError("a step must have room for one user's tokens and drafts")

    @property
    def kv_tokens(self) -> int:
        """Tokens whose cache one replica holds."""
        return self.n_blocks * self.block_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscale:
    """Replicas by load: as many as keep requests on each at `target_load`, between `least` and all of the pool.

    Looked at every `interval_ns`; a new one takes requests `startup_ns` after its start; one is drained once fewer
    would have done for `cooldown_ns`.
    """

    least: int = 1
    target_load: int = 32
    interval_ns: int = 10_000_000_000
    startup_ns: int = 120_000_000_000
    cooldown_ns: int = 300_000_000_000

    def __post_init__(self) -> None:
        _between("fewest replicas", self.least, 1, MOST_REPLICAS)
        _between("target load", self.target_load, 1, _MOST)
        _between("interval_ns", self.interval_ns, 1, _LONGEST_NS)
        _between("startup_ns", self.startup_ns, 0, _LONGEST_NS)
        _between("cooldown_ns", self.cooldown_ns, 0, _LONGEST_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A replica (counted over all pools) fails at a time, and is up again, empty, `down_ns` later."""

    at_ns: int
    replica: int
    down_ns: int

    def __post_init__(self) -> None:
        _between("time of a failure", self.at_ns, 0, _LONGEST_NS)
        _between("replica of a failure", self.replica, 0, MOST_REPLICAS)
        _between("down_ns", self.down_ns, 1, _LONGEST_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Replicas that are alike.

    - `role`: `both` read prompts and generate; `prompt` read and hand the cache to a pool that `decode`s.
    - `entry_ns`: from a request's arrival until it may be scheduled: receiving, tokenising.
    - `send_ns_per_token`, `send_ns`: what a replica of role `prompt` takes to send a cache, one after the other: for each
      token, and until the first is there.
    - `chips` of one replica, of the kind `chip`; `usd_per_h` of one replica, None where no price is known.
    """

    name: str
    replicas: int
    table: StepTable
    policy: Policy = field(default_factory=Policy)
    role: Role = "both"
    entry_ns: int = 0
    send_ns_per_token: float = 0.0
    send_ns: int = 0
    autoscale: Autoscale | None = None
    chip: str = ""
    chips: int = 1
    usd_per_h: float | None = None

    @property
    def read_ns_per_token(self) -> int:
        """What a token of a prompt takes in a full step, attention aside; routers judge queues by it."""
        most = min(self.policy.max_step_tokens, len(self.table.tokens_ns) - 1)
        return ceil(float(self.table.tokens_ns[most]) / max(most, 1))

    def __post_init__(self) -> None:
        _one_of("role", self.role, ROLES)
        _between(f"replicas of {self.name}", self.replicas, 1, MOST_REPLICAS)
        _between("entry_ns", self.entry_ns, 0, _LONGEST_NS)
        _between("send_ns", self.send_ns, 0, _LONGEST_NS)
        if not 0.0 <= self.send_ns_per_token <= 1e9:
            raise UsageError("sending a token's cache takes from 0 ns to a second")
        if self.autoscale and self.autoscale.least > self.replicas:
            raise UsageError(
                f"{self.name} scales from {self.autoscale.least} replicas but has {self.replicas}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A class of requests: `priority` 0 goes first; targets count for goodput, `ttft_ns` for deadlines too.

    `max_waiting`: a request is rejected where so many wait at its replica already; 0 never.
    """

    name: str = "all"
    priority: int = 0
    ttft_ns: int | None = None
    tpot_ns: int | None = None
    e2e_ns: int | None = None
    max_waiting: int = 0

    def __post_init__(self) -> None:
        _between("priority", self.priority, 0, 1_000_000)
        _between("max_waiting", self.max_waiting, 0, _MOST)
        for name in ("ttft_ns", "tpot_ns", "e2e_ns"):
            if getattr(self, name) is not None:
                _between(name, getattr(self, name), 1, _LONGEST_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All that serves. Requests enter at pools of role `both` and `prompt`; `router` chooses among all replicas there.

    - `imbalance`: `prefix-aware` goes where the cache is, unless that replica has so many requests more than the idlest.
    - `concurrency`: requests of turn 0 wait outside while so many are inside; 0: no limit.
    - `sample_ns`: time between looks at the replicas (events SAMPLE); 0: none.
    """

    pools: tuple[Pool, ...]
    tiers: tuple[Tier, ...] = (Tier(),)
    router: Router = "least-loaded"
    imbalance: int = 16
    concurrency: int = 0
    failures: tuple[Failure, ...] = ()
    sample_ns: int = 0

    def __post_init__(self) -> None:
        _one_of("router", self.router, ROUTERS)
        if not self.pools or not self.tiers:
            raise UsageError("a fleet has at least one pool and one tier")
        roles = {pool.role for pool in self.pools}
        if roles == {"decode"}:
            raise UsageError("no pool reads prompts", hint="give one the role both or prompt")
        if ("prompt" in roles) != ("decode" in roles):
            raise UsageError("pools of roles prompt and decode come together")
        _between("replicas of the fleet", self.n_replicas, 1, MOST_REPLICAS)
        _between("imbalance", self.imbalance, 0, _MOST)
        _between("concurrency", self.concurrency, 0, _MOST)
        _between("sample_ns", self.sample_ns, 0, _LONGEST_NS)
        for failure in self.failures:
            _between("replica of a failure", failure.replica, 0, self.n_replicas - 1)

    @property
    def entry_ns(self) -> int:
        """From a request's arrival until it is routed: the longest of the pools where requests enter."""
        return max(pool.entry_ns for pool in self.pools if pool.role != "decode")

    @property
    def n_replicas(self) -> int:
        """Replicas of all pools; they are numbered in the order of the pools."""
        return sum(pool.replicas for pool in self.pools)
