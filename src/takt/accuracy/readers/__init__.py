"""Readers of measurement files: any file that is known becomes cases, row by row.

    read_cases(Path("inferencex.csv.gz"))                    cases and skips
    read_cases(Path("result.json"), Defaults(chip="h100-sxm", tp=8))

`read_cases` recognises a table by its header (`known`), JSON by its fields (`results_json`). Each table
has a module with its name, whose docstring says what its columns mean and which check supports that.
Every row becomes a Case or a Skip with its reason, or is summed into a Case (`Case.rows`). Does not
know chips and models beyond their spelling, and predicts nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from takt.accuracy.case import Case, Skip
from takt.accuracy.readers import results_json
from takt.accuracy.readers.build import Defaults
from takt.accuracy.readers.cells import Row
from takt.accuracy.readers.facts import date_of
from takt.accuracy.readers.known import filled_from, table_of
from takt.accuracy.table import header_of, looks_like_json, rows_of

__all__ = ["Defaults", "read_cases"]

_WRONG_WIDTH = "number of cells differs from the header's"


def read_cases(path: Path, defaults: Defaults | None = None) -> tuple[list[Case], list[Skip]]:
    """All cases of a file, and the rows that can't be one, with reasons; both in the file's order.

    `defaults`: what the file does not say (chip, number of chips, split, engine, types).
    Raises UsageError for a file that can't be read, is empty, or whose columns or fields fit nothing that
    is known (with the nearest, and what is missing); DataError for damaged or oversized files.
    """
    defaults = defaults or Defaults()
    cases, skips = list[Case](), list[Skip]()
    found = results_json.read(path, defaults) if looks_like_json(path) else _table(path, defaults)
    for result in found:
        if isinstance(result, Case):
            cases.append(result if result.date else replace(result, date=date_of(result)))
        else:
            skips.append(result)
    return cases, skips


def _table(path: Path, defaults: Defaults) -> Iterator[Case | Skip]:
    header = header_of(path)
    table = table_of(path, header, defaults)
    filled = {
        column: text
        for column, text in filled_from(table, defaults).items()
        if column not in header
    }
    ragged = list[Skip]()
    yield from table.read(_rows(path, header, filled, ragged), defaults)
    yield from ragged


def _rows(
    path: Path, header: tuple[str, ...], filled: dict[str, str], ragged: list[Skip]
) -> Iterator[Row]:
    """Rows as wide as the header; others go to `ragged`."""
    for raw in rows_of(path):
        where = f"{path.name}:{raw.line}"
        if len(raw.cells) == len(header):
            cells = dict(zip(header, raw.cells, strict=True)) | filled
            yield Row(where=where, cells=cells)
        else:
            ragged.append(Skip(where=where, reason=_WRONG_WIDTH))
