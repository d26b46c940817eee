"""What this machine's processors can do, measured in half a second: reading memory, and multiplying matrices.

Reading is measured on as many bytes as the model has, read again and again, since small models stay in the processor's
caches. Knows no models and no engine. `takt chips measure` measures the same machine as a chip, beyond all caches.
"""

import os
import threading
import time
from dataclasses import dataclass

import numpy as np

from takt.errors import UsageError

__all__ = ["HostMachine", "measure_machine", "usable_processors"]

READING_S = 0.15
MAX_WORKING_SET_BYTES = 256 << 20  # beyond any cache; more would only take longer
MIN_WORKING_SET_BYTES = 1 << 20
MATRIX_SIZE = 768
MATRIX_TRIALS = 12
MAX_THREADS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMachine:
    """Rates of this machine.

    `read_bytes_per_s`: all `threads` together, over `working_set_bytes`. `matrix_ops_per_s`: single precision, by numpy's
    library on all processors, of which `threads` have their share; a multiplication and an addition count as two.
    """

    threads: int
    working_set_bytes: int
    read_bytes_per_s: float
    matrix_ops_per_s: float


def usable_processors() -> int:
    """Processors that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def measure_machine(working_set_bytes: int, threads: int) -> HostMachine:
    """Measure now. UsageError for a number of threads that makes no sense."""
    if not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"{threads} threads, expected 1 to {MAX_THREADS}")
    size = min(max(working_set_bytes, MIN_WORKING_SET_BYTES), MAX_WORKING_SET_BYTES)
    return HostMachine(
        threads=threads,
        working_set_bytes=working_set_bytes,
        read_bytes_per_s=_read_rate(size, threads),
        matrix_ops_per_s=_matrix_rate() * min(threads / usable_processors(), 1.0),
    )


def _read_rate(size_bytes: int, threads: int) -> float:
    """Every thread reads its own part over and over; numpy lets go of the interpreter meanwhile."""
    parts = [np.ones(max(size_bytes // 8 // threads, 1), np.uint64) for _ in range(threads)]
    done = [0] * threads
    begin = threading.Barrier(threads + 1)

    def read(index: int) -> None:
        part = parts[index]
        np.bitwise_or.reduce(part)
        begin.wait()
        end = time.perf_counter() + READING_S
        while time.perf_counter() < end:
            np.bitwise_or.reduce(part)
            done[index] += part.nbytes

    workers = [threading.Thread(target=read, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    begin.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - start)


def _matrix_rate() -> float:
    """The best of some products, the first of which wakes the library's threads."""
    a = np.ones((MATRIX_SIZE, MATRIX_SIZE), np.float32)
    best = float("inf")
    for _ in range(MATRIX_TRIALS):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * MATRIX_SIZE**3 / best
