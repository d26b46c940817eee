"""The tables of errors in docs/kernels.md, between its marks."""

from collections import defaultdict
from pathlib import Path

from takt.perf.kernels.book import NOT_EFFICIENCIES

from .tables import FitRow, TableRow

__all__ = ["write_docs"]

BEGIN, END = "<!-- errors: begin -->", "<!-- errors: end -->"


def _tables(rows: list[TableRow]) -> list[str]:
    lines = [
        "| chip | family | type | calls | generic | engines |",
        "|---|---|---|---:|---:|---|",
    ]
    groups = defaultdict(list)
    for row in rows:
        groups[row.key.chip, row.key.family, row.key.type_name].append(row)
    for (chip, family, kind), found in sorted(groups.items()):
        engines = ", ".join(
            f"{row.key.engine} {row.error:.1%}" for row in found if row.key.engine != "generic"
        )
        lines.append(
            f"| {chip} | {family} | {kind} | {found[0].n_samples} | {found[0].error:.1%} | {engines} |"
        )
    return lines


def _fits(rows: list[FitRow]) -> list[str]:
    lines = [
        "| family | type | left-out chip, default efficiencies | table of one chip carried over to another (median of pairs) |",
        "|---|---|---:|---:|",
    ]
    groups: dict[tuple[str, str], list[FitRow]] = defaultdict(list)
    for row in rows:
        groups[row.family, row.type_name].append(row)
    for (family, kind), found in sorted(groups.items()):
        default = next(row.error for row in found if not row.chip)
        carried = sorted(row.error for row in found if row.chip)
        middle = (
            f"{carried[len(carried) // 2]:.0%}"
            if carried and family not in NOT_EFFICIENCIES
            else "–"
        )
        lines.append(f"| {family} | {kind} | {default:.0%} | {middle} |")
    return lines


def write_docs(tables: list[TableRow], fits: list[FitRow], page: Path) -> None:
    """Put both tables between the marks of `page`."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    body = "\n".join(["", *_tables(tables), "", *_fits(fits), ""])
    page.write_text(f"{head}{BEGIN}\n{body}\n{END}{tail}", encoding="utf-8")
