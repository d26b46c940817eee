"""The figures of a model on a system: speed, distance to the bound, energy, memory, and where the cycles went.

`summarise_system` reduces a compiled system to numbers with their units in the name, for reports and for claims.
It prints nothing, and knows nothing of draft models (`speculative`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from takt.chips import Fact, Kind
from takt.lpu.energy import Energy, Sensitivity, system_energy
from takt.lpu.system.compile import SystemCompiled
from takt.lpu.system.fit import longest_context, most_users
from takt.lpu.system.visits import Visit
from takt.units import cycles_to_s

TIMING_GROUPS = ("core", "layout", "mem", "vxm", "mxm", "sxm", "icu", "c2c")
"""Groups of a chip's facts that cycles follow from."""
SYSTEM_GROUPS = ("node", "block", "rack", "hall")
"""Groups of a system's facts that cycles follow from."""
LOGIT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitKind:
    """Visits of one kind, all layers together."""

    name: str
    count: int
    cycles: int
    bound_cycles: int
    limits: tuple[str, ...]  # what sets the bounds, the most frequent first
    programs: tuple[
        tuple[int, int, str, int], ...
    ]  # (cycles, bound, limit, count) of distinct ones


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSummary:
    """Figures of one token at the end of the context; rates are of the whole system.

    `host_s` is the host's part of each token: descriptors in, logits out. It is in no other figure
    than `tokens_per_s_user_with_host`.
    """

    model: str
    weights: str
    system: str
    chips: int
    chips_used: int
    groups: int
    group_chips: int
    stages: int
    clock_hz: int
    objective: str
    context: int
    users: int
    step_cycles: int
    bound_cycles: int
    interval_cycles: int
    tokens_per_s_user: float
    tokens_per_s_total: float
    host_s: float
    tokens_per_s_user_with_host: float
    max_users: int | None  # that fit, if stages are cut for them; None: any number
    max_context: int  # that fits, likewise
    sram_used_fraction: float
    energy: Energy
    sensitivity: tuple[Sensitivity, ...]
    visits: tuple[VisitKind, ...]
    gap_cycles: int  # between visits: from the end of one to the start of the next
    assumptions: tuple[Fact, ...]
    basis: str = (
        "simulated: schedules proved free of hazards, cycles exact for the facts of chip and system"
    )

    @property
    def step_s(self) -> float:
        """Seconds from the token to its logits, on the chips."""
        return cycles_to_s(self.step_cycles, self.clock_hz)

    @property
    def users_to_fill(self) -> int:
        """Users with which the pipeline is full: more do not add to the total."""
        return -(-self.step_cycles // self.interval_cycles)

    @property
    def bound_ratio(self) -> float:
        """The schedule, in multiples of its bound."""
        return self.step_cycles / self.bound_cycles


def summarise_system(compiled: SystemCompiled) -> SystemSummary:
    """The figures of a compiled system."""
    chip, system = compiled.cut.chip, compiled.system
    total = compiled.tokens_per_s_total
    joules = system_energy(compiled.activities(), 1 / total, compiled.n_chips, chip)
    host_s = host_seconds(compiled)
    return SystemSummary(
        model=compiled.shape.name,
        weights="int8" if compiled.cut.weights.name == "I8" else "fp16",
        system=system.id,
        chips=compiled.n_chips,
        chips_used=len({c for visit in compiled.visits for c in visit.chips}),
        groups=len(compiled.stages),
        group_chips=compiled.cut.group_chips,
        stages=len(compiled.stages),
        clock_hz=chip.clock_hz,
        objective=compiled.objective,
        context=compiled.cut.context,
        users=compiled.users,
        step_cycles=compiled.step_cycles,
        bound_cycles=compiled.bound_cycles,
        interval_cycles=compiled.interval_cycles,
        tokens_per_s_user=compiled.tokens_per_s_user,
        tokens_per_s_total=total,
        host_s=host_s,
        tokens_per_s_user_with_host=1 / _period_s(compiled, host_s),
        max_users=most_users(compiled),
        max_context=longest_context(compiled),
        sram_used_fraction=compiled.sram_used_fraction,
        energy=joules,
        sensitivity=joules.sensitivity(chip),
        visits=visit_kinds(compiled.visits),
        gap_cycles=compiled.step_cycles - sum(v.cycles for v in compiled.visits),
        assumptions=assumptions(compiled),
    )


def host_seconds(compiled: SystemCompiled) -> float:
    """What the host adds to each token: there and back, and the logits of the whole vocabulary in fp32."""
    host = compiled.system.host
    logits_bytes = LOGIT_BYTES * compiled.shape.vocab_size
    return 2 * host.latency_ns * 1e-9 + logits_bytes / host.bytes_per_s


def _period_s(compiled: SystemCompiled, host_s: float) -> float:
    """Seconds between two tokens of a user with the host in the loop; other users fill the pipeline meanwhile."""
    hz = compiled.cut.chip.clock_hz
    own = cycles_to_s(compiled.step_cycles, hz) + host_s
    return max(own, cycles_to_s(compiled.users * compiled.interval_cycles, hz))


def visit_kinds(visits: Iterable[Visit]) -> tuple[VisitKind, ...]:
    """Visits by kind, in the order in which a token first meets them."""
    kinds: dict[str, list[Visit]] = {}
    for visit in visits:
        kinds.setdefault(_kind(visit), []).append(visit)
    return tuple(
        VisitKind(
            name=name,
            count=len(found),
            cycles=sum(v.cycles for v in found),
            bound_cycles=sum(v.bound_cycles for v in found),
            limits=tuple(limit for limit, _ in Counter(v.limit for v in found).most_common()),
            programs=tuple(
                (*program, count)
                for program, count in Counter(
                    (v.cycles, v.bound_cycles, v.limit) for v in found
                ).items()
            ),
        )
        for name, found in kinds.items()
    )


def _kind(visit: Visit) -> str:
    layer, _, rest = visit.what.partition(".")
    return rest if layer.isdigit() else visit.what


def assumptions(compiled: SystemCompiled) -> tuple[Fact, ...]:
    """The assumed facts that cycles and joules rest on, those of the chip first."""
    chip, system = compiled.cut.chip, compiled.system
    on_chip = (*TIMING_GROUPS, "energy")
    rows = [fact for fact in chip.facts if fact.key.split(".")[0] in on_chip]
    if compiled.n_chips > 1:
        rows += [fact for fact in system.facts if fact.key.split(".")[0] in SYSTEM_GROUPS]
    unused = ("energy.busy_at_tdp", "energy.busy_at_average")
    return tuple(
        fact
        for fact in rows
        if fact.kind == Kind.ASSUMED and fact.value is not None and fact.key not in unused
    )
