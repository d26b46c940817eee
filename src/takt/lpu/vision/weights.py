"""Tiles: the contents of the arrays, where they lie in SRAM, and the lane constants beside them.

A tile's columns lie over sixteen slices of the side whose arrays it serves, so that sixteen streams bring sixteen columns
at once. It knows what a tile holds, not when it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import CapacityError
from takt.lpu.vision.floor import LANES, Floor
from takt.lpu.vision.graph import Conv
from takt.lpu.vision.layouts import Layout
from takt.lpu.vision.numbers import Numbers, bias_rows, constant_lanes, lane_constants
from takt.lpu.vision.windows import Placement

_COLUMNS = 16

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileKey:
    """Which tile of a layer: output chunk, input chunk, placements, and whether the bias is in it."""

    n: int
    k: int
    placements: tuple[Placement, ...]
    has_bias: bool


class TileMaker:
    """Tiles and constants of one convolution."""

    def __init__(self, conv: Conv, numbers: Numbers, source: Layout, target: Layout) -> None:
        self.numbers, self.source, self.target = numbers, source, target
        self.n_columns = len(target.offsets) * target.width
        self.is_residual = bool(conv.residual)

    def tile(self, key: TileKey) -> NDArray[np.generic]:
        """[320, columns], i8 or f16."""
        rows, columns = self.source.channels(key.k), self.target.channels(key.n)
        tile = np.zeros((LANES, self.n_columns), self.numbers.weight.dtype)
        for gi, go, ky, kx in key.placements:
            block = self.numbers.weight[
                columns.start : columns.stop, rows.start : rows.stop, ky, kx
            ]
            r, c = gi * self.source.width, go * self.target.width
            tile[r : r + len(rows), c : c + len(columns)] = block.T
        if key.has_bias and self.is_residual and tile.dtype == np.int8:
            first, one = constant_lanes(self.source)
            bias = bias_rows(self.numbers.bias[columns.start : columns.stop], one - first)
            for go in range(len(self.target.offsets)):
                c = go * self.target.width
                tile[first : one + 1, c : c + len(columns)] = bias
        return tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A tile in SRAM: its word in each weight slice, and how many groups of sixteen columns (for each byte) it has."""

    word: int
    groups: int


class Store:
    """SRAM contents by slice: tiles, constants, vectors outside the image."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.words: list[tuple[int, int, Bytes]] = []
        self.weight_end = [0, 0]
        self.constant_end = 0

    def put(self, queue: int, word: int, rows: NDArray[np.generic]) -> None:
        """Rows of 320 bytes from `word` on. CapacityError beyond the slice."""
        data = np.ascontiguousarray(rows).view(np.uint8).reshape(-1, LANES)
        available = self.floor.chip.mem.words_per_slice
        if word + len(data) > available:
            raise CapacityError(
                "the network does not fit",
                resource="words of a slice",
                needed=word + len(data),
                available=available,
                stage="lay out",
                hint="try int8 weights" if self.floor.is_f16 else None,
            )
        self.words.append((queue, word, data))

    def put_tile(self, side: int, tile: NDArray[np.generic]) -> Loaded:
        """The tile's bytes into the weight slices of a side; low bytes first for f16."""
        groups = -(-tile.shape[1] // _COLUMNS)
        padded = np.zeros((LANES, groups * _COLUMNS), tile.dtype)
        padded[:, : tile.shape[1]] = tile
        size = tile.dtype.itemsize
        # [lane, group, stream, byte] → [stream, byte, group, lane]
        parts = padded.view(np.uint8).reshape(LANES, groups, _COLUMNS, size).transpose(2, 3, 1, 0)
        word = self.weight_end[side]
        for stream in range(_COLUMNS):
            slice_ = self.floor.weight_slice(side, stream)
            self.put(slice_.queue, word, parts[stream].reshape(-1, LANES))
        self.weight_end[side] += groups * size
        return Loaded(word=word, groups=groups)

    def put_constants(self, maker: TileMaker, chunk: int, zero: int) -> int:
        """Factors and summands of an output chunk on both sides; returns their word."""
        pair = lane_constants(
            maker.numbers,
            maker.target,
            chunk,
            zero,
            is_f16=self.floor.is_f16,
            is_residual=maker.is_residual and not self.floor.is_f16,
        )
        word, self.constant_end = self.constant_end, self.constant_end + 1
        for i, values in enumerate(pair):
            planes = values.view(np.uint8).reshape(LANES, 2).T
            for byte in (0, 1):
                for side in (0, 1):
                    slice_ = self.floor.constant_slice(side, 2 * i + byte)
                    self.put(slice_.queue, word, planes[byte])
        return word
