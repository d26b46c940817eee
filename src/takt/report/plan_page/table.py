"""The table of plans: a row for each, a cell for each figure, with the value that it is sorted by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from takt.plan.plans import Measure, Plan, PlanPool, PlanSet
from takt.report.plan_page.headline import measure_of
from takt.report.plan_page.words import (
    UNKNOWN,
    amount,
    duration,
    family_of,
    layout_of,
    power,
    share,
    system_of,
    usd,
)

__all__ = ["MOST_OTHERS", "Cell", "Column", "Place", "Row", "columns_of", "places_of", "rows_of"]

MOST_OTHERS = 200  # plans beaten by others that a page shows; the JSON has all
_PERCENTILES = ("mean", "p50", "p90", "p99")
Standing = Literal["best", "other", "nearest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A plan of the page: its mark in plots and table, and how it stands."""

    plan: Plan
    mark: str
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its key in the JSON, its name, its unit or what to add to it."""

    key: str
    name: str
    unit: str
    is_number: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is shown, and what it is sorted by (None: last)."""

    text: str
    value: float | str | None

    @property
    def unknown(self) -> bool:
        """Whether there is no figure."""
        return self.text == UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A plan with its cells, its pools and its latencies in full; `brief` is cost and speed in a line, `kinds` those of its basis."""

    place: Place
    family: str
    title: str
    brief: str
    layout: tuple[str, ...]
    kinds: tuple[str, ...]
    cells: tuple[Cell, ...]
    pools: tuple[tuple[str, ...], ...]
    latencies: tuple[tuple[str, ...], ...]
    facts: tuple[tuple[str, str], ...]


def places_of(plans: PlanSet) -> tuple[Place, ...]:
    """Best plans first, numbered in the order of the search; then the nearest, then the rest."""
    best = [Place(plan=p, mark=str(i), standing="best") for i, p in enumerate(plans.pareto, 1)]
    near = plans.nearest
    nearest = [] if near is None else [Place(plan=near, mark="N", standing="nearest")]
    shown = {place.plan.id for place in best + nearest}
    rest = [
        Place(plan=plan, mark="", standing="other") for plan in plans.others if plan.id not in shown
    ]
    return (*best, *nearest, *rest[:MOST_OTHERS])


def columns_of(plans: PlanSet) -> tuple[Column, ...]:
    """The columns after the plan's own; latencies at the percentile that the targets name."""
    targets = plans.targets
    return (
        Column(key="chips", name="Chips", unit=""),
        Column(key="layout", name="Layout", unit="", is_number=False),
        Column(key="usd_per_mtok", name="Cost", unit="$/M tok"),
        Column(key="tokens_per_s_user", name="Speed", unit="tok/s/user"),
        Column(key="ttft", name="TTFT", unit=targets.ttft_at),
        Column(key="tpot", name="TPOT", unit=targets.tpot_at),
        Column(key="j_per_token", name="Energy", unit="J/tok"),
        Column(key="mw", name="Power", unit=""),
        Column(key="floor_m2", name="Floor", unit="m²"),
        Column(key="goodput", name="In time", unit="of requests"),
        Column(key="expected_error", name="Error", unit="expected"),
        Column(key="basis", name="Basis", unit="", is_number=False),
    )


def rows_of(places: tuple[Place, ...], plans: PlanSet) -> tuple[Row, ...]:
    """A row for each plan of the page."""
    return tuple(_row(place, plans) for place in places)


def _row(place: Place, plans: PlanSet) -> Row:
    plan = place.plan
    return Row(
        place=place,
        family=family_of(plan),
        title=system_of(plan),
        brief=_brief(plan),
        layout=tuple(layout_of(pool) for pool in plan.pools),
        kinds=tuple(sorted({each.partition(":")[0] for each in plan.basis})),
        cells=_cells(plan, plans),
        pools=tuple(_pool(pool) for pool in plan.pools),
        latencies=_latencies(plan),
        facts=_facts(plan),
    )


def _brief(plan: Plan) -> str:
    cost = plan.figures.usd_per_mtok
    money = "cost unknown" if cost is None else f"{usd(cost)}/M tok"
    return f"{money}, {amount(plan.figures.tokens_per_s_user, 'tok/s')} per user"


def _cells(plan: Plan, plans: PlanSet) -> tuple[Cell, ...]:
    figures, targets = plan.figures, plans.targets
    basis = ", ".join(sorted(plan.basis))
    layout = "; ".join(layout_of(pool) for pool in plan.pools)
    return (
        Cell(text=f"{plan.chips:,}", value=plan.chips),
        Cell(text=layout, value=layout),
        Cell(text=usd(figures.usd_per_mtok), value=figures.usd_per_mtok),
        Cell(text=amount(figures.tokens_per_s_user), value=figures.tokens_per_s_user),
        _seconds(figures.ttft_s, targets.ttft_at),
        _seconds(figures.tpot_s, targets.tpot_at),
        Cell(text=amount(figures.j_per_token), value=figures.j_per_token),
        Cell(text=power(figures.mw), value=figures.mw),
        Cell(text=amount(figures.floor_m2), value=figures.floor_m2),
        Cell(text=share(figures.goodput), value=figures.goodput),
        Cell(text=share(plan.expected_error), value=plan.expected_error),
        Cell(text=basis or UNKNOWN, value=basis),
    )


def _seconds(measures: Mapping[str, Measure], at: str) -> Cell:
    measure = measures.get(at)
    mean = None if measure is None else measure.mean
    return Cell(text=duration(mean), value=mean)


def _pool(pool: PlanPool) -> tuple[str, ...]:
    drafts = (
        f"{pool.draft_tokens} ({share(pool.acceptance)} taken)" if pool.draft_tokens else "none"
    )
    return (
        pool.name,
        pool.role,
        f"{pool.replicas:,} × {pool.chips:,}",
        str(pool.layout),
        ", ".join(
            [pool.weights, *([f"experts {pool.experts}"] if pool.experts else []), f"KV {pool.kv}"]
        ),
        pool.engine,
        f"{pool.max_seqs:,} / {pool.max_step_tokens:,}",
        f"{pool.kv_tokens:,} in blocks of {pool.block_tokens:,}",
        "yes" if pool.prefix_caching else "no",
        drafts,
    )


def _latencies(plan: Plan) -> tuple[tuple[str, ...], ...]:
    figures = plan.figures
    rows = (
        ("first token", figures.ttft_s),
        ("each further token", figures.tpot_s),
        ("whole answer", figures.e2e_s),
    )
    return tuple((name, *(measure_of(m, at) for at in _PERCENTILES)) for name, m in rows)


def _facts(plan: Plan) -> tuple[tuple[str, str], ...]:
    figures = plan.figures
    carbon = figures.kg_co2_per_mtok
    return (
        ("id", plan.id),
        ("router", plan.router),
        (
            "money",
            f"{usd(figures.usd_per_h)} an hour" if figures.usd_per_h is not None else UNKNOWN,
        ),
        ("throughput", amount(figures.throughput_tok_s, "tok/s")),
        ("time in use", share(figures.utilisation)),
        ("KV cache in use", share(figures.kv_occupancy)),
        ("carbon", UNKNOWN if carbon is None else f"{amount(carbon)} kg CO₂ per million tokens"),
        ("simulated", f"{figures.requests:,} requests, {figures.replications:,} runs"),
        ("basis", ", ".join(sorted(plan.basis)) or UNKNOWN),
        ("assumed", ", ".join(plan.assumed) or "nothing"),
        ("misses", "; ".join(plan.misses) or "nothing"),
    )
