"""`takt compare`: one model on many chips side by side, for a latency to meet.

Knows how rows read as text, JSON and CSV (keys in docs/verbs.md). Which chips there are is the catalogue's, what is
tried and chosen is the `plan` room's.
"""

import json
import re
import sys
from collections.abc import Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

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

_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "": 1e-3}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?(us|µs|ms|s|)")


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
        tpot_s=_pace(tpot, speed),
        ttft_s=None if ttft == "any" else _seconds("--ttft", ttft),
        precision=precision,
        engine=_engine(engine),
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
        prices=_prices(price or [], _names(chosen.ids, pairs)),
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


def _seconds(option: str, text: str) -> float:
    """`20ms`, `0.5s`, `800us`; a bare number is milliseconds."""
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found and len(text) < 40 else 0.0
    if not 0 < seconds <= 3600:
        hint = "a time such as 20ms, 1.5s or 800us, more than 0 and at most an hour"
        raise UsageError(f"{option} {text[:40]!r} is no time", hint=hint)
    return seconds


def _pace(tpot: str | None, speed: float | None) -> float:
    if tpot is not None and speed is not None:
        raise UsageError("--tpot and --speed say the same thing", hint="choose one of them")
    if speed is None:
        return _seconds("--tpot", tpot or "20ms")
    if not (isfinite(speed) and 1 / 3600 <= speed <= 1e6):
        raise UsageError(f"--speed {speed:g}: expected tokens a second, more than 0")
    return 1.0 / speed


def _engine(name: str) -> str:
    known = ("auto", *ENGINES)
    if name not in known:
        hint = did_you_mean(name, known) or f"known engines are {', '.join(known)}"
        raise UsageError(f"no engine '{name[:40]}'", hint=hint)
    return name


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


def _prices(texts: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """`h200-sxm=2.5` → {"h200-sxm": 2.5}, for chips of this comparison only."""
    out: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            usd = float(number)
        except ValueError:
            usd = -1.0
        if not equals or not (isfinite(usd) and 0 <= usd <= 1e6):
            hint = "dollars an hour of one chip: --price h200-sxm=2.5"
            raise UsageError(f"--price {text[:60]!r} is no price", hint=hint)
        if name not in names:
            hint = did_you_mean(name, names) or f"compared are {', '.join(names)}"
            raise UsageError(f"--price for {name[:40]!r}, which is not compared", hint=hint)
        out[name] = usd
    return out
