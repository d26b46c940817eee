"""AMD's aiter (the best of a tuner's search, and its basis says so) and SemiAnalysis' operatorx.

aiter's figures of the MI400 family (gfx1250) are of software before release (0.4 ms for any small call of experts,
a seventh of the peak for large products) and left out.
"""

from pathlib import Path

import numpy as np

from takt.perf.kernels.work import experts_work, gemm_work

from .columns import CHIPS, Found, each, read_columns, rows_where, samples_of
from .samples import Key

__all__ = ["READERS"]

AITER_TYPES = {"bf16": "bf16", "fp8 blockscale": "fp8_block", "fp4": "fp4", "mxfp4": "fp4"}
AITER = "aiter@e404860 (best of a tuner's search)"
LARGEST_M = 131072  # beyond are sizes of no step


def read_aiter_gemm(folder: Path) -> Found:
    table = read_columns(folder / "aiter_amd_gemm.csv.gz")
    known = np.isin(table["device"], list(CHIPS))
    table = rows_where(table, known & (table["batch"] == 1) & (table["m"] <= LARGEST_M))
    kinds = [
        AITER_TYPES.get(str(dtype), "int8" if "int8" in str(weights) else "fp8")
        for dtype, weights in zip(table["dtype"], table["q_dtype_w"], strict=True)
    ]
    table["kind"] = np.array(kinds)
    for (device, kind), part in each(table, "device", "kind"):
        stored = "fp8" if kind == "fp8_block" else kind
        work = gemm_work(part["m"], part["n"], part["k"], stored, stored)
        yield (
            Key(chip=CHIPS[device], family="gemm", type_name=kind),
            samples_of(work, part, "latency_us", 1e-6, AITER),
        )


def _aiter_expert_type(weights: str, inputs: str) -> str:
    if "float4" in weights:
        return "fp4" if "float4" in inputs else "mxfp4"
    if "int4" in weights:
        return "int4"
    return "fp8" if "float8" in weights or "int8" in weights else "bf16"


def read_aiter_experts(folder: Path) -> Found:
    """Tuned with even routing on one chip; it stands for uneven routing too, whose own counts differ."""
    table = read_columns(folder / "aiter_amd_moe.csv")
    known = np.isin(table["device"], list(CHIPS))
    table = rows_where(table, known & (table["topk"] > 0))
    pairs = zip(table["dtype_w"], table["dtype_act"], strict=True)
    table["kind"] = np.array([_aiter_expert_type(str(w), str(a)) for w, a in pairs])
    for (device, kind), part in each(table, "device", "kind"):
        sizes = [part[c] for c in ("tokens", "model_dim", "inter_dim", "experts", "topk")]
        for family, even in (("experts", False), ("experts_even", True)):
            work = experts_work(*sizes, 3, 1, 1, kind, even)
            yield (
                Key(chip=CHIPS[device], family=family, type_name=kind),
                samples_of(work, part, "latency_us", 1e-6, f"{AITER}, even routing"),
            )


def read_operatorx(folder: Path) -> Found:
    """Parts of a chip were measured: all parts side by side make as many more columns in the same time."""
    table = read_columns(folder / "operatorx_gemm_tpu7x_trn3.csv")
    parts_per_chip = {"tpu7x": 2, "trainium3": 4}
    for (device,), part in each(table, "accelerator"):
        chip = CHIPS[device]
        columns = part["exec_n"] * parts_per_chip[chip]
        work = gemm_work(part["exec_m"], columns, part["exec_k"], "bf16", "bf16")
        source = f"InferenceX operatorx, one of {parts_per_chip[chip]} parts of a chip"
        yield (
            Key(chip=chip, family="gemm", type_name="bf16"),
            samples_of(work, part, "p50_us", 1e-6, source),
        )


READERS = (read_aiter_gemm, read_aiter_experts, read_operatorx)
