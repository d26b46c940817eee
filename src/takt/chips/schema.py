"""What can be said about a chip: every fact's name, type, unit and sane range.

The table is the groups themselves (``quantities`` says how). Reader, checker, listing and
documentation derive from ``SPECS``.
Ranges only keep out slips and absurd sizes; what is true is for the facts to say.

Knows nothing of files, sources or values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from takt.chips.quantities import Quantity, Spec, specs_of

__all__ = [
    "GROUPS",
    "SPECS",
    "C2c",
    "Core",
    "Energy",
    "Host",
    "Icu",
    "Layout",
    "Mem",
    "Mxm",
    "Power",
    "Silicon",
    "Sxm",
    "Vxm",
]


_Cycles = Annotated[int, Quantity("cycles", 0, 1_000_000)]
_Hops = Annotated[int, Quantity("hops", 0, 1_000)]
_Units = Annotated[int, Quantity("units", 1, 64)]
_Queues = Annotated[int, Quantity("queues", 0, 1_000_000)]
_Joule = Annotated[float, Quantity("J", 0.0, 1e-3)]
_JoulePerByte = Annotated[float, Quantity("J/B", 0.0, 1e-3)]
_Watt = Annotated[float | None, Quantity("W", 0.0, 1e6)]
_Fraction = Annotated[float, Quantity("fraction", 0.0, 1.0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Silicon:
    """The die. No part of the model uses it."""

    process_nm: Annotated[int | None, Quantity("nm", 1, 1_000)] = None
    die_mm2: Annotated[float | None, Quantity("mm2", 1, 100_000)] = None
    transistors: Annotated[int | None, Quantity("transistors", 1, 10**14)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Published electrical power of a whole chip; the model's own is in ``Energy``."""

    max_w: _Watt = None
    tdp_w: _Watt = None
    average_w: _Watt = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """Clock, vector and streams. A stream is one byte a lane, one hop a cycle."""

    clock_hz: Annotated[int, Quantity("Hz", 1_000_000, 10**11)]
    superlanes: Annotated[int, Quantity("superlanes", 1, 256)]
    lanes_per_superlane: Annotated[int, Quantity("lanes", 1, 256)]
    lanes: Annotated[int, Quantity("lanes", 1, 4_096)]
    streams_per_direction: Annotated[int, Quantity("streams", 4, 256)]
    stream_bytes_per_lane: Annotated[int, Quantity("B", 1, 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where slices sit, in hops east or west of the VXM at 0. One hop takes one cycle."""

    slices_per_hop: Annotated[int, Quantity("slices", 1, 64)]
    mem_first_hops: _Hops
    io_crossing_hops: _Hops
    sxm_to_mxm_hops: _Hops


@dataclass(frozen=True, slots=True, kw_only=True)
class Mem:
    """SRAM slices. A word is one byte for every lane, that is one vector."""

    slices_per_hemisphere: Annotated[int, Quantity("slices", 1, 512)]
    banks: Annotated[int, Quantity("banks", 1, 16)]
    words_per_slice: Annotated[int, Quantity("words", 16, 1 << 20)]
    read_cycles: _Cycles
    write_cycles: _Cycles
    gather_extra_cycles: _Cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxm:
    """The vector unit in the middle: ``alus`` per lane, one queue each."""

    alus: Annotated[int, Quantity("ALUs", 1, 64)]
    entry_cycles: _Cycles
    alu_cycles: _Cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Mxm:
    """Matrix planes, half of them at each end. Two neighbours in tandem make one fp16 array."""

    planes: Annotated[int, Quantity("planes", 2, 64)]
    rows: Annotated[int, Quantity("rows", 1, 4_096)]
    cols: Annotated[int, Quantity("columns", 1, 4_096)]
    load_streams: Annotated[int, Quantity("streams", 1, 256)]
    accumulator_entries: Annotated[int, Quantity("vectors", 1, 1 << 20)]
    install_cycles: _Cycles
    activation_to_result_cycles: _Cycles
    result_to_stream_cycles: _Cycles
    fp16_planes_per_array: Annotated[int, Quantity("planes", 2, 2)]
    fp16_interval_cycles: Annotated[int, Quantity("cycles", 1, 64)]
    queues_per_hemisphere: _Queues


@dataclass(frozen=True, slots=True, kw_only=True)
class Sxm:
    """The switches, one at each end: units and delays of each kind of move between lanes."""

    shift_units: _Units
    select_units: _Units
    permute_units: _Units
    distribute_units: _Units
    transpose_units: _Units
    rotate_units: _Units
    shift_cycles: _Cycles
    select_cycles: _Cycles
    permute_cycles: _Cycles
    distribute_cycles: _Cycles
    transpose_cycles: _Cycles
    rotate_cycles: _Cycles

    @property
    def units(self) -> int:
        """Units, and so queues, of one hemisphere."""
        return (
            self.shift_units
            + self.select_units
            + self.permute_units
            + self.distribute_units
            + self.transpose_units
            + self.rotate_units
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Icu:
    """Instruction supply: queues, their refill, barrier and stagger."""

    queues: _Queues
    instruction_bytes: Annotated[int, Quantity("B", 1, 1_024)]
    queue_depth_instructions: Annotated[int, Quantity("instructions", 1, 1 << 20)]
    fetch_bytes: Annotated[int, Quantity("B", 1, 1 << 20)]
    fetch_latency_cycles: _Cycles
    barrier_cycles: _Cycles
    nop_max_cycles: Annotated[int, Quantity("cycles", 1, 1 << 32)]
    stagger_cycles_per_superlane: _Cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class C2c:
    """Links to other chips: their rate, their delay, and what waits at their ends."""

    links: Annotated[int, Quantity("links", 0, 4_096)]
    lanes_per_link: Annotated[int, Quantity("lanes", 1, 64)]
    lane_bits_per_s: Annotated[int, Quantity("bit/s", 1, 10**13)]
    overhead_fraction: _Fraction
    link_cycles: _Cycles
    link_margin_cycles: _Cycles
    receive_buffer_vectors: Annotated[int, Quantity("vectors", 1, 1 << 20)]
    epoch_cycles: _Cycles
    queues_per_hemisphere: _Queues


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The way to the host, each direction: latency plus bytes over rate."""

    latency_ns: Annotated[int, Quantity("ns", 0, 10**9)]
    bytes_per_s: Annotated[int, Quantity("B/s", 1, 10**15)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What activity costs. Idle power runs always; the rest is per event.

    The two fractions tie it to the published powers: how much of what everything busy would add to
    the idle power (`Chip.busy_w`) is drawn at the thermal design power, and on average.
    """

    idle_w: Annotated[float, Quantity("W", 0.0, 1e6)]
    busy_at_tdp: _Fraction
    busy_at_average: _Fraction
    int8_mac_j: _Joule
    fp16_mac_j: _Joule
    sram_read_j_per_byte: _JoulePerByte
    sram_write_j_per_byte: _JoulePerByte
    stream_hop_j_per_byte: _JoulePerByte
    vxm_op_j_per_lane: _Joule
    sxm_j_per_byte: _JoulePerByte
    link_j_per_byte: _JoulePerByte
    instruction_j: _Joule


GROUPS: Mapping[str, type] = MappingProxyType(
    {
        "silicon": Silicon,
        "power": Power,
        "core": Core,
        "layout": Layout,
        "mem": Mem,
        "vxm": Vxm,
        "mxm": Mxm,
        "sxm": Sxm,
        "icu": Icu,
        "c2c": C2c,
        "host": Host,
        "energy": Energy,
    }
)


SPECS: Mapping[str, Spec] = specs_of(GROUPS)
