"""Where tasks run: what a runner promises, the one in this process, and the choice between runners."""

import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from takt.errors import UsageError

from .on_ray import LOCAL, OnRay
from .processes import MOST_WORKERS, Processes
from .work import Done, Job, perform

__all__ = ["Runner", "Serial", "runner_of"]


class Runner(Protocol):
    """Something that does jobs."""

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Done, ...], None, None]:
        """Outcomes of all jobs, in any order, some at a time as they come. Closing it stops the work at once.

        Takes jobs a few ahead of the work. TaktError if the work cannot go on; what a job itself raises on purpose is in its
        `Done`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Serial:
    """In this process, one after the other."""

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Done, ...], None, None]:
        """See `Runner`."""
        for job in jobs:
            yield perform((job,))


def runner_of(*, workers: int | None = None, ray: str | None = None) -> Runner:
    """The runner for a number of `workers` (None: as many as processors) or for a Ray at an address.

    `ray` is `local` (started here, with `workers` processors), `auto` (the one running on this machine), `HOST:PORT` or
    `ray://HOST:PORT`. UsageError for a number out of range, or for workers of a Ray that is not started here.
    """
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"{workers} workers, expected 1 to {MOST_WORKERS:,}")
    if ray is not None:
        if workers is not None and ray != LOCAL:
            raise UsageError(
                f"the Ray at {ray} has workers of its own", hint="leave the number out"
            )
        return OnRay(address=ray, workers=workers)
    n = workers or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0])
    return Serial() if n == 1 else Processes(workers=n)
