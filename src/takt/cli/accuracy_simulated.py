"""`takt accuracy --simulate`: rows and recorded runs simulated, beside what was measured, as text and as JSON.

Knows finished comparisons; computes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from takt.accuracy.report import Metric
from takt.accuracy.simulated import Beside, LatencyError, Replay, metrics_of
from takt.cli.measured_files import metric_document, metric_rows, metric_table, percent, signed
from takt.cli.table import aligned
from takt.perf.corrections import Figure

__all__ = ["document_of", "text_of"]

_WAYS = {"closed": "closed loop", "simulated": "simulated"}


def document_of(
    beside: Beside, replays: Sequence[Replay], dimensions: Sequence[str]
) -> dict[str, object]:
    """Keys as in docs/verbs.md; errors and bias as fractions."""
    document: dict[str, object] = {
        "rows": beside.n_cases,
        "rows_suited": beside.n_suited,
        "left": [asdict(left) for left in beside.left],
        "metrics": {way: _metrics(found) for way, found in metrics_of(beside).get((), {}).items()},
        "runs": [_replay(replay) for replay in replays],
    }
    if dimensions and beside.rows:
        document["groups"] = [
            {
                **dict(zip(dimensions, values, strict=True)),
                **{way: _metrics(found) for way, found in ways.items()},
            }
            for values, ways in metrics_of(beside, dimensions).items()
        ]
    return document


def _metrics(found: Mapping[Figure, Metric]) -> dict[str, object]:
    return {name: metric_document(metric) for name, metric in found.items()}


def _replay(replay: Replay) -> dict[str, object]:
    return {
        "chip": replay.run.gpu,
        "model": replay.run.model,
        "where": replay.run.where,
        "requests": len(replay.tpot_s),
        "predicted_from": replay.variant,
        "cache_blocks": replay.blocks,
        "preemptions": replay.preemptions,
        "errors": {name: _rounded(error) for name, error in replay.errors.items()},
    }


def _rounded(error: LatencyError) -> dict[str, float]:
    return {name: round(value, 6) for name, value in asdict(error).items()}


def text_of(beside: Beside, replays: Sequence[Replay], dimensions: Sequence[str]) -> str:
    """Tables, apart by an empty line."""
    parts = []
    if beside.n_suited:
        parts.append(
            f"Simulated: {beside.n_cases:,} of {beside.n_suited:,} rows with a constant number of users"
            " and known lengths\n"
        )
    if beside.rows:
        parts.append(_table(beside, ()))
    if dimensions and beside.rows:
        parts.append(_table(beside, dimensions))
    if beside.left:
        left = [(f"{each.count:,}", each.reason) for each in beside.left]
        parts.append(aligned([("ROWS", "NOT SIMULATED"), *left], right=(0,)))
    if replays:
        parts.append(_runs(replays))
    return "\n".join(parts) or "Nothing here can be simulated: no constant number of users.\n"


def _table(beside: Beside, dimensions: Sequence[str]) -> str:
    rows = []
    for values, ways in metrics_of(beside, dimensions).items():
        for figure in ways["closed"]:
            rows += [
                (*values, figure, name, *metric_rows(ways[way][figure]))
                for way, name in _WAYS.items()
            ]
    return metric_table((*(name.upper() for name in dimensions), "FIGURE", "BY"), rows)


def _runs(replays: Sequence[Replay]) -> str:
    header = ("RUN", "PREDICTED FROM", "LATENCY", "MEDIAN", "MEAN", "OF MEAN", "OF P50", "OF P90", "OF P99")  # fmt: skip
    rows = [
        (
            replay.run.name,
            replay.variant,
            latency,
            percent(error.median),
            percent(error.mean),
            *(signed(value) for value in (error.of_mean, error.of_p50, error.of_p90, error.of_p99)),
        )
        for replay in replays
        for latency, error in replay.errors.items()
    ]
    return aligned([header, *rows], right=range(3, 9)) + _LEGEND


_LEGEND = "MEDIAN, MEAN: of |simulated ÷ measured − 1| of each request. OF …: of that figure over all requests, with its sign.\n"
