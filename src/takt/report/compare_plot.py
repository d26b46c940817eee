"""Speed for each user against throughput, one curve a chip: the picture that serving teams draw.

Needs matplotlib (the extra `plot`), which is imported only when a picture is asked for. Knows curves and their names,
not where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.files import write_whole
from takt.report.plot import format_of, require_matplotlib, saved

__all__ = ["write_compare_plot"]

_COLOURS = (
    "#3b78c4", "#e8853d", "#2a9d8f", "#d1344b", "#8c5fbf",
    "#5a9e3f", "#c9a400", "#8a6b52", "#f08fa0", "#333a8c",
)  # fmt: skip
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_INK, _FAINT, _PAPER = "#2b2f36", "#d8dce2", "#f7f8fa"
_INCHES, _DPI = (11.5, 6.4), 130
_LOWEST = 1e-4  # of the highest throughput: what lies below is not drawn

Floats = NDArray[np.float64]


def write_compare_plot(
    path: Path,
    curves: Mapping[str, Floats],
    served: Mapping[str, tuple[float, float]],
    *,
    title: str,
    target: float,
    per: str,
) -> None:
    """Write the picture: as SVG if the name says so, else as PNG.

    `curves`: name → [2, points], tokens/s for each user and for each `per` ("chip", "MW"), in the order of the
    legend; `served`: name → the point chosen at the target; `target`: tokens/s that each user must get.
    UsageError where no curve has a point, UnsupportedError without matplotlib, DataError if it cannot be written.
    """
    require_matplotlib()
    drawn = {name: curve for name, curve in curves.items() if curve.shape[1]}
    if not drawn:
        raise UsageError("no chip of these holds the model: there is nothing to draw")
    write_whole(path, _picture(drawn, served, title, target, per, format_of(path)))


def _picture(
    curves: Mapping[str, Floats],
    served: Mapping[str, tuple[float, float]],
    title: str,
    target: float,
    per: str,
    format_: str,
) -> bytes:
    import matplotlib as mpl  # heavy, and an extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8.5}):
        figure: Any = Figure(figsize=_INCHES, dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.07, 0.085, 0.655, 0.835))
        for index, (name, curve) in enumerate(curves.items()):
            _curve(axes, index, name, curve, served.get(name))
        _frame(axes, curves, target, per)
        axes.set_title(title, loc="left", color=_INK, fontsize=10)
        figure.legend(
            loc="upper left", bbox_to_anchor=(0.733, 0.93), frameon=False, fontsize=7.5,
            labelcolor=_INK, handlelength=2.6, labelspacing=0.42,
        )  # fmt: skip
        return saved(figure, mpl.rc_context, format_)


def _curve(
    axes: Any, index: int, name: str, curve: Floats, point: tuple[float, float] | None
) -> None:
    colour = _COLOURS[index % len(_COLOURS)]
    dashes = _DASHES[index // len(_COLOURS) % len(_DASHES)]
    speed, rate = curve
    lone = {"marker": "x"} if len(speed) == 1 else {}
    axes.plot(speed, rate, color=colour, linestyle=dashes, linewidth=1.6, label=name, **lone)
    if point is not None:
        axes.plot(*point, color=colour, marker="o", markersize=5, markeredgecolor="white")


def _frame(axes: Any, curves: Mapping[str, Floats], target: float, per: str) -> None:
    highest = max(float(curve[1].max()) for curve in curves.values())
    lowest = min(float(curve[1].min()) for curve in curves.values())
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(max(lowest, highest * _LOWEST) / 1.3, highest * 1.5)
    axes.axvline(target, color=_INK, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.annotate(
        f" target {target:.4g}", (target, 1), xycoords=("data", "axes fraction"), xytext=(2, -4),
        textcoords="offset points", va="top", fontsize=7.5, color=_INK,
    )  # fmt: skip
    axes.set_facecolor(_PAPER)
    axes.grid(which="major", color=_FAINT, linewidth=0.7)
    axes.grid(which="minor", color=_FAINT, linewidth=0.3)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, colors=_INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axis.set_minor_formatter(lambda value, _: "")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("output tokens/s for each user", color=_INK)
    axes.set_ylabel(f"output tokens/s for each {per}", color=_INK)
