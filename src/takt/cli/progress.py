"""A spinner or a bar on stderr for work that takes longer than two seconds; nothing where no one is watching."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType

__all__ = ["Bar", "waiting"]

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


class Bar:
    """What is being done, and how far it is: a context manager whose `show` may be called as often as one likes."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_watched = sys.stderr.isatty()
        self._begin_s = monotonic()
        self._shown = False

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self, what: str, done: int, total: int) -> None:
        """`done` of `total` (0: nobody knows), and the words for what is next."""
        if not self._is_watched or monotonic() - self._begin_s < _PATIENCE_S:
            return
        share = f" {100 * done // total:3d} %" if total else ""
        sys.stderr.write(f"\r\x1b[K{self._what}{share}: {what}"[:120])
        sys.stderr.flush()
        self._shown = True
