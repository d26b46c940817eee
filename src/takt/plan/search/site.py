"""What a site adds to its chips: watts at the meter, the price of power, carbon, floor. Figures lie in ``site.toml``.

Knows no models and no traffic.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from math import isfinite

from takt.chips import Accelerator, System
from takt.errors import DataError, UsageError

__all__ = ["Site", "default_site"]

_KINDS = ("published", "measured", "derived", "assumed", "given")
_FACTS = ("power_usd_per_kwh", "carbon_kg_per_kwh", "overhead", "rack_w", "rack_m2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Figures of a site; `assumptions` has the row (what, value, kind, source) of each.

    - `overhead`: watts at the meter for each watt of a chip whose all-in power nobody states.
    - `rack_w`, `rack_m2`: of a rack of chips that do not come as one; `rack_chips`: chip → chips of its rack.
    """

    power_usd_per_kwh: float
    carbon_kg_per_kwh: float
    overhead: float
    rack_w: float
    rack_m2: float
    rack_chips: Mapping[str, int]
    assumptions: tuple[tuple[str, str, str, str], ...]

    def changed(
        self, *, power_usd_per_kwh: float | None = None, carbon_kg_per_kwh: float | None = None
    ) -> "Site":
        """With a price of power or a carbon intensity of one's own; UsageError for what is none."""
        out = self
        for name, value in (
            ("power_usd_per_kwh", power_usd_per_kwh),
            ("carbon_kg_per_kwh", carbon_kg_per_kwh),
        ):
            if value is None:
                continue
            if not (isfinite(value) and 0 <= value <= 100):
                raise UsageError(f"{name} is {value:g}, expected 0 to 100")
            rows = tuple(
                (name, f"{value:g} {row[1].split(' ', 1)[1]}", "given", "")
                if row[0] == name
                else row
                for row in out.assumptions
            )
            out = replace(out, **{name: value}, assumptions=rows)  # type: ignore[arg-type]
        return out

    def chip_w(self, chip: Accelerator) -> float | None:
        """Watts at the meter that one chip accounts for at its limit; None where nobody states any."""
        if chip.power.system_w is not None:
            return chip.power.system_w
        return None if chip.power.tdp_w is None else chip.power.tdp_w * self.overhead

    def at_meter(self, chip: Accelerator) -> float:
        """Joules at the meter for each joule of the chip."""
        if chip.power.system_w is None or not chip.power.tdp_w:
            return self.overhead
        return chip.power.system_w / chip.power.tdp_w

    def chip_m2(self, chip_id: str, chip_w: float | None) -> float | None:
        """Floor of one chip: its share of the rack it comes in, else of a rack filled by watts."""
        if chip_id in self.rack_chips:
            return self.rack_m2 / self.rack_chips[chip_id]
        return None if chip_w is None else self.rack_m2 * chip_w / self.rack_w

    def lpu_m2(self, system: System) -> float:
        """Floor of one chip of a system of LPUs: its racks are known."""
        return self.rack_m2 / system.rack_chips


@cache
def default_site() -> Site:
    """The site of ``site.toml``. DataError where a row is incomplete."""
    text = files("takt.plan.search").joinpath("site.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    racks = table.pop("rack_chips")
    rows = [(name, table.get(name, {})) for name in _FACTS]
    rows += [(f"rack_chips.{chip}", row) for chip, row in racks.items()]
    for name, row in rows:
        if row.get("kind") not in _KINDS or not {"value", "unit", "source"} <= row.keys():
            raise DataError("expected value, unit, kind and source", file="site.toml", key=name)
    return Site(
        **{name: float(table[name]["value"]) for name in _FACTS},
        rack_chips={chip: int(row["value"]) for chip, row in racks.items()},
        assumptions=tuple(
            (name, f"{row['value']:g} {row['unit']}", str(row["kind"]), str(row["source"]))
            for name, row in rows
        ),
    )
