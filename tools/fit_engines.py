"""How well computed figures meet closed loads, for values of the engines' parameters on a grid.

    python tools/fit_engines.py ../shared/data/e2e/inferencex.csv.gz ../shared/data/e2e/aic_silicon_e2e.csv.gz

prints one line a point: median and 90th percentile of |ln(measured ÷ computed)| and its median, for each engine
and figure. Nothing is written: the values in src/takt/perf/data/engines.toml are picked from these lines by hand, step
overheads by the time per token, `first_s` and `burst` by the time to the first.
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np

import takt.perf.step as step
from takt.accuracy.case import Case
from takt.accuracy.compute import compute_cases
from takt.accuracy.observe import observations
from takt.accuracy.readers import read_cases
from takt.perf import ENGINES, engine_of

STEPS = [
    {"step_s": a, "user_s": b}
    for a, b in itertools.product((0.0, 5e-4, 1e-3, 1.5e-3), (2e-6, 1e-5, 2e-5))
]
WAITS = [
    {"first_s": a, "burst": b}
    for a, b in itertools.product((0.005, 0.03, 0.06, 0.12, 0.22), (0.05, 0.1, 0.2))
]
# Every so manieth case: a grid needs no more.
STRIDE = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    found = [case for path in parser.parse_args().files for case in read_cases(path)[0]]
    cases = [case for case in found if case.load == "closed" and case.split_known][::STRIDE]
    for values in ({}, *STEPS, *WAITS):
        step.engine_of = lambda name, values=values: replace(engine_of(name), **values)
        print(values, line(cases), flush=True)


def line(cases: list[Case]) -> str:
    rows = observations(compute_cases(cases)[0])
    parts = []
    for engine, figure in itertools.product(ENGINES, ("tpot", "ttft")):
        left = [
            row.measured - row.computed
            for row in rows
            if row.figure == figure
            and (row.situation.engine if row.situation.engine in ENGINES else "generic") == engine
        ]
        if left:
            size = np.abs(left)
            parts.append(
                f"{engine} {figure} {np.median(size):.3f}/{np.quantile(size, 0.9):.2f}/{np.median(left):+.2f}"
            )
    return "  ".join(parts)


if __name__ == "__main__":
    main()
