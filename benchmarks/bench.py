"""Speed of Takt on this machine, each figure beside a reference measured in the same run or published.

    python benchmarks/bench.py                    everything, some minutes
    python benchmarks/bench.py --only decode      decode, compile, engines, encoders, systems, host
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

from measure import (
    PEER_CYCLES_PER_S,
    Compilation,
    Decode,
    Encoding,
    Engines,
    Partition,
    Spread,
    as_json,
    compilation,
    decode,
    encoding,
    engines,
    partition,
)
from native import Native, native
from rich.console import Console
from rich.table import Table
from shapes import by_name

from takt.chips import Chip, load_chip
from takt.errors import TaktError

SECTIONS = ("decode", "compile", "engines", "encoders", "systems", "host")
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
    _print(Console(width=None if sys.stdout.isatty() else 118), machine, results)
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
    elif name == "host":
        for model, stored, tokens in plan.host:
            yield (
                f"{model} {stored}",
                lambda m=model, w=stored, n=tokens: native(
                    m, stored=w, tokens=n, rounds=rounds, threads=threads
                ),
            )
    else:
        for shape, tokens, weights, published in plan.encoders:
            yield (
                f"{shape} {weights}",
                lambda s=shape, n=tokens, w=weights, p=published: encoding(
                    by_name(s), chip, tokens=n, weights=w, published=p
                ),
            )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _print(console: Console, machine: dict[str, object], results: dict[str, list[object]]) -> None:
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), style="dim")
    tables = {
        "decode": _decode_table,
        "compile": _compile_table,
        "engines": _engine_table,
        "encoders": _encoder_table,
        "systems": _system_table,
        "host": _host_table,
    }
    for name, rows in results.items():
        if rows:
            console.print(tables[name](rows))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for nth, column in enumerate(columns):
        table.add_column(column, justify="left" if nth == 0 else "right")
    return table


def _range(value: Spread, digits: int) -> str:
    return f"{value.median:,.{digits}f} ({value.least:,.{digits}f}–{value.most:,.{digits}f})"


def _decode_table(rows: list[Decode]) -> Table:
    table = _table(
        "Decoding, tokens/s of the fast engine ÷ transformers eager fp32: median (least–most)",
        "model", "parameters", "weights", "takt", "transformers", "ratio", "by CPU time", "logits differ",
    )  # fmt: skip
    for r in rows:
        table.add_row(
            r.model,
            f"{r.parameters / 1e6:.1f} M",
            r.weights,
            _range(r.ours_tokens_per_s, 0),
            _range(r.theirs_tokens_per_s, 0),
            _range(r.ratio, 1),
            _range(r.cpu_ratio, 1),
            f"{r.logit_error:.1%}",
        )
    return table


def _compile_table(rows: list[Compilation]) -> Table:
    table = _table(
        "Compiling a decode step, in a process of its own",
        "model", "parameters", "weights", "context", "wall", "CPU", "peak memory", "instructions", "cycles", "bound",
    )  # fmt: skip
    for r in rows:
        table.add_row(
            r.model,
            f"{r.parameters / 1e6:.1f} M",
            r.weights,
            str(r.context),
            f"{r.wall_s:.1f} s",
            f"{r.cpu_s:.1f} s",
            f"{r.peak_mib / 1024:.2f} GiB",
            f"{r.instructions:,}",
            f"{r.cycles:,}",
            f"{r.bound_cycles:,}",
        )
    return table


def _engine_table(rows: list[Engines]) -> Table:
    table = _table(
        "Engines on one decode step, simulated cycles/s",
        "model", "cycles", "reference", "fast", "fast ÷ reference", f"fast ÷ {PEER_CYCLES_PER_S:,}", "same logits",
    )  # fmt: skip
    for r in rows:
        table.add_row(
            r.model,
            f"{r.cycles_per_step:,}",
            _range(r.reference_cycles_per_s, 0),
            _range(r.fast_cycles_per_s, 0),
            f"{r.fast_over_reference:,.0f}",
            f"{r.fast_over_peer:,.0f}",
            "yes" if r.same_logits else "NO",
        )
    return table


def _encoder_table(rows: list[Encoding]) -> Table:
    table = _table(
        "Encoders, cycles of one sequence on lpu-v1",
        "model", "tokens", "weights", "cycles", "bound", "published", "ratio",
    )  # fmt: skip
    for r in rows:
        table.add_row(
            r.model,
            str(r.tokens),
            r.weights,
            f"{r.cycles:,}",
            f"{r.bound_cycles:,}",
            f"{r.published_cycles:,}" if r.published_cycles else "–",
            f"{r.over_published:.2f}" if r.over_published else "–",
        )
    return table


def _system_table(rows: list[Partition]) -> Table:
    table = _table(
        "A model over many chips, in a process of its own (goal: at most 60 s and 8 GiB)",
        "model", "system", "chips", "wall", "peak memory", "cycles", "bound", "ratio", "tokens/s a user", "published",
    )  # fmt: skip
    for r in rows:
        published = r.published_tokens_per_s
        table.add_row(
            r.model,
            r.system,
            str(r.chips),
            f"{r.wall_s:.1f} s",
            f"{r.peak_mib / 1024:.2f} GiB",
            f"{r.step_cycles:,}",
            f"{r.bound_cycles:,}",
            f"{r.step_cycles / r.bound_cycles:.2f}",
            f"{r.tokens_per_s_user:,.0f}",
            ""
            if published is None
            else f"{published:,.0f}, ×{r.tokens_per_s_user / published:.1f}",
        )
    return table


def _host_table(rows: list[Native]) -> Table:
    table = _table(
        "llama.cpp on these processors: ms a token after the first, and ms to the first; median (least–most)",
        "model", "weights", "GB/s read", "µs a layer", "predicted", "measured", "ratio", "first: predicted", "measured",
    )  # fmt: skip
    for r in rows:
        table.add_row(
            r.model,
            r.weights,
            f"{r.read_bytes_per_s / 1e9:.1f}",
            f"{r.layer_s * 1e6:.1f}",
            f"{r.predicted_token_s * 1e3:.2f}",
            _range(r.measured_token_ms, 2),
            f"{r.measured_over_predicted:.2f}",
            f"{r.predicted_prompt_s * 1e3:.2f}",
            _range(r.measured_prompt_ms, 2),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
