"""`takt workload`: what a recording of requests is, and a workload like it.

Knows the sub-verbs, and how figures read as text and as JSON (keys in docs/workloads.md). Readers and fits are the serving
room's.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from takt.cli.outputs import AsJson, writable
from takt.cli.workload_text import fit_document, fit_text, show_document, show_text, write_json
from takt.errors import UsageError
from takt.files import write_whole
from takt.serving.workloads import (
    fit_trace,
    read_trace,
    summary_of,
    workload_of,
    workload_text,
)

__all__ = ["command"]

_File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A recording (.csv, .jsonl, .json, also .gz), or a workload file; - for standard input.",
    ),
]
_Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="MEANING=NAME",
        help="What a column means: arrival, prompt, output, seen, session, tier or took; repeatable.",
        show_default=False,
    ),
]
_TimeUnit = Annotated[
    str | None,
    typer.Option(
        "--time-unit",
        metavar="s|ms|us|ns",
        help="Of arrival times [default: found].",
        show_default=False,
    ),
]
_Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="N",
        help="Requests a second, in place of those recorded.",
        show_default=False,
    ),
]

command = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="""Show a recording of requests, and summarise it as a workload.

\b
  takt workload show log.csv                      what is in it
  takt workload fit log.csv --out chat.json       a workload like it, for other verbs
  takt workload show chat.json --rate 50          what that makes

\b
A recording has a row a request. Columns are known by their usual names: arrival_s or timestamp, prompt_tokens,
output_tokens, and where there are some session_id, tier, cached_tokens, e2e_s, hash_ids. Others: --column prompt=NAME.
""",
)


@command.command("show")
def show(
    file: _File,
    rate: _Rate = None,
    requests: Annotated[
        int | None,
        typer.Option("--requests", metavar="N", help="Only the first so many.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of what a workload file draws.")] = 0,
    column: _Columns = None,
    time_unit: _TimeUnit = None,
    as_json: AsJson = False,
) -> None:
    """Show how many requests come how often, how long they are, and what they share.

    At most a million requests are looked at. Lists of lengths without arrival times are shown as if all came at once.

    \b
    Example: takt workload show log.csv --column prompt=tokens_in
    """
    columns, notes = _stated(column), list[str]()
    source = workload_of(
        file, rate=rate, requests=requests, columns=columns, time_unit=time_unit, at_once=True,
        note=notes.append,
    )  # fmt: skip
    summary = summary_of(source, seed)
    if as_json:
        write_json(show_document(source, summary, notes))
    else:
        sys.stdout.write(show_text(source, summary, notes))


@command.command("fit")
def fit(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A recording: .csv, .jsonl, .json, also .gz; - for standard input.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE.json", help="Write the workload there.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    curve: Annotated[
        float | None,
        typer.Option(
            "--curve",
            metavar="SECONDS",
            help="Follow the rate in pieces of so many seconds.",
            show_default=False,
        ),
    ] = None,
    rate: _Rate = None,
    column: _Columns = None,
    time_unit: _TimeUnit = None,
    as_json: AsJson = False,
) -> None:
    """Summarise a recording as a workload: arrivals, lengths, sessions, tiers, and how near each comes.

    KS is the largest difference between cumulative shares, recorded and drawn: 0 is the same, 0.05 near. A formula for
    lengths is taken where it comes that near, else quantiles as measured.

    \b
    Example: takt workload fit log.csv --curve 3600 --out day.json
    """
    if out is not None:
        writable(out)
        if Path(out).suffix != ".json":
            raise UsageError(f"--out {out}: expected a file that ends in .json")
        if Path(out).exists() and not force:
            raise UsageError(f"{out} exists", hint="--force writes over it")
    trace = read_trace(file, _stated(column), time_unit)
    fitted = fit_trace(trace, curve_s=curve, rate_per_s=rate)
    if out is not None:
        write_whole(Path(out), workload_text(fitted.workload).encode())
    if as_json:
        write_json(fit_document(fitted, out))
    else:
        sys.stdout.write(fit_text(fitted, out))


def _stated(column: list[str] | None) -> dict[str, str]:
    stated = {}
    for each in column or []:
        meaning, equals, name = each.partition("=")
        if not equals:
            raise UsageError(
                f"--column {each[:40]}: expected MEANING=NAME, such as prompt=tokens_in"
            )
        stated[meaning.strip()] = name.strip()
    return stated
