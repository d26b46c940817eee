"""Groups of chips in a line, each wired to the next."""

from __future__ import annotations

from takt.chips import Network
from takt.errors import CapacityError

_BUDGET = 50_000  # groups looked at before a search is given up

Group = tuple[int, ...]


def groups_in_line(network: Network, n: int, count: int) -> tuple[Group, ...]:
    """`count` groups of `n` neighbouring chips of a node, in an order in which each is wired to the next.

    Raises CapacityError if the network has no such line.
    """
    groups = [
        tuple(range(first, first + n))
        for first in range(0, network.n_chips - n + 1, n)
        if first % network.node_chips + n <= network.node_chips
    ]
    if len(groups) < count:
        raise CapacityError(
            f"{network.n_chips} chips make {len(groups)} groups of {n}; {count} are needed"
        )
    line = _Search(network, groups, count).run()
    if line is None:
        raise CapacityError(
            f"the system has no line of {count} groups of {n}, each wired to the next"
        )
    return tuple(groups[i] for i in line)


class _Search:
    """Depth first: through all groups of a node, then on to a node that is wired to the last of them."""

    def __init__(self, network: Network, groups: list[Group], count: int) -> None:
        place = {chip: i for i, group in enumerate(groups) for chip in group}
        self._count = count
        self._node = [network.node(group[0]) for group in groups]
        self._joined: list[set[int]] = [set() for _ in groups]
        for wire in network.wires:
            a, b = place.get(wire.source_chip, -1), place.get(wire.target_chip, -1)
            if a >= 0 and b >= 0 and a != b:
                self._joined[a].add(b)
        self._around: dict[int, set[int]] = {node: set() for node in self._node}
        for a, others in enumerate(self._joined):
            self._around[self._node[a]] |= {self._node[b] for b in others} - {self._node[a]}
        self._looked_at = 0

    def run(self) -> list[int] | None:
        """Numbers of the groups, from the first on; None if none was found."""
        line, used = [0], {0}
        choices = [self._ways(0, used)]
        while len(line) < self._count:
            self._looked_at += 1
            if self._looked_at > _BUDGET:
                return None
            if choices[-1]:
                group = choices[-1].pop()
                line.append(group)
                used.add(group)
                choices.append(self._ways(group, used))
                continue
            choices.pop()
            used.discard(line.pop())
            if not line:
                return None
        return line

    def _ways(self, group: int, used: set[int]) -> list[int]:
        """Groups to go on to, the best last: of this node those with the fewest ways out, then the next nodes in order."""
        here, left = self._node[group], {self._node[i] for i in used}

        def cost(other: int) -> tuple[bool, int, bool, int]:
            node = self._node[other]
            if node == here:  # those that lead on come last
                out = {self._node[b] for b in self._joined[other] if b not in used} - {here}
                return False, len(out), False, other
            # A node that few others lead to is taken while one does; of equals the next in number, which keeps
            # neighbouring pairs wired alike.
            return True, len(self._around[node] - left), node != here + 1, other

        free = (b for b in self._joined[group] if b not in used)
        return sorted(free, key=cost, reverse=True)
