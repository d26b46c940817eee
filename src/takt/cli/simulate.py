"""`takt simulate`: requests on a fleet, event by event, and what its users see.

Knows the options. What they mean is in `simulate_words` (as written), `simulate_fleet` and `simulate_pools` (as values),
`simulate_run` (what is done), `simulate_result` and `simulate_text` (what is printed; keys in docs/verbs.md). Imports what is heavy
when the verb runs.
"""

import sys
import time
from typing import TYPE_CHECKING, Annotated, cast

import typer

from takt.cli.outputs import AsJson

if TYPE_CHECKING:
    from takt.cli.simulate_words import Order, Router

__all__ = ["command"]


def _text(name: str, metavar: str, help_: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        name, metavar=metavar, help=help_, show_default=False
    )
    return option


def command(
    model: Annotated[str, typer.Argument(help="A name, a config.json, or its directory.")],
    chip: Annotated[str, _text("--chip", "ID|FILE", "A chip of `takt chips`; an LPU means its rack.")],
    replicas: Annotated[int, typer.Option("--replicas", metavar="N", help="Copies of the model.")] = 1,
    # what comes
    rate: Annotated[float | None, _text("--rate", "N", "Requests a second, all turns counted.")] = None,
    requests: Annotated[int | None, _text("--requests", "N", "How many, at most all of a recording [default: 10000, or all].")] = None,
    prompt: Annotated[str | None, _text("--prompt", "LENGTH", "Tokens: 1137, 500-1500, exp:1137, lognormal:1137,0.8 (mean, cv).")] = None,
    output: Annotated[str | None, _text("--output", "LENGTH", "The same for answers.")] = None,
    trace: Annotated[str | None, _text("--trace", "FILE", "Requests of a recording (.csv, .jsonl, .gz) or a workload file; - for standard input.")] = None,
    arrivals: Annotated[str | None, _text("--arrivals", "KIND", "poisson, gamma, constant or at-once.")] = None,
    cv: Annotated[float | None, _text("--cv", "N", "Of gamma arrivals: 1 is Poisson, more is bursty.")] = None,
    duration: Annotated[str | None, _text("--duration", "TIME", "Requests come for so long, such as 10min; a unit is needed.")] = None,
    concurrency: Annotated[int | None, _text("--concurrency", "N", "So many users, each sends when it has its answer.")] = None,
    turns: Annotated[str | None, _text("--turns", "LENGTH", "Turns of a session; each reads all that was said before.")] = None,
    think: Annotated[str | None, _text("--think", "SECONDS[,CV]", "From an answer to the next turn.")] = None,
    new: Annotated[str | None, _text("--new", "LENGTH", "Tokens that a later turn adds.")] = None,
    prefix: Annotated[str | None, _text("--prefix", "TOKENS:SHARE,…", "Shared system prompts, such as 512:0.7,2048:0.3.")] = None,
    tiers: Annotated[str | None, _text("--tiers", "NAME:SHARE,…", "Classes of requests, most important first.")] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of all that is drawn.")] = 0,
    # what serves
    tp: Annotated[int | None, _text("--tp", "N", "Chips that share each matrix [default: the smallest layout that fits].")] = None,
    pp: Annotated[int | None, _text("--pp", "N", "Stages of layers.")] = None,
    dp: Annotated[int | None, _text("--dp", "N", "Groups with users of their own.")] = None,
    ep: Annotated[int | None, _text("--ep", "N", "Chips over which whole experts are dealt.")] = None,
    precision: Annotated[str, typer.Option("--precision", metavar="TYPE", help="Of weights: auto, bf16, fp8, fp4, int8, int4.")] = "auto",
    engine: Annotated[str, typer.Option("--engine", metavar="NAME", help="auto, vllm, sglang, trtllm or generic.")] = "auto",
    max_seqs: Annotated[int | None, _text("--max-seqs", "N", "Requests in a step [default: the engine's].")] = None,
    max_step_tokens: Annotated[int | None, _text("--max-step-tokens", "N", "Tokens in a step [default: the engine's].")] = None,
    prefix_caching: Annotated[bool, typer.Option("--prefix-caching/--no-prefix-caching", help="Keep what later requests share.")] = True,
    order: Annotated[str, typer.Option("--order", metavar="KIND", help="Of a queue: fcfs, priority or deadline.")] = "fcfs",
    max_waiting: Annotated[int, typer.Option("--max-waiting", metavar="N", help="Reject where so many wait; 0: never.")] = 0,
    router: Annotated[str, typer.Option("--router", metavar="KIND", help="round-robin, least-loaded, prefix-aware or deadline-aware.")] = "least-loaded",
    drafts: Annotated[int | None, _text("--drafts", "N", "Tokens guessed ahead each step, with --acceptance.")] = None,
    acceptance: Annotated[float | None, _text("--acceptance", "P", "Probability that the next guess holds.")] = None,
    decode: Annotated[str | None, _text("--decode", "CHIP:REPLICAS[:TP]", "--chip reads prompts only, these generate.")] = None,
    autoscale: Annotated[str | None, _text("--autoscale", "LEAST[:LOAD]", "Replicas by load, from LEAST to all.")] = None,
    startup: Annotated[str | None, _text("--startup", "TIME", "Until a started replica takes requests [default: 2min].")] = None,
    mtbf: Annotated[str | None, _text("--mtbf", "TIME", "Replicas fail, each so often on average.")] = None,
    repair: Annotated[str | None, _text("--repair", "TIME", "How long one is down then [default: 10min].")] = None,
    # what counts
    ttft: Annotated[str | None, _text("--ttft", "TIME", "Target for the first token, such as 500ms or 1s; a bare number is milliseconds.")] = None,
    tpot: Annotated[str | None, _text("--tpot", "TIME", "Target for the time between tokens, such as 20ms; a bare number is milliseconds.")] = None,
    e2e: Annotated[str | None, _text("--e2e", "TIME", "Target for the whole answer, such as 30s; a bare number is milliseconds.")] = None,
    warmup: Annotated[int, typer.Option("--warmup", metavar="N", help="First requests that latencies leave out.")] = 0,
    price: Annotated[list[str] | None, _text("--price", "CHIP=USD", "Dollars an hour of one chip; repeatable.")] = None,
    own: Annotated[bool, typer.Option("--own/--rent", help="Which of the catalogue's prices.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Without corrections by end-to-end measurements.")] = False,
    # how
    simulator: Annotated[str, typer.Option("--simulator", metavar="fast|reference", help="The same events from both.")] = "fast",
    replications: Annotated[int, typer.Option("--replications", metavar="N", help="Seeds, from --seed on; means and intervals.")] = 1,
    ray: Annotated[str | None, _text("--ray", "ADDRESS", "Replications on a Ray: local, auto or HOST:PORT.")] = None,
    resume: Annotated[str | None, _text("--resume", "FILE.sqlite", "Keep replications there; go on from those it has.")] = None,
    events: Annotated[str | None, _text("--events", "FILE", "Event log: .jsonl, .csv (also .gz) or .parquet.")] = None,
    perfetto: Annotated[str | None, _text("--perfetto", "FILE", "Timeline for ui.perfetto.dev, .json.")] = None,
    timeline: Annotated[str | None, _text("--timeline", "FILE", "Fleet over time, .png or .svg (needs matplotlib).")] = None,
    plot: Annotated[str | None, _text("--plot", "FILE", "Distributions of latencies, .png or .svg.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Simulate requests on replicas of a model, step by step, and say what users see.

    Time to first token, time per token, end to end; throughput, goodput under targets, energy, money. Steps cost what
    `takt compare` rests on; scheduling is continuous batching with paged caches, as the engine named does it.

    \b
    Examples:
      takt simulate llama-3.1-8b --chip h100-sxm --replicas 4 --rate 20 --prompt 1137 --output 212
      takt simulate llama-3.3-70b --chip h200-sxm --rate 2 --prompt lognormal:2000,1 --output exp:300 --ttft 1s --tpot 30ms
      takt simulate llama-3.1-8b --chip l40s --replicas 2 --trace log.csv --events log.jsonl.gz
      takt simulate llama-3.3-70b --chip h200-sxm --replicas 2 --decode lpu-v1:1 --rate 1 --prompt 1024 --output 256
      takt simulate qwen3-8b --chip h100-sxm --replicas 8 --rate 60 --prompt 900 --output 200 --replications 10
    """
    began = time.perf_counter()
    from takt.cli import simulate_command as does
    from takt.cli.simulate_words import Split, System, decoders_of, drafts_of

    given = does.Given(
        model=model,
        source=does.Requests(
            trace=trace, rate=rate, prompt=prompt, output=output, arrivals=arrivals, cv=cv, requests=requests,
            duration=duration, turns=turns, think=think, new=new, prefix=prefix, tiers=tiers, concurrency=concurrency,
        ),
        system=System(
            chip=chip, replicas=replicas, split=Split(tp=tp, pp=pp, dp=dp, ep=ep),
            decode=None if decode is None else decoders_of(decode),
            precision=precision, engine=engine, max_seqs=max_seqs, max_step_tokens=max_step_tokens,
            prefix_caching=prefix_caching, order=cast("Order", order), router=cast("Router", router), drafts=drafts_of(drafts, acceptance),
            scaling=does.scaling(autoscale, startup), failing=does.failing(mtbf, repair),
            ttft_s=does.target("--ttft", ttft), tpot_s=does.target("--tpot", tpot), e2e_s=does.target("--e2e", e2e),
            max_waiting=max_waiting, corrections=not raw, own=own, prices=tuple(price or ()),
        ),
        outputs=does.Outputs(events=events, perfetto=perfetto, timeline=timeline, plot=plot),
        seeds=does.seeds(seed, replications), warmup=warmup, simulator=simulator, ray=ray, resume=resume,
    )  # fmt: skip
    sys.stdout.write(does.report(given, as_json=as_json, began=began))
