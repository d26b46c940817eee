"""The timeline of a fleet as Chrome / Perfetto JSON: open it at ui.perfetto.dev or chrome://tracing.

    requests    a row for each request: waiting, reading, generating, sending, with a mark at its first token
    a pool      a thread for each replica: its steps, and when it starts, fails and is down; counters from looks at it

Times are microseconds of the simulation's clock. A timeline has at most so many lines; what comes after is left out, and the
file says from when. Knows events, not what made them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.files import write_whole
from takt.serving import EVENT, EventKind, Fate, Fleet
from takt.serving.results import Series, Timeline

__all__ = ["MOST_LINES", "ServingTrace"]

MOST_LINES = 300_000
_REQUESTS_PID, _FIRST_POOL_PID = 1, 10
_WAITING, _READING, _GENERATING, _SENDING = "waiting", "reading", "generating", "sending"

_json = json.JSONEncoder(separators=(",", ":")).encode

_Step = tuple[int, int, int, int, int]  # begin, end (ns), users, prompt tokens, blocks


class ServingTrace:
    """A sink of events, in the order of time, that becomes a timeline; `write` ends it."""

    def __init__(self, fleet: Fleet, *, most_lines: int = MOST_LINES) -> None:
        if most_lines < 1:
            raise UsageError("a timeline has at least one line")
        self._fleet = fleet
        self._most = most_lines
        self._pid_of = [
            _FIRST_POOL_PID + i for i, pool in enumerate(fleet.pools) for _ in range(pool.replicas)
        ]
        self._timeline = Timeline(fleet) if fleet.sample_ns else None
        self._lines: list[str] = []
        self._phase: dict[int, str] = {}  # of each request that is there
        self._read: set[int] = set()  # requests that have had their first token
        self._step: dict[int, _Step] = {}  # of each replica, until it is known to have ended
        self._starting: dict[int, int] = {}  # since when
        self._now_ns = 0
        self._left_out = 0
        self._tell: dict[int, Callable[[tuple[int, ...]], None]] = {
            EventKind.ARRIVE: self._arrive,
            EventKind.ADMIT: self._admit,
            EventKind.FIRST: self._first,
            EventKind.FINISH: self._finish,
            EventKind.REJECT: self._reject,
            EventKind.PREEMPT: self._wait_again,
            EventKind.LOSE: self._wait_again,
            EventKind.SEND: self._send,
            EventKind.RECEIVE: self._wait_again,
            EventKind.STEP: self._begin_step,
            EventKind.START: self._start,
            EventKind.UP: self._up,
            EventKind.FAIL: self._fail,
            EventKind.DRAIN: self._mark,
            EventKind.OFF: self._mark,
        }

    def add(self, rows: NDArray[np.void]) -> None:
        """Take a batch of EVENT records in."""
        if rows.dtype != EVENT:
            raise UsageError(f"events come as EVENT records, not as {rows.dtype}")
        kept = len(rows) if len(self._lines) < self._most else 0
        for number, row in enumerate(rows[:kept].tolist()):
            if len(self._lines) >= self._most:
                kept = number
                break
            self._now_ns = row[0]
            tell = self._tell.get(row[2])
            if tell is not None:
                tell(row)
        self._left_out += len(rows) - kept
        if self._timeline is not None and kept:
            self._timeline.add(rows[:kept])

    def write(self, path: Path) -> int:
        """Write the timeline, whole or not at all; returns how many events were left out. DataError if it cannot."""
        names = list(_names(self._fleet))
        counters = list(self._counters())
        lines = [*names, *self._lines, *counters, *self._ends()]
        about: dict[str, object] = {"time": "microseconds of the simulation's clock"}
        if self._left_out:
            until = _us(self._now_ns)
            about["left out"] = f"{self._left_out} events after {until} us: the timeline is full"
        head = {"displayTimeUnit": "ms", "otherData": about}
        text = json.dumps(head)[:-1] + ', "traceEvents": [\n' + ",\n".join(lines) + "\n]}\n"
        write_whole(path, text.encode())
        return self._left_out

    # Requests

    def _arrive(self, row: tuple[int, ...]) -> None:
        self._lines.append(_async("b", row[0], row[1], "request", {"prompt_tokens": row[4]}))
        self._enter(row, _WAITING)

    def _admit(self, row: tuple[int, ...]) -> None:
        """What is computed again after a preemption counts as generating: no event says when that is done."""
        phase = _GENERATING if row[1] in self._read else _READING
        args = {"replica": row[3], "cached_tokens": row[4], "tokens_to_read": row[5]}
        self._enter(row, phase, args)

    def _first(self, row: tuple[int, ...]) -> None:
        self._read.add(row[1])
        self._lines.append(_async("n", row[0], row[1], "first token", {}))
        self._enter(row, _GENERATING)

    def _finish(self, row: tuple[int, ...]) -> None:
        self._leave(row, {"output_tokens": row[4]})

    def _reject(self, row: tuple[int, ...]) -> None:
        self._leave(row, {"fate": Fate(row[4]).name.lower()})

    def _wait_again(self, row: tuple[int, ...]) -> None:
        name = EventKind(row[2]).name.lower()
        if name != "receive":
            self._lines.append(_async("n", row[0], row[1], name, {"tokens": row[4]}))
        self._enter(row, _WAITING)

    def _send(self, row: tuple[int, ...]) -> None:
        self._enter(row, _SENDING, {"to_replica": row[4]})

    def _enter(
        self, row: tuple[int, ...], phase: str, args: Mapping[str, int] | None = None
    ) -> None:
        """End what a request did, begin what it does now."""
        time_ns, request = row[0], row[1]
        if request in self._phase:
            self._lines.append(_async("e", time_ns, request, self._phase[request], {}))
        self._phase[request] = phase
        self._lines.append(_async("b", time_ns, request, phase, args or {}))

    def _leave(self, row: tuple[int, ...], args: Mapping[str, int | str]) -> None:
        time_ns, request = row[0], row[1]
        phase = self._phase.pop(request, None)
        self._read.discard(request)
        if phase is not None:
            self._lines.append(_async("e", time_ns, request, phase, {}))
            self._lines.append(_async("e", time_ns, request, "request", args))

    # Replicas

    def _begin_step(self, row: tuple[int, ...]) -> None:
        time_ns, replica, (step_ns, users, tokens, blocks) = row[0], row[3], row[4:8]
        self._end_step(replica)
        self._step[replica] = (time_ns, time_ns + step_ns, users, tokens, blocks)

    def _end_step(self, replica: int, until_ns: int | None = None) -> None:
        step = self._step.pop(replica, None)
        if step is not None:
            begin, end, users, tokens, blocks = step
            name = "mixed" if users and tokens else "generate" if users else "read"
            args = {"users": users, "prompt_tokens": tokens, "blocks": blocks}
            end = end if until_ns is None else min(end, until_ns)
            self._slice(replica, name, begin, end, args)

    def _start(self, row: tuple[int, ...]) -> None:
        self._starting[row[3]] = row[0]

    def _up(self, row: tuple[int, ...]) -> None:
        since_ns = self._starting.pop(row[3], None)
        if since_ns is not None:
            self._slice(row[3], "starting", since_ns, row[0], {})

    def _fail(self, row: tuple[int, ...]) -> None:
        self._end_step(row[3], until_ns=row[0])
        self._slice(row[3], "down", row[0], row[0] + row[4], {})

    def _mark(self, row: tuple[int, ...]) -> None:
        event = {"name": EventKind(row[2]).name.lower(), "ph": "i", "s": "t"}
        self._lines.append(_line(event, row[0], self._pid_of[row[3]], row[3] + 1))

    def _slice(
        self, replica: int, name: str, begin_ns: int, end_ns: int, args: Mapping[str, int]
    ) -> None:
        self._lines.append(
            f'{{"name":"{name}","ph":"X","ts":{_us(begin_ns)},"dur":{_us(end_ns - begin_ns)},'
            f'"pid":{self._pid_of[replica]},"tid":{replica + 1},"args":{_json(args)}}}'
        )

    # The end

    def _ends(self) -> Iterator[str]:
        """What is still under way ends with the timeline."""
        before = len(self._lines)
        for replica in sorted(self._step):
            self._end_step(replica)
        for replica, since_ns in sorted(self._starting.items()):
            self._slice(replica, "starting", since_ns, max(self._now_ns, since_ns), {})
        for request in sorted(self._phase):
            self._leave((self._now_ns, request), {})
        yield from self._lines[before:]

    def _counters(self) -> Iterator[str]:
        if self._timeline is None or not self._timeline.n_looks:
            return
        for i, series in enumerate(self._timeline.series().values()):
            yield from _pool_counters(_FIRST_POOL_PID + i, series)


def _pool_counters(pid: int, series: Series) -> Iterator[str]:
    columns = zip(
        np.rint(series.time_s * 1e9).astype(np.int64).tolist(),
        series.running.tolist(),
        series.waiting.tolist(),
        series.up.tolist(),
        series.kv.tolist(),
        strict=True,
    )
    for time_ns, running, waiting, up, kv in columns:
        for name, args in (
            ("requests", {"running": running, "waiting": waiting}),
            ("replicas up", {"up": up}),
            ("cache in use, %", {"share": round(100 * kv, 3)}),
        ):
            yield _line({"name": name, "ph": "C", "args": args}, time_ns, pid, 0)


def _names(fleet: Fleet) -> Iterator[str]:
    processes = [(_REQUESTS_PID, "requests")]
    processes += [
        (_FIRST_POOL_PID + i, f"{pool.name}: {pool.chips} {pool.chip or 'chips'} each, {pool.role}")
        for i, pool in enumerate(fleet.pools)
    ]
    for pid, name in processes:
        yield from _named("process", pid, 0, name)
    replica = 0
    for i, pool in enumerate(fleet.pools):
        for _ in range(pool.replicas):
            yield from _named("thread", _FIRST_POOL_PID + i, replica + 1, f"replica {replica}")
            replica += 1


def _named(what: str, pid: int, tid: int, name: str) -> Iterator[str]:
    order = {"sort_index": tid or pid}
    for key, args in ((f"{what}_name", {"name": name}), (f"{what}_sort_index", order)):
        yield _line({"name": key, "ph": "M", "args": args}, 0, pid, tid)


def _async(phase: str, time_ns: int, request: int, name: str, args: Mapping[str, int | str]) -> str:
    """A line of a request's row: phases nest in the request by their common id."""
    return (
        f'{{"name":"{name}","cat":"request","ph":"{phase}","id":{request},"ts":{_us(time_ns)},'
        f'"pid":{_REQUESTS_PID},"tid":0,"args":{_json({"request": request, **args})}}}'
    )


def _line(event: Mapping[str, object], time_ns: int, pid: int, tid: int) -> str:
    body = _json(event)[1:-1]
    return f'{{{body},"ts":{_us(time_ns)},"pid":{pid},"tid":{tid}}}'


def _us(time_ns: int) -> str:
    """Nanoseconds as microseconds, exactly."""
    return f"{time_ns // 1000}.{time_ns % 1000:03d}"
