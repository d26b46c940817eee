"""Tasks on processes of this machine, through `concurrent.futures`.

Workers are spawned, never forked: a fork of a process with threads may hang. They end with this process, however it ends, and
are stopped in the midst of a task when the sweep is.
"""

import os
import signal
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from takt.errors import TaktError, UsageError

from .work import Chunk, Done, Job, chunks, perform

__all__ = ["MOST_WORKERS", "Processes"]

MOST_WORKERS = 1024
_Pending = Future[tuple[Done, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """On `workers` processes (None: one for each processor), `chunk` tasks at a time.

    Small tasks want larger chunks: passing one on takes about a millisecond. What is under way when the sweep stops is lost.
    """

    workers: int | None = None
    chunk: int = 1

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers or 1), ("chunk", self.chunk)):
            if not 1 <= value <= MOST_WORKERS:
                raise UsageError(f"{name} is {value}, expected 1 to {MOST_WORKERS:,}")

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Done, ...], None, None]:
        """See `Runner`."""
        workers = self.workers or os.cpu_count() or 1
        waiting: dict[_Pending, Chunk] = {}
        with _pool(workers) as pool:
            for chunk in chunks(jobs, self.chunk):
                try:
                    with _undisturbed():
                        waiting[pool.submit(perform, chunk)] = chunk
                except BrokenProcessPool as error:
                    raise _broken([chunk, *waiting.values()]) from error
                # One chunk for each worker and as many in wait: no worker idles, and little is lost at a stop.
                if len(waiting) >= 2 * workers:
                    yield from _finished(waiting)
            while waiting:
                yield from _finished(waiting)


def _finished(waiting: dict[_Pending, Chunk]) -> Iterable[tuple[Done, ...]]:
    """Outcomes that are there, at least one; good ones first, so that they are kept when another raises."""
    ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in sorted(ended, key=lambda future: future.exception() is not None):
        lost = list(waiting.values())
        del waiting[future]
        try:
            outcome = future.result()
        except BrokenProcessPool as error:
            raise _broken(lost) from error
        yield outcome


def _broken(lost: list[Chunk]) -> TaktError:
    labels = [job.task.label for chunk in lost for job in chunk]
    more = f" and {len(labels) - 4} more" if len(labels) > 4 else ""
    return TaktError(
        f"a worker process ended unexpectedly; under way: {', '.join(labels[:4])}{more}",
        hint="perhaps memory ran out: use fewer workers",
    )


class _Worker(SpawnProcess):
    """A process that Ctrl-C does not reach, from its first moment on: when it means to stop, the parent stops it."""

    def start(self) -> None:
        # The new process inherits the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Spawning(SpawnContext):
    """Spawns, and keeps what it spawned: `concurrent.futures` offers no way to stop a task that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[SpawnProcess] = []

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override] # noqa: N802
        process = _Worker(*args, **options)
        self.spawned.append(process)
        return process


@contextmanager
def _pool(workers: int) -> Generator[ProcessPoolExecutor, None, None]:
    context = _Spawning()
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        max_workers=workers, mp_context=context, initializer=_start, initargs=(theirs,)
    )
    try:
        yield pool
    except BaseException:
        # Closing this end tells them; the signal also reaches those that are inside native code.
        ours.close()
        for process in context.spawned:
            if process.is_alive():
                process.terminate()
        raise
    finally:
        with _undisturbed():
            pool.shutdown(wait=True, cancel_futures=True)
        ours.close()
        theirs.close()


@contextmanager
def _undisturbed() -> Generator[None, None, None]:
    """Hold Ctrl-C back until the block is done: a worker or the pool, half started or stopped, cannot be ended cleanly."""
    main = threading.current_thread() is threading.main_thread()  # which alone gets it
    if not main or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


def _start(lifeline: "Connection[Any, Any]") -> None:
    """Prepare a worker: it ends when its parent does, and cannot miss it while it waits for work."""
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()


def _end_with_parent(lifeline: "Connection[Any, Any]") -> None:
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
