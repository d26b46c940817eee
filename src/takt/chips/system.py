"""A system of chips as the rest of Takt sees it: its counts, its networks, and what follows.

``system.network(n)`` is the wiring of its first n chips. Inner tiers come built, so their cabling is
that of the full tier; the outermost one is cabled for as many units as there are.

Knows nothing of files (``read_system``) nor of programs (the ``lpu`` room).
"""

import heapq
from dataclasses import dataclass, field

from takt.chips.chip import Chip, Fact
from takt.chips.network import Network
from takt.chips.system_schema import HostLink, Node, Ports, PowerOfRack, Published, Tier
from takt.chips.wiring import NodeWiring, TierWiring, node_links, wires_of
from takt.errors import UsageError, did_you_mean
from takt.units import cycles_to_ns, ns_to_cycles

__all__ = ["Reach", "System"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Within ``latency_ns`` a vector gets from one chip to ``chips`` chips (itself among them).

    The farthest of these take ``hops`` wires. ``sram_bytes`` is all SRAM of these chips.
    """

    latency_ns: int
    hops: int
    chips: int
    sram_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Up to ``max_chips`` chips of one kind, in nodes, blocks, racks and a hall."""

    id: str
    name: str
    chip: Chip
    node: Node
    block: Tier
    rack: Tier
    hall: Tier
    ports: Ports
    host: HostLink
    power: PowerOfRack
    published: Published
    facts: tuple[Fact, ...] = field(compare=False, repr=False)
    sources: tuple[tuple[str, str], ...] = field(compare=False, repr=False)

    def fact(self, key: str) -> Fact:
        """The row behind ``group.name``. Raises UsageError for a fact that a system does not have."""
        for fact in self.facts:
            if fact.key == key:
                return fact
        hint = did_you_mean(key, [fact.key for fact in self.facts])
        raise UsageError(f"system {self.id} has no fact '{key}'", hint=hint)

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers above the node, from the inside out."""
        return (self.block, self.rack, self.hall)

    @property
    def rack_chips(self) -> int:
        """Chips of a full rack, spares included."""
        return self.node.chips * self.block.units * self.rack.units

    @property
    def max_chips(self) -> int:
        """Chips of the full system, spares included."""
        return self.rack_chips * self.hall.units

    @property
    def sram_bytes(self) -> int:
        """All SRAM of the full system."""
        return self.max_chips * self.chip.sram_bytes

    @property
    def link_bytes_per_s(self) -> int:
        """Bytes a second that one link carries one way, protocol included."""
        return self.chip.c2c.lanes_per_link * self.chip.c2c.lane_bits_per_s // 8

    def network(self, n_chips: int | None = None) -> Network:
        """The first ``n_chips`` chips (default: all) and the wires between them.

        Raises UsageError for fewer than one chip, and for more than the system can have.
        """
        count = self.max_chips if n_chips is None else n_chips
        if not 1 <= count <= self.max_chips:
            raise UsageError(
                f"{self.id} has no {count:,} chips",
                hint=f"it takes from 1 to {self.max_chips:,}",
            )
        node = NodeWiring(
            chips=self.node.chips,
            links_per_pair=self.node.links_per_pair,
            extra_cycles=self._extra_cycles(self.node.extra_ns),
        )
        return Network.of(count, self.node.chips, wires_of(count, node, self._tiers(count)))

    def reach(self, network: Network, source: int = 0) -> tuple[Reach, ...]:
        """How much SRAM a vector reaches from chip ``source``, and when: one row for each latency.

        ``network`` is one of this system's. A wire takes 1 + its extra cycles + ``c2c.link_cycles``.
        A chip on the way passes a vector on from the stream that it arrives on, which takes no time.
        """
        rows: list[Reach] = []
        for count, (cycles, hops) in enumerate(_arrivals(network, self.chip, source), start=1):
            row = Reach(
                latency_ns=cycles_to_ns(cycles, self.chip.clock_hz),
                hops=hops,
                chips=count,
                sram_bytes=count * self.chip.sram_bytes,
            )
            if rows and rows[-1].latency_ns == row.latency_ns:
                rows.pop()
            rows.append(row)
        return tuple(rows)

    def _extra_cycles(self, extra_ns: int) -> int:
        return self.chip.c2c.link_margin_cycles + ns_to_cycles(extra_ns, self.chip.clock_hz)

    def _tiers(self, n_chips: int) -> list[TierWiring]:
        """How the tiers that the system has are wired, when it has ``n_chips``."""
        outermost = max((i for i, tier in enumerate(self.tiers) if tier.units > 1), default=-1)
        first_link = node_links(self.node.chips, self.node.links_per_pair)
        unit_chips = self.node.chips
        wirings = []
        for i, tier in enumerate(self.tiers):
            wiring = TierWiring(
                units=-(-n_chips // unit_chips) if i == outermost else tier.units,
                unit_chips=unit_chips,
                neighbours=tier.neighbours,
                first_link=first_link,
                links_per_chip=tier.links_per_chip,
                extra_cycles=self._extra_cycles(tier.extra_ns),
            )
            if tier.units > 1:
                wirings.append(wiring)
            first_link += tier.links_per_chip
            unit_chips *= tier.units
        return wirings


def _arrivals(network: Network, chip: Chip, source: int) -> list[tuple[int, int]]:
    """(cycles, hops) of the earliest arrival at every chip that can be reached, in order."""
    found: dict[int, tuple[int, int]] = {}
    queue = [(0, 0, source)]
    while queue:
        cycles, hops, place = heapq.heappop(queue)
        if place in found:
            continue
        found[place] = (cycles, hops)
        for wire in network.leaving(place):
            if wire.target_chip not in found:
                arrival = cycles + 1 + wire.extra_cycles + chip.c2c.link_cycles
                heapq.heappush(queue, (arrival, hops + 1, wire.target_chip))
    return sorted(found.values())
