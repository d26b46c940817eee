"""Energy of a run: activity × the chip's coefficients, plus idle power over its time. Coefficients are assumptions.

`energy` is of one chip, `system_energy` of one token on many; `Energy.sensitivity` says how far a total moves when the
assumptions behind it are off by a factor. Does not know what ran, only what it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from takt.chips import Chip, Kind
from takt.lpu.machine import Activity
from takt.lpu.machine.state import total_activity

FACTORS = (0.5, 2.0)
"""What an assumed coefficient is multiplied by, to see what hangs on it."""

COEFFICIENTS = {
    "idle": ("idle_w",),
    "mac": ("int8_mac_j", "fp16_mac_j"),
    "sram": ("sram_read_j_per_byte", "sram_write_j_per_byte"),
    "stream": ("stream_hop_j_per_byte",),
    "vxm": ("vxm_op_j_per_lane",),
    "sxm": ("sxm_j_per_byte",),
    "link": ("link_j_per_byte",),
    "instruction": ("instruction_j",),
}
"""Cause → facts of the group `energy` that its joules are proportional to, all together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """The total in joules if the coefficients of one cause were `FACTORS` times what they are taken for."""

    cause: str
    low_j: float
    high_j: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Joules by cause. `basis` names what the figures rest on."""

    idle_j: float
    mac_j: float
    sram_j: float
    stream_j: float
    vxm_j: float
    sxm_j: float
    link_j: float
    instruction_j: float
    basis: str = "simulated activity × assumed coefficients"

    @property
    def parts(self) -> tuple[tuple[str, float], ...]:
        """(cause, joules) of each cause."""
        names = [f.name for f in fields(self) if f.name.endswith("_j")]
        return tuple((name.removesuffix("_j"), float(getattr(self, name))) for name in names)

    @property
    def total_j(self) -> float:
        """Joules in all."""
        return sum(joules for _, joules in self.parts)

    def mean(self, others: Sequence[Energy]) -> Energy:
        """The mean of this and `others`, cause by cause."""
        every = [dict(each.parts) for each in (self, *others)]
        means = {cause: sum(each[cause] for each in every) / len(every) for cause in every[0]}
        return Energy(
            idle_j=means["idle"],
            mac_j=means["mac"],
            sram_j=means["sram"],
            stream_j=means["stream"],
            vxm_j=means["vxm"],
            sxm_j=means["sxm"],
            link_j=means["link"],
            instruction_j=means["instruction"],
        )

    def sensitivity(self, chip: Chip) -> tuple[Sensitivity, ...]:
        """What halving and doubling does to the total: of idle power, and of the largest other cause.

        The larger one first. A cause none of whose facts is assumed is left out.
        """
        assumed = {cause: joules for cause, joules in self.parts if _is_assumed(cause, chip)}
        active = sorted(assumed.keys() - {"idle"}, key=lambda cause: (-assumed[cause], cause))
        shown = [*(assumed.keys() & {"idle"}), *active[:1]]
        low, high = FACTORS
        return tuple(
            Sensitivity(
                cause=cause,
                low_j=self.total_j + (low - 1) * assumed[cause],
                high_j=self.total_j + (high - 1) * assumed[cause],
            )
            for cause in sorted(shown, key=lambda cause: -assumed[cause])
        )


def energy(activity: Activity, cycles: int, chip: Chip) -> Energy:
    """Energy of `activity` on one chip, spread over `cycles`."""
    return _energy(activity, cycles / chip.clock_hz, chip)


def system_energy(
    activities: Iterable[tuple[Activity, int]], seconds: float, n_chips: int, chip: Chip
) -> Energy:
    """Energy of activities, each on as many chips as given with it, while `n_chips` idle for `seconds`."""
    return _energy(total_activity(activities), seconds * n_chips, chip)


def _energy(activity: Activity, chip_seconds: float, chip: Chip) -> Energy:
    c = chip.energy
    return Energy(
        idle_j=c.idle_w * chip_seconds,
        mac_j=activity.mac_i8 * c.int8_mac_j + activity.mac_f16 * c.fp16_mac_j,
        sram_j=activity.sram_read_bytes * c.sram_read_j_per_byte
        + activity.sram_write_bytes * c.sram_write_j_per_byte,
        stream_j=activity.stream_byte_hops * c.stream_hop_j_per_byte,
        vxm_j=activity.vxm_lane_ops * c.vxm_op_j_per_lane,
        sxm_j=activity.sxm_bytes * c.sxm_j_per_byte,
        link_j=activity.link_bytes * c.link_j_per_byte,
        instruction_j=activity.instructions * c.instruction_j,
    )


def _is_assumed(cause: str, chip: Chip) -> bool:
    facts = [chip.fact(f"energy.{name}") for name in COEFFICIENTS[cause]]
    return any(fact.kind == Kind.ASSUMED for fact in facts)
