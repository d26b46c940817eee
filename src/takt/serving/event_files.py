"""Event logs as files: JSON lines, CSV or Parquet by the name's ending, the first two also as `.gz`.

    with EventFile(Path("events.jsonl.gz")) as log:
        run(requests, fleet, seed=0, finished=collector.finished, events=log.add)

Events go to the file as they come; it appears under its name when the log is complete, and whatever was there before stays
until then. Kinds have names, and their fields those of `event_names`; JSON lines hold what an event has and no more, the
tables leave empty what it has not. Same events, same bytes. Knows no engine.
"""

import csv
import gzip
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from takt.errors import DataError, UsageError
from takt.files import is_stream, written_file

from .event_names import EVENT_KEYS, FIELDS, KINDS
from .event_table import EventTable, read_event_table
from .records import EVENT, NOBODY, EventKind, Fate

__all__ = ["EVENT_ENDINGS", "EventFile", "read_events"]

EVENT_ENDINGS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
_BATCH = 65_536
_GZIP_LEVEL = 6
_PLACES = "abcd"
_FATES = {fate.name.lower(): fate for fate in Fate}
_COLUMNS = ("time_ns", "request", "replica", *_PLACES)


class _Format(Protocol):
    def write(self, rows: NDArray[np.void]) -> None: ...

    def close(self) -> None: ...


class EventFile:
    """A file of events that is being written; `add` is the sink. Leave the block by an error, and the file is none.

    A symbolic link stays, and what it points to is written. A pipe gets the events as they come.
    UsageError for a name that no format has, DataError where the file cannot be written.
    """

    __slots__ = ("_format", "_path", "_raw", "_target", "_temporary", "count")

    def __init__(self, path: Path) -> None:
        self._path = path
        ending = _ending(path)
        self.count = 0
        self._temporary: Path | None = None
        with _writing(path):
            self._target = written_file(path)
            if is_stream(self._target):
                self._raw = self._target.open("wb")
            else:
                name = f".{self._target.name}.{secrets.token_hex(4)}.part"
                self._temporary = self._target.with_name(name)
                self._raw = self._temporary.open("xb")
        self._format: _Format = (
            EventTable(self._raw) if ending == ".parquet" else _Lines(self._raw, ending)
        )

    def add(self, rows: NDArray[np.void]) -> None:
        """Write a batch of EVENT records after those before."""
        if rows.dtype != EVENT:
            raise UsageError(f"events come as EVENT records, not as {rows.dtype}")
        with _writing(self._path):
            self._format.write(rows)
        self.count += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                with suppress(OSError):  # the error that ended the block is the one to be told
                    self._format.close()
                    self._raw.close()
                return
            with _writing(self._path):
                self._format.close()
                self._raw.close()
                if self._temporary is not None:
                    self._temporary.replace(self._target)
        finally:
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)


def read_events(path: Path) -> Iterator[NDArray[np.void]]:
    """Batches of EVENT records, in the order of the file. DataError, with its line, for what is no event."""
    ending = _ending(path)
    if ending == ".parquet":
        yield from read_event_table(path)
        return
    rows: list[tuple[int, ...]] = []
    for number, found in _read_lines(path, ending):
        rows.append(_row(path, number, found))
        if len(rows) == _BATCH:
            yield np.array(rows, EVENT)
            rows.clear()
    if rows:
        yield np.array(rows, EVENT)


def _ending(path: Path) -> str:
    for ending in EVENT_ENDINGS:
        if path.name.lower().endswith(ending):
            return ending
    raise UsageError(
        f"'{path.name}' does not say in which format events are to be written",
        hint=f"let it end in one of {', '.join(EVENT_ENDINGS)}",
    )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", file=str(path)) from error


# --------------------------------------------------------------------------------------------------- lines: JSON and CSV
class _Lines:
    """One line an event, from a template for each kind and for whether it has a request and a replica."""

    def __init__(self, raw: IO[bytes], ending: str) -> None:
        # Neither a name nor a date in the header: the same events are the same bytes.
        packed = ending.endswith(".gz")
        self._out: IO[bytes] | gzip.GzipFile = (
            gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, 0) if packed else raw
        )
        template = _json_template
        if ending.startswith(".csv"):
            template = _csv_template
            self._out.write((",".join(EVENT_KEYS) + "\n").encode())
        self._templates = {
            kind * 4 + which: template(kind, which) for kind in EventKind for which in range(4)
        }

    def write(self, rows: NDArray[np.void]) -> None:
        which = rows["kind"] * 4 + (rows["request"] != NOBODY) * 2 + (rows["replica"] != NOBODY)
        columns = [rows[name].tolist() for name in _COLUMNS]
        fates = [fate.name.lower() for fate in Fate]
        for number in np.flatnonzero(rows["kind"] == EventKind.REJECT).tolist():
            columns[3][number] = fates[columns[3][number]]
        templates = self._templates
        lines = (
            templates[kind].format(*row)
            for kind, row in zip(which.tolist(), zip(*columns, strict=True), strict=True)
        )
        self._out.write("".join(lines).encode())

    def close(self) -> None:
        if isinstance(self._out, gzip.GzipFile):
            self._out.close()  # its last block; the file below stays open


def _places(kind: EventKind, which: int) -> dict[str, int]:
    """Key → column of its value, of those that an event has."""
    out = {"time_ns": 0}
    if which & 2:
        out["request"] = 1
    if which & 1:
        out["replica"] = 2
    return out | {name: 3 + i for i, name in enumerate(FIELDS[kind])}


def _json_template(kind: EventKind, which: int) -> str:
    members = [f'"kind":"{kind.name.lower()}"']
    for key, place in _places(kind, which).items():
        value = f'"{{{place}}}"' if key == "fate" else f"{{{place}}}"
        members.insert(0 if key == "time_ns" else len(members), f'"{key}":{value}')
    return "{{" + ",".join(members) + "}}\n"


def _csv_template(kind: EventKind, which: int) -> str:
    places = _places(kind, which)
    cells = {key: f"{{{place}}}" for key, place in places.items()} | {"kind": kind.name.lower()}
    return ",".join(cells.get(key, "") for key in EVENT_KEYS) + "\n"


def _read_lines(path: Path, ending: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(number of the line, its members)."""
    try:
        with _opened(path, ending) as file:
            if ending.startswith(".csv"):
                reader = csv.DictReader(file, restkey="too many cells")
                for row in reader:
                    yield reader.line_num, {key: cell for key, cell in row.items() if cell}
                return
            for number, line in enumerate(file, start=1):
                yield number, _members(path, number, line)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", file=str(path)) from error


def _opened(path: Path, ending: str) -> IO[str]:
    if ending.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _members(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _wrong(path, number, "a JSON object", line)
    return found


def _row(path: Path, number: int, found: Mapping[str, Any]) -> tuple[int, ...]:
    """An event of a line as a record."""
    kind = KINDS.get(str(found.get("kind")))
    if kind is None:
        raise _wrong(path, number, f"a kind among {', '.join(KINDS)}", found.get("kind"))
    values = {"request": NOBODY, "replica": NOBODY, "time_ns": None, **dict.fromkeys(_PLACES, 0)}
    places = dict(zip(FIELDS[kind], _PLACES, strict=False))
    for key, value in found.items():
        if key == "kind":
            continue
        place = places.get(key, key if key in ("time_ns", "request", "replica") else "")
        if not place:
            raise _wrong(path, number, f"fields of '{kind.name.lower()}'", key)
        values[place] = _whole(path, number, key, value)
    if values["time_ns"] is None:
        raise _wrong(path, number, "a time_ns", None)
    ordered = ("time_ns", "request", "kind", "replica", *_PLACES)
    return tuple({**values, "kind": int(kind)}[name] or 0 for name in ordered)


def _whole(path: Path, number: int, key: str, value: object) -> int:
    if key == "fate" and str(value) in _FATES:
        return _FATES[str(value)]
    try:
        if key == "fate" or isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        whole = int(value)
    except ValueError:
        raise _wrong(path, number, f"a whole number as {key}", value) from None
    bits = 31 if key == "replica" else 63
    if not -(1 << bits) <= whole < 1 << bits:
        raise _wrong(path, number, f"{key} of at most {bits} bits", value)
    return int(whole)


def _wrong(path: Path, number: int, expected: str, found: object) -> DataError:
    shown = str(found).strip()
    return DataError(
        "no event", file=str(path), key=f"line {number}", expected=expected, found=shown[:60]
    )
