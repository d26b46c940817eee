"""The chips room: a catalogue of LPU-like chips, every number a fact with a source.

    load_chip("lpu-v1")        a chip of the catalogue
    load_chip("my.toml")       a user's own: base = "lpu-v1" and what differs

Knows the numbers and what follows from them by arithmetic. Does not know instructions, programs or
models.
"""

from takt.chips.chip import Chip, Fact, Kind
from takt.chips.read import check_chips, chip_ids, list_chips, load_chip

__all__ = ["Chip", "Fact", "Kind", "check_chips", "chip_ids", "list_chips", "load_chip"]
