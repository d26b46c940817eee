"""A JSON object from strangers, looked at field by field: every type and range is checked, and what was read is noted.

A field may go by several names; the first that is there, and not null, counts. Knows no model.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from takt.errors import DataError, ModelError

from ..files import MAX_JSON_BYTES, read_bytes

__all__ = ["MAX_NUMBER", "Fields", "read_object"]

MAX_NUMBER = 1 << 24
MAX_ITEMS = 1 << 14
MAX_TEXT = 1 << 20


def read_object(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file. ModelError (unreadable) or DataError (too large, no JSON, no object)."""
    data = read_bytes(path, MAX_JSON_BYTES)
    try:
        # The standard reader, as configs in the wild hold `Infinity`, which strict ones refuse.
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {str(error)[:200]}", file=str(path)) from error
    if not isinstance(raw, dict):
        raise DataError(
            "not a config", file=str(path), expected="an object", found=type(raw).__name__
        )
    return raw


class Fields:
    """Checked access to one object. `read` collects the keys that were there and were asked for."""

    __slots__ = ("_parts", "_raw", "read")

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._parts: dict[str, Fields] = {}
        self.read: set[str] = set()

    def has(self, *names: str) -> bool:
        """Whether one of these is there and not null."""
        return self._find(names) is not None

    def integer(self, *names: str, default: int | None = None, high: int = MAX_NUMBER) -> int:
        """A number in 0..`high`; of a list (one for each layer) the largest. ModelError where it is missing."""
        found = self._find(names)
        if found is None:
            if default is None:
                raise ModelError(f"the config has no field {' or '.join(map(repr, names))}")
            return default
        name, value = found
        if isinstance(value, list):
            if not value or len(value) > MAX_ITEMS:
                raise ModelError(f"{name} has {len(value)} numbers, expected 1..{MAX_ITEMS}")
            return max(_integer(name, item, high) for item in value)
        return _integer(name, value, high)

    def integers(self, *names: str) -> tuple[int, ...] | None:
        """A list of numbers, or None where it is missing or no list."""
        found = self._find(names)
        if found is None or not isinstance(found[1], list):
            return None
        return tuple(_integer(found[0], item, MAX_NUMBER) for item in _bounded(*found))

    def strings(self, *names: str) -> tuple[str, ...] | None:
        """A list of short texts, or None where it is missing."""
        found = self._find(names)
        if found is None:
            return None
        items = _bounded(*found)
        if not all(isinstance(item, str) and len(item) <= 256 for item in items):
            raise ModelError(f"{found[0]} must list texts")
        return tuple(items)

    def number(self, *names: str, default: float) -> float:
        """A finite number of moderate size."""
        found = self._find(names)
        if found is None:
            return default
        name, value = found
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value <= MAX_NUMBER
        ):
            raise ModelError(f"{name} is {str(value)[:80]}, expected a number in 0..{MAX_NUMBER}")
        return float(value)

    def flag(self, *names: str, default: bool = False) -> bool:
        """True or false; 0 and 1 pass for it."""
        found = self._find(names)
        if found is None:
            return default
        if found[1] not in (0, 1):
            raise ModelError(f"{found[0]} is {str(found[1])[:80]}, expected true or false")
        return bool(found[1])

    def text(self, *names: str, default: str = "") -> str:
        """A text of bounded length; `default` for anything that is none."""
        found = self._find(names)
        if found is None or not isinstance(found[1], str) or len(found[1]) > MAX_TEXT:
            return default
        return found[1]

    def part(self, *names: str) -> "Fields | None":
        """The object under one of these names, None where there is none."""
        found = self._find(names)
        if found is None or not isinstance(found[1], dict):
            return None
        return self._parts.setdefault(found[0], Fields(found[1]))

    def parts(self, name: str) -> tuple["Fields", ...]:
        """A list of objects."""
        found = self._find((name,))
        items = () if found is None else _bounded(*found)
        if not all(isinstance(item, dict) for item in items):
            raise ModelError(f"{name} must list objects")
        return tuple(Fields(item) for item in items)

    def values(self) -> tuple["Fields", ...]:
        """All values that are objects themselves."""
        self.read.update(self._raw)
        return tuple(Fields(value) for value in self._raw.values() if isinstance(value, dict))

    def items(self) -> tuple[tuple[str, "Fields"], ...]:
        """Name and object of all that are objects themselves."""
        self.read.update(self._raw)
        return tuple((k, Fields(v)) for k, v in self._raw.items() if isinstance(v, dict))

    def trimmed(self) -> dict[str, Any]:
        """The object without what nobody asked for."""
        return {
            key: self._parts[key].trimmed() if key in self._parts else value
            for key, value in self._raw.items()
            if key in self.read
        }

    def _find(self, names: Sequence[str]) -> tuple[str, Any] | None:
        for name in names:
            value = self._raw.get(name)
            if value is not None:
                self.read.add(name)
                return name, value
        return None


def _integer(name: str, value: object, high: int) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, float) and value.is_integer():
        whole = True
    if not whole or not 0 <= value <= high:  # type: ignore[operator]
        raise ModelError(f"{name} is {str(value)[:80]}, expected a whole number in 0..{high}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def _bounded(name: str, value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise ModelError(f"{name} must be a list of at most {MAX_ITEMS}")
    return value
