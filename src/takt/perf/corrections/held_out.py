"""What error to expect: how far predictions were from measurements that the corrections had not seen.

``data/held_out.json`` has, for each way of holding back (``series``: a configuration of a known model on a known
chip; ``model``, ``chip``: nothing of that model or chip was seen) and each figure, the median and the
90th percentile of the absolute error. Written by tools/fit_perf.py.
"""

import json
from functools import cache
from importlib.resources import files

from .effects import shipped_corrections
from .situation import FAMILIES, Situation

__all__ = ["SAYS_MEASURED", "expected_error"]

# Effects whose being there says that a figure of this model, or chip, was measured: a chip seen only with image
# networks tells nothing of tokens.
SAYS_MEASURED = (("model", "figure"), ("chip", "figure"))

# Where nothing was held out of a kind, as for a network that was never measured.
_UNKNOWN = 0.5


@cache
def _table() -> dict[str, dict[str, dict[str, float]]]:
    path = files("takt.perf").joinpath("data/held_out.json")
    if not path.is_file():
        return {}
    table: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text(encoding="utf-8"))
    return table


def expected_error(situation: Situation) -> float:
    """Median relative error of the figure for situations of which as much is known.

    Where both model and chip are new, their errors add as independent ones do.
    """
    known = shipped_corrections()
    new = [
        fields[0]
        for index, name in situation.effects()
        if (fields := FAMILIES[index]) in SAYS_MEASURED and not known.knows(name)
    ]
    squares = [_median(way, situation.figure) ** 2 for way in new or ["series"]]
    return float(sum(squares) ** 0.5)


def _median(way: str, figure: str) -> float:
    row = _table().get(way, {}).get(figure)
    return _UNKNOWN if row is None else row["median_abs_error"]
