"""Fact sheets: TOML files of facts, of chips or of systems, and all that is wrong with them at once.

A sheet either states every fact of its form (every one that must be known, where the form is
``sparse``), or names a ``base`` and states what differs. Those that ship lie in the form's folder; a
user's file works wherever an id does, as a base too.

Does not know what a fact means, what one row may hold (``rows``), nor how facts must go together:
a form brings the last as a function.
"""

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from takt.chips.chip import Fact
from takt.chips.problems import Report, describe
from takt.chips.quantities import Spec
from takt.chips.rows import RowReader
from takt.errors import UsageError, did_you_mean

__all__ = ["Form", "Sheet", "find_sheet", "grouped", "read_sheet", "read_toml", "sheet_ids"]

_MAX_FILE_BYTES = 1 << 18
_MAX_NAME_CHARS = 1_000
_MAX_BASES = 8
_HEADER_KEYS = ("id", "name", "base", "inherit", "sources")

_Facts = Mapping[str, Fact]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a kind of sheet holds: groups of facts, ``texts`` beside them, and where those that ship lie.

    ``settle(facts, stated, report)`` gives all facts, with those that follow from others made
    right, and notes what does not agree; ``stated`` are the keys that the sheet itself states.
    ``defaults`` are the texts that may be left out, ``lists`` are lists of texts (none where left
    out, and never inherited). In a ``sparse`` form so may facts that need not be known.
    """

    noun: str
    folder: Path
    groups: Mapping[str, type]
    specs: Mapping[str, Spec]
    texts: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    lists: tuple[str, ...] = ()
    sparse: bool = False
    settle: Callable[[_Facts, Collection[str], Report], _Facts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A sheet without problems: every fact of its form by key, every text with the file it is from.

    A sheet of a sparse form has no fact for what it leaves out.
    """

    id: str
    name: str
    sources: Mapping[str, str]
    facts: _Facts
    texts: Mapping[str, tuple[str, Path]]
    lists: Mapping[str, tuple[str, ...]]


def sheet_ids(form: Form) -> tuple[str, ...]:
    """Ids of the sheets that ship, sorted."""
    return tuple(sorted(path.stem for path in form.folder.glob("*.toml")))


def find_sheet(
    name_or_path: str | Path,
    form: Form,
    folder: Path | None = None,
    others: Sequence[str] = (),
) -> Path:
    """The file behind an id or a path; relative paths count from ``folder`` if given.

    Raises UsageError where there is neither, with a near miss among the ids and ``others``.
    """
    text = str(name_or_path)
    ids = sheet_ids(form)
    if text in ids:
        return form.folder / f"{text}.toml"
    # The file system raises on NUL and on over-long names, instead of answering no.
    if "\0" not in text and len(text) < _MAX_NAME_CHARS and text.endswith(".toml"):
        path = (folder or Path()) / text
        if path.is_file():
            return path
    near = did_you_mean(text, [*ids, *others]) or f"known {form.noun}s are {', '.join(ids)}"
    raise UsageError(
        f"no {form.noun} {describe(text)}, and no such .toml file",
        hint=f"{near} (`takt chips` lists them; a file of your own ends in .toml)",
    )


def read_sheet(
    path: Path, form: Form, report: Report, chain: tuple[Path, ...] = ()
) -> Sheet | None:
    """The sheet in one file, or None with problems noted. ``chain`` is the files based on it."""
    shipped = path.parent == form.folder
    report = report.about(path.name if shipped else str(path))
    before = report.count()
    raw = read_toml(path, report)
    if raw is None:
        return None
    header = _read_header(path, raw, form, report, chain)
    reader = RowReader(strict=shipped or "base" not in raw, sources=header.sources, report=report)
    inherited = _inherit(header.base, raw, reader)
    stated = _read_facts(raw, form, reader)
    if header.base or "base" not in raw:  # else nobody can say what is missing
        _check_complete(inherited.keys() | _mentioned(raw), form, report)
    if report.count() > before:
        return None
    facts = form.settle(inherited | stated, stated, report)
    if report.count() > before:
        return None
    return Sheet(
        id=header.id,
        name=header.name,
        sources=header.sources,
        facts=facts,
        texts=header.texts,
        lists=header.lists,
    )


def grouped(sheet: Sheet, form: Form) -> dict[str, Any]:
    """The dataclass of every group of the form, filled with the sheet's values."""
    # The groups' fields are the keys of the specs, and the rows were checked against these: the
    # only place where types rest on that instead of on the type checker.
    values: dict[str, dict[str, Any]] = {group: {} for group in form.groups}
    for key in form.specs:
        group, name = key.split(".")
        values[group][name] = sheet.facts[key].value if key in sheet.facts else None
    return {group: kind(**values[group]) for group, kind in form.groups.items()}


def read_toml(path: Path, report: Report) -> dict[str, object] | None:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    id: str
    name: str
    base: Sheet | None
    sources: Mapping[str, str]
    texts: Mapping[str, tuple[str, Path]]
    lists: Mapping[str, tuple[str, ...]]


def _read_header(
    path: Path, raw: Mapping[str, object], form: Form, report: Report, chain: tuple[Path, ...]
) -> _Header:
    """All above the groups. Where it is wrong, what comes back serves only to read on."""
    base = _read_base(path, raw["base"], form, report, chain) if "base" in raw else None
    sources = dict(base.sources) if base else {}
    stated = raw.get("sources", {})
    if isinstance(stated, dict) and all(isinstance(text, str) for text in stated.values()):
        sources |= stated
    else:
        report.note("sources", "a table of texts", describe(stated))
    sheet_id = _read_text(raw, "id", path.stem if "base" in raw else None, report)
    default_name = f"{sheet_id}, after {base.id}" if base else sheet_id
    name = _read_text(raw, "name", default_name, report)
    if path.parent == form.folder and sheet_id != path.stem:
        report.note("id", f"'{path.stem}', like the file", describe(sheet_id))
    texts = dict(base.texts) if base else {}
    for key in form.texts:
        if key in raw or "base" not in raw:
            texts[key] = (_read_text(raw, key, form.defaults.get(key), report), path)
    return _Header(
        id=sheet_id,
        name=name,
        base=base,
        sources=sources,
        texts=texts,
        lists={key: _read_texts(raw, key, report) for key in form.lists},
    )


def _read_text(raw: Mapping[str, object], key: str, default: str | None, report: Report) -> str:
    value = raw.get(key, default)
    if isinstance(value, str) and 0 < len(value) < _MAX_NAME_CHARS and value.isprintable():
        return value
    report.note(key, "a line of text", "nothing" if value is None else describe(value))
    return "?"


def _read_texts(raw: Mapping[str, object], key: str, report: Report) -> tuple[str, ...]:
    values = raw.get(key, [])
    if not isinstance(values, list):
        report.note(key, "a list of texts", describe(values))
        return ()
    rows = {f"{key}[{i}]": value for i, value in enumerate(values)}
    return tuple(_read_text(rows, row, None, report) for row in rows)


def _read_base(
    path: Path, raw: object, form: Form, report: Report, chain: tuple[Path, ...]
) -> Sheet | None:
    expected = f"the id of a {form.noun} or a .toml file"
    if not isinstance(raw, str):
        report.note("base", expected, describe(raw))
        return None
    try:
        found = find_sheet(raw, form, path.parent)
    except UsageError as error:
        report.note("base", expected, describe(raw), error.hint)
        return None
    chain = (*chain, path.resolve())
    if found.resolve() in chain or len(chain) > _MAX_BASES:
        expected = f"bases that end at a {form.noun} without one"
        report.note("base", expected, f"{describe(raw)} once more")
        return None
    return read_sheet(found, form, report, chain)


def _inherit(base: Sheet | None, raw: Mapping[str, object], reader: RowReader) -> dict[str, Fact]:
    """The base's facts, with the provenance that the file gives them if it gives one."""
    given = reader.provenance(raw["inherit"], "inherit") if "inherit" in raw else None
    facts = dict(base.facts) if base else {}
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


def _check_complete(keys: Collection[str], form: Form, report: Report) -> None:
    """Note every fact that is not among ``keys``: what is unknown must be said to be."""
    for key, spec in form.specs.items():
        if key not in keys and (spec.required or not form.sparse):
            report.note(key, "a row", "nothing")


def _read_facts(raw: Mapping[str, object], form: Form, reader: RowReader) -> dict[str, Fact]:
    """The facts that the file itself states. Everything unknown is noted, with a near miss."""
    header_keys = (*_HEADER_KEYS, *form.texts, *form.lists)
    facts: dict[str, Fact] = {}
    for group, rows in raw.items():
        if group in header_keys:
            continue
        if group not in form.groups:
            hint = did_you_mean(group, [*form.groups, *header_keys])
            reader.report.note(group, "a known group or key", "an unknown one", hint)
        elif not isinstance(rows, dict):
            reader.report.note(group, "a table of facts", describe(rows))
        else:
            facts |= _read_group(group, rows, form, reader)
    return facts


def _read_group(
    group: str, rows: Mapping[str, object], form: Form, reader: RowReader
) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    for name, row in rows.items():
        key = f"{group}.{name}"
        if key not in form.specs:
            hint = did_you_mean(key, form.specs)
            reader.report.note(key, f"a fact of [{group}]", "an unknown one", hint)
            continue
        fact = reader.read(form.specs[key], row)
        if fact is not None:
            facts[key] = fact
    return facts
