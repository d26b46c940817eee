"""Write docs/accuracy-chips.md: predicted against measured for every row of the public measurements.

    python tools/accuracy_page.py ../shared/data/e2e/*

Everything on the page is measured in this run, which takes minutes: all rows are computed, corrections are fitted
anew without each row's series, model and chip, and the shipped corrections are applied. The same figures go to
src/takt/perf/data/held_out.json, from which `takt accuracy` and `takt compare` quote them. Needs scipy (extra `fit`).
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

# Before numpy is loaded: threads of its linear algebra wait for each other longer than these short vectors take.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from takt.accuracy.folds import LEFT_OUT, held_out_of, judged, save_held_out
from takt.accuracy.held_out import WAYS
from takt.accuracy.metrics import Metric, grouped_metrics, metrics, ratios
from takt.accuracy.observe import Observation, observations
from takt.accuracy.report import Answers, Scored, answers_to, worst_rows
from takt.perf.corrections import FIGURES

HERE = Path(__file__).resolve().parent.parent
PAGE = HERE / "docs" / "accuracy-chips.md"
HELD_OUT = HERE / "src" / "takt" / "perf" / "data" / "held_out.json"
N_WORST = 10
# MLPerf Inference's offline scenario is asked for by chip: what a name of the catalogue begins with.
OFFLINE_CHIPS = ("h100", "h200", "b200", "mi300x", "tpu")
NAMES = {
    "computed": "computed only",
    "series": "series left out",
    "model": "model left out",
    "chip": "chip left out",
    "fitted": "fitted",
}
TABLES = (
    ("dataset", "campaign", "By source of the measurements"),
    ("chip", "chip", "By chip"),
    ("engine", "engine", "By engine"),
    ("precision", "weights", "By precision of the weights"),
    ("kind", "kind", "By kind of model"),
    ("load", "mode", "By load"),
    ("model", "model", "By model"),
)

Predicted = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--held-out", type=Path, default=HELD_OUT)
    options = parser.parse_args()
    by_file = [one_file(path) for path in options.files]
    rows = observations([item for answers in by_file for item in answers.computed])
    say(f"{len(rows):,} figures; fitting without each series, model and chip")
    predicted = judged(
        rows, lambda done, n: say(f"left out by {LEFT_OUT[done]} ({done + 1} of {n})")
    )
    save_held_out(options.held_out, held_out_of(rows, predicted))
    options.out.write_text(page_of(by_file, rows, predicted), encoding="utf-8")
    say(f"{options.out} and {options.held_out} written")


def say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def one_file(path: Path) -> Answers:
    answers = answers_to([path])
    say(f"{path.name}: {answers.rows:,} rows, {answers.answered:,} answered")
    return answers


def page_of(by_file: Sequence[Answers], rows: Sequence[Observation], predicted: Predicted) -> str:
    parts = [
        INTRODUCTION,
        "## In short\n\n" + in_short(rows, predicted),
        HOW_TO_READ,
        "## Coverage\n\n" + coverage(by_file) + "\n" + reasons(by_file),
        "## MLPerf Inference, offline\n\n" + OFFLINE + offline(rows, predicted),
        f"## The {N_WORST} rows farthest off\n\n" + WORST + worst(rows, predicted),
    ]
    for name, field, title in TABLES:
        parts.append(f"## {title}\n\n" + table_by(name, field, rows, predicted))
    return "\n".join(parts)


def markdown(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()
) -> str:
    """A table; columns numbered in `right` flush right."""
    marks = ["---:" if i in set(right) else "---" for i in range(len(header))]
    lines = [header, marks, *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def pair(metric: Metric | None) -> str:
    """Median and 90th percentile in percent."""
    if metric is None:
        return "–"
    return f"{digits(metric.median_abs_error)} / {digits(metric.p90_abs_error)}"


def digits(fraction: float) -> str:
    return f"{100 * fraction:.1f}" if fraction < 0.9995 else f"{100 * fraction:,.0f}"


def signed(fraction: float) -> str:
    return f"{100 * fraction:+.1f}".replace("-", "−")


def in_short(rows: Sequence[Observation], predicted: Predicted) -> str:
    found = {way: metrics(rows, ratios(rows, predicted[way])) for way in WAYS}
    lines = [
        (
            figure,
            f"{found['series'][figure].n:,}",
            *(pair(found[way][figure]) for way in WAYS),
            signed(found["series"][figure].bias),
        )
        for figure in FIGURES
        if figure in found["series"]
    ]
    header = ("figure", "n", *(NAMES[way] for way in WAYS), "bias")
    return markdown(header, lines, range(1, 8))


def table_by(name: str, field: str, rows: Sequence[Observation], predicted: Predicted) -> str:
    return grouped((name,), rows, predicted, lambda row: (getattr(row.situation, field) or "–",))


def grouped(
    names: Sequence[str],
    rows: Sequence[Observation],
    predicted: Predicted,
    key: Callable[[Observation], tuple[str, ...]],
) -> str:
    """A line for each key and figure, keys with most figures first."""
    found = {way: grouped_metrics(rows, ratios(rows, predicted[way]), key) for way in WAYS}
    n = {k: sum(metric.n for metric in ms.values()) for k, ms in found["series"].items()}
    lines = [
        (
            *k,
            figure,
            f"{metric.n:,}",
            *(pair(found[way][k][figure]) for way in WAYS),
            signed(found["series"][k][figure].bias),
        )
        for k in sorted(n, key=lambda k: (-n[k], k))
        for figure, metric in found["series"][k].items()
    ]
    header = (*names, "figure", "n", *(NAMES[way] for way in WAYS), "bias")
    first = len(names) + 1
    return markdown(header, lines, range(first, first + 7))


def coverage(by_file: Sequence[Answers]) -> str:
    def line(name: str, files: Sequence[Answers]) -> tuple[str, ...]:
        count: dict[str, int] = defaultdict(int)
        for answers in files:
            count["rows"] += answers.rows
            count["answered"] += answers.answered
            for skip in answers.skipped:
                count[skip.stage] += skip.count
        usable = count["answered"] + count["prediction"]
        return (
            name,
            *(f"{count[part]:,}" for part in ("rows", "answered", "row", "prediction")),
            f"{100 * count['answered'] / max(count['rows'], 1):.1f} %",
            f"{100 * count['answered'] / max(usable, 1):.1f} %",
        )

    lines = [line(f"`{answers.files[0]}`", [answers]) for answers in by_file]
    header = (
        "file", "rows", "answered", "not usable", "no answer", "of all", "of usable"
    )  # fmt: skip
    return markdown(header, [*lines, line("all", by_file)], range(1, 7))


def reasons(by_file: Sequence[Answers]) -> str:
    lines = []
    for stage, words in (("row", "not usable"), ("prediction", "no answer")):
        found = [(a.files[0], s) for a in by_file for s in a.skipped if s.stage == stage]
        for file, skip in sorted(found, key=lambda pair: (-pair[1].count, pair[1].reason, pair[0])):
            named = f": {', '.join(skip.names)}" if skip.names else ""
            lines.append((words, f"{skip.count:,}", f"`{file}`", skip.reason + named))
    return markdown(("rows", "count", "file", "why"), lines, (1,))


def offline(rows: Sequence[Observation], predicted: Predicted) -> str:
    index = [i for i, row in enumerate(rows) if is_offline(row)]
    if not index:
        return "No such rows in this run.\n"
    own = [rows[i] for i in index]
    logs = {way: values[index] for way, values in predicted.items()}
    total = grouped(("chips",), own, logs, lambda row: ("all",))
    return (
        total
        + "\n"
        + grouped(
            ("chip", "model", "precision"),
            own,
            logs,
            lambda row: (row.situation.chip, row.situation.model, row.situation.weights),
        )
    )


def is_offline(row: Observation) -> bool:
    situation = row.situation
    return (
        situation.campaign == "mlperf"
        and situation.mode.startswith("offline")
        and not situation.kind.startswith("network")
        and row.figure == "throughput"
        and situation.chip.startswith(OFFLINE_CHIPS)
    )


def worst(rows: Sequence[Observation], predicted: Predicted) -> str:
    scored = Scored(rows=tuple(rows), predicted=predicted["series"])
    found = worst_rows(scored, N_WORST)
    lines = [
        (
            f"`{row.where}`",
            row.figure,
            f"{row.measured:,.4g}",
            f"{row.predicted:,.4g}",
            row.unit,
            f"{row.predicted / row.measured:.3g}",
            row.situation.chip,
            row.situation.engine,
            row.situation.model,
        )
        for row in found
    ]
    header = (
        "row", "figure", "measured", "predicted", "unit", "ratio", "chip", "engine", "model"
    )  # fmt: skip
    return markdown(header, lines, (2, 3, 5))


INTRODUCTION = """\
# Accuracy on other chips: predicted against measured

How far Takt's figures for GPUs, TPUs and other accelerators are from public end-to-end measurements of them: every source,
chip and model, with what has no answer counted. The page is written by one command, and every figure on it was measured in
that run:

```console
$ python tools/accuracy_page.py ../shared/data/e2e/*
```

`takt accuracy FILE…` prints the same for any file of measurements, yours among them ([verbs.md](verbs.md)).
"""

HOW_TO_READ = """\
Each cell is the median / the 90th percentile of |predicted ÷ measured − 1| in percent; bias is the median of predicted ÷
measured − 1 in percent for series left out (+: Takt predicts more). Figures are the time per output token (`tpot`), the time to
the first token (`ttft`), throughput of the whole system, joules per output token (`energy`) and the time of one pass (`step_time`).

- **computed only**: kernel models, overheads and the loop of users, no correction fitted to end-to-end rows.
- **series left out**: corrections fitted without any row of the same engine, chip, model, precision, load and split. What to
  expect for a configuration whose chip and model were measured, but not together in this way.
- **model left out**: without any row of the same model, on whatever chip. What to expect for a model never measured.
- **chip left out**: without any row of the same chip. What to expect for a chip never measured.
- **fitted**: with all rows. It says how much of the scatter named effects can explain, not what to expect.

Rows are left out a fifth at a time, whole groups together. Sources repeat each other's rows now and then; a series counts as the
same whoever measured it, so that a copy never predicts its original.
"""

OFFLINE = """\
Throughput of language models, dense and with experts, on H100, H200, B200, MI300X and TPU. These entries do not record how the
chips are divided, and their lengths are the data set's means.

"""

WORST = """\
By ratio, predicted with their series left out, one figure a row.

"""


if __name__ == "__main__":
    main()
