"""From scattered samples to a table: a roofline with efficiencies, its residuals filled in, made monotone.

    1. fit the few parameters of `Efficiency`;
    2. at each node of the grid: the residual log(measured / fitted), that of its own samples where it has
       some, else of the nearest ones weighted by inverse distance;
    3. time at the node, never below the chip's roofline;
    4. the middle between the least monotone table above and the greatest below it.

Errors are medians of |predicted / measured - 1| over samples left out in turn. Knows neither files nor chips.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.perf.kernels.efficiency import Efficiency
from takt.perf.kernels.families import work_at
from takt.perf.kernels.peaks import Peaks
from takt.perf.kernels.surface import Surface
from takt.perf.kernels.work import Floats

from .samples import Key, Samples

__all__ = [
    "Grid",
    "cross_validated",
    "fit_efficiency",
    "is_usual",
    "median_error",
    "monotone",
    "predicted",
    "surface_of",
]

Bools = NDArray[np.bool_]

NEIGHBOURS = 8
SMOOTH = 0.05  # octaves within which samples count as one
FOLDS = 4
OUTLIER = 2.5
LEAST_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Nodes of each axis, powers of growth beyond them, and how far an octave of each axis counts."""

    nodes: tuple[tuple[float, ...], ...]
    growth: tuple[float, ...]
    scales: tuple[float, ...]
    rising: tuple[int, ...]  # axes along which time may not fall

    def points(self) -> Floats:
        axes = np.meshgrid(*(np.array(n, dtype=np.float64) for n in self.nodes), indexing="ij")
        return np.stack([axis.ravel() for axis in axes], axis=1)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(n) for n in self.nodes)


# -- the few parameters ---------------------------------------------------------------------------


def _decoded(raw: Floats) -> Efficiency:
    """Parameters within bounds that still mean something on another chip than the one fitted."""
    logistic = 1 / (1 + np.exp(-raw[1:]))
    return Efficiency(
        start_s=float(np.exp(raw[0])),
        bytes_share=float(LEAST_SHARE + (1 - LEAST_SHARE) * logistic[0]),
        ops_share=float(0.05 + 0.95 * logistic[1]),
        sharpness=float(1 + 7 * logistic[2]),
    )


def _loss(raw: Floats, parts: list[tuple[Samples, Peaks]]) -> float:
    efficiency = _decoded(raw)
    total = 0.0
    for samples, peaks in parts:
        guess = efficiency.time_s(samples.work, peaks.bytes_per_s, peaks.ops_per_s)
        away = np.abs(np.log(np.maximum(guess, peaks.floor_s(samples.work)) / samples.seconds))
        total += float(np.mean(np.minimum(away, 1.5)))
    return total / len(parts)


def fit_efficiency(parts: list[tuple[Samples, Peaks]]) -> Efficiency:
    """Least mean |log error|, each part (a chip) with equal weight. Deterministic pattern search."""
    parts = [(s.take(np.arange(0, len(s), max(1, len(s) // 400))), p) for s, p in parts]
    start = float(np.log(np.median([s.seconds.min() for s, _ in parts])))
    best = np.array([start, 0.5, 0.5, 0.5])
    least = _loss(best, parts)
    step = np.array([0.4, 1.0, 1.0, 0.8])
    for _ in range(40):
        moved = False
        for axis in range(4):
            for sign in (1.0, -1.0):
                trial = best.copy()
                trial[axis] = np.clip(trial[axis] + sign * step[axis], -18, 6)
                loss = _loss(trial, parts)
                if loss < least - 1e-7:
                    best, least, moved = trial, loss, True
        if not moved:
            step = step / 2
            if step.max() < 0.01:
                break
    return _decoded(best)


# -- tables ---------------------------------------------------------------------------------------


def _residuals(grid: Grid, points: Floats, known: Floats, residual: Floats) -> Floats:
    """Residual at each of `points` from the samples at `known` (both in octaves, scaled)."""
    out = np.empty(len(points))
    count = min(NEIGHBOURS, len(known))
    for begin in range(0, len(points), 512):
        block = points[begin : begin + 512]
        far = ((block[:, None, :] - known[None, :, :]) ** 2).sum(axis=2)
        near = np.argpartition(far, count - 1, axis=1)[:, :count]
        d2 = np.take_along_axis(far, near, axis=1)
        weight = 1 / (d2 + SMOOTH**2) ** 2
        out[begin : begin + 512] = (weight * residual[near]).sum(axis=1) / weight.sum(axis=1)
    return out


def monotone(log_s: Floats, axes: tuple[int, ...]) -> Floats:
    """The middle of the closest tables above and below that rise along each of `axes`."""
    above, below = log_s, log_s
    for axis in axes:
        above = np.maximum.accumulate(above, axis=axis)
        below = np.flip(np.minimum.accumulate(np.flip(below, axis), axis=axis), axis)
    return (above + below) / 2


def is_usual(samples: Samples, peaks: Peaks, grid: Grid) -> Bools:
    """Which calls did not take more than OUTLIER times what their neighbours did, measured against the roofline.

    A few hundred calls of the raw files ran a kernel that no tuner would choose (up to 20 times slower than
    the next size up); kept, they would lift every larger size in a table that may not fall.
    """
    if len(samples) < 4 * NEIGHBOURS:
        return np.ones(len(samples), dtype=bool)
    efficiency = fit_efficiency([(samples, peaks)])
    guess = efficiency.time_s(samples.work, peaks.bytes_per_s, peaks.ops_per_s)
    residual = np.log(samples.seconds / guess)
    known = np.log2(np.maximum(samples.points, 1e-9)) * np.array(grid.scales)
    usual = np.empty(len(samples))
    for begin in range(0, len(known), 512):
        block = known[begin : begin + 512]
        far = ((block[:, None, :] - known[None, :, :]) ** 2).sum(axis=2)
        near = np.argpartition(far, 2 * NEIGHBOURS, axis=1)[:, : 2 * NEIGHBOURS]
        usual[begin : begin + 512] = np.median(residual[near], axis=1)
    return np.asarray(residual - usual < np.log(OUTLIER))


def surface_of(
    key: Key, samples: Samples, peaks: Peaks, grid: Grid, efficiency: Efficiency
) -> Surface:
    """The table of `samples` on `grid`."""
    guess = efficiency.time_s(samples.work, peaks.bytes_per_s, peaks.ops_per_s)
    residual = np.log(samples.seconds / guess)
    scales = np.array(grid.scales)
    known = np.log2(np.maximum(samples.points, 1e-9)) * scales
    nodes = grid.points()
    filled = _residuals(grid, np.log2(nodes) * scales, known, residual)
    work = work_at(key.family, key.type_name, tuple(nodes.T))
    seconds = efficiency.time_s(work, peaks.bytes_per_s, peaks.ops_per_s) * np.exp(filled)
    seconds = np.maximum(seconds, peaks.floor_s(work))
    table = monotone(np.log(seconds).reshape(grid.shape), grid.rising)
    return Surface(
        nodes=tuple(np.array(n, dtype=np.float64) for n in grid.nodes),
        seconds=np.exp(table),
        growth=grid.growth,
    )


def predicted(surface: Surface, peaks: Peaks, samples: Samples) -> Floats:
    """What the wing says for those calls: the table, never below the roofline."""
    return np.maximum(surface.time_s(samples.work.at), peaks.floor_s(samples.work))


def median_error(guess: Floats, samples: Samples) -> float:
    """Median of |predicted / measured - 1|."""
    return float(np.median(np.abs(guess / samples.seconds - 1)))


def _folds(samples: Samples) -> list[NDArray[np.intp]]:
    """Rows to leave out in turn: whole groups (shapes of models) where there are some, else every fourth."""
    names = np.unique(samples.groups)
    if len(names) > 2:
        return [np.flatnonzero(samples.groups == name) for name in names]
    order = np.random.default_rng(0).permutation(len(samples))
    return [np.sort(order[i::FOLDS]) for i in range(FOLDS)]


def cross_validated(key: Key, samples: Samples, usual: Bools, peaks: Peaks, grid: Grid) -> float:
    """Median relative error at samples that the table was made without.

    Tables are made from `usual` samples only; errors count all of those left out.
    """
    away = []
    for out in _folds(samples):
        keep = usual.copy()
        keep[out] = False
        rest, held = samples.take(keep), samples.take(out)
        if len(rest) < NEIGHBOURS:
            continue
        surface = surface_of(key, rest, peaks, grid, fit_efficiency([(rest, peaks)]))
        away.append(np.abs(predicted(surface, peaks, held) / held.seconds - 1))
    return float(np.median(np.concatenate(away))) if away else float("nan")
