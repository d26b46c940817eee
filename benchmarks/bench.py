"""Speed of Takt on this machine, each figure beside a reference measured in the same run or published.

    python benchmarks/bench.py                    everything, some minutes
    python benchmarks/bench.py --only decode      decode, compile, engines, encoders, systems, perf, serving, host
    python benchmarks/bench.py --quick            tiny models: does it run at all
    python benchmarks/bench.py --json FILE        the same figures as JSON ("-": to stdout, in place of tables)

It prints ratios and never fails because of one; docs/benchmarks.md says what they mean.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from estimates import first_answer, step_costs
from measure import (
    as_json,
    compilation,
    decode,
    encoding,
    engines,
    partition,
)
from native import native
from rich.console import Console
from serving import simulated
from shapes import by_name
from tables import print_tables

from takt.chips import Chip, load_chip
from takt.errors import TaktError

SECTIONS = ("decode", "compile", "engines", "encoders", "systems", "perf", "serving", "host")
BERT_BASE_CYCLES = 117_000  # published for the first chip of this kind: arXiv 2206.11062
LLAMA_70B_TOKENS = 300.0  # a second and user, "more than": The Next Platform, 2023-11-27


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure. Decode cases are (shape, weights, steps)."""

    decode: tuple[tuple[str, str, int], ...]
    compile: tuple[tuple[str, str, int], ...]  # shape, weights, context
    engines: tuple[tuple[str, int], ...]  # shape, fast steps a round
    encoders: tuple[tuple[str, int, str, int | None], ...]  # shape, tokens, weights, published
    systems: tuple[tuple[str, str, int, float | None], ...]  # model, system, chips, published
    steps: tuple[tuple[str, int, int, int], ...]  # model, tp, dp, ep
    n_steps: int
    answers: tuple[tuple[str, ...], ...]  # arguments of takt
    fleets: tuple[tuple[str, str, int, float], ...]  # model, chip, replicas, requests/s
    n_requests: int
    slow_requests: int
    host: tuple[tuple[str, str, int], ...]  # model, stored, tokens
    rounds: int


FULL = Plan(
    decode=(
        ("stories260k", "fp16", 100),
        ("stories15m", "fp16", 40),
        ("stories15m", "int8", 40),
        ("smollm-135m", "int8", 10),
    ),
    compile=(("smollm-135m", "int8", 320),),
    engines=(("stories260k", 200),),
    encoders=(
        ("bert-base", 128, "int8", BERT_BASE_CYCLES),
        ("minilm-l6", 128, "int8", None),
        ("minilm-l6", 128, "fp16", None),
    ),
    systems=(
        ("llama-2-70b", "groqrack-v1", 576, LLAMA_70B_TOKENS),
        ("llama-3.1-8b", "groqrack-v1", 72, None),
        ("llama-3.3-70b", "groqrack-v1", 576, None),
        ("gpt-oss-120b", "lpx-rack", 512, None),
        ("deepseek-v3", "lpx-rack", 2304, None),
    ),
    steps=(("llama-3.3-70b", 4, 1, 1), ("deepseek-v3", 1, 8, 8), ("gpt-oss-120b", 2, 1, 1)),
    n_steps=10_000,
    answers=(
        ("--version",),
        ("compare", "llama-3.3-70b", "--chips", "h200-sxm"),
        ("compare", "llama-3.3-70b"),
        ("compare", "deepseek-v3"),
        (
            "simulate",
            "llama-3.1-8b",
            "--chip",
            "h100-sxm",
            "--replicas",
            "4",
            "--rate",
            "20",
            "--requests",
            "100000",
            "--prompt",
            "1137",
            "--output",
            "212",
        ),
    ),
    fleets=(("llama-3.1-8b", "h100-sxm", 4, 20.0), ("llama-3.1-8b", "h100-sxm", 4, 200.0)),
    n_requests=100_000,
    slow_requests=500,
    host=(
        ("default", "f16", 64),
        ("default", "q8_0", 64),
        ("stories15m", "f16", 64),
        ("stories15m", "q8_0", 64),
        ("smollm-135m", "f16", 64),
        ("smollm-135m", "q8_0", 64),
    ),
    rounds=7,
)
QUICK = Plan(
    decode=(("tiny", "fp16", 4),),
    compile=(("tiny", "fp16", 64),),
    engines=(("tiny", 4),),
    encoders=(("tiny-bert", 16, "fp16", None),),
    systems=(("stories260k", "groqnode-v1", 2, None),),
    steps=(("qwen3-8b", 1, 1, 1),),
    n_steps=20,
    answers=(("--version",),),
    fleets=(("llama-3.1-8b", "h100-sxm", 2, 10.0),),
    n_requests=50,
    slow_requests=20,
    host=(("tiny", "f16", 4),),
    rounds=2,
)


def main() -> int:
    options = _options()
    plan, chip = QUICK if options.quick else FULL, load_chip("lpu-v1")
    rounds, talk = options.rounds or plan.rounds, Console(stderr=True)
    results: dict[str, list[object]] = {name: [] for name in SECTIONS if name in options.only}
    for name, kept in results.items():
        for label, measure in _cases(name, plan, chip, rounds, options.threads):
            talk.print(f"[dim]{name}: {label} …[/dim]")
            try:
                kept.append(measure())
            except (TaktError, subprocess.CalledProcessError) as error:
                talk.print(f"{name}: {label}: not measured: {error}")
    machine = {"cpu": _cpu(), "cores": os.cpu_count(), "threads": options.threads, "rounds": rounds}
    machine["load_average"] = round(os.getloadavg()[0], 2)
    text = as_json({"machine": machine, **results})
    if options.json == "-":
        print(text)
        return 0
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    print_tables(Console(width=None if sys.stdout.isatty() else 118), machine, results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny models, few rounds")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=SECTIONS, help="sections, with commas"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each comparison")
    parser.add_argument("--threads", type=int, default=2, help="threads for either side")
    parser.add_argument("--json", metavar="FILE", help="write JSON; - for stdout")
    options = parser.parse_args()
    unknown = sorted(set(options.only) - set(SECTIONS))
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return options


def _cases(name: str, plan: Plan, chip: Chip, rounds: int, threads: int) -> Iterable[tuple]:
    """(label, function that measures) of every case of a section."""
    if name == "decode":
        for shape, weights, steps in plan.decode:
            yield (
                f"{shape} {weights}",
                lambda s=shape, w=weights, n=steps: decode(
                    by_name(s), chip, weights=w, steps=n, rounds=rounds, threads=threads
                ),
            )
    elif name == "compile":
        for shape, weights, context in plan.compile:
            yield f"{shape} {weights}", lambda c=(shape, weights, context): compilation(*c)
    elif name == "engines":
        for shape, steps in plan.engines:
            yield (
                shape,
                lambda s=shape, n=steps: engines(by_name(s), chip, rounds=rounds, fast_steps=n),
            )
    elif name == "systems":
        for case in plan.systems:
            yield f"{case[0]} on {case[2]} chips", lambda c=case: partition(*c)
    elif name == "perf":
        yield from _perf_cases(plan, rounds)
    elif name == "serving":
        for case in plan.fleets:
            yield (
                f"{plan.n_requests:,} requests of {case[0]} at {case[3]:g}/s",
                lambda c=case: simulated(
                    *c, requests=plan.n_requests, slow=plan.slow_requests, rounds=rounds
                ),
            )
    elif name == "host":
        yield from _host_cases(plan, rounds, threads)
    else:
        for shape, tokens, weights, published in plan.encoders:
            yield (
                f"{shape} {weights}",
                lambda s=shape, n=tokens, w=weights, p=published: encoding(
                    by_name(s), chip, tokens=n, weights=w, published=p
                ),
            )


def _perf_cases(plan: Plan, rounds: int) -> Iterable[tuple]:
    for case in plan.steps:
        yield (
            f"{plan.n_steps:,} steps of {case[0]}",
            lambda c=case: step_costs(*c, n_steps=plan.n_steps, rounds=rounds),
        )
    for arguments in plan.answers:
        yield " ".join(("takt", *arguments)), lambda a=arguments: first_answer(a, rounds=rounds)


def _host_cases(plan: Plan, rounds: int, threads: int) -> Iterable[tuple]:
    for model, stored, tokens in plan.host:
        yield (
            f"{model} {stored}",
            lambda m=model, w=stored, n=tokens: native(
                m, stored=w, tokens=n, rounds=rounds, threads=threads
            ),
        )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
