"""Engine parameters fitted to a user's own measurements: what they are, what they change, and the file they live in.

    calibration = load_calibration(Path("mine.toml"))
    calibration.predicted(rows, parts_of(rows))

One set of `Parameters` an engine and chip; all multiply or lengthen what Takt predicts without them. Does not know
how they are found (`calibrate`).
"""

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.errors import DataError, DataErrors, Problem, UsageError, did_you_mean
from takt.perf.corrections import FIGURES, Corrections, Figure, shipped_corrections

from .case import Case
from .compute import Computed, compute_cases
from .observe import Observation, predicted_logs
from .report import Scored

__all__ = [
    "NAMES",
    "Calibration",
    "Parameters",
    "Parts",
    "calibrated",
    "calibration_text",
    "load_calibration",
    "parts_of",
]

Floats = NDArray[np.float64]
_SCHEMA = 1
_MAX_BYTES = 2**20
# Beyond these a file describes another machine, not an engine's overheads.
_FACTOR_RANGE = (0.01, 100.0)
_ADDED_RANGE = (0.0, 10_000.0)
# Output of a request where a file does not say, as it is computed.
_USUAL_OUTPUT = 256.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How an engine on a chip differs from what Takt predicts of it.

    `decode_factor` × time per output token + `added_ms`; `prompt_factor` × time of a lone prompt;
    `waiting_factor` × the rest of the time to the first token; `power_factor` × power.
    """

    decode_factor: float = 1.0
    added_ms: float = 0.0
    prompt_factor: float = 1.0
    waiting_factor: float = 1.0
    power_factor: float = 1.0


NAMES = tuple(field.name for field in fields(Parameters))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What parameters act on, one entry a row: times of its case in ms as predicted without them.

    `share`: of the time to the first token, a lone prompt's. `prompts_ms`: time that a request's copy spends on
    prompts for each of its users' turns. `figure`: index into FIGURES. `steady`: whether its rate is given from
    outside and no result.
    """

    logs: Floats
    figure: NDArray[np.int64]
    tpot_ms: Floats
    ttft_ms: Floats
    share: Floats
    users: Floats
    output_tokens: Floats
    together: NDArray[np.bool_]
    steady: NDArray[np.bool_]

    def take(self, index: NDArray[np.int64]) -> "Parts":
        """Only these rows."""
        return Parts(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def predicted(self, p: Parameters) -> Floats:
        """Logarithms of times (1 ÷ rates) and energies with the parameters."""
        tpot = p.decode_factor * self.tpot_ms + p.added_ms
        waiting = (1.0 - self.share) * self.ttft_ms
        lone = self.share * self.ttft_ms
        ttft = p.prompt_factor * lone + p.waiting_factor * waiting
        before = self._request_ms(self.ttft_ms, lone, self.tpot_ms)
        after = self._request_ms(ttft, p.prompt_factor * lone, tpot)
        slower = np.where(self.steady, 0.0, np.log(after / before))
        changes: dict[Figure, Floats] = {
            "tpot": np.log(tpot / self.tpot_ms),
            "ttft": np.log(ttft / self.ttft_ms),
            "throughput": slower,
            "energy": slower + np.log(p.power_factor),
            "step_time": np.full(len(tpot), np.log(p.prompt_factor)),
        }
        by_figure = np.stack([changes[figure] for figure in FIGURES])
        return np.asarray(self.logs + by_figure[self.figure, np.arange(len(tpot))])

    def _request_ms(self, ttft: Floats, lone: Floats, tpot: Floats) -> Floats:
        """From one request to the next of one user; where all come together, prompts of all and one's tokens."""
        first = np.where(self.together, self.users * lone, ttft)
        return first + self.output_tokens * tpot


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Parameters by (engine, chip id), and what they were fitted to, in words."""

    parameters: dict[tuple[str, str], Parameters]
    source: str = ""

    def of(self, engine: str, chip: str) -> Parameters | None:
        """Those of an engine on a chip, None where it was not measured."""
        return self.parameters.get((engine, chip))

    def predicted(self, rows: Sequence[Observation], parts: Parts) -> Floats:
        """Logarithms for the rows that `parts` describe; unchanged for engines and chips that are not in here."""
        out = parts.logs.copy()
        keys = [(row.situation.engine, row.situation.chip) for row in rows]
        for key, parameters in self.parameters.items():
            index = np.asarray([i for i, k in enumerate(keys) if k == key], dtype=np.int64)
            if len(index):
                out[index] = parts.take(index).predicted(parameters)
        return out


def parts_of(rows: Sequence[Observation], corrections: Corrections | None = None) -> Parts:
    """Times of each row's case, predicted with `corrections` (default: those shipped)."""
    known = shipped_corrections() if corrections is None else corrections
    items = list({id(row.computed_case): row.computed_case for row in rows}.values())
    number = {id(item): i for i, item in enumerate(items)}
    at = np.asarray([number[id(row.computed_case)] for row in rows], dtype=np.int64)
    tpot_ms, ttft_ms = (_times_ms(items, figure, known) for figure in ("tpot", "ttft"))
    cases = [item.case for item in items]
    together = np.asarray([case.load in ("offline", "open") for case in cases], dtype=bool)
    steady = np.asarray([case.load == "open" and case.limits is None for case in cases], dtype=bool)
    output = np.asarray([case.output_tokens or _USUAL_OUTPUT for case in cases])
    steps = np.asarray([case.load == "steps" for case in cases], dtype=bool)
    return Parts(
        logs=predicted_logs(rows, known),
        figure=np.asarray([FIGURES.index(row.figure) for row in rows], dtype=np.int64),
        tpot_ms=tpot_ms[at],
        ttft_ms=ttft_ms[at],
        share=_prompt_share(items)[at],
        users=np.asarray([max(item.users, 1.0) for item in items])[at],
        output_tokens=np.where(steps, 0.0, output)[at],
        together=together[at],
        steady=steady[at],
    )


def _times_ms(items: Sequence[Computed], figure: Figure, known: Corrections) -> Floats:
    """Predicted milliseconds of each case, measured or not; 1 where the case has no such time."""
    rows = [
        Observation(
            computed_case=item,
            figure=figure,
            situation=replace(item.situation, figure=figure),
            measured=0.0,
            computed=item.log.get(figure, 0.0),
        )
        for item in items
    ]
    has = np.asarray([figure in item.log for item in items], dtype=bool)
    return np.where(has, np.exp(predicted_logs(rows, known)), 1.0)


def _prompt_share(items: Sequence[Computed]) -> Floats:
    """A lone prompt's part of the computed time to the first token; 1 where nobody waits (batches, passes)."""
    share = np.ones(len(items))
    waits = [i for i, item in enumerate(items) if item.case.load in ("closed", "open", "offline")]
    waits = [i for i in waits if "ttft" in items[i].log]
    lone, _ = compute_cases([_alone(items[i].case) for i in waits])
    if len(lone) != len(waits):  # what was computed among others can be computed alone
        raise DataError("a case can't be computed alone")
    for i, item in zip(waits, lone, strict=True):
        share[i] = min(1.0, float(np.exp(item.log["ttft"] - items[i].log["ttft"])))
    return share


def _alone(case: Case) -> Case:
    return replace(
        case, load="static", concurrency=1.0, n_requests=None, rate_per_s=None, limits=None
    )


def calibrated(scored: Scored, calibration: Calibration) -> Scored:
    """The same rows predicted with a calibration on top of the shipped corrections."""
    return replace(scored, predicted=calibration.predicted(scored.rows, parts_of(scored.rows)))


def calibration_text(calibration: Calibration) -> str:
    """The file's text: `load_calibration` reads the same parameters from it."""
    lines = [
        "# Written by `takt calibrate`; used by `takt accuracy --calibration`.",
        f"schema = {_SCHEMA}",
        f"source = {_quoted(calibration.source)}",
    ]
    for (engine, chip), parameters in sorted(calibration.parameters.items()):
        lines += ["", "[[engine]]", f"engine = {_quoted(engine)}", f"chip = {_quoted(chip)}"]
        lines += [f"{name} = {value:.6g}" for name, value in asdict(parameters).items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """As a TOML string, whatever is in it."""
    safe = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text)
    return f'"{safe}"'


def load_calibration(path: Path) -> Calibration:
    """Parameters from a file. Raises UsageError if it can't be read, DataErrors for all that is wrong in it."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror or error}") from error
    if len(raw) > _MAX_BYTES:
        raise DataError(f"more than {_MAX_BYTES:,} bytes", file=str(path))
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"not TOML: {error}", file=str(path)) from error
    problems: list[Problem] = []
    _check_keys(document, ("schema", "source", "engine"), "", str(path), problems)
    if document.get("schema") != _SCHEMA:
        problems.append(_problem(path, "schema", str(_SCHEMA), document.get("schema")))
    tables = document.get("engine", [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables) or not tables:
        problems.append(_problem(path, "engine", "one or more [[engine]] tables", type(tables)))
        tables = []
    found = [_read(table, f"engine[{i}]", str(path), problems) for i, table in enumerate(tables)]
    if problems:
        raise DataErrors(problems)
    return Calibration(parameters=dict(found), source=str(document.get("source", "")))


def _problem(path: Path | str, key: str, expected: str, found: object) -> Problem:
    return Problem(file=str(path), key=key, expected=expected, found=repr(found)[:60])


def _check_keys(
    table: dict[str, Any], known: Sequence[str], at: str, file: str, problems: list[Problem]
) -> None:
    problems.extend(
        Problem(
            file=file,
            key=f"{at}.{key}" if at else key,
            expected="no such key",
            found=repr(table[key])[:60],
            hint=did_you_mean(key, known),
        )
        for key in table
        if key not in known
    )


def _read(
    table: dict[str, Any], at: str, file: str, problems: list[Problem]
) -> tuple[tuple[str, str], Parameters]:
    _check_keys(table, ("engine", "chip", *NAMES), at, file, problems)
    for name in ("engine", "chip"):
        if not isinstance(table.get(name), str):
            problems.append(_problem(file, f"{at}.{name}", "a name", table.get(name)))
    values: dict[str, float] = {}
    for name in NAMES:
        low, high = _ADDED_RANGE if name == "added_ms" else _FACTOR_RANGE
        value = table.get(name, getattr(Parameters(), name))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            problems.append(
                _problem(file, f"{at}.{name}", f"a number from {low:g} to {high:g}", value)
            )
        else:
            values[name] = float(value)
    return (str(table.get("engine")), str(table.get("chip"))), Parameters(**values)
