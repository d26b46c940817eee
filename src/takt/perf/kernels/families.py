"""The families of kernels, the types each is measured in, and the work at a node of a family's table.

Knows no chip and no measurement.
"""

from types import MappingProxyType

import numpy as np

from takt.errors import UsageError, did_you_mean

from .links import COLLECTIVES, collective_work
from .work import (
    Floats,
    Work,
    bytes_of,
    decode_work,
    experts_work,
    gemm_work,
    latent_decode_work,
    latent_prompt_work,
    prompt_work,
)

__all__ = ["FAMILIES", "LINKED", "compute_type", "gemm_type", "siblings", "work_at"]

# Families over links, measured in bytes whatever their type.
LINKED = (*COLLECTIVES, "send", "dispatch_combine")
FAMILIES = (
    "gemm",
    "attention_prompt",
    "attention_decode",
    "latent_prompt",
    "latent_decode",
    "experts",
    "experts_even",
    "elementwise",
    *LINKED,
)
# Types of the matrix products' tables: stored as, multiplied as.
_GEMM = MappingProxyType(
    {
        "fp32": ("fp32", "fp32"),
        "bf16": ("bf16", "bf16"),
        "fp8": ("fp8", "fp8"),
        "fp8_block": ("fp8_block", "fp8"),
        "fp4": ("fp4", "fp4"),
        "mxfp4": ("mxfp4", "fp4"),
        "int8": ("int8", "int8"),
        "int8_wo": ("int8", "bf16"),
        "int4": ("int4", "bf16"),
    }
)
# Weights that are widened on the way to the multipliers: by their width, whatever the format.
_WIDENED = MappingProxyType(
    {
        "int8": "int8_wo",
        "fp8": "int8_wo",
        "fp8_block": "int8_wo",
        "int4": "int4",
        "fp4": "int4",
        "mxfp4": "int4",
    }
)
# Whose efficiencies stand in for those of a type that was not measured, the most alike first.
_SIBLINGS = MappingProxyType(
    {
        "fp32": ("bf16",),
        "fp8_block": ("fp8", "bf16"),
        "fp8": ("fp8_block", "int8", "bf16"),
        "fp4": ("mxfp4", "fp8", "bf16"),
        "mxfp4": ("fp4", "int4", "bf16"),
        "int8": ("fp8", "bf16"),
        "int8_wo": ("int4", "bf16"),
        "int4": ("mxfp4", "int8_wo", "bf16"),
    }
)


def siblings(type_name: str) -> tuple[str, ...]:
    """The type itself and those whose efficiencies may stand in, in order."""
    return (type_name, *_SIBLINGS.get(type_name, ()))


def gemm_type(weights: str, compute: str) -> str:
    """Which table a product belongs to: the weights' type where it is multiplied, else a widened one.

    Weights that are widened to 16 bits count by their width: fp8 as int8, fp4 as int4. Raises UsageError
    for an unknown type.
    """
    bytes_of(weights), bytes_of(compute)
    name = "bf16" if weights == "fp16" else weights
    if compute in ("bf16", "fp16", "fp32") and name not in ("bf16", "fp32"):
        return _WIDENED[name]
    return name


def compute_type(family: str, type_name: str) -> str:
    """The type whose peak bounds a family: attention multiplies in 16 bits whatever the cache is kept in."""
    if family not in FAMILIES:
        hint = did_you_mean(family, FAMILIES) or f"families are {', '.join(FAMILIES)}"
        raise UsageError(f"no family of kernels '{family}'", hint=hint)
    if family == "gemm":
        return _GEMM[type_name][1] if type_name in _GEMM else "bf16"
    if family in ("experts", "experts_even"):
        return "bf16" if type_name in ("int4", "mxfp4", "fp16") else type_name
    return "bf16"


def work_at(family: str, type_name: str, point: tuple[Floats, ...]) -> Work:
    """Work at coordinates of a family's table: any call that has these coordinates."""
    if family == "gemm":
        rows, outs, ins = point
        return gemm_work(rows, outs, ins, *_GEMM[type_name])
    if family == "attention_prompt":
        streams, length, share = point
        return prompt_work(
            streams / 64, length, np.zeros_like(length), 64, 64 * share, 128, type_name
        )
    if family == "attention_decode":
        streams, seen, per_key = point
        return decode_work(streams, seen, per_key, np.ones_like(seen), 128, type_name)
    if family == "latent_prompt":
        streams, length = point
        return latent_prompt_work(streams / 128, length, np.zeros_like(length), 128, type_name)
    if family == "latent_decode":
        users, seen, heads = point
        return latent_decode_work(users, seen, heads, type_name)
    if family in ("experts", "experts_even"):
        # One expert a token, all on one chip: as many tokens as there are pairs.
        per_expert, own, matrix = point
        tokens, even = per_expert * own, family == "experts_even"
        return experts_work(tokens, 4096, matrix / 4096, own, 1, 3, 1, 1, type_name, even)
    if family in COLLECTIVES:
        size, chips = point
        return collective_work(size, chips)
    if family in FAMILIES:  # elementwise, send, dispatch_combine: bytes come first
        return Work(n_bytes=point[0], n_ops=np.zeros_like(point[0]), at=point)
    raise UsageError(f"no family of kernels '{family}'", hint=did_you_mean(family, FAMILIES))
