"""How far the shipped predictions are from measurements that they were not fitted to, as measured when fitted.

``held_out.json``, beside the corrections in `takt.perf`, has for each way of judging and each figure one `Metric`.
Ways are `computed` (no correction), `series`, `model` and `chip` (corrections fitted without the row's own), and
`fitted` (with all rows). Written by `save_held_out`, read by whoever has to say what error to expect.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path

from takt.perf.corrections import FIGURES, Figure

from .metrics import Metric

__all__ = ["WAYS", "HeldOut", "save_held_out", "shipped_held_out"]

WAYS = ("computed", "series", "model", "chip", "fitted")
HeldOut = Mapping[str, Mapping[Figure, Metric]]
_FILE = "data/held_out.json"
_DIGITS = 4


def save_held_out(path: Path, table: HeldOut) -> None:
    """Write one metric for each way and figure; same table, same bytes."""
    document = {
        way: {figure: _rounded(metric) for figure, metric in table[way].items()}
        for way in WAYS
        if way in table
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _rounded(metric: Metric) -> dict[str, float | int]:
    return {
        name: value if name == "n" else round(value, _DIGITS)
        for name, value in asdict(metric).items()
    }


@cache
def shipped_held_out() -> HeldOut:
    """The table that came with the shipped corrections; empty where there is none."""
    path = files("takt.perf").joinpath(_FILE)
    if not path.is_file():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    return {
        way: {figure: Metric(**rows[figure]) for figure in FIGURES if figure in rows}
        for way, rows in document.items()
    }
