"""How far Takt's figures are from the published ones, as a picture: one bar a claim, on a logarithmic scale.

Needs matplotlib (the extra `plot`), which is imported only when a picture is asked for.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from takt.claims.answer import Row
from takt.errors import DataError, UnsupportedError, UsageError

SUFFIXES = (".png", ".svg")
_BETTER, _WORSE, _SAME = "#2a9d8f", "#d1344b", "#8792a2"
_INK, _FAINT, _PAPER = "#2b2f36", "#d8dce2", "#f7f8fa"
_INCHES_A_BAR, _WIDTH_INCHES, _DPI = 0.24, 10.0, 120
_NEAR = 1.005  # a ratio this close to 1 counts as equal


def write_claims_plot(path: Path, rows: Sequence[Row]) -> None:
    """Write the picture as PNG or SVG, by the file's suffix. Rows without a figure are left out.

    UnsupportedError without matplotlib, UsageError for another suffix or no row to show, DataError if the file cannot
    be written.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: expected a file that ends in {' or '.join(SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UnsupportedError(
            "pictures need matplotlib, which is not installed",
            hint="pip install 'takt-lpu[plot]'",
        )
    shown = [row for row in rows if row.ratio is not None]
    if not shown:
        raise UsageError("none of these claims has a figure to show")
    try:
        path.write_bytes(_picture(shown, path.suffix[1:]))
    except OSError as error:
        raise DataError(f"cannot write: {error.strerror or error}", file=str(path)) from error


def colour_of(row: Row) -> str:
    """Whether Takt's figure is better than the published one, as good, or worse."""
    assert row.ratio is not None
    gain = row.ratio if row.claim.better == "higher" else 1 / row.ratio
    if 1 / _NEAR <= gain <= _NEAR:
        return _SAME
    return _BETTER if gain > 1 else _WORSE


def _picture(rows: Sequence[Row], kind: str) -> bytes:
    import matplotlib as mpl  # heavy, and an extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.family": "DejaVu Sans", "font.size": 8, "svg.hashsalt": "takt", "svg.fonttype": "none",
    }  # fmt: skip
    with mpl.rc_context(style):
        figure: Any = Figure(
            figsize=(_WIDTH_INCHES, _INCHES_A_BAR * len(rows) + 1.2), dpi=_DPI, facecolor="white"
        )
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _bars(axes, rows)
        _legend(axes, mpl)
        figure.tight_layout()
        out = io.BytesIO()
        software = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
        figure.savefig(out, format=kind, metadata=software)
    return out.getvalue()


def _bars(axes: Any, rows: Sequence[Row]) -> None:
    ratios = [row.ratio for row in rows if row.ratio is not None]
    axes.barh(
        range(len(rows)), [ratio - 1 for ratio in ratios], left=1,
        color=[colour_of(row) for row in rows], height=0.7,
    )  # fmt: skip
    axes.set_xscale("log")
    low, high = min(*ratios, 0.5), max(*ratios, 2.0)
    axes.set_xlim(low / 2.5, high * 2.5)  # room for the figures beside the bars
    for at, (row, ratio) in enumerate(zip(rows, ratios, strict=True)):
        axes.annotate(
            f"{_figure(row)} {row.claim.unit}", (ratio, at), fontsize=7, color=_INK, va="center",
            xytext=(4 if ratio >= 1 else -4, 0), textcoords="offset points",
            ha="left" if ratio >= 1 else "right",
        )  # fmt: skip
    labels = [f"{row.claim.text} ({row.claim.relation}{row.claim.value:,g})" for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows), -1)
    axes.axvline(1, color=_INK, linewidth=0.8)
    axes.set_facecolor(_PAPER)
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("Takt's figure ÷ published figure", color=_INK)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")


def _figure(row: Row) -> str:
    assert row.takt is not None
    return f"{row.takt:,.0f}" if row.takt >= 1000 else f"{row.takt:.4g}"


def _legend(axes: Any, mpl: Any) -> None:
    names = ((_BETTER, "better than published"), (_SAME, "as published"), (_WORSE, "worse"))
    handles = [mpl.patches.Patch(color=colour, label=name) for colour, name in names]
    axes.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=3, frameon=False,
        labelcolor=_INK,
    )  # fmt: skip
