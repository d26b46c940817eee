"""Model shapes as TOML: read strictly, and everything that is wrong with a file said at once.

    source = "config.json of meta-llama/Llama-3.1-8B"    # header: where the figures are from
    date = "2024-07-23"
    licence = "Llama 3.1 Community License"              # of the weights
    [shape]                                              # the fields of ModelShape ...
    windows = [4096, 0]                                  # ... repeated over the layers, 0 for None
    [shape.experts]                                      # those of Experts; likewise latent, rope_scaling

With `base`, the name of a catalogue entry, `[shape]` states only what differs. Does not know where files lie
(`catalogue`), nor which shapes are possible (`shape`, `parts`).
"""

import dataclasses
import math
import tomllib
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from takt.errors import DataError, DataErrors, ModelError, Problem, did_you_mean

from .files import read_bytes
from .shape import LIMITS, ModelShape

__all__ = ["ShapeEntry", "read_shape_file"]

_MAX_FILE_BYTES = 1 << 16
_HEADER = ("source", "date", "licence")
_OPTIONAL = ("hub", "base", "shape")
Fields = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeEntry:
    """One shape with its provenance; `hub` is the checkpoint that its short name downloads, if any."""

    shape: ModelShape
    source: str
    date: str
    licence: str
    hub: str | None = None


def read_shape_file(path: Path, base_of: Callable[[str], ModelShape | None]) -> ShapeEntry:
    """The entry of one file, named by its stem; `base_of` answers a `base`, with None for an unknown one.

    Raises ModelError (unreadable) or DataErrors with every problem of the file.
    """
    raw = _parsed(path)
    reader = _Reader(str(path))
    header = reader.header(raw)
    base = _base(raw, base_of, reader)
    stated = raw.get("shape", {})
    fields = reader.fields(stated, ModelShape, "shape", base)
    if base is None and "base" not in raw:
        reader.require(fields, ModelShape, "shape", given=("name", "attention_scale", "windows"))
    shape = reader.finished(path.stem, fields, base)
    if shape is None:
        raise DataErrors(reader.problems)
    return ShapeEntry(shape=shape, **header)


def _parsed(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(read_bytes(path, _MAX_FILE_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"not TOML: {str(error)[:200]}", file=str(path)) from error


def _base(
    raw: Mapping[str, object], base_of: Callable[[str], ModelShape | None], reader: "_Reader"
) -> ModelShape | None:
    if "base" not in raw:
        return None
    base = base_of(raw["base"]) if isinstance(raw["base"], str) else None
    if base is None:
        reader.note("base", "the name of another catalogue entry", repr(raw["base"])[:80])
    return base


class _Reader:
    """Reads tables of one file into fields of frozen records, noting every problem on the way."""

    __slots__ = ("_file", "problems")

    def __init__(self, file: str) -> None:
        self._file = file
        self.problems: list[Problem] = []

    def note(self, key: str, expected: str, found: str, hint: str | None = None) -> None:
        """One more problem."""
        self.problems.append(
            Problem(file=self._file, key=key, expected=expected, found=found, hint=hint)
        )

    def header(self, raw: Mapping[str, object]) -> dict[str, str]:
        """What stands above the tables, all lines of text."""
        known = (*_HEADER, *_OPTIONAL)
        for key in (key for key in raw if key not in known):
            self.note(key, "a known key", "an unknown one", did_you_mean(key, known))
        if "shape" not in raw and "base" not in raw:
            self.note("shape", "a table", "nothing")
        out = {}
        for key in (*_HEADER, *(["hub"] if "hub" in raw else [])):
            value = raw.get(key)
            if isinstance(value, str) and value:
                out[key] = value
            else:
                self.note(key, "a line of text", "nothing" if value is None else repr(value)[:80])
        return out

    def fields(self, raw: object, kind: type, where: str, base: object | None) -> Fields:
        """The fields of `kind` that the table `raw` states, as they belong into it."""
        if not isinstance(raw, dict):
            self.note(where, "a table", repr(raw)[:80])
            return {}
        hints = get_type_hints(kind)
        known = [name for name in hints if (kind, name) != (ModelShape, "name")]
        out: Fields = {}
        for key, value in raw.items():
            at = f"{where}.{key}"
            if key not in known:
                hint = did_you_mean(key, known)
                self.note(at, f"a field of {kind.__name__}", "an unknown one", hint)
                continue
            record = _record_of(hints[key])
            if record is not None:
                out[key] = self._record(value, record, at, getattr(base, key, None))
            else:
                out[key] = self._value(value, list[int] if key == "windows" else hints[key], at)
        return out

    def require(self, fields: Fields, kind: type, where: str, given: tuple[str, ...] = ()) -> None:
        """Note every field of `kind` that has no default and no value."""
        for field in dataclasses.fields(kind):
            optional = field.default is not dataclasses.MISSING or field.name in given
            if not optional and field.name not in fields:
                self.note(f"{where}.{field.name}", "a value", "nothing")

    def finished(self, name: str, fields: Fields, base: ModelShape | None) -> ModelShape | None:
        """The shape, or None with problems noted."""
        if not self.problems:
            try:
                return _shape(name, fields, base)
            except ModelError as error:
                self.note("shape", "sizes that agree", error.message)
        return None

    def _value(self, value: object, hint: Any, where: str) -> Any:
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            self.note(where, "another value", f"{value!r:.80} ({str(error)[:120]})")
            return None

    def _record(self, raw: object, kind: type, where: str, base: object | None) -> object | None:
        """A nested record; stated over a base's, it keeps what it does not state."""
        before = len(self.problems)
        fields = self.fields(raw, kind, where, None)
        if base is None:
            self.require(fields, kind, where)
        if len(self.problems) > before:
            return None
        try:
            if base is not None:
                # Every nested record is a dataclass: `_record_of` chose it so.
                return dataclasses.replace(base, **fields)  # type: ignore[type-var]
            built: object = kind(**fields)
            return built
        except ModelError as error:
            self.note(where, "numbers that agree", error.message)
            return None


def _record_of(hint: Any) -> type | None:
    """The frozen record in a hint such as `Experts | None`; None for a plain type."""
    choices = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((kind for kind in choices if dataclasses.is_dataclass(kind)), None)  # type: ignore[return-value]


def _shape(name: str, fields: Fields, base: ModelShape | None) -> ModelShape:
    """The shape of these fields over those of `base`: windows repeated, the usual scale if none is stated."""
    n_layers = fields.get("n_layers", base.n_layers if base else None)
    if not isinstance(n_layers, int) or not 1 <= n_layers <= LIMITS["n_layers"]:
        raise ModelError(f"n_layers is {n_layers}, expected 1..{LIMITS['n_layers']}")
    pattern = fields.get("windows") or (base.windows if base else (None,))
    windows = tuple(pattern[layer % len(pattern)] or None for layer in range(n_layers))
    fields = fields | {"name": name, "windows": windows}
    if "head_dim" in fields and (base is None or base.attention_scale == _scale(base.head_dim)):
        fields = {"attention_scale": _scale(fields["head_dim"])} | fields
    return ModelShape(**fields) if base is None else dataclasses.replace(base, **fields)


def _scale(head_dim: int) -> float:
    """What scores are usually multiplied by; a head without numbers is refused later."""
    return 1.0 / math.sqrt(max(head_dim, 1))
