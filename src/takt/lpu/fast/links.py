"""Vectors that come and go over links to other chips.

Which vector a `receive` gets depends on how many were waiting when the run began, so it is settled at each run: every
`send` and `receive` has a slot of 320 bytes beside the constants, and a `receive` reads its own slot, filled from the
link, or that of the `send` whose vector has come to the front.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.lpu.fast.codes import LANES

Links = dict[int, list[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEvent:
    """One `send` or `receive`.

    `slot` is a byte offset in the arena, `arg` the operand of a `receive` that somebody uses (−1: nobody does), `op` the
    number of operations of the tape before it.
    """

    cycle: int
    queue: int
    row: int
    link: int
    sends: bool
    slot: int
    arg: int
    op: int


def route(
    events: tuple[LinkEvent, ...], links: Links, arena: NDArray[np.uint8], args: NDArray[np.uint64]
) -> LinkEvent | None:
    """Fill slots and point every `receive` at its vector. Returns the first `receive` that finds its link empty."""
    waiting: dict[int, deque[bytes | int]] = {
        link: deque(vectors) for link, vectors in links.items()
    }
    for event in events:
        line = waiting.setdefault(event.link, deque())
        if event.sends:
            line.append(event.slot)
            continue
        if not line:
            return event
        vector, slot = line.popleft(), event.slot
        if isinstance(vector, int):
            slot = vector
        else:
            arena[slot : slot + LANES] = np.frombuffer(vector, np.uint8)
        if event.arg >= 0:
            args[event.arg] = arena.ctypes.data + slot
    return None


def settle(
    events: tuple[LinkEvent, ...], links: Links, arena: NDArray[np.uint8], end: int | None
) -> None:
    """Change the links as all events before cycle `end` do (None: all events)."""
    for event in events:
        if end is not None and event.cycle >= end:
            return
        if event.sends:
            links.setdefault(event.link, []).append(
                arena[event.slot : event.slot + LANES].tobytes()
            )
        else:
            links[event.link].pop(0)
