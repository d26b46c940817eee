"""`takt calibrate`: a few engine parameters fitted to the user's own measurements.

Knows the command line, text and JSON (keys in docs/verbs.md); the fit is the `accuracy` room's.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from takt.accuracy.calibrate import Calibrated, calibrate, calibration_text
from takt.accuracy.report import answers_to
from takt.cli import measured_files as given
from takt.cli.outputs import AsJson, writable
from takt.cli.progress import waiting
from takt.cli.table import aligned
from takt.errors import DataError, UsageError

__all__ = ["command"]


def command(
    files: given.Files = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE.toml", help="Where to write.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
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
    """Fit engine parameters to measurements of your own, and say what that gains on rows left out.

    For each engine and chip: factors on the time per output token, on prompts, on waiting and on power, and
    milliseconds added per output token. At least 5 rows of an engine on a chip are needed.

    \b
    Examples:
      takt calibrate my-results.csv --out mine.toml
      takt calibrate run1.json run2.json … --chip h100-sxm --engine vllm --out mine.toml
      takt accuracy more-results.csv --calibration mine.toml
    """
    paths = given.chosen_files(files)
    if out is not None:
        _check_output(out, force)
    defaults = given.defaults_of(
        chip=chip, model=model, engine=engine, weights=weights, n_chips=n_chips, tp=tp,
        prompt=prompt, output=output, concurrency=concurrency,
    )  # fmt: skip
    with given.counting("computing") as progress:
        answers = answers_to(paths, defaults, progress)
    with waiting("fitting"):
        found = calibrate(answers.computed)
    if out is not None:
        source = f"{', '.join(answers.files)}: {sum(one.rows for one in found.fitted)} rows"
        _write(Path(out), calibration_text(found.calibration(source)), force)
    if as_json:
        text = json.dumps(_document(found, answers.files, out), indent=2, ensure_ascii=False)
        sys.stdout.write(text + "\n")
    else:
        sys.stdout.write(_text(found, out))


def _check_output(out: str, force: bool) -> None:
    writable(out)
    if Path(out).suffix != ".toml":
        raise UsageError(f"--out {out}: expected a file that ends in .toml")
    if Path(out).exists() and not force:
        raise UsageError(f"{out} exists", hint="--force writes over it")


def _write(path: Path, text: str, force: bool) -> None:
    """In one step, and not over a file that appeared meanwhile."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        if force:
            part.replace(path)
        else:
            path.hardlink_to(part)
    except FileExistsError as error:
        raise UsageError(f"{path} exists", hint="--force writes over it") from error
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", file=str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def _document(found: Calibrated, files: Sequence[str], out: str | None) -> dict[str, object]:
    return {
        "files": list(files),
        "engines": [
            {
                "engine": one.engine,
                "chip": one.chip,
                "rows": one.rows,
                "figures": one.figures,
                **{name: float(f"{v:.6g}") for name, v in asdict(one.parameters).items()},
            }
            for one in found.fitted
        ],
        "too_few": [
            {"engine": engine, "chip": chip, "rows": rows}
            for engine, chip, rows in found.left_alone
        ],
        "folds": found.folds,
        **{
            key: {name: given.metric_document(m) for name, m in metrics.items()}
            for key, metrics in (
                ("before", found.before),
                ("left_out", found.held_out),
                ("fitted", found.after),
            )
        },
        "output": out,
    }


def _text(found: Calibrated, out: str | None) -> str:
    header = ("ENGINE", "CHIP", "ROWS", "DECODE", "ADDED", "PROMPT", "WAITING", "POWER")
    rows = [
        (
            one.engine,
            one.chip,
            str(one.rows),
            f"×{one.parameters.decode_factor:.3f}",
            f"{one.parameters.added_ms:.2f} ms",
            f"×{one.parameters.prompt_factor:.3f}",
            f"×{one.parameters.waiting_factor:.3f}",
            f"×{one.parameters.power_factor:.3f}",
        )
        for one in found.fitted
    ]
    errors = [
        (figure, words, *given.metric_rows(metrics[figure]))
        for figure in found.before
        for words, metrics in (
            ("before", found.before),
            ("after, on rows left out", found.held_out),
            ("after, on rows fitted to", found.after),
        )
    ]
    text = aligned([header, *rows], right=range(2, 8)) + "\n"
    text += given.metric_table(("FIGURE", "ERROR"), errors)
    for engine, chip, count in found.left_alone:
        text += f"{engine} on {chip}: {count} rows are too few, left as it is\n"
    worse = [
        f
        for f, m in found.held_out.items()
        if m.median_abs_error > found.before[f].median_abs_error
    ]
    if worse:
        text += f"On rows left out {', '.join(worse)} did not get better: more rows are needed, or fewer kinds of them.\n"
    if out is not None:
        text += f"{out} written; takt accuracy FILE --calibration {out} applies it\n"
    return text
