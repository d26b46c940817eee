"""What the numbers of an event mean, by its kind: the one table that event files and timelines are written and read by.

A row is an EventKind and the names of its fields `a` to `d`. Names of the same meaning are the same in all kinds.
"""

from collections.abc import Mapping
from types import MappingProxyType

from .records import EventKind

__all__ = ["EVENT_KEYS", "FIELDS", "KINDS"]

FIELDS: Mapping[EventKind, tuple[str, ...]] = MappingProxyType(
    {
        EventKind.ARRIVE: ("prompt_tokens",),
        EventKind.ROUTE: ("ahead",),
        EventKind.REJECT: ("fate",),
        EventKind.ADMIT: ("cached_tokens", "read_tokens"),
        EventKind.FIRST: (),
        EventKind.FINISH: ("output_tokens",),
        EventKind.PREEMPT: ("lost_tokens",),
        EventKind.SEND: ("to_replica", "there_ns"),
        EventKind.RECEIVE: (),
        EventKind.LOSE: (),
        EventKind.STEP: ("step_ns", "users", "read_tokens", "blocks"),
        EventKind.START: (),
        EventKind.UP: (),
        EventKind.DRAIN: (),
        EventKind.OFF: (),
        EventKind.FAIL: ("down_ns",),
        EventKind.SAMPLE: ("running", "waiting", "blocks", "up"),
    }
)
KINDS: Mapping[str, EventKind] = MappingProxyType({kind.name.lower(): kind for kind in EventKind})
# Keys of a table that holds events of all kinds, in its order.
EVENT_KEYS: tuple[str, ...] = (
    "time_ns",
    "kind",
    "request",
    "replica",
    *dict.fromkeys(name for names in FIELDS.values() for name in names),
)
