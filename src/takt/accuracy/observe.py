"""Measured beside computed: one observation a figure of a case, in logarithms of time.

Rates are turned into times (1 ÷ rate), so that one effect can move all figures alike.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from takt.perf.corrections import FIGURES, Corrections, Figure, Situation, slopes

from .case import Measured
from .compute import Computed

__all__ = ["Observation", "observations", "predicted_logs", "slopes_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One figure of one case; `measured` and `computed` are natural logarithms of a time or an energy."""

    computed_case: Computed
    figure: Figure
    situation: Situation
    measured: float
    computed: float


def observations(computed: Sequence[Computed]) -> list[Observation]:
    """Every figure that a case has both measured and computed."""
    found = []
    for item in computed:
        for figure in FIGURES:
            measured = _measured(item.case.measured, figure)
            if measured is not None and figure in item.log:
                found.append(
                    Observation(
                        computed_case=item,
                        figure=figure,
                        situation=replace(item.situation, figure=figure),
                        measured=measured,
                        computed=item.log[figure],
                    )
                )
    return found


def _measured(measured: Measured, figure: Figure) -> float | None:
    value: float | None
    if figure == "tpot":
        value = measured.tpot_ms
    elif figure == "ttft":
        value = measured.ttft_ms
    elif figure == "energy":
        value = measured.j_per_output_token
    elif figure == "step_time":
        value = measured.step_ms
    else:
        rates = (measured.output_tokens_per_s, measured.total_tokens_per_s, measured.requests_per_s)
        value = next((rate for rate in rates if rate is not None), None)
        return None if not value else -float(np.log(value))
    return None if not value or value <= 0 else float(np.log(value))


def slopes_of(rows: Sequence[Observation]) -> Floats:
    """[rows, slopes] factors of the effects."""
    return slopes(
        np.asarray([row.computed_case.users for row in rows]),
        np.asarray([row.computed_case.context for row in rows]),
        np.asarray([row.computed_case.prompts for row in rows]),
        np.asarray([row.situation.n_chips for row in rows], dtype=np.float64),
    )


def predicted_logs(rows: Sequence[Observation], corrections: Corrections) -> Floats:
    """Computed logarithms plus what the corrections know of each row's situation."""
    predicted = np.asarray([row.computed for row in rows])
    if not corrections.effects or not rows:
        return predicted
    factors = slopes_of(rows)
    members: dict[Situation, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        members[row.situation].append(i)
    for situation, index in members.items():
        predicted[index] += corrections.log_factor(situation, factors[index])
    return predicted
