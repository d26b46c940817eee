"""Rows of dstack's benchmarks: Llama-3.1-405B on H100 and MI300X, gpt-oss-120b with prefill apart.

- `offline throughput` and `static batch latency curve` print the same runs (79 of 93 pairs agree to
  the last digit, the others to 0.4 %): total tokens/s × duration = requests × lengths. Each run is one
  case, a static batch of `batch_or_prompts` requests, with the figures of the first (`rows` 2).
- Their rows with two copies are those with one, rate doubled and duration unchanged, all 38: skipped.
- `fixed concurrency`: workers of either side, and their tp, stand in the note.
- Poisson arrivals at `request_rate_per_s`; `short` and `long` send all at once; of `QPS_high` the rate
  is not recorded.
- Some offline runs were made without graphs (eager mode); the file doesn't say which.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from takt.accuracy.case import Case, Load, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish, first
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.names import engine_of, stored_types, type_of

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "device",
        "num_devices",
        "replicas",
        "tp",
        "model",
        "precision",
        "engine",
        "test",
        "input_tokens",
        "output_tokens",
        "batch_or_prompts",
        "request_rate_per_s",
        "max_concurrency",
        "total_tok_s",
    }
)
_OFFLINE, _STATIC = "offline", "static batch"
_TELLING = (
    "device",
    "num_devices",
    "replicas",
    "tp",
    "model",
    "precision",
    "engine",
    "input_tokens",
    "output_tokens",
    "batch_or_prompts",
)
_APART = re.compile(r"prefill workers (\d+); decode workers (\d+); TP(\d+) each")


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each run as a case, its reprint summed into it."""
    del defaults
    known = list(rows)
    printed = {
        _run(row)
        for row in known
        if row.text("test").startswith(_OFFLINE)
        for result in each([row], _case)
        if isinstance(result, Case)
    }
    reprints = Counter(_run(row) for row in known if row.text("test").startswith(_STATIC))
    for row in known:
        if row.text("test").startswith(_STATIC) and _run(row) in printed:
            continue
        for result in each([row], _case):
            if isinstance(result, Case) and row.text("test").startswith(_OFFLINE):
                result = replace(result, rows=1 + reprints.pop(_run(row), 0))
            yield result


def _run(row: Row) -> tuple[str, ...]:
    """What tells one run of a static batch from others."""
    return tuple(row.text(column) for column in _TELLING)


def _splits(row: Row) -> tuple[Split, Split | None]:
    tp = row.needed_count("tp")
    if found := _APART.search(row.text("note")):
        prefill, decode, each_tp = (int(number) for number in found.groups())
        return Split(tp=each_tp, workers=decode), Split(tp=each_tp, workers=prefill)
    return Split(tp=tp, workers=row.count("replicas") or 1), None


def _load(row: Row) -> tuple[Load, float | None, float | None]:
    """Load, users and rate."""
    test = row.need("test")
    if test.startswith((_OFFLINE, _STATIC)):
        if (row.count("replicas") or 1) > 1:
            raise Unusable("the run of one copy doubled, not measured")
        return "static", row.needed("batch_or_prompts"), None
    if "fixed concurrency" in test:
        return "closed", row.needed("max_concurrency"), None
    if "Poisson" in test:
        return "open", None, row.needed("request_rate_per_s")
    if test.endswith(("short", "long")):
        return "offline", None, None
    raise Unusable("arrival rate not recorded")


def _case(row: Row) -> Case:
    (split, prefill), (load, users, rate) = _splits(row), _load(row)
    isl = first((row.tokens("avg_input_tokens"), row.tokens("input_tokens")))
    osl = first((row.tokens("avg_output_tokens"), row.tokens("output_tokens")))
    total, output = row.number("total_tok_s"), row.number("output_tok_s")
    if output is None and total and isl is not None and osl is not None:
        output = total * osl / (isl + osl)
    model, precision = row.need("model"), row.need("precision")
    types = stored_types(model, type_of(precision.split(" ")[0].split("/")[0]))
    requests = row.count("requests")
    single = load == "offline" and requests == 1
    engine = row.need("engine")
    case = Case(
        where=row.where,
        dataset="dstack",
        series="",
        chip=row.need("device"),
        model=model,
        engine=engine_of(engine),
        engine_version=engine,
        load="closed" if single else load,
        rate_per_s=rate,
        n_chips=row.needed_count("num_devices"),
        split=split,
        prefill=prefill,
        weights=types.weights,
        experts=types.experts,
        concurrency=1.0 if single else users,
        n_requests=requests,
        prompt_tokens=isl,
        output_tokens=osl,
        measured=Measured(
            tpot_ms=row.number("tpot_p50_ms"),
            ttft_ms=row.number("ttft_p50_ms"),
            output_tokens_per_s=output,
            total_tokens_per_s=total,
        ),
        source=row.text("source"),
        note="; ".join(filter(None, (row.need("test"), precision, row.text("note")))),
    )
    return finish(case, precision, row.text("note"))
