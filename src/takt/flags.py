"""The switches that come from the environment; there is one.

``TAKT_DEBUG`` is a ladder, each rung includes those below it:

    0  results only (default)
    1  tracebacks of errors
    2  what each compiler pass did
    3  what each pass produced, in text
    4  machine events by cycle
    5  everything

Read on each call, never kept: no module state.
"""

import os

from takt.errors import UsageError

__all__ = ["MAX_DEBUG_LEVEL", "debug_level"]

MAX_DEBUG_LEVEL = 5


def debug_level() -> int:
    """The rung of ``TAKT_DEBUG``, 0 to 5. Raises UsageError when it is something else."""
    text = os.environ.get("TAKT_DEBUG", "").strip()
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) == 1 and int(text) <= MAX_DEBUG_LEVEL:
        return int(text)
    raise UsageError(
        f"TAKT_DEBUG is {text[:40]!r}", hint=f"set a whole number from 0 to {MAX_DEBUG_LEVEL}"
    )
