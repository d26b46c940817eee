"""Many chips: a model cut over a system, as one exact schedule, and what it comes to.

compile      the front door: groups in a line, one token's way     summary      its figures
shards, place, lower, boundary   the cut itself                    fit          how many chips it takes
programs, stages, line           programs, stages, groups          speculative  with a draft model
session      a model in use
"""

from takt.lpu.system.compile import SystemCompiled, compile_system, require_supported
from takt.lpu.system.fit import fewest_chips, most_users
from takt.lpu.system.session import SystemSession
from takt.lpu.system.speculative import (
    Pace,
    Speculation,
    best_speculation,
    draft_beside,
    speculate,
)
from takt.lpu.system.summary import SystemSummary, host_seconds, summarise_system

__all__ = [
    "Pace",
    "Speculation",
    "SystemCompiled",
    "SystemSession",
    "SystemSummary",
    "best_speculation",
    "compile_system",
    "draft_beside",
    "fewest_chips",
    "host_seconds",
    "most_users",
    "require_supported",
    "speculate",
    "summarise_system",
]
