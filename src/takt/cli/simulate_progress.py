"""A bar on stderr that counts, from two seconds on, if someone is watching."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["counting"]

_PATIENCE_S = 2.0


@contextmanager
def counting(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how many more are done; `total` None: nobody knows how many there will be."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # only a terminal needs it
    from rich.progress import Progress

    start, done = time.monotonic(), 0
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)

    def tick(more: int) -> None:
        nonlocal done
        done += more
        if not bar.live.is_started and time.monotonic() - start >= _PATIENCE_S:
            bar.start()
        bar.update(task, completed=done, description=f"{what} {done:,}")

    try:
        yield tick
    finally:
        bar.stop()
