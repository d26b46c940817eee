"""How unevenly tokens spread over experts: shares of experts met, and the busiest chip's load.

The uneven routing is the one that was measured (aiconfigurator's `power_law_1.01`): popularities of experts
spread over a factor of 99 with a density that falls as their power -1.01, close to log-uniform. Knows no kernels.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["active_share", "hottest"]

Floats = NDArray[np.float64]

_LEAST, _MOST = 0.01, 0.99  # range of popularity in aiconfigurator's sampler
_SPREAD = float(np.log(_MOST / _LEAST))
_MEAN = (_MOST - _LEAST) / _SPREAD
_RELATIVE_DEVIATION = float(np.sqrt((_MOST**2 - _LEAST**2) / (2 * _SPREAD) / _MEAN**2 - 1))
# Popularities relative to the mean at evenly spaced quantiles: what integrals over experts are summed on.
_QUANTILES = tuple(float(_LEAST * np.exp(_SPREAD * (i + 0.5) / 8) / _MEAN) for i in range(8))


def active_share(per_expert: Floats, even: bool) -> Floats:
    """Share of experts that get at least one token when the mean expert gets `per_expert`.

    Dealt evenly that is all of them as soon as there are tokens enough; with uneven popularities each
    expert misses out with probability exp(-its mean).
    """
    if even:
        return np.minimum(per_expert, 1.0)
    met = np.zeros_like(per_expert)
    for popularity in _QUANTILES:
        met = met - np.expm1(-per_expert * popularity)
    return met / len(_QUANTILES)


def hottest(own: Floats, chips: Floats) -> Floats:
    """Load of the busiest of `chips` chips, each with `own` experts, relative to the mean.

    Mean of `own` draws has a deviation of d / sqrt(own); the largest of n normal draws lies near
    sqrt(2 ln n) deviations up. Never above the most popular expert's share.
    """
    excess = _RELATIVE_DEVIATION * np.sqrt(2 * np.log(np.maximum(chips, 1.0)) / np.maximum(own, 1))
    return np.minimum(1 + excess, _MOST / _MEAN)
