"""A model laid over chips: how it is split, in which number types, and by which engine."""

from dataclasses import dataclass, field

from takt.chips import Accelerator
from takt.errors import UsageError, did_you_mean

__all__ = ["ENGINES", "TYPE_BITS", "Deployment", "Precision"]

# Bits of a stored number; block scales of the micro-scaling types included.
TYPE_BITS = {
    "fp32": 32.0,
    "bf16": 16.0,
    "fp16": 16.0,
    "fp8": 8.0,
    "int8": 8.0,
    "fp4": 4.5,  # NVFP4: one fp8 scale for 16
    "mxfp4": 4.25,  # one 8-bit scale for 32
    "int4": 4.25,  # groups of 64 to 128 with a 16-bit scale and zero
}
# Engines with parameters of their own; any other takes those of "generic".
ENGINES = ("vllm", "sglang", "trtllm", "generic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Stored types: of weights, of routed experts, of the cache; and the type in which products are made.

    `compute` "" follows the weights where the chip can (`Deployment.compute`), else bf16: weights are widened
    on the way in.
    """

    weights: str = "bf16"
    experts: str = ""
    kv: str = "bf16"
    compute: str = ""

    def __post_init__(self) -> None:
        for name in (self.weights, self.experts or "bf16", self.kv, self.compute or "bf16"):
            if name not in TYPE_BITS:
                hint = did_you_mean(name, TYPE_BITS) or f"known types are {', '.join(TYPE_BITS)}"
                raise UsageError(f"no number type '{name}'", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One copy of a model on `tp` × `pp` × `dp` chips.

    - `tp`: chips that share each matrix of attention; `dp`: groups of such chips with users of their own (data-parallel
      attention); `pp`: stages of layers.
    - `ep`: chips over which whole experts are dealt; the rest of `tp` × `dp` cuts each expert.
    - `draft_tokens`: tokens guessed ahead each step, 0 without; `acceptance`: probability that the next guess holds.

    Raises UsageError for a split that can't be.
    """

    chip: Accelerator
    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    precision: Precision = field(default_factory=Precision)
    engine: str = "generic"
    draft_tokens: int = 0
    acceptance: float = 0.0

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "dp", "ep"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.draft_tokens < 0 or not 0.0 <= self.acceptance <= 1.0:
            raise UsageError("drafted tokens are none or more, their acceptance from 0 to 1")
        if (self.tp * self.dp) % self.ep:
            raise UsageError(
                f"experts over {self.ep} chips do not divide tp {self.tp} × dp {self.dp}",
                hint=f"choose ep among the divisors of {self.tp * self.dp}",
            )

    @property
    def n_chips(self) -> int:
        """Chips of the copy."""
        return self.tp * self.pp * self.dp

    @property
    def compute(self) -> str:
        """Type in which products are made."""
        stated, weights = self.precision.compute, self.precision.weights
        if stated:
            return stated
        peak = self.chip.peak
        can = {
            "fp8": peak.fp8_ops_per_s,
            "int8": peak.int8_ops_per_s,
            "fp4": peak.fp4_ops_per_s,
            "mxfp4": peak.fp4_ops_per_s,
            "fp32": peak.fp32_ops_per_s,
        }
        return weights if can.get(weights) else "bf16"
