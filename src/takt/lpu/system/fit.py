"""What fits: how many chips a model takes, how many users, how long a context. Pieces are placed in SRAM, not scheduled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from takt.chips import System
from takt.errors import CapacityError
from takt.lpu.isa.table import Type
from takt.lpu.system.compile import SystemCompiled
from takt.lpu.system.programs import Cut, Library
from takt.lpu.system.shards import can_split
from takt.lpu.system.stages import cut_into_stages
from takt.models import ModelShape

MOST_USERS = 1 << 20


def fewest_chips(
    shape: ModelShape,
    system: System,
    *,
    weights: str = "int8",
    context: int = 4096,
    users: int = 1,
    group: int | None = None,
) -> tuple[tuple[int, int], ...]:
    """(size of the groups, fewest chips that hold the model in such groups), the fewest chips first.

    Sizes for which a single piece is larger than a chip are missing; all of them may be. Counts may be above what the
    system has.
    """
    sizes = [1 << k for k in range(system.node.chips.bit_length())]
    sizes = [n for n in sizes if n <= system.node.chips and can_split(shape, n)]
    found = []
    for n in sizes if group is None else [n for n in sizes if n == group]:
        cut = Cut(
            shape=shape,
            chip=system.chip,
            n=n,
            n_links=system.node.links_per_pair if n > 1 else 0,
            weights=Type.I8 if weights == "int8" else Type.F16,
            context=context,
        )
        # More stages than pieces can ever be needed; the cut takes as few as possible.
        most = 64 * (shape.n_layers + 1)
        try:
            found.append((n, n * len(cut_into_stages(Library(cut), most, users, even=False))))
        except CapacityError:
            continue
    return tuple(sorted(found, key=lambda pair: (pair[1], -pair[0])))


def most_users(compiled: SystemCompiled) -> int | None:
    """Users that fit on the same chips in groups of the same size, if the stages are cut for them; None: any number."""

    def fits(users: int) -> bool:
        return _fits(compiled, compiled.library, users)

    most = _largest(fits, compiled.users, MOST_USERS)
    return None if most == MOST_USERS else most


def longest_context(compiled: SystemCompiled) -> int:
    """Positions that fit for the same users on the same chips, in groups of the same size, with stages cut for them."""
    cut, lanes = compiled.cut, compiled.cut.chip.lanes
    limit = compiled.shape.max_context

    def fits(blocks: int) -> bool:
        longer = replace(cut, context=min(blocks * lanes, limit))
        return _fits(compiled, Library(longer), compiled.users)

    blocks = _largest(fits, -(-cut.context // lanes), -(-limit // lanes))
    return min(blocks * lanes, limit)


def _fits(compiled: SystemCompiled, library: Library, users: int) -> bool:
    n_stages = compiled.n_chips // library.cut.group_chips
    try:
        cut_into_stages(library, n_stages, users, even=False)
    except CapacityError:
        return False
    return True


def _largest(fits: Callable[[int], bool], known: int, limit: int) -> int:
    """The largest number from `known`, which fits, to `limit` that fits, where larger ones never fit better."""
    step = 1
    while known < limit:
        tried = min(known + step, limit)
        if not fits(tried):
            break
        known, step = tried, 2 * step
    while step > 1:
        step //= 2
        if known + step <= limit and fits(known + step):
            known += step
    return known
