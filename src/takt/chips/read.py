"""Chip files: the chips of the catalogue, and a user's own.

A chip is a fact sheet (``sheets``) with the groups of ``schema``, whose facts go together as
``rules`` says. The catalogue is the folder ``catalogue`` beside this module.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from takt.chips.chip import Chip, Fact
from takt.chips.problems import Report
from takt.chips.read_accelerator import accelerator_ids
from takt.chips.rules import check_agreement, settle_dependents
from takt.chips.schema import GROUPS, SPECS
from takt.chips.sheets import Form, find_sheet, grouped, read_sheet, sheet_ids
from takt.errors import DataErrors, UsageError

__all__ = ["CHIP", "chip_ids", "list_chips", "load_chip", "read_chip"]


def _settle(
    facts: Mapping[str, Fact], stated: Collection[str], report: Report
) -> Mapping[str, Fact]:
    settled = settle_dependents(facts, stated, report)
    check_agreement(settled, report)
    return settled


CHIP = Form(
    noun="chip",
    folder=Path(__file__).parent / "catalogue",
    groups=GROUPS,
    specs=SPECS,
    texts=("vendor",),
    defaults=MappingProxyType({"vendor": "unknown"}),
    settle=_settle,
)


def chip_ids() -> tuple[str, ...]:
    """Ids of the catalogue, sorted."""
    return sheet_ids(CHIP)


def load_chip(name_or_path: str | Path) -> Chip:
    """The chip of that id, or of that TOML file.

    Raises UsageError when there is neither, DataErrors with every problem when the file is wrong.
    """
    if str(name_or_path) in accelerator_ids():
        hint = f"LPUs are {', '.join(chip_ids())}; a file of your own ends in .toml"
        raise UsageError(f"{name_or_path} is no LPU", hint=hint)
    report = Report()
    chip = read_chip(find_sheet(name_or_path, CHIP), report)
    if chip is None:
        raise DataErrors(report.all())
    return chip


def list_chips() -> tuple[Chip, ...]:
    """Every chip of the catalogue, by id. Raises DataErrors with all problems of all files."""
    report = Report()
    chips = [read_chip(find_sheet(chip_id, CHIP), report) for chip_id in chip_ids()]
    if report.count():
        raise DataErrors(report.all())
    return tuple(chip for chip in chips if chip is not None)


def read_chip(path: Path, report: Report) -> Chip | None:
    """The chip of one file, or None with problems noted."""
    sheet = read_sheet(path, CHIP, report)
    if sheet is None:
        return None
    return Chip(
        id=sheet.id,
        name=sheet.name,
        vendor=sheet.texts["vendor"][0],
        facts=tuple(sheet.facts[key] for key in SPECS),
        sources=tuple(sorted(sheet.sources.items())),
        **grouped(sheet, CHIP),
    )
