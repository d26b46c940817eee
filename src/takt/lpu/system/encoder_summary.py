"""The figures of an encoder on a system: speed, distance to the bound, energy, and where the cycles went.

Names are those of `SystemSummary` where they mean the same; rates are of sequences instead of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from takt.lpu.energy import Energy, Sensitivity, system_energy
from takt.lpu.system.encoder import EncoderCompiled
from takt.lpu.system.summary import VisitKind, visit_kinds
from takt.units import cycles_to_s


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSummary:
    """Figures of one sequence of `length` tokens; `energy` is of one sequence while the line is full."""

    model: str
    weights: str
    system: str
    chips: int
    chips_used: int
    groups: int
    group_chips: int
    shared_layers: int
    clock_hz: int
    objective: str
    length: int
    step_cycles: int
    bound_cycles: int
    interval_cycles: int
    sequences_per_s: float
    sram_used_fraction: float
    energy: Energy
    sensitivity: tuple[Sensitivity, ...]
    visits: tuple[VisitKind, ...]
    gap_cycles: int  # between visits: from the end of one to the start of the next
    basis: str = (
        "simulated: schedules proved free of hazards, cycles exact for the facts of chip and system"
    )

    @property
    def step_s(self) -> float:
        """Seconds from the tokens to the vector, on the chips."""
        return cycles_to_s(self.step_cycles, self.clock_hz)

    @property
    def bound_ratio(self) -> float:
        """The schedule, in multiples of its bound."""
        return self.step_cycles / self.bound_cycles


def summarise_encoder(compiled: EncoderCompiled) -> EncoderSummary:
    """The figures of a compiled encoder."""
    chip = compiled.chip
    seconds = 1 / compiled.sequences_per_s
    joules = system_energy(compiled.activities(), seconds, compiled.n_chips, chip)
    return EncoderSummary(
        model=compiled.shape.name,
        weights=compiled.weights,
        system=compiled.system.id,
        chips=compiled.n_chips,
        chips_used=len({c for visit in compiled.visits for c in visit.chips}),
        groups=len(compiled.groups),
        group_chips=compiled.group_chips,
        shared_layers=sum(len(held.chips) > 1 for held in compiled.held),
        clock_hz=chip.clock_hz,
        objective=compiled.objective,
        length=compiled.length,
        step_cycles=compiled.step_cycles,
        bound_cycles=compiled.bound_cycles,
        interval_cycles=compiled.interval_cycles,
        sequences_per_s=compiled.sequences_per_s,
        sram_used_fraction=compiled.sram_used_fraction,
        energy=joules,
        sensitivity=joules.sensitivity(chip),
        visits=visit_kinds(compiled.visits),
        gap_cycles=compiled.step_cycles - sum(v.cycles for v in compiled.visits),
    )
