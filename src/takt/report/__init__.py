"""Reports: what a schedule did, as figures, as a timeline, as a picture.

    schedule   a program on its chip, with the compiler's tasks    profile  where its cycles went
    summary    the figures of a run                                trace    Perfetto / Chrome JSON
    plot       the schedule as a picture                           package  schedules in a .takt file

and for many chips, of which one token's way is a line of visits:

    line          visits, users and wires                          causes      what a visit's cycles were spent on
    line_profile  all figures                                      critical    the critical path
    line_trace    the timeline                                     use         how much of each unit was in use
    line_plot     the pipeline as a picture

and for many kinds of chip:

    compare_plot  speed for each user against throughput

It prints nothing; `cli` does.
"""

from takt.report.compare_plot import write_compare_plot
from takt.report.line import SystemSchedule
from takt.report.line_plot import write_pipeline_plot
from takt.report.line_profile import SystemProfile
from takt.report.line_trace import write_system_trace
from takt.report.package import pack, unpack
from takt.report.plot import write_plot
from takt.report.profile import LayerUse
from takt.report.schedule import Schedule, last_issue
from takt.report.summary import RunSummary, summarise
from takt.report.trace import write_trace

__all__ = [
    "LayerUse",
    "RunSummary",
    "Schedule",
    "SystemProfile",
    "SystemSchedule",
    "last_issue",
    "pack",
    "summarise",
    "unpack",
    "write_compare_plot",
    "write_pipeline_plot",
    "write_plot",
    "write_system_trace",
    "write_trace",
]
