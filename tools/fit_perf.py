"""Fit the corrections of `takt.perf` to end-to-end measurements, and write what they leave unexplained.

    python tools/fit_perf.py ../shared/data/e2e/*.csv*

writes src/takt/perf/data/corrections.parquet (the effects), held_out.json (errors without the row's own series,
model or chip) and src/takt/accuracy/fitted.bin (which rows were seen). Needs the extra `fit` (scipy). Same
rows, same bytes. docs/calibration.md explains the method.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from takt.accuracy.compute import compute_cases
from takt.accuracy.digest import save_digests
from takt.accuracy.effects import Design, design_of, fit_effects
from takt.accuracy.folds import LEFT_OUT, held_out_logs, held_out_of, save_held_out
from takt.accuracy.metrics import ratios
from takt.accuracy.observe import Observation, observations, slopes_of
from takt.accuracy.readers import read_cases
from takt.perf.corrections import FAMILIES, SLOPES
from takt.perf.corrections.held_out import SAYS_MEASURED

SOURCE = Path(__file__).resolve().parent.parent / "src/takt"
# An effect that moves no figure by a thousandth is not worth its row, but for those that say something was measured.
SMALLEST_EFFECT = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    options = parser.parse_args()
    rows = load(options.files)
    logs = {"computed": np.asarray([row.computed for row in rows])}
    show("computed, not corrected", rows, logs["computed"])
    for name in LEFT_OUT:
        logs[name] = held_out_logs(rows, name)
        show(f"left out: {name}", rows, logs[name])
    design = design_of([row.situation for row in rows], slopes_of(rows))
    target = np.asarray([row.measured for row in rows]) - logs["computed"]
    effects = fit_effects(design.matrix, target, design.penalties())
    logs["fitted"] = logs["computed"] + design.matrix @ effects
    show("fitted", rows, logs["fitted"])
    if not options.dry:
        write(design, effects)
        save_held_out(SOURCE / "perf/data/held_out.json", held_out_of(rows, logs))
        save_digests(SOURCE / "accuracy/fitted.bin", [row.computed_case.case for row in rows])


def load(files: list[Path]) -> list[Observation]:
    found = []
    for path in sorted(files):
        cases, skips = read_cases(path)
        computed, refused = compute_cases(cases)
        rows = observations(computed)
        found += rows
        counts = (
            f"{len(cases)} cases, {len(skips)} skipped, {len(refused)} refused, {len(rows)} figures"
        )
        print(f"{path.name}: {counts}", file=sys.stderr)
    return found


def show(title: str, rows: list[Observation], logs: np.ndarray) -> None:
    """One line a figure: all rows, then each campaign as median/90th percentile."""
    print(title)
    figures = np.asarray([row.figure for row in rows])
    campaigns = np.asarray([row.situation.campaign for row in rows])
    ratio = ratios(rows, logs)
    error = np.abs(ratio - 1)
    for figure in np.unique(figures):
        at = figures == figure
        line = f"  {figure:11s} n {at.sum():6d}  median {np.median(error[at]):6.1%}"
        line += f"  p90 {np.quantile(error[at], 0.9):7.1%}  bias {np.median(ratio[at] - 1):+6.1%} |"
        for campaign in np.unique(campaigns[at]):
            some = error[at & (campaigns == campaign)]
            line += f" {campaign} {len(some)}: {np.median(some):.0%}/{np.quantile(some, 0.9):.0%}"
        print(line, flush=True)


def write(design: Design, effects: np.ndarray) -> None:
    table = effects.reshape(-1, len(SLOPES))
    order = sorted(range(len(design.names)), key=lambda i: design.names[i])
    known = [FAMILIES[family] in SAYS_MEASURED for family in design.family]
    kept = [i for i in order if known[i] or np.abs(table[i]).max() >= SMALLEST_EFFECT]
    columns = {"effect": pa.array([design.names[i] for i in kept])}
    for s, name in enumerate(SLOPES):
        columns[name] = pa.array(np.round(table[kept, s], 4).astype(np.float32))
    path = SOURCE / "perf/data/corrections.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd", compression_level=19)
    print(f"{len(kept)} effects, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
