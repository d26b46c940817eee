"""Rows that NVIDIA's aiconfigurator checks itself against: TTFT and TPOT of closed loads.

What the columns mean, checked against the same runs in InferenceX (same TPOT within 0.3 %):

- InferenceX exports of April 2026 multiply: tp_size × attention_dp_size is tp × ep (16 with moe 4 × 4
  is 4 GPUs), `moe_tp_size` is the true number of GPUs where `moe_ep_size` > 1 too. With
  `moe_tp_size` 1 and `moe_ep_size` = tp² the GPUs are tp_size and attention is tensor parallel.
- The export of March 2026 and NVIDIA's own runs: GPUs = tp_size × attention_dp_size, and at least
  moe_tp × moe_ep (Qwen3-235B in fp8 on "tp 1, moe_tp 4" is 4 GPUs: it does not fit on one).
- `batch_size` is per attention group; `concurrency` is of the whole system, and is what counts.
- Exports share their series with InferenceX's own table: many are the same runs.
- Disaggregated rows of the exports of March and of 6 April leave out the numbers of workers: one each
  stands in; racks that are written down as one width are divided as `inferencex.apart` says. In both
  cases `split_known` is False.
- Dense models whose `concurrency` is a multiple of `batch_size` ran as so many copies: a batch each.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from takt.accuracy.case import Case, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.facts import lengths
from takt.accuracy.readers.inferencex import apart, run_series
from takt.accuracy.readers.names import engine_of, stored_types, type_of

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "framework",
        "model",
        "system",
        "mode",
        "isl_tokens",
        "osl_tokens",
        "batch_size",
        "tp_size",
        "moe_tp_size",
        "moe_ep_size",
        "concurrency",
        "ttft_ms",
        "tpot_ms",
    }
)
# Chips of a GB200 rack that InferenceX first wrote down as one width: prefill and decode together.
_NVL72 = "gb200"


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case; those whose chips are not recorded as skips."""
    del defaults
    yield from each(rows, _case)


def _case(row: Row) -> Case:
    mode = row.need("mode")
    if mode not in ("agg", "disagg"):
        raise Unusable("mode is neither agg nor disagg")
    prefill: Split | None = None
    known_split = mode == "agg" or _workers_known(row)
    if mode == "disagg":
        split, prefill, concurrency = _disaggregated(row)
    elif rack := _rack_chips(row):
        split, prefill = apart(rack)
        concurrency, known_split = row.needed("concurrency"), False
    else:
        split, concurrency = _aggregated(row)
    exported = row.text("origin").startswith("InferenceX")
    nominal = lengths()["inferencex/nominal"]
    share = (nominal.prompt_tokens or 1.0, nominal.output_tokens or 1.0) if exported else (1.0, 1.0)
    isl, osl = row.tokens("isl_tokens"), row.tokens("osl_tokens")
    if isl is None or osl is None:
        raise Unusable("no lengths")
    model = row.need("model")
    label = row.text("precision") or row.text("gemm_quant_mode")
    types = stored_types(model, label)
    moe_type = type_of(row.text("moe_quant_mode"))
    case = Case(
        where=row.where,
        dataset="aic",
        series="",
        chip=row.need("system"),
        model=model,
        engine=engine_of(row.need("framework")),
        engine_version=row.text("framework_version"),
        date=row.text("measured_date"),
        load="closed",
        n_chips=split.chips + (prefill.chips if prefill else 0),
        split=split,
        split_known=known_split,
        prefill=prefill,
        weights=types.weights,
        experts=types.experts or (moe_type if moe_type != types.weights else ""),
        concurrency=concurrency,
        prompt_tokens=isl * share[0],
        output_tokens=osl * share[1],
        measured=Measured(ttft_ms=row.number("ttft_ms"), tpot_ms=row.number("tpot_ms")),
        source=row.text("source"),
        note=row.text("origin"),
    )
    return finish(replace(case, series=run_series(case)) if exported else case)


def _rack_chips(row: Row) -> int | None:
    """GPUs of a rack written down as one width though prompts were read apart, None for other rows."""
    tp, moe_ep = row.needed_count("tp_size"), row.count("moe_ep_size", least=0) or 1
    exported = row.text("origin").startswith("InferenceX")
    return tp if exported and row.need("system") == _NVL72 and moe_ep == 1 and tp > 8 else None


def _aggregated(row: Row) -> tuple[Split, float]:
    """The split and the concurrency of one copy that does both."""
    tp = row.needed_count("tp_size")
    pp = row.count("pp_size") or 1
    dp = row.count("attention_dp_size", least=0) or 1
    moe_tp = row.count("moe_tp_size", least=0) or 1
    moe_ep = row.count("moe_ep_size", least=0) or 1
    batch, concurrency = row.number("batch_size"), row.number("concurrency")
    origin = row.text("origin")
    if origin.startswith("InferenceX"):
        split = _exported(tp, dp, moe_tp, moe_ep)
    else:
        split = _own(tp, pp, dp, moe_tp, moe_ep, batch, concurrency)
    if concurrency is None and batch is not None:
        concurrency = batch * split.dp
    if concurrency is None:
        raise Unusable("neither concurrency nor batch given")
    return split, concurrency


def _exported(tp: int, dp: int, moe_tp: int, moe_ep: int) -> Split:
    """InferenceX exports: undoes tp × ep where it was multiplied in."""
    if moe_tp > 1 and moe_ep > 1 and tp * dp == moe_tp * moe_ep:
        n = moe_tp
        ep = min(moe_ep, n)
        return Split(tp=1, dp=n, ep=ep) if dp > 1 else Split(tp=n, ep=ep)
    if moe_tp == 1 and moe_ep > tp > 1 and dp > 1:
        return Split(tp=tp, ep=tp)
    return Split(tp=tp, dp=dp, ep=moe_ep)


def _own(
    tp: int,
    pp: int,
    dp: int,
    moe_tp: int,
    moe_ep: int,
    batch: float | None,
    concurrency: float | None,
) -> Split:
    """NVIDIA's own runs: chips from the experts' split where that is wider, users from the batch."""
    chips = max(tp * dp, moe_tp * moe_ep)
    if chips % tp:
        raise Unusable("the split needs another number of chips than the row gives")
    dp = chips // tp
    if batch and concurrency and concurrency != batch * dp and dp == 1 and concurrency != batch:
        if moe_tp * moe_ep == tp and concurrency == batch * tp:
            return Split(tp=1, dp=tp, pp=pp, ep=moe_ep)  # batch per rank: attention is repeated
        if moe_tp * moe_ep > 1 or concurrency % batch:
            raise Unusable("concurrency is no multiple of the batch: number of copies not recorded")
        return Split(tp=tp, pp=pp, workers=round(concurrency / batch))
    return Split(tp=tp, pp=pp, dp=dp, ep=moe_ep)


def _side(row: Row, name: str) -> Split:
    """One side; where its number of workers is not recorded, one stands in (`_workers_known`)."""
    return Split(
        tp=row.needed_count(f"{name}_tp_size"),
        pp=row.count(f"{name}_pp_size") or 1,
        dp=row.count(f"{name}_attention_dp_size", least=0) or 1,
        ep=row.count(f"{name}_moe_ep_size", least=0) or 1,
        workers=row.count(f"{name}_num_workers") or 1,
    )


def _workers_known(row: Row) -> bool:
    return all(row.count(f"{name}_num_workers") for name in ("decode", "prefill"))


def _disaggregated(row: Row) -> tuple[Split, Split, float]:
    decode, prefill = _side(row, "decode"), _side(row, "prefill")
    concurrency = row.number("concurrency")
    if concurrency is None:
        # Checked where both are given: 552 users are 6 decode workers with 92 each.
        batch = row.needed("decode_batch_size")
        concurrency = batch * decode.workers * decode.dp
    return decode, prefill, concurrency
