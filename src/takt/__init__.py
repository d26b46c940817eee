"""Takt: compile a language model into an exact schedule for an LPU, run it, and know what it costs.

The package is a line of rooms; imports point back along it only (``tests/test_rooms.py`` says so):

    units errors flags -> chips -> models -> lpu -> perf -> serving -> plan -> report -> server -> cli

Nothing is imported here, so that ``import takt`` stays quick; import the room you need.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
