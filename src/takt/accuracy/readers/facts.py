"""What measurement files leave out and their authors published elsewhere, or what has to be assumed.

Knows the TOML files beside it: `mlperf.toml` (lengths, limits and dates of the benchmark's rounds),
`lengths.toml` (mean lengths where a file has none), `checkpoints.toml` (stored types that a label does not
tell), `cores.toml` (cores of processors whose runs used a part of them) and `dates.toml` (when rows without a date were
measured at the earliest). Does not know any measurement.
"""

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from takt.accuracy.case import Case, Limits
from takt.errors import DataError

__all__ = [
    "Benchmark",
    "Checkpoint",
    "Cores",
    "Date",
    "Lengths",
    "benchmarks",
    "checkpoints",
    "cores",
    "date_of",
    "lengths",
    "round_dates",
]

_KINDS = frozenset({"published", "measured", "derived", "assumed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean lengths of a task's requests in tokens, None unknown; with kind and source."""

    id: str
    kind: str
    source: str
    prompt_tokens: float | None = None
    output_tokens: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark of MLPerf Inference: mean lengths in tokens and the limits of its scenarios (ms)."""

    id: str
    prompt_kind: str
    prompt_source: str
    output_kind: str
    output_source: str
    prompt_tokens: float
    output_tokens: float
    limits_source: str = ""
    server_ttft_ms: float | None = None
    server_tpot_ms: float | None = None
    server_latency_ms: float | None = None
    interactive_ttft_ms: float | None = None
    interactive_tpot_ms: float | None = None

    def limits(self, scenario: str) -> Limits | None:
        """Bounds of the 99th percentile in a scenario (`server`, `interactive`), None where none."""
        if scenario == "server":
            found = Limits(
                ttft_ms=self.server_ttft_ms,
                tpot_ms=self.server_tpot_ms,
                latency_ms=self.server_latency_ms,
            )
        elif scenario == "interactive":
            found = Limits(ttft_ms=self.interactive_ttft_ms, tpot_ms=self.interactive_tpot_ms)
        else:
            return None
        return found if found != Limits() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Models (a pattern on the name in lower case) whose label of type means something finer."""

    pattern: str
    labels: tuple[str, ...]
    weights: str
    kind: str
    source: str
    experts: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Cores of a processor as `llamacpp` rows spell it."""

    device: str
    cores: int
    kind: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Date:
    """The earliest date of rows whose source begins with `of`, of an engine, of versions and models that it names."""

    date: str
    kind: str
    source: str
    of: str = ""
    engine: str = ""
    version: str = ""
    model: str = ""

    def fits(self, case: Case) -> bool:
        """Whether a case is one of them."""
        return (
            case.source.startswith(self.of)
            and self.engine in ("", case.engine)
            and (not self.version or case.engine_version.removeprefix("v").startswith(self.version))
            and self.model in case.model.lower()
        )


def _load(name: str) -> dict[str, Any]:
    path = Path(__file__).with_name(name)
    with path.open("rb") as file:
        return tomllib.load(file)


_Fact = TypeVar("_Fact", Benchmark, Checkpoint, Cores, Date, Lengths)


def _made(kind: type[_Fact], row: dict[str, Any], file: str) -> _Fact:
    """One row as a fact. Raises DataError for keys that are unknown or missing, or a kind that is none."""
    known = {field.name for field in fields(kind)}
    if unknown := row.keys() - known:
        raise DataError("unknown keys", file=file, found=", ".join(sorted(unknown)))
    kinds = {value for key, value in row.items() if key == "kind" or key.endswith("_kind")}
    if not kinds <= _KINDS:
        raise DataError("kind", file=file, expected=" or ".join(sorted(_KINDS)), found=str(kinds))
    try:
        return kind(**row)
    except TypeError as error:
        raise DataError(str(error), file=file) from error


@cache
def benchmarks() -> dict[str, Benchmark]:
    """Benchmarks of `mlperf.toml` by id."""
    rows = [_made(Benchmark, row, "mlperf.toml") for row in _load("mlperf.toml")["benchmark"]]
    return {row.id: row for row in rows}


@cache
def round_dates() -> dict[str, str]:
    """Days on which rounds of MLPerf Inference were published, by version (`v5.1`)."""
    return {row["version"]: row["date"] for row in _load("mlperf.toml")["round"]}


@cache
def lengths() -> dict[str, Lengths]:
    """Mean lengths of `lengths.toml` by id (`dataset/task`)."""
    rows = [_made(Lengths, row, "lengths.toml") for row in _load("lengths.toml")["task"]]
    return {row.id: row for row in rows}


@cache
def cores() -> dict[str, Cores]:
    """Cores of processors (`cores.toml`) by device."""
    rows = [_made(Cores, row, "cores.toml") for row in _load("cores.toml")["processor"]]
    return {row.device: row for row in rows}


@cache
def _dates() -> tuple[Date, ...]:
    return tuple(_made(Date, row, "dates.toml") for row in _load("dates.toml")["date"])


def date_of(case: Case) -> str:
    """Of a case without a date: the earliest that it can have, by `dates.toml`; "" where nothing is known."""
    return next((row.date for row in _dates() if row.fits(case)), "")


@cache
def checkpoints() -> tuple[Checkpoint, ...]:
    """Rows of `checkpoints.toml`, in order: the first that fits counts."""
    rows = _load("checkpoints.toml")["checkpoint"]
    return tuple(
        _made(Checkpoint, {**row, "labels": tuple(row["labels"])}, "checkpoints.toml")
        for row in rows
    )
