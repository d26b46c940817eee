"""Which number types a model runs in on a chip: what `auto` means, and what the chip multiplies in.

Knows published habits of serving, not accuracy: whether a model bears fp4 is the user's to know.
"""

from takt.chips import Accelerator
from takt.models.outlines import Outline
from takt.perf import Precision

__all__ = ["choose_precision", "precision_name"]

_WIDE = ("bf16", "fp16", "fp32")
_STORED_ONLY = ("int4", "mxfp4")  # engines keep such weights and multiply in bf16


def choose_precision(model: Outline, chip: Accelerator, wish: str) -> Precision:
    """Types of weights, experts, cache and products.

    `auto`: as published where the publisher quantised (all of the weights or the experts), else fp8 where the chip
    multiplies it, else bf16. Any other wish holds for all weights, multiplied in the narrowest type that the chip has
    for them. The cache is fp8 where weights are narrow floats and the chip has fp8, else bf16.
    """
    if wish != "auto":
        weights, experts = wish, ""
    elif model.stored in _WIDE and not model.stored_experts:
        weights, experts = "fp8" if chip.peak.fp8_ops_per_s else "bf16", ""
    else:
        weights = "bf16" if model.stored in _WIDE else model.stored
        experts = model.stored_experts if model.stored_experts not in _WIDE else "bf16"
    narrow = weights in ("fp8", "fp4") and chip.peak.fp8_ops_per_s is not None
    return Precision(
        weights=weights,
        experts=experts,
        kv="fp8" if narrow else "bf16",
        compute=_multiplied_as(chip, weights),
    )


def precision_name(precision: Precision) -> str:
    """`fp8`; `bf16, experts mxfp4` where they differ."""
    if precision.experts in ("", precision.weights):
        return precision.weights
    return f"{precision.weights}, experts {precision.experts}"


def _multiplied_as(chip: Accelerator, weights: str) -> str:
    """The narrowest type in which the chip multiplies such weights."""
    peak = chip.peak
    if weights in _WIDE or weights in _STORED_ONLY:
        return "bf16"
    if weights == "int8":
        return "int8" if peak.int8_ops_per_s else "bf16"
    if weights == "fp4" and peak.fp4_ops_per_s:
        return "fp4"
    return "fp8" if peak.fp8_ops_per_s else "bf16"
