"""In which type a checkpoint keeps its weights, as its quantisation config says: that of most, and that of the experts.

Knows the ways of fp8, mxfp4, AWQ, GPTQ, compressed-tensors, ModelOpt and Quark. What it does not know it leaves at
the type of the unquantised weights.
"""

import re

from .fields import Fields

__all__ = ["TYPES", "stored_types"]

TYPES = ("bf16", "fp8", "fp4", "mxfp4", "int4", "int8", "fp32")

_DTYPES = {"float32": "fp32", "float16": "bf16", "bfloat16": "bf16", "float8_e4m3fn": "fp8"}
# An entry of a list of what is not quantised that means whole attention projections, not an index or a norm in them.
_ATTENTION = re.compile(r"(attn|attention)(\.?\*|\$)?$|(attn|attention)\.(\*|(?!index)[a-z_]*proj)")


def stored_types(
    top: Fields, text: Fields, other: Fields | None, *, routes: bool
) -> tuple[str, str]:
    """(stored, stored_experts) of an outline; `other` is the separate quantisation file, if any."""
    plain = _DTYPES.get(
        text.text("torch_dtype", "dtype") or top.text("torch_dtype", "dtype"), "bf16"
    )
    quant = top.part("quantization_config") or text.part("quantization_config")
    if quant is None and other is not None:
        quant = other.part("quantization") or other
    most, experts = (plain, "") if quant is None else _quantised(quant, plain, routes=routes)
    stated = _DTYPES.get(text.text("expert_dtype"), text.text("expert_dtype"))
    if routes and stated in TYPES:
        experts = stated
    return most, experts if routes and experts != most else ""


def _quantised(quant: Fields, plain: str, *, routes: bool) -> tuple[str, str]:
    method = quant.text("quant_method").lower()
    if method == "mxfp4":
        return plain, "mxfp4"
    if quant.has("quantized_layers"):
        return _by_layer(quant, plain, routes=routes)
    groups = quant.part("config_groups")
    if groups is not None:
        found = [_group_type(group) for group in groups.values()]
        return _spread([t for t in found if t], quant, plain, routes=routes)
    name = _named_type(quant.text("quant_algo") or method, quant)
    return _spread([name] if name else [], quant, plain, routes=routes)


def _spread(types: list[str], quant: Fields, plain: str, *, routes: bool) -> tuple[str, str]:
    """Types of one or two groups of layers as (most, experts)."""
    if not types:
        return plain, ""
    wide, narrow = max(types, key=_bits), min(types, key=_bits)
    if wide != narrow:
        return (wide, narrow) if routes else (narrow, "")
    if routes and _keeps_attention(quant):
        return plain, narrow
    return narrow, narrow


def _bits(name: str) -> int:
    return int(re.sub(r"\D", "", name))


def _by_layer(quant: Fields, plain: str, *, routes: bool) -> tuple[str, str]:
    """ModelOpt's mixed precision, which names every layer."""
    layers = quant.part("quantized_layers")
    names = layers.items() if layers else ()
    most: list[str] = []
    experts: list[str] = []
    for layer, fields in names:
        kind = _named_type(fields.text("quant_algo"), fields)
        if kind:
            (experts if "experts" in layer and "shared" not in layer else most).append(kind)
    if not routes:
        return (min(most, key=_bits) if most else plain), ""
    wide = max(most, key=most.count) if most else plain
    return wide, max(experts, key=experts.count) if experts else ""


def _group_type(group: Fields) -> str:
    weights = group.part("weights")
    if weights is None:
        return ""
    bits = weights.integer("num_bits", default=16, high=64)
    kind = "int" if weights.text("type") == "int" else "fp"
    name = f"{kind}{bits}"
    return name if name in TYPES else "int4" if bits < 8 else ""


def _named_type(name: str, quant: Fields) -> str:
    """The type behind a quantisation's name, "" for an unknown one."""
    name = name.lower()
    if "mxfp4" in name:
        return "mxfp4"
    if "fp4" in name or name == "w4a4":
        return "fp4"
    if "fp8" in name or name == "fbgemm_fp8":
        return "fp8"
    if name == "quark":
        weight = quant.part("global_quant_config")
        weight = weight.part("weight") if weight else None
        return _named_type(weight.text("dtype") if weight else "", quant)
    if (
        name in ("awq", "gptq", "auto-round", "bitsandbytes", "aqlm", "hqq")
        or "int4" in name
        or "w4a" in name
    ):
        bits = quant.integer(
            "bits", "w_bit", default=8 if quant.flag("load_in_8bit") else 4, high=64
        )
        return "int8" if bits == 8 else "int4"
    return "int8" if "int8" in name or "w8a8" in name else ""


def _keeps_attention(quant: Fields) -> bool:
    names = quant.strings("ignore", "exclude_modules", "modules_to_not_convert") or ()
    return any(_ATTENTION.search(name) for name in names)
