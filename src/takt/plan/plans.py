"""What a search for a plan asks and answers: targets and limits in, plans with their figures out.

Values only: `search` fills them, reports and exports read them. Money is in dollars, energy of chips with what the catalogue
counts to them, floors in square metres where a rack's is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from takt.errors import UsageError

from .layout import Layout

__all__ = [
    "Dropped",
    "Figures",
    "Limits",
    "Measure",
    "Plan",
    "PlanPool",
    "PlanSet",
    "Targets",
    "WhatIf",
]

PERCENTILES = ("mean", "p50", "p90", "p99")


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Most seconds at a percentile; None for any. `tpot` is between tokens of one user."""

    ttft_s: float | None = 1.0
    ttft_at: str = "p99"
    tpot_s: float | None = 0.020
    tpot_at: str = "mean"
    e2e_s: float | None = None
    e2e_at: str = "p99"

    def __post_init__(self) -> None:
        for name in ("ttft", "tpot", "e2e"):
            seconds = getattr(self, f"{name}_s")
            if seconds is not None and not 0 < seconds <= 3600:
                raise UsageError(
                    f"{name} of {seconds:g} s, expected more than 0 and at most an hour"
                )
            if getattr(self, f"{name}_at") not in PERCENTILES:
                raise UsageError(
                    f"{name} at '{getattr(self, f'{name}_at')}'",
                    hint=f"one of {', '.join(PERCENTILES)}",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be spent: None for any. `supply`: chip or system id → most chips there are of it (0: none to be had)."""

    usd_per_h: float | None = None
    mw: float | None = None
    chips: int | None = None
    supply: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPool:
    """Replicas of one kind in a plan: what to start, in the words of serving engines.

    - `chip`: id of the catalogue; `kind`: gpu, tpu, lpu, …; `chips`: of one replica, laid out as `layout` says.
    - `role`: both, prompt or decode, as in `takt.serving.Pool`; `attention` with `ffn`: a replica shared by two kinds.
    - `weights`, `experts` ("" as weights), `kv`: number types; `engine`: whose overheads were counted.
    - `usd_per_h`, and `w` at the meter, of one replica; None where unknown.
    """

    chip: str
    name: str
    kind: str
    role: Literal["both", "prompt", "decode", "attention", "ffn"]
    replicas: int
    chips: int
    layout: Layout
    weights: str
    experts: str
    kv: str
    engine: str
    max_seqs: int
    max_step_tokens: int
    block_tokens: int
    kv_tokens: int
    prefix_caching: bool = True
    draft_tokens: int = 0
    acceptance: float = 0.0
    usd_per_h: float | None = None
    w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A figure of a simulation: its mean over replications and the half width of its 95 % confidence interval."""

    mean: float
    half_width: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a plan gives. Latencies in seconds by percentile (`PERCENTILES`); None where a price or a power is unknown, and
    for the pace of answers of one token, which have none.

    `goodput`: share of requests within the targets; `curves`: figure → pairs (seconds, share of requests at most
    that long), for plots.
    """

    ttft_s: Mapping[str, Measure]
    tpot_s: Mapping[str, Measure]
    e2e_s: Mapping[str, Measure]
    goodput: float
    throughput_tok_s: float
    tokens_per_s_user: float | None
    utilisation: float
    kv_occupancy: float
    usd_per_h: float | None
    usd_per_mtok: float | None
    j_per_token: float | None
    mw: float | None
    floor_m2: float | None
    kg_co2_per_mtok: float | None
    requests: int
    replications: int
    curves: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A way to serve the traffic. `id` is stable: made of the words that tell it from others.

    `basis` says what its figures rest on, `expected_error` the median relative error of its pace to expect (None:
    unknown), `assumed` the facts of its chips that nobody has published.
    """

    id: str
    pools: tuple[PlanPool, ...]
    router: str
    figures: Figures
    meets: bool
    misses: tuple[str, ...]
    basis: frozenset[str]
    expected_error: float | None
    assumed: tuple[str, ...]

    @property
    def chips(self) -> int:
        """Chips of all pools."""
        return sum(pool.replicas * pool.chips for pool in self.pools)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A candidate that was not simulated, or not to the end, and why it can't be among the best."""

    id: str
    stage: Literal["fit", "target", "limit", "bound", "simulated"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """One change and what it does: the winner after it, and its cost. `threshold`: text of where the winner changes."""

    name: str
    value: str
    winner: str
    usd_per_mtok: float | None
    threshold: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSet:
    """The answer: plans that no other beats, cheapest first; `nearest` where none meets the targets.

    `proof`: sentences that say why the rest was dropped, in numbers; `assumptions`: (what, value, kind, source).
    `context_tokens`: positions that a server must give a request, so that the longest that was simulated fits; at most the
    model's own limit, None where nobody said.
    """

    model: str
    workload: str
    rate: float
    prompt_tokens: float
    output_tokens: float
    context_tokens: int | None = None
    targets: Targets
    limits: Limits
    seed: int
    pareto: tuple[Plan, ...]
    others: tuple[Plan, ...]
    nearest: Plan | None
    dropped: tuple[Dropped, ...]
    proof: tuple[str, ...]
    what_ifs: tuple[WhatIf, ...]
    sensitivity: tuple[WhatIf, ...]
    assumptions: tuple[tuple[str, str, str, str], ...]

    @property
    def winner(self) -> Plan | None:
        """The cheapest plan that meets the targets; None where none does."""
        return self.pareto[0] if self.pareto else None
