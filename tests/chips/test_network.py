"""Wiring as a graph: laws of every network, and the ways through some small ones."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.chips import Network, System, Wire, list_systems, load_system
from takt.chips.wiring import offsets_of_pairs
from takt.errors import UsageError

SYSTEMS = {system.id: system for system in list_systems()}


def wire(source: int, target: int, link: int = 0) -> Wire:
    return Wire(
        source_chip=source, source_link=link, target_chip=target, target_link=link, extra_cycles=0
    )


def both(*pairs: tuple[int, int]) -> list[Wire]:
    return [each for a, b in pairs for each in (wire(a, b, b), wire(b, a, a))]


@st.composite
def systems_and_sizes(draw: st.DrawFn) -> tuple[System, int]:
    system = SYSTEMS[draw(st.sampled_from(sorted(SYSTEMS)))]
    return system, draw(st.integers(1, min(system.max_chips, 400)))


@given(systems_and_sizes())
@settings(max_examples=30, deadline=None)
def test_every_network_obeys_its_laws(pair: tuple[System, int]) -> None:
    system, n_chips = pair
    network = system.network(n_chips)
    ends = {(w.source_chip, w.source_link): (w.target_chip, w.target_link) for w in network.wires}
    # A link has one wire out and one in, and these join the same two links.
    assert len(ends) == len(network.wires)
    assert all(ends[target] == source for source, target in ends.items())
    assert all(source[0] != target[0] for source, target in ends.items())
    # Chips and links exist, and the order is that of the chips and their links.
    assert all(chip < n_chips and link < system.chip.c2c.links for chip, link in ends)
    assert list(ends) == sorted(ends)
    # Every chip can be reached.
    assert min(network.distances(0)) >= 0
    # Every direction of a link has the same delay, at least what a schedule must allow.
    delays = {(w.source_chip, w.source_link): w.extra_cycles for w in network.wires}
    assert all(delays[ends[end]] == delay for end, delay in delays.items())
    assert min(delays.values(), default=10**6) >= system.chip.c2c.link_margin_cycles


@pytest.mark.parametrize("name", ["groqnode-v1", "groqrack-v1", "lpx-rack"])
def test_links_inside_a_node_are_numbered_by_exclusive_or(name: str) -> None:
    system = SYSTEMS[name]
    per_pair = system.node.links_per_pair
    network = system.network(min(system.max_chips, 3 * system.node.chips))
    first = network.n_chips - system.node.chips
    for i, j in itertools.permutations(range(system.node.chips), 2):
        wires = network.links(first + i, first + j)
        numbers = list(range(((i ^ j) - 1) * per_pair, (i ^ j) * per_pair))
        assert [w.source_link for w in wires] == numbers
        assert [w.target_link for w in wires] == numbers


@pytest.mark.parametrize("n_chips", [576, 10_440])
def test_every_rack_is_wired_like_every_other(n_chips: int) -> None:
    network = SYSTEMS["groqrack-v1"].network(n_chips)
    leads = [
        [(w.source_link, (w.target_chip - chip) % n_chips, w.target_link) for w in wires]
        for chip, wires in ((chip, network.leaving(chip)) for chip in range(n_chips))
    ]
    assert all(leads[chip] == leads[chip % 72] for chip in range(n_chips))


@given(st.integers(2, 40), st.integers(1, 39), st.integers(1, 200))
def test_offsets_are_dealt_out_evenly(units: int, neighbours: int, n_pairs: int) -> None:
    if neighbours < units - 1:
        neighbours = max(2, neighbours - neighbours % 2)
    neighbours = min(neighbours, units - 1)
    dealt = offsets_of_pairs(units, neighbours, n_pairs)
    assert len(dealt) == n_pairs
    counts = Counter(dealt)
    links = Counter()
    for offset, n in counts.items():
        links[offset] += n
        links[units - offset] += n
    if 2 * n_pairs >= neighbours:
        assert len(links) == neighbours  # everyone is reached
    assert max(links.values()) - min(links.values()) <= 2


def test_a_chip_alone_has_no_wires() -> None:
    network = load_system("lp30").network()
    assert (network.n_chips, network.wires, network.route(0, 0)) == (1, (), (0,))


def test_chips_below_a_node_are_joined_in_pairs() -> None:
    network = SYSTEMS["groqnode-v1"].network(3)
    assert [network.neighbours(chip) for chip in range(3)] == [(1, 2), (0, 2), (0, 1)]


def test_the_route_is_the_shortest_that_comes_first() -> None:
    #   1 - 3
    #  /     \
    # 0 - 2 - 5 - 6
    #  \     /
    #   4 ---
    network = Network.of(7, 1, both((0, 1), (1, 3), (3, 5), (0, 4), (0, 2), (2, 5), (4, 5), (5, 6)))
    assert network.route(0, 6) == (0, 2, 5, 6)
    assert network.route(6, 0) == (6, 5, 2, 0)
    assert network.route(3, 0) == (3, 1, 0)
    assert network.hops(0, 6) == 3
    assert network.distances(0) == (0, 1, 1, 2, 1, 2, 3)


@given(systems_and_sizes(), st.data())
@settings(max_examples=25, deadline=None)
def test_routes_follow_wires_and_are_as_long_as_the_distance(
    pair: tuple[System, int], data: st.DataObject
) -> None:
    network = pair[0].network(pair[1])
    a, b = (data.draw(st.integers(0, network.n_chips - 1)) for _ in range(2))
    route = network.route(a, b)
    assert (route[0], route[-1]) == (a, b)
    assert all(network.links(x, y) for x, y in itertools.pairwise(route))
    assert len(route) - 1 == network.hops(a, b) == network.distances(a)[b]
    assert network.route(a, b) == pair[0].network(pair[1]).route(a, b)


def test_a_place_without_a_way_or_without_a_chip_is_said() -> None:
    network = Network.of(3, 1, both((0, 1)))
    assert network.distances(0) == (0, 1, -1)
    with pytest.raises(UsageError, match="no way leads from chip 0 to chip 2"):
        network.route(0, 2)
    with pytest.raises(UsageError, match=r"chip 3 is not in 0\.\.2"):
        network.links(0, 3)


def test_distances_between_nodes_do_not_count_turns_inside() -> None:
    # Nodes {0, 1}, {2, 3}, {4}: 0-1 | 1-2 | 2-3 | 3-4.
    network = Network.of(5, 2, both((0, 1), (1, 2), (2, 3), (3, 4)))
    assert network.node_distances(0) == (0, 1, 2)
    assert network.hops(0, 4) == 4
    assert [network.node(chip) for chip in range(5)] == [0, 0, 1, 1, 2]
