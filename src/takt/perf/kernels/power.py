"""Board power of a chip from how much of its peaks a kernel uses.

    share of the limit = idle + ((a · bytes)^p + (b · operations)^p)^(1/p), at most `most`

with fractions of peak bandwidth and peak rate in use, fitted to power that was logged beside kernel times
(H200, B200, GB200). Chips without such logs take the nearest chip's shares of their own limit. Knows no
kernels.
"""

import numpy as np

from takt.chips import Accelerator
from takt.errors import UnsupportedError

from .book import EVERY_CHIP, PowerFit, power_fits
from .work import Floats

__all__ = ["board_power_w", "power_fit_of", "power_share"]


def power_share(fit: PowerFit, memory: Floats, compute: Floats) -> Floats:
    """Share of the power limit with these fractions of peak in use (clipped to 0..1)."""
    moving = fit.bytes_share * np.clip(memory, 0, 1)
    computing = fit.ops_share * np.clip(compute, 0, 1)
    both = (moving**fit.bend + computing**fit.bend) ** (1 / fit.bend)
    return np.asarray(np.minimum(fit.idle_share + both, fit.most_share))


def power_fit_of(chip: Accelerator) -> tuple[PowerFit, str]:
    """The fit that stands for a chip, and its basis in words."""
    found = power_fits()
    if chip.id in found:
        return found[chip.id], f"measured: power of {chip.id} kernels"
    if chip.nearest in found:
        return found[chip.nearest], f"fitted: power of {chip.nearest}, scaled by TDP"
    return found[EVERY_CHIP], "fitted: power of all measured chips, scaled by TDP"


def board_power_w(chip: Accelerator, memory: Floats, compute: Floats) -> Floats:
    """Watts of one chip. Raises UnsupportedError where its power limit is not known."""
    limit = chip.power.tdp_w
    if limit is None:
        raise UnsupportedError(
            f"the power limit of {chip.id} is not known",
            hint="state power.tdp_w in a chip file of your own",
        )
    return power_share(power_fit_of(chip)[0], memory, compute) * limit
