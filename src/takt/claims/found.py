"""What a computation behind a claim gives. Knows neither claims nor computations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a computation gave: quantities by name, what they rest on, and what was chosen on the way.

    `workloads`: the same for other workloads, in words, where it depends on them.
    """

    values: Mapping[str, float]
    basis: str
    detail: str = ""
    workloads: str = ""
