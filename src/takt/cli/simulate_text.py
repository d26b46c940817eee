"""How a simulation reads as text. Knows how figures are written, not how they come about."""

from textwrap import fill

from takt.cli.simulate_pools import Made
from takt.cli.simulate_result import About, Shown
from takt.cli.table import aligned

__all__ = ["text_of"]

_WIDTH = 118
_ROWS = (
    ("ttft_ms", "time to first token"),
    ("tpot_ms", "time per token"),
    ("e2e_ms", "end to end"),
    ("queue_ms", "in the queue"),
)
_ERRORS = (
    ("ttft", "first token"),
    ("tpot", "time per token"),
    ("e2e", "end to end"),
    ("energy", "energy"),
)
_COLUMNS = ("mean", "p50", "p90", "p99")


def text_of(shown: Shown, about: About) -> str:
    """The report: what was simulated, latencies, rates, pools, what it rests on, and what to beware of."""
    parts = [_head(shown, about), _latencies(shown, about), _rates(shown, about)]
    parts += [_pools(shown, about), _basis(shown), _warnings(shown, about)]
    return "\n".join(part for part in parts if part)


def _head(shown: Shown, about: About) -> str:
    lines = [f"{about.model}: {about.workload}\n"]
    lines += [f"  {_described(made)}\n" for made in about.built.made]
    runs = len(about.seeds)
    if runs > 1:
        lines.append(
            f"Mean of {runs} seeds ({about.seeds[0]} to {about.seeds[-1]}) ± half of its 95 % interval.\n"
        )
    return "".join(lines)


def _described(made: Made) -> str:
    pool, policy = made.pool, made.pool.policy
    layout = "" if made.layout.chips == 1 else f", {made.layout}"
    role = {"both": "", "prompt": " for prompts", "decode": " for tokens"}[pool.role]
    count = f"{pool.replicas:,} × " + (f"{pool.chips:,} " if pool.chips > 1 else "")
    return (
        f"{count}{made.label}{role}{layout}, {made.precision}, {made.engine}: room for "
        f"{_count(policy.kv_tokens, 'token')} on each, steps of up to {_count(policy.max_seqs, 'request')} "
        f"and {_count(policy.max_step_tokens, 'token')}"
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _latencies(shown: Shown, about: About) -> str:
    tiers = [tier.name for tier in about.built.fleet.tiers]
    rows = [("", *(column.upper() for column in _COLUMNS))]
    rows += _latency_rows(shown, "", "")
    if len(tiers) > 1:
        for tier in tiers:
            rows += _latency_rows(shown, f"tiers.{tier}.", f"{tier}: ")
    return aligned(rows, right=range(1, 1 + len(_COLUMNS)))


def _latency_rows(shown: Shown, before: str, words: str) -> list[tuple[str, ...]]:
    return [
        (words + title, *(_ms(shown, f"{before}{name}.{column}") for column in _COLUMNS))
        for name, title in _ROWS
    ]


def _ms(shown: Shown, name: str) -> str:
    """A latency with four digits, of several seeds with its half width."""
    value, half = shown.value(name), shown.half_widths.get(name)
    if value is None:
        return "–"
    scale, unit = (1e-3, "s") if value >= 10_000 else (1.0, "ms")
    text = _digits(value * scale)
    return f"{text} {unit}" if half is None else f"{text} ± {_short(half * scale)} {unit}"


def _digits(value: float) -> str:
    """Four digits: `0.1234`, `64.24`, `4,232`."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.4g}" if abs(value) >= 1e-4 else f"{value:.3g}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _with(shown: Shown, name: str, unit: str, scale: float = 1.0) -> str:
    """A figure with its unit; "unknown" where it is."""
    value, half = shown.value(name), shown.half_widths.get(name)
    if value is None:
        return "unknown"
    around = "" if half is None else f" ± {_short(half * scale)}"
    return f"{_digits(value * scale)}{around}{unit}"


def _rates(shown: Shown, about: About) -> str:
    completed, requests = shown.value("completed") or 0.0, shown.value("requests") or 0.0
    rows = [
        (
            "requests",
            f"{requests:,.0f}, {completed:,.0f} completed in {_with(shown, 'span_s', ' s')}",
        ),
        (
            "throughput",
            f"{_with(shown, 'throughput_tok_s', ' tokens/s')}, {_with(shown, 'requests_per_s', ' requests/s')}",
        ),
    ]
    targets = _targets(about)
    if targets:
        rows.append(
            (
                "goodput",
                f"{_with(shown, 'goodput', ' %', 100.0)} of requests, "
                f"{_with(shown, 'goodput_per_s', '/s')}, within {targets}",
            )
        )
        rows += _tier_goodput(shown, about)
    energy = f"{_with(shown, 'energy_j_per_token', ' J a token')}, {_with(shown, 'mw', ' kW', 1e3)}"
    rows.append(
        (
            "energy",
            energy if shown.value("energy_j") is not None else "unknown: no power is published",
        )
    )
    rows.append(("money", _money(shown, about)))
    return aligned(rows)


def _tier_goodput(shown: Shown, about: About) -> list[tuple[str, str]]:
    tiers = about.built.fleet.tiers
    if len(tiers) < 2:
        return []
    return [
        (f"  {tier.name}", f"{_with(shown, f'tiers.{tier.name}.goodput', ' %', 100.0)}")
        for tier in tiers
    ]


def _targets(about: About) -> str:
    tier = about.built.fleet.tiers[0]
    named = (("ttft", tier.ttft_ns), ("tpot", tier.tpot_ns), ("e2e", tier.e2e_ns))
    return ", ".join(f"{name} {most / 1e6:,.5g} ms" for name, most in named if most is not None)


def _money(shown: Shown, about: About) -> str:
    if shown.value("usd") is None:
        missing = [made.label for made in about.built.made if made.price is None]
        return f"unknown: no price of {', '.join(missing)} is known; --price {missing[0]}=USD states one"
    kinds = {f"{made.label} {made.price.kind}" for made in about.built.made if made.price}
    return (
        f"{_usd(shown, 'usd_per_mtok')} a million output tokens, {_usd(shown, 'usd_per_h')} an hour "
        f"({', '.join(sorted(kinds))})"
    )


def _usd(shown: Shown, name: str) -> str:
    """Cents, and three digits of what is less than a dollar."""
    value, half = shown.value(name), shown.half_widths.get(name)
    if value is None:
        return "unknown"
    text = f"${value:,.2f}" if value >= 1 else f"${value:.3g}"
    return text if half is None else f"{text} ± {_short(half)}"


def _pools(shown: Shown, about: About) -> str:
    header = (
        "POOL",
        "REPLICAS",
        "BUSY",
        "CACHE MEAN",
        "CACHE PEAK",
        "PROMPTS CACHED",
        "PREEMPTIONS",
        "FAILURES",
    )
    rows: list[tuple[str, ...]] = [header]
    for made in about.built.made:
        name = made.pool.name
        shares = [_share(shown, f"pools.{name}.{key}") for key in ("utilisation", "kv_mean", "kv_peak", "cached_share")]  # fmt: skip
        counts = [f"{shown.value(f'pools.{name}.{key}') or 0:,.0f}" for key in ("preemptions", "failures")]  # fmt: skip
        rows.append((name, _replicas(shown, made), *shares, *counts))
    return aligned(rows, right=range(1, len(header)))


def _replicas(shown: Shown, made: Made) -> str:
    """How many were on, on average."""
    on_s, span_s = shown.value(f"pools.{made.pool.name}.on_s"), shown.value("span_s")
    if on_s is None or not span_s:
        return "–"
    mean = on_s / span_s
    return f"{mean:,.0f}" if mean >= 1000 else f"{mean:.4g}"


def _share(shown: Shown, name: str) -> str:
    value = shown.value(name)
    return "–" if value is None else f"{100 * value:.1f} %"


def _basis(shown: Shown) -> str:
    basis = "; ".join(shown.document["basis"])
    expected = shown.document["expected_error"]
    errors = [
        f"{words} {100 * expected[name]:.0f} %"
        for name, words in _ERRORS
        if expected[name] is not None
    ]
    said = f"Rests on {basis}."
    if errors:
        said += f" Error of a step to expect (median): {', '.join(errors)}."
    return fill(said, _WIDTH, break_on_hyphens=False) + "\n"


def _warnings(shown: Shown, about: About) -> str:
    lines = []
    if not shown.steady:
        lines.append(
            "requests took longer and longer to the end of the run: the fleet cannot keep up, and a longer run "
            "would show worse figures"
        )
    rejected, too_long = shown.value("rejected") or 0, shown.value("too_long") or 0
    if rejected:
        lines.append(f"{rejected:,.0f} requests were rejected: their queue was full")
    if too_long:
        lines.append(f"{too_long:,.0f} requests fit the cache of no replica")
    preemptions = shown.value("preemptions") or 0
    if preemptions:
        lines.append(
            f"caches ran full: requests lost their place {preemptions:,.0f} times and were read again"
        )
    return "".join(
        fill(f"Warning: {line}.", _WIDTH, break_on_hyphens=False) + "\n" for line in lines
    )
