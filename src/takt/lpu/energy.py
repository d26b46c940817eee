"""Energy of a run: activity × the chip's coefficients, plus idle power over its time. Coefficients are assumptions."""

from __future__ import annotations

from dataclasses import dataclass

from takt.chips import Chip
from takt.lpu.machine import Activity


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Joules by cause. `basis` names what the figures rest on."""

    idle_j: float
    mac_j: float
    sram_j: float
    stream_j: float
    vxm_j: float
    sxm_j: float
    instruction_j: float
    basis: str = "simulated activity × assumed coefficients"

    @property
    def total_j(self) -> float:
        """Joules in all."""
        return (
            self.idle_j
            + self.mac_j
            + self.sram_j
            + self.stream_j
            + self.vxm_j
            + self.sxm_j
            + self.instruction_j
        )


def energy(activity: Activity, cycles: int, chip: Chip) -> Energy:
    """Energy of `activity` spread over `cycles`."""
    c = chip.energy
    return Energy(
        idle_j=c.idle_w * cycles / chip.clock_hz,
        mac_j=activity.mac_i8 * c.int8_mac_j + activity.mac_f16 * c.fp16_mac_j,
        sram_j=activity.sram_read_bytes * c.sram_read_j_per_byte
        + activity.sram_write_bytes * c.sram_write_j_per_byte,
        stream_j=activity.stream_byte_hops * c.stream_hop_j_per_byte,
        vxm_j=activity.vxm_lane_ops * c.vxm_op_j_per_lane,
        sxm_j=activity.sxm_bytes * c.sxm_j_per_byte,
        instruction_j=activity.instructions * c.instruction_j,
    )
