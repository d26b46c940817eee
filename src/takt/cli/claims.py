"""`takt claims`: what is in print about LPUs beside Takt's own figure for the same machine.

Knows how a row reads as text and as JSON (keys in docs/verbs.md). Claims and computations are the `claims` room's.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from takt.claims import Row, evaluate, find_claims, load_claims, write_claims_plot
from takt.cli.common import AsJson, writable
from takt.cli.table import aligned
from takt.errors import UsageError

__all__ = ["command"]

MOST_PROCESSES = 2
"""Each may take a gigabyte."""


def command(
    claim: Annotated[
        list[str] | None,
        typer.Option(
            "--claim", metavar="ID", help="Only this one, in full; repeatable.", show_default=False
        ),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="The ratios as a picture, .png or .svg (needs matplotlib).",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", metavar="N", help="Processes [default: 2 at most].", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold public figures about LPUs against Takt's own for the same machine.

    One row a claim: the published figure, Takt's, their ratio, and why they differ. All of them
    take about two minutes.

    \b
    Examples:
      takt claims
      takt claims --claim llama-2-70b-300          its source, conditions and assumptions
      takt claims --json --plot claims.png
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: expected 1 or more")
    if plot is not None:
        writable(plot)
        if Path(plot).suffix not in (".png", ".svg"):
            raise UsageError(f"--plot {plot}: expected a file that ends in .png or .svg")
    claims = find_claims(load_claims(), claim or [])
    processes = jobs or min(MOST_PROCESSES, os.cpu_count() or 1)
    with _progress() as report:
        rows = evaluate(claims, processes=processes, progress=report)
    if plot is not None:
        write_claims_plot(Path(plot), rows)
    if as_json:
        document = json.dumps([_document(row) for row in rows], indent=2, ensure_ascii=False)
        sys.stdout.write(document + "\n")
    elif claim:
        sys.stdout.write("\n".join(_in_full(row) for row in rows))
    else:
        sys.stdout.write(_table(rows))


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr, if someone is watching."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # only a terminal needs it
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("computing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _document(row: Row) -> dict[str, object]:
    claim = row.claim
    return {
        "claim": claim.id,
        "text": claim.text,
        "source": claim.source.text,
        "date": claim.date,
        "mark": claim.mark.value,
        "conditions": claim.conditions,
        "assumed": list(claim.takt.assumed),
        "relation": claim.relation.value,
        "published": claim.value,
        "takt": row.takt,
        "unit": claim.unit,
        "ratio": row.ratio,
        "better": claim.better,
        "holds": row.holds,
        "workloads": row.workloads,
        "why": row.why,
        "basis": row.basis,
        "detail": row.detail,
        "seconds": row.seconds,
    }


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"


def _ratio(row: Row) -> str:
    return "–" if row.ratio is None else f"{row.ratio:.3g}"


def _table(rows: Sequence[Row]) -> str:
    header = ("CLAIM", "PUBLISHED", "TAKT", "UNIT", "RATIO", "BY", "WHY THEY DIFFER")
    cells = [
        (
            row.claim.id,
            f"{row.claim.relation} {_number(row.claim.value)}",
            _number(row.takt),
            row.claim.unit,
            _ratio(row),
            row.claim.mark.value,
            row.why,
        )
        for row in rows
    ]
    legend = (
        "\nBY: V vendor, P peer-reviewed, T third party, U recalled or weakly sourced. RATIO: Takt's figure ÷ the "
        "published one.\nSources, conditions and what Takt assumed: takt claims --claim ID.\n"
    )
    return aligned([header, *cells], right=(1, 2, 4)) + legend


def _in_full(row: Row) -> str:
    claim = row.claim
    cells = [
        (claim.id, claim.text),
        ("published", f"{claim.relation} {_number(claim.value)} {claim.unit}"),
        (
            "source",
            f"{claim.source.text} ({claim.date}; {claim.mark.name.lower().replace('_', ' ')})",
        ),
        ("conditions", claim.conditions or "none stated"),
        ("Takt", "–" if row.takt is None else f"{_number(row.takt)} {claim.unit}"),
        ("ratio", _ratio(row)),
        ("why", row.why),
    ]
    if row.takt is not None:
        cells += [("holds", "yes" if row.holds else "no")]
        cells += [("workloads", row.workloads)] if row.workloads else []
        cells += [("basis", row.basis)] + ([("machine", row.detail)] if row.detail else [])
    if claim.takt.assumed:
        cells.append(("assumed", "; ".join(claim.takt.assumed)))
    return aligned(cells)
