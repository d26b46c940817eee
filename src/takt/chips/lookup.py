"""All kinds of chip together: one name for any, and one check of all files.

Knows how to tell a file of each kind: a system's names a chip, has a group that only systems have, or
is based on a system; an accelerator's likewise, with its own texts and groups.
"""

from collections.abc import Sequence
from pathlib import Path

from takt.chips.accelerator import Accelerator
from takt.chips.chip import Chip
from takt.chips.problems import Report, describe
from takt.chips.read import CHIP, chip_ids, load_chip, read_chip
from takt.chips.read_accelerator import (
    ACCELERATOR,
    accelerator_ids,
    load_accelerator,
    read_accelerator,
    spelled,
)
from takt.chips.read_system import SYSTEM, load_system, read_system, system_ids
from takt.chips.sheets import Form, find_sheet, read_toml
from takt.chips.system import Reach, System
from takt.errors import Problem, UsageError, did_you_mean

__all__ = ["Reach", "check_chips", "load_any"]

_MAX_BASES = 8
_HEAD_OF_ACCELERATOR = {*ACCELERATOR.texts, *ACCELERATOR.lists} - {*CHIP.texts}


def load_any(name_or_path: str | Path) -> Chip | System | Accelerator:
    """The LPU, the system or the accelerator of that id or TOML file.

    Raises UsageError when there is none, DataErrors with every problem when the file is wrong.
    """
    path, form = _find(name_or_path)
    name = path.stem if path.parent == form.folder else path
    if form is SYSTEM:
        return load_system(name)
    return load_accelerator(name) if form is ACCELERATOR else load_chip(name)


def check_chips(files: Sequence[str | Path] = ()) -> tuple[Problem, ...]:
    """All problems of ``files`` (or ids) of any kind; of all that ship when none are given.

    Raises UsageError for a file that does not exist, and for nothing else.
    """
    report = Report()
    for path, form in [_find(file) for file in files or _ids()]:
        if form is SYSTEM:
            read_system(path, report)
        elif form is ACCELERATOR:
            read_accelerator(path, report)
        else:
            read_chip(path, report)
    return report.all()


def _ids() -> tuple[str, ...]:
    return (*chip_ids(), *system_ids(), *accelerator_ids())


def _find(name_or_path: str | Path) -> tuple[Path, Form]:
    text = str(name_or_path)
    for form, ids in ((SYSTEM, system_ids()), (ACCELERATOR, accelerator_ids())):
        if text in ids:
            return find_sheet(text, form), form
    try:
        path = find_sheet(name_or_path, CHIP)
    except UsageError:
        spelling = None if text.endswith(".toml") else spelled(text)
        if spelling is not None:
            return find_sheet(spelling, ACCELERATOR), ACCELERATOR
        near = did_you_mean(text, _ids()) or f"among the {len(_ids())} known ones none is near"
        raise UsageError(
            f"no chip or system {describe(text)}, and no such .toml file",
            hint=f"{near} (`takt chips` lists them; a file of your own ends in .toml)",
        ) from None
    return path, _form_of(path, 0)


def _form_of(path: Path, depth: int) -> Form:
    """Which kind of sheet the file is; an LPU's where nothing tells."""
    raw = read_toml(path, Report()) or {}
    if "chip" in raw or raw.keys() & _only(SYSTEM):
        return SYSTEM
    if raw.keys() & (_only(ACCELERATOR) | _HEAD_OF_ACCELERATOR):
        return ACCELERATOR
    base = raw.get("base")
    if not isinstance(base, str) or base in chip_ids() or depth >= _MAX_BASES:
        return CHIP
    for form, ids in ((SYSTEM, system_ids()), (ACCELERATOR, accelerator_ids())):
        if base in ids:
            return form
    try:
        return _form_of(find_sheet(base, CHIP, path.parent), depth + 1)
    except UsageError:
        return CHIP


def _only(form: Form) -> set[str]:
    """Groups that only this kind of sheet has."""
    others = {
        group
        for other in (CHIP, SYSTEM, ACCELERATOR)
        if other is not form
        for group in other.groups
    }
    return form.groups.keys() - others
