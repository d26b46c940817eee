"""Write docs/accuracy-serving.md: the simulator held against measurements of real servers.

    python tools/accuracy_serving_page.py ../shared/data/e2e/*

Every table is measured in this run, which takes minutes: a sample of the rows with a constant number of users is simulated,
as computed and with corrections that never saw the row's series, and recorded runs are replayed request by request. The words
around the tables are tools/accuracy_serving_story.txt. Needs scipy (extra `fit`).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from takt.accuracy.folds import held_out_logs
from takt.accuracy.report import Metric, Scored, answers_to, score
from takt.accuracy.simulated import (
    Beside,
    Replay,
    has_requests,
    metrics_of,
    read_runs,
    replayed,
    simulated_beside,
    ways_of,
)
from takt.perf.corrections import Corrections

HERE = Path(__file__).resolve().parent.parent
PAGE = HERE / "docs" / "accuracy-serving.md"
STORY = HERE / "tools" / "accuracy_serving_story.txt"
DIMENSIONS = {"by file": "dataset", "by engine": "engine", "by load": "mode", "by chip": "chip"}
LEAST_ROWS = 10  # of a group that is shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    options = parser.parse_args()
    paths = sorted(options.files)
    answers = answers_to(paths)
    plain = score(answers.computed, Corrections(effects={}))
    say("fitting without each series")
    held_out = replace(plain, predicted=held_out_logs(plain.rows, "series"))
    say("simulating")
    ways = {
        "as computed": simulated(plain, options.rows),
        "series left out": simulated(held_out, options.rows),
    }
    median = simulated_beside(plain, n_rows=options.rows, ttft="median")
    runs = [run for path in paths if has_requests(path) for run in read_runs(path)]
    replays = [replayed(run, way) for run in runs for way in ways_of(run)]
    computed = ways["as computed"]
    text = STORY.read_text(encoding="utf-8").format(
        n_cases=f"{computed.n_cases:,}",
        n_suited=f"{computed.n_suited:,}",
        overall=overall(ways),
        groups="\n\n".join(grouped(ways, title, name) for title, name in DIMENSIONS.items()),
        first=first_tokens(computed, median),
        runs=run_table(replays),
        left="\n".join(f"- {each.count:,}: {each.reason}" for each in computed.left) or "- none",
    )
    PAGE.write_text(text, encoding="utf-8")
    say(f"wrote {PAGE}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def simulated(scored: Scored, n_rows: int) -> Beside:
    return simulated_beside(scored, n_rows=n_rows)


def pair(metric: Metric | None) -> str:
    if metric is None:
        return "–"
    return f"{100 * metric.median_abs_error:.1f} / {100 * metric.p90_abs_error:.0f} ({100 * metric.bias:+.0f})"


def overall(ways: dict[str, Beside]) -> str:
    lines = [
        "| figure | n | corrections | closed loop | simulated |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for way, beside in ways.items():
        found = metrics_of(beside)[()]
        for figure, metric in found["closed"].items():
            cells = pair(metric), pair(found["simulated"][figure])
            lines.append(f"| {figure} | {metric.n:,} | {way} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def grouped(ways: dict[str, Beside], title: str, dimension: str) -> str:
    """One table: each group's figures as computed and with held-out corrections."""
    plain, held = (metrics_of(beside, [dimension]) for beside in ways.values())
    lines = [
        f"| {title} | figure | n | closed loop | simulated | closed loop, left out | simulated, left out |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for values, found in plain.items():
        for figure, metric in found["closed"].items():
            if metric.n < LEAST_ROWS:
                continue
            others = held.get(values, {})
            cells = [pair(metric), pair(found["simulated"].get(figure))]
            cells += [pair(others.get(way, {}).get(figure)) for way in ("closed", "simulated")]
            lines.append(f"| {values[0]} | {figure} | {metric.n:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def first_tokens(computed: Beside, median: Beside) -> str:
    lines = ["| aic rows, read as | n | simulated |", "| --- | ---: | ---: |"]
    for name, beside in (("mean over the run", computed), ("median over the run", median)):
        metric = metrics_of(beside, ["dataset"]).get(("aic",), {}).get("simulated", {}).get("ttft")
        lines.append(f"| {name} | {metric.n if metric else 0:,} | {pair(metric)} |")
    return "\n".join(lines)


def run_table(replays: Sequence[Replay]) -> str:
    lines = [
        "| run | predicted from | blocks | preempted | latency | median | mean | of mean | of p50 | of p90 | of p99 |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for replay in replays:
        for latency, error in replay.errors.items():
            signed = (error.of_mean, error.of_p50, error.of_p90, error.of_p99)
            cells = [f"{100 * error.median:.1f}", f"{100 * error.mean:.1f}"]
            cells += [f"{100 * value:+.1f}" for value in signed]
            lines.append(
                f"| {replay.run.name} | {replay.variant} | {replay.blocks:,} | {replay.preemptions} "
                f"| {latency} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
