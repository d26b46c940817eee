"""The schedule as a picture: stages over time, every queue and link over time, and how busy each one was.

Needs matplotlib (the extra `plot`), which is imported only when a picture is asked for. The pixels
come from `raster`, the cycles of stages from `profile`.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.errors import UnsupportedError
from takt.files import write_whole
from takt.report.profile import layer_names, layer_use, stage_cycles
from takt.report.raster import CATEGORIES, Raster, rasterise
from takt.report.schedule import Schedule
from takt.units import cycles_to_s, format_si

_WIDTH_INCHES, _DPI, _MOST_BINS = 16.0, 120, 1380
_COLOURS = (
    "#3b78c4", "#e8853d", "#8c5fbf", "#2a9d8f", "#14524b",
    "#d1344b", "#f08fa0", "#5a9e3f", "#c9a400", "#8a6b52", "#9aa0a6", "#333a8c",
)  # fmt: skip
_LAYERS = ("#4c78a8", "#9ecae9", "#f2a65a", "#54a24b", "#b7a6d8", "#e07b91")
_INK, _FAINT, _PAPER = "#2b2f36", "#d8dce2", "#f7f8fa"


@dataclass(frozen=True, slots=True)
class _Band:
    """One panel of queues: title, rows of the raster from top to bottom, inches of height."""

    title: str
    rows: tuple[int, ...]
    labels: tuple[tuple[float, str], ...]
    inches: float


def write_plot(path: Path, schedule: Schedule) -> None:
    """Write the picture: as SVG if the name says so, else as PNG.

    UnsupportedError without matplotlib, DataError if it cannot be written.
    """
    require_matplotlib()
    write_whole(path, _Painter(schedule).picture(format_of(path)))


def require_matplotlib() -> None:
    """UnsupportedError that says how to get it, if it is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UnsupportedError(
            "pictures need matplotlib, which is not installed",
            hint="pip install 'takt-lpu[plot]'",
        )


def format_of(path: Path) -> str:
    """`svg` for a name that ends so, else `png`."""
    return "svg" if path.suffix.lower() == ".svg" else "png"


def saved(figure: Any, style: Any, format_: str) -> bytes:
    """A finished figure as a file: the same bytes every time. `style` is matplotlib's `rc_context`."""
    out = io.BytesIO()
    with style({"svg.hashsalt": "takt", "svg.fonttype": "none"}):
        facts = {"Date": None} if format_ == "svg" else {"Software": None}
        figure.savefig(out, format=format_, metadata=facts)
    return out.getvalue()


def bands(names: Sequence[str], used: NDArray[np.bool_]) -> list[_Band]:
    """Panels for a chip's queues and links; SXM units and links that did nothing are left out."""
    out = []
    for side, title in (("w", "MEM west"), ("e", "MEM east")):
        rows = [i for i, name in enumerate(names) if name.startswith(f"mem.{side}")]
        labels = [(k + 0.5, names[rows[k]][4:]) for k in range(0, len(rows), 8)]
        out.append(_Band(title, tuple(rows), tuple(labels), 2.1))
    vxm = [i for i, name in enumerate(names) if name.startswith("vxm.")]
    labels = [(k + 0.5, names[vxm[k]]) for k in range(0, len(vxm), 4)]
    out.append(_Band("VXM", tuple(vxm), tuple(labels), 1.1))
    for letter, title in (("w", "load, install"), ("a", "activate"), ("c", "accumulate")):
        rows = [i for i, name in enumerate(names) if name.startswith("mxm.") and name[-1] == letter]
        labels = [(k + 0.5, f"plane {k}") for k in range(len(rows))]
        out.append(_Band(f"MXM\n{title}", tuple(rows), tuple(labels), 0.62))
    sxm = [i for i, name in enumerate(names) if name.startswith("sxm.") and used[i]]
    if sxm:
        labels = [(k + 0.5, names[i][4:]) for k, i in enumerate(sxm)]
        out.append(_Band("SXM", tuple(sxm), tuple(labels), max(0.15 * len(sxm), 0.5)))
    links = [i for i, name in enumerate(names) if name.startswith("link ")]
    if links:
        labels = [(k + 0.5, names[i][5:]) for k, i in enumerate(links)]
        out.append(_Band("links", tuple(links), tuple(labels), max(0.15 * len(links), 0.5)))
    return out


class _Painter:
    """Builds the figure of one schedule, panel by panel."""

    def __init__(self, schedule: Schedule) -> None:
        import matplotlib as mpl  # heavy, and an extra
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.mpl = mpl
        self.schedule = schedule
        self.cycles = schedule.cycles
        self.raster = rasterise(schedule, _MOST_BINS)
        self.bands = bands(self.raster.names, self.raster.fraction > 0)
        self.layers = layer_use(schedule)
        self.stages = {k: v for k, v in stage_cycles(self.layers).items() if k != "retire"}
        heights = [0.28, 0.17 * len(self.stages)] if self.stages else []
        heights += [band.inches for band in self.bands]
        inches = sum(heights) + 0.09 * len(heights) + 1.53
        self.figure: Any = Figure(figsize=(_WIDTH_INCHES, inches), dpi=_DPI, facecolor="white")
        self.canvas: Any = FigureCanvasAgg(self.figure)
        grid = self.figure.add_gridspec(
            len(heights), 2, width_ratios=(11.0, 1.5), height_ratios=heights, wspace=0.02,
            hspace=0.12, left=0.125, right=0.985, top=1 - 0.58 / inches, bottom=0.95 / inches,
        )  # fmt: skip
        self.axes: list[tuple[Any, Any]] = [
            (self.figure.add_subplot(grid[i, 0]), self.figure.add_subplot(grid[i, 1]))
            for i in range(len(heights))
        ]
        self.inches = inches

    def picture(self, format_: str) -> bytes:
        """The finished picture, as `png` or `svg`."""
        with self.mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
            for main, side in self.axes:
                self._plain(main, side)
            first = 0
            if self.stages:
                self._layers(*self.axes[0])
                self._stages(*self.axes[1])
                first = 2
            widest = max(float(self.raster.fraction.max(initial=0.0)), 0.01)
            for band, (main, side) in zip(self.bands, self.axes[first:], strict=True):
                self._queues(band, main, side, widest)
            self._frame()
            return saved(self.figure, self.mpl.rc_context, format_)

    def _plain(self, main: Any, side: Any) -> None:
        main.set_xlim(0, self.cycles)
        for axes in (main, side):
            axes.set_facecolor(_PAPER)
            axes.tick_params(length=0, labelsize=7, colors=_INK, labelbottom=False)
            for spine in axes.spines.values():
                spine.set_visible(False)
        side.tick_params(labelleft=False)

    def _layers(self, main: Any, side: Any) -> None:
        """A strip of the cycles that belong to each layer."""
        at = 0
        for number, layer in enumerate(self.layers):
            colour = _LAYERS[number % len(_LAYERS)] if layer.name != "retire" else _FAINT
            main.broken_barh(
                [(at, layer.cycles)], (0, 1), facecolor=colour, edgecolor="white", linewidth=0.6
            )
            share = layer.cycles / self.cycles
            if share > 0.0052 * len(layer.name):
                size = 8 if share > 0.05 else 6.5
                middle = at + layer.cycles / 2
                main.text(
                    middle, 0.47, layer.name, ha="center", va="center", fontsize=size, color=_INK
                )
            at += layer.cycles
        main.set_ylim(0, 1)
        main.set_yticks([0.5], ["layer"])
        side.axis("off")

    def _stages(self, main: Any, side: Any) -> None:
        """Tasks of each stage over time, and the share of cycles that belong to the stage."""
        order = {stage: i for i, stage in enumerate(self.stages)}
        colour = {
            layer: _LAYERS[i % len(_LAYERS)]
            for i, layer in enumerate(layer_names(self.schedule.spans))
        }
        for stage, row in order.items():
            spans = [span for span in self.schedule.spans if span.label == stage]
            main.broken_barh(
                [(span.start, span.end - span.start + 1) for span in spans], (row + 0.12, 0.76),
                facecolors=[colour[span.layer] for span in spans], alpha=0.85, linewidth=0,
            )  # fmt: skip
            share = self.stages[stage] / self.cycles
            side.barh(row + 0.5, share, 0.7, color="#8792a2")
            side.text(
                share, row + 0.5, f" {100 * share:.0f} %", va="center", fontsize=6.5, color=_INK
            )
        self._rules(main)
        main.set_yticks([row + 0.5 for row in order.values()], list(order))
        widest = max(self.stages.values(), default=0) / self.cycles
        for axes in (main, side):
            axes.set_ylim(len(order), 0)
        side.set_xlim(0, 1.35 * max(widest, 0.01))
        side.set_title("share of cycles", fontsize=7.5, color=_INK, pad=4)

    def _queues(self, band: _Band, main: Any, side: Any, widest: float) -> None:
        """One panel: pixels coloured by kind of instruction, and how busy each queue was."""
        main.imshow(
            _pixels(self.raster, band.rows), aspect="auto", interpolation="nearest",
            extent=(0, self.raster.n_bins * self.raster.bin_cycles, len(band.rows), 0),
        )  # fmt: skip
        main.set_xlim(0, self.cycles)
        self._rules(main)
        main.set_yticks([at for at, _ in band.labels], [text for _, text in band.labels])
        box = main.get_position()
        self.figure.text(
            0.008, (box.y0 + box.y1) / 2, band.title, va="center", fontsize=9, color=_INK
        )
        fraction = self.raster.fraction[list(band.rows)]
        side.barh(np.arange(len(band.rows)) + 0.5, fraction, 0.85, color="#8792a2")
        side.set_ylim(len(band.rows), 0)
        side.set_xlim(0, 1.35 * widest)
        side.text(
            0.98, 0.5, f"{100 * float(fraction.mean()):.1f} %", transform=side.transAxes, ha="right",
            va="center", fontsize=8, color=_INK, bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1.5},
        )  # fmt: skip

    def _rules(self, axes: Any) -> None:
        """Thin lines where one layer's cycles end and the next one's begin."""
        at = 0
        for layer in self.layers[:-1]:
            at += layer.cycles
            axes.axvline(at, color=_INK, linewidth=0.4, alpha=0.35)

    def _frame(self) -> None:
        """Title, cycles below, legend."""
        program, chip = self.schedule.program, self.schedule.chip
        seconds = format_si(cycles_to_s(self.cycles, chip.clock_hz), "s")
        title = f"{program.name or 'program'} on {chip.id}: {self.cycles:,} cycles = {seconds}"
        top = 1 - 0.28 / self.inches
        self.figure.text(0.125, top, title, fontsize=13, color=_INK, va="center", weight="bold")
        bottom = self.axes[-1][0]
        bottom.tick_params(axis="x", labelbottom=True, length=3, labelsize=8)
        bottom.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        bottom.set_xlabel("cycle", color=_INK, fontsize=8.5)
        side = self.axes[-1][1]
        side.tick_params(axis="x", labelbottom=True, length=3, labelsize=7)
        side.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        side.set_xlabel("busy cycles\n(number: mean)", color=_INK, fontsize=7.5)
        seen = np.unique(self.raster.category[self.raster.busy > 0]).tolist()
        handles = [self.mpl.patches.Patch(color=_COLOURS[k], label=CATEGORIES[k]) for k in seen]
        self.figure.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0.12, 0.08 / self.inches), ncols=len(seen),
            frameon=False, fontsize=8, handlelength=1.1, columnspacing=1.4, labelcolor=_INK,
        )  # fmt: skip


def _pixels(raster: Raster, rows: Sequence[int]) -> NDArray[np.float32]:
    """RGBA of some queues: colour by category, stronger where more cycles issue."""
    palette = np.array(
        [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in _COLOURS], np.float32
    )
    busy = raster.busy[list(rows)]
    out = np.zeros((*busy.shape, 4), np.float32)
    out[..., :3] = palette[raster.category[list(rows)]]
    out[..., 3] = np.where(busy > 0, 0.30 + 0.70 * np.sqrt(busy), 0)
    return out
