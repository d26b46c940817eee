"""The peaks of one chip that bound a family of kernels, and a table carried over to a chip with other peaks.

A table of the nearest measured chip is a table of efficiencies: at each node, how many times its roofline a
call took beyond the start of a call. The same factors over another chip's roofline are the best guess there.
"""

from dataclasses import dataclass

import numpy as np

from takt.chips import Accelerator
from takt.errors import UnsupportedError

from .families import LINKED, compute_type, work_at
from .surface import Surface
from .work import Floats, Work

__all__ = ["Peaks", "carried_over", "is_native", "link_bytes_per_s", "peaks_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Rates that bound a family: of the chip's memory or of its links, and of its arithmetic."""

    bytes_per_s: float
    ops_per_s: float

    def floor_s(self, work: Work) -> Floats:
        """The roofline: the least time for that work."""
        return np.maximum(work.n_bytes / self.bytes_per_s, work.n_ops / self.ops_per_s)


def link_bytes_per_s(chip: Accelerator) -> float:
    """Rate of a chip's links to its nearest neighbours. Raises UnsupportedError where none is known."""
    rate = chip.scale_up.bytes_per_s or chip.scale_out.bytes_per_s
    if rate is None:
        raise UnsupportedError(
            f"no link from {chip.id} to another chip is known",
            hint="state scale_up.bytes_per_s or scale_out.bytes_per_s in a chip file of your own",
        )
    return rate


def is_native(chip: Accelerator, type_name: str) -> bool:
    """Whether the chip multiplies that type; weights that are always widened count as bf16, which all do."""
    narrow = {
        "fp8": chip.peak.fp8_ops_per_s,
        "fp8_block": chip.peak.fp8_ops_per_s,
        "fp4": chip.peak.fp4_ops_per_s,
        "mxfp4": chip.peak.fp4_ops_per_s,
        "int8": chip.peak.int8_ops_per_s,
    }
    return type_name not in narrow or narrow[type_name] is not None


def peaks_of(chip: Accelerator, family: str, type_name: str) -> Peaks:
    """Peaks of `chip` for a family and type."""
    kind = compute_type(family, type_name)
    ops = chip.ops_per_s("fp8" if kind == "fp8_block" else kind)
    if family in LINKED:
        return Peaks(bytes_per_s=link_bytes_per_s(chip), ops_per_s=ops)
    return Peaks(bytes_per_s=chip.memory.bytes_per_s, ops_per_s=ops)


def carried_over(
    surface: Surface, family: str, type_name: str, measured: Peaks, wanted: Peaks
) -> Surface:
    """A table measured at some peaks as it would be at others: starts of calls stay, the rest scales."""
    axes = np.meshgrid(*surface.nodes, indexing="ij", sparse=False)
    work = work_at(family, type_name, tuple(axes))
    start = float(surface.seconds.min())
    scale = wanted.floor_s(work) / measured.floor_s(work)
    seconds = start + (surface.seconds - start) * scale
    # Scaled by a ratio that changes from node to node, times may fall somewhere; a table may not.
    for axis in range(seconds.ndim):
        rises = bool(np.all(np.diff(surface.seconds, axis=axis) >= 0))
        if rises:
            seconds = np.maximum.accumulate(seconds, axis=axis)
    return Surface(nodes=surface.nodes, seconds=seconds, growth=surface.growth)
