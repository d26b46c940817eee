"""Recorded runs of an engine: every request with its arrival, lengths and timings, and how the engine was set.

Files are CSV with one request a row (`vllm_requests.csv.gz`); rows that share GPU, model and settings are one run. What
the makers of a run wrote down elsewhere lies in ``runs.toml``. Knows no simulation.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from takt.errors import DataError
from takt.serving import REQUEST

from ..readers.cells import Row
from ..readers.names import stored_types
from ..readers.vllm_requests import NEEDED
from ..table import header_of, looks_like_json, rows_of

__all__ = ["Facts", "Run", "has_requests", "read_runs"]

Floats = NDArray[np.float64]
_COLUMNS = (
    "prompt_tokens",
    "output_tokens",
    "arrival_s",
    "queue_s",
    "ttft_s",
    "e2e_s",
    "tpot_ms",
)
_SETTINGS = (
    "gpu",
    "model",
    "vllm_version",
    "tp",
    "dtype",
    "max_num_seqs",
    "max_num_batched_tokens",
)
_FILE = "runs.toml"
_MOST_REQUESTS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a run beyond its rows; `blocks` 0 and `entry_s` None where nothing is."""

    dp: int = 1
    ep: int = 1
    blocks: int = 0
    block_tokens: int = 16
    entry_s: float | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """A run: settings as its rows give them, and one value a request in the order of arrival.

    `max_seqs` and `step_tokens` are of one engine, of which there are `facts.dp` side by side. `queue_s` to `tpot_s` are
    measured: waiting, from arrival to the first token, to the last, and between tokens.
    """

    where: str
    gpu: str
    model: str
    version: str
    tp: int
    weights: str
    max_seqs: int
    step_tokens: int
    facts: Facts
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    arrival_s: Floats
    queue_s: Floats
    ttft_s: Floats
    e2e_s: Floats
    tpot_s: Floats

    @property
    def name(self) -> str:
        """As tables name it."""
        return f"{self.gpu} {self.model.rsplit('/', 1)[-1]}"

    def requests(self) -> NDArray[np.void]:
        """What was sent, as the serving room takes it."""
        rows = np.zeros(len(self.arrival_s), REQUEST)
        rows["session"] = rows["group"] = -1
        start_s = float(self.arrival_s.min())
        rows["arrival_ns"] = np.round((self.arrival_s - start_s) * 1e9).astype(np.int64)
        rows["prompt_tokens"] = self.prompt_tokens
        rows["output_tokens"] = self.output_tokens
        return rows


def has_requests(path: Path) -> bool:
    """Whether a file has a row for each request of a run."""
    return not looks_like_json(path) and set(header_of(path)) >= NEEDED | set(_COLUMNS)


def read_runs(path: Path) -> list[Run]:
    """The runs of a file, in the order of their first rows.

    Raises DataError for a file without such columns, for cells that are no numbers, and for absurd sizes.
    """
    if not has_requests(path):
        missing = sorted((NEEDED | set(_COLUMNS)) - set(header_of(path)))
        raise DataError(
            "not a file of single requests", file=str(path), expected=", ".join(missing)
        )
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in _rows(path):
        groups.setdefault(tuple(row.text(name) for name in _SETTINGS), []).append(row)
    return [_run(rows) for rows in groups.values()]


def _rows(path: Path) -> Iterator[Row]:
    header = header_of(path)
    for count, raw in enumerate(rows_of(path)):
        if count >= _MOST_REQUESTS:
            raise DataError(f"more than {_MOST_REQUESTS:,} requests", file=str(path))
        if len(raw.cells) != len(header):
            raise DataError(
                "number of cells differs from the header's", file=path.name, key=f"line {raw.line}"
            )
        cells = dict(zip(header, raw.cells, strict=True))
        yield Row(where=f"{path.name}:{raw.line}", cells=cells)


def _run(rows: list[Row]) -> Run:
    first = rows[0]
    columns = {name: np.asarray([_number(row, name) for row in rows]) for name in _COLUMNS}
    order = np.argsort(columns["arrival_s"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    if (columns["prompt_tokens"] < 1).any() or (columns["output_tokens"] < 1).any():
        raise DataError("a request without tokens", key=first.where)
    gpu, model, version = (first.need(name) for name in ("gpu", "model", "vllm_version"))
    max_seqs = first.needed_count("max_num_seqs")
    return Run(
        where=first.where,
        gpu=gpu,
        model=model,
        version=version,
        tp=first.needed_count("tp"),
        weights=stored_types(model, first.need("dtype")).weights,
        max_seqs=max_seqs,
        step_tokens=first.needed_count("max_num_batched_tokens"),
        facts=_facts().get((gpu, model, version, max_seqs), Facts()),
        prompt_tokens=columns["prompt_tokens"].astype(np.int64),
        output_tokens=columns["output_tokens"].astype(np.int64),
        arrival_s=columns["arrival_s"],
        queue_s=columns["queue_s"],
        ttft_s=columns["ttft_s"],
        e2e_s=columns["e2e_s"],
        tpot_s=columns["tpot_ms"] * 1e-3,
    )


def _number(row: Row, column: str) -> float:
    """A number of 0 or more; a wrong cell is an error of the file, because a run with holes is no run."""
    text = row.text(column)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e9:
        raise DataError(
            "a cell of a recorded request is no number",
            key=f"{row.where} {column}",
            expected="0 or more",
            found=text[:40],
        )
    return value


@cache
def _facts() -> dict[tuple[str, str, str, int], Facts]:
    text = files("takt.accuracy.simulated").joinpath(_FILE).read_text(encoding="utf-8")
    found = {}
    for entry in tomllib.loads(text)["run"]:
        known = {key: fact for key, fact in entry.items() if isinstance(fact, dict)}
        values = {key: fact["value"] for key, fact in known.items()}
        sources = tuple(sorted({str(fact["source"]) for fact in known.values()}))
        name = (entry["gpu"], entry["model"], entry["version"], int(entry["seqs"]))
        found[name] = Facts(**values, sources=sources)
    return found
