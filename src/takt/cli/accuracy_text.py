"""How `takt accuracy` reads: as text, and as JSON.

Knows a finished report; computes nothing.
"""

from takt.accuracy.report import Report, Skipped, Worst
from takt.cli.measured_files import metric_document, metric_rows, metric_table
from takt.cli.table import aligned

__all__ = ["document_of", "text_of"]

_REASONS_SHOWN = 25
_LEFT_OUT = ("series", "model", "chip")


def document_of(report: Report, basis: str) -> dict[str, object]:
    """Keys as in docs/verbs.md; errors, coverage and bias as fractions."""
    document: dict[str, object] = {
        "files": list(report.files),
        "rows": report.rows,
        "answered": report.answered,
        "coverage": round(report.coverage, 6),
        "coverage_usable": round(report.coverage_usable, 6),
        "skipped": [_skipped(skip) for skip in report.skipped],
        "corrections": basis,
        "fitted_rows": report.fitted_rows,
        "metrics": {name: metric_document(m) for name, m in report.metrics.items()},
        "worst": [_worst(row) for row in report.worst],
        "held_out": {
            way: {name: metric_document(m) for name, m in metrics.items()}
            for way, metrics in report.held_out.items()
            if way in _LEFT_OUT
        },
    }
    if report.groups:
        document["groups"] = [
            {
                **dict(group.key),
                "metrics": {name: metric_document(m) for name, m in group.metrics.items()},
            }
            for group in report.groups
        ]
    return document


def _skipped(skip: Skipped) -> dict[str, object]:
    return {
        "reason": skip.reason,
        "count": skip.count,
        "stage": skip.stage,
        "names": list(skip.names),
    }


def _worst(row: Worst) -> dict[str, object]:
    return {
        "where": row.where,
        "figure": row.figure,
        "unit": row.unit,
        "measured": float(f"{row.measured:.6g}"),
        "predicted": float(f"{row.predicted:.6g}"),
        "ratio": float(f"{row.predicted / row.measured:.6g}"),
        "chip": row.situation.chip,
        "model": row.situation.model,
        "engine": row.situation.engine,
    }


def text_of(report: Report, basis: str) -> str:
    """All of it, parts apart by an empty line."""
    parts = [_head(report, basis)]
    if report.metrics:
        rows = [(name, *metric_rows(metric)) for name, metric in report.metrics.items()]
        parts.append(metric_table(("FIGURE",), rows))
    if basis.startswith("shipped") and report.fitted_rows:
        parts.append(_warning(report))
    if report.groups:
        parts.append(_groups(report))
    if report.worst:
        parts.append(_worst_rows(report))
    if report.skipped:
        parts.append(_reasons(report))
    parts.append(_LEGEND)
    return "\n".join(parts)


_LEGEND = (
    "Errors are |predicted ÷ measured − 1|: the median and the 90th percentile. BIAS is the median with its sign:\n"
    "+ means that Takt predicts more than was measured.\n"
)


def _head(report: Report, basis: str) -> str:
    coverage = f"{100 * report.coverage:.1f} %"
    if report.coverage_usable > report.coverage:
        coverage += f"; {100 * report.coverage_usable:.1f} % of those that say what was measured"
    words = f"corrections: {basis}"
    files = f"{len(report.files)} files" if len(report.files) > 1 else report.files[0]
    return f"{files}: {report.rows:,} rows, {report.answered:,} answered ({coverage}); {words}\n"


def _warning(report: Report) -> str:
    """What to read instead of the figures above, where rows were fitted to."""
    share = f"{report.fitted_rows:,} of {report.answered:,} answered rows"
    text = f"Warning: the shipped corrections were fitted to {share}: on these the error above is flattering.\n"
    rows = [
        (f"left out by {way}", name, *metric_rows(metric))
        for way in _LEFT_OUT
        for name, metric in report.held_out.get(way, {}).items()
    ]
    if not rows:
        return text + "--by fitted tells them apart.\n"
    text += "On rows that a fit did not see (all public rows, docs/accuracy-chips.md):\n"
    return text + metric_table(("FITTED WITH ROWS", "FIGURE"), rows)


def _groups(report: Report) -> str:
    names = [name for name, _ in report.groups[0].key]
    rows = [
        (*(value for _, value in group.key), figure, *metric_rows(metric))
        for group in report.groups
        for figure, metric in group.metrics.items()
    ]
    return metric_table((*(name.upper() for name in names), "FIGURE"), rows)


def _worst_rows(report: Report) -> str:
    header = (
        "FARTHEST OFF", "FIGURE", "MEASURED", "PREDICTED", "UNIT", "RATIO", "CHIP", "ENGINE", "MODEL"
    )  # fmt: skip
    rows = [
        (
            row.where,
            row.figure,
            f"{row.measured:.4g}",
            f"{row.predicted:.4g}",
            row.unit,
            f"{row.predicted / row.measured:.3g}",
            row.situation.chip,
            row.situation.engine,
            row.situation.model,
        )
        for row in report.worst
    ]
    return aligned([header, *rows], right=(2, 3, 5))


def _reasons(report: Report) -> str:
    shown = report.skipped[:_REASONS_SHOWN]
    rows = [(f"{skip.count:,}", _STAGES[skip.stage], skip.reason + _named(skip)) for skip in shown]
    hidden = report.skipped[_REASONS_SHOWN:]
    if hidden:
        count = sum(skip.count for skip in hidden)
        rows.append((f"{count:,}", "", f"{len(hidden)} other reasons (all with --json)"))
    return aligned([("ROWS", "NO ANSWER", "WHY"), *rows], right=(0,))


_STAGES = {"row": "file", "prediction": "Takt"}


def _named(skip: Skipped) -> str:
    if not skip.names:
        return ""
    named = ", ".join(skip.names[:4])
    more = ", …" if len(skip.names) > 4 else ""
    return f": {named}{more}" + (f" ({skip.hint})" if skip.hint and len(skip.names) == 1 else "")
