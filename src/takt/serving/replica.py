"""One replica in the slow engine: its scheduler, what it does now, and sums of what it did. Knows no other replica."""

from enum import Enum, auto

import numpy as np

from .fleet import Pool
from .records import REPLICA
from .scheduler import Scheduler, Step

__all__ = ["Replica", "State"]


class State(Enum):
    """Whether it takes requests (UP), still has some (DRAINING), or none."""

    OFF = auto()
    STARTING = auto()
    UP = auto()
    DRAINING = auto()
    DOWN = auto()


class Replica:
    """`expected`: requests whose cache is on its way here. `epoch` counts failures: what began before one is void."""

    __slots__ = (
        "epoch",
        "expected",
        "link_free_ns",
        "number",
        "on_since_ns",
        "pool",
        "pool_index",
        "scheduler",
        "state",
        "step",
        "step_began_ns",
        "step_blocks",
        "step_joules",
        "step_ns",
        "sums",
    )

    def __init__(self, number: int, pool_index: int, pool: Pool) -> None:
        self.number = number
        self.pool_index = pool_index
        self.pool = pool
        self.scheduler = Scheduler(pool.policy)
        self.state = State.OFF
        self.step: Step | None = None
        self.step_began_ns = self.step_ns = self.step_blocks = 0
        self.step_joules = 0.0
        self.epoch = 0
        self.expected = 0
        self.link_free_ns = 0
        self.on_since_ns = 0
        self.sums = np.zeros((), REPLICA)

    @property
    def load(self) -> int:
        """Requests here or on their way."""
        return self.scheduler.load + self.expected

    @property
    def is_working(self) -> bool:
        """Up, or finishing what it has."""
        return self.state in (State.UP, State.DRAINING)

    @property
    def is_empty(self) -> bool:
        """Nothing is left to do, to send or to come."""
        return not self.load and not self.scheduler.parked and self.step is None

    def begin(self, step: Step, now_ns: int, time_ns: int, joules: float) -> None:
        """A step that takes so long and so much is under way."""
        self.step, self.step_began_ns, self.step_ns = step, now_ns, time_ns
        self.step_blocks, self.step_joules = self.scheduler.cache.in_use, joules
        sums = self.sums
        sums["steps"] += 1
        sums["read_tokens"] += sum(new for new, _ in step.chunks)
        sums["peak_blocks"] = max(int(sums["peak_blocks"]), self.step_blocks)

    def end_step(self, now_ns: int) -> None:
        """The step is over, or cut off by a failure: its time and energy until now count."""
        if self.step is None:
            return
        self.step = None
        busy_ns = now_ns - self.step_began_ns
        self.sums["busy_ns"] += busy_ns
        self.sums["block_ns"] += float(self.step_blocks) * float(busy_ns)
        self.sums["energy_j"] += self.step_joules * (float(busy_ns) / float(self.step_ns))

    def forget(self) -> None:
        """A failure: all that was here is gone."""
        self.scheduler = Scheduler(self.pool.policy)
        self.epoch += 1
        self.link_free_ns = 0

    def switched_off(self, now_ns: int) -> None:
        """No longer paid for."""
        self.state = State.OFF
        self.sums["on_ns"] += now_ns - self.on_since_ns
