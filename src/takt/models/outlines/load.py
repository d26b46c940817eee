"""From what a user types to an outline: a catalogue name, a directory, a `config.json`, a shape file, a model file.

No weights are read; of a hub id that is not known here only the configs are downloaded. Does not know how measurement files spell names (`names`).
"""

from dataclasses import replace
from pathlib import Path

from takt.errors import DataError, ModelError, did_you_mean

from ..hub import CONFIG_FILES, fetch, is_hub_id
from ..load import DEFAULT_NAME, shape_of
from .catalogue import OUTLINES, catalogue_outline
from .config import outline_from_config
from .fields import read_object
from .from_shape import outline_from_shape
from .gguf_file import outline_of_gguf
from .names import find_outline
from .outline import Outline

__all__ = ["outline_of"]

_QUANTISATION = "hf_quant_config.json"
_RANDOM = "random:"


def outline_of(what: str | Path) -> Outline:
    """The outline that a name, a directory or a file states.

    In this order: an existing path (a directory with a `config.json`, that file, a shape as TOML, a GGUF or
    llama2.c file); a catalogue name; a spelling that `find_outline` knows, guesses left out; a hub id
    "owner/name". Raises ModelError (not found, fields missing or out of range) or DataError (damaged file).
    """
    text, path = str(what), Path(what)
    if _exists(path):
        return _outline_at(path)
    name = text.removeprefix(_RANDOM)
    if name in OUTLINES:
        return catalogue_outline(name)
    if name == DEFAULT_NAME:
        return outline_from_shape(shape_of(DEFAULT_NAME))
    found = find_outline(name)
    if found is not None and found.basis == "published":
        return found
    if is_hub_id(name):
        return replace(_outline_at(fetch(name, CONFIG_FILES)), name=name)
    near = did_you_mean(name.lower(), list(OUTLINES))
    hint = (
        near or "a directory, a config.json, a hub id 'owner/name', or a name such as llama-3.3-70b"
    )
    raise ModelError(f"there is no model {text!r}", hint=hint)


def _outline_at(path: Path) -> Outline:
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{path} has no config.json, so it is no Hugging Face directory")
        path = path / "config.json"
    if path.suffix == ".gguf":
        return outline_of_gguf(path)
    if path.suffix != ".json":
        return outline_from_shape(shape_of(path))
    beside = path.with_name(_QUANTISATION)
    quantisation = read_object(beside) if beside.is_file() else None
    plain = path.name == "config.json"
    name = path.resolve().parent.name if plain else path.stem
    try:
        return outline_from_config(read_object(path), name, quantisation)
    except ModelError as error:
        raise DataError(str(error), file=str(path), hint=error.hint) from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a zero byte, is no path
        return False
