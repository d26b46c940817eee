"""How a convolution's passes are shared among the arrays: runs, parts and rounds.

A *run* is the vectors of one class through one tile. The arrays work in lockstep. They share a run by pixels (all have the same
tile), or also by output chunks (each side has its own tile, or each array). Which is best is a matter of
counting: passes of a run, or the cycles to load its tile where those are more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from takt.lpu.vision.floor import Floor
from takt.lpu.vision.layouts import Ints, Layout
from takt.lpu.vision.plan import Deal
from takt.lpu.vision.windows import Placement, WindowClass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """Input chunk k's vectors (`inputs`, one array for each time that all outputs go through the same tile)."""

    k: int
    placements: tuple[Placement, ...]
    has_bias: bool
    inputs: tuple[Ints, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Outputs that are accumulated together: for each array's share the positions among the class's outputs."""

    outputs: Ints
    shares: tuple[Ints, ...]
    runs: tuple[Run, ...]

    @property
    def length(self) -> int:
        """Vectors of the longest share."""
        return max(len(share) for share in self.shares)


def make_runs(class_: WindowClass, n_chunks: int, *, splits_bias: bool) -> tuple[Run, ...]:
    """Runs of a class, input chunk by input chunk. With `splits_bias` the pass that holds the bias stands alone."""
    runs: list[Run] = []
    for k in range(n_chunks):
        for number, pass_ in enumerate(class_.passes):
            first = k == 0 and number == 0
            last = runs[-1] if runs else None
            if last and last.k == k and last.placements == pass_.placements and not (last.has_bias and splits_bias):  # fmt: skip
                runs[-1] = Run(k=k, placements=last.placements, has_bias=last.has_bias, inputs=(*last.inputs, pass_.inputs))  # fmt: skip
            else:
                runs.append(Run(k=k, placements=pass_.placements, has_bias=first, inputs=(pass_.inputs,)))  # fmt: skip
    return tuple(runs)


def deal_out(deal: Deal, layout: Layout, n_shares: int) -> list[Ints]:
    """All vectors of a grid, dealt to shares."""
    number = np.arange(layout.size)
    which = _which(deal, number, layout, n_shares)
    return [number[which == i] for i in range(n_shares)]


def _which(deal: Deal, number: Ints, layout: Layout, n_shares: int) -> Ints:
    """Share of each of these vectors."""
    if deal is Deal.RUNS:
        return np.arange(len(number)) // -(-len(number) // n_shares)
    gy, gx = np.divmod(number, layout.grid[1])
    return np.asarray((gy if deal is Deal.ROWS else gx) % n_shares)


def share_out(
    class_: WindowClass,
    runs: tuple[Run, ...],
    layout: Layout,
    deal: Deal,
    n_shares: int,
    n_entries: int,
) -> list[Batch]:
    """Deal a class's outputs to shares, in batches that the accumulators can hold where they are needed."""
    everything = np.arange(len(class_.outputs))
    which = _which(deal, class_.outputs, layout, n_shares)
    shares = [everything[which == i] for i in range(n_shares)]
    longest = max(len(share) for share in shares)
    single = sum(len(run.inputs) for run in runs) == 1
    limit = longest if single else n_entries
    return [
        Batch(
            outputs=class_.outputs,
            shares=tuple(share[at : at + limit] for share in shares),
            runs=runs,
        )
        for at in range(0, longest, limit)
    ]


def load_cycles(floor: Floor, groups: int, n_split: int) -> int:
    """Cycles to bring one run's tiles to the arrays of a side."""
    tiles = floor.element_bytes if n_split <= 2 else floor.n_arrays // 2
    return tiles * groups


def best_split(
    floor: Floor, sizes: list[tuple[int, int]], n_chunks: int, groups: int, deal: Deal
) -> int:
    """Into how many parts to split the output chunks. `sizes`: outputs and passes of every run of one output chunk."""

    def cycles(n_split: int) -> int:
        shares, load, once = floor.n_arrays // n_split, load_cycles(floor, groups, n_split) + 1, 0
        for n, passes in sizes:
            length = -(-n // shares) * floor.interval_cycles
            # Arrays of a side that differ in their tiles run apart, by the length of a run.
            once += max(length * passes, load + (length if n_split > 2 else 0))
        return -(-n_chunks // n_split) * once

    options = [n for n in (1, 2, 4) if n <= floor.n_arrays and (n == 1 or deal is Deal.RUNS)]
    return min(options, key=cycles)
