"""Print-outs of serving benchmarks in the documents of GPUStack, SGLang's cookbook and vLLM's recipes.

- Lengths are averages from the totals. With `max_concurrency` the load is closed; with a finite rate
  open; else all requests are sent at once, and time to first token is mostly queueing.
- `node_devices` is the test machine: chips are those that tp, dp and ep of the command take, one
  where it names none (the engines' default). Where the command is inherited from elsewhere in the page,
  or names no split on a machine of several devices, `split_known` is False.
- SGLang's `--dp` with `--tp` of the same machine is data-parallel attention inside tp.
- A median time per token of less than a quarter of the mean is a stream that came in bursts (whole
  answers at once): neither it nor the time to first token says anything of the machine.
"""

from collections.abc import Iterable, Iterator

from takt.accuracy.case import Case, Load, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.names import drafting_of, engine_of, stored_types

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "device",
        "node_devices",
        "model",
        "engine",
        "tp",
        "avg_input_tokens",
        "avg_output_tokens",
        "requests",
        "max_concurrency",
        "request_rate_arg",
        "output_tok_s",
        "tpot_p50_ms",
        "ttft_p50_ms",
    }
)
_BURST = 0.25


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case; image generators as skips (their print-outs hold no lengths)."""
    del defaults
    yield from each(rows, _case)


def _split(row: Row) -> tuple[Split, bool]:
    """The split that the command asks for, and whether it is known to be the one that ran."""
    tp, dp, ep = row.count("tp"), row.count("dp") or 1, row.count("ep")
    devices = row.count("node_devices")
    named = tp is not None or dp > 1 or ep is not None
    tp = tp or 1
    if engine_of(row.need("engine")) == "sglang" and dp > 1 and tp % dp == 0:
        split = Split(tp=tp // dp, dp=dp, ep=ep or 1)
    else:
        split = Split(tp=tp, dp=dp, ep=ep or (tp * dp if row.flag("expert_parallel_flag") else 1))
    if devices and split.chips > devices:
        raise Unusable("the command needs more devices than the machine has")
    inherited = row.text("config_from").startswith("server command inherited")
    return split, (named and not inherited) or devices == 1


def _load(row: Row, requests: int | None) -> tuple[Load, float | None, float | None]:
    """Load, users, and rate."""
    rate = row.text("request_rate_arg").lower()
    users = row.number("max_concurrency")
    if rate not in ("", "inf"):
        return "open", users, row.needed("request_rate_arg")
    if users is None or (requests is not None and users >= requests > 1):
        return "offline", None, None
    return "closed", users, None


def _case(row: Row) -> Case:
    if not row.has("avg_output_tokens") and not row.has("output_tok_s"):
        raise Unusable("no tokens: not a language model")
    split, known = _split(row)
    requests = row.count("requests")
    load, users, rate = _load(row, requests)
    tpot, mean = row.number("tpot_p50_ms"), row.number("tpot_mean_ms")
    bursts = tpot is not None and mean is not None and tpot < _BURST * mean
    ttft = row.number("ttft_p50_ms") or row.number("ttft_mean_ms")
    model = row.need("model")
    types = stored_types(model)
    case = Case(
        where=row.where,
        dataset="serving_docs",
        series="",
        chip=row.need("device").split(" (")[0],
        model=model,
        engine=engine_of(row.need("engine")),
        load=load,
        rate_per_s=rate,
        n_chips=split.chips,
        split=split,
        split_known=known,
        weights=types.weights,
        experts=types.experts,
        concurrency=users,
        n_requests=requests,
        prompt_tokens=row.tokens("avg_input_tokens"),
        output_tokens=row.tokens("avg_output_tokens"),
        speculative=drafting_of(model, row.text("note")) if row.flag("speculative") else "",
        measured=Measured(
            tpot_ms=None if bursts else tpot or mean,
            ttft_ms=None if bursts else ttft,
            output_tokens_per_s=row.number("output_tok_s"),
            total_tokens_per_s=row.number("total_tok_s"),
            requests_per_s=row.number("requests_per_s"),
        ),
        source=row.text("source"),
        note=row.text("note") + ("; tokens came in bursts" if bursts else ""),
    )
    return finish(case)
