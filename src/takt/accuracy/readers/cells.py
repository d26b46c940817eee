"""Cells of one row as numbers and words, with bounds; and how a row says that it can't be used.

Knows blanks, numbers and what is absurd. Does not know which columns there are.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from takt.accuracy.case import Case, Skip
from takt.errors import DataError

__all__ = ["MAX_CHIPS", "MAX_TOKENS", "Row", "Unusable", "each"]

MAX_TOKENS = 1e8
MAX_CHIPS = 1_000_000
_MAX_NUMBER = 1e15
# What files write where they have no number.
_BLANK = frozenset({"", "-", "n/a", "na", "nan", "none", "null"})
# 1,234.5: commas between thousands; a decimal comma (1,5) is no number that could be told from it.
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_TRUE = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class Unusable(DataError):
    """A row that can't become a case; the message is the reason that rows of its kind share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row by column name. Methods raise Unusable for a cell that can't be what is asked for."""

    where: str
    cells: Mapping[str, str]

    def has(self, column: str) -> bool:
        """Whether the cell holds anything."""
        return self.cells.get(column, "").strip().lower() not in _BLANK

    def text(self, column: str) -> str:
        """The words in a cell, "" if blank or without such a column."""
        return self.cells[column].strip() if self.has(column) else ""

    def need(self, column: str) -> str:
        """The words in a cell that must not be blank."""
        if not (text := self.text(column)):
            raise Unusable(f"no {column}")
        return text

    def number(self, column: str, *, most: float = _MAX_NUMBER) -> float | None:
        """A number above 0, None where blank or 0 (files write 0 for what was not measured)."""
        value = self._float(column)
        if value is None or value == 0:
            return None
        if not 0 < value <= most:
            raise Unusable(f"{column} is negative or absurd")
        return value

    def needed(self, column: str, *, most: float = _MAX_NUMBER) -> float:
        """A number above 0."""
        value = self.number(column, most=most)
        if value is None:
            raise Unusable(f"no {column}")
        return value

    def count(self, column: str, *, least: int = 1, most: int = MAX_CHIPS) -> int | None:
        """A whole number between `least` and `most`, None where blank."""
        value = self._float(column)
        if value is None:
            return None
        if value != int(value):
            raise Unusable(f"{column} is not a whole number")
        if not least <= value <= most:
            raise Unusable(f"{column} is negative or absurd")
        return int(value)

    def needed_count(self, column: str, *, most: int = MAX_CHIPS) -> int:
        """A whole number of at least 1."""
        value = self.count(column, most=most)
        if value is None:
            raise Unusable(f"no {column}")
        return value

    def tokens(self, column: str, *, zero: bool = False) -> float | None:
        """A length in tokens, None where blank; 0 only where allowed."""
        value = self._float(column)
        if value is None:
            return None
        if not 0 <= value <= MAX_TOKENS or (value == 0 and not zero):
            raise Unusable(f"{column} is negative or absurd")
        return value

    def flag(self, column: str) -> bool:
        """Yes or no; a blank is no."""
        text = self.text(column).lower()
        if not text:
            return False
        if text not in _TRUE:
            raise Unusable(f"{column} is neither yes nor no")
        return _TRUE[text]

    def _float(self, column: str) -> float | None:
        text = self.text(column)
        if not text:
            return None
        if _THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        try:
            # Python reads 1_000 as a number; in a table it is none.
            value = float(text if "_" not in text else "")
        except ValueError:
            raise Unusable(f"{column} is not a number") from None
        if not math.isfinite(value):
            raise Unusable(f"{column} is not finite")
        return value


def each(rows: Iterable[Row], case_of: Callable[[Row], Case]) -> Iterator[Case | Skip]:
    """Each row as a Case, or as a Skip with the reason that `case_of` raised."""
    for row in rows:
        try:
            yield case_of(row)
        except Unusable as error:
            yield Skip(where=row.where, reason=error.message)
