"""The folder of an export: whether it may be written, and writing it. It appears when it is complete, or not at all.

Knows an export by the files that all have. Does not know what they say.
"""

import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from takt.errors import DataError, UsageError

from .stacks import STACKS

__all__ = ["check_folder", "write_folder"]

_FILES = ("plan.json", "launch.sh", "README.txt")  # every export has these
_OPTIONS = ".trtllm.yaml"
_FORMAT = re.compile(rb'\s*\{\s*"format": "takt-plan-\d+"')


def check_folder(directory: str | Path, *, force: bool = False) -> None:
    """Say, before there is a plan, whether `export_plan` will be able to write there.

    Raises UsageError where the folder is there already (with `force`: where it is not an export and nothing else), and
    where there is no directory to put it in or that can't be written to.
    """
    target = Path(directory)
    if not target.parent.is_dir():
        raise UsageError(f"there is no directory {target.parent}")
    if target.is_symlink() or target.exists():
        _check_replaceable(target, force)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{target.parent} can't be written to", hint="choose another directory")


def _check_replaceable(target: Path, force: bool) -> None:
    """UsageError unless all of it may go: an export, and no file of someone else in it."""
    left = "it is left as it is"
    if not _is_export(target):
        raise UsageError(
            f"{target} is there already and is not an export: {left}",
            hint="name a folder that is new",
        )
    if not force:
        raise UsageError(
            f"{target} is there already",
            hint="a new name, or `--force` (in Python: force=True) to replace this export",
        )
    foreign = _foreign(target)
    if foreign:
        raise UsageError(
            f"{target} has {foreign[0]} in it, which no export writes: {left}",
            hint="move your own files elsewhere first",
        )


def _is_export(target: Path) -> bool:
    """Whether an export wrote the folder: all that every export has is there, and the document says whose it is."""
    if target.is_symlink() or not target.is_dir():
        return False
    if not all((target / name).is_file() for name in _FILES):
        return False
    try:
        with (target / "plan.json").open("rb") as document:
            start = document.read(64)
    except OSError:
        return False
    return _FORMAT.match(start) is not None


def _foreign(target: Path) -> list[str]:
    """What lies in an export's folder and is not of it, sorted."""
    return sorted(
        str(path.relative_to(target))
        for path in target.rglob("*")
        if not _is_ours(path.relative_to(target).parts, path)
    )


def _is_ours(parts: Sequence[str], path: Path) -> bool:
    if path.is_symlink():
        return False
    if len(parts) == 1:
        plain = parts[0] in _FILES or parts[0].endswith(_OPTIONS)
        return path.is_file() if plain else parts[0] in STACKS and path.is_dir()
    return len(parts) == 2 and path.is_file() and path.suffix == ".yaml"


def write_folder(target: Path, files: Mapping[str, str]) -> None:
    """Write the files (name: text) where `check_folder` allows it. DataError where the disk does not take them."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    try:
        for name, text in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            if name.endswith(".sh"):
                path.chmod(0o755)
        if target.exists():
            target.rename(old)
        temporary.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise DataError(
            f"cannot be written: {error.strerror or error}", file=str(target)
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
