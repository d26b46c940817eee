"""Predicted against measured, a panel for each figure, a colour for each group: how far off, and where.

Needs matplotlib (the extra `plot`), which is imported only when a picture is asked for. Knows points and names, not
where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.files import write_whole
from takt.report.plot import format_of, require_matplotlib, saved

__all__ = ["Panel", "write_accuracy_plot"]

_COLOURS = (
    "#3b78c4", "#e8853d", "#2a9d8f", "#d1344b", "#8c5fbf",
    "#5a9e3f", "#c9a400", "#8a6b52", "#f08fa0", "#333a8c",
)  # fmt: skip
_MARKERS = ("o", "^", "s", "D", "v", "P")
_INK, _FAINT, _PAPER = "#2b2f36", "#d8dce2", "#f7f8fa"
_PANEL_INCHES, _LEGEND_INCHES, _DPI = 4.3, 2.2, 130
_COLUMNS = 3
_MOST_GROUPS = 40  # what a legend can name; the smallest groups beyond are drawn grey
_OFF = (0.1, 0.3)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One figure: name of a group → [2, n] measured and predicted, in `unit`."""

    title: str
    unit: str
    points: Mapping[str, Floats]


def write_accuracy_plot(path: Path, panels: Sequence[Panel], *, by: str) -> None:
    """Write the picture: as SVG if the name says so, else as PNG.

    `by`: what groups are, for the legend. UsageError without a point, UnsupportedError without matplotlib,
    DataError if it cannot be written.
    """
    require_matplotlib()
    if not panels:
        raise UsageError("no row of these files has an answer: there is nothing to draw")
    write_whole(path, _picture(panels, by, format_of(path)))


def _picture(panels: Sequence[Panel], by: str, format_: str) -> bytes:
    import matplotlib as mpl  # heavy, and an extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    size = (columns * _PANEL_INCHES + _LEGEND_INCHES, rows * _PANEL_INCHES)
    styles = _styles(panels)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        figure: Any = Figure(figsize=size, dpi=_DPI, facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(rows, columns)
        for i, panel in enumerate(panels):
            _panel(figure.add_subplot(grid[i // columns, i % columns]), panel, styles)
        _legend(figure, styles, by)
        return saved(figure, mpl.rc_context, format_)


def _styles(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each group, the largest first."""
    counts: dict[str, int] = {}
    for panel in panels:
        for name, points in panel.points.items():
            counts[name] = counts.get(name, 0) + points.shape[1]
    names = sorted(counts, key=lambda name: (-counts[name], name))
    return {
        name: (_COLOURS[i % len(_COLOURS)], _MARKERS[i // len(_COLOURS)])
        for i, name in enumerate(names[:_MOST_GROUPS])
    }


def _panel(axes: Any, panel: Panel, styles: Mapping[str, tuple[str, str]]) -> None:
    everything = np.concatenate(list(panel.points.values()), axis=1)
    low, high = float(everything.min()) / 1.3, float(everything.max()) * 1.3
    ends = np.asarray([low, high])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(ends, ends, color=_INK, linewidth=0.9)
    for off, dashes in zip(_OFF, ((0, (4, 2)), (0, (1, 2))), strict=True):
        for factor in (1 + off, 1 - off):
            axes.plot(ends, ends * factor, color=_INK, linewidth=0.7, linestyle=dashes)
    for name, points in panel.points.items():
        colour, marker = styles.get(name, ("#9aa0a6", "o"))
        axes.scatter(
            *points, s=5, color=colour, marker=marker, alpha=0.55, linewidths=0, rasterized=True
        )
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.set_facecolor(_PAPER)
    axes.grid(which="major", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, colors=_INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    n = everything.shape[1]
    axes.set_title(f"{panel.title}, {panel.unit}  ({n:,})", loc="left", color=_INK, fontsize=9)
    axes.set_xlabel("measured", color=_INK)
    axes.set_ylabel("predicted", color=_INK)


def _legend(figure: Any, styles: Mapping[str, tuple[str, str]], by: str) -> None:
    from matplotlib.lines import Line2D

    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4, label=name)
        for name, (colour, marker) in styles.items()
    ]
    handles += [
        Line2D([], [], color=_INK, linewidth=0.9, label="as measured"),
        Line2D([], [], color=_INK, linewidth=0.7, linestyle=(0, (4, 2)), label="±10 %"),
        Line2D([], [], color=_INK, linewidth=0.7, linestyle=(0, (1, 2)), label="±30 %"),
    ]
    figure.legend(
        handles=handles, loc="outside right upper", title=by, frameon=False, fontsize=7,
        labelcolor=_INK,
    )  # fmt: skip
