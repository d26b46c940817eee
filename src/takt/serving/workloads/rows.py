"""Rows of recordings, whatever the file's shape: CSV, JSON objects a line, a JSON list, lists in one JSON object.

Knows shapes only. A row that is none has the key "" and says there what it is instead.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from takt.errors import DataError
from takt.files import File, bytes_of, lines_of, records_of, start_of

__all__ = ["Row", "rows_of"]

Row = tuple[int, Mapping[str, object]]

MOST_BYTES = 2 << 30  # text of about forty million requests
MOST_JSON_BYTES = 256 << 20


def rows_of(path: File) -> tuple[Sequence[str], Iterator[Row]]:
    """The names of a file's columns, and its rows with their lines."""
    start = start_of(path)
    if not start:
        raise DataError("the file is empty", file=str(path), expected="a header and rows")
    if start[:1] == b"[":
        return _from_list(path, _decoded(path))
    if start[:1] != b"{":
        return _from_csv(path)
    first = next(_json_lines(path), None)
    if (
        first is None
        or len(first[1]) == 0
        or any(isinstance(v, list) for k, v in first[1].items() if k == "input_lens")
    ):
        return _from_object(path, _decoded(path))
    return list(first[1]), _json_lines(path)


def _from_csv(path: File) -> tuple[Sequence[str], Iterator[Row]]:
    records = records_of(path, MOST_BYTES)
    _, header = next(records, (0, []))
    names = [name.strip() for name in header]
    repeated = (
        {name for name in names if names.count(name) > 1 and name} if len(names) < 4096 else set()
    )
    if repeated:
        raise DataError(f"two columns are called {min(repeated)[:40]!r}", file=str(path))

    def rows() -> Iterator[Row]:
        for line, cells in records:
            yield (
                line,
                dict(zip(names, cells, strict=False)) if len(cells) <= len(names) else {"": cells},
            )

    return names, rows()


def _json_lines(path: File) -> Iterator[Row]:
    """Objects, one a line. A first line that is none ends it: then the file is one JSON document."""
    n_rows = 0
    for number, line in enumerate(lines_of(path, MOST_BYTES), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            if n_rows == 0:
                return
            row = {"": f"not JSON: {str(error)[:80]}"}
        yield number, row if isinstance(row, dict) else {"": "no JSON object"}
        n_rows += 1


def _decoded(path: File) -> object:
    try:
        document: object = msgspec.json.decode(bytes_of(path, MOST_JSON_BYTES))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {str(error)[:120]}", file=str(path)) from error
    return document


def _from_list(path: File, document: object) -> tuple[Sequence[str], Iterator[Row]]:
    rows = document if isinstance(document, list) else []
    if not rows or not isinstance(rows[0], dict):
        raise DataError("no list of requests", file=str(path), expected='[{"prompt_tokens": …}, …]')
    kept = [row if isinstance(row, dict) else {"": "no JSON object"} for row in rows]
    return list(kept[0]), iter(enumerate(kept, 1))


def _from_object(path: File, document: object) -> tuple[Sequence[str], Iterator[Row]]:
    """One object with a list for each column, as `vllm bench serve --save-result --save-detailed` writes it."""
    columns = {}
    if isinstance(document, dict):
        wanted = {
            "input_lens": "prompt_tokens",
            "output_lens": "output_tokens",
            "start_times": "arrival_s",
        }
        columns = {
            to: document[name]
            for name, to in wanted.items()
            if isinstance(document.get(name), list)
        }
    if len(columns) < 2 or len({len(values) for values in columns.values()}) != 1:
        raise DataError(
            "no list of requests",
            file=str(path),
            expected="one JSON object a line, or input_lens and output_lens of equal length",
        )
    rows = (
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    )
    return list(columns), iter(enumerate(rows, 1))
