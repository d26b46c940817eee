"""What can be scheduled over many chips so far: a shape beyond it is refused, never timed as if it were simpler."""

from __future__ import annotations

from takt.errors import UnsupportedError
from takt.models import ModelShape

SCHEDULED: frozenset[str] = frozenset({"a mixture of experts"})
"""Of `ModelShape.special_parts`, those that programs of a system contain."""


def check_scope(shape: ModelShape) -> None:
    """Raises UnsupportedError for a shape with something that no program of a system computes."""
    missing = [part for part in shape.special_parts if part not in SCHEDULED]
    if shape.family == "encoder":
        missing.insert(0, "an encoder's rows, all at once")
    if missing:
        raise UnsupportedError(
            f"{shape.name} needs {', '.join(missing)}: not scheduled over several chips yet"
        )
