"""Numbers and plans in words, as a page shows them: three significant digits, the unit beside them.

Knows values, not HTML: whatever shows the texts escapes them.
"""

from math import isfinite

from takt.plan.plans import Plan, PlanPool, Targets

__all__ = [
    "UNKNOWN",
    "amount",
    "duration",
    "family_of",
    "layout_of",
    "power",
    "share",
    "system_of",
    "targets_in_words",
    "usd",
]

UNKNOWN = "unknown"
_ROLES = {
    "both": "",
    "prompt": "for prompts",
    "decode": "for tokens",
    "attention": "for attention",
    "ffn": "for feed-forward",
}
_REQUESTS_AT = {
    "mean": "on average",
    "p50": "for half of the requests",
    "p90": "for 90 % of requests",
    "p99": "for 99 % of requests",
}


def amount(value: float | None, unit: str = "") -> str:
    """`value` with three significant digits and thousands marked: `1,140`, `71.4 tok/s`, `0.0032`."""
    if value is None or not isfinite(value):
        return UNKNOWN
    if abs(value) >= 100:
        text = f"{value:,.0f}"
    elif value and abs(value) < 1e-6:
        text = f"{value:.2e}"
    else:
        text = f"{float(f'{value:.3g}'):.10f}".rstrip("0").rstrip(".")
    return f"{text} {unit}" if unit else text


def usd(value: float | None) -> str:
    """Dollars, with cents from one to a hundred: `$2.09`, `$58,200`, `$0.031`."""
    if value is None or not isfinite(value):
        return UNKNOWN
    if 0.995 <= value < 99.995:
        return f"${value:,.2f}"
    return f"${amount(value)}"


def duration(seconds: float | None) -> str:
    """Seconds, or milliseconds and microseconds below one of the larger: `210 ms`, `1.2 s`."""
    if seconds is None or not isfinite(seconds):
        return UNKNOWN
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 0.9995:
            return amount(seconds * factor, unit)
    return amount(seconds * 1e6, "µs")


def power(megawatts: float | None) -> str:
    """Megawatts as MW, kW or W, whichever reads best."""
    if megawatts is None or not isfinite(megawatts):
        return UNKNOWN
    for factor, unit in ((1.0, "MW"), (1e3, "kW")):
        if megawatts * factor >= 0.9995:
            return amount(megawatts * factor, unit)
    return amount(megawatts * 1e6, "W")


def share(value: float | None) -> str:
    """A share as percent: `8 %`, `99.3 %`."""
    if value is None or not isfinite(value):
        return UNKNOWN
    percent = f"{100 * value:.1f}".removesuffix(".0")
    if percent == "100" and value < 1:
        percent = "> 99.9"
    return f"{percent} %"


def family_of(plan: Plan) -> str:
    """Which kind of system a plan is: `gpu`, `lpu`, `mix` of kinds, or `other`."""
    kinds = {pool.kind for pool in plan.pools}
    if len(kinds) > 1:
        return "mix"
    return next(iter(kinds & {"gpu", "lpu"}), "other")


def system_of(plan: Plan) -> str:
    """Chips of a plan: `32 × NVIDIA H100 SXM`, with the work of each kind where there are two."""
    parts = []
    for pool in plan.pools:
        text = f"{pool.replicas * pool.chips:,} × {pool.name}"
        parts.append(f"{text} {_ROLES[pool.role]}".rstrip())
    return " + ".join(parts) or "no chips"


def layout_of(pool: PlanPool) -> str:
    """How a pool is laid out: `8 replicas of 4 (tp4), fp8`."""
    many = f"{pool.replicas:,} replica{'' if pool.replicas == 1 else 's'}"
    weights = (
        pool.weights if pool.experts in ("", pool.weights) else f"{pool.weights}/{pool.experts}"
    )
    return f"{many} of {pool.chips:,} ({pool.layout}), {weights}"


def targets_in_words(targets: Targets) -> tuple[str, ...]:
    """Each target as a phrase: `first token within 1 s for 99 % of requests`."""
    rows = (
        ("first token within", targets.ttft_s, targets.ttft_at),
        ("each further token within", targets.tpot_s, targets.tpot_at),
        ("whole answer within", targets.e2e_s, targets.e2e_at),
    )
    return tuple(
        f"{words} {duration(seconds)} {_REQUESTS_AT[at]}"
        for words, seconds, at in rows
        if seconds is not None
    )
