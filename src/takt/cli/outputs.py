"""What every verb's results share, light enough for verbs that need no model: `--json`, files to write."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from takt.errors import UsageError

__all__ = ["AsJson", "check_apart", "writable"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def writable(output: str) -> None:
    """Say now, not after a long computation, that there is nowhere to write."""
    path = Path(output)
    if path.is_dir():
        raise UsageError(f"{output} is a directory, expected a file to write")
    if not path.parent.is_dir():
        raise UsageError(f"there is no directory {path.parent}")


def check_apart(named: Iterable[tuple[str, str]]) -> None:
    """Say now which of these (option, file) would write over each other."""
    taken: dict[Path, str] = {}
    for option, file in named:
        other = taken.setdefault(Path(file).resolve(), option)
        if other != option:
            raise UsageError(f"{other} and {option} are both to be written to {file}")
