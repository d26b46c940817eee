"""Ready shapes, one TOML file each in the folder `shapes` beside this module, and models of random weights.

The shapes are the published ones, each file with its source; the weights of `random_model` mean nothing and serve
tests and timing. Files are read when asked for. Does not know the format of the files (`shape_file`).
"""

import math
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from takt.errors import ModelError, did_you_mean

from .model import Model, Tensor, TensorRef
from .shape import ModelShape, tensor_shapes
from .shape_file import ShapeEntry, read_shape_file
from .tokenizer import Tokenizer

_FOLDER = Path(__file__).parent / "shapes"


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


@cache
def shape_entry(name: str) -> ShapeEntry:
    """The catalogue entry of that name, read once. ModelError with a near miss where there is none."""
    if name not in _names():
        hint = did_you_mean(name, _names()) or f"there are {', '.join(_names())}"
        raise ModelError(f"there is no ready shape {name!r}", hint=hint)
    return read_shape_file(_FOLDER / f"{name}.toml", lambda base: _base(name, base))


def read_user_shape(path: Path) -> ShapeEntry:
    """The entry of a file outside the catalogue; its base, if any, is a catalogue entry."""
    return read_shape_file(path, lambda base: _base("", base))


def _base(name: str, base: str) -> ModelShape | None:
    # One step only: a base with a base of its own would let a circle of files recurse.
    if base == name or base not in _names():
        return None
    return read_shape_file(_FOLDER / f"{base}.toml", lambda _: None).shape


class _Shapes(Mapping[str, ModelShape]):
    """All catalogue entries' shapes by name, read when asked for."""

    def __getitem__(self, name: str) -> ModelShape:
        if name not in _names():
            raise KeyError(name)
        return shape_entry(name).shape

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())

    def __contains__(self, name: object) -> bool:
        return name in _names()


SHAPES: Mapping[str, ModelShape] = _Shapes()


def random_model(shape: ModelShape, seed: int = 0, *, tokenizer: Tokenizer | None = None) -> Model:
    """A model of `shape` with seeded random weights, made on demand and the same on every machine.

    Matrices have standard deviation 1/sqrt(in), tables 0.02, norms lie near 1, biases near 0:
    activations keep their size from layer to layer. Every tensor has its own stream, named by seed and name.
    """
    tensors = {name: _random_ref(name, dims, seed) for name, dims in tensor_shapes(shape).items()}
    return Model(
        shape=shape, tensors=tensors, source=f"random weights, seed {seed}", tokenizer=tokenizer
    )


def _random_ref(name: str, dims: tuple[int, ...], seed: int) -> TensorRef:
    def read() -> Tensor:
        stream = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values = stream.standard_normal(dims, dtype=np.float32)
        values *= np.float32(_spread(name, dims))
        if name.endswith("norm.weight"):
            values += np.float32(1.0)
        return values

    return TensorRef(dims=dims, read=read)


def _spread(name: str, dims: tuple[int, ...]) -> float:
    if name in ("embed.weight", "position.weight", "token_type.weight", "head.weight"):
        return 0.02
    return 0.02 if len(dims) == 1 or name.endswith("bias") else 1.0 / math.sqrt(dims[-1])
