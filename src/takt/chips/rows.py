"""One row of a chip file: from what TOML gives to a Fact, or to all that is wrong with it.

A full row states value, unit, kind, source and date. A row that overrides a base may be just a
number: it is then assumed, and its source is the file it stands in.

Problems are noted, never raised: the caller wants all of them.
"""

import datetime
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from takt.chips.chip import Fact, Kind, Number
from takt.chips.problems import Report, describe
from takt.chips.quantities import Spec
from takt.errors import did_you_mean

__all__ = ["RowReader"]

_ROW_KEYS = ("value", "unknown", "unit", "kind", "source", "date", "note")
_REQUIRED_KEYS = ("unit", "kind", "source", "date")
_PROVENANCE_KEYS = ("kind", "source", "date", "note")
_DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?", re.ASCII)
# Clocks and rates are written 1.25e9 by people, and TOML reads that as a float.
_WRITTEN_AS_FLOAT = ("Hz", "bit/s", "B/s")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReader:
    """Reads the rows of one file, noting problems in ``report``.

    ``strict`` files state everything in every row, with ``source`` from ``sources``: those of the
    catalogue, and files without a base.
    """

    strict: bool
    sources: Mapping[str, str]
    report: Report

    def read(self, spec: Spec, raw: object) -> Fact | None:
        """A Fact with its history when ``raw`` is a number, a row or a list of dated rows."""
        if not isinstance(raw, list):
            return self._row(spec, raw, spec.key)
        before = self.report.count()
        rows = [self._row(spec, row, f"{spec.key}[{i}]") for i, row in enumerate(raw)]
        facts = [fact for fact in rows if fact is not None]
        if self.report.count() > before:
            return None
        dates = [fact.date for fact in facts]
        in_order = all(old < new for old, new in itertools.pairwise(dates))
        if not facts or "" in dates or not in_order:
            found = ", ".join(map(repr, dates)) or "an empty array"
            self.report.note(spec.key, "rows in order of their dates", found)
            return None
        return replace(facts[-1], history=tuple(facts[:-1]))

    def provenance(self, raw: object, where: str) -> Fact | None:
        """Kind, source, date and note that a whole file gives to what it inherits."""
        if not isinstance(raw, dict):
            expected = "a table with kind, source, date and note"
            self.report.note(where, expected, describe(raw))
            return None
        before = self.report.count()
        self._check_keys(raw, where, _PROVENANCE_KEYS, ("kind", "source", "date"))
        fact = self._fact(where, None, "", raw, where)
        return fact if self.report.count() == before else None

    def _row(self, spec: Spec, raw: object, where: str) -> Fact | None:
        before = self.report.count()
        unit = spec.quantity.unit
        if isinstance(raw, dict):
            self._check_keys(raw, where, _ROW_KEYS, _REQUIRED_KEYS if self.strict else ())
            if raw.get("unit", unit) != unit:
                self.report.note(f"{where}.unit", f"'{unit}'", describe(raw["unit"]))
            fact = self._fact(spec.key, self._value_of_row(spec, raw, where), unit, raw, where)
        elif self.strict:
            self.report.note(where, "a row { value, unit, kind, source, date }", describe(raw))
            return None
        else:
            fact = self._fact(spec.key, self._value(spec, raw, where), unit, {}, where)
        return fact if self.report.count() == before else None

    def _fact(
        self, key: str, value: Number | None, unit: str, raw: Mapping[str, object], where: str
    ) -> Fact:
        kind = self._kind(raw.get("kind", Kind.ASSUMED.value), where)
        return Fact(
            key=key,
            value=value,
            unit=unit,
            kind=kind,
            source=self._source(raw, kind, where),
            date=self._date(raw.get("date", ""), where),
            note=self._text(raw.get("note", ""), f"{where}.note"),
        )

    def _check_keys(
        self,
        raw: Mapping[str, object],
        where: str,
        known: tuple[str, ...],
        required: tuple[str, ...],
    ) -> None:
        for name in raw.keys() - set(known):
            found = f"the unknown key {describe(name)}"
            self.report.note(where, f"one of {', '.join(known)}", found, did_you_mean(name, known))
        for name in required:
            if name not in raw:
                self.report.note(f"{where}.{name}", "a value", "nothing")

    def _value_of_row(self, spec: Spec, raw: Mapping[str, object], where: str) -> Number | None:
        if "unknown" not in raw:
            if "value" in raw:
                return self._value(spec, raw["value"], f"{where}.value")
            self.report.note(f"{where}.value", _expected(spec), "nothing")
        elif raw["unknown"] is not True:
            self.report.note(f"{where}.unknown", "true", describe(raw["unknown"]))
        elif "value" in raw:
            self.report.note(where, "either value or unknown", "both")
        elif spec.required:
            self.report.note(where, f"{_expected(spec)}; every chip has one", "unknown = true")
        return None

    def _value(self, spec: Spec, raw: object, where: str) -> Number | None:
        value = _number(spec, raw)
        # Not-a-number fails the comparison too.
        if value is None or not spec.quantity.low <= value <= spec.quantity.high:
            self.report.note(where, _expected(spec), describe(raw))
            return None
        # Only now: an integer beyond a float's range would raise.
        return value if spec.is_integer else float(value)

    def _kind(self, raw: object, where: str) -> Kind:
        names = [kind.value for kind in Kind]
        if isinstance(raw, str) and raw in names:
            return Kind(raw)
        hint = did_you_mean(raw, names) if isinstance(raw, str) else None
        self.report.note(f"{where}.kind", f"one of {', '.join(names)}", describe(raw), hint)
        return Kind.ASSUMED

    def _source(self, raw: Mapping[str, object], kind: Kind, where: str) -> str:
        if "source" not in raw:
            if kind is not Kind.ASSUMED and not self.strict:
                self.report.note(f"{where}.source", f"a source for what is {kind}", "nothing")
            return self.report.file
        text = self._text(raw["source"], f"{where}.source")
        for name in text.split(",") if self.strict else ():
            if name.strip() not in self.sources:
                hint = did_you_mean(name.strip(), self.sources)
                self.report.note(f"{where}.source", "keys of [sources]", describe(name), hint)
        return text

    def _date(self, raw: object, where: str) -> str:
        text = raw.isoformat() if type(raw) is datetime.date else raw
        if isinstance(text, str) and (not text or _DATE.fullmatch(text)):
            return text
        expected = "a date such as '2020-05-30' or '2020'"
        self.report.note(f"{where}.date", expected, describe(raw))
        return ""

    def _text(self, raw: object, where: str) -> str:
        if isinstance(raw, str):
            return raw
        self.report.note(where, "text", describe(raw))
        return ""


def _number(spec: Spec, raw: object) -> Number | None:
    """``raw`` if it is a number of the kind that ``spec`` wants, before any look at its range."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    if not spec.is_integer or isinstance(raw, int):
        return raw
    return int(raw) if spec.quantity.unit in _WRITTEN_AS_FLOAT and raw.is_integer() else None


def _expected(spec: Spec) -> str:
    kind = "an integer" if spec.is_integer else "a number"
    quantity = spec.quantity
    return f"{kind} from {quantity.low:g} to {quantity.high:g} ({quantity.unit})"
