"""Which chips hold which layers of an encoder: alone, or a copy on each chip of a group that shares the rows.

A chip that holds a layer alone works on all rows of a sequence. Chips of a group that all hold it take an equal share
of the rows each, which is faster and takes room on each. Knows room in layers, nothing of words or cycles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from takt.errors import CapacityError

Group = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A layer, the chips that run it (in the order of their places in the group), and its slot on each."""

    layer: int
    group: int
    chips: tuple[int, ...]
    slots: tuple[int, ...]


def hold_layers(
    n_layers: int, groups: Sequence[Group], room: Mapping[int, int]
) -> tuple[Held, ...]:
    """Every layer in order; `room[chip]` slots on each chip.

    Each group takes about as many layers as the others, as many of them shared as fit; those that a chip holds alone
    come first, chip by chip. Raises CapacityError if there is no room.
    """
    rooms = [[room[chip] for chip in group] for group in groups]
    quotas = _quotas(n_layers, rooms)
    held: list[Held] = []
    used = dict.fromkeys((chip for group in groups for chip in group), 0)
    for g, (group, quota) in enumerate(zip(groups, quotas, strict=True)):
        n_shared = shared(quota, rooms[g])
        alone = quota - n_shared
        for chip in group:
            for _ in range(min(alone, room[chip] - n_shared)):
                held.append(_held(len(held), g, (chip,), used))
                alone -= 1
        held += [_held(len(held) + i, g, group, used) for i in range(n_shared)]
    return tuple(held)


def _held(layer: int, g: int, chips: Group, used: dict[int, int]) -> Held:
    slots = tuple(used[chip] for chip in chips)
    for chip in chips:
        used[chip] += 1
    return Held(layer=layer, group=g, chips=chips, slots=slots)


def shared(n_layers: int, room: Sequence[int]) -> int:
    """How many of a group's layers all its chips can hold, so that the others still fit on one chip each."""
    if len(room) == 1:
        return 0
    spare = (sum(room) - n_layers) // (len(room) - 1)
    return max(0, min(n_layers, min(room), spare))


def _quotas(n_layers: int, rooms: Sequence[Sequence[int]]) -> list[int]:
    """Layers of each group: even, then moved where that fits or lets more be shared."""
    n = len(rooms)
    if sum(map(sum, rooms)) < n_layers:
        needed = -(-n_layers // max(max(r) for r in rooms))
        raise CapacityError(
            f"{n_layers} layers do not fit {sum(map(len, rooms))} chips",
            resource="the chips",
            needed=needed,
            available=sum(map(len, rooms)),
            hint=f"{needed} chips, or int8 weights, or a shorter sequence",
        )
    quotas = [(g + 1) * n_layers // n - g * n_layers // n for g in range(n)]
    for g in range(n):
        while quotas[g] > sum(rooms[g]):
            other = max(range(n), key=lambda o: sum(rooms[o]) - quotas[o])
            quotas[g], quotas[other] = quotas[g] - 1, quotas[other] + 1
    better = True
    while better:
        better = False
        for a in range(n):
            for b in range(n):
                if a != b and _gain(quotas, rooms, a, b) > 0:
                    quotas[a], quotas[b], better = quotas[a] - 1, quotas[b] + 1, True
    return quotas


def _gain(quotas: Sequence[int], rooms: Sequence[Sequence[int]], a: int, b: int) -> int:
    """How many more layers are shared if group a hands one to group b; none if it cannot."""
    if quotas[a] == 0 or quotas[b] == sum(rooms[b]):
        return 0
    after = shared(quotas[a] - 1, rooms[a]) + shared(quotas[b] + 1, rooms[b])
    return after - shared(quotas[a], rooms[a]) - shared(quotas[b], rooms[b])
