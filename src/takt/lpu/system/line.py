"""Groups of chips in a line, each wired to the next."""

from __future__ import annotations

from takt.chips import Network
from takt.errors import CapacityError


def groups_in_line(network: Network, n: int, count: int) -> tuple[tuple[int, ...], ...]:
    """`count` groups of `n` neighbouring chips of a node, in an order in which each is wired to the next.

    Raises CapacityError if the network has no such line.
    """
    per_node = network.node_chips // n
    nodes = _line(network, -(-count // per_node))
    groups = [
        tuple(range(first, first + n))
        for node in nodes
        for first in range(
            node * network.node_chips, node * network.node_chips + per_node * n, n
        )
        if first + n <= network.n_chips
    ]
    if len(groups) < count:
        raise CapacityError(
            f"{network.n_chips} chips make {len(groups)} groups of {n}; {count} are needed"
        )
    return tuple(groups[:count])


def _line(network: Network, count: int) -> list[int]:
    """A line of `count` nodes, found by going on to the neighbour that has the fewest ways on itself."""
    n_nodes = -(-network.n_chips // network.node_chips)
    joined: list[dict[int, int]] = [{} for _ in range(n_nodes)]
    for wire in network.wires:
        a, b = network.node(wire.source_chip), network.node(wire.target_chip)
        if a != b:
            joined[a][b] = joined[a].get(b, 0) + 1
    line: list[int] = []
    used: set[int] = set()
    budget = 20_000

    def extend(node: int) -> bool:
        nonlocal budget
        line.append(node)
        used.add(node)
        if len(line) == count:
            return True
        free = [b for b in joined[node] if b not in used]
        ways_on = {b: sum(c not in used for c in joined[b]) for b in free}
        # Numbers count up where nothing speaks against it, which keeps neighbouring pairs wired alike.
        for b in sorted(free, key=lambda b: (ways_on[b] == 0, b != node + 1, ways_on[b], b)):
            budget -= 1
            if budget > 0 and extend(b):
                return True
        line.pop()
        used.discard(node)
        return False

    if count > n_nodes or not extend(0):
        raise CapacityError(f"the system has no line of {count} nodes, each wired to the next")
    return line
