"""Events as a Parquet table: a column for each key of `event_names`, null where an event has it not.

Needs pyarrow, which is imported when a table is asked for. Batches become row groups of 65,536 events or more.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from takt.errors import DataError

from .event_names import EVENT_KEYS, FIELDS
from .records import EVENT, NOBODY, EventKind, Fate

__all__ = ["EventTable", "read_event_table"]

_GROUP = 65_536
_NAMED = {"kind": EventKind, "fate": Fate}


class EventTable:
    """A Parquet file of events under way."""

    __slots__ = ("_arrow", "_n_waiting", "_schema", "_waiting", "_writer")

    def __init__(self, raw: IO[bytes]) -> None:
        import pyarrow as pa  # heavy: not before a table is asked for
        from pyarrow import parquet

        self._arrow: Any = pa
        names = pa.dictionary(pa.int8(), pa.string())
        self._schema: Any = pa.schema(
            [(key, names if key in _NAMED else pa.int64()) for key in EVENT_KEYS]
        )
        self._writer: Any = parquet.ParquetWriter(raw, self._schema, compression="zstd")
        self._waiting: list[NDArray[np.void]] = []
        self._n_waiting = 0

    def write(self, rows: NDArray[np.void]) -> None:
        """Keep a batch until it fills a row group with others."""
        self._waiting.append(rows.copy())
        self._n_waiting += len(rows)
        if self._n_waiting >= _GROUP:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the end of the file."""
        if self._n_waiting:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        rows = np.concatenate(self._waiting)
        columns = [self._column(key, rows) for key in EVENT_KEYS]
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))
        self._waiting.clear()
        self._n_waiting = 0

    def _column(self, key: str, rows: NDArray[np.void]) -> Any:
        pa = self._arrow
        values, has = _values(key, rows)
        if key not in _NAMED:
            return pa.array(values, type=pa.int64(), mask=~has)
        words = pa.array([member.name.lower() for member in _NAMED[key]])
        numbers = pa.array(values.astype(np.int8), mask=~has)
        return pa.DictionaryArray.from_arrays(numbers, words)


def _values(key: str, rows: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A key's values, and which events have it."""
    if key in ("time_ns", "kind"):
        return rows[key].astype(np.int64), np.ones(len(rows), np.bool_)
    if key in ("request", "replica"):
        return rows[key].astype(np.int64), rows[key] != NOBODY
    values, has = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
    for kind, names in FIELDS.items():
        if key in names:
            mine = rows["kind"] == kind
            values[mine] = rows["abcd"[names.index(key)]][mine]
            has |= mine
    return values, has


def read_event_table(path: Path) -> Iterator[NDArray[np.void]]:
    """Batches of EVENT records. DataError for a file that is no table of events."""
    import pyarrow as pa  # heavy: not before a table is asked for
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        if file.schema_arrow.names != list(EVENT_KEYS):
            found = ", ".join(file.schema_arrow.names)[:120]
            raise DataError(
                "no table of events", file=str(path), expected=", ".join(EVENT_KEYS), found=found
            )
        for batch in file.iter_batches(_GROUP):
            yield _records(batch)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(f"cannot be read as events: {error}", file=str(path)) from error


def _records(batch: Any) -> NDArray[np.void]:
    """A record batch as EVENT records. ValueError or KeyError for names and types that events do not have."""
    columns = {key: _numbers(key, batch.column(key)) for key in EVENT_KEYS}
    rows = np.zeros(batch.num_rows, EVENT)
    for key in ("time_ns", "kind", "request", "replica"):
        rows[key] = columns[key]
    for kind, names in FIELDS.items():
        mine = rows["kind"] == kind
        for place, name in zip("abcd", names, strict=False):
            rows[place][mine] = columns[name][mine]
    return rows


def _numbers(key: str, column: Any) -> NDArray[np.int64]:
    if key in _NAMED:
        words = {member.name.lower(): int(member) for member in _NAMED[key]} | {None: 0}
        if key == "kind":
            words.pop(None)
        return np.array([words[word] for word in column.to_pylist()], np.int64)
    missing = NOBODY if key in ("request", "replica") else 0
    return np.asarray(column.fill_null(missing).to_numpy(zero_copy_only=False), np.int64)
