"""What can be said about a system of chips: every fact's name, type, unit and sane range.

Chips make nodes, nodes make blocks, blocks make racks, racks make a hall. A tier that a system does
not have counts one unit. ``wiring`` says how units are joined.

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
    "HostLink",
    "Node",
    "Ports",
    "PowerOfRack",
    "Published",
    "Tier",
]

_Ns = Annotated[int, Quantity("ns", 0, 10**9)]
_Links = Annotated[int, Quantity("links", 0, 4_096)]
_Watt = Annotated[float | None, Quantity("W", 0.0, 1e9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Chips on one board or in one box, all pairs joined."""

    chips: Annotated[int, Quantity("chips", 1, 256)]
    links_per_pair: _Links
    extra_ns: _Ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """``units`` of the tier below, each joined to ``neighbours`` others by links of all its chips.

    ``extra_ns`` is what a wire takes beyond one inside a node. ``spare_units`` are among ``units``.
    """

    units: Annotated[int, Quantity("units", 1, 4_096)]
    neighbours: Annotated[int, Quantity("units", 0, 4_095)]
    links_per_chip: _Links
    extra_ns: _Ns
    spare_units: Annotated[int, Quantity("units", 0, 4_095)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Links that a chip has in this system, by what they may be used for."""

    local_links: _Links
    global_links: _Links


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLink:
    """The way to a host, for each chip and direction: latency plus bytes over rate."""

    latency_ns: _Ns
    bytes_per_s: Annotated[int, Quantity("B/s", 1, 10**15)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOfRack:
    """Electrical power of a whole rack, with hosts, switches and fans. Nothing is computed from it."""

    max_w: _Watt = None
    typical_w: _Watt = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is in print about the whole; Takt's own figures are held against it."""

    chips: Annotated[int | None, Quantity("chips", 1, 10**6)] = None
    hops: Annotated[int | None, Quantity("hops", 0, 100)] = None
    latency_ns: Annotated[int | None, Quantity("ns", 0, 10**9)] = None
    rack_latency_ns: Annotated[int | None, Quantity("ns", 0, 10**9)] = None
    rack_sram_bytes: Annotated[int | None, Quantity("B", 0, 10**18)] = None
    rack_sram_bytes_per_s: Annotated[int | None, Quantity("B/s", 0, 10**18)] = None
    rack_ops_per_s: Annotated[int | None, Quantity("op/s", 0, 10**21)] = None
    rack_link_bytes_per_s: Annotated[int | None, Quantity("B/s", 0, 10**18)] = None
    rack_dram_bytes: Annotated[int | None, Quantity("B", 0, 10**18)] = None


GROUPS: Mapping[str, type] = MappingProxyType(
    {
        "node": Node,
        "block": Tier,
        "rack": Tier,
        "hall": Tier,
        "ports": Ports,
        "host": HostLink,
        "power": PowerOfRack,
        "published": Published,
    }
)

SPECS: Mapping[str, Spec] = specs_of(GROUPS)
