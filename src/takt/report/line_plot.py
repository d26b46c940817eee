"""The pipeline as a picture: stages from top to bottom, one period from left to right, a colour for each user.

Needs matplotlib (the extra `plot`). One layer's schedule on one chip is drawn by `plot`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from takt.files import write_whole
from takt.report.line import SystemSchedule
from takt.report.line_trace import chips_text, in_flight
from takt.report.plot import format_of, require_matplotlib, saved
from takt.units import cycles_to_s, format_si

_INK, _PAPER = "#2b2f36", "#f7f8fa"
_MOST_NAMED = 20  # users in the legend


def write_pipeline_plot(path: Path, system: SystemSchedule) -> None:
    """Write the picture: as SVG if the name says so, else as PNG.

    UnsupportedError without matplotlib, DataError if it cannot be written.
    """
    require_matplotlib()
    write_whole(path, _picture(system, format_of(path)))


def _picture(system: SystemSchedule, format_: str) -> bytes:
    import matplotlib as mpl  # heavy, and an extra
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_stages = len(system.groups)
    inches = 2.1 + min(max(0.17 * n_stages, 0.6), 12.0)
    figure: Any = Figure(figsize=(14.0, inches), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8}):
        axes = figure.add_axes((0.1, 1.15 / inches, 0.885, 1 - 1.8 / inches))
        colours = mpl.colormaps["tab20"]
        _stays(axes, system, colours)
        _frame(axes, system)
        users = range(min(system.users, _MOST_NAMED))
        handles = [mpl.patches.Patch(color=colours(u % 20), label=f"user {u}") for u in users]
        figure.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0.095, 0.08 / inches), ncols=10, frameon=False,
            handlelength=1.1, columnspacing=1.4, labelcolor=_INK,
        )  # fmt: skip
        figure.text(0.1, 1 - 0.32 / inches, _title(system), fontsize=12, color=_INK, weight="bold")
        return saved(figure, mpl.rc_context, format_)


def _stays(axes: Any, system: SystemSchedule, colours: Any) -> None:
    bars: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for stay in in_flight(system):
        start, end = _us(system, stay.start), _us(system, stay.end)
        bars[stay.stage, stay.user].append((start, end - start))
    for (stage, user), found in bars.items():
        axes.broken_barh(found, (stage + 0.08, 0.84), facecolor=colours(user % 20), linewidth=0)


def _frame(axes: Any, system: SystemSchedule) -> None:
    n_stages = len(system.groups)
    axes.set_facecolor(_PAPER)
    axes.set_xlim(0, _us(system, system.period_cycles))
    axes.set_ylim(n_stages, 0)
    every = -(-n_stages // 40)
    rows = range(0, n_stages, every)
    axes.set_yticks(
        [row + 0.5 for row in rows],
        [f"{row}: chips {chips_text(system.groups[row])}" for row in rows],
    )
    axes.set_xlabel("µs within one period", color=_INK)
    axes.tick_params(length=0, labelsize=7, colors=_INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _title(system: SystemSchedule) -> str:
    clock_hz = system.chip.clock_hz
    step = format_si(cycles_to_s(system.step_cycles, clock_hz), "s")
    period = format_si(cycles_to_s(system.period_cycles, clock_hz), "s")
    users = f"{system.users} user{'s' * (system.users != 1)}"
    return (
        f"{system.model} on {system.chips_used} chips of {system.system}: "
        f"{len(system.groups)} stages, {users}, a token takes {step}, each user gets one every {period}"
    )


def _us(system: SystemSchedule, cycles: int) -> float:
    return 1e6 * cycles_to_s(cycles, system.chip.clock_hz)
