"""Rows of AWS Neuron's tables: language models, T5 and encoders on Inferentia2 and Trainium1.

- `tp` counts NeuronCores, two to a chip: tp 24 is 12 chips.
- Decoders: output tokens/s × time per token is the batch: a static batch.
- Encoders: inferences/s × latency is twice the batch, on instances of 1 chip and of 16 alike: two
  cores work side by side, each on a batch of its own. So one chip, as two workers with `batch` each.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from takt.accuracy.case import Case, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.names import type_of

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "chip",
        "instance",
        "model",
        "kind",
        "framework",
        "neuron_sdk",
        "tp",
        "batch",
        "seq_len_tokens",
        "input_tokens",
        "output_tokens",
        "output_tok_s",
        "inferences_per_s",
        "latency_p50_ms",
    }
)
_CORES_PER_CHIP = 2


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case."""
    del defaults
    yield from each(rows, _case)


def _case(row: Row) -> Case:
    kind = row.need("kind")
    # A row of the source has its cells shifted by one; the length shows it.
    length = row.tokens("seq_len_tokens")
    base = Case(
        where=row.where,
        dataset="aws",
        series="",
        chip=row.need("chip"),
        model=row.need("model"),
        engine="neuron",
        engine_version=row.need("neuron_sdk"),
        date=row.text("commit_date"),
        load="static",
        n_chips=1,
        weights=type_of(row.text("weight_dtype") or row.text("model_dtype")),
        concurrency=row.needed("batch"),
        measured=Measured(),
        source=row.text("source"),
        note=f"{row.need('framework')}; {row.text('instance')}; tuned for {row.text('tuned_for')}",
    )
    if kind == "encoder":
        return finish(_encoder(row, base, length), row.text("framework"))
    if kind in ("decoder", "encoder_decoder"):
        return finish(_decoder(row, base))
    raise Unusable("kind of model not known")


def _encoder(row: Row, base: Case, length: float | None) -> Case:
    measured = Measured(
        step_ms=row.number("latency_p50_ms"), requests_per_s=row.number("inferences_per_s")
    )
    note = base.note + "; one batch on each of a chip's two cores"
    return replace(base, load="steps", prompt_tokens=length, measured=measured, note=note)


def _decoder(row: Row, base: Case) -> Case:
    cores = row.needed_count("tp")
    if cores % _CORES_PER_CHIP:
        raise Unusable("half a chip")
    chips = cores // _CORES_PER_CHIP
    return replace(
        base,
        n_chips=chips * (row.count("dp") or 1),
        split=Split(tp=chips, workers=row.count("dp") or 1),
        prompt_tokens=row.tokens("input_tokens"),
        output_tokens=row.tokens("output_tokens"),
        measured=Measured(
            ttft_ms=row.number("ttft_p50_ms"),
            tpot_ms=row.number("tpot_p50_ms"),
            output_tokens_per_s=row.number("output_tok_s"),
        ),
    )
