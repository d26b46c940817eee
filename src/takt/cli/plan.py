"""`takt plan`: which chips, how many, how arranged, for traffic, latency targets and limits.

Knows what the options mean and where answers go; how they read is `plan_text`, how they are found is room `plan`.
"""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from takt.cli.arguments import engine_named, prices_of
from takt.cli.common import print_json
from takt.cli.outputs import AsJson
from takt.cli.plan_files import Outputs
from takt.cli.plan_options import (
    limits_of,
    names_of,
    offer_of,
    precisions_of,
    targets_of,
    traffic_of,
)
from takt.cli.plan_text import document_of, text_of
from takt.cli.progress import Bar
from takt.errors import UsageError
from takt.models.outlines import outline_of
from takt.plan import PRECISIONS
from takt.plan.search import Question, default_site, search
from takt.serving.sweeps import Store, runner_of

__all__ = ["command"]


def command(
    model: Annotated[str, typer.Argument(help="A name, a config.json, or its directory.")],
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="REQ/S", help="Requests a second.", show_default=False),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TOKENS",
            show_default=False,
            help="1024, 500-1500, exp:1024 or lognormal:1024,0.8 [default: 1024].",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="TOKENS", help="Likewise [default: 256].", show_default=False
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            show_default=False,
            help="Requests from a recording or a workload file instead; --rate speeds it up.",
        ),
    ] = None,
    cv: Annotated[
        float | None,
        typer.Option(
            "--cv",
            metavar="X",
            help="Of gaps between requests: 1 Poisson, more is bursty.",
            show_default=False,
        ),
    ] = None,
    turns: Annotated[
        str | None,
        typer.Option(
            "--turns", metavar="N", help="Turns of a conversation, as lengths.", show_default=False
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix", metavar="TOKENS:SHARE,…", help="Shared system prompts.", show_default=False
        ),
    ] = None,
    ttft_p99: Annotated[
        str | None,
        typer.Option(
            "--ttft-p99",
            metavar="TIME",
            help="Most time to the first token of 99 in 100 (20ms, 1.5s; a bare number is ms), or any "
            "[default: 1s].",
            show_default=False,
        ),
    ] = None,
    ttft_p90: Annotated[
        str | None,
        typer.Option(
            "--ttft-p90", metavar="TIME", help="Of 90 in 100 instead.", show_default=False
        ),
    ] = None,
    ttft: Annotated[
        str | None,
        typer.Option(
            "--ttft",
            metavar="TIME",
            help="On average instead (a bare number is ms).",
            show_default=False,
        ),
    ] = None,
    tpot: Annotated[
        str | None,
        typer.Option(
            "--tpot",
            metavar="TIME",
            help="Most time a token on average (a bare number is ms), or any [default: 20ms].",
            show_default=False,
        ),
    ] = None,
    tpot_p99: Annotated[
        str | None,
        typer.Option(
            "--tpot-p99", metavar="TIME", help="Of 99 in 100 requests instead.", show_default=False
        ),
    ] = None,
    e2e_p99: Annotated[
        str | None,
        typer.Option(
            "--e2e-p99",
            metavar="TIME",
            help="Most time to the last token of 99 in 100.",
            show_default=False,
        ),
    ] = None,
    chips: Annotated[
        str | None,
        typer.Option(
            "--chips",
            metavar="A,B,…",
            show_default=False,
            help="Ids or .toml files [default: all of datacenters, and LPUs].",
        ),
    ] = None,
    hybrid: Annotated[
        list[str] | None,
        typer.Option(
            "--hybrid",
            metavar="GPU+LPU",
            show_default=False,
            help="Also this pair: prompts or attention on one, the rest on the other; repeatable.",
        ),
    ] = None,
    apart: Annotated[
        bool,
        typer.Option("--apart/--together", help="Prompts and tokens on replicas of their own too."),
    ] = True,
    precision: Annotated[
        str,
        typer.Option(
            "--precision", metavar="|".join(PRECISIONS), help="Types of weights, commas between."
        ),
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="auto|vllm|sglang|trtllm|generic",
            help="Whose overheads and defaults.",
        ),
    ] = "auto",
    draft: Annotated[
        str | None,
        typer.Option(
            "--draft",
            metavar="N:ACCEPTED",
            help="Guess N tokens ahead, such as 3:0.7.",
            show_default=False,
        ),
    ] = None,
    max_copy: Annotated[
        int, typer.Option("--max-copy", metavar="N", help="Most chips of one copy of the model.")
    ] = 64,
    max_usd_per_h: Annotated[
        float | None,
        typer.Option(
            "--max-usd-per-h", metavar="USD", help="Most dollars an hour.", show_default=False
        ),
    ] = None,
    max_mw: Annotated[
        float | None,
        typer.Option(
            "--max-mw", metavar="MW", help="Most megawatts at the meter.", show_default=False
        ),
    ] = None,
    max_chips: Annotated[
        int | None,
        typer.Option("--max-chips", metavar="N", help="Most chips in all.", show_default=False),
    ] = None,
    supply: Annotated[
        str | None,
        typer.Option(
            "--supply",
            metavar="CHIP=N,…",
            show_default=False,
            help="How many there are of a chip, 0 for none; kinds may then be mixed.",
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
        bool,
        typer.Option("--own/--rent", help="Prices of the catalogue: of owned or of rented chips."),
    ] = False,
    power_price: Annotated[
        float | None,
        typer.Option(
            "--power-price",
            metavar="USD/KWH",
            help="Price of power [default: site.toml].",
            show_default=False,
        ),
    ] = None,
    carbon: Annotated[
        float | None,
        typer.Option(
            "--carbon",
            metavar="KG/KWH",
            help="Carbon dioxide of power [default: site.toml].",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the requests that are drawn.")] = 0,
    confirm: Annotated[
        int,
        typer.Option(
            "--confirm", metavar="N", help="Seeds that the plans shown are simulated with."
        ),
    ] = 10,
    requests: Annotated[
        int, typer.Option("--requests", metavar="N", help="Of one simulation, at least.")
    ] = 4000,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", metavar="N", help="Processes that simulations are shared out to."
        ),
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Share simulations out over Ray instead.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="FILE",
            help="Keep simulations in this file: cut short, the same command goes on there.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(
            "--html", metavar="FILE", help="The answer as one web page.", show_default=False
        ),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            "--export",
            metavar="DIR",
            help="Launch lines and manifests of the cheapest plan.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the folder of an earlier --export.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="All plans and all that was dropped.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Plan for traffic: which chips, how many, laid out how, at what cost, speed and power.

    Every chip, layout and split is bounded by what it could do at best; what is left is simulated request by request, and
    the plans that no other beats in dollars, speed, joules, megawatts and floor are shown, cheapest first.

    A TIME is 800us, 20ms or 1.5s; a bare number is milliseconds, so that --ttft 1s is not --ttft 1.

    \b
    Examples:
      takt plan llama-3.3-70b --rate 50 --ttft-p99 1s --tpot 20ms
      takt plan llama-3.3-70b --rate 50 --chips h200-sxm,lpu-v1 --hybrid h200-sxm+lpu-v1 --price lpu-v1=0.05
      takt plan qwen3-32b --rate 200 --prompt lognormal:2000,0.9 --output exp:300 --supply h200-sxm=64 --json
      takt plan deepseek-v3 --rate 20 --max-mw 0.5 --html plan.html --export deploy
    """
    outputs = Outputs(html=html, export=export, resume=resume, force=force)
    outputs.check()
    offer = offer_of(chips, hybrid or [], apart=apart)
    names = names_of(offer)
    question = Question(
        model=outline_of(model),
        traffic=traffic_of(rate, prompt, output, trace, cv=cv, turns=turns, prefix=prefix),
        targets=targets_of(
            {"p99": ttft_p99, "p90": ttft_p90, "mean": ttft},
            {"mean": tpot, "p99": tpot_p99},
            e2e_p99,
        ),
        limits=limits_of(max_usd_per_h, max_mw, max_chips, supply, names),
        precisions=precisions_of(precision),
        engine=engine_named(engine),
        max_chips=max_copy,
        tenure="own" if own else "rent",
        prices=prices_of(price or [], names),
        site=default_site().changed(power_usd_per_kwh=power_price, carbon_kg_per_kwh=carbon),
        drafts=_draft(draft),
        requests=requests,
        replications=confirm,
        seed=seed,
    )
    with ExitStack() as stack:
        store = stack.enter_context(Store(Path(resume))) if resume is not None else None
        runner = runner_of(ray=ray) if ray is not None else runner_of(workers=workers)
        bar = stack.enter_context(Bar(f"planning {question.model.name}"))
        try:
            plans = search(question, offer, progress=bar.show, runner=runner, store=store)
        except KeyboardInterrupt:
            if store is not None:
                said = f"{len(store):,} simulations are in {resume}: the same command goes on there"
                sys.stderr.write(f"\ninterrupted; {said}\n")
            raise
    # First what took the time to find: whatever becomes of the files, the answer is there.
    if as_json:
        print_json(document_of(plans, every=every))
    else:
        sys.stdout.write(text_of(plans, every=every))
    outputs.write(plans)


def _draft(text: str | None) -> tuple[int, float] | None:
    """`3:0.7` → (3, 0.7)."""
    if text is None:
        return None
    tokens, colon, accepted = text.partition(":")
    try:
        found = int(tokens), float(accepted)
    except ValueError:
        found = (0, 0.0)
    if not colon or not (1 <= found[0] <= 16 and 0 <= found[1] <= 1):
        hint = "tokens guessed ahead and the probability that the next holds: --draft 3:0.7"
        raise UsageError(f"--draft {text[:40]!r}", hint=hint)
    return found
