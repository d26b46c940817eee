"""The command line: one file per verb, nothing heavy imported until its verb is called.

Knows how results and errors are shown, and exits; everything else is in the rooms.
"""

from takt.cli.app import main

__all__ = ["main"]
