"""What was measured, as shipped: tables of each chip and fitted efficiencies of all, read from Parquet.

`kernels-CHIP.parquet` holds a row for each family, type and engine; `kernels.parquet` a row of fitted
parameters for each chip, family and type, and one under the chip "" that was fitted over all of them.
`tools/build_kernels.py` writes both. Knows no chip's peaks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from takt.errors import DataError

from .efficiency import Efficiency
from .surface import Surface
from .work import Floats

__all__ = [
    "DATA",
    "EVERY_CHIP",
    "NOT_EFFICIENCIES",
    "Fit",
    "PowerFit",
    "QueryBlock",
    "Table",
    "decode_seconds",
    "fits",
    "power_fits",
    "prompt_walks",
    "query_blocks",
    "tables_of",
]

DATA = Path(__file__).resolve().parent.parent / "data"
EVERY_CHIP = ""
# Rows of the fits that are no efficiencies: each has parameters and an error of its own kind.
NOT_EFFICIENCIES = ("power", "prompt_walk", "mixed_attention")
# Times are kept as whole steps of their logarithm: 0.05 % a step, 1 ns to a day in 16 bits.
STEPS_PER_E = 2000.0
_LEAST_S = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A measured table: `error` is its cross-validated median relative error, `basis` where it is from."""

    surface: Surface
    basis: str
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Fitted efficiencies and their median relative error on chips that they were not fitted on."""

    efficiency: Efficiency
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFit:
    """Board power as shares of the limit: idle, what bytes add at full rate, what operations add, and the error."""

    idle_share: float
    bytes_share: float
    ops_share: float
    bend: float
    most_share: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryBlock:
    """A block of queries in an attention kernel: as many rows at the chip's peak, its context in steps of `keys`."""

    rows: float
    keys: float


def decode_seconds(codes: bytes, shape: tuple[int, ...]) -> Floats:
    """Seconds from 16-bit logarithms."""
    steps = np.frombuffer(codes, dtype="<u2").astype(np.float64)
    return np.asarray(_LEAST_S * np.exp(steps / STEPS_PER_E)).reshape(shape)


def _rows(path: Path) -> list[dict[str, Any]]:
    # Not `pq.read_table`: it imports all of pyarrow.dataset for one small file.
    with pq.ParquetFile(path) as file:
        rows: list[dict[str, Any]] = file.read(use_threads=False).to_pylist()
    return rows


@cache
def tables_of(chip_id: str, engine: str) -> Mapping[tuple[str, str], Table]:
    """Tables of a chip by family and type, the engine's own where it has one, else the generic one."""
    path = DATA / f"kernels-{chip_id}.parquet"
    if not path.is_file():
        return MappingProxyType({})
    found: dict[tuple[str, str], Table] = {}
    # Rows come in the order of the file, where "generic" stands before every engine of a table.
    for row in _rows(path):
        if row["engine"] not in (engine, "generic"):
            continue
        shape = tuple(row["shape"])
        ends = np.cumsum(shape)[:-1]
        nodes = tuple(np.split(np.array(row["nodes"], dtype=np.float64), ends))
        surface = Surface(
            nodes=nodes,
            seconds=decode_seconds(row["seconds"], shape),
            growth=tuple(row["growth"]),
        )
        table = Table(surface=surface, basis=row["basis"], error=row["error"])
        found[row["family"], row["type"]] = table
    return MappingProxyType(found)


@cache
def _fit_rows() -> tuple[dict[str, Any], ...]:
    path = DATA / "kernels.parquet"
    if not path.is_file():
        raise DataError(
            "the measured efficiencies are missing",
            file=str(path),
            hint="reinstall takt, or run tools/build_kernels.py",
        )
    return tuple(_rows(path))


@cache
def fits() -> Mapping[tuple[str, str, str], Fit]:
    """Fitted efficiencies by chip (EVERY_CHIP for all together), family and type."""
    found = {}
    for row in _fit_rows():
        if row["family"] in NOT_EFFICIENCIES:
            continue
        start, of_bytes, of_ops, sharpness = row["parameters"]
        efficiency = Efficiency(
            start_s=start, bytes_share=of_bytes, ops_share=of_ops, sharpness=sharpness
        )
        key = (str(row["chip"]), str(row["family"]), str(row["type"]))
        found[key] = Fit(efficiency=efficiency, error=float(row["error"]))
    return MappingProxyType(found)


@cache
def prompt_walks() -> Mapping[str, float]:
    """Operations that one multiprocessor's walk past a cached position counts as, by chip."""
    walks = {
        str(row["chip"]): float(row["parameters"][0])
        for row in _fit_rows()
        if row["family"] == "prompt_walk"
    }
    return MappingProxyType(walks)


@cache
def query_blocks() -> Mapping[tuple[str, str], QueryBlock]:
    """Blocks of kernels that serve prompts and single queries in one call, by chip and engine."""
    blocks = {}
    for row in _fit_rows():
        if row["family"] == "mixed_attention":
            rows, keys = row["parameters"]
            blocks[str(row["chip"]), str(row["type"])] = QueryBlock(rows=rows, keys=keys)
    return MappingProxyType(blocks)


@cache
def power_fits() -> Mapping[str, PowerFit]:
    """Fitted board power by chip, EVERY_CHIP for all together."""
    found = {}
    for row in _fit_rows():
        if row["family"] == "power":
            idle, of_bytes, of_ops, bend, most = row["parameters"]
            found[str(row["chip"])] = PowerFit(
                idle_share=idle,
                bytes_share=of_bytes,
                ops_share=of_ops,
                bend=bend,
                most_share=most,
                error=float(row["error"]),
            )
    return MappingProxyType(found)
