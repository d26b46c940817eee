"""Requests as a command line asks for them: from a rate and lengths, a recording, a workload file, or a mixture.

One entry, `workload_of`, so that every verb understands the same words. Knows what goes together.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from takt.errors import UsageError, did_you_mean
from takt.files import held

from .arrivals import Arrivals, AtOnce, Process, Recorded
from .file import is_workload, read_workload
from .lengths import MOST_TOKENS, Lengths, Pairs
from .read import read_trace
from .sessions import Group, Sessions, Think, TierShare
from .trace import Replay, Trace
from .words import length_of, number_of
from .workload import Workload

__all__ = ["ARRIVALS", "workload_of"]

ARRIVALS = ("poisson", "gamma", "constant", "at-once")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wishes:
    """What was asked for; None: nothing was said."""

    rate: float | None
    prompt: str | None
    output: str | None
    arrivals: str | None
    cv: float | None
    requests: int | None
    duration_s: float | None
    speed: float | None
    loop: bool
    turns: str | None
    think: str | None
    new: str | None
    prefix: str | None
    tiers: str | None
    concurrency: int | None
    max_context: int | None

    @property
    def own_arrivals(self) -> bool:
        """Whether a process of its own is asked for."""
        return self.arrivals is not None or self.cv is not None or self.concurrency is not None

    def refuse(self, names: str, why: str) -> None:
        """UsageError where one of the named options was given."""
        for name in names.split():
            if getattr(self, name) not in (None, False):
                raise UsageError(
                    f"--{name.removesuffix('_s').replace('_', '-')} and {why} don't go together"
                )


def workload_of(
    source: str | Path | None = None,
    *,
    rate: float | None = None,
    prompt: str | None = None,
    output: str | None = None,
    arrivals: str | None = None,
    cv: float | None = None,
    requests: int | None = None,
    duration_s: float | None = None,
    speed: float | None = None,
    loop: bool = False,
    turns: str | None = None,
    think: str | None = None,
    new: str | None = None,
    prefix: str | None = None,
    tiers: str | None = None,
    concurrency: int | None = None,
    max_context: int | None = None,
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    at_once: bool = False,
    note: Callable[[str], object] | None = None,
) -> Workload | Replay:
    """The requests that these words mean.

    - `source`: a recording or a workload file, `-` for standard input; the rest changes it, or says all where there is none.
    - `rate`: requests a second, all turns counted. `prompt`, `output`, `new`, `turns`: lengths as text (`words.FORMS`).
    - `arrivals`: one of ARRIVALS; `cv` of gaps makes them gamma. `concurrency`: so many at a time, whatever the rate.
    - `think`: seconds between an answer and the next turn, with a cv after a comma: `10` or `10,1.5`.
    - `prefix`: shared system prompts as TOKENS:SHARE, … (`512` alone: all share it). `tiers`: NAME:SHARE:PRIORITY, …
    - `columns`, `time_unit`: of a recording, as in `read_trace`. `at_once`: lengths without times come all at once.
    - `note` hears what people should know of a recording: rows that were left out, requests that it does not have.

    Raises UsageError for what does not go together, DataError for files that say something wrong.
    """
    wishes = _Wishes(
        rate=rate, prompt=prompt, output=output, arrivals=arrivals, cv=cv, requests=requests, duration_s=duration_s,
        speed=speed, loop=loop, turns=turns, think=think, new=new, prefix=prefix, tiers=tiers, concurrency=concurrency,
        max_context=max_context,
    )  # fmt: skip
    if source is None:
        wishes.refuse("speed loop", "no recording")
        return _recipe(wishes, None)
    tell = note or _unheard
    file = held(source)
    if is_workload(file):
        return _ended(wishes, _changed(wishes, read_workload(file)), tell)
    trace = read_trace(file, columns, time_unit)
    for each in trace.notes:
        tell(each)
    if at_once and trace.arrival_ns is None and rate is None:
        trace = trace.at_once()
    texts = (prompt, output, turns, prefix, tiers)
    if trace.arrival_ns is None or wishes.own_arrivals or any(text is not None for text in texts):
        return _ended(wishes, _recipe(wishes, trace), tell)
    wishes.refuse("think new duration_s", "a recording")
    if rate is not None and speed is not None:
        raise UsageError("a recording is played at a rate or at a speed, not both")
    replay = Replay(
        trace=trace,
        speed=speed or 1.0,
        requests_limit=requests,
        loop=loop,
        max_context=max_context or MOST_TOKENS,
    )
    if requests is not None and requests > len(trace) and not loop:
        tell(_fewer(len(trace), requests))
    return replay if rate is None else replay.at_rate(rate)


def _unheard(note: str) -> None:
    """Where nobody asked for notes."""


def _fewer(there: int, wished: int) -> str:
    return f"the recording has {there:,} requests: those come, not the {wished:,} asked for"


def _ended(wishes: _Wishes, workload: Workload, tell: Callable[[str], object]) -> Workload:
    """A workload whose number of requests is true: recorded arrivals may end before those asked for have come."""
    arrivals, wished = workload.arrivals, wishes.requests
    if wished is None or not isinstance(arrivals, Recorded) or arrivals.loop or workload.sessions:
        return workload  # sessions have as many requests as they draw turns
    there = len(arrivals.recorded_ns)
    if wished > there:
        tell(_fewer(there, wished))
        return workload.limited(there)
    return workload


def _recipe(wishes: _Wishes, trace: Trace | None) -> Workload:
    """A workload of its own, which may draw its lengths or take its arrivals from a recording."""
    lengths = _lengths(wishes, trace)
    requests = wishes.requests
    if requests is None and wishes.duration_s is None and trace is not None:
        requests = len(trace)
    sessions = _sessions(wishes)
    workload = Workload(
        name=trace.name.partition(".")[0] or "workload" if trace else "workload",
        arrivals=_arrivals(wishes, trace),
        lengths=lengths,
        n_requests=requests,
        duration_s=wishes.duration_s,
        sessions=sessions,
        groups=_groups(wishes.prefix) if wishes.prefix is not None else (),
        tiers=_tiers(wishes.tiers)
        if wishes.tiers is not None
        else (TierShare(name="all", share=1.0),),
        max_context=wishes.max_context if wishes.max_context is not None else MOST_TOKENS,
    )
    if wishes.rate is not None and sessions and not isinstance(workload.arrivals, AtOnce):
        return workload.at_rate(wishes.rate)  # the rate counts all turns
    return workload


def _lengths(wishes: _Wishes, trace: Trace | None) -> Lengths | Pairs:
    if wishes.prompt is not None and wishes.output is not None:
        return Lengths(prompt=length_of(wishes.prompt), output=length_of(wishes.output))
    if trace is not None and wishes.prompt is None and wishes.output is None:
        return trace.pairs
    if trace is not None:
        raise _own_lengths(f"the recording {trace.name}", wishes)
    missing = "output" if wishes.prompt is not None else "prompt"
    raise UsageError(
        f"how long are the {missing}s?", hint=f"say --{missing}, such as 1137 or lognormal:1137,0.8"
    )


def _own_lengths(whose: str, wishes: _Wishes) -> UsageError:
    """Of two lengths one was said, for requests that have both."""
    said, other = ("prompt", "output") if wishes.prompt is not None else ("output", "prompt")
    return UsageError(
        f"--{said} alone does not go with {whose}, which brings its own lengths",
        hint=f"leave out --{said}, or give --{other} too, in place of all its lengths",
    )


def _arrivals(wishes: _Wishes, trace: Trace | None) -> Process:
    kind = wishes.arrivals
    if kind is not None and kind not in ARRIVALS:
        hint = did_you_mean(kind, ARRIVALS) or f"arrivals are {', '.join(ARRIVALS)}"
        raise UsageError(f"no arrivals {kind[:40]!r}", hint=hint)
    if wishes.concurrency is not None or kind == "at-once":
        wishes.refuse("rate cv speed loop", "requests that wait for a place")
        if kind not in (None, "at-once"):
            raise UsageError(f"--arrivals {kind} and --concurrency don't go together")
        if wishes.concurrency is not None and wishes.concurrency < 1:
            raise UsageError(
                f"--concurrency {wishes.concurrency}: expected 1 or more users",
                hint="--arrivals at-once sends all requests at the start",
            )
        return AtOnce(concurrency=wishes.concurrency or 0)
    if trace is not None and trace.arrival_ns is not None and not wishes.own_arrivals:
        recorded = replace(trace.recorded, speed=wishes.speed or 1.0, loop=wishes.loop)
        return recorded if wishes.rate is None else recorded.at_rate(wishes.rate)
    wishes.refuse("speed loop", "arrivals that are drawn")
    rate = wishes.rate
    if rate is None and trace is not None and trace.arrival_ns is not None:
        rate = trace.recorded.mean_rate_per_s
    if rate is None:
        raise UsageError(
            "how often do requests come?", hint="say --rate (requests/s), or --concurrency"
        )
    return Arrivals(rate_per_s=rate, cv=_cv(kind, wishes.cv))


def _cv(kind: str | None, cv: float | None) -> float:
    if kind == "gamma" and cv is None:
        raise UsageError("gamma arrivals have a cv", hint="say --cv: 1 is Poisson, more is bursty")
    if kind in ("poisson", "constant") and cv is not None:
        raise UsageError(f"--cv goes with gamma arrivals, not with {kind} ones")
    return {"poisson": 1.0, "constant": 0.0}.get(kind or "", 1.0 if cv is None else cv)


def _sessions(wishes: _Wishes) -> Sessions | None:
    if wishes.turns is None:
        wishes.refuse("think new", "requests of one turn")
        return None
    mean_s, _, cv = (wishes.think if wishes.think is not None else "0").partition(",")
    think = Think(
        mean_s=number_of(mean_s, "think time"),
        cv=number_of(cv, "cv of think times") if cv else None,
    )
    return Sessions(
        turns=length_of(wishes.turns),
        think=think,
        new=length_of(wishes.new) if wishes.new is not None else None,
    )


def _groups(text: str) -> tuple[Group, ...]:
    groups = []
    for part in text.split(","):
        tokens, _, share = part.partition(":")
        if not re.fullmatch(r"\s*\d{1,9}\s*", tokens):
            raise UsageError(
                f"no shared prefix {part[:40]!r}", hint="TOKENS:SHARE, such as 512:0.7,2048:0.3"
            )
        groups.append(
            Group(tokens=int(tokens), share=number_of(share, "share of a prefix") if share else 1.0)
        )
    return tuple(groups)


def _tiers(text: str) -> tuple[TierShare, ...]:
    """`paid:0.8,free:0.2`: priorities in the order they are named, unless a third number says otherwise."""
    tiers = []
    for i, part in enumerate(text.split(",")):
        name, *numbers = part.strip().split(":")
        if not 1 <= len(numbers) <= 2:
            raise UsageError(
                f"no tier {part[:40]!r}", hint="NAME:SHARE[:PRIORITY], such as paid:0.8,free:0.2"
            )
        values = [number_of(number, f"tier {name[:40]}") for number in numbers]
        priority = values[1] if len(values) == 2 else i
        if priority != int(priority):
            raise UsageError(f"priority of tier {name[:40]} is a whole number, 0 first")
        tiers.append(TierShare(name=name, share=values[0], priority=int(priority)))
    return tuple(tiers)


def _changed(wishes: _Wishes, workload: Workload) -> Workload:
    """A workload from a file, with other lengths, another rate or another end."""
    wishes.refuse(
        "arrivals cv speed loop turns think new prefix tiers concurrency", "a workload file"
    )
    if wishes.prompt is not None or wishes.output is not None:
        lengths = workload.lengths
        if isinstance(lengths, Pairs):
            if wishes.prompt is None or wishes.output is None:
                raise _own_lengths(f"the workload {workload.name}", wishes)
            lengths = _lengths(wishes, None)
        assert isinstance(lengths, Lengths)
        workload = replace(
            workload,
            lengths=Lengths(
                prompt=length_of(wishes.prompt) if wishes.prompt is not None else lengths.prompt,
                output=length_of(wishes.output) if wishes.output is not None else lengths.output,
            ),
        )
    if wishes.max_context is not None:
        workload = replace(workload, max_context=wishes.max_context)
    if wishes.requests is not None or wishes.duration_s is not None:
        workload = replace(workload, n_requests=wishes.requests, duration_s=wishes.duration_s)
    return workload if wishes.rate is None else workload.at_rate(wishes.rate)
