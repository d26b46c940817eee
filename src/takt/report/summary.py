"""What a run showed: cycles, energy, memory, distance to the bound, and where the cycles went.

`summarise` reduces a finished generation to numbers with their units in the name. It prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from takt.errors import UsageError
from takt.lpu import Generation, Step, StepResult, energy
from takt.report.profile import LayerUse, UnitUse, layer_use, stage_cycles, unit_use
from takt.report.schedule import Schedule
from takt.units import cycles_to_s

Parts = tuple[tuple[str, float], ...]
"""(cause, joules) of each cause."""
Ranges = tuple[tuple[str, float, float], ...]
"""(cause, low, high) in joules."""

RESOURCES = ("weights", "mxm", "vxm", "sram", "chain")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Figures of one generation; means are over the program runs that made its tokens.

    `by_unit`, `by_layer` and `by_stage` describe `program`, the one that made most of the tokens,
    and so does `resource_cycles`, what each resource would need if all else were free.
    """

    cycles: tuple[int, ...]  # one entry per token
    cycles_per_token: float
    tokens_per_s: float
    bound_cycles_per_token: float
    bound_limit: str
    energy_j_per_token: float
    energy_parts_j: Parts
    energy_sensitivity_j: Ranges  # the total with half and with twice the coefficients
    energy_basis: str
    sram_bytes: int
    sram_used_fraction: float
    prompt_runs: int
    prompt_cycles: int
    prompt_s: float
    host_tokens_per_s: float
    host_cycles_per_s: float
    program: str
    program_cycles: int
    resource_cycles: tuple[tuple[str, int], ...]
    by_unit: tuple[UnitUse, ...]
    by_layer: tuple[LayerUse, ...]

    @property
    def by_stage(self) -> dict[str, int]:
        """Cycles that belong to each stage of the program."""
        return stage_cycles(self.by_layer)


def summarise(generation: Generation) -> RunSummary:
    """Figures of a finished generation. UsageError if it made no token."""
    tokens = generation.tokens
    if not tokens:
        raise UsageError("nothing was generated")
    chip = generation.session.compiled.chip
    results = [token.result for token in tokens]
    cycles = tuple(result.cycles for result in results)
    mean = sum(cycles) / len(cycles)
    main = _main(results)
    sram_bytes = max(run.step.sram_bytes for run in (*generation.prompt, *results))
    schedule = Schedule.of_step(main, chip)
    prompt_cycles = sum(run.cycles for run in generation.prompt)
    host_tokens_per_s, host_cycles_per_s = host_rates(generation)
    parts, sensitivity, basis = mean_energy(generation)
    return RunSummary(
        cycles=cycles,
        cycles_per_token=mean,
        tokens_per_s=chip.clock_hz / mean,
        bound_cycles_per_token=sum(result.step.bound.cycles for result in results) / len(results),
        bound_limit=main.bound.limit,
        energy_j_per_token=sum(joules for _, joules in parts),
        energy_parts_j=parts,
        energy_sensitivity_j=sensitivity,
        energy_basis=basis,
        sram_bytes=sram_bytes,
        sram_used_fraction=sram_bytes / chip.sram_bytes,
        prompt_runs=len(generation.prompt),
        prompt_cycles=prompt_cycles,
        prompt_s=cycles_to_s(prompt_cycles, chip.clock_hz),
        host_tokens_per_s=host_tokens_per_s,
        host_cycles_per_s=host_cycles_per_s,
        program=main.program.name,
        program_cycles=main.program.cycles,
        resource_cycles=tuple((name, int(getattr(main.bound, name))) for name in RESOURCES),
        by_unit=unit_use(schedule),
        by_layer=layer_use(schedule),
    )


def _main(results: Sequence[StepResult]) -> Step:
    """The step whose program made most of the tokens; of equals, the later one."""
    counts = Counter(result.step.program.name for result in results)
    most = max(counts.values())
    return next(r.step for r in reversed(results) if counts[r.step.program.name] == most)


def mean_energy(generation: Generation) -> tuple[Parts, Ranges, str]:
    """Joules a token by cause, how the total moves with the assumptions, and the basis.

    Means over the runs that made the tokens.
    """
    chip = generation.session.compiled.chip
    runs = [energy(t.result.activity, t.result.cycles, chip) for t in generation.tokens]
    mean = runs[0].mean(runs[1:])
    ranges = tuple((row.cause, row.low_j, row.high_j) for row in mean.sensitivity(chip))
    return mean.parts, ranges, mean.basis


def host_rates(generation: Generation) -> tuple[float, float]:
    """(tokens per second, simulated cycles per second) of this machine.

    Over the tokens after the first, without runs that first made a program ready; over everything,
    the prompt included, if no others are left.
    """
    steady = [token for token in generation.tokens[1:] if not token.fresh]
    if steady:
        seconds = sum(token.host_s for token in steady)
        cycles = sum(token.result.cycles for token in steady)
        return len(steady) / seconds, cycles / seconds
    seconds = sum(token.host_s for token in generation.tokens)
    runs = [*generation.prompt, *(token.result for token in generation.tokens[1:])]
    return len(generation.tokens) / seconds, sum(run.cycles for run in runs) / seconds
