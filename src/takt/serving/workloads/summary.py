"""Figures of requests, whatever they come from: what `takt workload show` prints.

Knows rows only; they are read from a source up to a limit.
"""

from dataclasses import dataclass

import numpy as np

from takt.units import NS_PER_S

from .fit import peak_per_s
from .lengths import Ints, Sizes, sizes_of
from .source import Source

Bin = tuple[int, int, int]

__all__ = ["Summary", "summary_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Figures of `n` requests; None where there is nothing to say.

    - `span_s`: from the first arrival to the last; `rate_per_s` of sessions within; `gap_cv` of two gaps or more.
    - `peak_per_s`: mean rate of the busiest hour. `seen_share` of prompt tokens was cached when they came.
    - `think_s`: mean wait of later turns. Histograms: (least, most, count) between powers of two.
    """

    n: int
    span_s: float
    rate_per_s: float | None
    gap_cv: float | None
    peak_per_s: float | None
    prompt: Sizes
    output: Sizes
    seen_share: float
    mean_turns: float
    think_s: float | None
    tier_shares: tuple[float, ...]
    prompt_histogram: tuple[Bin, ...]
    output_histogram: tuple[Bin, ...]


def summary_of(source: Source, seed: int = 0, most: int = 1_000_000) -> Summary:
    """Figures of the first requests of a source, at most so many."""
    rows = np.concatenate(list(source.limited(most).requests(seed)))
    first = rows["turn"] == 0
    starts = rows["arrival_ns"][first]
    gaps = np.diff(starts)
    timed = bool(gaps.any())
    prompt, output = rows["prompt_tokens"].astype(np.int64), rows["output_tokens"].astype(np.int64)
    span_s = float(starts[-1] - starts[0]) / NS_PER_S
    counts = np.bincount(rows["tier"], minlength=len(source.tiers))
    return Summary(
        n=len(rows),
        span_s=span_s,
        rate_per_s=len(gaps) / span_s if timed else None,
        gap_cv=float(gaps.std() / gaps.mean()) if timed and len(gaps) > 1 else None,
        peak_per_s=peak_per_s((starts - starts[0]) / NS_PER_S),
        prompt=sizes_of(prompt),
        output=sizes_of(output),
        seen_share=float(rows["seen_tokens"].sum() / prompt.sum()),
        mean_turns=len(rows) / int(first.sum()),
        think_s=None if first.all() else float(rows["arrival_ns"][~first].mean()) / NS_PER_S,
        tier_shares=tuple((counts / len(rows)).tolist()),
        prompt_histogram=_histogram(prompt),
        output_histogram=_histogram(output),
    )


def _histogram(tokens: Ints) -> tuple[Bin, ...]:
    """(least, most, count) of lengths between powers of two, from the shortest to the longest."""
    low, high = int(tokens.min()).bit_length() - 1, int(tokens.max()).bit_length()
    edges = [1 << power for power in range(low, high + 1)]
    counts = np.histogram(tokens, bins=edges)[0].tolist()
    return tuple((a, b - 1, n) for a, b, n in zip(edges, edges[1:], counts, strict=False))
