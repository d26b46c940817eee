"""Tasks on Ray: on a cluster, or on one started here. Needs the extra `ray`; it is imported when a sweep starts.

https://docs.ray.io/en/latest/ray-core/api/doc/ray.init.html says which addresses there are.
"""

import importlib.util
import os
import re
import socket
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from takt.errors import TaktError, UnsupportedError, UsageError

from .work import Chunk, Done, Job, chunks, perform

__all__ = ["LOCAL", "OnRay"]

LOCAL = "local"
_PLACE = re.compile(r"(?:ray://)?([^:/\s]+|\[[^\]\s]+\]):(\d{1,5})")
_PATIENCE_S = 10.0
# Arguments and results are small; Ray would take a third of the memory by itself.
_OBJECT_STORE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRay:
    """On the Ray at `address`: `local`, `auto`, `HOST:PORT` or `ray://HOST:PORT`; `chunk` tasks at a time.

    `workers`: processors of a Ray started here (None: all). `in_flight`: most chunks given to Ray at a time (None: two for
    each of its processors, at least 16). Every machine needs the same version of Takt.
    """

    address: str = LOCAL
    workers: int | None = None
    chunk: int = 1
    in_flight: int | None = None

    def __post_init__(self) -> None:
        place = _PLACE.fullmatch(self.address)
        if self.address not in (LOCAL, "auto") and not (place and 0 < int(place[2]) < 65536):
            raise UsageError(
                f"'{self.address}' is no address of a Ray",
                hint="local, auto, HOST:PORT or ray://HOST:PORT",
            )
        for name, value in (("chunk", self.chunk), ("in_flight", self.in_flight or 1)):
            if not 1 <= value <= 1 << 16:
                raise UsageError(f"{name} is {value}, expected 1 to {1 << 16:,}")

    def run(self, jobs: Iterable[Job]) -> Generator[tuple[Done, ...], None, None]:
        """See `Runner`. UnsupportedError without the package, UsageError if no Ray answers at the address."""
        with _connected(self) as ray:
            most = self.in_flight or max(16, 2 * int(ray.cluster_resources().get("CPU", 1)))
            # A worker may die with its machine; one that dies twice, dies of its tasks.
            remote = ray.remote(max_retries=1)(perform)
            waiting: dict[Any, Chunk] = {}
            try:
                for chunk in chunks(jobs, self.chunk):
                    waiting[remote.remote(chunk)] = chunk
                    if len(waiting) >= most:
                        yield from _finished(ray, waiting)
                while waiting:
                    yield from _finished(ray, waiting)
            finally:
                for reference in waiting:
                    ray.cancel(reference, force=True)


def _finished(ray: Any, waiting: dict[Any, Chunk]) -> Iterator[tuple[Done, ...]]:
    """Outcomes that are there, at least one."""
    ended, _ = ray.wait(list(waiting), num_returns=1)
    for reference in ended:
        chunk = waiting.pop(reference)
        try:
            outcome: tuple[Done, ...] = ray.get(reference)
        except ray.exceptions.RayError as error:
            raise _cause(ray, chunk, error) from error
        yield outcome


def _cause(ray: Any, chunk: Chunk, error: Exception) -> BaseException:
    """What the task raised, or what befell its worker."""
    cause = getattr(error, "cause", None) or error
    if not isinstance(cause, ray.exceptions.RayError) and isinstance(cause, BaseException):
        return cause
    labels = ", ".join(job.task.label for job in chunk[:4])
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return TaktError(
        f"Ray could not do {labels}: {lines[0]}",
        hint="every machine of a Ray needs the same version of takt-lpu, and memory for its workers",
    )


@contextmanager
def _connected(where: OnRay) -> Generator[Any, None, None]:
    """The module `ray`, connected; it is left as it was found."""
    if importlib.util.find_spec("ray") is None:
        raise UnsupportedError(
            "sweeps on Ray need the package ray, which is not installed",
            hint="pip install 'takt-lpu[ray]'",
        )
    place = _PLACE.fullmatch(where.address)
    if place:
        _knock(where.address, place[1].strip("[]"), int(place[2]))
    # Ray reports its use to its makers unless told not to; that is for its user to choose.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # takes half a second

    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if where.address == LOCAL:
        options |= {"num_cpus": where.workers, "object_store_memory": _OBJECT_STORE_BYTES}
        options |= {"include_dashboard": False}
    try:
        ray.init(address=where.address, **options)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        raise UsageError(
            f"no Ray to be had at {where.address}: {error}",
            hint="`ray status` tells where one runs",
        ) from error
    with _silent(ray):  # until after the shutdown, which prints what was held back
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _silent(ray: Any) -> Generator[None, None, None]:
    """Ray tells of workers that died on stdout, where results belong; what matters of it is in our errors.

    There is no public switch (Ray 2.60); Ray's own debugger uses this one.
    """
    worker = ray._private.worker
    if not hasattr(worker, "_worker_logs_enabled"):
        yield
        return
    worker._worker_logs_enabled = False
    try:
        yield
    finally:
        worker._worker_logs_enabled = True


def _knock(address: str, host: str, port: int) -> None:
    """UsageError if no one listens: Ray itself tries for minutes, and then ends the process."""
    try:
        socket.create_connection((host, port), timeout=_PATIENCE_S).close()
    except OSError as error:
        raise UsageError(
            f"no one answers at {address}: {error.strerror or error}",
            hint="`ray status` tells where a Ray runs",
        ) from error
