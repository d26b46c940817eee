"""Rows of Argonne's LLM-Inference-Bench: static batches on seven kinds of accelerator.

- Throughput counts input and output of the whole batch: × latency = batch × (in + out), to a digit, in
  every row but those of llama.cpp with batches, whose meaning the source doubts: skipped.
- `output_tokens` 1 measures the time to first token of the batch.
- Devices share each layer (tp) unless the row says pipeline or experts; llama.cpp deals out layers.
- Power over one board's, with the file's own note of doubt, is dropped.
"""

import re
from collections.abc import Iterable, Iterator

from takt.accuracy.case import Case, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.names import engine_of, stored_types, type_of

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "device",
        "num_devices",
        "framework",
        "model",
        "input_tokens",
        "output_tokens",
        "batch",
        "latency_s",
        "throughput_in_plus_out_tok_s",
    }
)
_WEIGHTS = re.compile(r"Weight = (\w+)")
_KV = re.compile(r"KV Cache = (\w+)")


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case of one static batch."""
    del defaults
    yield from each(rows, _case)


def _split(row: Row, engine: str) -> Split:
    n = row.needed_count("num_devices")
    text = row.text("parallelism").lower()
    if "hyb" in text:
        if n != 4:
            raise Unusable("the split needs another number of chips than the row gives")
        return Split(tp=4, ep=2) if "ep" in text else Split(tp=2, pp=2)
    if text in ("pp", "pipeline parallelism") or (not text and engine == "llama.cpp"):
        return Split(pp=n)
    if text == "ep":
        return Split(tp=n, ep=n)
    if text in ("", "tp", "tensor parallelism"):
        return Split(tp=n)
    raise Unusable("parallelism not known")


def _refuse(row: Row) -> None:
    """Raises Unusable for what the source itself warns of, or what no engine does."""
    if row.text("throughput_note") or (
        row.need("framework") == "llama.cpp" and row.needed("batch") > 1
    ):
        raise Unusable("llama.cpp at batch > 1 (the source's own warning)")
    if row.text("kv_cache") == "Without KV Cache":
        raise Unusable("run without a key-value cache")


def _case(row: Row) -> Case:
    _refuse(row)
    engine = engine_of(row.need("framework"))
    split = _split(row, engine)
    isl, osl = row.tokens("input_tokens"), row.tokens("output_tokens")
    total, ttft_s = row.number("throughput_in_plus_out_tok_s"), row.number("ttft_s")
    if isl is None or osl is None:
        raise Unusable("no lengths")
    model, precision = row.need("model"), row.text("precision_note")
    weights, kv = _WEIGHTS.search(precision), _KV.search(precision)
    types = stored_types(model, weights.group(1) if weights else "fp16")
    output = total * osl / (isl + osl) if total else None
    power_w = None if "exceeds" in row.text("power_note") else row.number("avg_power_w")
    if ttft_s and osl == 1:
        output = total = None  # one token each: the rate is the time to first token again
    case = Case(
        where=row.where,
        dataset="argonne",
        series="",
        chip=row.need("device"),
        model=model,
        engine=engine,
        load="static",
        n_chips=split.chips,
        split=split,
        weights=types.weights,
        experts=types.experts,
        kv=type_of(kv.group(1)) if kv else "",
        concurrency=row.needed("batch"),
        prompt_tokens=isl,
        output_tokens=osl,
        speculative="draft" if row.has("draft_model") else "",
        measured=Measured(
            ttft_ms=ttft_s * 1e3 if ttft_s else None,
            output_tokens_per_s=output,
            total_tokens_per_s=total,
            power_w=power_w,
            j_per_output_token=power_w / output if power_w and output else None,
        ),
        source=row.text("source"),
        note="; ".join(filter(None, (row.text("parallelism"), precision, row.text("draft_model")))),
    )
    return finish(case, row.text("draft_model"))
