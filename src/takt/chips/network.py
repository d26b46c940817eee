"""Chips and the wires between them, as a graph: who is joined to whom, and the shortest way.

Knows numbers of chips and links, and delays in cycles. Does not know where the wires come from
(``wiring``), what runs on the chips, nor what a wire carries when.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from takt.errors import UsageError

__all__ = ["Network", "Wire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One direction of a link: what chip ``source_chip`` sends on it, ``target_chip`` receives.

    A vector sent at cycle T can be received from cycle T + 1 + ``extra_cycles`` on; receiving takes
    the chip's ``c2c.link_cycles``.
    """

    source_chip: int
    source_link: int
    target_chip: int
    target_link: int
    extra_cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """``n_chips`` chips, numbered from 0 node by node, ``node_chips`` to a (full) node.

    ``wires`` are in the order of source chip and link. Make one with ``Network.of``.
    """

    n_chips: int
    node_chips: int
    wires: tuple[Wire, ...]
    _leaving: tuple[tuple[Wire, ...], ...] = field(compare=False, repr=False)
    _next: tuple[tuple[int, ...], ...] = field(compare=False, repr=False)

    @classmethod
    def of(cls, n_chips: int, node_chips: int, wires: Iterable[Wire]) -> "Network":
        """The network of these wires, in any order; their chips must be below ``n_chips``."""
        leaving: list[list[Wire]] = [[] for _ in range(n_chips)]
        for wire in wires:
            leaving[wire.source_chip].append(wire)
        for each in leaving:
            each.sort(key=lambda wire: wire.source_link)
        return cls(
            n_chips=n_chips,
            node_chips=node_chips,
            wires=tuple(wire for each in leaving for wire in each),
            _leaving=tuple(map(tuple, leaving)),
            _next=tuple(tuple(sorted({wire.target_chip for wire in each})) for each in leaving),
        )

    def node(self, chip: int) -> int:
        """The node that the chip belongs to."""
        self._check(chip)
        return chip // self.node_chips

    def leaving(self, chip: int) -> tuple[Wire, ...]:
        """The wires that the chip sends on, by link."""
        self._check(chip)
        return self._leaving[chip]

    def neighbours(self, chip: int) -> tuple[int, ...]:
        """The chips that one wire leads to, ascending."""
        self._check(chip)
        return self._next[chip]

    def links(self, a: int, b: int) -> tuple[Wire, ...]:
        """The wires that lead from ``a`` straight to ``b``, by link; none if none do."""
        self._check(a, b)
        return tuple(wire for wire in self._leaving[a] if wire.target_chip == b)

    def hops(self, a: int, b: int) -> int:
        """Wires on a shortest way from ``a`` to ``b``; 0 from a chip to itself."""
        return len(self.route(a, b)) - 1

    def distances(self, a: int) -> tuple[int, ...]:
        """Wires on a shortest way from ``a`` to every chip; -1 where none leads there."""
        self._check(a)
        found = [-1] * self.n_chips
        found[a] = hops = 0
        front = [a]
        while front:
            hops += 1
            after = []
            for chip in front:
                for neighbour in self._next[chip]:
                    if found[neighbour] < 0:
                        found[neighbour] = hops
                        after.append(neighbour)
            front = after
        return tuple(found)

    def node_distances(self, node: int) -> tuple[int, ...]:
        """Wires between nodes on a way from ``node`` to every node with the fewest; -1 if none.

        Wires inside nodes are not counted: a node as one router.
        """
        n_nodes = -(-self.n_chips // self.node_chips)
        joined: list[set[int]] = [set() for _ in range(n_nodes)]
        for chip, following in enumerate(self._next):
            joined[chip // self.node_chips].update(each // self.node_chips for each in following)
        nodes = Network(
            n_chips=n_nodes,
            node_chips=1,
            wires=(),
            _leaving=(),
            _next=tuple(tuple(sorted(each)) for each in joined),
        )
        return nodes.distances(node)

    def route(self, a: int, b: int) -> tuple[int, ...]:
        """The chips on a shortest way from ``a`` to ``b``, both included.

        Of several it is the one whose numbers come first in order, so it is always the same. Raises
        UsageError for a chip that is not there, or that no way leads to.
        """
        self._check(a, b)
        # First found is first in order: fronts are walked, and neighbours listed, in order.
        before = {a: a}
        front = [a]
        while front and b not in before:
            after = []
            for chip in front:
                for neighbour in self._next[chip]:
                    if neighbour not in before:
                        before[neighbour] = chip
                        after.append(neighbour)
            front = after
        if b not in before:
            raise UsageError(f"no way leads from chip {a} to chip {b}")
        way = [b]
        while way[-1] != a:
            way.append(before[way[-1]])
        return tuple(reversed(way))

    def _check(self, *chips: int) -> None:
        for chip in chips:
            if not 0 <= chip < self.n_chips:
                raise UsageError(f"chip {chip} is not in 0..{self.n_chips - 1} of the network")
