"""The list of `takt chips`: one row for each chip or system, which are wanted, and in which order.

Knows what the three kinds have in common. Where a kind has no such figure, the row has None.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from takt.chips import Accelerator, Chip, System
from takt.cli.table import aligned
from takt.errors import UsageError, did_you_mean
from takt.units import format_bytes, format_si

__all__ = ["SORT_KEYS", "Row", "Wanted", "chip_table", "parse_bytes", "row_of", "wanted_of"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A chip, or a system with all its chips: sums, but `link_bytes_per_s` is of one chip."""

    id: str
    kind: str
    vendor: str
    name: str
    memory_bytes: int
    bytes_per_s: float
    bf16_ops_per_s: float
    fp8_ops_per_s: float | None = None
    fp4_ops_per_s: float | None = None
    int8_ops_per_s: float | None = None
    link_bytes_per_s: float | None = None
    tdp_w: float | None = None
    own_usd_per_h: float | None = None
    rent_usd_per_h: float | None = None


SORT_KEYS: Mapping[str, Callable[[Row], float | None]] = MappingProxyType(
    {
        "memory": lambda row: row.memory_bytes,
        "bandwidth": lambda row: row.bytes_per_s,
        "bf16": lambda row: row.bf16_ops_per_s,
        "fp8": lambda row: row.fp8_ops_per_s,
        "fp4": lambda row: row.fp4_ops_per_s,
        "int8": lambda row: row.int8_ops_per_s,
        "link": lambda row: row.link_bytes_per_s,
        "tdp": lambda row: row.tdp_w,
        "own": lambda row: row.own_usd_per_h,
        "rent": lambda row: row.rent_usd_per_h,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows, and by what they are sorted: "" by kind and id, else the largest first."""

    vendor: str = ""
    kind: str = ""
    min_memory_bytes: int = 0
    sort: str = ""

    def __post_init__(self) -> None:
        if self.sort not in ("", "id", *SORT_KEYS):
            known = ("id", *SORT_KEYS)
            hint = did_you_mean(self.sort, known) or f"it is one of {', '.join(known)}"
            raise UsageError(f"--sort: no column {self.sort[:40]!r}", hint=hint)

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that are wanted. Raises UsageError for a kind or vendor that none has."""
        _check("--kind", self.kind, {row.kind for row in rows})
        _check("--vendor", self.vendor, {row.vendor for row in rows})
        found = [row for row in rows if self._has(row)]
        if self.sort == "id":
            return sorted(found, key=lambda row: row.id)
        if not self.sort:
            return found
        key = SORT_KEYS[self.sort]
        return sorted(found, key=lambda row: (-_known(key(row)), row.id))

    def _has(self, row: Row) -> bool:
        return (
            self.kind.casefold() in ("", row.kind.casefold())
            and self.vendor.casefold() in ("", row.vendor.casefold())
            and row.memory_bytes >= self.min_memory_bytes
        )


def wanted_of(vendor: str, kind: str, min_memory: str, sort: str) -> Wanted:
    """What the options ask for. Raises UsageError for what makes no sense."""
    size = parse_bytes(min_memory) if min_memory else 0
    return Wanted(vendor=vendor, kind=kind, min_memory_bytes=size, sort=sort)


def parse_bytes(text: str) -> int:
    """Bytes of "100GB", "1.5 TB" or "80GiB" (powers of 1024); of a bare number. Else UsageError."""
    match = _SIZE.fullmatch(text.strip()) if len(text) < 40 else None
    if match is None:
        raise UsageError(f"{text[:40]!r} is no size", hint="write 100GB, 1.5TB or 80GiB")
    step = 1024 if match[3] else 1000
    power = " kmgtp".index(match[2].lower() or " ")
    return math.ceil(float(match[1]) * float(step) ** power)


def row_of(found: Chip | System | Accelerator) -> Row:
    """The row of any of the three."""
    if isinstance(found, Accelerator):
        return _accelerator(found)
    return _system(found) if isinstance(found, System) else _lpu(found)


def chip_table(rows: Sequence[Row]) -> str:
    """Chips as text, aligned."""
    head: tuple[str, ...] = ("ID", "KIND", "MEMORY", "BANDWIDTH", "BF16", "FP8", "FP4", "INT8")
    head += ("LINK", "TDP", "OWN $/H", "RENT $/H", "NAME")
    return aligned([head, *map(_line, rows)], right=tuple(range(2, 12)))


def _line(row: Row) -> tuple[str, ...]:
    rates = (row.bf16_ops_per_s, row.fp8_ops_per_s, row.fp4_ops_per_s, row.int8_ops_per_s)
    return (
        row.id,
        row.kind,
        format_bytes(row.memory_bytes),
        format_si(row.bytes_per_s, "B/s"),
        *(_si(rate, "op/s") for rate in rates),
        _si(row.link_bytes_per_s, "B/s"),
        "-" if row.tdp_w is None else f"{row.tdp_w:,.0f} W",
        *("-" if usd is None else f"{usd:.2f}" for usd in (row.own_usd_per_h, row.rent_usd_per_h)),
        row.name,
    )


def _si(amount: float | None, unit: str) -> str:
    return "-" if amount is None else format_si(amount, unit)


def _lpu(chip: Chip) -> Row:
    link_bits = chip.c2c.links * chip.c2c.lanes_per_link * chip.c2c.lane_bits_per_s
    return Row(
        id=chip.id,
        kind="lpu",
        vendor=chip.vendor,
        name=chip.name,
        memory_bytes=chip.sram_bytes,
        bytes_per_s=chip.sram_bytes_per_cycle * chip.clock_hz,
        bf16_ops_per_s=chip.fp16_ops_per_s,
        int8_ops_per_s=chip.int8_ops_per_s,
        link_bytes_per_s=link_bits / 8,
        tdp_w=chip.power.tdp_w,
    )


def _system(system: System) -> Row:
    one = _lpu(system.chip)
    count = system.max_chips
    return Row(
        id=system.id,
        kind="system",
        vendor=one.vendor,
        name=system.name,
        memory_bytes=count * one.memory_bytes,
        bytes_per_s=count * one.bytes_per_s,
        bf16_ops_per_s=count * one.bf16_ops_per_s,
        int8_ops_per_s=count * system.chip.int8_ops_per_s,
        link_bytes_per_s=one.link_bytes_per_s,
    )


def _accelerator(chip: Accelerator) -> Row:
    return Row(
        id=chip.id,
        kind=chip.kind,
        vendor=chip.vendor,
        name=chip.name,
        memory_bytes=chip.memory.capacity_bytes,
        bytes_per_s=chip.memory.bytes_per_s,
        bf16_ops_per_s=chip.peak.half_ops_per_s,
        fp8_ops_per_s=chip.peak.fp8_ops_per_s,
        fp4_ops_per_s=chip.peak.fp4_ops_per_s,
        int8_ops_per_s=chip.peak.int8_ops_per_s,
        link_bytes_per_s=chip.scale_up.bytes_per_s,
        tdp_w=chip.power.tdp_w,
        own_usd_per_h=chip.price.own_usd_per_h,
        rent_usd_per_h=chip.price.rent_usd_per_h,
    )


def _known(value: float | None) -> float:
    return -math.inf if value is None else value


def _check(option: str, given: str, known: set[str]) -> None:
    names = {name.casefold(): name for name in known}
    if given and given.casefold() not in names:
        near = did_you_mean(given.casefold(), names)
        hint = near or f"it is one of {', '.join(sorted(known))}"
        raise UsageError(f"{option}: no chip has {given[:40]!r}", hint=hint)
