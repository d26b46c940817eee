"""One file of HTML from a set of plans: the template filled, style and script put in, nothing else allowed to run.

The template escapes whatever it is given. A content security policy names the style and the script by their hashes,
so that even text that slipped through could not run, load or send anything.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from takt.plan.plans import PlanSet, WhatIf
from takt.report.plan_page.curves import panels_of, plans_with_curves
from takt.report.plan_page.data import embedded_json, flat_plans
from takt.report.plan_page.dropped import stages_of
from takt.report.plan_page.headline import headline_of
from takt.report.plan_page.scatter import views_of
from takt.report.plan_page.table import MOST_OTHERS, Place, columns_of, places_of, rows_of
from takt.report.plan_page.words import system_of, usd

__all__ = ["plan_page"]

_CHECKED_CURVES = 4  # shown at first; the rest at a click
_SHOWN_OTHERS = 6  # so few rows of beaten plans are shown at once


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A what-if in words; `changes`: whether another plan wins after it; None where none won before."""

    name: str
    value: str
    winner: str
    mark: str
    cost: str
    threshold: str
    changes: bool | None


def plan_page(plans: PlanSet, *, date: str, version: str, command: str = "") -> str:
    """The page of a search's answer: HTML for a file of its own. Same arguments, same text.

    `date` and `version` (of Takt) are shown as given; `command` is the line that makes the same page again.
    """
    places = places_of(plans)
    rows, columns = rows_of(places, plans), columns_of(plans)
    shown = tuple(place.plan for place in places)
    flat = flat_plans(rows, tuple(f"{c.name} {c.unit}".strip() for c in columns))
    style, script = _part("page.css").strip(), _part("page.js").strip()
    return _environment().get_template("page.html.jinja").render(
        plans=plans,
        headline=headline_of(plans),
        rows=rows,
        columns=columns,
        n_others=sum(place.standing == "other" for place in places),
        n_left_out=max(0, len(plans.others) - MOST_OTHERS),
        shown_others=_SHOWN_OTHERS,
        views=views_of(shown, plans.targets.ttft_at),
        panels=panels_of(shown, plans.targets),
        curves=plans_with_curves(shown),
        checked_curves=_CHECKED_CURVES,
        stages=stages_of(plans),
        changes=_changes(plans.what_ifs, plans, places),
        sensitivity=_changes(plans.sensitivity, plans, places),
        date=date,
        version=version,
        command=command,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        data=Markup(
            embedded_json(plans, flat, date=date, version=version, command=command)
        ),
    )  # fmt: skip


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_part),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _policy(style: str, script: str) -> str:
    """Nothing but the two blocks of the page itself may apply or run; nothing may be fetched or sent."""
    hashes = (b64encode(sha256(text.encode()).digest()).decode() for text in (style, script))
    of_style, of_script = hashes
    return (
        f"default-src 'none'; style-src 'sha256-{of_style}'; script-src 'sha256-{of_script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _changes(
    rows: Sequence[WhatIf], plans: PlanSet, places: Sequence[Place]
) -> tuple[_Change, ...]:
    known = {place.plan.id: place for place in places}
    winner = plans.winner
    return tuple(
        _Change(
            name=row.name,
            value=row.value,
            winner=system_of(known[row.winner].plan) if row.winner in known else row.winner,
            mark=known[row.winner].mark if row.winner in known else "",
            cost=usd(row.usd_per_mtok),
            threshold=row.threshold,
            changes=None if winner is None else row.winner != winner.id,
        )
        for row in rows
    )
