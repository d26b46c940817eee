"""A spinner on stderr for work that takes longer than two seconds; nothing where no one is watching."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["waiting"]

_PATIENCE_S = 2.0


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show ``what`` while the block runs, from two seconds on, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # only a terminal needs it

    status = Console(stderr=True).status(what)
    timer = threading.Timer(_PATIENCE_S, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()
