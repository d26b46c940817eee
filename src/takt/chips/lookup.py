"""Chips and systems together: one name for either, and one check of all files.

Knows how to tell a system's file from a chip's: it names a chip, has a group that only systems have,
or is based on a system.
"""

from collections.abc import Sequence
from pathlib import Path

from takt.chips.chip import Chip
from takt.chips.problems import Report, describe
from takt.chips.read import CHIP, chip_ids, load_chip, read_chip
from takt.chips.read_system import SYSTEM, load_system, read_system, system_ids
from takt.chips.sheets import Form, find_sheet, read_toml
from takt.chips.system import System
from takt.errors import Problem, UsageError, did_you_mean

__all__ = ["check_chips", "load_any"]

_MAX_BASES = 8


def load_any(name_or_path: str | Path) -> Chip | System:
    """The chip or the system of that id or TOML file.

    Raises UsageError when there is neither, DataErrors with every problem when the file is wrong.
    """
    path, form = _find(name_or_path)
    if form is SYSTEM:
        return load_system(path.stem if path.parent == SYSTEM.folder else path)
    return load_chip(path.stem if path.parent == CHIP.folder else path)


def check_chips(files: Sequence[str | Path] = ()) -> tuple[Problem, ...]:
    """All problems of ``files`` (or ids) of chips and systems; of all that ship when none are given.

    Raises UsageError for a file that does not exist, and for nothing else.
    """
    report = Report()
    for path, form in [_find(file) for file in files or (*chip_ids(), *system_ids())]:
        if form is SYSTEM:
            read_system(path, report)
        else:
            read_chip(path, report)
    return report.all()


def _find(name_or_path: str | Path) -> tuple[Path, Form]:
    if str(name_or_path) in system_ids():
        return find_sheet(name_or_path, SYSTEM), SYSTEM
    try:
        path = find_sheet(name_or_path, CHIP)
    except UsageError:
        ids = [*chip_ids(), *system_ids()]
        near = did_you_mean(str(name_or_path), ids) or f"known ones are {', '.join(ids)}"
        raise UsageError(
            f"no chip or system {describe(str(name_or_path))}, and no such .toml file",
            hint=f"{near} (`takt chips` lists them; a file of your own ends in .toml)",
        ) from None
    return path, _form_of(path, 0)


def _form_of(path: Path, depth: int) -> Form:
    """Which kind of sheet the file is; a chip's where nothing tells."""
    raw = read_toml(path, Report()) or {}
    if "chip" in raw or raw.keys() & (SYSTEM.groups.keys() - CHIP.groups.keys()):
        return SYSTEM
    base = raw.get("base")
    if not isinstance(base, str) or base in chip_ids() or depth >= _MAX_BASES:
        return CHIP
    if base in system_ids():
        return SYSTEM
    try:
        return _form_of(find_sheet(base, CHIP, path.parent), depth + 1)
    except UsageError:
        return CHIP
