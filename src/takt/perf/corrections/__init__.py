"""Measured ÷ computed by named effects: what kernels and engine parameters leave unexplained.

`Situation` names what is known of a deployment, `shipped_corrections` has the fitted effects; `time_factor` looks
them up for a deployment and `figure_error` says what error to expect.
"""

from .effects import FIGURES, Corrections, Figure, shipped_corrections
from .lookup import figure_error, situation_of, time_factor
from .situation import FAMILIES, SLOPES, Situation, era_of, slopes

__all__ = [
    "FAMILIES",
    "FIGURES",
    "SLOPES",
    "Corrections",
    "Figure",
    "Situation",
    "era_of",
    "figure_error",
    "shipped_corrections",
    "situation_of",
    "slopes",
    "time_factor",
]
