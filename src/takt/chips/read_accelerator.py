"""Accelerator files: the GPUs, TPUs, CPUs and others that ship, and a user's own.

An accelerator is a fact sheet (``sheets``) with the groups of ``accelerator_schema``, a few texts and
its other spellings. Those that ship lie in the folder ``accelerators`` beside this module.

Reading one reads one file; a spelling that is no id needs the heads (above the facts) of all files.
"""

import tomllib
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType

from takt.chips.accelerator import Accelerator
from takt.chips.accelerator_schema import GROUPS, SPECS
from takt.chips.chip import Fact
from takt.chips.problems import Report, describe
from takt.chips.sheets import Form, Sheet, find_sheet, grouped, read_sheet, sheet_ids
from takt.chips.spelling import Spellings
from takt.errors import DataErrors, UsageError, did_you_mean

__all__ = [
    "ACCELERATOR",
    "accelerator_ids",
    "find_accelerator",
    "list_accelerators",
    "load_accelerator",
    "read_accelerator",
    "spelled",
]


def _settle(
    facts: Mapping[str, Fact], stated: Collection[str], report: Report
) -> Mapping[str, Fact]:
    """``facts`` as they are: nothing follows from others; what does not agree is noted."""
    for low, high in (("power.idle_w", "power.tdp_w"), ("power.tdp_w", "power.system_w")):
        less, more = (facts[key].value if key in facts else None for key in (low, high))
        if less is not None and more is not None and less > more:
            key = low if low in stated or high not in stated else high
            expected = f"{low} at most {high}"
            report.note(key, expected, f"{describe(less)} W above {describe(more)} W")
    return facts


ACCELERATOR = Form(
    noun="accelerator",
    folder=Path(__file__).parent / "accelerators",
    groups=GROUPS,
    specs=SPECS,
    texts=("vendor", "architecture", "nearest", "kind"),
    defaults=MappingProxyType({"kind": "accelerator"}),
    lists=("aliases",),
    sparse=True,
    settle=_settle,
)


def accelerator_ids() -> tuple[str, ...]:
    """Ids of the accelerators that ship, sorted."""
    return sheet_ids(ACCELERATOR)


def load_accelerator(name_or_path: str | Path) -> Accelerator:
    """The accelerator of that id, spelling ("H100 80GB SXM5") or TOML file.

    Raises UsageError when there is none, DataErrors with every problem when the file is wrong.
    """
    report = Report()
    chip = read_accelerator(_find(name_or_path), report)
    if chip is None:
        raise DataErrors(report.all())
    return chip


@lru_cache(maxsize=4_096)
def find_accelerator(text: str) -> Accelerator | None:
    """The accelerator that ``text`` speaks of, as measurement files write it; None if of none.

    Case, punctuation, vendors, counts ("x8") and kinds of memory do not matter, nor do other words
    in ``text``. Of several the one with the longest spelling is meant. Raises DataErrors when its
    file is wrong.
    """
    chip_id = spelled(text) or _spellings().inside(text)
    return load_accelerator(chip_id) if chip_id else None


def list_accelerators() -> tuple[Accelerator, ...]:
    """Every accelerator that ships, by id. Raises DataErrors with all problems of all files."""
    report = Report()
    chips = [read_accelerator(_path(chip_id), report) for chip_id in accelerator_ids()]
    if report.count():
        raise DataErrors(report.all())
    return tuple(chip for chip in chips if chip is not None)


def read_accelerator(path: Path, report: Report) -> Accelerator | None:
    """The accelerator of one file, or None with problems noted."""
    sheet = read_sheet(path, ACCELERATOR, report)
    if sheet is None:
        return None
    report = report.about(path.name if path.parent == ACCELERATOR.folder else str(path))
    nearest = _nearest(path, sheet, report)
    if nearest is None:
        return None
    return Accelerator(
        id=sheet.id,
        name=sheet.name,
        kind=sheet.texts["kind"][0],
        vendor=sheet.texts["vendor"][0],
        architecture=sheet.texts["architecture"][0],
        nearest=nearest,
        aliases=sheet.lists["aliases"],
        facts=tuple(sheet.facts[key] for key in SPECS if key in sheet.facts),
        sources=tuple(sorted(sheet.sources.items())),
        **grouped(sheet, ACCELERATOR),
    )


def spelled(text: str) -> str | None:
    """The id of the accelerator that ships and that ``text`` spells, whole."""
    return text if text in accelerator_ids() else _spellings().exact(text)


def _nearest(path: Path, sheet: Sheet, report: Report) -> str | None:
    """Id of the measured chip, or None with a problem noted.

    A base of the user's own that named itself means for what is based on it: nothing is alike.
    """
    nearest, stated_in = sheet.texts["nearest"]
    if nearest == sheet.id or nearest in accelerator_ids():
        return nearest
    if stated_in != path:
        return sheet.id
    hint = did_you_mean(nearest, accelerator_ids())
    expected = "the id of an accelerator that ships, or its own"
    report.note("nearest", expected, describe(nearest), hint)
    return None


def _path(chip_id: str) -> Path:
    return ACCELERATOR.folder / f"{chip_id}.toml"


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if text in accelerator_ids():
        return _path(text)
    if not text.endswith(".toml"):
        found = spelled(text)
        if found is not None:
            return _path(found)
        near = did_you_mean(text.lower(), _spellings().names)
        raise UsageError(
            f"no accelerator {describe(text)}, and no such .toml file",
            hint=f"{near or 'no name is near'} (`takt chips` lists them; a file of your own ends in .toml)",
        )
    return find_sheet(text, ACCELERATOR)


@cache
def _spellings() -> Spellings:
    """All spellings of what ships. A broken file counts with its id; reading it says what is wrong."""
    heads = {chip_id: _head(_path(chip_id)) for chip_id in accelerator_ids()}
    hosts = [chip_id for chip_id, head in heads.items() if head.get("kind") == "cpu"]
    return Spellings.of({chip_id: _names(head) for chip_id, head in heads.items()}, hosts)


def _names(head: Mapping[str, object]) -> list[str]:
    aliases = head.get("aliases", [])
    texts = [head.get("name"), *(aliases if isinstance(aliases, list) else [])]
    return [text for text in texts if isinstance(text, str)]


def _head(path: Path) -> Mapping[str, object]:
    """What stands in a file above its first table."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8").partition("\n[")[0])
    except (OSError, ValueError):
        return {}
