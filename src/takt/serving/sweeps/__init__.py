"""Sweeps: many independent computations, done here, by processes or on Ray, kept as they end and resumed.

`task` names a computation by its content, `sweep` runs many in order, `store` keeps results in an SQLite file and
`parquet` hands them on. Runners: `runner` (this process), `processes`, `on_ray`; `work` is what each of them calls. Knows
nothing of what tasks compute.
"""

from .failures import FailedTasks, Interrupted
from .on_ray import OnRay
from .parquet import write_parquet
from .processes import Processes
from .runner import Runner, Serial, runner_of
from .store import Store
from .sweep import sweep
from .task import Result, Task, files_digest

__all__ = [
    "FailedTasks",
    "Interrupted",
    "OnRay",
    "Processes",
    "Result",
    "Runner",
    "Serial",
    "Store",
    "Task",
    "files_digest",
    "runner_of",
    "sweep",
    "write_parquet",
]
