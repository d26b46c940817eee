"""Output files appear under their name when they are complete, or not at all."""

from __future__ import annotations

import secrets
from pathlib import Path

from takt.errors import DataError


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step. DataError where the file cannot be written."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", file=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
