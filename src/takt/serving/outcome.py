"""What a simulation showed, in figures for people: latencies, rates, use of replicas, energy and money.

    collector = Collector(fleet)                     a sink of finished requests
    totals = run(requests, fleet, seed=0, finished=collector.finished, events=None)
    outcome = Outcome.of(fleet, collector, totals)

Latencies are milliseconds, of requests that were done after the warm-up; everything else is of the whole run. What rests on a
fact that nobody knows (a price, a chip's power) is None. `outcome_json` writes it down; knows no simulator.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError, did_you_mean

from .collector import LATENCIES, Collector, Counts
from .digest import Digest
from .fleet import Fleet, Pool
from .totals import Totals

__all__ = [
    "ENERGY_UNKNOWN",
    "LATENCIES",
    "Collector",
    "Latency",
    "Outcome",
    "PoolOutcome",
    "Seen",
    "TierOutcome",
]

ENERGY_UNKNOWN = "energy unknown"  # among the basis of a step table whose watts nobody knows
_NS_PER_S, _NS_PER_MS, _S_PER_H = 1e9, 1e6, 3600.0
_PARTS: Mapping[str, tuple[str, ...]] = {  # what the error of a figure is made of
    "ttft": ("prompt",),
    "tpot": ("decode",),
    "e2e": ("prompt", "decode"),
    "energy": ("energy",),
}
_ROLES: Mapping[str, tuple[str, ...]] = {"prompt": ("both", "prompt"), "decode": ("both", "decode")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A distribution in milliseconds: mean, least and most exact, percentiles within `digest.RELATIVE_ERROR`."""

    mean: float
    p50: float
    p90: float
    p99: float
    min: float
    max: float

    @classmethod
    def of(cls, digest: Digest) -> "Latency | None":
        """None where nothing was counted."""
        if not digest.count:
            return None
        p50, p90, p99 = (digest.quantiles([0.5, 0.9, 0.99]) / _NS_PER_MS).tolist()
        ends = {"min": digest.least / _NS_PER_MS, "max": digest.most / _NS_PER_MS}
        return cls(mean=digest.mean / _NS_PER_MS, p50=p50, p90=p90, p99=p99, **ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What requests saw, of one tier or of all.

    - `requests` have ended: `completed`, `rejected` because a queue was full, or `too_long` for any replica.
    - `ttft_ms`, `tpot_ms`, `e2e_ms`, `queue_ms`: to the first token, between tokens, to the last, until scheduled.
      None where no request has one.
    - `throughput_tok_s`: output tokens of completed requests over the span of the run.
    - `goodput`: share of the requests after the warm-up that met all targets of their tier; None where there are none.
      `goodput_per_s` is that share of `requests_per_s`, which counts all that ended.
    - Tokens are those of completed requests; `cached_tokens`: of their prompts, found in the cache.
    """

    requests: int
    completed: int
    rejected: int
    too_long: int
    ttft_ms: Latency | None
    tpot_ms: Latency | None
    e2e_ms: Latency | None
    queue_ms: Latency | None
    throughput_tok_s: float
    requests_per_s: float
    goodput: float | None
    goodput_per_s: float | None
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    preemptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TierOutcome(Seen):
    """What the requests of one tier saw."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOutcome:
    """What the replicas of one pool did in all.

    - `utilisation`: share of the time they were on in which a step was under way; `kv_mean`: blocks in use as a share
      of all, mean over the time of steps; `kv_peak`: of the fullest replica at its fullest. None where they never ran.
    - `cached_share`: of the prompt tokens they were to read, those that they found in the cache.
    - `energy_j`: of steps, and of idle time at the idle watts. `usd`: for the time they were on.
    """

    name: str
    chip: str
    replicas: int
    chips: int
    on_s: float
    utilisation: float | None
    kv_mean: float | None
    kv_peak: float
    steps: int
    generated_tokens: int
    read_tokens: int
    cached_tokens: int
    sent_tokens: int
    cached_share: float | None
    preemptions: int
    failures: int
    energy_j: float | None
    usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Seen):
    """The figures of one run.

    - `warmup`: requests left out of latencies and goodput; `span_s`: from the first arrival to the last event.
    - `energy_j` of the chips; `mw`: its mean power; `usd`: for the time replicas were on. Per token means output token.
    - `basis` and `expected_error` (of ttft, tpot, e2e, energy; None: unknown): from the tables of the pools.
    - `digests`: of all tiers together, by `LATENCIES`, in nanoseconds; read them only.
    """

    warmup: int
    span_s: float
    tiers: tuple[TierOutcome, ...]
    pools: tuple[PoolOutcome, ...]
    energy_j: float | None
    energy_j_per_token: float | None
    mw: float | None
    usd: float | None
    usd_per_h: float | None
    usd_per_mtok: float | None
    basis: frozenset[str]
    expected_error: Mapping[str, float | None]
    digests: Mapping[str, Digest]

    @classmethod
    def of(cls, fleet: Fleet, collector: Collector, totals: Totals) -> "Outcome":
        """Put together what a run left. UsageError where these are not of the same run."""
        total = collector.total
        _check(fleet, total, totals)
        span_s = totals.span_ns / _NS_PER_S
        pools = tuple(_pools(fleet, totals.replicas))
        energy_j, usd = _sum(p.energy_j for p in pools), _sum(p.usd for p in pools)
        tiers = zip(fleet.tiers, collector.tiers, strict=True)
        tokens = total.output_tokens
        return cls(
            **_seen(total, span_s),
            warmup=collector.warmup,
            span_s=span_s,
            tiers=tuple(TierOutcome(name=t.name, **_seen(counts, span_s)) for t, counts in tiers),
            pools=pools,
            energy_j=energy_j,
            energy_j_per_token=_ratio(energy_j, tokens),
            mw=_ratio(energy_j, span_s * 1e6),
            usd=usd,
            usd_per_h=_ratio(usd, span_s / _S_PER_H),
            usd_per_mtok=_ratio(usd, tokens / 1e6),
            basis=frozenset().union(*(pool.table.basis for pool in fleet.pools)),
            expected_error={figure: _error(fleet.pools, figure) for figure in _PARTS},
            digests=total.digests,
        )

    def curve(self, latency: str, n_points: int = 200) -> tuple[tuple[float, float], ...]:
        """(seconds, share of requests at most that long), `n_points` of them, of `ttft`, `tpot`, `e2e` or `queue`; () without a value."""
        if latency not in self.digests:
            hint = did_you_mean(latency, LATENCIES) or f"there are {', '.join(LATENCIES)}"
            raise UsageError(f"no latency '{latency}'", hint=hint)
        if not self.digests[latency].count:
            return ()
        nanoseconds, shares = self.digests[latency].cdf(n_points)
        return tuple(zip((nanoseconds / _NS_PER_S).tolist(), shares.tolist(), strict=True))


def _check(fleet: Fleet, total: Counts, totals: Totals) -> None:
    if len(totals.replicas) != fleet.n_replicas:
        raise UsageError(f"{len(totals.replicas)} replicas ran, the fleet has {fleet.n_replicas}")
    if totals.span_ns < 0:
        raise UsageError("a run ends before it starts")
    ended = totals.done + totals.rejected
    if (total.done, total.requests) != (totals.done, ended):
        raise UsageError(
            f"{ended:,} requests ended in the run, {total.requests:,} of them were collected",
            hint="give the collector's `finished` to the run, and a new collector to each",
        )


def _seen(counts: Counts, span_s: float) -> dict[str, Any]:
    """The fields of `Seen`."""
    share = _ratio(counts.good, counts.counted)
    rate = counts.requests / span_s if span_s else 0.0
    return {
        "requests": counts.requests,
        "completed": counts.done,
        "rejected": counts.rejected,
        "too_long": counts.too_long,
        **{f"{name}_ms": Latency.of(counts.digests[name]) for name in LATENCIES},
        "throughput_tok_s": counts.output_tokens / span_s if span_s else 0.0,
        "requests_per_s": rate,
        "goodput": share,
        "goodput_per_s": None if share is None else share * rate,
        "prompt_tokens": counts.prompt_tokens,
        "output_tokens": counts.output_tokens,
        "cached_tokens": counts.cached_tokens,
        "preemptions": counts.preemptions,
    }


def _pools(fleet: Fleet, replicas: NDArray[np.void]) -> Iterable[PoolOutcome]:
    first = 0
    for pool in fleet.pools:
        yield _pool(pool, replicas[first : first + pool.replicas])
        first += pool.replicas


def _pool(pool: Pool, rows: NDArray[np.void]) -> PoolOutcome:
    def total(name: str) -> int:
        return int(rows[name].sum())

    on_ns, busy_ns = total("on_ns"), total("busy_ns")
    read, cached = total("read_tokens"), total("cached_tokens")
    idle_ns = on_ns - busy_ns
    known = ENERGY_UNKNOWN not in pool.table.basis
    on_s = on_ns / _NS_PER_S
    return PoolOutcome(
        name=pool.name,
        chip=pool.chip,
        replicas=pool.replicas,
        chips=pool.chips,
        on_s=on_s,
        utilisation=_ratio(busy_ns, on_ns),
        kv_mean=_ratio(float(rows["block_ns"].sum()) / pool.policy.n_blocks, busy_ns),
        kv_peak=int(rows["peak_blocks"].max()) / pool.policy.n_blocks,
        steps=total("steps"),
        generated_tokens=total("generated_tokens"),
        read_tokens=read,
        cached_tokens=cached,
        sent_tokens=total("sent_tokens"),
        cached_share=_ratio(cached, cached + read),
        preemptions=total("preemptions"),
        failures=total("failures"),
        energy_j=float(rows["energy_j"].sum()) + pool.table.idle_w * idle_ns / _NS_PER_S
        if known
        else None,
        usd=None if pool.usd_per_h is None else pool.usd_per_h * on_s / _S_PER_H,
    )


def _error(pools: Iterable[Pool], figure: str) -> float | None:
    """The largest error of the tables that a figure rests on; None where one is unknown."""
    errors = [
        getattr(pool.table, f"{part}_error")
        for part in _PARTS[figure]
        for pool in pools
        if pool.role in _ROLES.get(part, ("both", "prompt", "decode"))
    ]
    return None if None in errors else max(errors, default=None)


def _ratio(amount: float | None, whole: float) -> float | None:
    return None if amount is None or not whole else amount / whole


def _sum(parts: Iterable[float | None]) -> float | None:
    """The sum, None where a part is unknown."""
    total = 0.0
    for part in parts:
        if part is None:
            return None
        total += part
    return total
