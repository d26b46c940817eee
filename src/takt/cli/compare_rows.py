"""What `takt compare` does with its chips: a row for each, their order, and files made of them.

Knows which room answers for which kind of chip; imports what is heavy only for chips that need it.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from takt.cli.compare_chips import Chosen, Pair
from takt.cli.compare_text import document_of, flat_keys, flatten
from takt.errors import DataError
from takt.models.outlines import Outline
from takt.plan import Compared, Request, Tenure, compare

if TYPE_CHECKING:
    from takt.plan.hybrids import Share

__all__ = ["draw", "rank", "rows_of", "write_csv"]


def rows_of(
    model: Outline,
    request: Request,
    chosen: Chosen,
    pairs: Sequence[Pair],
    *,
    shares: "Sequence[Share]",
    max_chips: int | None,
    tenure: Tenure,
    prices: Mapping[str, float],
) -> list[Compared]:
    """Accelerators, then LPUs, then pairs with each of the `shares`."""
    rows = list(compare(model, chosen.accelerators, request, tenure=tenure, prices=prices))
    if chosen.systems:
        from takt.plan.lpus import Lpus, compare_system  # brings the LPU's compiler along

        rows += [
            compare_system(
                model, Lpus.of(source, name), request, max_chips=max_chips, prices=prices
            )
            for name, source in chosen.systems.items()
        ]
    if pairs:
        from takt.plan.hybrids import compare_pair
        from takt.plan.lpus import Lpus

        rows += [
            compare_pair(
                model, pair.gpu, Lpus.of(pair.source, pair.lpu), request, share=share,
                max_chips=max_chips, tenure=tenure, prices=prices,
            )
            for pair in pairs
            for share in shares
        ]  # fmt: skip
    return rows


def rank(row: Compared, *, per: str) -> tuple[bool, float, str]:
    """Most throughput first, those without any last."""
    rate = row.tokens_per_s_mw if per == "mw" else row.tokens_per_s_chip
    return (not rate, -(rate or row.tokens_per_s_user or 0.0), row.chip)


def write_csv(path: Path, rows: Sequence[Compared], request: Request) -> None:
    """One line a row; DataError where the file cannot be written."""
    out = io.StringIO()
    writer = csv.DictWriter(out, flat_keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flatten(document_of(row, request)) for row in rows)
    try:
        path.write_text(out.getvalue(), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write: {error.strerror or error}", file=str(path)) from error


def draw(path: Path, rows: Sequence[Compared], request: Request, title: str, per: str) -> None:
    """Frontiers and the chosen loads as a picture; errors as `write_compare_plot` has them."""
    from takt.report import write_compare_plot  # only a picture needs it

    mw = per == "mw"
    curves = {}
    for row in rows:
        points = [
            (point.tokens_per_s_user, rate)
            for point in row.frontier
            if (rate := point.tokens_per_s_mw if mw else point.tokens_per_s_chip) is not None
        ]
        curves[row.chip] = np.array(points, dtype=np.float64).reshape(-1, 2).T
    served = {
        row.chip: (1 / row.served.tpot_s, rate)
        for row in rows
        if row.served is not None
        and (rate := row.tokens_per_s_mw if mw else row.tokens_per_s_chip) is not None
    }
    write_compare_plot(
        path,
        curves,
        served,
        title=title,
        target=1 / request.tpot_s,
        per="MW" if mw else "chip",
    )
