"""A chip that is no LPU, as the rest of Takt sees it: typed numbers, each with the fact behind it.

``chip.memory.bytes_per_s`` is the number, ``chip.fact("memory.bytes_per_s")`` the row with source;
``chip.ops_per_s("fp8")`` is the peak that products of that type get.

Knows nothing of files (``read_accelerator``) nor of what a kernel really reaches (room ``perf``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from takt.chips.accelerator_schema import SPECS, Memory, Peak, Power, Price, ScaleOut, ScaleUp
from takt.chips.chip import Fact
from takt.errors import UsageError, did_you_mean

__all__ = ["Accelerator"]

# What each type of operand is multiplied as: itself first, then wider types that hold its values.
_WIDER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fp32": ("fp32",),
        "bf16": ("half",),
        "fp16": ("half",),
        "fp8": ("fp8", "half"),
        "int8": ("int8", "half"),
        "int4": ("half",),  # engines keep the weights only in int4, and widen them
        "fp4": ("fp4", "fp8", "half"),
        "mxfp4": ("fp4", "fp8", "half"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A GPU, TPU, CPU socket, wafer, …: one chip, card or package as measurements count it.

    - `kind`: "gpu", "cpu", … as its file says, else "accelerator".
    - `nearest`: id of the measured chip whose efficiencies stand in where this one has no
      measurements; its own id where none is alike.
    - `aliases`: other spellings of its name, as measurement files have them.

    Two with equal numbers and names are equal, whatever their sources say. Only facts that the file
    states are in `facts`; a number without one is None.
    """

    id: str
    name: str
    kind: str
    vendor: str
    architecture: str
    nearest: str
    aliases: tuple[str, ...]
    memory: Memory
    peak: Peak
    scale_up: ScaleUp
    scale_out: ScaleOut
    power: Power
    price: Price
    facts: tuple[Fact, ...] = field(compare=False, repr=False)
    sources: tuple[tuple[str, str], ...] = field(compare=False, repr=False)

    def fact(self, key: str) -> Fact:
        """The row behind ``group.name``. Raises UsageError where the chip's file states none."""
        for fact in self.facts:
            if fact.key == key:
                return fact
        if key in SPECS:
            raise UsageError(f"{key} of chip {self.id} is not known")
        raise UsageError(f"chip {self.id} has no fact '{key}'", hint=did_you_mean(key, SPECS))

    def ops_per_s(self, number_type: str) -> float:
        """Peak op/s of dense products of that type, in the narrowest type the chip multiplies it in.

        fp4 and mxfp4 fall back to fp8 and then to bf16; fp8, int8 and int4 to bf16. Raises UsageError
        for an unknown type, and for fp32 where the chip's rate is not known.
        """
        if number_type not in _WIDER:
            hint = did_you_mean(number_type, _WIDER) or f"known types are {', '.join(_WIDER)}"
            raise UsageError(f"no number type '{number_type}'", hint=hint)
        for name in _WIDER[number_type]:
            rate = self._peak(name)
            if rate is not None:
                return rate
        raise UsageError(f"the {number_type} rate of chip {self.id} is not known")

    def _peak(self, name: str) -> float | None:
        peak = self.peak
        rates = {
            "fp32": peak.fp32_ops_per_s,
            "half": peak.half_ops_per_s,
            "fp8": peak.fp8_ops_per_s,
            "int8": peak.int8_ops_per_s,
            "fp4": peak.fp4_ops_per_s,
        }
        return rates[name]
