"""A table of times on a grid of sizes, and what lies between and beyond its nodes.

Between nodes time is linear in each size: most kernels take a constant plus something proportional, which
is then exact, and times that grow from node to node grow throughout. Beyond the last node time grows as a
power of the size; before the first it stays. Knows nothing of kernels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .work import Floats

__all__ = ["Surface"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """`seconds` has an axis for each of `nodes` (ascending sizes); `growth` are the powers beyond the ends."""

    nodes: tuple[Floats, ...]
    seconds: Floats
    growth: tuple[float, ...]

    def time_s(self, point: tuple[Floats, ...]) -> Floats:
        """Seconds at the sizes `point`, one array an axis, broadcast against each other."""
        values = self.seconds
        beyond: Floats = np.ones(())
        rest: list[tuple[Floats, Floats]] = []
        axis = 0
        for nodes, size, power in zip(self.nodes, point, self.growth, strict=True):
            last = nodes[-1]
            if power and np.any(size > last):
                beyond = beyond * np.maximum(size / last, 1.0) ** power
            if size.ndim:
                rest.append((nodes, size))
                axis += 1
            else:
                values = _along(values, axis, nodes, float(size))
        return np.asarray(_between(values, rest) * beyond)


def _along(values: Floats, axis: int, nodes: Floats, size: float) -> Floats:
    """`values` with one axis gone, at one size along it."""
    low = min(max(int(np.searchsorted(nodes, size, side="right")) - 1, 0), max(len(nodes) - 2, 0))
    high = min(low + 1, len(nodes) - 1)
    width = nodes[high] - nodes[low]
    part = (min(max(size, nodes[0]), nodes[-1]) - nodes[low]) / width if width else 0.0
    below, above = np.take(values, low, axis), np.take(values, high, axis)
    return np.asarray((1 - part) * below + part * above)


def _between(values: Floats, rest: list[tuple[Floats, Floats]]) -> Floats:
    """Multilinear interpolation over the axes whose sizes are arrays."""
    if not rest:
        return values
    if len(rest) == 1:
        nodes, size = rest[0]
        return np.asarray(np.interp(size, nodes, values))
    flat = values.ravel()
    corners: list[tuple[NDArray[np.intp], Floats]] = [(np.zeros((), np.intp), np.ones(()))]
    for (nodes, size), length in zip(rest, values.shape, strict=True):
        inside = np.clip(size, nodes[0], nodes[-1])
        low = np.clip(np.searchsorted(nodes, inside, side="right") - 1, 0, max(length - 2, 0))
        high = np.minimum(low + 1, length - 1)
        width = np.where(high > low, nodes[high] - nodes[low], 1.0)
        part = (inside - nodes[low]) / width
        corners = [
            (place * length + step, weight * share)
            for place, weight in corners
            for step, share in ((low, 1 - part), (high, part))
        ]
    return np.asarray(sum(weight * flat[place] for place, weight in corners))
