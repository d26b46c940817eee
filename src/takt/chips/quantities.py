"""What can be said of one fact: its type, its unit, and the range that is not absurd.

The table of a kind of file is its groups themselves: a field of a group is a fact named
``group.field``, and its annotation carries unit and range. ``specs_of`` makes the table of it.

Knows nothing of chips or systems, nor of files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType, NoneType
from typing import Annotated, get_args, get_origin, get_type_hints

__all__ = ["Quantity", "Spec", "specs_of"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """Unit of a fact and the inclusive range that is not absurd."""

    unit: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One row of the table of what can be said: type, unit, range, and whether it must be said."""

    key: str
    is_integer: bool
    required: bool
    quantity: Quantity


def specs_of(groups: Mapping[str, type]) -> Mapping[str, Spec]:
    """The Spec of every ``group.field`` of the dataclasses ``groups``, in their order."""
    specs = {key: spec for group, kind in groups.items() for key, spec in _specs(group, kind)}
    return MappingProxyType(specs)


def _specs(group: str, kind: type) -> list[tuple[str, Spec]]:
    hints = get_type_hints(kind, include_extras=True)
    specs = []
    for name in (field.name for field in fields(kind)):
        assert get_origin(hints[name]) is Annotated, f"{group}.{name} has no quantity"
        value_type, quantity = get_args(hints[name])
        members = get_args(value_type) or (value_type,)
        spec = Spec(
            key=f"{group}.{name}",
            is_integer=int in members,
            required=NoneType not in members,
            quantity=quantity,
        )
        specs.append((spec.key, spec))
    return specs
