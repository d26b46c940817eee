"""Rows of SemiAnalysis InferenceX (InferenceMAX): closed loads on GPUs, with and without disaggregation.

What the columns mean, checked by concurrency = requests/s × time of a request (share of the
concurrency that output tokens/s × time per output token explains; the rest is time to first token):

- Rates are per GPU of all that serve, input and output together. Aggregated rows: `prefill_tp` GPUs
  (0.86 to 0.99 for nine rows of ten); `prefill_gpus` is tp × ep there, an artefact (up to 7.9).
  Disaggregated: `prefill_gpus` + workers × max(tp, ep) of the decode side (0.75 to 0.96).
- Some racks of 2025 are recorded only as a number of GPUs, or without the width of their workers:
  `apart` and `_widened` stand in, and `split_known` is False.
- `dp_attention`: attention is not cut but repeated, each chip with users of its own: dp = chips, tp 1.
- Lengths are nominal; requests draw theirs between 0.8 of them and all: 0.9 on average, both ways.
- Energy is of the GPUs, per output token; where it implies more than a board's power it is dropped.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from takt.accuracy.case import Case, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, energy_within, finish
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.facts import lengths
from takt.accuracy.readers.names import engine_of, stored_types
from takt.chips import find_accelerator
from takt.models.outlines import find_outline

__all__ = ["NEEDED", "apart", "read", "run_series", "side"]

NEEDED = frozenset(
    {
        "model",
        "hardware",
        "framework",
        "precision",
        "disaggregated",
        "prefill_tp",
        "decode_tp",
        "decode_ep",
        "isl_tokens",
        "osl_tokens",
        "concurrency",
        "median_tpot_s",
        "total_tput_tok_s_per_gpu",
    }
)
# GPUs of a tray of an NVL72 rack: what its workers are made of.
_TRAY = 4


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case; those whose chips can't be counted as skips."""
    del defaults
    yield from each(rows, _case)


def side(tp: int, ep: int, *, dp_attention: bool, workers: int) -> Split:
    """One side: `workers` of max(tp, ep) chips each; with data-parallel attention each chip for itself."""
    chips = max(tp, ep)
    dp = chips if dp_attention else chips // tp
    return Split(tp=chips // dp, dp=dp, ep=ep, workers=workers)


def run_series(case: Case) -> str:
    """One name for runs of InferenceX in whatever table: chip, model, engine, chips, types.

    aiconfigurator's exports hold many of the same runs; a series that told the tables apart would let a
    run be fitted to and judged on. Finer splits and drafts are left out: one table does not have them.
    """
    known = find_accelerator(case.chip)
    # The exports call the one DeepSeek that was run V3 or R1.
    outline = find_outline(case.model.replace("DeepSeek-V3", "DeepSeek-R1"))
    parts = (
        "inferencex",
        known.id if known else case.chip,
        outline.name if outline else case.model,
        case.engine,
        str(case.n_chips),
        "apart" if case.prefill else "",
        case.weights,
    )
    return "|".join(parts)


def apart(n_chips: int) -> tuple[Split, Split]:
    """A stand-in for a rack of which only the number of GPUs is recorded: one decode worker, one for prompts.

    A third of the trays reads prompts, as in the runs of the same model on 48 and 72 GPUs whose division is
    recorded (16 and 24). Attention is repeated on each GPU, experts lie over all of a side.
    Raises Unusable for less than a tray each.
    """
    if n_chips < 2 * _TRAY:
        raise Unusable("disaggregated: how the chips are divided is not recorded")
    n_prompt = max(n_chips // 3 // _TRAY, 1) * _TRAY
    n_decode = n_chips - n_prompt
    return Split(dp=n_decode, ep=n_decode), Split(dp=n_prompt, ep=n_prompt)


def _widened(row: Row, n_prompt: int, workers: int, decode_workers: int) -> tuple[Split, Split]:
    """Both sides where the GPUs that read prompts show that the recorded width (1) is not the one that ran.

    Several decode workers are as wide as those for prompts, a single one has twice the GPUs of that side: with
    those, concurrency = requests/s × time of a request holds as in other rows (0.8 to 0.97).
    """
    if n_prompt % workers:
        raise Unusable("disaggregated: the width of a side is not recorded")
    width = n_prompt // workers
    decode_width = width if decode_workers > 1 else 2 * n_prompt
    dp_attention, decode_dp = row.flag("prefill_dp_attention"), row.flag("decode_dp_attention")
    return (
        side(decode_width, decode_width, dp_attention=decode_dp, workers=decode_workers),
        side(width, width, dp_attention=dp_attention, workers=workers),
    )


def _splits(row: Row) -> tuple[Split, Split | None, bool]:
    """The side that generates, the one that reads prompts if apart, and whether that is recorded."""
    tp, ep = row.needed_count("prefill_tp"), row.count("prefill_ep") or 1
    dp_attention = row.flag("prefill_dp_attention")
    workers = row.count("prefill_workers", least=0) or 0
    if not row.flag("disaggregated"):
        return side(tp, ep, dp_attention=dp_attention, workers=1), None, True
    n_prompt = row.needed_count("prefill_gpus")
    decode_tp, decode_ep = row.count("decode_tp", least=0), row.count("decode_ep", least=0)
    decode_workers = row.count("decode_workers", least=0)
    if not workers or not decode_workers or not decode_tp or decode_ep is None:
        return *apart(n_prompt), False
    prefill = side(tp, ep, dp_attention=dp_attention, workers=workers)
    if prefill.chips != n_prompt:
        return *_widened(row, n_prompt, workers, decode_workers), False
    decode = side(
        decode_tp,
        max(1, decode_ep),
        dp_attention=row.flag("decode_dp_attention"),
        workers=decode_workers,
    )
    return decode, prefill, True


def _case(row: Row) -> Case:
    split, prefill, known_split = _splits(row)
    n_chips = split.chips + (prefill.chips if prefill else 0)
    model, chip = row.need("model"), row.need("hardware")
    types = stored_types(model, row.text("precision"))
    nominal = lengths()["inferencex/nominal"]
    isl, osl = row.tokens("isl_tokens"), row.tokens("osl_tokens")
    if isl is None or osl is None:
        raise Unusable("no lengths")
    total = row.needed("total_tput_tok_s_per_gpu") * n_chips
    output = total * osl / (isl + osl)
    known = find_accelerator(chip)
    tdp_w = known.power.tdp_w if known else None
    most_w = tdp_w * n_chips if tdp_w else None
    joules, power_w = energy_within(row.number("energy_j_per_output_token"), output, most_w)
    framework = row.need("framework")
    case = Case(
        where=row.where,
        dataset="inferencex",
        series="",
        chip=chip,
        model=model,
        engine=engine_of(framework),
        load="closed",
        n_chips=n_chips,
        split=split,
        split_known=known_split,
        prefill=prefill,
        weights=types.weights,
        experts=types.experts,
        concurrency=row.needed("concurrency"),
        prompt_tokens=isl * (nominal.prompt_tokens or 1.0),
        output_tokens=osl * (nominal.output_tokens or 1.0),
        speculative="mtp" if row.text("spec_decode") == "mtp" else "",
        measured=Measured(
            tpot_ms=row.needed("median_tpot_s") * 1e3,
            total_tokens_per_s=total,
            output_tokens_per_s=output,
            j_per_output_token=joules,
            power_w=power_w,
        ),
        source=row.text("source"),
        note=f"{framework}; lengths are 0.9 of nominal {isl:g}/{osl:g}"
        + ("" if known_split else "; how the chips are divided is not recorded"),
    )
    return finish(replace(case, series=run_series(case)))
