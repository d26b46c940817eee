"""A model on many chips side by side: chips needed, speed, throughput, energy and cost, for a latency to meet.

    compare(outline_of("llama-3.3-70b"), [load_accelerator("h200-sxm")], Request())

Of each chip every layout of `layout` is tried at every load of `serve`; the row says the fewest chips that meet the
target, the layout with most tokens a second for each chip at the target, and the one that is fastest for
one user alone. A chip that can't is a row with the reason. LPUs and pairs of chips: `lpus`, `hybrids`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from takt.chips import Accelerator, Kind
from takt.errors import UsageError
from takt.models.outlines import Outline

from .layout import Layout, fitting_deployments
from .money import Price, Tenure, price_of, usd_per_mtok
from .precision import choose_precision, precision_name
from .request import Request
from .serve import Curve, Load, curve_of

__all__ = [
    "FIGURES",
    "Compared",
    "Known",
    "Point",
    "check_length",
    "compare",
    "compare_chip",
    "pareto",
]

_UNUSED = "power.idle_w"  # power follows from the limit
FIGURES = ("ttft_ms", "tokens_per_s_user", "tokens_per_s_chip", "j_per_token", "usd_per_mtok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """How one figure of a row is known: what it rests on, and the relative error to expect (median; None: unknown)."""

    basis: str
    expected_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One load on a chip's frontier: no other is both faster for the user and yields more for each chip."""

    tokens_per_s_user: float
    tokens_per_s_chip: float
    tokens_per_s_mw: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One chip's answer. Rates are of output tokens; the prompts' work is in them.

    - `chips`: the fewest chips that hold the model and meet the target; `needs_chips` the fewest that hold it.
    - `served`: the load of most tokens a second for each chip that meets the target; None with a `reason`.
    - `alone`: one user alone on the fastest layout; None where the model fits no layout.
    - `chip_w`: watts that one chip accounts for, `power_basis` what is in them.
    - `known`: figure (`FIGURES`) → how it is known.
    - `assumed`: keys of the chip's facts that figures rest on and nobody has published or measured.
    - `frontier`: fast and few first.
    """

    chip: str
    name: str
    chips: int | None = None
    needs_chips: int | None = None
    served: Load | None = None
    alone: Load | None = None
    price: Price | None = None
    chip_w: float | None = None
    power_basis: str = ""
    precision: str = ""
    engine: str = ""
    known: Mapping[str, Known]
    assumed: tuple[str, ...] = ()
    reason: str | None = None
    frontier: tuple[Point, ...] = ()

    @property
    def tokens_per_s_user(self) -> float | None:
        """Of one user alone."""
        return None if self.alone is None else 1.0 / self.alone.tpot_s

    @property
    def ttft_s(self) -> float | None:
        """At the target's load; alone, where the target is missed."""
        load = self.served or self.alone
        return None if load is None else load.ttft_s

    @property
    def tokens_per_s_chip(self) -> float | None:
        """At the target, for each chip of the layout."""
        return None if self.served is None else self.served.tokens_per_s_chip

    @property
    def tokens_per_s_mw(self) -> float | None:
        """At the target, for a megawatt of such chips."""
        if self.served is None or not self.chip_w:
            return None
        return self.served.tokens_per_s_chip / self.chip_w * 1e6

    @property
    def j_per_token(self) -> float | None:
        """At the target; None where the chip's power is not known."""
        if self.served is None or not isfinite(self.served.j_per_token):
            return None
        return self.served.j_per_token

    @property
    def usd_per_mtok(self) -> float | None:
        """At the target, for a million output tokens."""
        if self.served is None or self.price is None:
            return None
        return usd_per_mtok(self.price, self.served.tokens_per_s_chip)


def compare(
    model: Outline,
    chips: Iterable[Accelerator],
    request: Request,
    *,
    tenure: Tenure = "rent",
    prices: Mapping[str, float] | None = None,
) -> tuple[Compared, ...]:
    """One row a chip, in their order. `prices`: dollars an hour by id, before those of the catalogue.

    Raises UsageError where the model can't hold the text at all.
    """
    check_length(model, request)
    return tuple(
        compare_chip(model, chip, request, price=price_of(chip, tenure, prices)) for chip in chips
    )


def check_length(model: Outline, request: Request) -> None:
    """UsageError where prompt and output are longer than what the model was made for, or it generates nothing."""
    if model.encoder:
        raise UsageError(
            f"{model.name} is an encoder: it generates no tokens",
            hint="takt compile MODEL --system says how fast LPUs are with it",
        )
    if 0 < model.max_context < request.context_tokens:
        raise UsageError(
            f"{model.name} has {model.max_context:,} positions, fewer than "
            f"{request.prompt_tokens:,} + {request.output_tokens:,}",
            hint="a shorter --prompt or --output",
        )


def compare_chip(
    model: Outline, chip: Accelerator, request: Request, *, price: Price | None
) -> Compared:
    """The row of one chip."""
    precision = choose_precision(model, chip, request.precision)
    watts, power_basis = _watts(chip)
    row = Compared(
        chip=chip.id,
        name=chip.name,
        price=price,
        chip_w=watts,
        power_basis=power_basis,
        precision=precision_name(precision),
        engine=request.engine_on(chip),
        known={},
        assumed=_assumed(chip),
    )
    try:
        deployments = fitting_deployments(model, _with_power(chip), precision, request)
    except UsageError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return replace(row, reason=f"{error.message}{hint}")
    curves = [curve_of(model, deployment, request) for deployment in deployments]
    alone = min((curve.alone for curve in curves), key=lambda load: load.tpot_s)
    loads = [load for curve in curves if (load := curve.best_load(request)) is not None]
    served = max(loads, key=lambda load: load.tokens_per_s_chip, default=None)
    return replace(
        row,
        chips=min((load.layout.chips for load in loads), default=None),
        needs_chips=min(curve.layout.chips for curve in curves),
        served=served,
        alone=alone,
        known=_known(curves, served or alone, alone, price),
        reason=None if served else _missed(curves, request),
        frontier=_frontier(curves, watts),
    )


def _with_power(chip: Accelerator) -> Accelerator:
    """Joules of a chip of unknown power are no number, and all else stands."""
    if chip.power.tdp_w is not None:
        return chip
    return replace(chip, power=replace(chip.power, tdp_w=nan))


def _assumed(chip: Accelerator) -> tuple[str, ...]:
    groups = ("memory.", "peak.", "scale_up.", "power.")
    return tuple(
        fact.key
        for fact in chip.facts
        if fact.kind is Kind.ASSUMED and fact.key.startswith(groups) and fact.key != _UNUSED
    )


def _watts(chip: Accelerator) -> tuple[float | None, str]:
    if chip.power.system_w is not None:
        return chip.power.system_w, "all-in"
    if chip.power.tdp_w is not None:
        return chip.power.tdp_w, "chip only"
    return None, "unknown"


def _missed(curves: Sequence[Curve], request: Request) -> str:
    """Why no load meets the target: the best that was reached, one user alone included."""
    fast = min(curves, key=lambda curve: float(curve.service.tpot_s.min()))
    tpot_s = float(fast.service.tpot_s.min())
    if tpot_s > request.tpot_s:
        return (
            f"target missed: {1e3 * tpot_s:.3g} ms a token at best "
            f"({_chips(fast.layout)}), asked for {1e3 * request.tpot_s:.3g} ms"
        )
    first = min(curves, key=lambda curve: float(curve.service.ttft_s.min()))
    ttft_s = float(first.service.ttft_s.min())
    if request.ttft_s is not None and ttft_s > request.ttft_s:
        return (
            f"target missed: first token after {ttft_s:.3g} s at best "
            f"({_chips(first.layout)}), asked for {request.ttft_s:.3g} s"
        )
    return "target missed: no layout has both its pace and its first token in time"


def _chips(layout: Layout) -> str:
    return "one chip" if layout.chips == 1 else f"{layout.chips} chips, {layout}"


def _known(
    curves: Sequence[Curve], served: Load, alone: Load, price: Price | None
) -> dict[str, Known]:
    load = next(curve for curve in curves if curve.layout == served.layout)
    single = next(curve for curve in curves if curve.layout == alone.layout)
    basis = "; ".join(sorted(load.basis))
    throughput = Known(basis=basis, expected_error=load.decode_error)
    cost = "no price known"
    if price is not None:
        cost = f"{price.kind} price {price.date}".rstrip() + f"; {basis}"
    return {
        "ttft_ms": Known(basis=basis, expected_error=load.prompt_error),
        "tokens_per_s_user": Known(
            basis="; ".join(sorted(single.basis)), expected_error=single.decode_error
        ),
        "tokens_per_s_chip": throughput,
        "j_per_token": Known(
            basis=f"{load.power_basis}; {basis}",
            expected_error=load.energy_error,
        ),
        "usd_per_mtok": Known(basis=cost, expected_error=load.decode_error if price else None),
    }


def _frontier(curves: Sequence[Curve], watts: float | None) -> tuple[Point, ...]:
    speed = np.concatenate([curve.tokens_per_s_user for curve in curves])
    rate = np.concatenate([curve.tokens_per_s_chip for curve in curves])
    kept = pareto(speed, rate)
    return tuple(
        Point(
            tokens_per_s_user=float(speed[i]),
            tokens_per_s_chip=float(rate[i]),
            tokens_per_s_mw=float(rate[i]) / watts * 1e6 if watts else None,
        )
        for i in kept
    )


def pareto(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the points that no other beats in both figures, largest `first` first."""
    order = np.lexsort((-second, -first))
    best = np.maximum.accumulate(second[order])
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = best[1:] > best[:-1]
    return order[fresh]
