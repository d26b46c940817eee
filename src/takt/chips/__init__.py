"""The chips room: LPU-like chips, systems of them, and all other chips; every number has a source.

    load_chip("lpu-v1")               an LPU of the catalogue
    load_chip("my.toml")              a user's own: base = "lpu-v1" and what differs
    load_system("groqrack-v1")        a system; its .network(576) is the wiring of its first 576 chips
    load_accelerator("h100-sxm")      a GPU, TPU, CPU, …: memory, peaks, links, power and price
    find_accelerator("8x NVIDIA H100 80GB")   the one that a measurement file speaks of

The wing ``lookup`` has what serves all three kinds (``load_any``, ``check_chips``); the wing
``measure`` makes a file of the machine it runs on.

Knows the numbers and what follows from them by arithmetic. Does not know instructions, programs or
models.
"""

from takt.chips.accelerator import Accelerator
from takt.chips.chip import Chip, Fact, Kind
from takt.chips.network import Network, Wire
from takt.chips.read import list_chips, load_chip
from takt.chips.read_accelerator import find_accelerator, list_accelerators, load_accelerator
from takt.chips.read_system import list_systems, load_system
from takt.chips.system import System

__all__ = [
    "Accelerator",
    "Chip",
    "Fact",
    "Kind",
    "Network",
    "System",
    "Wire",
    "find_accelerator",
    "list_accelerators",
    "list_chips",
    "list_systems",
    "load_accelerator",
    "load_chip",
    "load_system",
]
