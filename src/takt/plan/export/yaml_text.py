"""Manifests as YAML text: the one place that knows the library.

Same objects, same bytes. PyYAML comes with huggingface-hub.
"""

from collections.abc import Mapping, Sequence

import yaml

__all__ = ["yaml_of"]


def yaml_of(objects: Sequence[object]) -> str:
    """One document an object, keys in their order."""
    # Copies, for the library writes an object it has met before as a reference to it.
    plain = [_plain(each) for each in objects]
    return str(yaml.safe_dump_all(plain, sort_keys=False, allow_unicode=True, width=100))


def _plain(value: object) -> object:
    """Lists and dictionaries only, which is all that the library writes."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
