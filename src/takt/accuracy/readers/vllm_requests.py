"""Requests of vLLM runs, one a row: each run becomes one case.

A run is rows that share GPU, model and settings. Load: arrivals at (n − 1) / (last − first arrival),
at most `max_num_seqs` at once. Medians of time to first token (from arrival, queue included) and per
output token; rates over the time from the first arrival to the last answer. The rows themselves are
kept out: `Case.rows` counts them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean, median

from takt.accuracy.case import Case, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish
from takt.accuracy.readers.cells import Row, Unusable
from takt.accuracy.readers.names import stored_types

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "gpu",
        "model",
        "vllm_version",
        "tp",
        "dtype",
        "max_num_seqs",
        "prompt_tokens",
        "output_tokens",
        "arrival_s",
        "ttft_s",
        "e2e_s",
        "tpot_ms",
    }
)
_RUN = ("gpu", "model", "vllm_version", "tp", "dtype", "max_num_seqs", "max_num_batched_tokens")
_SHORTEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    prompt_tokens: float
    output_tokens: float
    arrival_s: float
    ttft_s: float
    e2e_s: float
    tpot_ms: float | None


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each run as a case, in the order of their first requests."""
    del defaults
    runs: dict[tuple[str, ...], tuple[Row, list[_Request]]] = {}
    for row in rows:
        try:
            request = _request(row)
        except Unusable as error:
            yield Skip(where=row.where, reason=error.message)
            continue
        key = tuple(row.text(column) for column in _RUN)
        runs.setdefault(key, (row, []))[1].append(request)
    for first_row, requests in runs.values():
        try:
            yield _case(first_row, requests)
        except Unusable as error:
            for _ in requests:
                yield Skip(where=first_row.where, reason=error.message)


def _request(row: Row) -> _Request:
    prompt, arrival = row.tokens("prompt_tokens"), row.tokens("arrival_s", zero=True)
    if prompt is None or arrival is None:
        raise Unusable("no lengths or no arrival")
    return _Request(
        prompt_tokens=prompt,
        output_tokens=row.needed("output_tokens"),
        arrival_s=arrival,
        ttft_s=row.needed("ttft_s"),
        e2e_s=row.needed("e2e_s"),
        tpot_ms=row.number("tpot_ms"),
    )


def _case(row: Row, requests: list[_Request]) -> Case:
    start = min(request.arrival_s for request in requests)
    arriving_s = max(request.arrival_s for request in requests) - start
    if len(requests) < _SHORTEST or not arriving_s:
        raise Unusable("arrival rate not recorded")
    lasting_s = max(request.arrival_s + request.e2e_s for request in requests) - start
    output = sum(request.output_tokens for request in requests)
    total = output + sum(request.prompt_tokens for request in requests)
    steps = [request.tpot_ms for request in requests if request.tpot_ms]
    tp, model = row.needed_count("tp"), row.need("model")
    case = Case(
        where=row.where,
        dataset="vllm_requests",
        series="",
        chip=row.need("gpu"),
        model=model,
        engine="vllm",
        engine_version=row.need("vllm_version"),
        load="open",
        rate_per_s=(len(requests) - 1) / arriving_s,
        n_chips=tp,
        split=Split(tp=tp),
        weights=stored_types(model, row.need("dtype")).weights,
        concurrency=row.number("max_num_seqs"),
        n_requests=len(requests),
        prompt_tokens=fmean(request.prompt_tokens for request in requests),
        output_tokens=fmean(request.output_tokens for request in requests),
        measured=Measured(
            ttft_ms=median(request.ttft_s for request in requests) * 1e3,
            tpot_ms=median(steps) if steps else None,
            output_tokens_per_s=output / lasting_s,
            total_tokens_per_s=total / lasting_s,
            requests_per_s=len(requests) / lasting_s,
        ),
        rows=len(requests),
        source=row.text("source"),
        note=f"a run of {len(requests)} requests; "
        f"max_num_batched_tokens {row.text('max_num_batched_tokens')}",
    )
    return finish(case)
