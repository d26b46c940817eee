"""Reports: what a schedule did, as figures, as a timeline, as a picture.

    schedule   a program on its chip, with the compiler's tasks    profile  where its cycles went
    summary    the figures of a run                                trace    Perfetto / Chrome JSON
    plot       the schedule as a picture                           package  schedules in a .takt file

It prints nothing; `cli` does.
"""

from takt.report.package import pack, unpack
from takt.report.plot import write_plot
from takt.report.profile import LayerUse, UnitUse, layer_use, stage_cycles, unit_use
from takt.report.schedule import Schedule, Span, last_issue
from takt.report.summary import RunSummary, summarise
from takt.report.trace import write_trace

__all__ = [
    "LayerUse",
    "RunSummary",
    "Schedule",
    "Span",
    "UnitUse",
    "last_issue",
    "layer_use",
    "pack",
    "stage_cycles",
    "summarise",
    "unit_use",
    "unpack",
    "write_plot",
    "write_trace",
]
