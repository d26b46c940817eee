"""The one tree of errors: what each failure knows about itself, as fields.

Knows the kinds of failure and how one reads as text. Does not know how they are shown or which
exit status they get: libraries raise, only ``takt.cli`` prints and exits. Messages say what
happened; ``hint`` says what to do about it.

    TaktError
    ├── UsageError          a name, an option or an argument that makes no sense
    ├── DataError           a file says something wrong (file, key, expected, found)
    │   └── DataErrors      every problem of every file, together
    ├── ModelError          a model cannot be found, read or run
    ├── UnsupportedError    understood, but outside what Takt does
    ├── ProgramError        an LPU program is malformed (not: it faults when run)
    ├── MachineFault        a program broke a law of the machine (cycle, queue, instruction)
    ├── LawError            a simulation broke a law of docs/laws.md (law): a defect of Takt, never of its input
    └── CompileError        a model could not become a program (stage)
        └── CapacityError   it does not fit (resource, needed, available)
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "CapacityError",
    "CompileError",
    "DataError",
    "DataErrors",
    "LawError",
    "MachineFault",
    "ModelError",
    "Problem",
    "ProgramError",
    "TaktError",
    "UnsupportedError",
    "UsageError",
    "did_you_mean",
]


class TaktError(Exception):
    """Base of every error that Takt raises on purpose.

    Fields have defaults throughout the tree, so that an error survives pickling between processes.
    """

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(TaktError):
    """The caller asked for something that does not exist or makes no sense."""


class DataError(TaktError):
    """A file or a table of facts is wrong; the fields say where and how."""

    def __init__(
        self,
        message: str = "",
        *,
        file: str | None = None,
        key: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.key = key
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.key) if part)
        text = f"{where}: {self.message}" if where else self.message
        if self.expected is not None:
            text += f": expected {self.expected}"
            text += f", got {self.found}" if self.found is not None else ""
        elif self.found is not None:
            text += f": got {self.found}"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in one file. ``key`` is dotted; it is empty for the file as a whole."""

    file: str
    key: str
    expected: str
    found: str
    hint: str | None = None

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        tail = f" ({self.hint})" if self.hint else ""
        return f"{where}: expected {self.expected}, got {self.found}{tail}"


class DataErrors(DataError):
    """All problems of all files read in one run, in the order of the files."""

    def __init__(self, problems: Sequence[Problem] = (), *, hint: str | None = None) -> None:
        count = len(problems)
        super().__init__(f"{count} problem{'' if count == 1 else 's'} in the data", hint=hint)
        self.args = (tuple(problems),)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join([f"{self.message}:", *(f"  {problem}" for problem in self.problems)])


class ModelError(TaktError):
    """A model cannot be found, read or run."""


class UnsupportedError(TaktError):
    """The request is well formed, but outside what Takt does."""


class ProgramError(TaktError):
    """An LPU program is malformed as text, as binary or as a structure."""


class MachineFault(TaktError):
    """A program broke a law of the machine while it ran or while it was checked.

    ``cycle`` counts from the start of the program; ``queue`` and ``instruction`` are the text forms
    of the guilty ones; ``neighbourhood`` holds the instructions around it, one line each.
    """

    def __init__(
        self,
        message: str = "",
        *,
        cycle: int | None = None,
        queue: str | None = None,
        instruction: str | None = None,
        neighbourhood: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.cycle = cycle
        self.queue = queue
        self.instruction = instruction
        self.neighbourhood = tuple(neighbourhood)

    def __str__(self) -> str:
        place = [
            f"cycle {self.cycle}" if self.cycle is not None else "",
            f"queue {self.queue}" if self.queue is not None else "",
            f"`{self.instruction}`" if self.instruction is not None else "",
        ]
        head = ", ".join(part for part in place if part)
        text = f"{head}: {self.message}" if head else self.message
        return "\n".join([text, *(f"  {line}" for line in self.neighbourhood)])


class LawError(TaktError):
    """A simulation broke one of the laws of docs/laws.md, named in ``law``: its figures are worth nothing."""

    def __init__(self, message: str = "", *, law: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.law = law

    def __str__(self) -> str:
        return f"law {self.law}: {self.message}" if self.law else self.message


class CompileError(TaktError):
    """A model could not become a program; ``stage`` names the pass that gave up."""

    def __init__(
        self, message: str = "", *, stage: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.stage = stage

    def __str__(self) -> str:
        return f"{self.stage}: {self.message}" if self.stage else self.message


class DenseQueueError(CompileError):
    """A queue leaves no cycle idle in which to fetch instructions, from ``start_cycle`` to ``end_cycle``."""

    def __init__(
        self,
        message: str = "",
        *,
        queue: int,
        start_cycle: int,
        end_cycle: int,
        stage: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, stage=stage, hint=hint)
        self.queue = queue
        self.start_cycle = start_cycle
        self.end_cycle = end_cycle


class CapacityError(CompileError):
    """Something does not fit: ``needed`` and ``available`` count units of ``resource``."""

    def __init__(
        self,
        message: str = "",
        *,
        resource: str | None = None,
        needed: int | None = None,
        available: int | None = None,
        stage: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, stage=stage, hint=hint)
        self.resource = resource
        self.needed = needed
        self.available = available

    def __str__(self) -> str:
        text = super().__str__()
        if self.needed is None or self.available is None:
            return text
        of = f" of {self.resource}" if self.resource else ""
        return f"{text} (needed {self.needed:,}{of}, available {self.available:,})"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint naming the closest of ``known``, or None when nothing is near."""
    # Names longer than this are not typing mistakes, and comparing them costs quadratic time.
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6) if len(name) < 200 else []
    return f"did you mean '{near[0]}'?" if near else None
