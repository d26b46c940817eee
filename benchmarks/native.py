"""Predicted against measured on these processors: what `takt run --on host` prints, in rounds."""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from measure import PROMPT, Spread, spread
from shapes import by_name

from takt.models import load_model, random_model
from takt.perf.host import (
    HostRequest,
    layer_time_s,
    measure_machine,
    predict,
    require_engine,
    run_engine,
    work_of,
    write_gguf,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """One model in llama.cpp. The prediction knows the machine's rates and the engine's time a layer, not the model's time."""

    model: str
    parameters: int
    weights: str
    file_bytes: int
    prompt_tokens: int
    tokens: int
    rounds: int
    threads: int
    read_bytes_per_s: float
    matrix_ops_per_s: float
    layer_s: float
    predicted_token_s: float
    measured_token_ms: Spread
    measured_over_predicted: float  # of the median
    predicted_prompt_s: float
    measured_prompt_ms: Spread


def native(
    name: str, *, stored: Literal["f16", "q8_0"], tokens: int, rounds: int, threads: int
) -> Native:
    """The machine and the hollow model first, then the model: `rounds` timed runs after one that warms up."""
    require_engine()
    threads = min(threads, os.cpu_count() or 1)
    with (
        load_model() if name == "default" else random_model(by_name(name)) as model,
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder) / "model.gguf"
        work = work_of(model.shape, write_gguf(model, path, stored))
        seen = [measure_machine(work.weight_bytes, threads) for _ in range(3)]
        machine = replace(
            seen[0],  # the best of each, since other programs only ever slow it down
            read_bytes_per_s=max(found.read_bytes_per_s for found in seen),
            matrix_ops_per_s=max(found.matrix_ops_per_s for found in seen),
        )
        layer_s = layer_time_s(threads)
        request = HostRequest(
            path=path,
            prompt=PROMPT,
            max_tokens=tokens,
            context=len(PROMPT) + tokens + 1,
            threads=threads,
            rounds=rounds + 1,
        )
        done = run_engine(request).rounds[1:]
    predicted = predict(work, machine, layer_s, prompt_tokens=len(PROMPT), tokens=tokens)
    assert predicted.prompt_s is not None  # it is for every model that has a shape
    token_s = [r.token_s for r in done if r.token_s is not None]
    return Native(
        model=name,
        parameters=model.shape.n_parameters,
        weights=stored,
        file_bytes=work.weight_bytes,
        prompt_tokens=len(PROMPT),
        tokens=tokens,
        rounds=rounds,
        threads=threads,
        read_bytes_per_s=machine.read_bytes_per_s,
        matrix_ops_per_s=machine.matrix_ops_per_s,
        layer_s=layer_s,
        predicted_token_s=predicted.token_s,
        measured_token_ms=spread([1e3 * s for s in token_s]),
        measured_over_predicted=statistics.median(token_s) / predicted.token_s,
        predicted_prompt_s=predicted.prompt_s,
        measured_prompt_ms=spread([1e3 * r.prompt_s for r in done]),
    )
