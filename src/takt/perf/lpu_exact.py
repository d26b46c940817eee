"""From a compiled system to a row of the table: exact cycles and joules of a step, compiled on the spot.

Used where a caller asks for exact figures, and by `tools/build_lpu_steps.py`. Takes seconds to minutes a model.
"""

from collections.abc import Iterable
from dataclasses import replace

from takt.chips import System
from takt.errors import CapacityError, CompileError
from takt.lpu import energy
from takt.lpu.system import (
    SystemCompiled,
    compile_system,
    fewest_chips,
    most_users,
    require_supported,
)
from takt.models import ModelShape

from .lpu_table import StepRow, machine_digest, sizes_digest

__all__ = ["exact_chips", "exact_row", "row_of"]


def exact_row(
    shape: ModelShape,
    system: System,
    *,
    n_chips: int,
    weights: str,
    context: int,
    users: int,
    positions: Iterable[int],
) -> StepRow:
    """Compile, and measure a step at the blocks of these positions. `n_chips` 0: the fewest that fit.

    Raises CapacityError where it does not fit, UnsupportedError for a model that the compiler does not know.
    """
    require_supported(shape)
    if n_chips == 0:
        n_chips = exact_chips(shape, system, weights=weights, context=context, users=users)
    made = compile_system(
        shape, system, n_chips=n_chips, weights=weights, context=context, users=users
    )
    return row_of(made, positions, models=(shape.name,))


def exact_chips(
    shape: ModelShape, system: System, *, weights: str, context: int, users: int
) -> int:
    """The fewest chips that hold weights and caches, placed in SRAM. CapacityError if the system has not as many."""
    found = fewest_chips(shape, system, weights=weights, context=context, users=users)
    if found and found[0][1] <= system.max_chips:
        return found[0][1]
    raise CapacityError(
        f"{shape.name} ({weights}, context {context:,}, {users:,} users) does not fit on {system.id}",
        hint="several copies, a shorter context, or fewer users on each",
    )


def row_of(made: SystemCompiled, positions: Iterable[int], models: tuple[str, ...]) -> StepRow:
    """What a step takes at these positions, each rounded up to the last of its block: cycles are the same there."""
    lanes = made.cut.chip.lanes * made.cut.n_parts
    last = made.cut.context - 1
    ends = sorted({min((p // lanes + 1) * lanes - 1, last) for p in positions})
    tokens = [made.at(end) for end in ends]
    return StepRow(
        models=models,
        system=made.system.id,
        chip=made.system.chip.id,
        weights="int8" if made.cut.weights.name == "I8" else "fp16",
        group=made.cut.n,
        stages=len(made.stages),
        chips=made.n_chips,
        context=made.cut.context,
        users=made.users,
        max_users=most_users(made) or 0,
        positions=tuple(ends),
        step_cycles=tuple(token.step_cycles for token in tokens),
        bound_cycles=tuple(token.bound_cycles for token in tokens),
        interval_cycles=tuple(token.interval_cycles for token in tokens),
        active_j=tuple(_active_j(token) for token in tokens),
        ffn_cycles=_ffn_cycles(made),
        vocab_size=made.shape.vocab_size,
        n_layers=made.shape.n_layers,
        sizes=sizes_digest(made.shape),
        machine=machine_digest(made.system),
    )


def _active_j(made: SystemCompiled) -> float:
    """Joules of everything that one token makes the chips do, idle power left out."""
    chip = made.cut.chip
    joules = sum(count * energy(each, 0, chip).total_j for each, count in made.activities())
    return float(f"{joules:.6g}")


def _ffn_cycles(made: SystemCompiled) -> int:
    """All feed-forward programs; of one that is attention too, what it takes beyond the attention alone.

    0 where an attention alone does not compile.
    """
    total = 0
    for visit in made.visits:
        kind = visit.slot.kind if visit.slot is not None else None
        if kind is None or not kind.ffn[1]:
            continue
        total += visit.cycles
        if kind.attention:
            alone = replace(kind, ffn=(0, 0, 1), experts=False)
            try:
                total -= made.library.program(alone, made.position).cycles
            except (CapacityError, CompileError):
                return 0
    return total
