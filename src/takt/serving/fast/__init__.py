"""The fast engine: the rules of `reference` in C, to the same bytes of every event."""

from .engine import run

__all__ = ["run"]
