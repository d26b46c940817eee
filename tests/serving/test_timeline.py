"""Sums over replicas at each look, by hand and against the looks themselves."""

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.serving.runs import MS, pool, requests, split_fleet

from takt.errors import UsageError
from takt.serving.fleet import Autoscale, Fleet
from takt.serving.records import EVENT, FINISHED, EventKind
from takt.serving.reference import run
from takt.serving.timeline import MOST_LOOKS, Timeline

FLEET = Fleet(pools=(pool("a"), pool("b", replicas=1)), sample_ns=10)


def look(
    time_ns: int, replica: int, running: int, waiting: int, blocks: int, up: int
) -> tuple[int, ...]:
    return (time_ns, -1, EventKind.SAMPLE, replica, running, waiting, blocks, up)


def test_a_pool_is_the_sum_of_its_replicas() -> None:
    timeline = Timeline(FLEET)
    rows = np.array(
        [
            look(10, 0, 3, 1, 40, 1), look(10, 1, 5, 0, 60, 1), look(10, 2, 1, 9, 100, 1),
            (15, 7, EventKind.FIRST, 0, 0, 0, 0, 0),
            look(20, 0, 0, 2, 30, 0), look(20, 1, 4, 0, 70, 1), look(20, 2, 0, 0, 0, 0),
        ],
        EVENT,
    )  # fmt: skip
    timeline.add(rows[:2])  # a look may come in two batches
    timeline.add(rows[2:])
    a, b = timeline.series().values()
    assert a.time_s.tolist() == [1e-8, 2e-8]
    assert (a.running.tolist(), a.waiting.tolist(), a.up.tolist()) == ([8, 4], [1, 2], [2, 1])
    assert a.kv.tolist() == [0.5, 0.7]  # of the replicas that are up
    assert (b.waiting.tolist(), b.kv.tolist()) == ([9, 0], [1.0, 0.0])


def test_memory_is_bounded_by_looking_less_often() -> None:
    timeline = Timeline(FLEET)
    n = 5 * MOST_LOOKS
    rows = np.zeros(n, EVENT)
    rows["kind"], rows["time_ns"] = EventKind.SAMPLE, 10 * np.arange(1, n + 1)
    rows["a"] = np.arange(1, n + 1)
    for batch in np.split(rows, 80):
        timeline.add(batch)
    series = timeline.series()["a"]
    assert MOST_LOOKS // 2 <= timeline.n_looks <= MOST_LOOKS
    assert set(np.diff(series.running).tolist()) == {8}  # every eighth, evenly to the end
    assert series.running.tolist() == np.rint(series.time_s * 1e8).tolist()


def test_a_run_of_the_engine_is_seen_as_it_was() -> None:
    fleet = split_fleet()
    timeline, kept = Timeline(fleet), list[NDArray[np.void]]()

    def sink(rows: NDArray[np.void]) -> None:
        kept.append(rows.copy())
        timeline.add(rows)

    run([requests(120, rate=20)], fleet, seed=0, finished=lambda rows: None, events=sink)
    looks = np.concatenate(kept)
    looks = looks[looks["kind"] == EventKind.SAMPLE]
    series = timeline.series()
    assert list(series) == ["read", "write"]
    assert series["read"].waiting.tolist() == looks["b"][looks["replica"] == 0].tolist()
    assert series["write"].running.sum() == looks["a"][looks["replica"] > 0].sum() > 0
    assert ((series["write"].kv >= 0) & (series["write"].kv <= 1)).all()


def test_replicas_come_as_the_load_grows() -> None:
    scale = Autoscale(least=1, target_load=4, interval_ns=50 * MS, startup_ns=100 * MS)
    fleet = Fleet(pools=(pool(replicas=4, autoscale=scale),), sample_ns=50 * MS)
    timeline = Timeline(fleet)
    run([requests(150, rate=60)], fleet, seed=0, finished=lambda rows: None, events=timeline.add)
    up = timeline.series()["gpu"].up
    assert up[0] == 1
    assert up.max() > 1


def test_without_looks_there_is_no_timeline() -> None:
    with pytest.raises(UsageError) as caught:
        Timeline(Fleet(pools=(pool(),)))
    assert caught.value.hint == "give the fleet a sample_ns"
    timeline = Timeline(FLEET)
    with pytest.raises(UsageError, match="before the first look"):
        timeline.series()
    with pytest.raises(UsageError, match="EVENT"):
        timeline.add(np.zeros(1, FINISHED))
