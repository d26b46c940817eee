"""Fit the corrections of `takt.perf` to end-to-end measurements, and write what they leave unexplained.

    python tools/fit_perf.py ../shared/data/e2e/*.csv*          fit, write src/takt/perf/data/corrections.parquet

Needs the extra ``fit`` (scipy). Deterministic: same rows, same bytes. docs/calibration.md explains the method.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from takt.accuracy.compute import compute_cases
from takt.accuracy.effects import Design, design_of, fit_effects, held_out_residuals
from takt.accuracy.observe import Observation, observations, slopes_of
from takt.accuracy.readers import read_cases
from takt.perf.corrections import SLOPES

HERE = Path(__file__).resolve().parent.parent
DATA = HERE / "src/takt/perf/data"
N_FOLDS = 5
SMALLEST_EFFECT = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    options = parser.parse_args()
    rows = load(options.files)
    report_raw(rows)
    design = design_of([row.situation for row in rows], slopes_of(rows))
    target = np.asarray([row.measured - row.computed for row in rows])
    for name in ("series", "model", "chip"):
        started = time.time()
        groups = group_of(rows, name)
        left = held_out_residuals(design, target, groups, N_FOLDS)
        print(f"left out: {name} ({time.time() - started:.0f} s)")
        report(rows, left)
    effects = fit_effects(design.matrix, target, design.penalties())
    print("fitted")
    report(rows, target - design.matrix @ effects)
    if not options.dry:
        write(design, effects)


def load(files: list[Path]) -> list[Observation]:
    found = []
    for path in files:
        cases, skips = read_cases(path)
        computed, refused = compute_cases(cases)
        rows = observations(computed)
        found += rows
        print(
            f"{path.name}: {len(cases)} cases, {len(skips)} skipped, {len(refused)} refused, {len(rows)} figures",
            file=sys.stderr,
        )
    return found


def group_of(rows: list[Observation], name: str) -> list[str]:
    if name == "series":  # whatever campaign measured it: files repeat each other's rows
        return [configuration(row) for row in rows]
    return [getattr(row.situation, name) for row in rows]


def configuration(row: Observation) -> str:
    fields = ("engine", "chip", "model", "weights", "mode", "split")
    return " ".join(getattr(row.situation, field) for field in fields)


def report_raw(rows: list[Observation]) -> None:
    print("computed, not corrected")
    report(rows, np.asarray([row.measured - row.computed for row in rows]))


def report(rows: list[Observation], left: np.ndarray) -> None:
    """`left`: measured − predicted in logarithms of time."""
    figures = np.asarray([row.figure for row in rows])
    campaigns = np.asarray([row.situation.campaign for row in rows])
    over = np.where(figures == "throughput", left, -left)
    error = np.abs(np.exp(over) - 1)
    for figure in np.unique(figures):
        at = figures == figure
        line = f"  {figure:11s} n {at.sum():6d}  median {np.median(error[at]):6.1%}  p90 {np.quantile(error[at], 0.9):7.1%}  bias {np.median(np.exp(over[at]) - 1):+6.1%}  |"
        for campaign in np.unique(campaigns[at]):
            c = at & (campaigns == campaign)
            line += f" {campaign[:14]} {c.sum()}: {np.median(error[c]):.0%}/{np.quantile(error[c], 0.9):.0%}"
        print(line)


def write(design: Design, effects: np.ndarray) -> None:
    table = effects.reshape(-1, len(SLOPES))
    order = sorted(range(len(design.names)), key=lambda i: design.names[i])
    kept = [i for i in order if np.abs(table[i]).max() >= SMALLEST_EFFECT]
    columns = {"effect": pa.array([design.names[i] for i in kept])}
    columns |= {
        name: pa.array(np.round(table[kept, s], 4).astype(np.float32))
        for s, name in enumerate(SLOPES)
    }
    pq.write_table(
        pa.table(columns), DATA / "corrections.parquet", compression="zstd", compression_level=19
    )
    print(f"{len(kept)} effects, {(DATA / 'corrections.parquet').stat().st_size} bytes")


if __name__ == "__main__":
    main()
