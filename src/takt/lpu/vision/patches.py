"""The first layer's input: vectors of pixels as the host lays them out, so that its passes have full tiles.

The pixels that an output vector needs, its *window*, have *places*, row by row; a place has as many lanes as the image has channels.
Either each output vector has vectors of its own with its whole window (*own*), or vectors hold a few whole rows, and output
vectors whose windows overlap read the same ones (*shared*): more passes, but less for the host to write. The sum
of both times decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from takt.errors import UnsupportedError
from takt.lpu.vision.graph import Conv, Floats
from takt.lpu.vision.layouts import ROOM, Ints, Layout
from takt.lpu.vision.windows import Pass, Placement, WindowClass

_NOWHERE = -(1 << 20)
"""A row or column outside every image."""

_Pairs = tuple[tuple[tuple[int, int], ...], ...]
"""Pairs (position or group of the output, tap) for each row or place."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patches:
    """`y`, `x` [vectors, places]: the pixel of each place; and the passes that read the vectors."""

    layout: Layout
    y: Ints
    x: Ints
    classes: tuple[WindowClass, ...]

    @property
    def passes(self) -> int:
        """Vectors through tiles, all together."""
        return sum(len(c.passes) * len(c.outputs) for c in self.classes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Window:
    """`top` [grid rows]: first image row of each. For each place of a window row: image column [grid columns, places], and
    (output group, column tap) pairs. `rows`: for each window row, (row of the output block, row tap) pairs.
    """

    top: Ints
    columns: Ints
    across: _Pairs
    rows: _Pairs
    target: Layout

    def placements(self, row: int, place: int, first: int) -> list[Placement]:
        """Weights that join a place of a window row to the outputs; `first`: its number in the vector."""
        width = self.target.step[1] if not self.target.spread else 1
        return [
            (first, down * width + group, ky, kx)
            for down, ky in self.rows[row]
            for group, kx in self.across[place]
        ]


def lay_patches(conv: Conv, target: Layout, channels: int, cycles_per_byte: float) -> Patches:
    """The better of all ways. UnsupportedError for images of more channels than a vector has lanes."""
    if channels > ROOM:
        raise UnsupportedError(f"an image of {channels} channels: at most {ROOM}")
    window = _window(conv, target)
    options = [_own(window, channels)]
    row_lanes = len(window.across) * channels
    options += [_shared(window, channels, n) for n in range(1, ROOM // row_lanes + 1)]

    def cost(found: Patches) -> float:
        return found.passes / 4 + found.y.size * channels * cycles_per_byte

    return min(options, key=cost)


def patch_vectors(found: Patches, image: Floats) -> Floats:
    """Lanes of every vector, f32 [vectors, places · channels]; zero outside the image [channels, height, width]."""
    height, width = image.shape[1:]
    inside = (found.y >= 0) & (found.y < height) & (found.x >= 0) & (found.x < width)
    picked = image[:, np.where(inside, found.y, 0), np.where(inside, found.x, 0)]
    picked = np.where(inside, picked, np.float32(0))
    return np.asarray(picked.transpose(1, 2, 0).reshape(len(found.y), -1), np.float32)


def _window(conv: Conv, target: Layout) -> _Window:
    kh, kw = conv.kernel
    y, x = target.pixels()
    grid = target.grid
    top = y[:: grid[1], 0] * conv.stride[0] - conv.pads[0]
    if target.spread:
        x = np.clip(x[: grid[1]], 0, target.shape[2] - 1) * conv.stride[1] - conv.pads[1]
        columns = (x[:, :, None] + np.arange(kw)).reshape(grid[1], -1)
        across: _Pairs = tuple(((g, k),) for g in range(len(target.offsets)) for k in range(kw))
        rows: _Pairs = tuple(((0, k),) for k in range(kh))
    else:
        first = x[: grid[1], :1] * conv.stride[1] - conv.pads[1]
        across = _overlaps(target.step[1], conv.stride[1], kw)
        columns = first + np.arange(len(across))
        rows = _overlaps(target.step[0], conv.stride[0], kh)
    return _Window(top=top, columns=columns, across=across, rows=rows, target=target)


def _overlaps(block: int, stride: int, kernel: int) -> _Pairs:
    """(position in the output block, tap) pairs of each row, or column, of a block's window."""
    return tuple(
        tuple((i, at - i * stride) for i in range(block) if 0 <= at - i * stride < kernel)
        for at in range((block - 1) * stride + kernel)
    )


def _layout(channels: int, grid: tuple[int, int], places: int) -> Layout:
    return Layout(shape=(channels, *grid), grid=grid, offsets=((0, 0),) * places)


def _own(window: _Window, channels: int) -> Patches:
    """Each output vector's window, cut into as many vectors as it takes."""
    grid, width = window.target.grid, len(window.across)
    total = len(window.rows) * width
    n_parts = -(-total * channels // ROOM)
    size = -(-total // n_parts)
    place = np.arange(n_parts * size).reshape(n_parts, size)
    row, column = np.divmod(np.minimum(place, total - 1), width)
    gy, gx = np.divmod(np.arange(window.target.size), grid[1])
    y = window.top[gy][None, :, None] + row[:, None, :]
    x = window.columns[gx][:, column].transpose(1, 0, 2)
    real = (place < total)[:, None, :]
    passes = tuple(
        Pass(
            placements=tuple(
                placement
                for i, p in enumerate(part.tolist())
                if p < total
                for placement in window.placements(p // width, p % width, i)
            ),
            inputs=number * window.target.size + np.arange(window.target.size),
        )
        for number, part in enumerate(place)
    )
    return Patches(
        layout=_layout(channels, (n_parts * grid[0], grid[1]), size),
        y=np.where(real, y, _NOWHERE).reshape(-1, size),
        x=np.where(real, x, _NOWHERE).reshape(-1, size),
        classes=(WindowClass(outputs=np.arange(window.target.size), passes=passes),),
    )


def _shared(window: _Window, channels: int, n_rows: int) -> Patches:
    """Vectors of `n_rows` image rows; a class for each offset of a window within them."""
    grid, width, height = window.target.grid, len(window.across), len(window.rows)
    start = int(window.top.min())
    band, offset = np.divmod(window.top - start, n_rows)
    n_bands = int((window.top.max() - start + height - 1) // n_rows) + 1
    gy, gx = np.divmod(np.arange(window.target.size), grid[1])
    classes = []
    for o in np.unique(offset).tolist():
        outputs = np.flatnonzero(offset[gy] == o)
        passes = []
        for j in range(-(-(o + height) // n_rows)):
            inside = [(r, j * n_rows + r - o) for r in range(n_rows)]
            placements = [
                placement
                for r, row in inside
                if 0 <= row < height
                for q in range(width)
                for placement in window.placements(row, q, r * width + q)
            ]
            inputs = (band[gy[outputs]] + j) * grid[1] + gx[outputs]
            passes.append(Pass(placements=tuple(placements), inputs=inputs))
        classes.append(WindowClass(outputs=outputs, passes=tuple(passes)))
    by, bx = np.divmod(np.arange(n_bands * grid[1]), grid[1])
    rows = start + by[:, None] * n_rows + np.arange(n_rows)
    y = np.repeat(rows, width, axis=1)
    x = np.tile(window.columns[bx], (1, n_rows))
    return Patches(
        layout=_layout(channels, (n_bands, grid[1]), n_rows * width),
        y=y,
        x=x,
        classes=tuple(classes),
    )
