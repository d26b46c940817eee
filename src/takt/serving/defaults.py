"""How serving engines schedule by default, and what the network between replicas is taken to give: facts with sources.

The figures lie in ``engines.toml``. Knows engines and a chip's memory; nothing of models or times.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from takt.chips import Accelerator
from takt.errors import DataError, UsageError, did_you_mean

__all__ = ["EngineDefaults", "NetworkDefaults", "defaults_of", "network_defaults"]

_FILE = "engines.toml"
_KINDS = ("published", "measured", "derived", "assumed")
_NO_ENGINES = ("sources", "network")
_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDefaults:
    """Defaults of an engine on one kind of chip; ``engines.toml`` says where each is from.

    `entry_s`: from a request's arrival until it may be scheduled, None: not known apart from the prompt. `layer_s`,
    `experts_s`: what the host takes for each layer of a step that only reads, without and with experts. `max_seqs` and
    `step_tokens` (requests and tokens of one step) are of each attention group where `by_group` holds, else of all together.
    """

    mixed: bool
    prefix_caching: bool
    block_tokens: int
    by_group: bool
    entry_s: float | None
    layer_s: float
    experts_s: float
    max_seqs: int
    step_tokens: int
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDefaults:
    """Of a chip's port: the share that payload gets, and nanoseconds until the first byte is there."""

    share: float
    latency_ns: int
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Sizes for chips of at least so many bytes whose ids begin with none of `excepted`."""

    least_bytes: float
    excepted: tuple[str, ...]
    max_seqs: int
    step_tokens: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    """An engine's entry of the file; `kinds`: how its facts are known."""

    mixed: bool
    prefix_caching: bool
    block_tokens: int
    by_group: bool
    entry_s: float | None
    layer_s: float
    experts_s: float
    kinds: frozenset[str]
    sizes: tuple[_Sizes, ...]


def defaults_of(engine: str, chip: Accelerator) -> EngineDefaults:
    """What `engine` does on `chip` when nothing else is asked of it; UsageError with a near miss."""
    known, _ = _file()
    if engine not in known:
        hint = did_you_mean(engine, known) or f"known engines are {', '.join(known)}"
        raise UsageError(f"no engine '{engine}'", hint=hint)
    entry = known[engine]
    fits = [
        sizes
        for sizes in entry.sizes
        if chip.memory.capacity_bytes >= sizes.least_bytes
        and not chip.id.startswith(sizes.excepted)
    ]
    kinds = "/".join(sorted(entry.kinds | {fits[-1].kind}))
    return EngineDefaults(
        mixed=entry.mixed,
        prefix_caching=entry.prefix_caching,
        block_tokens=entry.block_tokens,
        by_group=entry.by_group,
        entry_s=entry.entry_s,
        layer_s=entry.layer_s,
        experts_s=entry.experts_s,
        max_seqs=fits[-1].max_seqs,
        step_tokens=fits[-1].step_tokens,
        basis=f"{kinds}: scheduling defaults of {engine}",
    )


def network_defaults() -> NetworkDefaults:
    """What a transfer between replicas gets."""
    return _file()[1]


@cache
def _file() -> tuple[dict[str, _Engine], NetworkDefaults]:
    text = files("takt.serving").joinpath(_FILE).read_text(encoding="utf-8")
    table = tomllib.loads(text)
    engines = {
        name: _Engine(
            mixed=bool(_value(name, "mixed", row)),
            prefix_caching=bool(_value(name, "prefix_caching", row)),
            block_tokens=int(_value(name, "block_tokens", row)),
            by_group=bool(_value(name, "by_group", row)),
            entry_s=_value(name, "entry_s", row) if "entry_s" in row else None,
            layer_s=_value(name, "layer_s", row),
            experts_s=_value(name, "experts_s", row),
            kinds=frozenset(str(fact["kind"]) for key, fact in row.items() if key != "sizes"),
            sizes=_sizes_of(name, row["sizes"]),
        )
        for name, row in table.items()
        if name not in _NO_ENGINES
    }
    network = table["network"]
    return engines, NetworkDefaults(
        share=float(_value("network", "share", network)),
        latency_ns=int(_value("network", "latency_ns", network)),
        basis="assumed: share of the network between replicas",
    )


def _value(name: str, key: str, row: Mapping[str, object]) -> float:
    fact = row.get(key)
    if not isinstance(fact, dict) or fact.get("kind") not in _KINDS:
        raise DataError(f"{name}.{key} is missing or of no known kind", file=_FILE)
    return float(fact["value"])


def _sizes_of(name: str, rows: Sequence[Mapping[str, object]]) -> tuple[_Sizes, ...]:
    """In the order of the file; the first holds for every chip."""
    found = []
    for row in rows:
        excepted = row.get("except", [])
        if row.get("kind") not in _KINDS or not isinstance(excepted, list):
            raise DataError(f"a row of {name}.sizes is of no known kind", file=_FILE)
        found.append(
            _Sizes(
                least_bytes=float(str(row["at_least_gib"])) * _GIB,
                excepted=tuple(str(each) for each in excepted),
                max_seqs=int(str(row["max_seqs"])),
                step_tokens=int(str(row["step_tokens"])),
                kind=str(row["kind"]),
            )
        )
    if not found or found[0].least_bytes or found[0].excepted:
        raise DataError(f"{name}.sizes begins with what holds for every chip", file=_FILE)
    return tuple(found)
