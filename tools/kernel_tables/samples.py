"""Measured calls of one family of kernels on one chip, in the coordinates of `takt.perf.kernels`.

Knows the families and their types, not the raw files (`raw`) nor what is made of the samples (`fit`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.perf.kernels.work import Work

Floats = NDArray[np.float64]

__all__ = ["Key", "Samples", "merged"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Key:
    """Which table: chip, family, type, engine ("generic" where the tables know none)."""

    chip: str
    family: str
    type_name: str
    engine: str = "generic"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """n calls: work, seconds, and a group label (a model's shape) for leaving out more than single rows."""

    work: Work
    seconds: Floats
    groups: NDArray[np.str_]
    source: str

    @property
    def points(self) -> Floats:
        """Coordinates, (n, axes)."""
        return np.stack(self.work.at, axis=1)

    def __len__(self) -> int:
        return len(self.seconds)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> "Samples":
        work = Work(
            n_bytes=self.work.n_bytes[index],
            n_ops=self.work.n_ops[index],
            at=tuple(axis[index] for axis in self.work.at),
        )
        return Samples(
            work=work, seconds=self.seconds[index], groups=self.groups[index], source=self.source
        )


def merged(parts: Iterable[Samples]) -> Samples:
    """All samples of several tables."""
    every = list(parts)
    work = Work(
        n_bytes=np.concatenate([p.work.n_bytes for p in every]),
        n_ops=np.concatenate([p.work.n_ops for p in every]),
        at=tuple(np.concatenate(axes) for axes in zip(*(p.work.at for p in every), strict=True)),
    )
    return Samples(
        work=work,
        seconds=np.concatenate([p.seconds for p in every]),
        groups=np.concatenate([p.groups for p in every]),
        source=" + ".join(sorted({p.source for p in every})),
    )
