"""Hands a store's results on as Parquet, for data frames and DuckDB."""

import json
import secrets
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from takt.errors import DataError

from .store import Kept, Store

__all__ = ["write_parquet"]

_ROWS = 4096
_TEXTS = ("key", "function", "arguments", "data", "takt", "result")


def write_parquet(store: Store, path: Path, *, seconds: bool = False) -> int:
    """Write all results of `store` to `path`, by key, in one step; the number of rows.

    Columns are text: `key`, `function`, `arguments` (JSON), `data`, `takt`, `result` (JSON); with `seconds` also the time each
    took, which differs from run to run. DataError where the file cannot be written or the store is damaged.
    """
    names = [(name, pa.string()) for name in _TEXTS]
    schema = pa.schema([*names, ("seconds", pa.float64())] if seconds else names)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    written = 0
    try:
        with temporary.open("xb") as file, pq.ParquetWriter(file, schema) as writer:
            rows = store.rows()
            while some := [_columns(row) for row in islice(rows, _ROWS)]:
                kept = [{name: row[name] for name in schema.names} for row in some]
                writer.write_table(pa.Table.from_pylist(kept, schema=schema))
                written += len(some)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", file=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _columns(row: Kept) -> dict[str, str | float]:
    task = json.loads(row.task)
    arguments = json.dumps(task["arguments"], separators=(",", ":"), ensure_ascii=False)
    return {
        "key": row.key,
        "function": task["function"],
        "arguments": arguments,
        "data": task["data"],
        "takt": task["takt"],
        "result": row.content.decode(),
        "seconds": row.seconds,
    }
