"""What a simulation leaves behind beside its finished requests: a row for each replica, and its clock's ends.

Values only. Knows no latencies; `outcome` puts them beside these.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sink", "Totals"]

Sink = Callable[[NDArray[np.void]], None]  # takes batches of records, in order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Totals:
    """Sums of a run.

    - `replicas`: records of REPLICA, in the order in which the fleet numbers them.
    - `start_ns`, `end_ns`: from the first arrival to the last event.
    - `arrived`: requests read from the source; each ends as `done` or `rejected` (too long ones among them).
    """

    replicas: NDArray[np.void]
    start_ns: int
    end_ns: int
    arrived: int
    done: int
    rejected: int

    @property
    def span_ns(self) -> int:
        """Nanoseconds that the run took of its own clock."""
        return self.end_ns - self.start_ns
