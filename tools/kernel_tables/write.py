"""Tables and fits to Parquet: the same rows give the same bytes."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from takt.perf.kernels.book import STEPS_PER_E

from .tables import FitRow, TableRow

__all__ = ["write_fits", "write_tables"]

_TABLE = pa.schema(
    [
        ("family", pa.string()),
        ("type", pa.string()),
        ("engine", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("nodes", pa.list_(pa.float64())),
        ("growth", pa.list_(pa.float32())),
        ("seconds", pa.binary()),
        ("basis", pa.string()),
        ("error", pa.float64()),
        ("n_samples", pa.int32()),
    ]
)
_FIT = pa.schema(
    [
        ("chip", pa.string()),
        ("family", pa.string()),
        ("type", pa.string()),
        ("parameters", pa.list_(pa.float64())),
        ("error", pa.float64()),
        ("n_samples", pa.int32()),
    ]
)


def _codes(seconds: np.ndarray) -> bytes:  # type: ignore[type-arg]
    steps = np.round(np.log(seconds / 1e-9) * STEPS_PER_E)
    return np.clip(steps, 0, 65535).astype("<u2").tobytes()


def _write(rows: list[dict[str, object]], schema: pa.Schema, path: Path) -> None:
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=False,
        write_statistics=["family", "type", "engine"] if "engine" in schema.names else False,
    )


def write_tables(rows: list[TableRow], folder: Path) -> None:
    """One file a chip; files of chips that have no tables any more go."""
    chips = defaultdict(list)
    for row in rows:
        chips[row.key.chip].append(
            {
                "family": row.key.family,
                "type": row.key.type_name,
                "engine": row.key.engine,
                "shape": list(row.surface.seconds.shape),
                "nodes": np.concatenate(row.surface.nodes).tolist(),
                "growth": list(row.surface.growth),
                "seconds": _codes(row.surface.seconds),
                "basis": row.basis,
                "error": round(row.error, 4),
                "n_samples": row.n_samples,
            }
        )
    for old in folder.glob("kernels-*.parquet"):
        if old.stem.removeprefix("kernels-") not in chips:
            old.unlink()
    for chip, found in sorted(chips.items()):
        _write(found, _TABLE, folder / f"kernels-{chip}.parquet")


def write_fits(rows: list[FitRow], folder: Path) -> None:
    """One file for all chips."""
    _write(
        [
            {
                "chip": row.chip,
                "family": row.family,
                "type": row.type_name,
                "parameters": list(row.parameters),
                "error": round(row.error, 4),
                "n_samples": row.n_samples,
            }
            for row in sorted(rows, key=lambda r: (r.chip, r.family, r.type_name))
        ],
        _FIT,
        folder / "kernels.parquet",
    )
