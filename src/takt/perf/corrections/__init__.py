"""Measured ÷ computed by named effects: what kernels and engine parameters leave unexplained.

`Situation` names what is known of a deployment; `shipped_corrections` gives the fitted effects.
"""

from .effects import FIGURES, Corrections, Figure, shipped_corrections
from .situation import FAMILIES, SLOPES, Situation, slopes

__all__ = [
    "FAMILIES",
    "FIGURES",
    "SLOPES",
    "Corrections",
    "Figure",
    "Situation",
    "shipped_corrections",
    "slopes",
]
