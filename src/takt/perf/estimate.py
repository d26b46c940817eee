"""What a step costs, and what the figure rests on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from takt.errors import UsageError

__all__ = ["Estimate", "Floats", "sizes"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Time and energy of steps, elementwise over the batches and contexts asked for.

    `time_s`, `energy_j`: of one step on all chips of the deployment; energy is NaN where a chip's power is unknown. `error`: relative error to expect (a median of
    cross-validated figures, one number). `basis`: what the figures rest on: `measured:…`, `roofline`, `fitted:…`,
    `simulated`, `published:…`, `assumed:…`.
    """

    time_s: Floats
    energy_j: Floats
    error: float
    basis: frozenset[str]


def sizes(*values: ArrayLike) -> tuple[Floats, ...]:
    """Users, rates, tokens, broadcast to one shape; raises UsageError for what none of them can be."""
    arrays = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values))
    if any(np.any(~np.isfinite(array) | (array < 0)) for array in arrays):
        raise UsageError("users, rates, contexts and lengths are finite and not negative")
    return tuple(arrays)
