"""Recordings from files: CSV, JSON lines, results of `vllm bench serve`; plain or under gzip.

Every row is checked, and all that is wrong is said at once: the first ten rows with their lines, and how many more. Knows
what values mean; `rows` knows the shapes of files, `columns` the names of columns, `trace` what becomes of it all.
"""

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from takt.errors import DataError, DataErrors, Problem, UsageError
from takt.files import File, held
from takt.units import NS_PER_S

from ..records import NOBODY
from .columns import UNITS_NS, Columns, columns_of
from .lengths import MOST_TOKENS, Ints
from .rows import rows_of
from .sessions import MOST_TIERS
from .trace import Trace

__all__ = ["BLOCK_TOKENS", "read_trace"]

MOST_ROWS = 40_000_000
BLOCK_TOKENS = 512
"""Tokens behind one of `hash_ids`, as Mooncake publishes its traces: FAST25-release/README of kvcache-ai/Mooncake."""
_SHOWN = 10
_MOST_SESSION_CHARS = 1000
# From 1973 on, seconds since 1970 are above 10⁸, milliseconds above 10¹¹ and so on; a log's own clock stays far below.
_EPOCHS = ((1e17, 1), (1e14, 1_000), (1e11, 1_000_000))
_LONGEST_S = 1e9


class _BadValue(Exception):
    """A cell that does not say what its column means: (expected, found)."""


def read_trace(
    path: str | File, columns: Mapping[str, str] | None = None, time_unit: str | None = None
) -> Trace:
    """The recording of a file; `-` as text is standard input.

    - `columns` names columns by meaning: `columns.MEANINGS`; others are found by their usual spellings.
    - `time_unit` of arrivals (s, ms, us, ns); None: the one in the column's name, or found by the size of the numbers.

    Raises UsageError (unreadable, no such column) or DataError; DataErrors where rows are wrong.
    """
    path = held(path) if isinstance(path, str | Path) else path
    header, rows = rows_of(path)
    found = columns_of(header, columns or {}, str(path))
    if time_unit is not None:
        if time_unit not in UNITS_NS:
            raise UsageError(
                f"no unit of time {time_unit[:40]!r}", hint=f"units are {', '.join(UNITS_NS)}"
            )
        found = replace(found, arrival_unit_ns=UNITS_NS[time_unit])
    reader = _Reader(path, found, mooncake="hashes" in found.names)
    for line, row in rows:
        reader.take(line, row)
    return reader.finished()


@dataclass(slots=True)
class _Values:
    """Columns as they fill up."""

    arrival: "array[float]" = field(default_factory=lambda: array("d"))
    prompt: "array[int]" = field(default_factory=lambda: array("q"))
    output: "array[int]" = field(default_factory=lambda: array("q"))
    seen: "array[int]" = field(default_factory=lambda: array("q"))
    session: "array[int]" = field(default_factory=lambda: array("q"))
    tier: "array[int]" = field(default_factory=lambda: array("q"))
    took: "array[float]" = field(default_factory=lambda: array("d"))
    hashes: "array[int]" = field(default_factory=lambda: array("q"))
    hash_ends: "array[int]" = field(default_factory=lambda: array("q"))


class _Reader:
    """Takes rows one by one, keeps their values and what is wrong with them."""

    __slots__ = (
        "_columns", "_failed", "_file", "_hash_numbers", "_mooncake", "_n_bad", "_origin", "_path", "_problems",
        "_sessions", "_tiers", "_unit", "_values",
    )  # fmt: skip

    def __init__(self, path: File, columns: Columns, *, mooncake: bool) -> None:
        self._path, self._file, self._columns = path, str(path), columns
        self._mooncake = mooncake
        self._values = _Values()
        self._sessions: dict[str, int] = {}
        self._tiers: dict[str, int] = {}
        self._hash_numbers: dict[object, int] = {}
        self._problems: list[Problem] = []
        self._n_bad = self._failed = 0
        self._unit = columns.arrival_unit_ns or (1_000_000 if mooncake else None)
        self._origin: datetime | float | None = None

    def take(self, line: int, row: Mapping[str, object]) -> None:
        """One row: its values, or a note of what is wrong with it."""
        names = self._columns.names
        if len(self._values.prompt) >= MOST_ROWS:
            raise DataError(f"more than {MOST_ROWS:,} requests", file=self._file)
        column = ""
        try:
            if "" in row:
                stray = row[""]
                raise _BadValue("a row", stray if isinstance(stray, str) else "too many cells")
            found: dict[str, float] = {}
            for meaning, column in names.items():
                found[meaning] = self._value(meaning, row.get(column))
        except _BadValue as bad:
            expected, text = bad.args
            self._n_bad += 1
            if len(self._problems) < _SHOWN:
                key = f"line {line}" + (f", {column[:60]}" if column else "")
                problem = Problem(file=self._file, key=key, expected=expected, found=str(text)[:80])
                self._problems.append(problem)
            return
        if found["output"] == 0 or found["prompt"] == 0:
            self._failed += 1
            return
        self._keep(found, row)

    def _keep(self, found: Mapping[str, float], row: Mapping[str, object]) -> None:
        values = self._values
        values.prompt.append(int(found["prompt"]))
        values.output.append(int(found["output"]))
        values.arrival.append(found.get("arrival", 0.0))
        values.seen.append(int(min(found.get("seen", 0), found["prompt"])))
        values.session.append(int(found.get("session", NOBODY)))
        values.tier.append(int(found.get("tier", 0)))
        values.took.append(found.get("took", math.nan))
        if self._mooncake:
            for each in _hashes(row.get(self._columns.names["hashes"])):
                values.hashes.append(self._hash_numbers.setdefault(each, len(self._hash_numbers)))
            values.hash_ends.append(len(values.hashes))

    def _value(self, meaning: str, cell: object) -> float:
        if meaning in ("prompt", "output"):
            return _tokens(cell)
        if meaning == "seen":
            return 0 if _blank(cell) else _tokens(cell)
        if meaning == "arrival":
            return self._time(cell)
        if meaning == "took":
            seconds = (
                math.nan
                if _blank(cell)
                else _number(cell, "a time") * (self._columns.took_unit_ns or NS_PER_S)
            )
            return seconds if not seconds < 0 else math.nan
        if meaning == "hashes":
            return len(_hashes(cell))
        if meaning == "session":
            return (
                NOBODY if _blank(cell) else self._named(self._sessions, cell, MOST_ROWS, "sessions")
            )
        return self._named(self._tiers, "" if _blank(cell) else cell, MOST_TIERS, "tiers")

    def _named(self, numbers: dict[str, int], cell: object, most: int, what: str) -> int:
        text = str(cell).strip()
        if len(text) > _MOST_SESSION_CHARS or isinstance(cell, list | dict):
            raise _BadValue("a name", text)
        if text not in numbers and len(numbers) >= most:
            raise _BadValue(f"at most {most:,} {what}", text)
        return numbers.setdefault(text, len(numbers))

    def _time(self, cell: object) -> float:
        """Nanoseconds from the first row's time: differences are taken before digits get lost."""
        moment = _moment(cell)
        if self._origin is None:
            self._origin = moment
            if self._unit is None and isinstance(moment, float):
                self._unit = next((unit for least, unit in _EPOCHS if moment >= least), NS_PER_S)
        if isinstance(moment, datetime) and isinstance(self._origin, datetime):
            past = moment - self._origin
            ns = (past.days * 86_400 + past.seconds) * 1e9 + past.microseconds * 1e3
        elif isinstance(moment, float) and isinstance(self._origin, float):
            ns = (moment - self._origin) * (self._unit or NS_PER_S)
        else:
            raise _BadValue("a time written as in the rows before", cell)
        if not abs(ns) <= _LONGEST_S * NS_PER_S:
            raise _BadValue("a time near those of other rows", cell)
        return ns

    def finished(self) -> Trace:
        """The recording. Raises DataErrors where rows were wrong, DataError where there are none."""
        if self._problems:
            more = self._n_bad - len(self._problems)
            raise DataErrors(self._problems, hint=f"{more:,} more rows are wrong" if more else None)
        if not len(self._values.prompt):
            if self._failed:
                raise DataError(
                    "no requests that were answered",
                    file=self._file,
                    expected="rows with tokens of a prompt and of an output",
                    found=f"{_rows(self._failed)}, none with both",
                    hint="rows without tokens are requests that failed; if these did not, "
                    "takt workload fit FILE --column output=NAME reads other lengths",
                )
            expected = "rows below the header"
            raise DataError("no requests", file=self._file, expected=expected)
        return self._trace()

    def _trace(self) -> Trace:
        values, names = self._values, self._columns.names
        notes = []
        if self._failed:
            every = _rows(self._failed + len(values.prompt))
            notes.append(f"{self._failed:,} of {every} without tokens left out")
        arrival = np.array(values.arrival)
        order = np.arange(len(arrival))
        if "arrival" in names and (np.diff(arrival) < 0).any():
            order = np.argsort(arrival, kind="stable")
            notes.append("arrivals were not in order: sorted")
        arrival = arrival[order] - arrival.min()
        arrival_ns = np.rint(arrival).astype(np.int64)
        session = _whole(values.session)[order]
        ended = arrival + np.array(values.took)[order]
        seen = _whole(values.seen)[order]
        if self._mooncake and "seen" not in names:
            seen = self._seen_before(order)
        tiers, tier_names = self._ranked(_whole(values.tier)[order])
        trace = Trace(
            name=self._path.name,
            arrival_ns=arrival_ns if "arrival" in names else None,
            prompt_tokens=_whole(values.prompt)[order],
            output_tokens=_whole(values.output)[order],
            seen_tokens=seen,
            session=session,
            tier=tiers,
            tier_names=tier_names,
            notes=tuple(notes),
        )
        return trace if "took" not in names else _with_waits(trace, ended)

    def _seen_before(self, order: Ints) -> Ints:
        """Tokens at each prompt's start whose blocks an earlier request held: leading hashes, times 512."""
        hashes, ends = self._values.hashes, self._values.hash_ends
        prompt = self._values.prompt
        known: set[int] = set()
        seen = np.zeros(len(order), dtype=np.int64)
        for place, row in enumerate(order.tolist()):
            blocks = hashes[ends[row - 1] if row else 0 : ends[row]]
            n = 0
            while n < len(blocks) and blocks[n] in known:
                n += 1
            known.update(blocks)
            seen[place] = min(n * BLOCK_TOKENS, prompt[row])
        return seen

    def _ranked(self, tier: Ints) -> tuple[Ints, tuple[str, ...]]:
        """Tiers in the order of their priority: numbers ascending, names as they first came."""
        if not self._tiers:
            return tier, ("all",)
        names = list(self._tiers)
        if all(name.lstrip("-").isdecimal() and len(name) < 10 for name in names):
            names.sort(key=int)
        rank = np.asarray([names.index(name) for name in self._tiers], dtype=np.int64)
        return rank[tier], tuple(name[:100] or "none" for name in names)


def _with_waits(trace: Trace, ended_ns: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Trace:
    """With how long each later turn came after the end of the answer before it; 0 where it came sooner."""
    if trace.arrival_ns is None:
        return trace
    turn, before = trace.turns()
    waits = np.full(len(trace), -1, dtype=np.int64)
    later = (turn > 0) & np.isfinite(ended_ns[before])
    gap = trace.arrival_ns[later] - ended_ns[before[later]]
    waits[later] = np.rint(np.clip(gap, 0, _LONGEST_S * NS_PER_S)).astype(np.int64)
    return replace(trace, wait_ns=waits)


def _rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"


def _whole(values: "array[int]") -> Ints:
    return np.array(values, dtype=np.int64)


def _blank(cell: object) -> bool:
    return cell is None or (
        isinstance(cell, str) and cell.strip().lower() in ("", "nan", "null", "none")
    )


def _number(cell: object, expected: str) -> float:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        raise _BadValue(expected, "nothing" if cell is None else cell)
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        raise _BadValue(expected, repr(cell)[:80]) from None
    if not math.isfinite(value):
        raise _BadValue(expected, cell)
    return value


def _tokens(cell: object) -> int:
    value = _number(cell, f"whole tokens, 0 to {MOST_TOKENS:,}")
    if not 0 <= value <= MOST_TOKENS or value != int(value):
        raise _BadValue(f"whole tokens, 0 to {MOST_TOKENS:,}", cell)
    return int(value)


def _moment(cell: object) -> datetime | float:
    """A time as a number, or a date with a time of day (without a zone: UTC)."""
    if isinstance(cell, str) and len(cell) < 60 and ("-" in cell.strip()[1:] or ":" in cell):
        try:
            moment = datetime.fromisoformat(cell.strip())
        except ValueError:
            moment = None
        if moment is not None:
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return _number(cell, "a time: seconds, or a date such as 2023-11-16 18:15:46.68")


def _hashes(cell: object) -> list[object]:
    if isinstance(cell, str):
        try:
            cell = msgspec.json.decode(cell)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise _BadValue("a list of block hashes", cell) from None
    if not isinstance(cell, list) or not all(isinstance(each, int | str) for each in cell):
        raise _BadValue("a list of block hashes", str(cell))
    return cell
