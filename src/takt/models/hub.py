"""Checkpoints from the Hugging Face hub, by id, into the hub's own cache.

Fetches only what the loaders read (config, safetensors, tokenizer), never pickles or code. Knows nothing of
what is in the files.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from takt.errors import ModelError

CONFIG_FILES = ("config.json", "generation_config.json", "modules.json", "1_Pooling/config.json")
WANTED = (
    *CONFIG_FILES,
    "model*.safetensors",  # not "*": some repositories keep a second copy under another name
    "model.safetensors.index.json",
    "tokenizer.json",
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def is_hub_id(text: str) -> bool:
    """Whether `text` reads as "owner/name"."""
    return _HUB_ID.fullmatch(text) is not None and ".." not in text and "--" not in text


def fetch(hub_id: str, wanted: Sequence[str] = WANTED) -> Path:
    """The local directory of a hub checkpoint, downloaded unless cached. ModelError says why not."""
    # Imported when used: this library takes longer to import than a local model takes to load.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(wanted)))
    except Exception as error:  # the hub's, the HTTP library's, the system's: all mean "not got"
        raise ModelError(
            f"cannot get {hub_id} from the Hugging Face hub: {_first_line(error)}",
            hint="check the name and the network, or download it elsewhere and give the directory",
        ) from error


def _first_line(error: Exception) -> str:
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )
