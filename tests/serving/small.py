"""Replicas simple enough for theory, and a run of them in one line: what tests of queues, laws and features share."""

from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from takt.serving import EVENT, FINISHED, REQUEST, EventKind, Fleet, Policy, Pool, StepTable, fast
from takt.serving.records import NOBODY
from takt.serving.step_table import Axis, Grid
from takt.serving.totals import Totals

US, MS, S = 10**3, 10**6, 10**9


class Log(NamedTuple):
    """All that a run handed out."""

    totals: Totals
    finished: NDArray[np.void]
    events: NDArray[np.void]

    def of(self, kind: EventKind) -> NDArray[np.void]:
        """Events of one kind."""
        return self.events[self.events["kind"] == kind]

    def by_request(self) -> NDArray[np.void]:
        """Finished requests in the order of the source."""
        return np.sort(self.finished, order="request")


def constant(value: float) -> Grid:
    """The same everywhere."""
    return Grid(x=Axis([0]), y=Axis([0]), values=np.array([[value]]))


def table(
    step_ns: float = 0.0,
    *,
    token_ns: float = 0.0,
    row_ns: float = 0.0,
    prompt_ns: float = 0.0,
    most: int = 4096,
) -> StepTable:
    """Steps of `step_ns`, and so much for each token computed, each row and each chunk of a prompt; up to `most` tokens."""
    return StepTable(
        tokens_ns=step_ns + token_ns * np.arange(most),
        rows_ns=row_ns * np.arange(most),
        decode_ns=constant(0.0),
        prompt_ns=constant(prompt_ns),
        floor_ns=np.zeros(1),
        factor=constant(1.0),
        decode_w=constant(500.0),
        prompt_w=700.0,
        idle_w=100.0,
    )


def pool(costs: StepTable | None = None, replicas: int = 1, **facts: object) -> Pool:
    """Replicas of one kind; facts that are no pool's are their policy's."""
    kept = {name: facts.pop(name) for name in list(facts) if name in Policy.__dataclass_fields__}
    facts.setdefault("policy", Policy(**kept))  # type: ignore[arg-type]
    facts.setdefault("name", "pool")
    return Pool(table=costs or table(MS), replicas=replicas, **facts)  # type: ignore[arg-type]


def rows(arrival_ns: ArrayLike, **columns: ArrayLike) -> NDArray[np.void]:
    """Requests at these times: one token in and out, alone, of the first tier, but for what the columns say."""
    times = np.atleast_1d(np.asarray(arrival_ns))
    made = np.zeros(len(times), REQUEST)
    made["arrival_ns"] = times
    made["prompt_tokens"] = made["output_tokens"] = 1
    made["session"] = made["group"] = NOBODY
    for name, values in columns.items():
        made[name] = values
    return made


def run(
    requests: NDArray[np.void],
    fleet: Fleet,
    *,
    engine: ModuleType = fast,
    seed: int = 0,
    with_events: bool = True,
) -> Log:
    """Serve them all."""
    finished, events = [np.empty(0, FINISHED)], [np.empty(0, EVENT)]
    chunks = [requests[i : i + 65_536] for i in range(0, len(requests), 65_536)]
    sink = events.append if with_events else None
    totals = engine.run(chunks, fleet, seed=seed, finished=finished.append, events=sink)
    return Log(totals, np.concatenate(finished), np.concatenate(events))
