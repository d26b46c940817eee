"""How sweeps end early: tasks that failed, all together, and interrupts. Both say what is kept."""

from collections.abc import Sequence

from takt.errors import TaktError

from .task import Result

__all__ = ["FailedTasks", "Interrupted"]


class FailedTasks(TaktError):
    """Tasks of a sweep that failed, in its order, out of `total`; the others have their results."""

    def __init__(
        self, failures: Sequence[Result] = (), *, total: int = 0, hint: str | None = None
    ) -> None:
        super().__init__(f"{len(failures)} of {total} tasks failed", hint=hint)
        self.args = (tuple(failures),)
        self.failures = tuple(failures)
        self.total = total

    def __str__(self) -> str:
        lines = (f"  {failure.task.label}: {failure.error}" for failure in self.failures)
        return "\n".join([f"{self.message}:", *lines])


class Interrupted(KeyboardInterrupt):
    """A sweep was interrupted after `done` of `total` tasks, kept in the file `store` if there is one."""

    def __init__(self, *, done: int = 0, total: int = 0, store: str | None = None) -> None:
        super().__init__()
        self.done = done
        self.total = total
        self.store = store

    def __str__(self) -> str:
        text = f"interrupted after {self.done} of {self.total} tasks"
        if self.store is None:
            return f"{text}; nothing was kept, as no store was named"
        return f"{text}, kept in {self.store}: the same sweep with this store goes on from there"
