"""A chip as the rest of Takt sees it: typed numbers, each with the fact behind it.

``chip.mem.read_cycles`` is the number, ``chip.fact("mem.read_cycles")`` is the row with source.
What follows from the facts by arithmetic is a property here, so that a changed fact changes it too.

Knows nothing of files (``read``) nor of instructions (the ``lpu`` room).
"""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from math import ceil

from takt.chips.schema import (
    GROUPS,
    C2c,
    Core,
    Energy,
    Host,
    Icu,
    Layout,
    Mem,
    Mxm,
    Power,
    Silicon,
    Sxm,
    Vxm,
)
from takt.errors import UsageError, did_you_mean

__all__ = ["Chip", "Fact", "Kind", "Number"]

Number = int | float


class Kind(StrEnum):
    """How a fact is known."""

    PUBLISHED = "published"
    MEASURED = "measured"
    DERIVED = "derived"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One row: a value, how it is known, and from where.

    ``value`` is None where nothing is published. ``source`` holds keys of the file's sources, or names the file of an override. ``date`` is ISO,
    as precise as known (``2020``, ``2020-05``, ``2020-05-30``), or empty. ``history`` holds the
    earlier rows of the same fact, oldest first.
    """

    key: str
    value: Number | None
    unit: str
    kind: Kind
    source: str
    date: str = ""
    note: str = ""
    history: "tuple[Fact, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """An LPU-like chip. Two chips with equal numbers are equal, whatever their sources say."""

    id: str
    name: str
    vendor: str
    silicon: Silicon
    power: Power
    core: Core
    layout: Layout
    mem: Mem
    vxm: Vxm
    mxm: Mxm
    sxm: Sxm
    icu: Icu
    c2c: C2c
    host: Host
    energy: Energy
    facts: tuple[Fact, ...] = field(compare=False, repr=False)
    sources: tuple[tuple[str, str], ...] = field(compare=False, repr=False)

    def fact(self, key: str) -> Fact:
        """The row behind ``group.name``. Raises UsageError for a fact the chip does not have."""
        for fact in self.facts:
            if fact.key == key:
                return fact
        hint = did_you_mean(key, [fact.key for fact in self.facts])
        raise UsageError(f"chip {self.id} has no fact '{key}'", hint=hint)

    @property
    def fingerprint(self) -> str:
        """64 hex digits over every value (no name, no source): equal chips, equal digits."""
        lines = [f"{group} {getattr(self, group)!r}\n" for group in GROUPS]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    # Vectors and streams

    @property
    def clock_hz(self) -> int:
        """Cycles a second."""
        return self.core.clock_hz

    @property
    def lanes(self) -> int:
        """Lanes of the whole chip: the length of a vector."""
        return self.core.lanes

    @property
    def vector_bytes(self) -> int:
        """Bytes of one stream value over all lanes."""
        return self.core.lanes * self.core.stream_bytes_per_lane

    @property
    def streams(self) -> int:
        """Streams at any cut, both directions."""
        return 2 * self.core.streams_per_direction

    @property
    def stagger_cycles(self) -> int:
        """Cycles an instruction needs from the southmost superlane to past the northmost."""
        return self.core.superlanes * self.icu.stagger_cycles_per_superlane

    @property
    def stream_bytes_per_cycle(self) -> int:
        """Bytes that cross one cut of the chip each cycle."""
        return self.streams * self.vector_bytes

    # Memory

    @property
    def mem_slices(self) -> int:
        """SRAM slices of both hemispheres."""
        return 2 * self.mem.slices_per_hemisphere

    @property
    def words_per_bank(self) -> int:
        """Words of one bank of one slice."""
        return self.mem.words_per_slice // self.mem.banks

    @property
    def sram_bytes(self) -> int:
        """All SRAM of the chip."""
        return self.mem_slices * self.mem.words_per_slice * self.vector_bytes

    @property
    def sram_bytes_per_cycle(self) -> int:
        """One read and one write in every slice each cycle."""
        return self.mem_slices * 2 * self.vector_bytes

    @property
    def fetch_bytes_per_cycle(self) -> int:
        """Instruction text that all queues use up when none of them waits."""
        return self.icu.queues * self.icu.instruction_bytes

    # Places, in hops from the VXM; the sign of the hemisphere is the caller's

    @property
    def mem_groups(self) -> int:
        """Groups of slices in one hemisphere that share a stream register."""
        return self.mem.slices_per_hemisphere // self.layout.slices_per_hop

    def mem_hops(self, slice_index: int) -> int:
        """Hops from the VXM to slice ``slice_index`` of a hemisphere (0 is the innermost)."""
        if not 0 <= slice_index < self.mem.slices_per_hemisphere:
            last = self.mem.slices_per_hemisphere - 1
            raise UsageError(f"slice {slice_index} is not in 0..{last} of chip {self.id}")
        return self.layout.mem_first_hops + slice_index // self.layout.slices_per_hop

    @property
    def sxm_hops(self) -> int:
        """Hops from the VXM to either SXM."""
        return self.layout.mem_first_hops + self.mem_groups - 1 + self.layout.io_crossing_hops

    @property
    def mxm_hops(self) -> int:
        """Hops from the VXM to either pair of planes, where streams end."""
        return self.sxm_hops + self.layout.sxm_to_mxm_hops

    # Links

    @property
    def c2c_vector_cycles(self) -> int:
        """Cycles for which one vector, with its share of the protocol, occupies a link's direction."""
        bits = self.lanes * 8 * (1 + Fraction(str(self.c2c.overhead_fraction)))
        return ceil(bits * self.clock_hz / (self.c2c.lanes_per_link * self.c2c.lane_bits_per_s))

    @property
    def launch_cycles(self) -> int:
        """Cycles from the end of one program to the start of the next on a chip, at the least.

        Derived: a barrier stops all queues, the first fetch takes its latency, and every queue's
        buffer is filled. Texts lie spread over all MEM slices, each of which delivers one vector a
        cycle, and a fetch is two vectors.
        """
        words_per_fetch = self.icu.fetch_bytes // self.icu.instruction_bytes
        fetches = self.icu.queues * -(-self.icu.queue_depth_instructions // words_per_fetch)
        fill_cycles = -(-fetches * 2 // self.mem_slices)
        return self.icu.barrier_cycles + self.icu.fetch_latency_cycles + fill_cycles

    # Matrices

    @property
    def weight_load_cycles(self) -> int:
        """Cycles in which the weights of one plane pass into its buffer."""
        per_cycle = self.mxm.load_streams * self.vector_bytes
        return -(-self.mxm.rows * self.mxm.cols // per_cycle)

    @property
    def int8_macs_per_cycle(self) -> int:
        """Multiply-accumulates of all planes in int8, each cycle."""
        return self.mxm.planes * self.mxm.rows * self.mxm.cols

    @property
    def fp16_macs_per_cycle(self) -> int:
        """The same in fp16: fewer arrays, a new vector only every few cycles."""
        arrays = self.mxm.planes // self.mxm.fp16_planes_per_array
        return arrays * self.mxm.rows * self.mxm.cols // self.mxm.fp16_interval_cycles

    @property
    def int8_ops_per_s(self) -> int:
        """Peak of the planes in int8; a multiply-accumulate counts as two."""
        return 2 * self.int8_macs_per_cycle * self.clock_hz

    @property
    def fp16_ops_per_s(self) -> int:
        """Peak of the planes in fp16; a multiply-accumulate counts as two."""
        return 2 * self.fp16_macs_per_cycle * self.clock_hz

    # Power

    @property
    def busy_w(self) -> float:
        """Watts beyond idle when everything is busy in every cycle.

        All int8 cells, a read and a write in every slice, a value in every stream register, all
        ALUs, both SXMs at the rate of a cut, all links sending, and an instruction in every queue.
        """
        energy = self.energy
        sram = energy.sram_read_j_per_byte + energy.sram_write_j_per_byte
        stream = 2 * self.mxm_hops * energy.stream_hop_j_per_byte + energy.sxm_j_per_byte
        j_per_cycle = (
            self.int8_macs_per_cycle * energy.int8_mac_j
            + self.mem_slices * self.vector_bytes * sram
            + self.stream_bytes_per_cycle * stream
            + self.vxm.alus * self.lanes * energy.vxm_op_j_per_lane
            + self.c2c.links * self.vector_bytes / self.c2c_vector_cycles * energy.link_j_per_byte
            + self.icu.queues * energy.instruction_j
        )
        return j_per_cycle * self.clock_hz

    def power_w(self, busy_fraction: float) -> float:
        """Watts at that fraction (0 to 1) of ``busy_w``: what the energy facts make of it."""
        return self.energy.idle_w + busy_fraction * self.busy_w
