"""The raw files of kernel measurements, each read into samples; what its README warns of is handled here.

- Several kernels of one engine for one call: the fastest counts, as engines choose by such tables themselves.
- Several versions of an engine: the newest that has the table counts.
- Collectives are sized in elements; launches outside a captured graph ("eager") are left out, as engines
  capture decode steps.
- aiter's times are the best of a tuner's search: the basis says so.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import csv

from takt.perf.kernels.links import collective_work, deal_work, send_work
from takt.perf.kernels.work import (
    Work,
    decode_work,
    elementwise_work,
    experts_work,
    gemm_work,
    latent_decode_work,
    latent_prompt_work,
    prompt_work,
)

from .samples import Key, Samples, merged

__all__ = ["CHIPS", "Table", "read_all", "read_columns"]

Table = dict[str, NDArray]  # type: ignore[type-arg]
Found = Iterator[tuple[Key, Samples]]

# The chip of the catalogue that each device of the raw files is.
CHIPS = {
    "a100_sxm": "a100-sxm",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200-sxm",
    "b300_sxm": "b300-sxm",
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000",
    "b60": "arc-b60",
    "MI300X/MI325X": "mi300x",
    "MI308X": "mi308x",
    "MI350X/MI355X": "mi355x",
    "gfx1250 256CU": "mi455x",
    "a100": "a100-sxm",
    "a40": "a40",
    "h100": "h100-sxm",
    "RTX4090": "rtx-4090",
    "RTX3090": "rtx-3090",
    "A6000": "rtx-a6000",
    "H100": "h100-sxm",
    "RTXPRO6000": "rtx-pro-6000",
    "TPU-v6e-1": "tpu-v6e",
    "H800": "h800",
    "Google TPU7x (1 of 2 chiplets per chip)": "tpu7x",
    "AWS Trainium3 (2 of 8 NeuronCores, LNC2)": "trainium3",
    "a100_dgx": "a100-sxm",
    "h100_dgx": "h100-sxm",
    "a40_pairwise_nvlink": "a40",
}
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
KV_TYPES = {"bfloat16": "bf16", "fp8": "fp8"}
COLLECTIVE_NAMES = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}


def read_columns(path: Path) -> Table:
    """Columns of a CSV file, gz or not, as numpy arrays; texts as str."""
    table = csv.read_csv(path)
    columns = {}
    for name in table.column_names:
        column = table[name].to_numpy(zero_copy_only=False)
        columns[name] = column.astype(str) if column.dtype == object else column
    return columns


def rows_where(table: Table, keep: NDArray[np.bool_]) -> Table:
    """The rows for which `keep` holds."""
    return {name: column[keep] for name, column in table.items()}


def version_key(text: str) -> tuple[int, ...]:
    """`1.3.0rc20` after `1.3.0rc15` after `0.24.0`."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def newest(table: Table, by: tuple[str, ...]) -> Table:
    """Rows of the newest engine version for each combination of `by`; older ones where no newer has the table."""
    labels = np.array(
        ["|".join(row) for row in zip(*(table[c].astype(str) for c in by), strict=True)]
    )
    keep = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        here = labels == label
        versions = np.unique(table["framework_version"][here].astype(str))
        keep |= here & (table["framework_version"].astype(str) == max(versions, key=version_key))
    return rows_where(table, keep)


def fastest(work: Work, seconds: NDArray, groups: NDArray, source: str) -> Samples:  # type: ignore[type-arg]
    """One sample a point and group: the least time among kernels for the same call."""
    points = np.stack([*np.broadcast_arrays(*work.at), work.n_bytes, work.n_ops], axis=1)
    _, place = np.unique(np.round(points, 6), axis=0, return_inverse=True)
    order = np.lexsort((seconds, place))
    first = order[np.unique(place[order], return_index=True)[1]]
    full = Samples(work=work, seconds=seconds, groups=groups, source=source)
    return full.take(np.sort(first))


def each(table: Table, *columns: str) -> Iterator[tuple[tuple[str, ...], Table]]:
    """Parts of a table with equal values in `columns`."""
    parts = defaultdict(list)
    for index, values in enumerate(zip(*(table[c] for c in columns), strict=True)):
        parts[tuple(str(value) for value in values)].append(index)
    for values in sorted(parts):
        yield values, {name: column[parts[values]] for name, column in table.items()}


def _samples(work: Work, part: Table, column: str, unit: float, source: str) -> Samples:
    groups = part["model_shape"] if "model_shape" in part else np.full(len(part[column]), "")
    return fastest(work, part[column].astype(float) * unit, groups.astype(str), source)


def read_gemm(folder: Path) -> Found:
    table = newest(read_columns(folder / "aic_gemm.csv.gz"), ("system", "framework", "gemm_dtype"))
    for (system, engine, dtype), part in each(table, "system", "framework", "gemm_dtype"):
        name, stored, multiplied = GEMM_TYPES[dtype]
        work = gemm_work(part["m"], part["n"], part["k"], stored, multiplied)
        source = "aiconfigurator@095f58a"
        yield (
            Key(chip=CHIPS[system], family="gemm", type_name=name, engine=engine),
            _samples(work, part, "latency_ms", 1e-3, source),
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
        yield (
            Key(chip=CHIPS[system], family=family, type_name=kv, engine=engine),
            _samples(work, part, "latency_ms", 1e-3, "aiconfigurator@095f58a"),
        )


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
            _samples(work, part, "latency_ms", 1e-3, "aiconfigurator@095f58a"),
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
            _samples(work, part, "latency_ms", 1e-3, "aiconfigurator@095f58a"),
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
            _samples(
                collective_work(size, part["num_gpus"]),
                part,
                "latency_ms",
                1e-3,
                "aiconfigurator@095f58a",
            ),
        )


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
            _samples(work, part, "median_ms", 1e-3, "vidur@7d47513"),
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
    measured = {"a100-sxm", "h100-sxm", "rtx-pro-6000"}
    for key, samples in _layers(rows, "LLMServingSim@5daddb2"):
        if key.chip not in measured:
            yield key, samples


AITER_TYPES = {"bf16": "bf16", "fp8 blockscale": "fp8_block", "fp4": "fp4", "mxfp4": "fp4"}
AITER = "aiter@e404860 (best of a tuner's search)"
MOST = 4000
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
            _samples(work, part, "latency_us", 1e-6, AITER),
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
    # Those of the MI400 family are of software before release: 0.4 ms for any small call.
    known = np.isin(table["device"], list(CHIPS)) & (table["gfx"] != "gfx1250")
    table = rows_where(table, known & (table["topk"] > 0))
    pairs = zip(table["dtype_w"], table["dtype_act"], strict=True)
    table["kind"] = np.array([_aiter_expert_type(str(w), str(a)) for w, a in pairs])
    for (device, kind), part in each(table, "device", "kind"):
        sizes = [part[c] for c in ("tokens", "model_dim", "inter_dim", "experts", "topk")]
        for family, even in (("experts", False), ("experts_even", True)):
            work = experts_work(*sizes, 3, 1, 1, kind, even)
            yield (
                Key(chip=CHIPS[device], family=family, type_name=kind),
                _samples(work, part, "latency_us", 1e-6, f"{AITER}, even routing"),
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
            _samples(work, part, "p50_us", 1e-6, source),
        )


def read_simulator_attention(folder: Path) -> Found:
    """Decode steps on the RTX 4090. The other chips' rows leave unsaid what their context counts (the A6000's
    would be 30 times faster than its memory), and batches that mix prompts and tokens are no call of a family."""
    table = read_columns(folder / "llmservingsim_attention.csv.gz")
    keep = (table["gpu"] == "RTX4090") & (table["is_prefill"].astype(str) == "False")
    rows = []
    part = rows_where(table, keep)
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
    yield (
        Key(chip="rtx-4090", family="attention_decode", type_name="bf16"),
        fastest(
            decode_work(batch, seen, heads, kv_heads, width, "bf16"),
            seconds,
            np.full(len(batch), ""),
            "LLMServingSim@5daddb2",
        ),
    )


READERS: tuple[Callable[[Path], Found], ...] = (
    read_gemm,
    read_attention,
    read_latent,
    read_experts,
    read_collectives,
    read_vidur_links,
    read_exchange,
    read_vidur_layers,
    read_simulator_layers,
    read_aiter_gemm,
    read_aiter_experts,
    read_operatorx,
    read_simulator_attention,
)


def read_all(folder: Path) -> dict[Key, Samples]:
    """Samples of every raw file in `folder`."""
    found: dict[Key, list[Samples]] = defaultdict(list)
    for reader in READERS:
        for key, samples in reader(folder):
            found[key].append(samples)
    return {key: _thinned(_one(found[key])) for key in sorted(found)}


def _thinned(samples: Samples) -> Samples:
    """At most MOST samples, evenly taken: aiter's tuner went through every row count of a few shapes."""
    step = -(-len(samples) // MOST)
    return samples.take(np.arange(0, len(samples), step)) if step > 1 else samples


def _one(parts: list[Samples]) -> Samples:
    if len(parts) == 1:
        return parts[0]
    joined = merged(parts)
    return fastest(joined.work, joined.seconds, joined.groups, joined.source)
