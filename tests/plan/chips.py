"""Chips with round numbers, so that tests need no catalogue."""

from dataclasses import replace

from takt.chips import Accelerator
from takt.chips.accelerator_schema import Memory, Peak, Power, Price, ScaleOut, ScaleUp

__all__ = ["make_chip", "with_bandwidth"]


def make_chip(
    chip_id: str = "round",
    *,
    gigabytes: float = 100,
    terabytes_per_s: float = 4,
    domain: int = 8,
    fp8: bool = True,
    fp4: bool = False,
) -> Accelerator:
    """A chip of 1 Pflop/s in bf16, twice that in fp8, four times in fp4."""
    return Accelerator(
        id=chip_id,
        name=chip_id.title(),
        kind="gpu",
        vendor="Nobody",
        architecture="none",
        nearest=chip_id,
        aliases=(),
        memory=Memory(capacity_bytes=int(gigabytes * 1e9), bytes_per_s=terabytes_per_s * 1e12),
        peak=Peak(
            half_ops_per_s=1e15,
            fp8_ops_per_s=2e15 if fp8 else None,
            fp4_ops_per_s=4e15 if fp4 else None,
        ),
        scale_up=ScaleUp(chips=domain, bytes_per_s=4.5e11 if domain > 1 else None),
        scale_out=ScaleOut(bytes_per_s=5e10),
        power=Power(tdp_w=700.0, idle_w=100.0, system_w=1500.0),
        price=Price(),
        facts=(),
        sources=(),
    )


def with_bandwidth(chip: Accelerator, factor: float) -> Accelerator:
    """The same chip with that multiple of its memory bandwidth."""
    memory = replace(chip.memory, bytes_per_s=chip.memory.bytes_per_s * factor)
    return replace(chip, memory=memory)
