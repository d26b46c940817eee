"""Rows of the ML.ENERGY leaderboards, versions 2 and 3: energy and time per output token, by batch.

- Energy and power are of the GPUs alone, all of them; energy per output token includes the prompts'.
- `avg_batch_size` is of the whole system (output rate × time per token is 0.9 of it, never more than
  1.4, with data parallelism too), so it is the number of users.
- v3 gives tensor, expert and data parallelism; with experts dealt over all GPUs it writes tensor 1:
  attention is then cut over num_gpus / data_parallel chips.
- Lengths of prompts are assumed (`lengths.toml`). v2's `legacy` tasks ran one request at a time.
"""

from collections.abc import Iterable, Iterator

from takt.accuracy.case import Case, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.facts import lengths
from takt.accuracy.readers.names import stored_types

__all__ = ["NEEDED_V2", "NEEDED_V3", "read_v2", "read_v3"]

NEEDED_V3 = frozenset(
    {
        "task",
        "model",
        "weight_precision",
        "gpu",
        "num_gpus",
        "tensor_parallel",
        "expert_parallel",
        "data_parallel",
        "avg_batch_size",
        "avg_output_tokens",
        "output_tput_tok_s",
        "median_itl_ms",
        "energy_j_per_output_token",
    }
)
NEEDED_V2 = frozenset(
    {
        "task",
        "model",
        "gpu",
        "tp",
        "pp",
        "avg_batch_size",
        "avg_output_tokens",
        "avg_tpot_ms",
        "output_tput_tok_s",
        "energy_j_per_output_token",
    }
)


def read_v3(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case of a constant number of users."""
    del defaults
    yield from each(rows, _case_v3)


def read_v2(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case of a constant number of users, `legacy` ones with one."""
    del defaults
    yield from each(rows, _case_v2)


def _prompt_tokens(task: str) -> float:
    known = lengths().get(f"mlenergy/{task}")
    if known is None or known.prompt_tokens is None:
        raise Unusable("task without a known length of prompts")
    return known.prompt_tokens


def _case_v3(row: Row) -> Case:
    n_chips, dp = row.needed_count("num_gpus"), row.count("data_parallel") or 1
    if n_chips % dp:
        raise Unusable("the split needs another number of chips than the row gives")
    model, task = row.need("model"), row.need("task")
    types = stored_types(model, row.text("weight_precision"))
    case = Case(
        where=row.where,
        dataset="mlenergy",
        series="",
        chip=row.need("gpu"),
        model=model,
        engine="vllm",
        load="closed",
        n_chips=n_chips,
        split=Split(tp=n_chips // dp, dp=dp, ep=row.count("expert_parallel") or 1),
        weights=types.weights,
        experts=types.experts,
        concurrency=row.needed("avg_batch_size"),
        prompt_tokens=_prompt_tokens(task),
        output_tokens=row.tokens("avg_output_tokens"),
        measured=Measured(
            tpot_ms=row.number("median_itl_ms"),
            output_tokens_per_s=row.number("output_tput_tok_s"),
            j_per_output_token=row.number("energy_j_per_output_token"),
            power_w=row.number("avg_gpu_power_w_total"),
        ),
        source=row.text("source"),
        note=f"v3 {task}; length of prompts assumed; energy of GPUs only",
    )
    return finish(case)


def _case_v2(row: Row) -> Case:
    tp, pp = row.needed_count("tp"), row.count("pp") or 1
    model, task = row.need("model"), row.need("task")
    types = stored_types(model, "")
    case = Case(
        where=row.where,
        dataset="mlenergy",
        series="",
        chip=row.need("gpu"),
        model=model,
        # Version 1's runs (kept as `legacy`) used Hugging Face models without a serving engine.
        engine="transformers" if task.startswith("legacy") else "vllm",
        load="closed",
        n_chips=tp * pp,
        split=Split(tp=tp, pp=pp),
        weights=types.weights or "bf16",
        experts=types.experts,
        concurrency=row.needed("avg_batch_size"),
        prompt_tokens=_prompt_tokens(task),
        output_tokens=row.tokens("avg_output_tokens"),
        measured=Measured(
            tpot_ms=row.number("avg_tpot_ms"),
            output_tokens_per_s=row.number("output_tput_tok_s"),
            j_per_output_token=row.number("energy_j_per_output_token"),
            power_w=row.number("avg_gpu_power_w_total"),
        ),
        source=row.text("source"),
        note=f"v2 {task}; length of prompts assumed; energy of GPUs only",
    )
    return finish(case)
