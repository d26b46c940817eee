"""Runs tasks and gives their results in the order of the tasks, whoever ran them and in whatever order they ended.

With a store, results are kept as they arrive and tasks that it has are not run again. Knows no runner's ways.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from takt import __version__

from .failures import FailedTasks, Interrupted
from .runner import Runner, Serial
from .store import Kept, Store
from .task import Result, Task, content_of, digest
from .work import Done, Job

__all__ = ["sweep"]

Progress = Callable[[int, int], None]


def sweep(
    tasks: Iterable[Task[Any]],
    *,
    runner: Runner | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
    strict: bool = True,
) -> Iterator[Result]:
    """Results of the tasks, in their order, the same for any runner (None: this process).

    Tasks of equal content run once. `progress(done, total)` is called at the start and whenever results arrive. Failed tasks
    give results with an error, are not kept, and do not stop the others.

    Raises UsageError at once if a task has no key; FailedTasks after the last result if any failed and `strict`; Interrupted at
    Ctrl-C: workers are stopped, and what arrived is in the store.
    """
    rows = [_Row(key=digest(text.encode()), text=text, task=task) for task, text in _named(tasks)]
    state = _Sweep(rows=rows, store=store, progress=progress)
    return state.results(Serial() if runner is None else runner, strict=strict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    key: str
    text: str
    task: Task[Any]


def _named(tasks: Iterable[Task[Any]]) -> Iterator[tuple[Task[Any], str]]:
    for task in tasks:
        yield task, content_of(task)


class _Sweep:
    """What is there of a sweep: `_done` by key, whose content is left to the store if there is one."""

    def __init__(self, *, rows: list[_Row], store: Store | None, progress: Progress | None) -> None:
        self._rows = rows
        self._by_key = {row.key: row for row in rows}
        self._store = store
        self._progress = progress
        self._kept = {key for key in self._by_key if store is not None and key in store}
        self._done: dict[str, Done] = {}

    def results(self, runner: Runner, *, strict: bool) -> Iterator[Result]:
        self._tell()
        jobs = [
            Job(key=key, task=row.task, version=__version__)
            for key, row in self._by_key.items()
            if key not in self._kept
        ]
        failures = []
        try:
            with closing(runner.run(jobs)) as arriving:
                for row in self._rows:
                    self._wait_for(row.key, arriving)
                    result = self._result(row)
                    if result.error is not None:
                        failures.append(result)
                    yield result
        except KeyboardInterrupt as error:
            raise Interrupted(
                done=self._n_done(),
                total=len(self._by_key),
                store=None if self._store is None else str(self._store.path),
            ) from error
        if failures and strict:
            raise FailedTasks(failures, total=len(self._rows))

    def _wait_for(self, key: str, arriving: Generator[tuple[Done, ...], None, None]) -> None:
        while key not in self._kept and key not in self._done:
            batch = next(arriving)
            if self._store is not None:
                self._store.keep(list(self._rows_of(batch)))
            for done in batch:
                self._done[done.key] = done if self._store is None else _without_content(done)
            self._tell()

    def _rows_of(self, batch: tuple[Done, ...]) -> Iterator[Kept]:
        for done in batch:
            if done.content is not None:
                text = self._by_key[done.key].text
                yield Kept(key=done.key, task=text, content=done.content, seconds=done.seconds)

    def _result(self, row: _Row) -> Result:
        done = self._done.get(row.key)
        if done is not None and (done.error is not None or self._store is None):
            content, error, seconds = done.content, done.error, done.seconds
            return Result(task=row.task, key=row.key, content=content, error=error, seconds=seconds)
        assert self._store is not None
        kept = self._store.read(row.key)
        return Result(
            task=row.task,
            key=row.key,
            content=kept.content,
            seconds=kept.seconds,
            kept=row.key in self._kept,
        )

    def _n_done(self) -> int:
        return len(self._kept) + sum(done.error is None for done in self._done.values())

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(len(self._kept) + len(self._done), len(self._by_key))


def _without_content(done: Done) -> Done:
    return Done(key=done.key, content=None, error=done.error, seconds=done.seconds)
