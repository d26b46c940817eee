"""How workloads and fits read as text and as JSON; the keys are in docs/workloads.md."""

import json
import sys
from collections.abc import Mapping, Sequence

from takt.cli.table import aligned
from takt.serving.workloads import Fitted, Source, Summary

__all__ = ["fit_document", "fit_text", "show_document", "show_text", "write_json"]

_BAR = 40


def write_json(document: Mapping[str, object]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def show_document(source: Source, summary: Summary, notes: Sequence[str]) -> dict[str, object]:
    """Figures of requests; `notes` of how they were read."""
    return {
        "name": source.name,
        "description": source.description,
        "requests": summary.n,
        "span_s": summary.span_s,
        "rate_per_s": summary.rate_per_s,
        "peak_per_s": summary.peak_per_s,
        "gap_cv": summary.gap_cv,
        "prompt_tokens": summary.prompt.figures(),
        "output_tokens": summary.output.figures(),
        "seen_fraction": summary.seen_share,
        "mean_turns": summary.mean_turns,
        "think_s": summary.think_s,
        "tiers": [
            {"name": tier.name, "priority": tier.priority, "fraction": share}
            for tier, share in zip(source.tiers, summary.tier_shares, strict=True)
        ],
        "prompt_histogram": [list(each) for each in summary.prompt_histogram],
        "output_histogram": [list(each) for each in summary.output_histogram],
        "notes": list(notes),
    }


def show_text(source: Source, summary: Summary, notes: Sequence[str]) -> str:
    """Figures and histograms; `notes` of how they were read."""
    rows = [("name", source.name), ("requests", f"{summary.n:,}")]
    starts = "sessions start" if summary.mean_turns > 1 else "arrivals"
    if summary.rate_per_s is None:
        rows.append((starts, "all at once"))
    else:
        rows.append((starts, f"{_number(summary.rate_per_s)}/s over {_number(summary.span_s)} s"))
        rows.append(("busiest hour", _or_dash(summary.peak_per_s, "/s")))
        rows.append(("cv of gaps", _or_dash(summary.gap_cv, "")))
    if summary.mean_turns > 1:
        rows.append(
            (
                "turns",
                f"{_number(summary.mean_turns)} a session, {_or_dash(summary.think_s, ' s')} apart",
            )
        )
    if summary.seen_share:
        rows.append(
            ("cached", f"{100 * summary.seen_share:.3g} % of prompt tokens, when they came")
        )
    if len(source.tiers) > 1:
        shares = zip(source.tiers, summary.tier_shares, strict=True)
        rows.append(
            ("tiers", ", ".join(f"{tier.name} {100 * share:.3g} %" for tier, share in shares))
        )
    rows += [("note", note) for note in notes]
    lengths = [("LENGTH", "MEAN", "CV", "P50", "P90", "P99", "MOST")]
    for name, sizes in (("prompt", summary.prompt), ("output", summary.output)):
        figures = (sizes.mean, sizes.cv, sizes.p50, sizes.p90, sizes.p99, sizes.most)
        mean, cv, p50, p90, p99, most = map(_number, figures)
        lengths.append((name, mean, cv, p50, p90, p99, most))
    parts = [aligned(rows), aligned(lengths, right=range(1, 7))]
    parts += [_bars("PROMPT TOKENS", summary.prompt_histogram)]
    parts += [_bars("OUTPUT TOKENS", summary.output_histogram)]
    return "\n".join(parts)


def fit_document(fitted: Fitted, out: str | None) -> dict[str, object]:
    """What was fitted, and how near it comes."""
    arrivals, sessions = fitted.arrivals, fitted.sessions
    document: dict[str, object] = {
        "name": fitted.workload.name,
        "description": fitted.workload.description,
        "requests": fitted.n_requests,
        "arrivals": None,
        "prompt": fitted.prompt.figures(),
        "output": fitted.output.figures(),
        "rank_correlation": fitted.correlation,
        "seen_fraction": fitted.seen_share,
        "sessions": None,
        "tiers": [
            {"name": tier.name, "priority": tier.priority, "fraction": tier.share}
            for tier in fitted.workload.tiers
        ],
        "notes": list(fitted.notes),
        "out": out,
    }
    if arrivals:
        document["arrivals"] = {
            "chosen": str(arrivals.chosen),
            "rate_per_s": arrivals.chosen.mean_rate_per_s,
            "cv": arrivals.chosen.cv,
            "gap_cv": arrivals.gap_cv,
            "peak_per_s": arrivals.peak_per_s,
            "span_s": arrivals.span_s,
            "ks": arrivals.ks,
        }
    if sessions:
        document["sessions"] = {
            "sessions": sessions.n,
            "mean_turns": sessions.mean_turns,
            "think_s": sessions.sessions.think.mean_s,
            "waits_known": sessions.waits_known,
            "new_tokens": str(sessions.sessions.new),
        }
    return document


def fit_text(fitted: Fitted, out: str | None) -> str:
    """One line for each part of a workload, and how near it comes."""
    rows = [("PART", "FITTED", "KS", "TRIED")]
    if fitted.arrivals:
        rows.append(("arrivals", str(fitted.arrivals.chosen), _ks(fitted.arrivals.ks), "gamma"))
    for name, length in (("prompts", fitted.prompt), ("outputs", fitted.output)):
        tried = ", ".join(f"{each} {_ks(ks)}" for each, ks in length.tried)
        rows.append((name, str(length.chosen), _ks(length.ks), tried))
    more = [
        ("requests", f"{fitted.n_requests:,}"),
        ("workload", fitted.workload.description),
        ("rank correlation of prompts and outputs", f"{fitted.correlation:.3f}"),
    ]
    if fitted.arrivals and fitted.arrivals.peak_per_s is not None:
        more.append(("busiest hour", f"{_number(fitted.arrivals.peak_per_s)}/s"))
    if fitted.seen_share:
        more.append(("cached", f"{100 * fitted.seen_share:.3g} % of prompt tokens"))
    if fitted.sessions:
        more.append(
            ("sessions", f"{fitted.sessions.n:,}, {_number(fitted.sessions.mean_turns)} turns each")
        )
    more += [("note", note) for note in fitted.notes]
    more += [("written to", out)] if out else []
    return aligned(rows, right=(2,)) + "\n" + aligned(more)


def _bars(title: str, bins: Sequence[tuple[int, int, int]]) -> str:
    """A bar for each bin, the longest of `_BAR` characters."""
    most = max(count for _, _, count in bins)
    total = sum(count for _, _, count in bins)
    rows = [(title, "REQUESTS", "SHARE", "")]
    for least, greatest, count in bins:
        name = f"{least:,}" if least == greatest else f"{least:,} to {greatest:,}"
        bar = "#" * max(round(_BAR * count / most), 1 if count else 0)
        rows.append((name, f"{count:,}", f"{100 * count / total:.1f} %", bar))
    return aligned(rows, right=(1, 2))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _or_dash(value: float | None, unit: str) -> str:
    return "–" if value is None else _number(value) + unit


def _ks(value: float) -> str:
    return f"{value:.3f}"
