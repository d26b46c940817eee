"""What a chip costs an hour: given by the user, or the catalogue's dated price.

Knows no currencies but the dollar, and no discounts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from takt.chips import Accelerator

__all__ = ["Price", "Tenure", "price_of", "usd_per_mtok"]

Tenure = Literal["rent", "own"]
_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Dollars for an hour of one chip with its share of the system. `kind`: `rent`, `own` or `given`."""

    usd_per_h: float
    kind: Literal["rent", "own", "given"]
    source: str = ""
    date: str = ""
    note: str = ""


def price_of(
    chip: Accelerator, tenure: Tenure, given: Mapping[str, float] | None = None
) -> Price | None:
    """The price given for the chip's id, else the one asked for, else the other, else None."""
    if given and chip.id in given:
        return Price(usd_per_h=given[chip.id], kind="given")
    rent, own = chip.price.rent_usd_per_h, chip.price.own_usd_per_h
    wanted: list[tuple[Tenure, float | None]] = [("rent", rent), ("own", own)]
    for kind, value in wanted if tenure == "rent" else wanted[::-1]:
        if value is not None:
            fact = chip.fact(f"price.{kind}_usd_per_h")
            return Price(
                usd_per_h=value,
                kind=kind,
                source=_in_full(chip, fact.source),
                date=fact.date,
                note=fact.note,
            )
    return None


def _in_full(chip: Accelerator, keys: str) -> str:
    """Keys of the chip's sources, written out."""
    titles = dict(chip.sources)
    return "; ".join(titles.get(key.strip(), key.strip()) for key in keys.split(","))


def usd_per_mtok(price: Price, tokens_per_s_chip: float) -> float:
    """Dollars for a million output tokens: the prompts that belong to them are paid with them."""
    return price.usd_per_h / (tokens_per_s_chip * _SECONDS_PER_HOUR) * 1e6
