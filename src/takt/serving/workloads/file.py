"""A workload as a small file: TOML or JSON, read strictly, and the JSON that says the same.

    takt_workload = 1
    requests = 100000
    [arrivals]
    kind = "rate"
    rate_per_s = 20.0
    cv = 1.5
    [lengths]
    kind = "apart"
    prompt = "lognormal:1137,0.8"
    output = "exp:212"

Unknown keys are errors. Lengths are text as on the command line, or `{ quantiles = [...] }`. Knows the file's form only; what is
possible is the workload's to say.
"""

import re
import tomllib
from pathlib import Path

import msgspec
import numpy as np

from takt.errors import DataError, UsageError
from takt.files import File, Held, bytes_of, start_of

from .arrivals import Arrivals, AtOnce, Process, Recorded
from .lengths import MOST_TOKENS, Length, Lengths, Pairs, Quantiles, pairs_of
from .sessions import Group, Sessions, Think, TierShare
from .words import length_of
from .workload import Workload

__all__ = ["is_workload", "read_workload", "workload_text"]

VERSION = 1
_MOST_BYTES = 64 << 20


class _Rate(
    msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="rate"
):
    """Arrivals by rate and cv."""

    rate_per_s: float
    cv: float = 1.0
    curve: list[tuple[float, float]] = []
    period_s: float | None = None


class _AtOnce(
    msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="at-once"
):
    concurrency: int = 0


class _Times(
    msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="times"
):
    times_ns: list[int]
    speed: float = 1.0
    loop: bool = False
    name: str = "a recording"


class _Measured(msgspec.Struct, forbid_unknown_fields=True):
    quantiles: list[float]


_Length = str | _Measured


class _Apart(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="apart"):
    prompt: _Length
    output: _Length


class _Pairs(
    msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="pairs"
):
    prompt_tokens: list[int]
    output_tokens: list[int]
    seen_tokens: list[int] | None = None
    name: str = "a recording"


class _Think(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    mean_s: float
    cv: float | None = None


class _Sessions(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    turns: _Length
    think: _Think
    new: _Length | None = None


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    tokens: int
    share: float


class _Tier(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    share: float
    priority: int = 0
    lengths: _Apart | _Pairs | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    takt_workload: int
    arrivals: _Rate | _AtOnce | _Times
    lengths: _Apart | _Pairs
    name: str | None = None
    requests: int | None = None
    duration_s: float | None = None
    sessions: _Sessions | None = None
    groups: list[_Group] = []
    tiers: list[_Tier] = []
    max_context: int = MOST_TOKENS


def is_workload(path: File) -> bool:
    """Whether a file is a workload by its name, or says that it is one; else it is a recording."""
    if path.suffix == ".toml":
        return True
    if isinstance(path, Held):
        start = start_of(path)
        key = rb'"takt_workload"' if start.startswith(b"{") else rb"(?m)^takt_workload\s*="
        return re.search(key, start) is not None
    return path.suffix == ".json" and b'"takt_workload"' in start_of(path)


def read_workload(path: str | File) -> Workload:
    """The workload of a TOML or JSON file. Raises UsageError (unreadable) or DataError (says something wrong)."""
    path = Path(path) if isinstance(path, str) else path
    data = bytes_of(path, _MOST_BYTES)
    try:
        if path.suffix == ".toml" or (
            isinstance(path, Held) and not data.lstrip().startswith(b"{")
        ):
            raw = msgspec.convert(tomllib.loads(data.decode("utf-8")), _File)
        else:
            raw = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DataError(
            str(error)[:300], file=str(path), hint="docs/workloads.md lists the keys"
        ) from error
    if raw.takt_workload != VERSION:
        raise DataError(
            "unknown version",
            file=str(path),
            key="takt_workload",
            expected=str(VERSION),
            found=str(raw.takt_workload),
        )
    try:
        return _workload(raw, path.name.partition(".")[0])
    except UsageError as error:
        raise DataError(error.message, file=str(path), hint=error.hint) from error
    except OverflowError as error:
        raise DataError("a number is too large", file=str(path)) from error


def workload_text(workload: Workload) -> str:
    """A workload as JSON that `read_workload` reads back as the same."""
    raw = _File(
        takt_workload=VERSION,
        name=workload.name,
        requests=workload.n_requests,
        duration_s=workload.duration_s,
        arrivals=_arrivals_out(workload.arrivals),
        lengths=_lengths_out(workload.lengths),
        sessions=_sessions_out(workload.sessions),
        groups=[_Group(tokens=group.tokens, share=group.share) for group in workload.groups],
        tiers=[
            _Tier(
                name=tier.name,
                share=tier.share,
                priority=tier.priority,
                lengths=_lengths_out(tier.lengths) if tier.lengths else None,
            )
            for tier in workload.tiers
        ],
        max_context=workload.max_context,
    )
    return msgspec.json.format(msgspec.json.encode(raw), indent=1).decode() + "\n"


def _workload(raw: _File, name: str) -> Workload:
    tiers = tuple(
        TierShare(
            name=tier.name,
            share=tier.share,
            priority=tier.priority,
            lengths=_lengths_in(tier.lengths) if tier.lengths else None,
        )
        for tier in raw.tiers
    )
    return Workload(
        name=raw.name or name or "workload",
        arrivals=_arrivals_in(raw.arrivals),
        lengths=_lengths_in(raw.lengths),
        n_requests=raw.requests,
        duration_s=raw.duration_s,
        sessions=_sessions_in(raw.sessions),
        groups=tuple(Group(tokens=group.tokens, share=group.share) for group in raw.groups),
        tiers=tiers or (TierShare(name="all", share=1.0),),
        max_context=raw.max_context,
    )


def _arrivals_in(raw: _Rate | _AtOnce | _Times) -> Process:
    if isinstance(raw, _AtOnce):
        return AtOnce(concurrency=raw.concurrency)
    if isinstance(raw, _Times):
        times = np.asarray(raw.times_ns, dtype=np.int64)
        return Recorded(recorded_ns=times, speed=raw.speed, loop=raw.loop, name=raw.name)
    return Arrivals(
        rate_per_s=raw.rate_per_s, cv=raw.cv, curve=tuple(raw.curve), period_s=raw.period_s
    )


def _arrivals_out(arrivals: Process) -> _Rate | _AtOnce | _Times:
    if isinstance(arrivals, AtOnce):
        return _AtOnce(concurrency=arrivals.concurrency)
    if isinstance(arrivals, Recorded):
        times = arrivals.recorded_ns.tolist()
        return _Times(times_ns=times, speed=arrivals.speed, loop=arrivals.loop, name=arrivals.name)
    return _Rate(
        rate_per_s=arrivals.rate_per_s,
        cv=arrivals.cv,
        curve=list(arrivals.curve),
        period_s=arrivals.period_s,
    )


def _length_in(raw: _Length) -> Length:
    return length_of(raw) if isinstance(raw, str) else Quantiles(tokens=tuple(raw.quantiles))


def _length_out(length: Length) -> _Length:
    return (
        _Measured(quantiles=list(length.tokens)) if isinstance(length, Quantiles) else str(length)
    )


def _lengths_in(raw: _Apart | _Pairs) -> Lengths | Pairs:
    if isinstance(raw, _Apart):
        return Lengths(prompt=_length_in(raw.prompt), output=_length_in(raw.output))
    return pairs_of(raw.prompt_tokens, raw.output_tokens, raw.seen_tokens, raw.name)


def _lengths_out(lengths: Lengths | Pairs) -> _Apart | _Pairs:
    if isinstance(lengths, Lengths):
        return _Apart(prompt=_length_out(lengths.prompt), output=_length_out(lengths.output))
    seen = lengths.seen_tokens
    return _Pairs(
        prompt_tokens=lengths.prompt_tokens.tolist(),
        output_tokens=lengths.output_tokens.tolist(),
        seen_tokens=None if seen is None else seen.tolist(),
        name=lengths.name,
    )


def _sessions_in(raw: _Sessions | None) -> Sessions | None:
    if raw is None:
        return None
    return Sessions(
        turns=_length_in(raw.turns),
        think=Think(mean_s=raw.think.mean_s, cv=raw.think.cv),
        new=_length_in(raw.new) if raw.new is not None else None,
    )


def _sessions_out(sessions: Sessions | None) -> _Sessions | None:
    if sessions is None:
        return None
    return _Sessions(
        turns=_length_out(sessions.turns),
        think=_Think(mean_s=sessions.think.mean_s, cv=sessions.think.cv),
        new=_length_out(sessions.new) if sessions.new is not None else None,
    )
