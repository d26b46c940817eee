"""The roofline with efficiencies: what stands in for a table where nothing was measured.

    t = start + ((bytes / (a · rate))^p + (operations / (b · peak))^p)^(1/p)

with shares a, b of the peaks that large kernels reach (at most 1, so never faster than the roofline), a
start of every call, and a sharpness p of the change from one bound to the other. Knows no chip.
"""

from dataclasses import dataclass

import numpy as np

from .work import Floats, Work

__all__ = ["Efficiency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Parameters of one family and type: `start_s` seconds, shares of the peaks, sharpness."""

    start_s: float
    bytes_share: float
    ops_share: float
    sharpness: float

    def time_s(self, work: Work, bytes_per_s: float, ops_per_s: float) -> Floats:
        """Seconds of that work at those peaks."""
        moving = work.n_bytes / (self.bytes_share * bytes_per_s)
        if not np.any(work.n_ops):
            return np.asarray(self.start_s + moving)
        computing = work.n_ops / (self.ops_share * ops_per_s)
        most = np.maximum(moving, computing)
        least = np.minimum(moving, computing)
        ratio = least / np.maximum(most, 1e-30)
        bend = (1 + ratio**self.sharpness) ** (1 / self.sharpness)
        return np.asarray(self.start_s + most * bend)
