"""A recording summarised as a workload: which process and which distributions come near it, and how near.

Nearness is the Kolmogorov–Smirnov distance (KS): the largest difference between two cumulative shares, here of the recorded
values and of values drawn from what was fitted. Knows no files.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.units import NS_PER_S

from ..records import NOBODY
from .arrivals import Arrivals
from .lengths import (
    MOST_TOKENS,
    Constant,
    Exponential,
    Ints,
    Length,
    Lengths,
    Lognormal,
    Pairs,
    Quantiles,
    Sizes,
    between,
    sizes_of,
)
from .sessions import MOST_TURNS, Sessions, Think, TierShare
from .trace import Trace
from .workload import Workload

__all__ = [
    "ArrivalFit",
    "Fitted",
    "LengthFit",
    "SessionFit",
    "fit_trace",
    "ks_distance",
    "peak_per_s",
]

Floats = NDArray[np.float64]

GOOD_KS = 0.05
"""A formula that comes nearer than this stands for the recording; else its measured quantiles do. Small samples of a formula
are farther from it themselves: 1.36 ÷ √n is passed by one in twenty (Kolmogorov's distribution)."""
JOINT_CORRELATION = 0.1
"""Prompts and answers whose ranks correlate more than this are drawn in pairs."""
_POISSON_CV = 0.05
_DRAWN = 50_000
_QUANTILES = 1001
_MOST_PAIRS = 2_000
_LEAST_TIER_ROWS = 100
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthFit:
    """A fitted length: what was chosen, its distance, and those of all that were tried."""

    sizes: Sizes
    chosen: Length
    ks: float
    tried: tuple[tuple[str, float], ...]

    def figures(self) -> dict[str, object]:
        """All by name, as JSON has them."""
        head: dict[str, object] = {
            "chosen": str(self.chosen),
            "ks": self.ks,
            "tried": dict(self.tried),
        }
        return head | self.sizes.figures()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalFit:
    """Fitted arrivals; `peak_per_s`: the mean rate of the busiest hour, None where less than one was recorded."""

    chosen: Arrivals
    span_s: float
    gap_cv: float
    ks: float
    peak_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFit:
    """Fitted sessions; `waits_known`: think times are from the ends of answers, not from arrival to arrival."""

    n: int
    mean_turns: float
    sessions: Sessions
    waits_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A workload like a recording, and what it rests on. `correlation` of the ranks of prompts and answers."""

    workload: Workload
    n_requests: int
    prompt: LengthFit
    output: LengthFit
    arrivals: ArrivalFit | None
    sessions: SessionFit | None
    correlation: float
    seen_share: float
    notes: tuple[str, ...]


def fit_trace(
    trace: Trace, *, curve_s: float | None = None, rate_per_s: float | None = None
) -> Fitted:
    """A workload like a recording.

    `curve_s`: follow the rate in pieces of so many seconds. `rate_per_s`: for a list of lengths, which has none.
    Raises UsageError for a recording without arrivals where no rate is given.
    """
    turn, before = trace.turns()
    sessions = _sessions(trace, turn, before)
    first = turn == 0 if sessions else np.ones(len(trace), dtype=bool)
    arrivals = _arrivals(trace, first, curve_s)
    if arrivals is None and rate_per_s is None:
        raise UsageError(
            f"{trace.name} has lengths but no arrival times",
            hint="say how many requests a second: --rate",
        )
    process = arrivals.chosen if arrivals else Arrivals(rate_per_s=rate_per_s or 1.0)
    if rate_per_s is not None:
        process = process.at_rate(rate_per_s / (sessions.mean_turns if sessions else 1.0))
    prompt, output = _length(trace.prompt_tokens[first]), _length(trace.output_tokens)
    correlation = _rank_correlation(trace.prompt_tokens, trace.output_tokens)
    pooled = _joint(trace, np.arange(len(trace)), sessions) or Lengths(
        prompt=prompt.chosen, output=output.chosen
    )
    workload = Workload(
        name=trace.name.partition(".")[0] or "fitted",
        arrivals=process,
        lengths=pooled,
        n_requests=len(trace),
        sessions=sessions.sessions if sessions else None,
        tiers=tuple(_tiers(trace, first, sessions)),
    )
    return Fitted(
        workload=workload,
        n_requests=len(trace),
        prompt=prompt,
        output=output,
        arrivals=arrivals,
        sessions=sessions,
        correlation=correlation,
        seen_share=float(trace.seen_tokens.sum() / trace.prompt_tokens.sum()),
        notes=(*trace.notes, *_doubts(len(trace), arrivals, sessions)),
    )


def _doubts(n: int, arrivals: ArrivalFit | None, sessions: SessionFit | None) -> Iterator[str]:
    """What the fit does not show."""
    if arrivals and arrivals.ks > 2 * _near(n):
        yield f"gaps are not near a gamma distribution (KS {arrivals.ks:.2f}): the recording itself says more"
    if sessions and not sessions.waits_known:
        yield "think times are from arrival to arrival: they hold the answers' times too"


def _tiers(
    trace: Trace, first: NDArray[np.bool_], sessions: SessionFit | None
) -> Iterator[TierShare]:
    """Shares of sessions; tiers with enough requests get lengths of their own."""
    starts = trace.tier[first]
    for i, tier in enumerate(trace.tiers):
        share = float((starts == i).mean())
        rows = np.flatnonzero(trace.tier == i)
        if len(trace.tiers) == 1 or len(rows) < _LEAST_TIER_ROWS or not first[rows].any():
            yield replace(tier, share=share)
            continue
        own = _joint(trace, rows, sessions) or Lengths(
            prompt=_length(trace.prompt_tokens[rows[first[rows]]]).chosen,
            output=_length(trace.output_tokens[rows]).chosen,
        )
        yield replace(tier, share=share, lengths=own)


def _joint(trace: Trace, rows: Ints, sessions: SessionFit | None) -> Pairs | None:
    """Recorded lengths to draw from, evenly chosen, where prompts, answers and cache hits hang together."""
    prompt, output, seen = (
        c[rows] for c in (trace.prompt_tokens, trace.output_tokens, trace.seen_tokens)
    )
    hits = bool(seen.any())
    bound = max(JOINT_CORRELATION, 3 / len(rows) ** 0.5)  # three standard errors of none
    if sessions or not (hits or abs(_rank_correlation(prompt, output)) > bound):
        return None  # a session's prompts grow: its turns are no sample of first prompts
    order = np.lexsort((output, prompt))
    n = min(len(order), _MOST_PAIRS)
    order = order[((np.arange(n) + 0.5) * len(order) / n).astype(np.int64)]
    return Pairs(
        prompt_tokens=prompt[order],
        output_tokens=output[order],
        seen_tokens=seen[order] if hits else None,
        name=trace.name,
    )


def _length(tokens: Ints) -> LengthFit:
    """The nearest formula, or measured quantiles where none is near."""
    sizes = sizes_of(tokens)
    if int(tokens.min()) == int(tokens.max()):
        same = Constant(tokens=int(tokens[0]))
        return LengthFit(sizes=sizes, chosen=same, ks=0.0, tried=(("constant", 0.0),))
    most = int(tokens.max())
    logs = np.log(tokens)
    mean = min(max(float(np.exp(logs.mean() + logs.var() / 2)), 1.0), float(MOST_TOKENS))
    cv = min(float(np.sqrt(np.expm1(min(logs.var(), 9.0)))), 100.0)
    options: list[tuple[str, Length]] = [
        (
            "lognormal (by moments)",
            Lognormal(mean=_short(sizes.mean), cv=_short(min(sizes.cv, 100.0)), most=most),
        ),
        ("lognormal (by logarithms)", Lognormal(mean=_short(mean), cv=_short(cv), most=most)),
        ("exponential", Exponential(mean=_short(sizes.mean), most=most)),
    ]
    tried = [(name, length, _distance(tokens, length)) for name, length in options]
    shares = np.linspace(0, 1, _QUANTILES)
    measured = Quantiles(tokens=tuple(_short(each) for each in np.quantile(tokens, shares)))
    tried.append(("quantiles", measured, _distance(tokens, measured)))
    best = min(tried[:-1], key=lambda each: each[2])
    _, chosen, ks = best if best[2] <= _near(len(tokens)) else tried[-1]
    return LengthFit(
        sizes=sizes, chosen=chosen, ks=ks, tried=tuple((name, ks) for name, _, ks in tried)
    )


def _near(n: int) -> float:
    return max(GOOD_KS, 1.36 / math.sqrt(n))


def _short(value: float) -> float:
    """Six digits: more would say nothing."""
    return float(f"{value:.6g}")


def _distance(tokens: Ints, length: Length) -> float:
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence(0)))
    return ks_distance(tokens.astype(np.float64), length.sample(stream, _DRAWN).astype(np.float64))


def ks_distance(one: Floats, other: Floats) -> float:
    """The largest difference between the cumulative shares of two samples."""
    one, other = np.sort(one), np.sort(other)
    places = np.concatenate([one, other])
    below_one = np.searchsorted(one, places, side="right") / len(one)
    below_other = np.searchsorted(other, places, side="right") / len(other)
    return float(np.abs(below_one - below_other).max())


def _rank_correlation(one: Ints, other: Ints) -> float:
    """Spearman's, with equal values ranked in their middle; 0 where one never varies."""
    if one.min() == one.max() or other.min() == other.max():
        return 0.0
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Ints) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middles = ends - (counts - 1) / 2
    ranks: Floats = middles[inverse.reshape(-1)]
    return ranks


def _arrivals(trace: Trace, first: NDArray[np.bool_], curve_s: float | None) -> ArrivalFit | None:
    """The gaps between first turns: Poisson where their cv is that of one, to its standard error; else gamma."""
    if trace.arrival_ns is None:
        return None
    seconds = trace.arrival_ns[first] / NS_PER_S
    span_s = float(seconds[-1] - seconds[0])
    if len(seconds) < 3 or span_s <= 0:
        raise UsageError(
            f"{trace.name} has too few arrival times to fit a process", hint="at least 3, apart"
        )
    n = len(seconds) - 1
    rate = n / span_s
    curve = _curve(seconds - seconds[0], rate, curve_s) if curve_s is not None else ()
    gaps = np.diff(_steady(seconds - seconds[0], curve))
    cv = float(gaps.std() / gaps.mean())
    poisson = abs(cv - 1) <= max(_POISSON_CV, 3 / n**0.5)
    process = Arrivals(
        rate_per_s=_short(rate),
        cv=1.0 if poisson else _short(min(cv, 100.0)),
        curve=curve,
        period_s=None if not curve else span_s * (1 + 1 / n),
    )
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence(0)))
    even = replace(process, curve=(), period_s=None)
    drawn = np.diff(next(even.times_ns(stream, _DRAWN)), prepend=0) / NS_PER_S
    return ArrivalFit(
        chosen=process,
        span_s=span_s,
        gap_cv=cv,
        ks=ks_distance(gaps, drawn),
        peak_per_s=peak_per_s(trace.arrival_ns / NS_PER_S),
    )


def _curve(seconds: Floats, rate: float, piece_s: float) -> tuple[tuple[float, float], ...]:
    """(start_s, factor) of pieces of the recorded time."""
    span_s = float(seconds[-1])
    between("seconds of a piece of the rate curve", piece_s, span_s / 10_000, span_s)
    n = max(1, round(span_s / piece_s))
    counts, edges = np.histogram(seconds, bins=n, range=(0.0, span_s))
    factors = counts / (rate * np.diff(edges))
    return tuple(zip(edges[:-1].tolist(), factors.tolist(), strict=True))


def _steady(seconds: Floats, curve: tuple[tuple[float, float], ...]) -> Floats:
    """Times stretched so that the rate is the same in all pieces of a curve."""
    if not curve:
        return seconds
    starts = np.asarray([start for start, _ in curve] + [max(float(seconds[-1]), curve[-1][0])])
    due = np.concatenate([[0.0], np.cumsum(np.diff(starts) * [factor for _, factor in curve])])
    steady: Floats = np.interp(seconds, starts, due)
    return steady


def peak_per_s(seconds: Floats) -> float | None:
    """Requests a second in the busiest hour that begins with a request."""
    if float(seconds[-1]) < _HOUR_S:
        return None
    within = np.searchsorted(seconds, seconds + _HOUR_S, side="left") - np.arange(len(seconds))
    return float(within.max() / _HOUR_S)


def _sessions(trace: Trace, turn: Ints, before: Ints) -> SessionFit | None:
    """None where nothing has a second turn."""
    later = np.flatnonzero(turn > 0)
    if not len(later):
        return None
    lone = trace.session == NOBODY
    n = int((turn == 0).sum())
    mean_turns = len(trace) / n
    last = before[later]
    said = trace.prompt_tokens[last] + trace.output_tokens[last]
    new = np.maximum(trace.prompt_tokens[later] - said, 1)
    waits = None if trace.wait_ns is None else trace.wait_ns[later]
    known = waits is not None and bool((waits >= 0).all())
    if waits is None or not known:
        times = (
            trace.arrival_ns
            if trace.arrival_ns is not None
            else np.zeros(len(trace), dtype=np.int64)
        )
        waits = times[later] - times[last]
    seconds = waits / NS_PER_S
    mean_s = float(seconds.mean())
    cv = float(seconds.std()) / mean_s if mean_s else 0.0
    fixed = not lone.any() and len(trace) % n == 0 and int(turn.max()) + 1 == len(trace) // n
    sessions = Sessions(
        turns=Constant(tokens=int(mean_turns))
        if fixed
        else Exponential(mean=_short(min(mean_turns, MOST_TURNS))),
        think=Think(
            mean_s=_short(mean_s), cv=None if abs(cv - 1) < _POISSON_CV else _short(min(cv, 100.0))
        ),
        new=_length(new).chosen,
    )
    return SessionFit(n=n, mean_turns=mean_turns, sessions=sessions, waits_known=known)
