"""From what a user types to a model: a catalogue name, a hub id, a directory or a file.

Decides which loader reads it and finds the tokenizer; the loaders know the formats. A wrong name gets a near
miss. Nothing is downloaded unless the name is a hub id or stands for one.
"""

from pathlib import Path

from takt.errors import DataError, ModelError, UnsupportedError, did_you_mean

from .catalogue import SHAPES, random_model, read_user_shape, shape_entry
from .gguf_model import load_gguf
from .hub import CONFIG_FILES, fetch, is_hub_id
from .huggingface import config_shape, load_directory
from .llama2c import load_llama2c
from .model import Model
from .score_merge import load_llama2c_tokenizer
from .shape import ModelShape
from .tokenizer import TokenizerReader, load_tokenizer_json

DEFAULT_NAME = "default"
DEFAULT_DIRECTORY = Path(__file__).parent / "default"
RANDOM_PREFIX = "random:"


def load_model(
    name_or_path: str | Path = DEFAULT_NAME, *, tokenizer: str | Path | None = None
) -> Model:
    """The model that `name_or_path` names; `tokenizer` names a file to use instead of the one beside it.

    In this order: "default"; "random:SHAPE" (random weights of a ready shape, for timing); an existing
    directory or file; a catalogue name; a hub id "owner/name", downloaded once. Weights stay on disk until
    asked for. Raises ModelError (not found), UnsupportedError (architecture or format), DataError (damaged).
    """
    text = str(name_or_path)
    path = Path(name_or_path)
    given = _tokenizer_reader(tokenizer)
    if text.startswith(RANDOM_PREFIX):
        return _random(text.removeprefix(RANDOM_PREFIX), given)
    if text == DEFAULT_NAME:
        return _default(given)
    if _exists(path):
        read = _load_folder if path.is_dir() else _load_file
        return read(path, tokenizer=given)
    if text in SHAPES or is_hub_id(text):
        return load_directory(fetch(_hub_id(text)), name=text, tokenizer=given)
    raise ModelError(f"there is no model {text!r}", hint=_near(text))


def shape_of(name_or_path: str | Path) -> ModelShape:
    """The shape that a name, a directory or a file states; no weights are read, and none need be there.

    In this order: "default"; an existing directory with a `config.json`; an existing file: a `config.json`, a shape
    as TOML, or a model file; a catalogue name ("random:NAME" too); a hub id, of which only the configs are
    downloaded. Raises ModelError (not found), UnsupportedError (architecture or format), DataError (damaged).
    """
    text, path = str(name_or_path), Path(name_or_path)
    if text == DEFAULT_NAME:
        return config_shape(DEFAULT_DIRECTORY, DEFAULT_NAME)
    if _exists(path):
        return _shape_at(path)
    name = text.removeprefix(RANDOM_PREFIX)
    if name in SHAPES:
        return SHAPES[name]
    if is_hub_id(text):
        return config_shape(fetch(text, CONFIG_FILES), text)
    raise ModelError(f"there is no model {text!r}", hint=_near(text))


def _shape_at(path: Path) -> ModelShape:
    if path.suffix == ".toml":
        return read_user_shape(path).shape
    folder = path if path.is_dir() else path.parent
    if (path.is_dir() or path.name == "config.json") and (folder / "config.json").is_file():
        return config_shape(folder, folder.resolve().name)
    with load_model(path) as model:
        return model.shape


def _hub_id(text: str) -> str:
    """The hub id that a short name stands for. ModelError where it stands for a shape only."""
    if text not in SHAPES:
        return text
    entry = shape_entry(text)
    if entry.hub is None:
        raise ModelError(
            f"{text} is a shape without weights here",
            hint=f"'{RANDOM_PREFIX}{text}' gives it random ones; to download, name the hub id 'owner/name' "
            f"(its figures: {entry.source})",
        )
    return entry.hub


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a zero byte, is no path
        return False


def _default(tokenizer: TokenizerReader | None) -> Model:
    if not (DEFAULT_DIRECTORY / "config.json").is_file():
        raise ModelError(
            "the default model is not part of this installation",
            hint="name a model: a directory, a file, or a hub id such as HuggingFaceTB/SmolLM-135M",
        )
    return load_directory(DEFAULT_DIRECTORY, name=DEFAULT_NAME, tokenizer=tokenizer)


def _random(name: str, tokenizer: TokenizerReader | None) -> Model:
    shape = shape_entry(name).shape
    return random_model(shape, tokenizer=tokenizer(shape.vocab_size) if tokenizer else None)


def _load_folder(path: Path, *, tokenizer: TokenizerReader | None) -> Model:
    if not (path / "config.json").is_file():
        files = sorted(entry.name for entry in path.iterdir() if entry.suffix in (".gguf", ".bin"))
        raise ModelError(
            f"{path} has no config.json, so it is no Hugging Face directory",
            hint=f"name a file in it: {', '.join(files[:8])}" if files else None,
        )
    return load_directory(path, tokenizer=tokenizer)


def _load_file(path: Path, *, tokenizer: TokenizerReader | None) -> Model:
    """By the first bytes, not by the suffix alone."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if magic == b"GGUF":
        return load_gguf(path, tokenizer=tokenizer)
    if path.suffix == ".safetensors" or path.name == "config.json":
        return load_directory(path.parent, tokenizer=tokenizer)
    if magic[:2] == b"PK" or magic[:1] == b"\x80" or path.suffix in (".pt", ".pth"):
        raise UnsupportedError(
            f"{path} is a PyTorch pickle, which can run code when read, so Takt does not read it",
            hint="convert it to safetensors",
        )
    if path.suffix == ".bin":
        return load_llama2c(path, tokenizer=tokenizer)
    raise UnsupportedError(
        f"{path} is in no format Takt reads",
        hint="safetensors in a Hugging Face directory, .gguf, or a llama2.c .bin",
    )


def _tokenizer_reader(path: str | Path | None) -> TokenizerReader | None:
    """How to read the tokenizer the user names, once the vocabulary size is known."""
    if path is None:
        return None
    file = Path(path)
    if not _exists(file):
        raise ModelError(f"there is no tokenizer file {file}")
    if file.is_dir():
        file = file / "tokenizer.json"
    if file.suffix == ".json":
        return lambda _: load_tokenizer_json(file)
    if file.suffix == ".bin":
        return lambda vocab_size: load_llama2c_tokenizer(file, vocab_size)
    raise DataError(
        "not a tokenizer", file=str(file), expected="tokenizer.json or a llama2.c tok*.bin"
    )


def _near(text: str) -> str:
    known = [DEFAULT_NAME, *SHAPES, *(RANDOM_PREFIX + name for name in SHAPES)]
    near = did_you_mean(text, known)
    parent, leaf = Path(text).parent, Path(text).name
    if near is None and _exists(parent) and parent.is_dir() and leaf:
        near = did_you_mean(leaf, sorted(entry.name for entry in parent.iterdir()))
    known = [DEFAULT_NAME, *SHAPES]
    return near or f"a directory, a file, a hub id 'owner/name', or one of {', '.join(known)}"
