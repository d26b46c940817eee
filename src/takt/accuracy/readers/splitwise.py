"""Rows of Splitwise's performance model: static batches of Llama-2-70B and BLOOM-176B on A100 and H100.

- `prompt_time_ms` reads the whole batch's prompts; `token_time_ms` is one decode step:
  e2e = prompt + (token_size − 1) × token time (127 steps for 128 tokens).
- Answers of 512 and more tokens often ended early: the e2e time then tells how many were made (the
  same sum, solved for the length). Where it is longer by half than the sum, the batch did not fit and
  ran in pieces (two rows).
- Rows of the power-capped H100 repeat the H100's token and e2e times and its prompt times × 1.3, all
  76 of them: derived, not measured.
- Power is a fraction of the board's TDP; a row's average is over the whole run.
"""

from collections.abc import Iterable, Iterator

from takt.accuracy.case import Case, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.chips import find_accelerator

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "model",
        "hardware",
        "tensor_parallel",
        "prompt_size",
        "batch_size",
        "token_size",
        "prompt_time_ms",
        "token_time_ms",
        "e2e_time_ms",
    }
)
_MOST_OFF = 1.5
_EARLY = 0.95


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each measured row as a case of one static batch."""
    del defaults
    yield from each(rows, _case)


def _case(row: Row) -> Case:
    chip = row.need("hardware")
    if chip.endswith("-pcap"):
        raise Unusable(
            "power-capped rows are the uncapped ones with prompt times × 1.3, not measured"
        )
    tp, batch = row.needed_count("tensor_parallel"), row.needed("batch_size")
    osl, prompt_ms = row.tokens("token_size"), row.needed("prompt_time_ms")
    token_ms, e2e_ms = row.number("token_time_ms"), row.number("e2e_time_ms")
    if token_ms and e2e_ms and osl:
        made = (e2e_ms - prompt_ms) / token_ms + 1
        if made > _MOST_OFF * osl:
            raise Unusable("the batch did not fit: e2e time is not prompt and token times")
        osl = made if 1 <= made < _EARLY * osl else osl
    output = batch * osl / e2e_ms * 1e3 if e2e_ms and osl else None
    power_w = _power(row, chip, tp)
    case = Case(
        where=row.where,
        dataset="splitwise",
        series="",
        chip=chip,
        model=row.need("model"),
        engine="vllm",
        load="static",
        n_chips=tp,
        split=Split(tp=tp),
        weights="bf16",
        concurrency=batch,
        prompt_tokens=row.tokens("prompt_size"),
        output_tokens=osl,
        measured=Measured(
            ttft_ms=prompt_ms,
            tpot_ms=token_ms,
            output_tokens_per_s=output,
            power_w=power_w,
            j_per_output_token=power_w / output if power_w and output else None,
        ),
        source=row.text("source"),
        note="prompt time of the whole batch",
    )
    return finish(case)


def _power(row: Row, chip: str, n_chips: int) -> float | None:
    """Mean watts of all boards, None where not measured or the board's TDP is not known."""
    fraction = row.number("avg_power_frac_tdp", most=2.0)
    known = find_accelerator(chip) if fraction else None
    tdp_w = known.power.tdp_w if known else None
    return fraction * tdp_w * n_chips if fraction and tdp_w else None
