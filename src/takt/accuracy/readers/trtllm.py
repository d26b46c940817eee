"""Rows of TensorRT-LLM's performance tables: static batches, maximal load and online serving.

- Throughput is of all GPUs (the column per GPU times `num_gpus` is it, in all 1,443 rows); it counts
  output tokens.
- `static_batch` with a time to first token has no output length: the batch's prompts, one token each.
- `inflight_batching_max_load`: as many requests as fit, sent at once. `online_serving`: arrivals at a
  rate; `INF` sends all at once, and time to first token is queueing (how many is not said).
"""

from collections.abc import Iterable, Iterator

from takt.accuracy.case import Case, Load, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.names import stored_types

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "version",
        "mode",
        "gpu",
        "precision",
        "model",
        "parallel",
        "num_gpus",
        "isl_tokens",
        "osl_tokens",
        "output_tput_tok_s",
    }
)


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case."""
    del defaults
    yield from each(rows, _case)


def _split(row: Row) -> Split:
    text, n_chips = row.need("parallel"), row.needed_count("num_gpus")
    if text == f"TP{n_chips}":
        return Split(tp=n_chips)
    if text == f"PP{n_chips}":
        return Split(pp=n_chips)
    raise Unusable("parallelism and number of GPUs disagree")


def _load(row: Row) -> tuple[Load, float | None]:
    mode, rate = row.need("mode"), row.text("request_rate_qps")
    if mode == "static_batch":
        return "static", None
    if mode == "inflight_batching_max_load" or rate.upper() == "INF":
        return "offline", None
    if mode == "online_serving":
        return "open", row.needed("request_rate_qps")
    raise Unusable("mode not known")


def _case(row: Row) -> Case:
    split, (load, rate) = _split(row), _load(row)
    model = row.need("model")
    types = stored_types(model, row.need("precision"))
    ttft_ms, output = row.number("ttft_ms"), row.tokens("osl_tokens")
    case = Case(
        where=row.where,
        dataset="trtllm",
        series="",
        chip=row.need("gpu"),
        model=model,
        engine="trtllm",
        engine_version=row.need("version"),
        load=load,
        rate_per_s=rate,
        n_chips=split.chips,
        split=split,
        weights=types.weights,
        experts=types.experts,
        concurrency=row.number("batch_size"),
        prompt_tokens=row.tokens("isl_tokens"),
        output_tokens=output or 1.0,
        measured=Measured(
            ttft_ms=ttft_ms,
            tpot_ms=row.number("itl_ms"),
            output_tokens_per_s=row.number("output_tput_tok_s"),
            total_tokens_per_s=row.number("total_tput_tok_s"),
            requests_per_s=row.number("request_tput_per_s"),
        ),
        source=row.text("source"),
        note=row.need("mode") + ("; the prompts' pass alone" if output is None else ""),
    )
    return finish(case)
