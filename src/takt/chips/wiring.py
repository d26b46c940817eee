"""From the counts of a system to its wires: which link of which chip leads where.

Inside a node all pairs are joined, and the links between chips i and j carry the numbers of i ^ j on
both ends, so that one program serves every chip of the node.

The tiers above (nodes of a block, blocks of a rack, racks of a hall) are rings with chords: a chip's
links of a tier come in pairs, and pair by pair one leads d units forward, the other d units back, to
the chip in the same place. The offsets d are dealt out evenly over the pairs of a unit, so that every
unit is joined to all its neighbours, by as many links as there are.

Knows counts only. Does not know facts, sources or chips.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from takt.chips.network import Wire

__all__ = ["NodeWiring", "TierWiring", "node_links", "offsets_of_pairs", "wires_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWiring:
    """``chips`` chips, every two joined by ``links_per_pair`` links from link 0 on."""

    chips: int
    links_per_pair: int
    extra_cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TierWiring:
    """Rings of ``units`` units of ``unit_chips`` chips, each unit joined to ``neighbours`` others.

    Every chip spends the ``links_per_chip`` links from ``first_link`` on.
    """

    units: int
    unit_chips: int
    neighbours: int
    first_link: int
    links_per_chip: int
    extra_cycles: int


def node_links(chips: int, links_per_pair: int) -> int:
    """Links that a chip needs inside a node: numbers run up to the largest i ^ j."""
    return links_per_pair * ((1 << (chips - 1).bit_length()) - 1)


def offsets_of_pairs(units: int, neighbours: int, n_pairs: int) -> tuple[int, ...]:
    """The offset (1 to units // 2) that each of a unit's ``n_pairs`` pairs of links goes to.

    An offset of half the way round meets the same unit forward and back, so it gets half as many
    pairs; all others get equally many, give or take one, and each stretch of pairs has all it can.
    """
    weights = dict.fromkeys(range(1, (min(neighbours, units - 1) + 1) // 2 + 1), 2)
    if units % 2 == 0 and units // 2 in weights:
        weights[units // 2] = 1
    credit = dict.fromkeys(weights, 0)
    dealt = []
    for _ in range(n_pairs if weights else 0):
        for offset, weight in weights.items():
            credit[offset] += weight
        best = max(credit, key=lambda offset: (credit[offset], -offset))
        credit[best] -= sum(weights.values())
        dealt.append(best)
    return tuple(dealt)


def wires_of(n_chips: int, node: NodeWiring, tiers: Sequence[TierWiring]) -> Iterator[Wire]:
    """Every wire between the first ``n_chips`` chips, in no particular order."""
    yield from _wires_of_nodes(n_chips, node)
    for tier in tiers:
        yield from _wires_of_tier(n_chips, tier)


def _wires_of_nodes(n_chips: int, node: NodeWiring) -> Iterator[Wire]:
    for source in range(n_chips):
        first = source - source % node.chips
        for target in range(first, min(first + node.chips, n_chips)):
            if target == source:
                continue
            low = ((source - first) ^ (target - first)) - 1
            for link in range(low * node.links_per_pair, (low + 1) * node.links_per_pair):
                yield Wire(
                    source_chip=source,
                    source_link=link,
                    target_chip=target,
                    target_link=link,
                    extra_cycles=node.extra_cycles,
                )


def _wires_of_tier(n_chips: int, tier: TierWiring) -> Iterator[Wire]:
    pairs_per_chip = tier.links_per_chip // 2
    offsets = offsets_of_pairs(tier.units, tier.neighbours, tier.unit_chips * pairs_per_chip)
    ring_chips = tier.units * tier.unit_chips
    for chip in range(n_chips if offsets else 0):
        ring, place = chip - chip % ring_chips, chip % tier.unit_chips
        unit = chip % ring_chips // tier.unit_chips
        for pair in range(pairs_per_chip):
            offset = offsets[place * pairs_per_chip + pair]
            target = ring + (unit + offset) % tier.units * tier.unit_chips + place
            forward = tier.first_link + 2 * pair
            if target < n_chips:
                yield from _both_ways(chip, forward, target, forward + 1, tier.extra_cycles)


def _both_ways(a: int, link_a: int, b: int, link_b: int, extra_cycles: int) -> Iterator[Wire]:
    for source, source_link, target, target_link in (
        (a, link_a, b, link_b),
        (b, link_b, a, link_a),
    ):
        yield Wire(
            source_chip=source,
            source_link=source_link,
            target_chip=target,
            target_link=target_link,
            extra_cycles=extra_cycles,
        )
