"""What can be said about a chip that is no LPU: every fact's name, type, unit and sane range.

Peaks are of dense products (no structured sparsity), a multiply-accumulate counts as two. Rates of
links are per direction. Few facts must be known; the others may be left out.

Knows nothing of files, sources or values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from takt.chips.quantities import Quantity, Spec, specs_of

__all__ = ["GROUPS", "SPECS", "Memory", "Peak", "Power", "Price", "ScaleOut", "ScaleUp"]

_MAX_BYTES = 10**16
_Rate = Quantity("B/s", 1.0, 1e18)
_Ops = Quantity("op/s", 1.0, 1e21)
_Watt = Annotated[float | None, Quantity("W", 0.0, 1e7)]
_UsdPerHour = Annotated[float | None, Quantity("USD/h", 0.0, 1e6)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The memory that holds weights and cache, and what is on the die (shared memory and caches)."""

    capacity_bytes: Annotated[int, Quantity("B", 1, _MAX_BYTES)]
    bytes_per_s: Annotated[float, _Rate]
    on_chip_bytes: Annotated[int | None, Quantity("B", 0, _MAX_BYTES)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Matrix rates by type of operand; ``half`` is bf16, or fp16 where there is no bf16."""

    half_ops_per_s: Annotated[float, _Ops]
    fp8_ops_per_s: Annotated[float | None, _Ops] = None
    fp4_ops_per_s: Annotated[float | None, _Ops] = None
    int8_ops_per_s: Annotated[float | None, _Ops] = None
    fp32_ops_per_s: Annotated[float | None, _Ops] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleUp:
    """``chips`` that reach each other at the full ``bytes_per_s`` of one chip, each direction."""

    chips: Annotated[int, Quantity("chips", 1, 1_000_000)]
    bytes_per_s: Annotated[float | None, _Rate] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOut:
    """The network beyond: bytes a second of one chip, each direction."""

    bytes_per_s: Annotated[float | None, _Rate] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """One chip's watts; ``system_w`` adds its share of host, fans, network and conversion."""

    tdp_w: _Watt = None
    idle_w: _Watt = None
    system_w: _Watt = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One chip with its share of the system: owned (all costs), rented, or bought."""

    own_usd_per_h: _UsdPerHour = None
    rent_usd_per_h: _UsdPerHour = None
    buy_usd: Annotated[float | None, Quantity("USD", 0.0, 1e9)] = None


GROUPS: Mapping[str, type] = MappingProxyType(
    {
        "memory": Memory,
        "peak": Peak,
        "scale_up": ScaleUp,
        "scale_out": ScaleOut,
        "power": Power,
        "price": Price,
    }
)

SPECS: Mapping[str, Spec] = specs_of(GROUPS)
