"""NVIDIA's aiconfigurator: matrix products, attention, experts, collectives and exchanges of ten chips.

Collectives are sized in elements; those launched outside a captured graph ("eager") are left out, as engines
capture decode steps.
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from takt.chips import load_accelerator
from takt.perf.kernels.links import collective_work, deal_work
from takt.perf.kernels.work import (
    decode_work,
    experts_work,
    gemm_work,
    latent_decode_work,
    latent_prompt_work,
    prompt_work,
)

from .columns import CHIPS, Found, each, fastest, newest, read_columns, rows_where, samples_of
from .samples import Key

__all__ = ["GEMM_TYPES", "KV_TYPES", "MEASURED_IN_MODELS", "READERS", "read_gemm"]

GEMM_TYPES = {  # of aiconfigurator: our type, stored and multiplied as
    "bfloat16": ("bf16", "bf16", "bf16"),
    "fp8": ("fp8", "fp8", "fp8"),
    "fp8_block": ("fp8_block", "fp8", "fp8"),
    "nvfp4": ("fp4", "fp4", "fp4"),
    "int4_wo": ("int4", "int4", "bf16"),
    "int8_wo": ("int8_wo", "int8", "bf16"),
    "sq": ("int8", "int8", "int8"),
}
EXPERT_TYPES = {
    "bfloat16": "bf16",
    "fp8_block": "fp8",  # per-tensor fp8 is left out: few published models route that way
    "nvfp4": "fp4",
    "int4_wo": "int4",
    "w4a16_mxfp4": "mxfp4",
    "w4a8_mxfp4_mxfp8": "mxfp4",
}
# LLMServingSim measured these calls in running models. Its figures stand where aiconfigurator's loop finds the caches of its
# users in the chip's own 128 MB (16 users of 1,024 positions: 38 µs, in a model 60).
MEASURED_IN_MODELS = Key(
    chip="rtx-pro-6000", family="attention_decode", type_name="bf16", engine="vllm"
)
KV_TYPES = {"bfloat16": "bf16", "fp8": "fp8"}
COLLECTIVE_NAMES = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}


def read_gemm(folder: Path) -> Found:
    table = newest(read_columns(folder / "aic_gemm.csv.gz"), ("system", "framework", "gemm_dtype"))
    for (system, engine, dtype), part in each(table, "system", "framework", "gemm_dtype"):
        name, stored, multiplied = GEMM_TYPES[dtype]
        work = gemm_work(part["m"], part["n"], part["k"], stored, multiplied)
        source = "aiconfigurator@095f58a"
        yield (
            Key(chip=CHIPS[system], family="gemm", type_name=name, engine=engine),
            samples_of(work, part, "latency_ms", 1e-3, source),
        )


def read_attention(folder: Path) -> Found:
    table = read_columns(folder / "aic_attention.csv.gz")
    table = newest(table, ("system", "framework", "phase", "kv_cache_dtype"))
    for values, part in each(table, "system", "framework", "phase", "kv_cache_dtype"):
        system, engine, phase, dtype = values
        sizes = [part[c] for c in ("num_heads", "num_kv_heads", "head_dim")]
        batch, length, kv = part["batch_size"], part["seq_len_tokens"], KV_TYPES[dtype]
        if phase == "context":
            work, family = (
                prompt_work(batch, length, np.zeros(len(batch)), *sizes, kv),
                "attention_prompt",
            )
        else:
            work, family = decode_work(batch, length, *sizes, kv), "attention_decode"
        key = Key(chip=CHIPS[system], family=family, type_name=kv, engine=engine)
        found = samples_of(work, part, "latency_ms", 1e-3, "aiconfigurator@095f58a")
        if key == MEASURED_IN_MODELS:
            cache_bytes = load_accelerator(key.chip).memory.on_chip_bytes
            found = found.take(found.work.n_bytes > cache_bytes)
        yield key, found


def read_latent(folder: Path) -> Found:
    table = read_columns(folder / "aic_mla.csv.gz")
    table = newest(table, ("system", "framework", "phase", "kv_cache_dtype"))
    for values, part in each(table, "system", "framework", "phase", "kv_cache_dtype"):
        system, engine, phase, dtype = values
        batch, length, heads = (part[c] for c in ("batch_size", "seq_len_tokens", "num_heads"))
        kv = KV_TYPES[dtype]
        if phase == "context":
            work, family = (
                latent_prompt_work(batch, length, np.zeros(len(batch)), heads, kv),
                "latent_prompt",
            )
        else:
            work, family = latent_decode_work(batch, length, heads, kv), "latent_decode"
        yield (
            Key(chip=CHIPS[system], family=family, type_name=kv, engine=engine),
            samples_of(work, part, "latency_ms", 1e-3, "aiconfigurator@095f58a"),
        )


def read_experts(folder: Path) -> Found:
    table = read_columns(folder / "aic_moe.csv.gz")
    table = newest(table, ("system", "framework", "moe_dtype"))
    for values, part in each(table, "system", "framework", "moe_dtype", "distribution"):
        system, engine, dtype, distribution = values
        if dtype not in EXPERT_TYPES:
            continue
        kind = EXPERT_TYPES[dtype]
        even = distribution == "balanced"
        work = experts_work(
            *(part[c] for c in ("num_tokens", "hidden_size", "inter_size", "num_experts", "topk")),
            3,
            part["moe_tp_size"],
            part["moe_ep_size"],
            kind,
            even,
        )
        family = "experts_even" if even else "experts"
        yield (
            Key(chip=CHIPS[system], family=family, type_name=kind, engine=engine),
            samples_of(work, part, "latency_ms", 1e-3, "aiconfigurator@095f58a"),
        )


def read_collectives(folder: Path) -> Found:
    table = read_columns(folder / "aic_collectives.csv.gz")
    eager = np.char.find(table["kernel_source"].astype(str), "eager") >= 0
    table = rows_where(table, ~eager)
    table = newest(table, ("system", "framework", "op_name"))
    width = {"half": 2, "bfloat16": 2, "int8": 1}
    for (system, engine, op), part in each(table, "system", "framework", "op_name"):
        size = part["message_size_elements"] * np.array([width[d] for d in part["dtype"]])
        yield (
            Key(
                chip=CHIPS[system],
                family=COLLECTIVE_NAMES[op],
                type_name="bf16",
                engine=engine,
            ),
            samples_of(
                collective_work(size, part["num_gpus"]),
                part,
                "latency_ms",
                1e-3,
                "aiconfigurator@095f58a",
            ),
        )


def read_exchange(folder: Path) -> Found:
    """Dispatch and combine of one way of doing it count together, the best number of SMs and the best way count."""
    table = read_columns(folder / "aic_moe_alltoall.csv.gz")
    ways = [re.sub(r"_(dispatch|combine|prepare)", "", op) for op in table["op"]]
    # The combine in low precision is a way of its own; it shares its dispatch with the plain one: left out.
    table["way"] = np.array(ways)
    table = rows_where(table, np.char.find(table["op"].astype(str), "low_precision") < 0)
    for name in ("sms", "node_num", "moe_ep_size"):
        table[name] = np.nan_to_num(table[name].astype(float))
    call = (
        "hidden_size",
        "num_token",
        "num_topk",
        "num_experts",
        "node_num",
        "moe_ep_size",
        "sms",
        "distribution",
        "framework_version",
    )
    for (system, engine, _), part in each(table, "system", "framework", "way"):
        stages = len(np.unique(part["op"]))
        rows, columns = [], [part[c] for c in call]
        calls = defaultdict(list)
        for index, values in enumerate(zip(*columns, strict=True)):
            calls[values].append(index)
        for values, indices in calls.items():
            if len({part["op"][i] for i in indices}) == stages:
                seconds = sum(
                    min(part["latency_us"][i] for i in indices if part["op"][i] == op)
                    for op in np.unique(part["op"])
                )
                rows.append((*values[:6], seconds * 1e-6))
        if not rows:
            continue
        sizes = np.array(rows, dtype=float)
        per_node = 4 if system in ("gb200", "gb300") else 8
        chips = np.where(sizes[:, 5] > 0, sizes[:, 5], sizes[:, 4] * per_node)
        work = deal_work(sizes[:, 1], sizes[:, 0], sizes[:, 2], chips)
        yield (
            Key(chip=CHIPS[system], family="dispatch_combine", type_name="bf16", engine=engine),
            fastest(work, sizes[:, 6], np.full(len(sizes), ""), "aiconfigurator@095f58a"),
        )


READERS = (
    read_gemm,
    read_attention,
    read_latent,
    read_experts,
    read_collectives,
    read_exchange,
)
