"""What a step costs, tabled for a simulation that asks millions of times: a few additions and look-ups a step.

A step of n users generating at a mean context c, and of prompt chunks (new tokens after cached ones) takes

    factor(n, c) · max(floor(c), tokens(t) + rows(r) + decode(n, c) + max(Σ prompt(new, cached), max alone(new, cached)))

with t tokens computed and r rows (users and chunks); beside chunks decode(n, c) may be another. A replica of several `groups` (data-parallel attention, stages of a
pipeline) cuts no text: a step of prompts alone waits for the group with the longest chunk. Beside users the others have
work to do, and chunks cost their average. `tables` fills it from room `perf`. Both engines do these very operations in this
order on 64-bit floats, so that they agree to the nanosecond. Knows no requests.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError

__all__ = ["Axis", "Grid", "StepTable"]

Floats = NDArray[np.float64]


def Axis(values: Iterable[float]) -> Floats:  # noqa: N802
    """Places of a table along one direction: ascending, the first ≥ 0."""
    axis = np.ascontiguousarray(list(values), dtype=np.float64)
    if axis.ndim != 1 or not len(axis) or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any():
        raise UsageError("places of a table ascend and are finite")
    return axis


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """A function of two sizes on a grid: bilinear between places, constant beyond the first and last of them."""

    x: Floats
    y: Floats
    values: Floats  # [len(x), len(y)]

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.x), len(self.y)) or not np.isfinite(self.values).all():
            raise UsageError("a grid has a finite value at each of its places")

    def at(self, x: float, y: float) -> float:
        """The value between four places."""
        i, u = _place(self.x, x)
        j, v = _place(self.y, y)
        i1, j1 = min(i + 1, len(self.x) - 1), min(j + 1, len(self.y) - 1)
        low = float(self.values[i, j]) + (float(self.values[i, j1]) - float(self.values[i, j])) * v
        high = float(self.values[i1, j])
        high = high + (float(self.values[i1, j1]) - high) * v
        return low + (high - low) * u


def _place(axis: Floats, value: float) -> tuple[int, float]:
    """Index of the place at or before a value, and the share of the way to the next."""
    i = bisect_right(axis, value) - 1
    if i < 0:
        return 0, 0.0
    if i >= len(axis) - 1:
        return len(axis) - 1, 0.0
    start = float(axis[i])
    return i, (value - start) / (float(axis[i + 1]) - start)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepTable:
    """Costs of the steps of one replica; nanoseconds as floats, rounded up once at the end of a step's sum.

    - `tokens_ns[t]`, `rows_ns[r]`: indexed by a count, their last value beyond the end.
    - `decode_ns`, `factor`, `decode_w`: over users × mean context; `prompt_ns`: over new × cached tokens of one chunk.
    - `prompt_ns`: what a chunk adds where others are read beside it; `alone_ns`, on the same places: what it takes by itself,
      less than which no step takes that reads it (None: the same).
    - `mixed_ns`, on the places of `decode_ns`: what takes its place in steps that read chunks too (None: the same).
    - `floor_ns`: over mean context (its axis is `decode_ns.y`): what one token's way takes, however few there are; at context 0 that of
      steps without users.
    - `groups`: of them each reads texts of its own. In a step without users tokens, rows and `alone_ns` count as `groups`
      times the longest chunk's at least; beside users `alone_ns` counts once for each text, at most `groups` times.
      `prompt_ns` and `alone_ns` hold a group's share: 1 / `groups`.
    - `decode_w`, `prompt_w`: watts of all chips of the replica while it generates, while it reads; `idle_w` otherwise, and
      for the part of a step in which it waits for `floor_ns`.
    - `basis`, `decode_error`, `prompt_error`, `energy_error`: what figures rest on and the median relative error to expect
      (None: unknown).
    """

    tokens_ns: Floats
    rows_ns: Floats
    decode_ns: Grid
    prompt_ns: Grid
    floor_ns: Floats
    factor: Grid
    decode_w: Grid
    prompt_w: float
    idle_w: float
    groups: int = 1
    alone_ns: Grid | None = None
    mixed_ns: Grid | None = None
    basis: frozenset[str] = frozenset()
    decode_error: float | None = None
    prompt_error: float | None = None
    energy_error: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and not (len(value) and np.isfinite(value).all()):
                raise UsageError(f"{field.name} of a step table must be finite")
        if len(self.floor_ns) != len(self.decode_ns.y):
            raise UsageError("floor_ns needs a value at each context of decode_ns")
        if self.groups < 1:
            raise UsageError("a replica has at least one group")
        for name, other in (("alone_ns", "prompt_ns"), ("mixed_ns", "decode_ns")):
            grid, of = getattr(self, name), getattr(self, other)
            if grid and not (np.array_equal(grid.x, of.x) and np.array_equal(grid.y, of.y)):
                raise UsageError(f"{name} has the places of {other}")

    def step(
        self, users: int, context_tokens: int, tokens: int, chunks: list[tuple[int, int]]
    ) -> tuple[int, float]:
        """(nanoseconds, joules) of a step.

        `context_tokens`: cached positions of all `users` together; `tokens`: computed for them (drafts included);
        `chunks`: (new, cached) of each prompt.
        """
        mean = context_tokens / users if users else 0.0
        alone_ns = self.prompt_ns if self.alone_ns is None else self.alone_ns
        new_tokens, longest, reading, slowest = 0, 0, 0.0, 0.0
        for new, cached in chunks:
            new_tokens += new
            longest = max(longest, new)
            reading = reading + self.prompt_ns.at(new, cached)
            slowest = max(slowest, alone_ns.at(new, cached))
        lanes = 1 if users else self.groups
        rows = users + (max(len(chunks), lanes) if chunks else 0)
        work = _counted(self.tokens_ns, tokens + max(new_tokens, lanes * longest))
        work = work + _counted(self.rows_ns, rows)
        generating = 0.0
        if users:
            attention = (self.mixed_ns if chunks and self.mixed_ns else self.decode_ns).at(
                users, mean
            )
            work = work + attention
            generating = _counted(self.tokens_ns, tokens) + _counted(self.rows_ns, users)
            generating = generating + attention
        beside = min(len(chunks), self.groups) if users else self.groups
        work = work + max(reading, beside * slowest)
        i, v = _place(self.decode_ns.y, mean)
        j = min(i + 1, len(self.floor_ns) - 1)
        low = float(self.floor_ns[i])
        floor = low + (float(self.floor_ns[j]) - low) * v
        if generating > work:
            generating = work
        busy = work
        if work < floor:
            work = floor
        factor = self.factor.at(users, mean)
        time_ns = _up(work * factor)
        watts = self.decode_w.at(users, mean) if users else 0.0
        drawn = watts * generating + self.prompt_w * (busy - generating)
        drawn = drawn + self.idle_w * (work - busy)
        joules = drawn / work * (time_ns * 1e-9) if work > 0 else 0.0
        return time_ns, joules


def _counted(values: Floats, count: int) -> float:
    return float(values[min(count, len(values) - 1)])


def _up(time_ns: float) -> int:
    """Whole nanoseconds, rounded up, at least one: a step that took no time would never let the clock go on."""
    whole = int(time_ns)
    if whole < time_ns:
        whole += 1
    return max(whole, 1)
