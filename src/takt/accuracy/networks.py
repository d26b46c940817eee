"""Networks that are no language models (images, sound, recommendation), as operations and bytes of a sample.

A plain roofline from ``networks.toml``: enough to compare chips, with a fitted effect for each network. Knows no
layers.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from takt.chips import Accelerator

__all__ = ["Network", "find_network", "sample_s"]

_LAUNCH_S = 1e-4  # a pass over the whole network of a sample alone: start, copy in, copy out


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Work of one sample: operations, bytes of weights (read once a batch), bytes of its own."""

    name: str
    ops: float
    weight_bytes: float
    bytes_per_sample: float
    basis: str


@cache
def _networks() -> dict[str, Network]:
    text = files("takt.accuracy").joinpath("networks.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    del table["sources"]
    return {
        name: Network(
            name=name,
            ops=rows["ops"]["value"],
            weight_bytes=rows["weight_bytes"]["value"],
            bytes_per_sample=rows["bytes_per_sample"]["value"],
            basis=f"{rows['ops']['kind']}: work of a sample of {name}",
        )
        for name, rows in table.items()
    }


def find_network(text: str) -> Network | None:
    """The network whose name begins the text (`3d-unet-99.9`), or that it is short for (`resnet`); None for any other."""
    low = text.lower()
    for name, known in _networks().items():
        if low.startswith(name) or (len(low) > 3 and name.startswith(low)):
            return known
    return None


def sample_s(network: Network, chip: Accelerator, batch: float) -> float:
    """Seconds of a pass of `batch` samples on one chip: the longer of arithmetic at the int8 peak and memory."""
    moved = network.weight_bytes + batch * network.bytes_per_sample
    compute_s = batch * network.ops / chip.ops_per_s("int8")
    return max(compute_s, moved / chip.memory.bytes_per_s) + _LAUNCH_S
