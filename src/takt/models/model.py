"""A model in hand: its shape, its tokenizer, and its weights on demand.

`TensorRef` is a promise: dimensions known now, numbers read when asked for. `Model` keeps one promise for
every tensor the shape calls for and checks, when made, that none is missing and all have the right size.
Does not know file formats; loaders hand it the promises.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from takt.errors import DataErrors, ModelError, Problem, did_you_mean

from .shape import ModelShape, tensor_shapes
from .tokenizer import Tokenizer

Tensor = NDArray[np.float32]


class Closable(Protocol):
    """Something that holds a file."""

    def close(self) -> None:
        """Let it go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRef:
    """A tensor not yet read: its dimensions, and how to get it as float32."""

    dims: tuple[int, ...]
    read: Callable[[], Tensor]


class Model:
    """One checkpoint: `shape`, `tokenizer` (None without one), `source` in words, tensors by name.

    Raises DataErrors, listing every missing or misshapen tensor, unless `tensors` is what `shape` calls for.
    Usable as a context manager; `close` releases the files.
    """

    __slots__ = ("_files", "_tensors", "shape", "source", "tokenizer")

    def __init__(
        self,
        *,
        shape: ModelShape,
        tensors: Mapping[str, TensorRef],
        source: str,
        tokenizer: Tokenizer | None = None,
        files: Iterable[Closable] = (),
    ) -> None:
        self.shape = shape
        self.tokenizer = tokenizer
        self.source = source
        self._files = tuple(files)
        self._tensors = _checked(shape, tensors, source)

    def keeping(self) -> "Model":
        """The same model, whose tensors are kept once read; for reading parts of a large tensor one by one."""
        kept = {name: replace(ref, read=cache(ref.read)) for name, ref in self._tensors.items()}
        return Model(shape=self.shape, tensors=kept, source=self.source, tokenizer=self.tokenizer)

    def part(self, shape: ModelShape, names: Mapping[str, str]) -> "Model":
        """A model of another shape made of tensors of this one; `names` has the name here of each that `shape` calls for.

        Raises DataErrors as the constructor does. The files stay this model's.
        """
        tensors = {
            name: self._tensors[here] for name, here in names.items() if here in self._tensors
        }
        return Model(shape=shape, tensors=tensors, source=self.source, tokenizer=self.tokenizer)

    def names(self) -> tuple[str, ...]:
        """Names of the stored tensors, in the order they are used."""
        return tuple(self._tensors)

    def has(self, name: str) -> bool:
        """Whether `tensor(name)` has an answer."""
        return self._stored(name) in self._tensors

    def tensor(self, name: str) -> Tensor:
        """The tensor as float32, C order, matrices [out, in]; read now, kept by nobody.

        A tied `head.weight` is `embed.weight`. The array may be a read-only view of the file.
        """
        ref = self._tensors.get(self._stored(name))
        if ref is None:
            raise ModelError(
                f"{self.source} has no tensor {name!r}", hint=did_you_mean(name, self._tensors)
            )
        return ref.read()

    def close(self) -> None:
        """Release the files; arrays already read stay valid."""
        for file in self._files:
            file.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stored(self, name: str) -> str:
        tied = name == "head.weight" and self.shape.tied_embeddings
        return "embed.weight" if tied and self.shape.family == "decoder" else name


def _checked(
    shape: ModelShape, tensors: Mapping[str, TensorRef], source: str
) -> dict[str, TensorRef]:
    problems = []
    for name, dims in tensor_shapes(shape).items():
        ref = tensors.get(name)
        if ref is None or ref.dims != dims:
            found = "no such tensor" if ref is None else str(list(ref.dims))
            problems.append(Problem(file=source, key=name, expected=str(list(dims)), found=found))
    if problems:
        raise DataErrors(
            problems, hint="the weights do not belong to this config, or the file is damaged"
        )
    return {name: tensors[name] for name in tensor_shapes(shape)}
