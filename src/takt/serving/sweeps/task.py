"""Tasks and results: a computation named by its content, so that the same task has the same key everywhere.

The content is canonical JSON of function, arguments, version of Takt and a digest of the data it reads. Knows no runner and
no store.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import numpy as np

from takt import __version__
from takt.errors import DataError, TaktError, UsageError

__all__ = ["Result", "Task", "canonical", "content_of", "digest", "files_digest"]

A = TypeVar("A")
T = TypeVar("T")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[A]):
    """One call of `function(arguments)`, which must depend on nothing else but `data`.

    - `function`: of a module, so that other processes find it; gives a value that msgspec turns into JSON, without clock times.
    - `arguments`: a dataclass, msgspec struct or plain value. Arrays in them count by their content.
    - `name`: for messages only. `data`: a digest of the files that the function reads (`files_digest`).

    UsageError if the function cannot be found by its name.
    """

    function: Callable[[A], object]
    arguments: A
    name: str = ""
    data: str = ""

    def __post_init__(self) -> None:
        module = getattr(self.function, "__module__", "")
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        if module in ("__main__", "__mp_main__"):
            raise UsageError(
                f"{name} is a function of a script, which other processes cannot import",
                hint="put it in a module of its own",
            )
        if getattr(sys.modules.get(module), name, None) is not self.function:
            raise UsageError(
                f"{module}.{name} is not found by its name",
                hint="a task calls a function of a module",
            )

    @property
    def path(self) -> str:
        """`module:name` of the function."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    @property
    def label(self) -> str:
        """What messages call the task."""
        return self.name or self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a task ended: `content` is canonical JSON, or None with the `error`.

    `seconds` it took when it was computed; `kept`: it was in the store already.
    """

    task: Task[object]
    key: str
    content: bytes | None
    error: TaktError | None = None
    seconds: float = 0.0
    kept: bool = False

    def read(self, kind: type[T]) -> T:
        """The result as a `kind`. Raises the task's error if it failed, DataError if the content is no `kind`."""
        if self.content is None:
            raise self.error or TaktError(f"{self.task.label} has no result")
        try:
            return msgspec.json.decode(self.content, type=kind)
        except msgspec.DecodeError as error:
            raise DataError(
                f"the result of {self.task.label} is not {kind.__name__}: {error}"
            ) from error


def content_of(task: Task[A]) -> str:
    """What makes the task the task, as canonical JSON. UsageError if the arguments have no JSON."""
    kind = type(task.arguments)
    return canonical(
        {
            "arguments": task.arguments,
            "data": task.data,
            "function": task.path,
            "kind": f"{kind.__module__}.{kind.__qualname__}",
            "takt": __version__,
        },
        what=f"arguments of {task.label}",
    )


def canonical(value: object, *, what: str) -> str:
    """JSON with sorted keys and no blanks, the same for equal values. UsageError names `what` if there is none."""
    try:
        plain = msgspec.to_builtins(value, enc_hook=_plain, order="sorted", str_keys=True)
        # Not msgspec's own encoder: it writes NaN and infinities as null, and different tasks would share a key.
        text = json.dumps(
            plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{what} cannot be written as JSON: {error}", hint="None stands for a missing number"
        ) from error
    return text


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": content, "dtype": value.dtype.descr, "shape": value.shape}
    raise TypeError(f"a {type(value).__qualname__} has no JSON")


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def files_digest(paths: Iterable[Path]) -> str:
    """One digest of the contents of files, in the order given. DataError if one cannot be read."""
    whole = hashlib.sha256()
    for path in paths:
        one = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    one.update(block)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}", file=str(path)) from error
        whole.update(one.digest())
    return whole.hexdigest()
