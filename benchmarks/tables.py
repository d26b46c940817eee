"""The figures of `bench.py` as tables: one function a section. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from estimates import FirstAnswer, StepCosts
from measure import (
    PEER_CYCLES_PER_S,
    Compilation,
    Decode,
    Encoding,
    Engines,
    Partition,
    Spread,
)
from native import Native
from rich.console import Console, Group
from rich.table import Table
from serving import Simulated


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    for nth, column in enumerate(columns):
        table.add_column(column, justify="left" if nth == 0 else "right")
    return table


def _range(value: Spread, digits: int) -> str:
    return f"{value.median:,.{digits}f} ({value.least:,.{digits}f}–{value.most:,.{digits}f})"


def _ms_range(value: Spread) -> str:
    return _range(value, 2 if value.median < 10 else 1)


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


def _perf_tables(rows: list[StepCosts | FirstAnswer]) -> Group:
    steps = _table(
        "Decode steps priced in one call, ms, beside a Python loop of bare rooflines; median (least–most)",
        "model", "split", "steps", "first", "takt", "loop", "loop ÷ takt", "step ÷ roofline",
    )  # fmt: skip
    answers = _table(
        "First answer of a cold process, ms, beside one that imports numpy; median (least–most)",
        "command", "takt", "import numpy", "takt ÷ import",
    )  # fmt: skip
    for r in rows:
        if isinstance(r, StepCosts):
            steps.add_row(
                r.model,
                r.deployment,
                f"{r.n_steps:,}",
                f"{r.first_ms:.0f}",
                _range(r.ours_ms, 1),
                _range(r.loop_ms, 0),
                _range(r.ratio, 0),
                f"{r.over_roofline:.2f}",
            )
        else:
            answers.add_row(
                r.command, _range(r.ours_ms, 0), _range(r.import_ms, 0), _range(r.ratio, 1)
            )
    return Group(steps, answers)


def _serving_table(rows: list[Simulated]) -> Table:
    table = _table(
        "Requests simulated, 1,137 tokens in and 212 out: fast engine beside slow engine; median (least–most)",
        "fleet", "requests", "steps", "seconds", "ns a step", "requests/s", "slow engine", "fast ÷ slow",
    )  # fmt: skip
    for r in rows:
        table.add_row(
            r.fleet,
            f"{r.requests:,}",
            f"{r.steps:,}",
            _range(r.seconds, 2),
            _range(r.ns_per_step, 0),
            f"{r.requests_per_s.median:,.0f}",
            f"{r.slow_requests_per_s.median:,.0f}",
            _range(r.ratio, 0),
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
            _ms_range(r.measured_token_ms),
            f"{r.measured_over_predicted:.2f}",
            f"{r.predicted_prompt_s * 1e3:.2f}",
            _ms_range(r.measured_prompt_ms),
        )
    return table


TABLES: Mapping[str, Callable[[list[Any]], Table | Group]] = {
    "decode": _decode_table,
    "compile": _compile_table,
    "engines": _engine_table,
    "encoders": _encoder_table,
    "systems": _system_table,
    "perf": _perf_tables,
    "serving": _serving_table,
    "host": _host_table,
}


def print_tables(
    console: Console, machine: dict[str, object], results: dict[str, list[object]]
) -> None:
    """The machine in a line, then every section that has figures."""
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), style="dim")
    for name, rows in results.items():
        if rows:
            console.print(TABLES[name](rows))
