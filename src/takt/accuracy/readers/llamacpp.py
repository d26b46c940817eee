"""Rows of llama.cpp and its kin: prompt (pp) and generation (tg) speed, mostly of one request.

- tg: time per token at `depth_tokens`, growing by `tokens` on the way. pp: one pass over `tokens`
  prompt tokens at that depth, as `step_ms`.
- With a batch, `batched-bench` prints tokens of all requests a second (59 tok/s alone, 313 with 32):
  tg steps make `batch` tokens, pp passes read `batch` × `tokens`. Other sources don't say: skipped.
- Several GPUs hold layers one after another (llama.cpp's default): pipeline stages.
- Bits of a weight come from file size and parameters where both are given.
- Mean power of a GPU includes loading the model on some machines: it is kept as power, not as energy.
- "RPC" among the backends only says that it was compiled in: speeds are those of one machine.
- On a processor, threads for less than half of its cores measure a part of it: skipped.
- A host computer with a GPU in brackets ran on the GPU where the backend says so.
"""

import re
from collections.abc import Iterable, Iterator

from takt.accuracy.case import Case, Load, Measured, Skip, Split
from takt.accuracy.readers.build import Defaults, finish
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.facts import cores, lengths
from takt.accuracy.readers.names import Types, engine_of, stored_types, type_of

__all__ = ["NEEDED", "read"]

NEEDED = frozenset(
    {
        "device",
        "num_devices",
        "backend",
        "model",
        "quant",
        "test",
        "tokens",
        "depth_tokens",
        "batch",
        "tokens_per_s",
        "engine",
    }
)
_BRACKETS = re.compile(r"\(((?:Nvidia|NVIDIA|AMD|Intel Arc)[^)]*)\)")
_QUANT = re.compile(r"(?:^|[^a-z0-9])(?:iq|tq|q|i)(\d)(?:_|s?\b)", re.IGNORECASE)
_BITS_TYPE = {"2": "int2", "3": "int3", "4": "int4", "5": "int5", "6": "int6", "8": "int8"}
_GIB = 2**30


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Each row as a case."""
    del defaults
    yield from each(rows, _case)


def _chip(row: Row) -> str:
    device, backend = row.need("device"), row.need("backend")
    if device == "unidentified":
        raise Unusable("device unknown")
    if ("+" in backend and "CPU" in backend) or backend == "GPU/CPU" or " + " in device:
        raise Unusable("weights shared between a host and its GPU")
    if "cluster" in device.lower():
        raise Unusable("several hosts: how many is not recorded")
    found = _BRACKETS.search(device)
    if found and backend == "GPU":
        return found.group(1)
    chip = device.split(" (1 or 2")[0]
    known, threads = cores().get(chip), row.count("threads")
    if known and threads and backend == "CPU" and 2 * threads < known.cores:
        raise Unusable("fewer threads than half of the processor's cores")
    return chip


def _weights(row: Row) -> tuple[str, str]:
    """Types of weights and of experts, from the quantisation or the model's file name."""
    model, quant = row.need("model"), row.text("quant")
    for text in (quant, model):
        if found := _QUANT.search(text):
            label = _BITS_TYPE.get(found.group(1), "")
            types = stored_types(model, label) if label else Types(weights="")
            return types.weights, types.experts
        if label := type_of(text):
            types = stored_types(model, label)
            return types.weights, types.experts
    types = stored_types(model)
    return types.weights, types.experts


def _tokens(row: Row, test: str) -> tuple[float, bool]:
    """Tokens of the test, and whether they are assumed."""
    if row.has("tokens"):
        value = row.tokens("tokens")
        return value or 1.0, False
    known = lengths()[f"llamacpp/{test}"]
    return (known.prompt_tokens if test == "pp" else known.output_tokens) or 1.0, True


def _batch(row: Row) -> float:
    batch = row.number("batch") or 1.0
    if batch > 1 and "batched-bench" not in row.need("engine"):
        raise Unusable("batch > 1 without saying whether the rate is of all requests")
    return batch


def _case(row: Row) -> Case:
    chip, batch, test = _chip(row), _batch(row), row.need("test")
    if test not in ("pp", "tg"):
        raise Unusable("test is neither pp nor tg")
    rate, (tokens, assumed) = row.needed("tokens_per_s"), _tokens(row, test)
    weights, experts = _weights(row)
    n_chips = row.needed_count("num_devices")
    params, size = row.number("params_b"), row.number("file_gib")
    load: Load = "static" if test == "tg" else "steps"
    if test == "tg":
        measured = Measured(
            tpot_ms=batch / rate * 1e3, output_tokens_per_s=rate, power_w=row.number("gpu_power_w")
        )
    else:
        measured = Measured(
            step_ms=tokens * batch / rate * 1e3,
            total_tokens_per_s=rate,
            power_w=row.number("gpu_power_w"),
        )
    threads = row.text("threads")
    case = Case(
        where=row.where,
        dataset="llamacpp",
        series="",
        chip=chip,
        model=row.need("model"),
        engine=engine_of(row.need("engine")),
        engine_version=f"{row.need('engine')} {row.need('backend')}",
        load=load,
        n_chips=n_chips,
        split=Split(pp=n_chips),
        weights=weights,
        experts=experts,
        weight_bits=size * _GIB * 8 / (params * 1e9) if size and params else None,
        concurrency=batch,
        prompt_tokens=tokens if test == "pp" else 0.0,
        output_tokens=tokens if test == "tg" else 0.0,
        depth_tokens=row.tokens("depth_tokens", zero=True) or 0.0,
        measured=measured,
        source=row.text("source"),
        note="; ".join(
            filter(
                None,
                (
                    "on the CPU" if row.need("backend") == "CPU" else "",
                    f"{threads} threads" if threads else "",
                    "length assumed" if assumed else "",
                    row.text("confidence").replace("as published", ""),
                ),
            )
        ),
    )
    return finish(case, f"threads {threads}")
