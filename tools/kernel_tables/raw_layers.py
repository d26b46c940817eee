"""Vidur and LLMServingSim: layers of models as they ran, on chips that aiconfigurator has not.

A projection is a matrix product, a norm or an activation a pass over memory.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from takt.perf.kernels.links import collective_work, send_work
from takt.perf.kernels.work import decode_work, elementwise_work, gemm_work

from .columns import CHIPS, Found, Table, each, fastest, read_columns, rows_where, samples_of
from .raw_aiconfigurator import MEASURED_IN_MODELS
from .samples import Key, Samples

__all__ = ["READERS"]

# Hidden width, feed-forward width, heads, heads of keys, head width, vocabulary (from the models' config.json).
MODELS = {
    "meta-llama/Llama-3.1-8B": (4096, 14336, 32, 8, 128, 128256),
    "meta-llama/Llama-3.1-70B": (8192, 28672, 64, 8, 128, 128256),
    "Qwen/Qwen3-32B": (5120, 25600, 64, 8, 128, 151936),
}
_PASSES = {  # reads and writes of 16-bit numbers, of the hidden or the feed-forward width
    "input_layernorm": ("hidden", 2),
    "post_attention_layernorm": ("hidden", 2),
    "post_layernorm": ("hidden", 2),
    "layernorm": ("hidden", 2),
    "final_layernorm": ("hidden", 2),
    "add": ("hidden", 3),
    "mlp_act": ("ffn", 3),
    "act_fn": ("ffn", 3),
}


def _layer_gemm(layer: str, sizes: tuple[int, ...], tp: int) -> tuple[int, int] | None:
    """(n, k) of a projection as one chip of `tp` computes it."""
    hidden, ffn, heads, kv_heads, width, vocab = sizes
    return {
        "q_proj": (heads * width // tp, hidden),
        "k_proj": (kv_heads * width // tp, hidden),
        "v_proj": (kv_heads * width // tp, hidden),
        "qkv_proj": ((heads + 2 * kv_heads) * width // tp, hidden),
        "attn_pre_proj": ((heads + 2 * kv_heads) * width // tp, hidden),
        "o_proj": (hidden, heads * width // tp),
        "attn_post_proj": (hidden, heads * width // tp),
        "gate_proj": (ffn // tp, hidden),
        "up_proj": (ffn // tp, hidden),
        "gate_up_proj": (2 * ffn // tp, hidden),
        "mlp_up_proj": (2 * ffn // tp, hidden),
        "down_proj": (hidden, ffn // tp),
        "mlp_down_proj": (hidden, ffn // tp),
        "lm_head": (vocab // tp, hidden),
    }.get(layer)


def _layers(rows: list[tuple[str, str, tuple[int, ...], int, float, float]], source: str) -> Found:
    """Layers (chip, name, sizes, tp, tokens, seconds) as matrix products and as passes over memory."""
    gemms, passes = defaultdict(list), defaultdict(list)
    for chip, layer, sizes, tp, tokens, seconds in rows:
        shape = _layer_gemm(layer, sizes, tp)
        if shape is not None:
            gemms[chip].append((tokens, *shape, seconds))
        elif layer in _PASSES:
            kind, times = _PASSES[layer]
            width = sizes[0] if kind == "hidden" else sizes[1] / tp
            passes[chip].append((tokens * width * 2 * times, seconds))
    for chip, found in sorted(gemms.items()):
        m, n, k, seconds = np.array(found, dtype=float).T
        work = gemm_work(m, n, k, "bf16", "bf16")
        yield (
            Key(chip=chip, family="gemm", type_name="bf16"),
            fastest(work, seconds, np.full(len(m), ""), source),
        )
    for chip, found in sorted(passes.items()):
        moved, seconds = np.array(found, dtype=float).T
        yield (
            Key(chip=chip, family="elementwise", type_name="bf16"),
            fastest(elementwise_work(moved), seconds, np.full(len(moved), ""), source),
        )


def read_vidur_layers(folder: Path) -> Found:
    table = read_columns(folder / "vidur_layer_ops.csv.gz")
    table = rows_where(table, table["model"] != "microsoft/phi-2")  # its feed-forward is not gated
    rows = []
    for i in range(len(table["op"])):
        hidden, heads, kv_heads = (int(table[c][i]) for c in ("hidden", "n_head", "n_kv_head"))
        sizes = (hidden, int(table["ffn_hidden"][i]), heads, kv_heads, hidden // heads, 0)
        chip = CHIPS[str(table["gpu"][i])]
        rows.append(
            (
                chip,
                str(table["op"][i]),
                sizes,
                int(table["tp"][i]),
                float(table["num_tokens"][i]),
                float(table["median_ms"][i]) * 1e-3,
            )
        )
    measured = {"a100-sxm", "h100-sxm"}  # matrix products of these: aiconfigurator's tables
    for key, samples in _layers(rows, "vidur@7d47513"):
        if key.family == "elementwise" or key.chip not in measured:
            yield key, samples


def read_simulator_layers(folder: Path) -> Found:
    table = read_columns(folder / "llmservingsim_layers.csv.gz")
    rows = []
    for i in range(len(table["layer"])):
        model = str(table["model"][i])
        if model in MODELS:
            chip = CHIPS[str(table["gpu"][i])]
            rows.append(
                (
                    chip,
                    str(table["layer"][i]),
                    MODELS[model],
                    int(table["tp"][i]),
                    float(table["tokens"][i]),
                    float(table["latency_us"][i]) * 1e-6,
                )
            )
    for key, samples in _layers(rows, "LLMServingSim@5daddb2"):
        passes = key.family == "elementwise"
        if key.chip not in {"a100-sxm", "h100-sxm", *(() if passes else ("rtx-pro-6000",))}:
            yield key, samples


def read_vidur_links(folder: Path) -> Found:
    table = read_columns(folder / "vidur_collectives.csv")
    table = rows_where(
        table, (table["devices_per_node"] > 1) & (table["num_workers"] <= table["devices_per_node"])
    )
    for (topology, op), part in each(table, "topology", "op"):
        if topology not in CHIPS or (op == "all_reduce" and CHIPS[topology] != "a40"):
            continue  # the rest has aiconfigurator's tables, of newer libraries
        if op == "send_recv":
            work, family = send_work(part["size_bytes"]), "send"
        else:
            work, family = collective_work(part["size_bytes"], part["num_workers"]), "all_reduce"
        yield (
            Key(chip=CHIPS[topology], family=family, type_name="bf16"),
            samples_of(work, part, "median_ms", 1e-3, "vidur@7d47513"),
        )


def read_simulator_attention(folder: Path) -> Found:
    """Decode steps on the RTX 4090 and the RTX PRO 6000. The other chips' rows leave unsaid what their context counts
    (the A6000's would be 30 times faster than its memory)."""
    table = read_columns(folder / "llmservingsim_attention.csv.gz")
    table = rows_where(table, table["is_prefill"].astype(str) == "False")
    yield (
        Key(chip="rtx-4090", family="attention_decode", type_name="bf16"),
        _decodes(table, "RTX4090"),
    )
    yield MEASURED_IN_MODELS, _decodes(table, "RTXPRO6000")


def _decodes(table: Table, gpu: str) -> Samples:
    rows = []
    part = rows_where(table, table["gpu"] == gpu)
    for i in range(len(part["model"])):
        model = str(part["model"][i])
        if model in MODELS:
            _, _, heads, kv_heads, width, _ = MODELS[model]
            tp = int(part["tp"][i])
            sizes = (
                part["batch_size"][i],
                max(part["kv_cache_tokens"][i], 1),
                heads / tp,
                kv_heads / tp,
                width,
            )
            rows.append((*sizes, part["median_us"][i] * 1e-6))
    batch, seen, heads, kv_heads, width, seconds = np.array(rows, dtype=float).T
    work = decode_work(batch, seen, heads, kv_heads, width, "bf16")
    return fastest(work, seconds, np.full(len(batch), ""), "LLMServingSim@5daddb2")


READERS = (read_vidur_layers, read_vidur_links, read_simulator_layers, read_simulator_attention)
