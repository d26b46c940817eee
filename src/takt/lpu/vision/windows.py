"""A convolution as passes: which vectors, through which tiles, make each vector of the result.

Vectors of the result that look alike (the same relative vectors through the same tiles) form a class, and all of a class
go through one tile after another. A *placement* (input group, output group, row tap, column tap) puts one tap's
channels × channels weights into a tile. How the first layer reads the image is in `patches`.

It knows neither memory nor time, nor what the weights are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from takt.lpu.vision.graph import Conv
from takt.lpu.vision.layouts import Ints, Layout

Placement = tuple[int, int, int, int]
"""Input group, output group, row tap, column tap."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pass:
    """One tile and the input vector that each output vector of the class sends through it (−1: a vector of zeros)."""

    placements: tuple[Placement, ...]
    inputs: Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowClass:
    """Output vectors that are sums over the same tiles."""

    outputs: Ints
    passes: tuple[Pass, ...]


def window_classes(conv: Conv, source: Layout, target: Layout) -> tuple[WindowClass, ...]:
    """How `target`'s vectors are made from `source`'s. Passes with one tile stand side by side."""
    y, x = target.pixels()
    taps = np.indices(conv.kernel).reshape(2, -1)
    iy = y[:, :, None] * conv.stride[0] - conv.pads[0] + taps[0]
    ix = x[:, :, None] * conv.stride[1] - conv.pads[1] + taps[1]
    parts = [part.reshape(target.size, -1) for part in source.locate(iy, ix)]
    gy, gx, group = parts
    base_y, base_x = gy[:, 0], gx[:, 0]
    look = np.concatenate((gy - base_y[:, None], gx - base_x[:, None], group), axis=1)
    _, first, which = np.unique(
        look.astype(np.int16), axis=0, return_index=True, return_inverse=True
    )
    placed = [
        (j, ky, kx)
        for j in range(len(target.offsets))
        for ky, kx in (taps.T * (not conv.uniform)).tolist()
    ]
    classes = []
    for number, example in enumerate(first.tolist()):
        outputs = np.flatnonzero(which.reshape(-1) == number)
        near: dict[tuple[int, int], list[Placement]] = {}
        for m, (j, ky, kx) in enumerate(placed):
            step = (
                int(gy[example, m] - base_y[example]),
                int(gx[example, m] - base_x[example]),
            )
            near.setdefault(step, []).append((int(group[example, m]), j, ky, kx))
        passes = [
            Pass(
                placements=tuple(sorted(found)),
                inputs=source.index(base_y[outputs] + dy, base_x[outputs] + dx),
            )
            for (dy, dx), found in near.items()
        ]
        passes.sort(key=lambda p: p.placements)
        classes.append(WindowClass(outputs=outputs, passes=tuple(passes)))
    return tuple(classes)
