"""What every runner does with tasks, wherever it runs: call, time, and turn outcomes into something that travels.

Only TaktError is a task's own failure. Anything else is a fault of the program and passes through.
"""

import pickle
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from takt import __version__
from takt.errors import TaktError, UnsupportedError

from .task import Task, canonical

__all__ = ["Chunk", "Done", "Job", "chunks", "perform"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A task and its key, with the version of Takt that must compute it."""

    key: str
    task: Task[Any]
    version: str


Chunk = tuple[Job, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a job: canonical JSON or an error, and the seconds it took."""

    key: str
    content: bytes | None
    error: TaktError | None
    seconds: float


def perform(chunk: Chunk) -> tuple[Done, ...]:
    """Do the jobs one after the other. UnsupportedError if this is not the version of Takt that they are for."""
    return tuple(_one(job) for job in chunk)


def chunks(jobs: Iterable[Job], size: int) -> Iterator[Chunk]:
    """The jobs, `size` at a time."""
    rest = iter(jobs)
    while chunk := tuple(islice(rest, size)):
        yield chunk


def _one(job: Job) -> Done:
    if job.version != __version__:
        raise UnsupportedError(
            f"a worker runs Takt {__version__}, the sweep is of {job.version}",
            hint="install the same version on every machine",
        )
    start = time.perf_counter()
    content, failure = None, None
    try:
        value = job.task.function(job.task.arguments)
        content = canonical(value, what=f"the result of {job.task.label}").encode()
    except TaktError as error:
        failure = _portable(error)
    seconds = time.perf_counter() - start
    return Done(key=job.key, content=content, error=failure, seconds=seconds)


def _portable(error: TaktError) -> TaktError:
    """The error, if it comes whole out of pickle; else its text. One that does not would break a pool of processes."""
    try:
        pickle.loads(pickle.dumps(error))
    except (TypeError, AttributeError, ValueError, pickle.PicklingError):
        return TaktError(str(error), hint=error.hint)
    return error
