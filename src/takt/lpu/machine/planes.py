"""One MXM plane of the reference engine: weight buffer, array, accumulator entries and results under way.

It knows bytes and sums, not when anything may happen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.machine import semantics

_GROUP = 16  # columns of one `lw`


class Plane:
    """State of a plane. `results` holds (is f32, raw sums) by the cycle in which `acc` can take them."""

    __slots__ = ("_half", "array", "buffer", "busy_until", "entries", "results")

    def __init__(self, chip: Chip) -> None:
        shape = (chip.mxm.rows, chip.mxm.cols)
        self.buffer: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        self.array: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        self.entries = np.zeros((chip.mxm.accumulator_entries, chip.mxm.cols), np.uint32)
        self.results: dict[int, tuple[bool, NDArray[np.uint32]]] = {}
        self.busy_until = 0
        # The f16 matrix of this plane and its neighbour, with the two arrays it was made from.
        self._half: tuple[NDArray[np.uint8], NDArray[np.uint8], semantics.HalfMatrix] | None = None

    def load(self, group: int, columns: NDArray[np.uint8]) -> None:
        """Put sixteen streams [16, rows] into sixteen columns of the buffer."""
        self.buffer[:, group * _GROUP : (group + 1) * _GROUP] = columns.T

    def install(self, weights: NDArray[np.uint8]) -> None:
        """Replace the array."""
        self.array = weights

    def dot_i8(self, acts: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """One i8 activation vector → raw i32 sums."""
        return semantics.dot_i8(acts, self.array)

    def dot_f16(self, acts: NDArray[np.uint16], high: Plane) -> NDArray[np.uint32]:
        """One f16 activation vector → raw f32; the low bytes of the weights are here, the high ones in `high`."""
        made = self._half
        if made is None or made[0] is not self.array or made[1] is not high.array:
            matrix = semantics.HalfMatrix(semantics.join16(self.array, high.array))
            made = self._half = (self.array, high.array, matrix)
        return made[2].dot(acts)
