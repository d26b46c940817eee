"""Results in an SQLite file: one table, written as results arrive, read strictly.

Only the process with the sweep writes, one transaction for each batch, so that a file is whole whenever the process ends;
several sweeps may share a file. A file that is damaged or not Takt's own is refused before anything is written to it. Knows
no runner.
"""

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from takt.errors import DataError, LawError, UsageError

from .task import digest

__all__ = ["Kept", "Store"]

# SQLite's own places for such marks: bytes 60 and 68 of a file (https://www.sqlite.org/fileformat.html).
_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_APPLICATION = int.from_bytes(b"Takt")
_VERSION = 1
_TABLE = """
CREATE TABLE results (
    key TEXT PRIMARY KEY,     -- SHA-256 of task
    task TEXT NOT NULL,       -- canonical JSON: function, arguments, version of Takt, digest of data
    result BLOB NOT NULL,     -- canonical JSON
    sha256 TEXT NOT NULL,     -- of result
    seconds REAL NOT NULL     -- it took, where it was computed
) WITHOUT ROWID
"""
_COLUMNS = "key, task, result, sha256, seconds"
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One row: a task as canonical JSON under its key, its result as canonical JSON, and the seconds it took."""

    key: str
    task: str
    content: bytes
    seconds: float


class Store:
    """The results in one file; a context manager. The file is made if there is none, unless `new` is False.

    UsageError if it cannot be there; DataError if it is no store of this version, is damaged, or cannot be written.
    """

    def __init__(self, path: Path, *, new: bool = True) -> None:
        self.path = path
        _check_place(path, new=new)
        self._check_header()
        with self._reported():
            self._base = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._base.close()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def __len__(self) -> int:
        with self._reported():
            return int(self._base.execute("SELECT count(*) FROM results").fetchone()[0])

    def __contains__(self, key: str) -> bool:
        with self._reported():
            found = self._base.execute("SELECT 1 FROM results WHERE key = ?", (key,)).fetchone()
        return found is not None

    def keep(self, rows: Iterable[Kept]) -> None:
        """Add rows, all or none. A row already there must have the same result: LawError if not."""
        with self._reported(), self._base:  # commits, or rolls back
            self._base.execute("BEGIN IMMEDIATE")
            for row in rows:
                values = (row.key, row.task, row.content, digest(row.content), row.seconds)
                added = self._base.execute(
                    f"INSERT INTO results ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (key) DO NOTHING",
                    values,
                )
                if added.rowcount == 0 and self.read(row.key).content != row.content:
                    raise LawError(
                        f"{self.path} has another result of the task {row.task}",
                        law=17,
                        hint="a task's result must depend on its arguments and data alone",
                    )

    def read(self, key: str) -> Kept:
        """The row of a key. DataError if there is none or it is damaged."""
        query = f"SELECT {_COLUMNS} FROM results WHERE key = ?"
        with self._reported():
            row = self._base.execute(query, (key,)).fetchone()
        if row is None:
            raise DataError("no such result", file=str(self.path), key=key)
        return self._checked(row)

    def rows(self) -> Iterator[Kept]:
        """All rows, by key. DataError at a damaged one."""
        with self._reported():
            cursor = self._base.execute(f"SELECT {_COLUMNS} FROM results ORDER BY key")
            while row := cursor.fetchone():
                yield self._checked(row)

    def _checked(self, row: tuple[object, ...]) -> Kept:
        key, task, content, sha256, seconds = row
        # A column of SQLite takes values of any type.
        if not (
            isinstance(task, str)
            and isinstance(content, bytes)
            and isinstance(seconds, float)
            and (digest(task.encode()), digest(content)) == (key, sha256)
        ):
            raise self._damaged(f"the row of {key} is not what was written")
        return Kept(key=str(key), task=task, content=content, seconds=seconds)

    def _check_header(self) -> None:
        """Refuse a foreign file by its first bytes: SQLite itself may write to a file that it opens."""
        try:
            with self.path.open("rb") as file:
                head = file.read(_HEADER_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(
                f"cannot be read: {error.strerror or error}", file=str(self.path)
            ) from error
        if not head:
            return
        if len(head) < _HEADER_BYTES or not head.startswith(_MAGIC):
            self._refuse("a store of results", "a file of another kind")
        if int.from_bytes(head[68:72]) != _APPLICATION:
            self._refuse("a store of results", "a database of another program")
        self._check_version(int.from_bytes(head[60:64]))

    def _check_version(self, version: int) -> None:
        if version != _VERSION:
            self._refuse(f"a store of version {_VERSION}", f"one of version {version}")

    def _refuse(self, expected: str, found: str) -> None:
        raise DataError(
            "not changed",
            file=str(self.path),
            expected=expected,
            found=found,
            hint="name another file for the results",
        )

    def _prepare(self) -> None:
        with self._reported():
            # Not WAL: it needs shared memory, which network file systems lack, and leaves files beside this one.
            self._base.execute("PRAGMA synchronous = FULL")
            with self._base:
                self._base.execute("BEGIN IMMEDIATE")
                if not self._base.execute("PRAGMA user_version").fetchone()[0]:
                    self._base.execute(_TABLE)
                    self._base.execute(f"PRAGMA application_id = {_APPLICATION}")
                    self._base.execute(f"PRAGMA user_version = {_VERSION}")
            self._check_version(self._base.execute("PRAGMA user_version").fetchone()[0])
            problem = self._base.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise self._damaged(problem)
            self._base.execute(f"SELECT {_COLUMNS} FROM results LIMIT 0")

    @contextmanager
    def _reported(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a mistake in the use of this class, not in the file
        except sqlite3.OperationalError as error:
            raise DataError(f"cannot be used: {error}", file=str(self.path)) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
        except UnicodeDecodeError as error:  # of the library's own message about a damaged schema
            raise self._damaged("bytes that are no text") from error

    def _damaged(self, what: str) -> DataError:
        return DataError(
            f"damaged: {what}",
            file=str(self.path),
            hint="move it away: a sweep with a new file computes all results again",
        )


def _check_place(path: Path, *, new: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a directory, expected a file for results")
    if not path.parent.is_dir():
        raise UsageError(f"there is no directory {path.parent}")
    if not path.exists() and not new:
        raise UsageError(f"there is no file {path}")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no plain file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} may not be written to")
