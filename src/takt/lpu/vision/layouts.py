"""Which pixels and channels of a tensor share a vector.

A vector holds one *group* of lanes for each of its pixels. A tensor of few channels packs a block of neighbouring pixels, so
that few passes cover a window; one of many channels is cut into chunks of 256, a vector each. Vectors form a grid. A
`spread` layout holds pixels far apart instead, one from each strip of the image, so that a pool's windows
lie on the same lanes.

It knows neither memory nor time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.lpu.vision.graph import Shape

Ints = NDArray[np.int64]

CHUNK = 256
"""Channels in a vector of a tensor that has more of them than `ROOM`."""
ROOM = 304
"""Lanes for data; the others are left for constants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Vector (gy, gx) of the grid holds at group j the pixel phase + step · (gy, gx) + offsets[j].

    Pixels may lie outside the image: what such lanes hold means nothing. `spread` is the distance between the groups of a
    spread layout, 0 for a block.
    """

    shape: Shape
    grid: tuple[int, int]
    step: tuple[int, int] = (1, 1)
    phase: tuple[int, int] = (0, 0)
    offsets: tuple[tuple[int, int], ...] = ((0, 0),)
    spread: int = 0

    @property
    def chunks(self) -> int:
        """Vectors that hold one grid position's channels."""
        return 1 if self.shape[0] <= ROOM else -(-self.shape[0] // CHUNK)

    @property
    def width(self) -> int:
        """Channels of a full chunk, which are also the lanes of a group."""
        return self.shape[0] if self.chunks == 1 else CHUNK

    @property
    def size(self) -> int:
        """Grid positions."""
        return self.grid[0] * self.grid[1]

    def channels(self, chunk: int) -> range:
        """The channels of one chunk."""
        return range(chunk * self.width, min((chunk + 1) * self.width, self.shape[0]))

    def pixels(self) -> tuple[Ints, Ints]:
        """Row and column of the pixel of every group of every vector, [size, groups]."""
        gy, gx = np.divmod(np.arange(self.size), self.grid[1])
        offset = np.array(self.offsets, np.int64)
        y = self.phase[0] + gy[:, None] * self.step[0] + offset[:, 0]
        x = self.phase[1] + gx[:, None] * self.step[1] + offset[:, 1]
        return y, x

    def locate(self, y: Ints, x: Ints) -> tuple[Ints, Ints, Ints]:
        """Grid row, grid column and group of pixels, as if the grid had no edge."""
        y, x = y - self.phase[0], x - self.phase[1]
        if self.spread:
            group = np.clip(x // self.spread, 0, len(self.offsets) - 1)
            return y, x - group * self.spread, group
        gy, gx = y // self.step[0], x // self.step[1]
        group = (y - gy * self.step[0]) * self.step[1] + x - gx * self.step[1]
        return gy, gx, group

    def index(self, gy: Ints, gx: Ints) -> Ints:
        """Number of the vector at a grid position, −1 outside the grid."""
        inside = (gy >= 0) & (gy < self.grid[0]) & (gx >= 0) & (gx < self.grid[1])
        return np.where(inside, gy * self.grid[1] + gx, -1)


def block_layout(shape: Shape, block: tuple[int, int], phase: tuple[int, int] = (0, 0)) -> Layout:
    """Blocks of block[0] × block[1] pixels; with a phase below 0 the first ones begin outside the image."""
    grid = (-(-(shape[1] - phase[0]) // block[0]), -(-(shape[2] - phase[1]) // block[1]))
    offsets = tuple((j, i) for j in range(block[0]) for i in range(block[1]))
    return Layout(shape=shape, grid=grid, step=block, phase=phase, offsets=offsets)


def best_block(shape: Shape) -> tuple[int, int]:
    """The largest block of 2ᵏ pixels that divides the image and fits a vector, as square as can be."""
    block = (1, 1)
    for height in (1, 2, 4, 8, 16):
        for width in (height, 2 * height):
            fits = height * width * shape[0] <= ROOM
            if fits and shape[1] % height == 0 and shape[2] % width == 0:
                block = (height, width)
    return block


def spread_layouts(
    before: Shape, after: Shape, stride: int, kernel: int, pad: int
) -> tuple[Layout, Layout, Layout] | None:
    """Layouts before, between and after the two halves of a pool, or None where pixels do not fit side by side.

    The pool runs over rows first. Windows begin `pad` columns before the image; the pixel of a lane that would lie outside
    is then the nearest inside, which changes no maximum.
    """
    groups = next((g for g in (4, 2) if g * before[0] <= ROOM and after[2] % g == 0), 1)
    if groups == 1:
        return None
    strip = after[2] // groups
    wide = (strip - 1) * stride + kernel
    offsets = tuple((0, g * strip * stride) for g in range(groups))
    first = Layout(
        shape=before,
        grid=(before[1], wide),
        phase=(0, -pad),
        offsets=offsets,
        spread=strip * stride,
    )
    middle = Layout(
        shape=(before[0], after[1], before[2]),
        grid=(after[1], wide),
        phase=(0, -pad),
        offsets=offsets,
        spread=strip * stride,
    )
    last = Layout(
        shape=after,
        grid=(after[1], strip),
        offsets=tuple((0, g * strip) for g in range(groups)),
        spread=strip,
    )
    return first, middle, last
