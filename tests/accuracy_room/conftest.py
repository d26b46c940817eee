"""Small tables made here, and where the public ones may lie."""

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture
def shared() -> Path:
    """The folder of public measurements; tests of it are skipped where it is absent."""
    root = Path(os.environ.get("TAKT_SHARED", Path(__file__).parents[3] / "shared"))
    folder = root / "data" / "e2e"
    if not folder.is_dir():
        pytest.skip(f"no public measurements in {folder} (set TAKT_SHARED)")
    return folder


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """Writes a copy of a sample's row with some cells changed, and returns its path."""

    def write(sample: str, line: int, cells: Mapping[str, str] | None = None) -> Path:
        with (DATA / f"{sample}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        row = rows[line] | dict(cells or {})
        path = tmp_path / f"{sample}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerow(row)
        return path

    return write


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows (dicts with the same keys) as CSV and returns the path."""

    def write(*rows: Mapping[str, object], name: str = "mine.csv") -> Path:
        path = tmp_path / name
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write
