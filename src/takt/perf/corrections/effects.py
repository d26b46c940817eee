"""Measured ÷ computed, learned from end-to-end measurements: the sum of named effects of a situation.

``data/corrections.parquet`` (written by tools/fit_perf.py) holds one row an effect: its name, its constant and
its slopes, in natural logarithms of time. A situation of which nothing is known gets the general effects
only, and a wider error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from ..estimate import Floats
from .situation import SLOPES, Situation

__all__ = ["FIGURES", "Corrections", "Figure", "shipped_corrections"]

Figure = Literal["tpot", "ttft", "throughput", "energy", "step_time"]
FIGURES: tuple[Figure, ...] = ("tpot", "ttft", "throughput", "energy", "step_time")
# No sum of effects may leave these bounds: beyond, the situation is nothing like what was measured.
_MOST = float(np.log(20.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Effects by name: one number a slope of `SLOPES`."""

    effects: Mapping[str, Floats]

    def log_factor(self, situation: Situation, factors: Floats) -> Floats:
        """ln(measured ÷ computed) of a time to expect; for a rate it is the other way round.

        `factors`: [… , 6] of `slopes`.
        """
        total = np.zeros(len(SLOPES))
        for _, name in situation.effects():
            effect = self.effects.get(name)
            if effect is not None:
                total = total + effect
        return np.clip(factors @ total, -_MOST, _MOST)

    def knows(self, name: str) -> bool:
        """Whether anything measured bears that name (``chip=h200-sxm``)."""
        return name in self.effects


@cache
def shipped_corrections() -> Corrections:
    """The effects that come with Takt; none where the file is missing."""
    path = files("takt.perf").joinpath("data/corrections.parquet")
    if not path.is_file():
        return Corrections(effects={})
    # Not `pq.read_table`: it imports all of pyarrow.dataset for one small file.
    with pq.ParquetFile(BytesIO(path.read_bytes())) as file:
        table = file.read(use_threads=False).to_pydict()
    values = np.stack([np.asarray(table[name], dtype=np.float64) for name in SLOPES], axis=1)
    return Corrections(effects=dict(zip(table["effect"], values, strict=True)))
