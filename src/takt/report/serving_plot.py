"""A fleet under load as pictures: its pools over time, and how latencies are distributed.

Needs matplotlib (the extra `plot`), which is imported only when a picture is asked for. Distributions are drawn over a scale
on which 90, 99 and 99.9 % lie equally far apart, because that is where targets are. Knows figures, not how they came about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.files import write_whole
from takt.report.plot import format_of, require_matplotlib, saved
from takt.serving.results import LATENCIES, Outcome, Series

__all__ = ["require_matplotlib", "write_latency_plot", "write_timeline_plot"]

_COLOURS = (
    "#3b78c4", "#e8853d", "#2a9d8f", "#d1344b", "#8c5fbf",
    "#5a9e3f", "#c9a400", "#8a6b52", "#f08fa0", "#333a8c",
)  # fmt: skip
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
_INK, _FAINT, _PAPER, _TARGET = "#2b2f36", "#d8dce2", "#f7f8fa", "#b3261e"
_DPI = 130
_TIMELINE_INCHES, _PANEL_INCHES = 11.0, 1.5
_LATENCY_INCHES = (12.5, 4.4)
_BINS = 700  # as many as the eye tells apart over the width
_MARKED = (0.5, 0.9, 0.99)
_WIDE = 30.0  # times between the median and the far end, from which on a scale is logarithmic
_TITLES = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "e2e": "end to end",
    "queue": "time in the queue",
}

Floats = NDArray[np.float64]


# ------------------------------------------------------------------------------------------------------------ over time
def write_timeline_plot(path: Path, series: Mapping[str, Series], *, title: str) -> None:
    """Write requests in steps and in queues, cache and replicas of each pool over time: SVG if the name says so, else PNG.

    UsageError without a look, UnsupportedError without matplotlib, DataError if it cannot be written.
    """
    require_matplotlib()
    if not any(len(pool.time_s) for pool in series.values()):
        raise UsageError("nothing was looked at: there is nothing to draw")
    write_whole(path, _timeline_picture(series, title, format_of(path)))


_Panel = tuple[str, Callable[[Series], Floats], str]
_PANELS: tuple[_Panel, ...] = (
    ("requests running", lambda pool: pool.running.astype(np.float64), "count"),
    ("requests waiting", lambda pool: pool.waiting.astype(np.float64), "count"),
    ("KV cache in use", lambda pool: pool.kv, "share"),
    ("replicas up", lambda pool: pool.up.astype(np.float64), "steps"),
)


def _timeline_picture(series: Mapping[str, Series], title: str, format_: str) -> bytes:
    import matplotlib as mpl  # heavy, and an extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inches = len(_PANELS) * _PANEL_INCHES + 1.0
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8.5}):
        figure: Any = Figure(
            figsize=(_TIMELINE_INCHES, inches), dpi=_DPI, facecolor="white", layout="constrained"
        )
        FigureCanvasAgg(figure)
        heights = [1.25, 1.0, 1.0, 0.7]
        every = figure.subplots(len(_PANELS), 1, sharex=True, height_ratios=heights)
        for axes, panel in zip(every, _PANELS, strict=True):
            _timeline_panel(axes, panel, series)
        every[-1].set_xlabel("simulated time, s", color=_INK)
        every[-1].xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        every[0].set_title(title, loc="left", color=_INK, fontsize=10)
        if len(series) > 1:
            every[0].legend(
                loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=min(len(series), 6), frameon=False,
                fontsize=8, labelcolor=_INK, handlelength=1.6, borderaxespad=0.2,
            )  # fmt: skip
        return saved(figure, mpl.rc_context, format_)


def _timeline_panel(axes: Any, panel: _Panel, series: Mapping[str, Series]) -> None:
    name, values_of, kind = panel
    highest = 0.0
    for i, (pool_name, pool) in enumerate(series.items()):
        values, colour = values_of(pool), _colour(i)
        highest = max(highest, float(values.max(initial=0.0)))
        if kind == "steps":
            axes.step(pool.time_s, values, where="post", color=colour, linewidth=1.4)
            continue
        time_s, mean, low, high = _binned(pool.time_s, values)
        axes.fill_between(time_s, low, high, color=colour, alpha=0.22, linewidth=0)
        axes.plot(time_s, mean, color=colour, linewidth=1.2, label=pool_name)
        if len(series) == 1:
            axes.fill_between(time_s, 0, mean, color=colour, alpha=0.12, linewidth=0)
    _plain(axes)
    axes.text(
        0.006, 0.95, name, transform=axes.transAxes, va="top", color=_INK, weight="bold",
        bbox={"facecolor": _PAPER, "alpha": 0.85, "lw": 0, "pad": 1.5}, zorder=4,
    )  # fmt: skip
    highest = 1.0 if kind == "share" else max(highest, 1.0)
    axes.set_ylim(0, highest * (1.55 if kind == "steps" else 1.25))  # the name has its place above
    if kind == "share":
        axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    else:
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(x=0.005)


def _binned(time_s: Floats, values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """(time, mean, least, most) of as many looks as lie in one place of the picture."""
    each = -(-len(values) // _BINS)
    starts = np.arange(0, len(values), each)
    sizes = np.diff([*starts, len(values)])
    return (
        np.add.reduceat(time_s, starts) / sizes,
        np.add.reduceat(values, starts) / sizes,
        np.minimum.reduceat(values, starts),
        np.maximum.reduceat(values, starts),
    )


# -------------------------------------------------------------------------------------------------------- distributions
def write_latency_plot(
    path: Path,
    outcomes: Mapping[str, Outcome],
    *,
    title: str,
    targets: Mapping[str, float] | None = None,
) -> None:
    """Write the distributions of TTFT, time per token and end-to-end latency: SVG if the name says so, else PNG.

    `outcomes`: a curve for each, in the order of the legend; `targets`: `ttft`, `tpot` or `e2e` → most seconds.
    UsageError where no request was completed or a target is of something else, UnsupportedError without matplotlib, DataError
    if it cannot be written.
    """
    require_matplotlib()
    wrong = set(targets or {}) - set(LATENCIES)
    if wrong:
        raise UsageError(f"no latency '{min(wrong)}'", hint=f"there are {', '.join(LATENCIES)}")
    if not any(outcome.digests["e2e"].count for outcome in outcomes.values()):
        raise UsageError("no request was completed: there is nothing to draw")
    write_whole(path, _latency_picture(outcomes, title, targets or {}, format_of(path)))


def _latency_picture(
    outcomes: Mapping[str, Outcome], title: str, targets: Mapping[str, float], format_: str
) -> bytes:
    import matplotlib as mpl  # heavy, and an extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8.5}):
        figure: Any = Figure(
            figsize=_LATENCY_INCHES, dpi=_DPI, facecolor="white", layout="constrained"
        )
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.006, ha="left", color=_INK, fontsize=10)
        every = figure.subplots(1, 3, sharey=True)
        for axes, name in zip(every, ("ttft", "tpot", "e2e"), strict=True):
            _distribution(axes, name, outcomes, targets.get(name))
        every[0].set_ylabel("share of requests at most that long", color=_INK)
        if len(outcomes) > 1:
            figure.legend(
                *every[0].get_legend_handles_labels(), loc="outside lower left", frameon=False,
                fontsize=8, labelcolor=_INK, ncols=min(len(outcomes), 4), handlelength=2.4,
            )  # fmt: skip
        return saved(figure, mpl.rc_context, format_)


def _distribution(
    axes: Any, name: str, outcomes: Mapping[str, Outcome], target_s: float | None
) -> None:
    """One latency: a curve for each outcome, its percentiles and the target marked."""
    scale, unit = _scale(name, outcomes)
    digests = {key: outcome.digests[name] for key, outcome in outcomes.items()}
    most = max((digest.count for digest in digests.values()), default=0)
    top = 0.999 if most >= 1000 else 0.99
    shares = 1 - np.logspace(0, np.log10(1 - top), 400)
    farthest, middle = 0.0, 0.0
    for i, (key, digest) in enumerate(digests.items()):
        if not digest.count:
            continue
        values = digest.quantiles(np.maximum(shares, 0.0).tolist()) * scale
        marked = digest.quantiles(list(_MARKED)) * scale
        style = {"color": _colour(i), "linestyle": _DASHES[i // len(_COLOURS) % len(_DASHES)]}
        axes.plot(values, _nines(shares), linewidth=1.6, label=key, **style)
        axes.plot(
            marked, _nines(np.asarray(_MARKED)), linestyle="", marker="o", markersize=4.5,
            color=_colour(i), markeredgecolor="white", markeredgewidth=0.8, zorder=3,
        )  # fmt: skip
        if len(digests) == 1:
            _name_percentiles(axes, marked, unit, float(values[-1]))
        farthest, middle = max(farthest, float(values[-1])), max(middle, float(marked[0]))
    _frame(axes, name, unit, top, farthest, middle)
    if target_s is not None:
        _mark_target(axes, target_s * 1e9 * scale, unit, farthest)


def _name_percentiles(axes: Any, marked: Floats, unit: str, farthest: float) -> None:
    """Above and left of the curve, where nothing is; to its right where there is no room."""
    for share, value in zip(_MARKED, marked.tolist(), strict=True):
        room = value > 0.35 * farthest
        axes.annotate(
            f"p{100 * share:.0f}  {value:,.3g} {unit}", (value, float(_nines(np.asarray(share)))),
            xytext=(-6, 4) if room else (7, -4), textcoords="offset points", ha="right" if room else "left",
            va="bottom" if room else "top", fontsize=8, color=_INK, zorder=4,
            bbox={"facecolor": _PAPER, "alpha": 0.85, "lw": 0, "pad": 1.0},
        )  # fmt: skip


def _mark_target(axes: Any, value: float, unit: str, farthest: float) -> None:
    """A line where the target is, or at the edge an arrow to it where it is far beyond."""
    beyond = value > farthest * 1.6
    if not beyond:
        axes.axvline(value, color=_TARGET, linewidth=1.0, linestyle=(0, (4, 2)))
    text = f"target {value:,.4g} {unit}" + (" →" if beyond else "")
    axes.annotate(
        text, (1.0 if beyond else value, 0.02), xycoords=("axes fraction" if beyond else "data", "axes fraction"),
        xytext=(-4, 0), textcoords="offset points", ha="right", va="bottom", fontsize=8, color=_TARGET,
        bbox={"facecolor": _PAPER, "alpha": 0.85, "lw": 0, "pad": 1.0}, zorder=4,
    )  # fmt: skip


def _frame(axes: Any, name: str, unit: str, top: float, farthest: float, middle: float) -> None:
    _plain(axes)
    ticks = [share for share in (0.0, 0.5, 0.9, 0.99, 0.999) if share <= top]
    axes.set_yticks(_nines(np.asarray(ticks)), [f"{100 * share:.10g} %" for share in ticks])
    axes.set_ylim(0, float(_nines(np.asarray(top))) * 1.02)
    if middle and farthest > _WIDE * middle:
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, farthest * 1.22 or 1.0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel(f"{_TITLES[name]}, {unit}", color=_INK)


def _scale(name: str, outcomes: Mapping[str, Outcome]) -> tuple[float, str]:
    """What nanoseconds are multiplied by, and the unit they are in then."""
    longest = max(outcome.digests[name].most for outcome in outcomes.values())
    return (1e-9, "s") if longest >= 10e9 else (1e-6, "ms")


def _nines(shares: Floats) -> Floats:
    """0 for none, 1 for 90 %, 2 for 99 %: how many nines a share has."""
    return np.asarray(-np.log10(1 - shares))


def _plain(axes: Any) -> None:
    axes.set_facecolor(_PAPER)
    axes.grid(which="major", color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, colors=_INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]
