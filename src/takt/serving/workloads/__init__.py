"""Workloads: where the requests of a simulation come from.

    lengths, words   how long texts are, and how that is written     arrivals   when requests are sent
    sessions         turns, shared prefixes, tiers                   workload   a recipe, and the rows it makes
    read, columns    recordings from files                           trace      a recording, and its replay
    fit              a recipe like a recording                       file       a recipe on disk
    summary          figures of requests                             arguments  a command line's words

A source (`Workload` or `Replay`) gives rows of `records.REQUEST`, chunk by chunk. Knows nothing of what serves them.
"""

from .arguments import workload_of
from .arrivals import Arrivals, AtOnce
from .file import workload_text
from .fit import Fitted, fit_trace
from .lengths import Lengths
from .read import read_trace
from .source import Source
from .summary import Summary, summary_of
from .trace import Replay
from .words import length_of
from .workload import Workload

__all__ = [
    "Arrivals",
    "AtOnce",
    "Fitted",
    "Lengths",
    "Replay",
    "Source",
    "Summary",
    "Workload",
    "fit_trace",
    "length_of",
    "read_trace",
    "summary_of",
    "workload_of",
    "workload_text",
]
