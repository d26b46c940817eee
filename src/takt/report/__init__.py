"""Reports: what a schedule did, as figures, as a timeline, as a picture.

    schedule   a program on its chip, with the compiler's tasks    profile  where its cycles went
    summary    the figures of a run                                trace    Perfetto / Chrome JSON
    plot       the schedule as a picture                           package  schedules in a .takt file

It prints nothing; `cli` does.
"""

from takt.report.profile import LayerUse, UnitUse, layer_use, stage_cycles, unit_use
from takt.report.schedule import Schedule, Span
from takt.report.summary import RunSummary, summarise

__all__ = [
    "LayerUse",
    "RunSummary",
    "Schedule",
    "Span",
    "UnitUse",
    "layer_use",
    "stage_cycles",
    "summarise",
    "unit_use",
]
