"""The chip as this compiler uses it: arrays, chains, memory sets, stream numbers and delays.

An *array* is what multiplies: a plane for int8, a tandem pair of planes for f16. Each array has a *chain*: ALUs in a row
that turn its sums into a vector of the next tensor. Everything has its own streams and its own slices, so that work at different
cycles can never meet. By distance from the VXM each side holds: four slices of constants, three *sets* of eight for
activations, sixteen for weights. A set keeps a vector once for every array that may read it.
"""

from __future__ import annotations

from dataclasses import dataclass

from takt.chips import Chip
from takt.errors import UnsupportedError
from takt.lpu.isa.program import queues
from takt.lpu.isa.table import EAST, WEST, Unit, stream_ref

LANES = 320
ALUS_OF_CHAIN = 4
_CONSTANT_SLICES = 4
_SET_SLICES = 8
_N_SETS = 3
_WEIGHT_STREAMS = 16

# Streams of either direction. Outward: activations, results of chains, weights. Inward: sums, constants, other operands.
_ACTIVATION, _RESULT, _SUM, _CONSTANT, _OPERAND, _WEIGHT = 0, 4, 8, 16, 20, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One MEM slice: its queue, its side (0 west, 1 east) and its hops from the VXM."""

    queue: int
    side: int
    hops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How densely a program may be packed: cycles between passes, and banks that a tensor is spread over.

    Passes every other cycle leave its queues time to fetch text, whatever they do; one bank means fewer pieces.
    """

    spacing: int = 1
    banks: int = 2


PACES = (Pace(), Pace(banks=1), Pace(spacing=2, banks=1), Pace(spacing=2), Pace(spacing=4))
"""From fast to safe."""


class Floor:
    """Where things are, for one chip and one element type. Immutable by convention."""

    def __init__(self, chip: Chip, *, is_f16: bool, pace: Pace) -> None:
        wanted = (_CONSTANT_SLICES + _N_SETS * _SET_SLICES + _WEIGHT_STREAMS, 4, 16, LANES)
        found = (chip.mem.slices_per_hemisphere, chip.mxm.planes, chip.vxm.alus, chip.lanes)
        if found[0] < wanted[0] or found[1:] != wanted[1:] or chip.mxm.rows != LANES:
            raise UnsupportedError(
                f"images need {wanted[0]} slices a side, {wanted[1]} planes, {wanted[2]} ALUs and {LANES} lanes; {chip.id} differs"
            )
        self.chip = chip
        self.is_f16 = is_f16
        self.n_arrays = 2 if is_f16 else 4
        self.element_bytes = 2 if is_f16 else 1
        self.pace = pace
        self.pass_cycles = chip.mxm.fp16_interval_cycles if is_f16 else 1
        self.interval_cycles = self.pass_cycles * pace.spacing
        table = queues(chip)
        self.alu_queue = [q.number for q in table if q.unit is Unit.VXM]
        self.mxm_queue = {(q.index, q.unit): q.number for q in table if q.unit in (Unit.MXM_W, Unit.MXM_A, Unit.MXM_C)}  # fmt: skip
        self._mem = {(q.side, q.index): q.number for q in table if q.unit is Unit.MEM}
        self.sum_cycles = chip.mxm.activation_to_result_cycles
        self.to_chain_cycles = self.sum_cycles + chip.mxm.result_to_stream_cycles + chip.mxm_hops

    # Arrays and chains

    def plane(self, array: int) -> int:
        """The (even, for f16) plane of an array."""
        return array * 4 // self.n_arrays

    def side(self, array: int) -> int:
        """0 west, 1 east; also the side of the array's chain."""
        return array * 2 // self.n_arrays

    def lane_of_side(self, array: int) -> int:
        """Which of its side's arrays it is."""
        return array % (self.n_arrays // 2)

    # Slices

    def _slice(self, side: int, index: int) -> Slice:
        return Slice(queue=self._mem[side, index], side=side, hops=self.chip.mem_hops(index))

    def constant_slice(self, side: int, byte: int) -> Slice:
        """Bytes 0 and 1: factors, 2 and 3: summands."""
        return self._slice(side, byte)

    def set_slice(self, set_: int, chain: int, slot: int) -> Slice:
        """A slice of a memory set that the chain writes; `slot` = copy · bytes of an element + byte."""
        width = _SET_SLICES * 2 // self.n_arrays
        first = _CONSTANT_SLICES + set_ * _SET_SLICES + self.lane_of_side(chain) * width
        return self._slice(self.side(chain), first + slot)

    def weight_slice(self, side: int, stream: int) -> Slice:
        """The slice that feeds one of the sixteen weight streams."""
        return self._slice(side, _CONSTANT_SLICES + _N_SETS * _SET_SLICES + stream)

    def set_slices(self) -> list[Slice]:
        """All slices of activations."""
        first = _CONSTANT_SLICES
        return [
            self._slice(side, first + i) for side in (0, 1) for i in range(_N_SETS * _SET_SLICES)
        ]

    # Streams: outward ones run to the side they serve, inward ones from the side they come from

    def activation_stream(self, array: int) -> int:
        """To the array, from any slice."""
        return stream_ref(
            _ACTIVATION + 2 * self.lane_of_side(array), self._outward(self.side(array))
        )

    def result_stream(self, chain: int) -> int:
        """From the chain to its own side."""
        return stream_ref(_RESULT + 2 * self.lane_of_side(chain), self._outward(self.side(chain)))

    def sum_stream(self, array: int) -> int:
        """Four streams from the array to the VXM."""
        return stream_ref(_SUM + 4 * self.lane_of_side(array), self._inward(self.side(array)))

    def constant_stream(self, side: int, byte: int) -> int:
        """From a slice of constants to the VXM."""
        return stream_ref(_CONSTANT + byte, self._inward(side))

    def operand_stream(self, chain: int, operand: int, side: int) -> int:
        """One of up to three other operands of a chain, from a slice of that side."""
        per_chain = 12 // self.n_arrays
        return stream_ref(
            _OPERAND + per_chain * chain + operand * self.element_bytes, self._inward(side)
        )

    def weight_stream(self, side: int) -> int:
        """The first of sixteen."""
        return stream_ref(_WEIGHT, self._outward(side))

    @staticmethod
    def _outward(side: int) -> int:
        return EAST if side else WEST

    @staticmethod
    def _inward(side: int) -> int:
        return WEST if side else EAST

    # Delays

    def read_to_array_cycles(self, slice_: Slice, side: int) -> int:
        """From the dispatch of a read until the vector is at the arrays of a side."""
        way = (
            self.chip.mxm_hops - slice_.hops
            if side == slice_.side
            else self.chip.mxm_hops + slice_.hops
        )
        return self.chip.mem.read_cycles + way

    def read_to_vxm_cycles(self, slice_: Slice) -> int:
        """From the dispatch of a read until the vector is at the VXM."""
        return self.chip.mem.read_cycles + slice_.hops
