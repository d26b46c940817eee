"""The page's plans as JSON: a flat row for each plan for scripts and spreadsheets, and the whole answer.

The text is safe inside a `<script>` element: what could end it or open a comment is written as an escape.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from takt.plan.plans import Measure, PlanSet
from takt.report.plan_page.table import Row
from takt.report.plan_page.words import family_of

__all__ = ["FlatPlan", "embedded_json", "flat_plans"]

_ESCAPES = str.maketrans(
    {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatPlan:
    """A plan in one row, under the names of `takt plan --json`; times in milliseconds, money in dollars.

    `shown`: texts for the note at a point: (name, figure).
    """

    mark: str
    standing: str
    family: str
    id: str
    system: str
    chips: int
    layout: str
    usd_per_mtok: float | None
    usd_per_h: float | None
    tokens_per_s_user: float | None
    ttft_p99_ms: float | None
    tpot_mean_ms: float | None
    e2e_p99_ms: float | None
    j_per_token: float | None
    mw: float | None
    floor_m2: float | None
    goodput: float
    meets: bool
    basis: str
    expected_error: float | None
    shown: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Embedded:
    takt: str
    date: str
    command: str
    plans: tuple[FlatPlan, ...]
    answer: PlanSet


def flat_plans(rows: tuple[Row, ...], names: tuple[str, ...]) -> tuple[FlatPlan, ...]:
    """A flat row for each row of the table; `names` are those of its columns."""
    return tuple(_flat(row, names) for row in rows)


def embedded_json(
    plans: PlanSet, flat: tuple[FlatPlan, ...], *, date: str, version: str, command: str
) -> str:
    """Everything on the page, for a `<script type="application/json">`. Same values, same text."""
    whole = _Embedded(takt=version, date=date, command=command, plans=flat, answer=plans)
    return msgspec.json.encode(whole, order="deterministic").decode().translate(_ESCAPES)


def _flat(row: Row, names: tuple[str, ...]) -> FlatPlan:
    plan = row.place.plan
    figures = plan.figures

    def ms(measures: Mapping[str, Measure], at: str) -> float | None:
        return None if at not in measures else measures[at].mean * 1e3

    shown = zip(names, (cell.text for cell in row.cells), strict=True)
    return FlatPlan(
        mark=row.place.mark,
        standing=row.place.standing,
        family=family_of(plan),
        id=plan.id,
        system=row.title,
        chips=plan.chips,
        layout="; ".join(row.layout),
        usd_per_mtok=figures.usd_per_mtok,
        usd_per_h=figures.usd_per_h,
        tokens_per_s_user=figures.tokens_per_s_user,
        ttft_p99_ms=ms(figures.ttft_s, "p99"),
        tpot_mean_ms=ms(figures.tpot_s, "mean"),
        e2e_p99_ms=ms(figures.e2e_s, "p99"),
        j_per_token=figures.j_per_token,
        mw=figures.mw,
        floor_m2=figures.floor_m2,
        goodput=figures.goodput,
        meets=plan.meets,
        basis=", ".join(sorted(plan.basis)),
        expected_error=plan.expected_error,
        shown=tuple(shown),
    )
