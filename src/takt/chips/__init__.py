"""The chips room: LPU-like chips and systems of them, every number a fact with a source.

    load_chip("lpu-v1")               a chip of the catalogue
    load_chip("my.toml")              a user's own: base = "lpu-v1" and what differs
    load_system("groqrack-v1")        a system; its .network(576) is the wiring of its first 576 chips
    load_any(NAME), check_chips()     either kind

Knows the numbers and what follows from them by arithmetic. Does not know instructions, programs or
models.
"""

from takt.chips.chip import Chip, Fact, Kind
from takt.chips.lookup import check_chips, load_any
from takt.chips.network import Network, Wire
from takt.chips.read import chip_ids, list_chips, load_chip
from takt.chips.read_system import list_systems, load_system
from takt.chips.system import Reach, System

__all__ = [
    "Chip",
    "Fact",
    "Kind",
    "Network",
    "Reach",
    "System",
    "Wire",
    "check_chips",
    "chip_ids",
    "list_chips",
    "list_systems",
    "load_any",
    "load_chip",
    "load_system",
]
