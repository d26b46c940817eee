"""Limits on money, power, chips and supply: whether a plan keeps them, in words.

Knows no targets.
"""

from ..plans import Limits
from .ways import Counts, Way

__all__ = ["beyond", "beyond_supply", "never"]


def beyond(limits: Limits, way: Way, counts: Counts) -> str | None:
    """The first limit, supply left out, that so many replicas break or may break; None where they keep all."""
    unknown = _unknown(limits, way)
    if unknown is not None:
        return unknown
    usd, mw, chips = way.usd_per_h(counts), way.mw(counts), sum(way.chips(counts).values())
    if limits.usd_per_h is not None and usd > limits.usd_per_h:
        return f"${usd:,.4g} an hour, at most ${limits.usd_per_h:,.4g} asked for"
    if limits.mw is not None and mw is not None and mw > limits.mw:
        return f"{mw:.3g} MW, at most {limits.mw:.3g} asked for"
    if limits.chips is not None and chips > limits.chips:
        return f"{chips:,} chips, at most {limits.chips:,} asked for"
    return None


def beyond_supply(limits: Limits, way: Way, counts: Counts) -> str | None:
    """Of which chip there are not enough; None where there are."""
    for chip, n in sorted(way.chips(counts).items()):
        most = limits.supply.get(chip)
        if most is not None and n > most:
            return f"{n:,} {chip}, {most:,} to be had"
    return None


def never(limits: Limits, way: Way) -> str | None:
    """Why not even one replica of each part can be had, or said to keep a limit; None where it can."""
    one = tuple(1 for _ in way.parts)
    return beyond_supply(limits, way, one) or _unknown(limits, way)


def _unknown(limits: Limits, way: Way) -> str | None:
    """A limit on what nobody knows of the way's chips: it cannot be said to keep it."""
    one = tuple(1 for _ in way.parts)
    unpriced = sorted(way.unpriced(one))
    if limits.usd_per_h is not None and unpriced:
        return (
            f"no price of {' and '.join(unpriced)} is known, at most ${limits.usd_per_h:,.4g} an hour "
            f"asked for (--price {unpriced[0]}=USD gives one)"
        )
    if limits.mw is not None and way.mw(one) is None:
        return f"nobody states what its chips draw, at most {limits.mw:.3g} MW asked for"
    return None
