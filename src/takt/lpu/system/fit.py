"""How many chips a model takes: placed in SRAM for each size of group, without scheduling anything."""

from __future__ import annotations

from takt.chips import System
from takt.errors import CapacityError
from takt.lpu.isa.table import Type
from takt.lpu.system.programs import Cut, Library
from takt.lpu.system.shards import can_split
from takt.lpu.system.stages import cut_into_stages
from takt.models import ModelShape


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
        try:
            found.append((n, n * _fewest_stages(shape, system, n, weights, context, users)))
        except CapacityError:
            continue
    return tuple(sorted(found, key=lambda pair: (pair[1], -pair[0])))


def _fewest_stages(
    shape: ModelShape, system: System, n: int, weights: str, context: int, users: int
) -> int:
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
    return len(cut_into_stages(Library(cut), most, users, even=False))
