"""What `takt accuracy` and `takt calibrate` share: files of measurements, and what is said of them on the command line."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from takt.accuracy import Defaults
from takt.accuracy.report import Metric
from takt.chips import find_accelerator, load_accelerator
from takt.cli.table import aligned
from takt.errors import UsageError
from takt.models.outlines import find_outline, outline_of

__all__ = [
    "Chip",
    "Concurrency",
    "Engine",
    "Files",
    "Model",
    "NChips",
    "Output",
    "Prompt",
    "Tp",
    "Weights",
    "chosen_files",
    "counting",
    "defaults_of",
    "metric_document",
    "metric_rows",
    "metric_table",
    "percent",
    "signed",
]

_PATIENCE_S = 2.0
_UNDERSTOOD = (
    "understood are CSV files (gz or not) with the columns of Takt's public measurements, CSV files with at least "
    "chip, model, isl_tokens, osl_tokens and a measurement (tpot_ms, ttft_ms, …), and the JSON that "
    "`vllm bench serve` and `genai-perf` write"
)

Files = Annotated[
    list[Path] | None, typer.Argument(metavar="FILE", help="CSV (gz or not) or JSON results.")
]
Chip = Annotated[
    str, typer.Option("--chip", metavar="ID", help="Where a file doesn't say: the chip.")
]
Model = Annotated[str, typer.Option("--model", metavar="NAME", help="…the model.")]
Engine = Annotated[str, typer.Option("--engine", metavar="NAME", help="…the engine.")]
Weights = Annotated[str, typer.Option("--weights", metavar="TYPE", help="…the type of weights.")]
NChips = Annotated[
    int | None,
    typer.Option("--n-chips", metavar="N", help="…how many chips.", show_default=False),
]
Tp = Annotated[
    int | None,
    typer.Option("--tp", metavar="N", help="…chips that share each matrix.", show_default=False),
]
Prompt = Annotated[
    float | None,
    typer.Option("--prompt", metavar="TOKENS", help="…prompt length.", show_default=False),
]
Output = Annotated[
    float | None,
    typer.Option("--output", metavar="TOKENS", help="…output length.", show_default=False),
]
Concurrency = Annotated[
    float | None,
    typer.Option("--concurrency", metavar="N", help="…users at once.", show_default=False),
]


def chosen_files(files: list[Path] | None) -> list[Path]:
    """The files named, each once. Raises UsageError for none, for a directory, and for a name that is no file."""
    if not files:
        raise UsageError("no file of measurements is named", hint=_UNDERSTOOD)
    for path in files:
        if path.is_dir():
            raise UsageError(f"{path} is a directory", hint=f"name its files: {path}/*")
        if not path.exists():
            raise UsageError(f"there is no file {path}")
    return list(dict.fromkeys(files))


def defaults_of(
    *,
    chip: str = "",
    model: str = "",
    engine: str = "",
    weights: str = "",
    n_chips: int | None = None,
    tp: int | None = None,
    prompt: float | None = None,
    output: float | None = None,
    concurrency: float | None = None,
) -> Defaults:
    """What the command line says of the files. Raises UsageError for unknown names and numbers below 1."""
    for option, number in (
        ("--n-chips", n_chips),
        ("--tp", tp),
        ("--prompt", prompt),
        ("--output", output),
        ("--concurrency", concurrency),
    ):
        if number is not None and not 1 <= number <= 1e8:
            raise UsageError(f"{option} {number}: expected 1 or more")
    if chip and find_accelerator(chip) is None:
        load_accelerator(chip)  # says what is near, unless it is a chip file
        raise UsageError(f"--chip {chip}: expected an id of `takt chips`, not a file")
    if model and find_outline(model) is None:
        outline_of(model)
    return Defaults(
        chip=chip,
        model=model,
        engine=engine,
        weights=weights,
        n_chips=n_chips,
        tp=tp,
        prompt_tokens=prompt,
        output_tokens=output,
        concurrency=concurrency,
    )


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr from two seconds on, if someone is watching."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # only a terminal needs it
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)
    timer = threading.Timer(_PATIENCE_S, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done, total: bar.update(task, completed=done, total=total)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def percent(fraction: float) -> str:
    """`7.3 %`, `144 %`, `>1,000 %`."""
    if fraction > 10.0:
        return ">1,000 %"
    return f"{100 * fraction:.1f} %" if fraction < 0.9995 else f"{100 * fraction:,.0f} %"


def signed(fraction: float) -> str:
    """`+7.3 %`, `−2.1 %`."""
    text = percent(abs(fraction))
    return text if text == "0.0 %" else ("+" if fraction > 0 else "−") + text


def metric_rows(metric: Metric) -> tuple[str, str, str, str]:
    """n, median, 90th percentile and bias as cells of a table."""
    return (
        f"{metric.n:,}",
        percent(metric.median_abs_error),
        percent(metric.p90_abs_error),
        signed(metric.bias),
    )


def metric_document(metric: Metric) -> dict[str, float | int]:
    """As JSON; errors as fractions."""
    return {
        "n": metric.n,
        "median_abs_error": round(metric.median_abs_error, 6),
        "p90_abs_error": round(metric.p90_abs_error, 6),
        "bias": round(metric.bias, 6),
    }


def metric_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of names followed by `metric_rows`, flush right."""
    header = (*head, "N", "MEDIAN ERROR", "90TH PCT", "BIAS")
    first = len(head)
    return aligned([header, *rows], right=range(first, first + 4))
