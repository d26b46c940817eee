"""Tasks for the tests of sweeps, in a module of their own so that other processes can import them."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from takt.errors import CapacityError, DenseQueueError
from takt.serving.sweeps import Interrupted, Processes, Runner, Serial, Store, Task, sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`n` draws of a stream; `log` gets a line for each run; `seconds` to wait."""

    seed: int
    n: int = 3
    log: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    seed: int
    values: list[float]


def draw(step: Step) -> Drawn:
    if step.log:
        with Path(step.log).open("a", encoding="utf-8") as log:
            log.write(f"{step.seed}\n")
    time.sleep(step.seconds)
    return Drawn(seed=step.seed, values=np.random.default_rng(step.seed).random(step.n).tolist())


def total(values: NDArray[np.float64]) -> float:
    return float(values.sum())


def fail_on_three(step: Step) -> Drawn:
    if step.seed == 3:
        raise CapacityError("no room", resource="blocks", needed=4, available=2, hint="add chips")
    return draw(step)


def fail_oddly(step: Step) -> Drawn:
    raise DenseQueueError(f"queue of {step.seed}", queue=1, start_cycle=2, end_cycle=3)


def divide(step: Step) -> float:
    return 1 / (step.seed - 3)


def interrupt_on_three(step: Step) -> Drawn:
    if step.seed == 3 and not Path(f"{step.log}.go").exists():
        raise KeyboardInterrupt
    return draw(step)


def die(step: Step) -> None:
    os._exit(9)


def not_a_number(step: Step) -> float:
    return float("nan") * step.seed


def clock(step: Step) -> int:
    return time.perf_counter_ns() + step.seed


def tick(step: Step) -> None:
    """Writes for a minute, or until someone ends the process."""
    for _ in range(3000):
        with Path(step.log).open("a", encoding="utf-8") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(0.02)


def main(kind: str, store: str, log: str) -> None:
    """A sweep in a process of its own, to be interrupted: the first tasks are quick, the others last."""
    runner: Runner = Serial() if kind == "serial" else Processes(workers=2)
    tasks: list[Task[Step]] = [
        Task(function=draw, arguments=Step(seed=seed, log=log)) for seed in range(4)
    ]
    tasks += [
        Task(function=tick, arguments=Step(seed=seed, log=f"{log}.ticks")) for seed in range(2)
    ]
    try:
        with Store(Path(store)) as results:
            for _ in sweep(tasks, runner=runner, store=results):
                pass
    except Interrupted as interrupt:
        sys.stderr.write(f"{interrupt}\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    # Whoever started the tests in the background has told all of them to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The module under its own name: tasks of a script cannot be found by others.
    from tests.serving import sweep_tasks

    sweep_tasks.main(*sys.argv[1:])
