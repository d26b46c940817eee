"""How long one block of queries takes past each cached position, where too few blocks fill the chip.

Kernels for prompts give each block of queries to one multiprocessor, which walks all cached positions. Few new
tokens after a long context make few blocks, and the walk then sets the time, whatever the chip's peak. Fitted on
LLMServingSim's chunks after cached positions (RTX PRO 6000, RTX 4090); in operations a position, so that a chip
of a higher peak walks faster.
"""

from pathlib import Path

import numpy as np

from takt.chips import load_accelerator
from takt.perf.kernels.surface import Surface
from takt.perf.kernels.work import Floats, prompt_work

from .columns import CHIPS, read_columns, rows_where
from .raw_layers import MODELS
from .samples import Key
from .tables import FitRow, TableRow

__all__ = ["walk_fits"]

_TRIALS = np.geomspace(1e6, 5e7, 200)
_GPUS = ("RTXPRO6000", "RTX4090")
_STAND_IN = {
    "rtx-4090": "l40s"
}  # whose table of fresh prompts is carried over in the catalogue, too


def _calls(folder: Path, gpu: str) -> list[tuple[float, ...]]:
    table = read_columns(folder / "llmservingsim_attention.csv.gz")
    chunks = (table["gpu"] == gpu) & (table["is_prefill"].astype(str) == "True")
    alone = ~(np.nan_to_num(table["n_decode"].astype(float)) > 0) & (table["kv_cache_tokens"] > 0)
    part = rows_where(table, chunks & alone)
    found = []
    for i, model in enumerate(part["model"]):
        if str(model) in MODELS:
            _, _, heads, kv_heads, width, _ = MODELS[str(model)]
            tp = int(part["tp"][i])
            sizes = (
                part["batch_size"][i],
                part["prefill_chunk_tokens"][i],
                part["kv_cache_tokens"][i],
            )
            found.append((*sizes, heads / tp, kv_heads / tp, width, part["median_us"][i] * 1e-6))
    return found


def _away(
    walk: float, peak: float, equal_pairs: Floats, context: Floats, seconds: Floats
) -> Floats:
    guess = np.maximum(equal_pairs, walk / peak * context)
    return np.abs(guess / seconds - 1)


def walk_fits(folder: Path, tables: list[TableRow]) -> list[FitRow]:
    """Operations a position, by chip and over both; errors with the walk, on the other chip for the joint one."""
    surfaces: dict[Key, Surface] = {row.key: row.surface for row in tables}
    sets = {}
    for gpu in _GPUS:
        chip = CHIPS[gpu]
        key = Key(chip=_STAND_IN.get(chip, chip), family="attention_prompt", type_name="bf16")
        batch, new, seen, heads, kv_heads, width, seconds = np.array(_calls(folder, gpu)).T
        work = prompt_work(batch, new, seen, heads, kv_heads, width, "bf16")
        peak = load_accelerator(chip).ops_per_s("bf16")
        sets[chip] = (peak, surfaces[key].time_s(work.at), seen, seconds)
    best = {chip: _best([calls]) for chip, calls in sets.items()}
    out = [
        _row(chip, best[chip], float(np.median(_away(best[chip], *calls))), len(calls[3]))
        for chip, calls in sets.items()
    ]
    others = [
        float(np.median(_away(best[other], *calls)))
        for chip, calls in sets.items()
        for other in sets
        if other != chip
    ]
    joint = _best(list(sets.values()))
    return [*out, _row("", joint, max(others), sum(len(calls[3]) for calls in sets.values()))]


def _best(sets: list[tuple[float, Floats, Floats, Floats]]) -> float:
    errors = [np.mean([np.median(_away(walk, *calls)) for calls in sets]) for walk in _TRIALS]
    return float(_TRIALS[int(np.argmin(errors))])


def _row(chip: str, walk: float, error: float, n: int) -> FitRow:
    return FitRow(
        chip=chip,
        family="prompt_walk",
        type_name="any",
        parameters=(walk,),
        error=error,
        n_samples=n,
    )
