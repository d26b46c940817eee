"""System files: the systems that ship, and a user's own.

A system is a fact sheet (``sheets``) with the groups of ``system_schema`` and the name of its chip.
Those that ship lie in the folder ``systems`` beside this module. An id of a chip is a system too:
that chip alone.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from takt.chips.chip import Chip, Fact
from takt.chips.problems import Report, describe
from takt.chips.read import CHIP, chip_ids, load_chip, read_chip
from takt.chips.sheets import Form, Sheet, find_sheet, grouped, read_sheet, sheet_ids
from takt.chips.system import System
from takt.chips.system_schema import GROUPS, SPECS
from takt.chips.wiring import node_links
from takt.errors import DataErrors, UsageError

__all__ = ["SYSTEM", "list_systems", "load_system", "read_system", "system_ids"]

_ALONE = "single"
_TIERS = ("block", "rack", "hall")
# Above this a slip is likelier than a system, and its network would not fit in memory.
_MAX_CHIPS = 100_000

_Counts = Mapping[str, int]


def system_ids() -> tuple[str, ...]:
    """Ids of the systems that ship, sorted."""
    return sheet_ids(SYSTEM)


def load_system(name_or_path: str | Path) -> System:
    """The system of that id or TOML file; the chip of that id alone, if it is a chip's.

    Raises UsageError when there is neither, DataErrors with every problem when the file is wrong.
    """
    if str(name_or_path) in chip_ids():
        chip = load_chip(name_or_path)
        name = f"{chip.name}, alone"
        return replace(load_system(_ALONE), id=chip.id, name=name, chip=chip)
    report = Report()
    system = read_system(find_sheet(name_or_path, SYSTEM, others=chip_ids()), report)
    if system is None:
        raise DataErrors(report.all())
    return system


def list_systems() -> tuple[System, ...]:
    """Every system that ships, by id. Raises DataErrors with all problems of all files."""
    report = Report()
    systems = [read_system(find_sheet(name, SYSTEM), report) for name in system_ids()]
    if report.count():
        raise DataErrors(report.all())
    return tuple(system for system in systems if system is not None)


def read_system(path: Path, report: Report) -> System | None:
    """The system of one file, or None with problems noted."""
    sheet = read_sheet(path, SYSTEM, report)
    if sheet is None:
        return None
    report = report.about(path.name if path.parent == SYSTEM.folder else str(path))
    chip = _read_chip_of(sheet, report)
    if chip is None:
        return None
    before = report.count()
    _check_links(sheet, chip, report)
    if report.count() > before:
        return None
    return System(
        id=sheet.id,
        name=sheet.name,
        chip=chip,
        facts=tuple(sheet.facts[key] for key in SPECS),
        sources=tuple(sorted(sheet.sources.items())),
        **grouped(sheet, SYSTEM),
    )


def _read_chip_of(sheet: Sheet, report: Report) -> Chip | None:
    name, stated_in = sheet.texts["chip"]
    try:
        path = find_sheet(name, CHIP, stated_in.parent)
    except UsageError as error:
        report.note("chip", "the id of a chip or a .toml file", describe(name), error.hint)
        return None
    return read_chip(path, report)


def _settle(
    facts: Mapping[str, Fact], stated: Collection[str], report: Report
) -> Mapping[str, Fact]:
    """``facts`` as they are: nothing follows from others; what does not agree is noted."""
    counts = {key: fact.value for key, fact in facts.items() if isinstance(fact.value, int)}
    _check_at_most(
        "ports.local_links", _node_links(counts), "the links inside a node", counts, report
    )
    used = sum(counts[f"{tier}.links_per_chip"] for tier in _TIERS)
    _check_at_most("ports.global_links", used, "the links_per_chip of all tiers", counts, report)
    if counts["node.chips"] > 1 and not counts["node.links_per_pair"]:
        report.note("node.links_per_pair", "at least 1, for chips that make a node", "0")
    unit_chips = counts["node.chips"]
    for tier in _TIERS:
        _check_tier(tier, unit_chips, counts, report)
        unit_chips *= counts[f"{tier}.units"]
    if unit_chips > _MAX_CHIPS:
        report.note("hall.units", f"at most {_MAX_CHIPS:,} chips in all", f"{unit_chips:,} chips")
    return facts


def _check_tier(tier: str, unit_chips: int, counts: _Counts, report: Report) -> None:
    """Note what keeps the ``units`` of one tier from being wired; each has ``unit_chips``."""
    units, neighbours = counts[f"{tier}.units"], counts[f"{tier}.neighbours"]
    links = counts[f"{tier}.links_per_chip"]
    if counts[f"{tier}.spare_units"] >= units:
        found = describe(counts[f"{tier}.spare_units"])
        report.note(f"{tier}.spare_units", f"fewer than {tier}.units = {units}", found)
    if units == 1:
        return
    if neighbours != units - 1 and not (neighbours % 2 == 0 and 0 < neighbours < units):
        expected = f"{units - 1}, that is all others, or an even number below it"
        report.note(f"{tier}.neighbours", expected, describe(neighbours))
    elif links % 2 or unit_chips * links < neighbours:
        fewest = -(-neighbours // unit_chips)
        expected = f"an even number from {fewest + fewest % 2} on, to reach {neighbours} neighbours"
        report.note(f"{tier}.links_per_chip", expected, describe(links))


def _node_links(counts: _Counts) -> int:
    return node_links(counts["node.chips"], counts["node.links_per_pair"])


def _check_at_most(key: str, used: int, words: str, counts: _Counts, report: Report) -> None:
    if counts[key] < used:
        report.note(key, f"at least {used} = {words}", describe(counts[key]))


def _check_links(sheet: Sheet, chip: Chip, report: Report) -> None:
    """Note it when the system uses more links than the chip has."""
    local, world = (sheet.facts[f"ports.{name}_links"].value for name in ("local", "global"))
    assert isinstance(local, int) and isinstance(world, int)
    if local + world > chip.c2c.links:
        expected = f"at most c2c.links = {chip.c2c.links} of chip {chip.id}, local and global"
        report.note("ports", expected, f"{local} + {world}")


SYSTEM = Form(
    noun="system",
    folder=Path(__file__).parent / "systems",
    groups=GROUPS,
    specs=SPECS,
    texts=("chip",),
    settle=_settle,
)
