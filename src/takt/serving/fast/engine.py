"""The same rules in C: packs a fleet into arrays, feeds requests, hands batches on. Knows no rule itself."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from takt.errors import LawError

from ..drafts import thresholds
from ..fleet import ORDERS, ROLES, ROUTERS, Fleet, Pool, Tier
from ..records import EVENT, FINISHED, REPLICA
from ..source import checked
from ..step_table import Grid
from ..totals import Sink, Totals
from . import _engine

__all__ = ["run"]

_LAWS = {
    24: "requests were lost or made up",
    25: "blocks were lost or made up",
    26: "an event lies in the past",
    27: "requests are left and nothing to happen",
}


def run(
    requests: Iterable[NDArray[np.void]],
    fleet: Fleet,
    *,
    seed: int,
    finished: Sink,
    events: Sink | None = None,
) -> Totals:
    """Simulate until every request has ended: what `reference.run` does, to the same bytes.

    Raises DataError for bad rows, LawError for a defect of the engine.
    """
    source = checked(requests, len(fleet.tiers))

    def more() -> NDArray[np.void] | None:
        rows = next(source, None)
        return None if rows is None else np.ascontiguousarray(rows)

    def log(batch: bytes) -> None:
        if events is not None:
            events(np.frombuffer(batch, EVENT))

    sums, start_ns, end_ns, arrived, done, rejected, law = _engine.run(
        _int64([ROUTERS.index(fleet.router), fleet.imbalance, fleet.concurrency, fleet.sample_ns, fleet.entry_ns]),
        tuple((_integers(pool), _floats(pool)) for pool in fleet.pools),
        _int64([number for tier in fleet.tiers for number in _of_tier(tier)]),
        _int64([x for each in fleet.failures for x in (each.at_ns, each.replica, each.down_ns)]),
        seed & ((1 << 64) - 1),
        more,
        lambda batch: finished(np.frombuffer(batch, FINISHED)),
        None if events is None else log,
    )  # fmt: skip
    if law:
        raise LawError(_LAWS[law], law=law)
    return Totals(
        replicas=np.frombuffer(sums, REPLICA),
        start_ns=max(start_ns, 0),
        end_ns=end_ns,
        arrived=arrived,
        done=done,
        rejected=rejected,
    )


def _int64(numbers: Iterable[int]) -> bytes:
    return np.array(list(numbers), np.int64).tobytes()


def _of_tier(tier: Tier) -> tuple[int, int, int]:
    return tier.priority, tier.ttft_ns or 0, tier.max_waiting


def _integers(pool: Pool) -> bytes:
    """The order in which `pool_from` of _engine.c reads."""
    policy, scale, table = pool.policy, pool.autoscale, pool.table
    grids = (table.decode_ns, table.prompt_ns, table.factor, table.decode_w)
    return _int64(
        [
            pool.replicas,
            ROLES.index(pool.role),
            pool.send_ns,
            pool.read_ns_per_token,
            policy.max_seqs,
            policy.max_step_tokens,
            policy.n_blocks,
            policy.block_tokens,
            policy.prefix_caching,
            policy.mixed,
            ORDERS.index(policy.order),
            policy.draft_tokens,
            scale is not None,
            scale.least if scale else 0,
            scale.target_load if scale else 0,
            scale.interval_ns if scale else 0,
            scale.startup_ns if scale else 0,
            scale.cooldown_ns if scale else 0,
            len(table.tokens_ns),
            len(table.rows_ns),
            *(length for grid in grids for length in (len(grid.x), len(grid.y))),
            table.groups,
            policy.max_chunk_tokens,
            *thresholds(policy.draft_tokens, policy.acceptance),
        ]
    )


def _floats(pool: Pool) -> bytes:
    table = pool.table
    first = np.array([pool.send_ns_per_token, table.prompt_w, table.idle_w])
    alone_ns = table.alone_ns or table.prompt_ns
    mixed_ns = table.mixed_ns or table.decode_ns
    grids = (table.decode_ns, mixed_ns, table.prompt_ns, alone_ns, table.factor, table.decode_w)
    parts = [first, table.tokens_ns, table.rows_ns, table.floor_ns, *map(_grid, grids)]
    return np.concatenate(parts).astype(np.float64).tobytes()


def _grid(grid: Grid) -> NDArray[np.float64]:
    return np.concatenate([grid.x, grid.y, grid.values.ravel()])
