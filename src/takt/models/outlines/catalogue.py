"""Outlines by name: the ready shapes, and published configs, one small file each in the folder `published`.

    {"source": "config.json of ORG/NAME", "licence": "...", "config": {...}}            the fields that are read
    {"source": "...", "licence": "...", "base": "glm-5", "stored": "bf16", "stored_experts": "fp4"}    another's sizes

Files are read when asked for. Does not know how others spell the names (`names`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from takt.errors import DataError, ModelError, did_you_mean

from ..catalogue import SHAPES
from .config import read_config
from .fields import Fields, read_object
from .from_shape import outline_from_shape
from .outline import Outline
from .stored import TYPES

__all__ = ["OUTLINES", "catalogue_outline", "published_names"]

_FOLDER = Path(__file__).parent / "published"


@cache
def published_names() -> tuple[str, ...]:
    """Names of the published configs."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


@cache
def catalogue_outline(name: str) -> Outline:
    """The outline of that catalogue name, read once. ModelError with a near miss where there is none."""
    # A published config says more than a shape: in which type the weights are stored, what predicts ahead.
    path = _FOLDER / f"{name}.json"
    if name in published_names():
        return _read(path, name)
    if name in SHAPES:
        return outline_from_shape(SHAPES[name])
    raise ModelError(f"there is no outline {name!r}", hint=did_you_mean(name, list(OUTLINES)))


def _read(path: Path, name: str, *, may_lean: bool = True) -> Outline:
    raw = Fields(read_object(path))
    base = raw.text("base")
    try:
        if base and may_lean:
            return _leaning(raw, name, base)
        config = raw.part("config")
        if config is None:
            raise ModelError("neither a config nor a base that has one")
        outline = read_config(config, name)
    except ModelError as error:
        raise DataError(str(error), file=str(path), hint=error.hint) from error
    basis = raw.text("basis")
    return replace(outline, basis=basis) if basis else outline


def _leaning(raw: Fields, name: str, base: str) -> Outline:
    """The sizes of another entry, stored in types of its own."""
    # One step only: a base with a base of its own would let a circle of files recurse.
    if base in published_names() and base != name:
        outline = _read(_FOLDER / f"{base}.json", name, may_lean=False)
    elif base in SHAPES:
        outline = outline_from_shape(SHAPES[base])
    else:
        raise ModelError(f"there is no base {base!r}")
    stored = raw.text("stored", default=outline.stored)
    experts = raw.text("stored_experts")
    if stored not in TYPES or (experts and experts not in TYPES):
        raise ModelError(f"weights stored as {stored!r}, {experts!r} are not known")
    context = raw.integer("max_context", default=outline.max_context)
    basis = raw.text("basis", default=outline.basis)
    return replace(
        outline, name=name, stored=stored, stored_experts=experts, max_context=context, basis=basis
    )


class _Outlines(Mapping[str, Outline]):
    """All catalogue entries by name, read when asked for."""

    def __getitem__(self, name: str) -> Outline:
        if name not in self:
            raise KeyError(name)
        return catalogue_outline(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*published_names(), *SHAPES}))

    def __len__(self) -> int:
        return len({*published_names(), *SHAPES})

    def __contains__(self, name: object) -> bool:
        return name in SHAPES or name in published_names()


OUTLINES: Mapping[str, Outline] = _Outlines()
