"""Networks that are no language models (images, sound, recommendation), as operations and bytes of a sample.

A plain roofline from ``networks.toml``: enough to compare chips, with a fitted effect for each network. Knows no
layers.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from takt.chips import Accelerator

__all__ = ["Network", "find_network", "sample_s"]

# Figures of a network, each a row with its kind and source.
_FIGURES = ("ops", "weight_bytes", "bytes_per_sample")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Work of one sample: operations, bytes of weights (read once a batch), bytes of its own.

    `start_s`: seconds of a pass beside them, whatever its batch.
    """

    name: str
    start_s: float
    ops: float
    weight_bytes: float
    bytes_per_sample: float
    basis: str


@cache
def _networks() -> dict[str, Network]:
    text = files("takt.accuracy").joinpath("networks.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    del table["sources"]
    start_s = float(table.pop("all")["start_s"]["value"])
    return {name: _network(name, rows, start_s) for name, rows in table.items()}


def _network(name: str, rows: Mapping[str, Mapping[str, Any]], start_s: float) -> Network:
    kinds = sorted({str(rows[figure]["kind"]) for figure in _FIGURES})
    return Network(
        name=name,
        start_s=start_s,
        **{figure: float(rows[figure]["value"]) for figure in _FIGURES},
        basis=f"{'/'.join(kinds)}: work of a sample of {name}",
    )


def find_network(text: str) -> Network | None:
    """The network whose name begins the text (`3d-unet-99.9`), or that it is short for (`resnet`), else None."""
    low = text.lower()
    for name, known in _networks().items():
        if low.startswith(name) or (len(low) > 3 and name.startswith(low)):
            return known
    return None


def sample_s(network: Network, chip: Accelerator, batch: float) -> float:
    """Seconds of a pass of `batch` samples on one chip: the longer of arithmetic at the int8 peak and memory."""
    moved = network.weight_bytes + batch * network.bytes_per_sample
    compute_s = batch * network.ops / chip.ops_per_s("int8")
    return max(compute_s, moved / chip.memory.bytes_per_s) + network.start_s
