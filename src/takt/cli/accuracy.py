"""`takt accuracy`: predicted against measured, for files of measurements.

Knows the command line and JSON (keys in docs/verbs.md); text is `accuracy_text`'s, figures are the `accuracy` room's.
"""

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from takt.accuracy.calibrate import calibrated, load_calibration
from takt.accuracy.report import (
    Answers,
    Scored,
    answers_to,
    check_dimensions,
    points_of,
    report_of,
    score,
)
from takt.cli import measured_files as given
from takt.cli.accuracy_text import document_of, text_of
from takt.cli.outputs import AsJson, writable
from takt.cli.progress import waiting
from takt.errors import UnsupportedError, UsageError, did_you_mean
from takt.perf.corrections import Corrections, shipped_corrections

__all__ = ["command"]

_LEFT_OUT = ("series", "model", "chip")
_MOST_WORST = 1000
_ROWS, _MOST_ROWS = 200, 1_000_000


def command(
    files: given.Files = None,
    by: Annotated[
        str, typer.Option("--by", metavar="chip,model,…", help="Metrics of each group too.")
    ] = "",
    worst: Annotated[
        int, typer.Option("--worst", metavar="N", help="How many rows farthest off.")
    ] = 10,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Predicted against measured, .png or .svg (needs matplotlib).",
            show_default=False,
        ),
    ] = None,
    colour: Annotated[
        str, typer.Option("--colour", metavar="chip|dataset|…", help="Of the points in the plot.")
    ] = "chip",
    uncorrected: Annotated[
        bool, typer.Option("--uncorrected", help="Without corrections fitted to measurements.")
    ] = False,
    cross_validate: Annotated[
        str | None,
        typer.Option(
            "--cross-validate",
            metavar="|".join(_LEFT_OUT),
            help="Fit anew, each row without its own (needs scipy).",
            show_default=False,
        ),
    ] = None,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate", help="Rows with so many users, and recorded requests, simulated."
        ),
    ] = False,
    n_rows: Annotated[
        int | None,
        typer.Option(
            "--rows",
            metavar="N",
            help="How many rows to simulate, 0 for all (default 200).",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE.toml",
            help="Parameters that takt calibrate wrote.",
            show_default=False,
        ),
    ] = None,
    chip: given.Chip = "",
    model: given.Model = "",
    engine: given.Engine = "",
    weights: given.Weights = "",
    n_chips: given.NChips = None,
    tp: given.Tp = None,
    prompt: given.Prompt = None,
    output: given.Output = None,
    concurrency: given.Concurrency = None,
    as_json: AsJson = False,
) -> None:
    """Hold predictions against measurements: median and 90th-percentile error, bias, coverage, the worst rows.

    Files are recognised by their columns. What a file doesn't say about its rows can be said here.

    \b
    Examples:
      takt accuracy data/e2e/*.csv* --by chip
      takt accuracy my-results.csv --plot scatter.svg
      takt accuracy vllm-bench.json --chip h100-sxm --tp 4 --engine vllm
      takt accuracy data/e2e/*.csv* --cross-validate model
      takt accuracy data/e2e/*.csv* --simulate --uncorrected
    """
    paths = given.chosen_files(files)
    dimensions = check_dimensions([name.strip() for name in by.split(",") if name.strip()])
    check_dimensions([colour])
    _check(plot, worst, cross_validate, uncorrected, calibration)
    _check_rows(simulate, n_rows)
    parameters = load_calibration(calibration) if calibration else None
    defaults = given.defaults_of(
        chip=chip, model=model, engine=engine, weights=weights, n_chips=n_chips, tp=tp,
        prompt=prompt, output=output, concurrency=concurrency,
    )  # fmt: skip
    with given.counting("computing") as progress:
        answers = answers_to(paths, defaults, progress)
    scored = _scored(answers, uncorrected, cross_validate)
    if parameters is not None:
        scored = calibrated(scored, parameters)
    report = report_of(answers, scored, by=dimensions, n_worst=worst)
    if uncorrected or cross_validate:
        report = replace(report, held_out={})  # nothing here was fitted to its own row
    if plot is not None:
        _draw(Path(plot), scored, colour)
    basis = _basis(uncorrected, cross_validate, calibration)
    document, text = document_of(report, basis), text_of(report, basis)
    if simulate:
        simulated, more = _simulated(paths, scored, n_rows, dimensions)
        document |= {"simulated": simulated}
        text += "\n" + more
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(text)


def _basis(uncorrected: bool, cross_validate: str | None, calibration: Path | None) -> str:
    """Where the corrections come from, as JSON says it."""
    if cross_validate is not None:
        return f"left out: {cross_validate}"
    basis = "none" if uncorrected or not shipped_corrections().effects else "shipped"
    return f"{basis} + {calibration.name}" if calibration else basis


def _check(
    plot: str | None,
    worst: int,
    cross_validate: str | None,
    uncorrected: bool,
    calibration: Path | None,
) -> None:
    if plot is not None:
        writable(plot)
        if Path(plot).suffix not in (".png", ".svg"):
            raise UsageError(f"--plot {plot}: expected a file that ends in .png or .svg")
    if not 0 <= worst <= _MOST_WORST:
        raise UsageError(f"--worst {worst}: expected 0 to {_MOST_WORST}")
    if cross_validate is not None and cross_validate not in _LEFT_OUT:
        raise UsageError(
            f"--cross-validate {cross_validate[:40]}: expected {' or '.join(_LEFT_OUT)}",
            hint=did_you_mean(cross_validate, _LEFT_OUT),
        )
    if sum((uncorrected, cross_validate is not None, calibration is not None)) > 1:
        raise UsageError("only one of --uncorrected, --cross-validate and --calibration")
    if cross_validate is not None and importlib.util.find_spec("scipy") is None:
        raise UnsupportedError(
            "fitting needs scipy, which is not installed", hint="pip install 'takt-lpu[fit]'"
        )


def _check_rows(simulate: bool, n_rows: int | None) -> None:
    if n_rows is not None and not simulate:
        raise UsageError("--rows says how many rows --simulate takes", hint="add --simulate")
    if n_rows is not None and not 0 <= n_rows <= _MOST_ROWS:
        raise UsageError(f"--rows {n_rows}: expected 0 (all) to {_MOST_ROWS:,}")


def _simulated(
    paths: Sequence[Path], scored: Scored, n_rows: int | None, dimensions: Sequence[str]
) -> tuple[dict[str, object], str]:
    """As JSON and as text: a sample of the rows, and all recorded runs, simulated."""
    from takt.accuracy.simulated import has_requests, read_runs, replayed, simulated_beside, ways_of
    from takt.cli.accuracy_simulated import document_of as document  # the engine
    from takt.cli.accuracy_simulated import text_of as text

    n_rows = _ROWS if n_rows is None else n_rows
    with given.counting("simulating") as progress:
        beside = simulated_beside(scored, n_rows=n_rows, progress=progress)
        runs = [run for path in paths if has_requests(path) for run in read_runs(path)]
        replays = [replayed(run, way) for run in runs for way in ways_of(run)]
    groups = [name for name in dimensions if name != "fitted"]
    return document(beside, replays, groups), text(beside, replays, groups)


def _scored(answers: Answers, uncorrected: bool, cross_validate: str | None) -> Scored:
    if uncorrected or cross_validate:
        plain = score(answers.computed, Corrections(effects={}))
        if cross_validate is None:
            return plain
        from takt.accuracy.folds import held_out_logs  # brings scipy along

        with waiting(f"fitting without each {cross_validate}"):
            return replace(plain, predicted=held_out_logs(plain.rows, cross_validate))
    with waiting("correcting"):
        return score(answers.computed)


def _draw(path: Path, scored: Scored, colour: str) -> None:
    from takt.report.accuracy_plot import Panel, write_accuracy_plot  # only for a picture

    panels = [
        Panel(title=figure, unit=unit, points=points)
        for (figure, unit), points in points_of(scored, colour).items()
    ]
    write_accuracy_plot(path, panels, by=colour)
