"""Chip files: find them, read them, and say everything that is wrong with them at once.

A file either states every fact, or names a ``base`` and states what differs. The catalogue is the
folder ``catalogue`` beside this module; a user's file works wherever an id does, as a base too.

Does not know what a fact means (``schema``), what one row may hold (``rows``), nor how facts must
go together (``rules``).
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from takt.chips.chip import Chip, Fact
from takt.chips.problems import Report, describe
from takt.chips.rows import RowReader
from takt.chips.rules import check_agreement, check_complete, settle_dependents
from takt.chips.schema import GROUPS, SPECS
from takt.errors import DataErrors, Problem, UsageError, did_you_mean

__all__ = ["check_chips", "chip_ids", "list_chips", "load_chip"]

_CATALOGUE = Path(__file__).parent / "catalogue"
_MAX_FILE_BYTES = 1 << 18
_MAX_NAME_CHARS = 1_000
_MAX_BASES = 8
_HEADER_KEYS = ("id", "name", "base", "inherit", "sources")


def chip_ids() -> tuple[str, ...]:
    """Ids of the catalogue, sorted."""
    return tuple(sorted(path.stem for path in _CATALOGUE.glob("*.toml")))


def load_chip(name_or_path: str | Path) -> Chip:
    """The chip of that id, or of that TOML file.

    Raises UsageError when there is neither, DataErrors with every problem when the file is wrong.
    """
    report = Report()
    chip = _read_chip(_find(name_or_path), report, ())
    if chip is None:
        raise DataErrors(report.all())
    return chip


def list_chips() -> tuple[Chip, ...]:
    """Every chip of the catalogue, by id. Raises DataErrors with all problems of all files."""
    report = Report()
    chips = [_read_chip(_find(chip_id), report, ()) for chip_id in chip_ids()]
    if report.count():
        raise DataErrors(report.all())
    return tuple(chip for chip in chips if chip is not None)


def check_chips(files: Sequence[str | Path] = ()) -> tuple[Problem, ...]:
    """All problems of ``files`` (or ids); of the whole catalogue when none are given.

    Raises UsageError for a file that does not exist, and for nothing else.
    """
    report = Report()
    for path in [_find(file) for file in files or chip_ids()]:
        _read_chip(path, report, ())
    return report.all()


def _find(name_or_path: str | Path, folder: Path | None = None) -> Path:
    """The file behind an id or a path; relative paths count from ``folder`` if given."""
    text = str(name_or_path)
    if text in chip_ids():
        return _CATALOGUE / f"{text}.toml"
    # The file system raises on NUL and on over-long names, instead of answering no.
    if "\0" not in text and len(text) < _MAX_NAME_CHARS and text.endswith(".toml"):
        path = (folder or Path()) / text
        if path.is_file():
            return path
    near = did_you_mean(text, chip_ids()) or f"known chips are {', '.join(chip_ids())}"
    raise UsageError(
        f"no chip {describe(text)}, and no such .toml file",
        hint=f"{near} (`takt chips` lists them; a file of your own ends in .toml)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    id: str
    name: str
    base: Chip | None
    sources: Mapping[str, str]


def _read_chip(path: Path, report: Report, chain: tuple[Path, ...]) -> Chip | None:
    """The chip of one file, or None with problems noted. ``chain`` is the files based on it."""
    shipped = path.parent == _CATALOGUE
    report = report.about(path.name if shipped else str(path))
    before = report.count()
    raw = _read_toml(path, report)
    if raw is None:
        return None
    header = _read_header(path, raw, report, chain)
    reader = RowReader(strict=shipped or "base" not in raw, sources=header.sources, report=report)
    inherited = _inherit(header.base, raw, reader)
    stated = _read_facts(raw, reader)
    if header.base or "base" not in raw:  # else nobody can say what is missing
        check_complete(inherited.keys() | _mentioned(raw), report)
    if report.count() > before:
        return None
    facts = settle_dependents(inherited | stated, stated, report)
    check_agreement(facts, report)
    return _build(header, facts) if report.count() == before else None


def _read_toml(path: Path, report: Report) -> dict[str, object] | None:
    """The parsed file; None with a problem noted when it is too big, unreadable or not TOML."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) <= _MAX_FILE_BYTES:
            return tomllib.loads(data.decode("utf-8"))
        report.note("", f"at most {_MAX_FILE_BYTES} bytes", "more")
    except OSError as error:
        report.note("", "a readable file", error.strerror or type(error).__name__)
    except UnicodeDecodeError:
        report.note("", "UTF-8 text", "other bytes")
    except ValueError as error:  # TOMLDecodeError; and dates and numbers that Python cannot hold
        report.note("", "TOML", str(error)[:200])
    except RecursionError:
        report.note("", "TOML", "brackets nested too deeply")
    return None


def _read_header(
    path: Path, raw: Mapping[str, object], report: Report, chain: tuple[Path, ...]
) -> _Header:
    """All above the groups. Where it is wrong, what comes back serves only to read on."""
    base = _read_base(path, raw["base"], report, chain) if "base" in raw else None
    sources = dict(base.sources) if base else {}
    stated = raw.get("sources", {})
    if isinstance(stated, dict) and all(isinstance(text, str) for text in stated.values()):
        sources |= stated
    else:
        report.note("sources", "a table of texts", describe(stated))
    chip_id = _read_text(raw, "id", path.stem if "base" in raw else None, report)
    name = _read_text(raw, "name", f"{chip_id}, after {base.id}" if base else chip_id, report)
    if path.parent == _CATALOGUE and chip_id != path.stem:
        report.note("id", f"'{path.stem}', like the file", describe(chip_id))
    return _Header(id=chip_id, name=name, base=base, sources=sources)


def _read_text(raw: Mapping[str, object], key: str, default: str | None, report: Report) -> str:
    value = raw.get(key, default)
    if isinstance(value, str) and 0 < len(value) < _MAX_NAME_CHARS and value.isprintable():
        return value
    report.note(key, "a line of text", "nothing" if value is None else describe(value))
    return "?"


def _read_base(path: Path, raw: object, report: Report, chain: tuple[Path, ...]) -> Chip | None:
    if not isinstance(raw, str):
        report.note("base", "the id of a chip or a .toml file", describe(raw))
        return None
    try:
        found = _find(raw, path.parent)
    except UsageError as error:
        report.note("base", "the id of a chip or a .toml file", describe(raw), error.hint)
        return None
    chain = (*chain, path.resolve())
    if found.resolve() in chain or len(chain) > _MAX_BASES:
        report.note("base", "bases that end at a chip without one", f"{describe(raw)} once more")
        return None
    return _read_chip(found, report, chain)


def _inherit(base: Chip | None, raw: Mapping[str, object], reader: RowReader) -> dict[str, Fact]:
    """The base's facts, with the provenance that the file gives them if it gives one."""
    given = reader.provenance(raw["inherit"], "inherit") if "inherit" in raw else None
    facts = {fact.key: fact for fact in base.facts} if base else {}
    if given is None:
        return facts
    return {
        key: replace(
            fact,
            kind=given.kind,
            source=given.source,
            date=given.date,
            note="; ".join(filter(None, [given.note, fact.note])),
            history=(),
        )
        for key, fact in facts.items()
    }


def _mentioned(raw: Mapping[str, object]) -> set[str]:
    """Keys of the facts that the file speaks of, rightly or wrongly."""
    groups = {name: rows for name, rows in raw.items() if isinstance(rows, dict)}
    return {f"{group}.{name}" for group, rows in groups.items() for name in rows}


def _read_facts(raw: Mapping[str, object], reader: RowReader) -> dict[str, Fact]:
    """The facts that the file itself states. Everything unknown is noted, with a near miss."""
    facts: dict[str, Fact] = {}
    for group, rows in raw.items():
        if group in _HEADER_KEYS:
            continue
        if group not in GROUPS:
            hint = did_you_mean(group, [*GROUPS, *_HEADER_KEYS])
            reader.report.note(group, "a known group or key", "an unknown one", hint)
        elif not isinstance(rows, dict):
            reader.report.note(group, "a table of facts", describe(rows))
        else:
            facts |= _read_group(group, rows, reader)
    return facts


def _read_group(group: str, rows: Mapping[str, object], reader: RowReader) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    for name, row in rows.items():
        key = f"{group}.{name}"
        if key not in SPECS:
            hint = did_you_mean(key, SPECS)
            reader.report.note(key, f"a fact of [{group}]", "an unknown one", hint)
            continue
        fact = reader.read(SPECS[key], row)
        if fact is not None:
            facts[key] = fact
    return facts


def _build(header: _Header, facts: Mapping[str, Fact]) -> Chip:
    # The groups' fields are the keys of SPECS, and the rows were checked against these: the only
    # place where types rest on that instead of on the type checker.
    values: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for key in SPECS:
        group, name = key.split(".")
        values[group][name] = facts[key].value
    groups: dict[str, Any] = {group: kind(**values[group]) for group, kind in GROUPS.items()}
    return Chip(
        id=header.id,
        name=header.name,
        facts=tuple(facts[key] for key in SPECS),
        sources=tuple(sorted(header.sources.items())),
        **groups,
    )
