"""An outcome as a JSON object, with the keys that `takt simulate --json` prints, and as single figures by dotted names.

Keys are the names of the fields. A figure that does not exist is null in the object, and missing among the single ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields

from takt.errors import UsageError, did_you_mean

from .outcome import Latency, Outcome, PoolOutcome, Seen

__all__ = ["Json", "document", "figure", "figures"]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_NO_LATENCY: dict[str, Json] = dict.fromkeys((field.name for field in fields(Latency)), None)
_APART = ("basis", "digests", "expected_error", "pools", "tiers")


def document(outcome: Outcome) -> dict[str, Json]:
    """All figures of an outcome, without its digests; the same text for the same run."""
    return {
        **_object(outcome),
        "basis": list[Json](sorted(outcome.basis)),
        "expected_error": dict[str, Json](outcome.expected_error),
        "tiers": [{"name": tier.name, **_object(tier)} for tier in outcome.tiers],
        "pools": [_object(pool) for pool in outcome.pools],
    }


def figures(outcome: Outcome) -> dict[str, float]:
    """The numbers of an outcome by name, such as `usd_per_mtok`, `ttft_ms.p99`, `tiers.free.goodput`, `pools.gpu.steps`."""
    every = _numbers("", document(outcome))
    return {name: value for name, value in every if value is not None}


def figure(outcome: Outcome, name: str) -> float | None:
    """One of `figures`; None where it is unknown. UsageError for a name that no outcome has."""
    every = dict(_numbers("", document(outcome)))
    if name not in every:
        hint = did_you_mean(name, every) or f"some are {', '.join(list(every)[:6])}"
        raise UsageError(f"no figure '{name}'", hint=hint)
    return every[name]


def _object(value: Seen | PoolOutcome | Latency) -> dict[str, Json]:
    out: dict[str, Json] = {}
    for field in fields(value):
        if field.name not in _APART:
            part = getattr(value, field.name)
            out[field.name] = asdict(part) if isinstance(part, Latency) else part
            if part is None and field.name.endswith("_ms"):
                out[field.name] = dict(_NO_LATENCY)
    return out


def _items(value: Json) -> Iterator[tuple[str, Json]]:
    """Members of an object by key, of a list by their names."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(part["name"]), part) for part in value if isinstance(part, dict))


def _numbers(before: str, value: Json) -> Iterator[tuple[str, float | None]]:
    for key, part in _items(value):
        if part is None or isinstance(part, int | float):
            yield before + key, None if part is None else float(part)
        else:
            yield from _numbers(f"{before}{key}.", part)
