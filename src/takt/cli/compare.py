"""`takt compare`: one model on many chips side by side, for a latency to meet.

Knows how rows read as text, JSON and CSV (keys in docs/verbs.md). Which chips there are is the catalogue's, what is
tried and chosen is the `plan` room's.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from takt.cli.arguments import engine_named, pace_of, prices_of, seconds_of
from takt.cli.compare_chips import (
    DEFAULT_PAIRS,
    Pair,
    choose_chips,
    choose_pair,
    default_chips,
)
from takt.cli.compare_rows import draw, rank, rows_of, write_csv
from takt.cli.compare_text import document_of, table_of, title_of
from takt.cli.outputs import writable
from takt.errors import UsageError, did_you_mean
from takt.models.outlines import outline_of
from takt.perf import ENGINES
from takt.plan import PRECISIONS, Request, check_length

__all__ = ["command"]


def command(
    model: Annotated[str, typer.Argument(help="A name, a config.json, or its directory.")],
    chips: Annotated[
        str | None,
        typer.Option(
            "--chips",
            metavar="A,B,…",
            help="Ids or .toml files [default: all of datacenters, and LPUs].",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[int, typer.Option("--prompt", metavar="TOKENS")] = 1024,
    output: Annotated[int, typer.Option("--output", metavar="TOKENS")] = 256,
    tpot: Annotated[
        str | None,
        typer.Option(
            "--tpot",
            metavar="TIME",
            help="Most time per output token, such as 20ms [default: 20ms].",
            show_default=False,
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="TOK/S",
            help="The same as tokens a second for each user.",
            show_default=False,
        ),
    ] = None,
    ttft: Annotated[
        str, typer.Option("--ttft", metavar="TIME", help="Most time to the first token, or any.")
    ] = "1s",
    precision: Annotated[
        str, typer.Option("--precision", metavar="|".join(PRECISIONS), help="Type of weights.")
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="|".join(("auto", *ENGINES)),
            help="Whose overheads; auto: vLLM on GPUs.",
        ),
    ] = "auto",
    max_chips: Annotated[
        int | None,
        typer.Option(
            "--max-chips",
            metavar="N",
            help="For one copy of the model [default: 64; LPUs: their system].",
            show_default=False,
        ),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="CHIP=USD",
            help="Dollars an hour of one chip; repeatable.",
            show_default=False,
        ),
    ] = None,
    own: Annotated[
        bool, typer.Option("--own/--rent", help="Which of the catalogue's prices.")
    ] = False,
    hybrid: Annotated[
        list[str] | None,
        typer.Option(
            "--hybrid",
            metavar="GPU+LPU",
            help="Also this pair: prompt or attention on one, the rest on the other; repeatable.",
            show_default=False,
        ),
    ] = None,
    per: Annotated[
        str, typer.Option("--per", metavar="chip|mw", help="Throughput in table and plot.")
    ] = "chip",
    csv_file: Annotated[
        str | None,
        typer.Option("--csv", metavar="FILE", help="Rows as CSV too.", show_default=False),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Speed against throughput, .png or .svg (needs matplotlib).",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a list of rows as JSON instead of text.")
    ] = False,
) -> None:
    """Compare chips for a model, a prompt and output length, and a latency to meet.

    One row a chip: the fewest chips that do it, time to first token, tokens a second for a user alone, and for each
    chip with as many users as the target allows; joules and dollars; what each figure rests on.

    \b
    Examples:
      takt compare llama-3.3-70b
      takt compare deepseek-v3 --chips h200-sxm,b200-sxm --prompt 4000 --output 1000 --speed 30
      takt compare ./config.json --chips my-chip.toml,h100-sxm --price h100-sxm=1.80 --json
      takt compare llama-3.3-70b --plot curve.svg --per mw
    """
    request = Request(
        prompt_tokens=_tokens("--prompt", prompt),
        output_tokens=_tokens("--output", output),
        tpot_s=pace_of(tpot, speed),
        ttft_s=None if ttft == "any" else seconds_of("--ttft", ttft),
        precision=precision,
        engine=engine_named(engine),
        max_chips=64 if max_chips is None else max_chips,
    )
    _check_outputs(csv_file, plot, per)
    outline = outline_of(model)
    check_length(outline, request)
    chosen = choose_chips(chips) if chips is not None else default_chips()
    pairs = [choose_pair(pair) for pair in hybrid or (DEFAULT_PAIRS if chips is None else ())]
    rows = rows_of(
        outline,
        request,
        chosen,
        pairs,
        shares=("tokens", "ffn") if hybrid else ("tokens",),
        max_chips=max_chips,
        tenure="own" if own else "rent",
        prices=prices_of(price or [], _names(chosen.ids, pairs)),
    )
    rows.sort(key=chosen.place if chips is not None else partial(rank, per=per))
    if csv_file is not None:
        write_csv(Path(csv_file), rows, request)
    if plot is not None:
        draw(Path(plot), rows, request, title_of(outline.name, request), per)
    if as_json:
        document = [document_of(row, request) for row in rows]
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(table_of(outline.name, rows, request, per=per))


def _tokens(option: str, tokens: int) -> int:
    if tokens < 1:
        raise UsageError(f"{option} {tokens}: expected 1 token or more")
    return tokens


def _check_outputs(csv_file: str | None, plot: str | None, per: str) -> None:
    if per not in ("chip", "mw"):
        hint = did_you_mean(per, ("chip", "mw")) or "known are chip and mw (megawatt)"
        raise UsageError(f"--per {per[:40]!r}", hint=hint)
    for file in (csv_file, plot):
        if file is not None:
            writable(file)
    if plot is not None and Path(plot).suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"--plot {plot}: expected a file that ends in .png or .svg")


def _names(ids: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    return [*ids, *(name for pair in pairs for name in (pair.gpu.id, pair.lpu))]
