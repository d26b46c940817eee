"""The face of results: what a simulation showed, how sure that is, and the files it is looked at in.

    outcome       figures of one run, from a sink of finished requests       outcome_json   the same as JSON and by name
    replications  figures over seeds; is one system better than another?     timeline       pools over time
    event_files   logs of all that happened

Knows no simulator: every sink here is given to one.
"""

from .event_files import EventFile
from .outcome import LATENCIES, Collector, Latency, Outcome
from .outcome_json import document, figure, figures
from .replications import Interval, Replicated, compare, replicate
from .timeline import Series, Timeline

__all__ = [
    "LATENCIES",
    "Collector",
    "EventFile",
    "Interval",
    "Latency",
    "Outcome",
    "Replicated",
    "Series",
    "Timeline",
    "compare",
    "document",
    "figure",
    "figures",
    "replicate",
]
