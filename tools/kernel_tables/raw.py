"""All raw files of kernel measurements in a folder, as samples by chip, family, type and engine."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from . import raw_aiconfigurator, raw_layers, raw_others
from .columns import fastest
from .samples import Key, Samples, merged

__all__ = ["read_all"]

MOST = 4000
READERS = (*raw_aiconfigurator.READERS, *raw_layers.READERS, *raw_others.READERS)


def read_all(folder: Path) -> dict[Key, Samples]:
    """Samples of every raw file in `folder`."""
    found: dict[Key, list[Samples]] = defaultdict(list)
    for reader in READERS:
        for key, samples in reader(folder):
            found[key].append(samples)
    return {key: _thinned(_one(found[key])) for key in sorted(found)}


def _thinned(samples: Samples) -> Samples:
    """At most MOST samples, evenly taken: aiter's tuner went through every row count of a few shapes."""
    step = -(-len(samples) // MOST)
    return samples.take(np.arange(0, len(samples), step)) if step > 1 else samples


def _one(parts: list[Samples]) -> Samples:
    if len(parts) == 1:
        return parts[0]
    joined = merged(parts)
    return fastest(joined.work, joined.seconds, joined.groups, joined.source)
