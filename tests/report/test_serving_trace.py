"""The timeline of a fleet: by hand for a few events, by its laws for a run of the slow engine."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.serving.runs import MS, S, pool, requests, split_fleet

from takt.errors import UsageError
from takt.report.serving_trace import ServingTrace
from takt.serving import EVENT, FINISHED, EventKind, Failure, Fate, Fleet
from takt.serving.reference import run

FLEET = Fleet(pools=(pool("gpu", replicas=1),), sample_ns=10)
EVENTS = np.array(
    [
        (1000, 5, EventKind.ARRIVE, -1, 77, 0, 0, 0),
        (1000, 5, EventKind.ROUTE, 0, 0, 0, 0, 0),
        (2000, 5, EventKind.ADMIT, 0, 16, 61, 0, 0),
        (2000, -1, EventKind.STEP, 0, 1500, 0, 61, 5),
        (3500, 5, EventKind.FIRST, 0, 0, 0, 0, 0),
        (3500, -1, EventKind.STEP, 0, 9000, 1, 0, 5),
        (4000, 5, EventKind.LOSE, 0, 0, 0, 0, 0),
        (4000, -1, EventKind.FAIL, 0, 600, 0, 0, 0),
        (5000, -1, EventKind.SAMPLE, 0, 3, 4, 50, 1),
        (6000, 5, EventKind.REJECT, 0, Fate.TOO_LONG, 0, 0, 0),
    ],
    EVENT,
)


def traced(path: Path, events: NDArray[np.void], fleet: Fleet = FLEET, **limits: int) -> Any:
    trace = ServingTrace(fleet, **limits)
    for batch in np.array_split(events, 3):
        trace.add(batch)
    trace.write(path)
    return json.loads(path.read_text())


def of_phase(document: Any, *phases: str) -> list[tuple[Any, ...]]:
    return [
        (e["name"], e["ph"], e["ts"], *([e["dur"]] if "dur" in e else []))
        for e in document["traceEvents"]
        if e["ph"] in phases
    ]


def test_a_replica_is_a_thread_of_steps_cut_by_its_failure(tmp_path: Path) -> None:
    document = traced(tmp_path / "t.json", EVENTS)
    assert of_phase(document, "X") == [
        ("read", "X", 2.0, 1.5),
        ("generate", "X", 3.5, 0.5),
        ("down", "X", 4.0, 0.6),
    ]
    names = [e["args"]["name"] for e in document["traceEvents"] if e["name"].endswith("_name")]
    assert names == ["requests", "gpu: 2 h100-sxm each, both", "replica 0"]


def test_a_request_is_a_row_of_phases(tmp_path: Path) -> None:
    document = traced(tmp_path / "t.json", EVENTS)
    assert of_phase(document, "b", "e", "n") == [
        ("request", "b", 1.0),
        ("waiting", "b", 1.0),
        ("waiting", "e", 2.0),
        ("reading", "b", 2.0),
        ("first token", "n", 3.5),
        ("reading", "e", 3.5),
        ("generating", "b", 3.5),
        ("lose", "n", 4.0),
        ("generating", "e", 4.0),
        ("waiting", "b", 4.0),
        ("waiting", "e", 6.0),
        ("request", "e", 6.0),
    ]
    (end,) = [e for e in document["traceEvents"] if e["name"] == "request" and e["ph"] == "e"]
    assert end["args"] == {"request": 5, "fate": "too_long"}


def test_looks_are_counters_of_the_pool(tmp_path: Path) -> None:
    document = traced(tmp_path / "t.json", EVENTS)
    counters = [(e["name"], e["ts"], e["args"]) for e in document["traceEvents"] if e["ph"] == "C"]
    assert counters == [
        ("requests", 5.0, {"running": 3, "waiting": 4}),
        ("replicas up", 5.0, {"up": 1}),
        ("cache in use, %", 5.0, {"share": 50.0}),
    ]


def engine_events(fleet: Fleet, n: int = 60) -> NDArray[np.void]:
    kept = list[NDArray[np.void]]()
    run(
        [requests(n, rate=30)], fleet, seed=0, finished=lambda rows: None,
        events=lambda rows: kept.append(rows.copy()),
    )  # fmt: skip
    return np.concatenate(kept)


@pytest.mark.parametrize("most_lines", [10**6, 300, 25])
def test_everything_that_begins_ends_and_threads_never_overlap(
    most_lines: int, tmp_path: Path
) -> None:
    fleet = split_fleet()
    fails = (Failure(at_ns=S, replica=1, down_ns=300 * MS), Failure(at_ns=S, replica=0, down_ns=S))
    fleet = Fleet(pools=fleet.pools, sample_ns=fleet.sample_ns, failures=fails)
    events = engine_events(fleet)
    document = traced(tmp_path / "t.json", events, fleet, most_lines=most_lines)
    open_: Counter[tuple[int, str]] = Counter()
    busy_until: dict[int, float] = {}
    for e in document["traceEvents"]:
        assert e.get("dur", 0) >= 0
        if e["ph"] in "be":
            open_[e["id"], e["name"]] += 1 if e["ph"] == "b" else -1
            assert 0 <= open_[e["id"], e["name"]] <= 1
    for e in sorted((e for e in document["traceEvents"] if e["ph"] == "X"), key=lambda e: e["ts"]):
        assert e["ts"] >= busy_until.get(e["tid"], 0.0) - 1e-3
        busy_until[e["tid"]] = e["ts"] + e["dur"]
    assert not any(open_.values())
    left_out = document["otherData"].get("left out")
    assert (left_out is None) == (most_lines == 10**6)


def test_a_full_timeline_says_what_it_lacks(tmp_path: Path) -> None:
    trace = ServingTrace(FLEET, most_lines=4)
    trace.add(EVENTS)
    assert trace.write(tmp_path / "t.json") == 7
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["otherData"]["left out"] == "7 events after 2.000 us: the timeline is full"


def test_a_run_has_all_its_steps_and_first_tokens(tmp_path: Path) -> None:
    fleet = split_fleet()
    events = engine_events(fleet)
    document = traced(tmp_path / "t.json", events, fleet)
    names = Counter(e["name"] for e in document["traceEvents"] if e["ph"] in "Xbn")
    kinds = Counter(events["kind"].tolist())
    assert names["first token"] == kinds[EventKind.FIRST] == 60
    assert names["sending"] == kinds[EventKind.SEND] > 0
    steps = names["read"] + names["generate"] + names["mixed"]
    assert steps == kinds[EventKind.STEP] > 100


def test_other_records_and_no_room_are_refused() -> None:
    with pytest.raises(UsageError, match="EVENT"):
        ServingTrace(FLEET).add(np.zeros(1, FINISHED))
    with pytest.raises(UsageError, match="at least one line"):
        ServingTrace(FLEET, most_lines=0)
