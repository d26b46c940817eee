"""What a step costs on any chip, and what users see of it: kernels, overheads, and a closed loop at estimator speed.

`step_cost` answers for one step, elementwise over batches and contexts; `closed_loop`, `one_batch` and
`open_loop` turn steps into waiting, pace and throughput; `corrected` adds what end-to-end measurements say. Every figure is an `Estimate` with its basis.
Knows models as outlines and chips as facts; knows nothing of single requests.
"""

from .deployment import ENGINES, Deployment, Precision
from .engines import engine_of
from .estimate import Estimate
from .service import Service, closed_loop, corrected, one_batch, open_loop
from .step import StepModel, step_cost
from .work import max_users, memory_of

__all__ = [
    "ENGINES",
    "Deployment",
    "Estimate",
    "Precision",
    "Service",
    "StepModel",
    "closed_loop",
    "corrected",
    "engine_of",
    "max_users",
    "memory_of",
    "one_batch",
    "open_loop",
    "step_cost",
]
