"""GGUF files made of models, kept in the user's cache so that the second run of a model starts at once.

A file is found again by what it was made of: the model's sizes, origin and small tensors, and name, size and time of change
of the files it lies in. Knows where the cache is; does not know what is in the files.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from takt.errors import UsageError
from takt.models import Model, tensor_shapes

from .gguf_out import Stored, architecture_of, write_gguf

__all__ = ["cache_directory", "gguf_of"]

VERSION = 1  # of what is written; older files are not found again
MAX_FILES_LOOKED_AT = 1000


def cache_directory() -> Path:
    """`takt/gguf` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "takt" / "gguf"


def gguf_of(model: Model, files: Path | None, stored: Stored) -> Path:
    """The GGUF file of `model`, written now unless the cache has it; `files` is the file or directory that it lies in.

    Raises as `write_gguf` does, and UsageError where the cache can't be written.
    """
    architecture_of(model.shape)  # a refusal comes before anything is made
    folder = cache_directory()
    path = folder / f"{_digest(model, files, stored)}.{stored}.gguf"
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_gguf(model, path, stored)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}",
            hint="XDG_CACHE_HOME names another place for the cache",
        ) from error
    return path


def _digest(model: Model, files: Path | None, stored: Stored) -> str:
    made_of = "\n".join([str(VERSION), stored, model.source, repr(model.shape), *_marks(files)])
    digest = hashlib.sha256(made_of.encode("utf-8", "surrogateescape"))
    for name, dims in tensor_shapes(model.shape).items():
        if (
            len(dims) == 1
        ):  # norms and biases: quickly read, and training changes them with all the rest
            digest.update(model.tensor(name).tobytes())
    return digest.hexdigest()[:24]


def _marks(files: Path | None) -> Iterator[str]:
    """What changes when a file does."""
    if files is None:
        return
    found = sorted(files.iterdir())[:MAX_FILES_LOOKED_AT] if files.is_dir() else [files]
    for path in found:
        if path.is_file():
            state = path.stat()
            yield f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
