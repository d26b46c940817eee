"""Random small fleets and requests: what the two engines are held against each other with."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from takt.serving import REQUEST, Autoscale, Failure, Fleet, Policy, Pool, StepTable, Tier
from takt.serving.fleet import ORDERS, ROUTERS
from takt.serving.step_table import Axis, Grid

SECOND_NS = 1_000_000_000


def table(seed: int = 0, floor_ns: float = 0.0, groups: int = 1) -> StepTable:
    """Steps of some milliseconds, with every part of the sum in play."""
    rng = np.random.default_rng(seed)
    users, contexts = Axis([1, 2, 8, 32]), Axis([0, 50, 400, 3000])
    texts = {"x": Axis([1, 64]), "y": Axis([0, 512])}
    generating = Grid(x=users, y=contexts, values=1e3 * rng.uniform(1, 9, (4, 4)).cumsum(0))
    reading = Grid(values=rng.uniform(1e4, 1e6, (2, 2)), **texts)
    return StepTable(
        tokens_ns=1e6 + 9e3 * np.arange(200) + rng.uniform(0, 1e3, 200).cumsum(),
        rows_ns=2e4 * np.arange(20) + rng.uniform(0, 1e3),
        decode_ns=generating,
        mixed_ns=replace(generating, values=1.7 * generating.values) if seed % 3 else None,
        prompt_ns=reading,
        alone_ns=Grid(values=2.0 * reading.values, **texts) if seed % 2 else None,
        groups=groups,
        floor_ns=np.full(4, floor_ns),
        factor=Grid(x=Axis([0, 4]), y=Axis([0, 100]), values=rng.uniform(0.8, 1.3, (2, 2))),
        decode_w=Grid(x=users, y=contexts, values=rng.uniform(200, 700, (4, 4))),
        prompt_w=700.0,
        idle_w=100.0,
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    drafts = draw(st.integers(0, 3))
    return Policy(
        max_seqs=draw(st.integers(1, 12)),
        max_step_tokens=draw(st.integers(1 + drafts, 200)),
        max_chunk_tokens=draw(st.sampled_from([0, 0, 7, 50])),
        n_blocks=draw(st.integers(2, 90)),
        block_tokens=draw(st.sampled_from([1, 3, 8, 16])),
        prefix_caching=draw(st.booleans()),
        mixed=draw(st.booleans()),
        order=draw(st.sampled_from(ORDERS)),
        draft_tokens=drafts,
        acceptance=draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
    )


@st.composite
def pools(draw: st.DrawFn, name: str, role: str) -> Pool:
    replicas = draw(st.integers(1, 4))
    scale = st.builds(
        Autoscale,
        least=st.integers(1, replicas),
        target_load=st.integers(1, 6),
        interval_ns=st.integers(10**7, SECOND_NS),
        startup_ns=st.integers(0, SECOND_NS),
        cooldown_ns=st.integers(0, SECOND_NS),
    )
    return Pool(
        name=name,
        replicas=replicas,
        table=table(
            draw(st.integers(0, 5)),
            draw(st.sampled_from([0.0, 3e6])),
            draw(st.sampled_from([1, 1, 4])),
        ),
        policy=draw(policies()),
        role=role,
        entry_ns=draw(st.sampled_from([0, 1_000_000])),
        send_ns_per_token=draw(st.sampled_from([0.0, 1.5e4])),
        send_ns=draw(st.sampled_from([0, 50_000])),
        autoscale=draw(st.none() | scale),
    )


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    shapes = [["both"], ["both", "both"], ["prompt", "decode"], ["both", "prompt", "decode"]]
    shape = draw(st.sampled_from(shapes))
    chosen = tuple(draw(pools(f"pool{i}", role)) for i, role in enumerate(shape))
    last = sum(pool.replicas for pool in chosen) - 1
    failure = st.builds(
        Failure,
        at_ns=st.integers(0, 5 * SECOND_NS),
        replica=st.integers(0, last),
        down_ns=st.integers(1, 2 * SECOND_NS),
    )
    tier = st.builds(
        Tier,
        priority=st.integers(0, 3),
        ttft_ns=st.none() | st.integers(1, SECOND_NS),
        max_waiting=st.sampled_from([0, 0, 1, 4]),
    )
    return Fleet(
        pools=chosen,
        tiers=tuple(draw(st.lists(tier, min_size=3, max_size=3))),
        router=draw(st.sampled_from(ROUTERS)),
        imbalance=draw(st.integers(0, 5)),
        concurrency=draw(st.sampled_from([0, 0, 1, 5])),
        failures=tuple(draw(st.lists(failure, max_size=3))),
        sample_ns=draw(st.sampled_from([0, 700_000_000])),
    )


def requests(n: int, seed: int, gap_ns: float = 2e7) -> NDArray[np.void]:
    """Requests of all kinds: alone, in sessions, of groups, in turns, seen before; many at the same time."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, REQUEST)
    rows["turn"] = rng.random(n) < 0.25
    rows["turn"][0] = 0
    arrivals = np.cumsum(rng.exponential(gap_ns, n) * (rng.random(n) < 0.7)).astype(np.int64)
    rows["arrival_ns"] = np.where(rows["turn"] == 0, arrivals, rng.integers(0, 10**8, n))
    rows["prompt_tokens"] = rng.integers(1, 300, n)
    rows["output_tokens"] = rng.integers(1, 40, n)
    rows["tier"] = rng.integers(0, 3, n)
    rows["session"] = rng.integers(-1, 6, n)
    rows["group"] = rng.integers(-1, 2, n)
    shared = np.minimum(rows["prompt_tokens"], 40 + 30 * rows["group"])
    rows["group_tokens"] = np.where(rows["group"] >= 0, shared, 0)
    rows["seen_tokens"] = rows["prompt_tokens"] * (rng.random(n) < 0.1) // 2
    return rows
