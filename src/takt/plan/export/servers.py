"""What serves each pool of a plan: an open engine on machines of a size, or nothing that is to be had.

Reads `servers.toml` and `checkpoints.toml`. Knows no command lines and no manifests.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from takt.chips import load_accelerator
from takt.errors import DataError, UsageError, did_you_mean

from ..plans import Plan, PlanPool

__all__ = [
    "ENGINES",
    "Server",
    "Unserved",
    "host_of",
    "image_of",
    "node_chips",
    "quantised_on_load",
    "repository_of",
    "servers_of",
    "slug",
]

ENGINES = ("vllm", "sglang", "trtllm")
_PLACEHOLDER = "SET-ME"


class _Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: str
    kind: Literal["published", "assumed"]
    source: str


class _Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: int
    kind: Literal["published", "assumed"]
    source: str


class _Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vendor: str
    types: tuple[str, ...]
    resource: str
    engines: tuple[str, ...]
    node_chips: int
    kind: Literal["published", "assumed"]
    source: str
    nodes: dict[str, int] = {}
    images: dict[str, str] = {}


class _Servers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: dict[str, _Image]
    host: dict[str, _Host]
    devices: tuple[_Device, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A pool that an open engine serves.

    - `name`: of the pool in files and clusters, unlike any other of the plan.
    - `resource`: what a cluster calls its chips; `nodes` machines of `node_chips` chips each make a replica.
    """

    pool: PlanPool
    name: str
    engine: str
    resource: str
    image: str
    nodes: int
    node_chips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved:
    """A pool that no open engine serves, and why."""

    pool: PlanPool
    name: str
    reason: str


def servers_of(plan: Plan, engine: str = "auto") -> tuple[Server | Unserved, ...]:
    """What serves each pool, in their order.

    `auto`: the engine whose overheads were counted, where it serves on the chip, else vLLM. Raises UsageError for an engine
    that is not among `ENGINES`.
    """
    if engine not in ("auto", *ENGINES):
        hint = did_you_mean(engine, ENGINES) or f"known are auto, {', '.join(ENGINES)}"
        raise UsageError(f"no engine '{engine}'", hint=hint)
    named = tuple(zip(plan.pools, _names(plan.pools), strict=True))
    served = tuple(_server(pool, name, engine) for pool, name in named)
    if all(pool.role == "both" for pool in plan.pools):
        return served
    return _together(served)


def _together(parts: tuple[Server | Unserved, ...]) -> tuple[Server | Unserved, ...]:
    """Pools that hand caches to each other: all by one engine, or none."""
    missing = next((part for part in parts if isinstance(part, Unserved)), None)
    engines = {part.engine for part in parts if isinstance(part, Server)}
    if missing is None and len(engines) == 1:
        return parts
    if missing is not None:
        why = f"no open engine hands its cache to {missing.pool.name}"
    else:
        why = f"{' and '.join(sorted(engines))} do not hand caches to each other"
    return tuple(
        part if isinstance(part, Unserved) else Unserved(pool=part.pool, name=part.name, reason=why)
        for part in parts
    )


def quantised_on_load(pool: PlanPool) -> bool:
    """Whether vLLM and SGLang make the pool's types of any checkpoint: all weights fp8. Others the checkpoint must bring."""
    return pool.weights == "fp8" and pool.experts in ("", "fp8")


def repository_of(model: str) -> str:
    """The checkpoint's name on the Hugging Face Hub; one with SET-ME in it where it is not known."""
    if "/" in model:
        return model
    return _repositories().get(model, f"{_PLACEHOLDER}/{slug(model)}")


def image_of(name: str) -> str:
    """The container image of an engine or a router; the file says how it is known."""
    return _servers().images[name].value


def host_of(what: str) -> int:
    """An assumed size of the host beside a replica: `cpus`, `memory_gib`, `disk_gib`."""
    return _servers().host[what].value


def node_chips(chip: str) -> int:
    """Chips of a machine, as the file says or assumes; 1 where nothing is known."""
    device = _device(chip)
    return 1 if device is None else device.nodes.get(chip, device.node_chips)


def _server(pool: PlanPool, name: str, engine: str) -> Server | Unserved:
    if pool.role in ("attention", "ffn"):
        reason = "no open engine splits attention from feed-forward between two kinds of chips"
        return Unserved(pool=pool, name=name, reason=reason)
    device = _device(pool.chip)
    if device is None:
        return Unserved(pool=pool, name=name, reason=f"no open engine serves on {pool.name}")
    wish = pool.engine if engine == "auto" else engine
    if wish not in device.engines and engine != "auto":
        reason = f"{engine} does not serve on {pool.name}, {' and '.join(device.engines)} would"
        return Unserved(pool=pool, name=name, reason=reason)
    chosen = wish if wish in device.engines else device.engines[0]
    each = _chips_of_a_node(pool, node_chips(pool.chip))
    return Server(
        pool=pool,
        name=name,
        engine=chosen,
        resource=device.resource,
        image=device.images.get(chosen) or image_of(chosen),
        nodes=pool.chips // each,
        node_chips=each,
    )


def _chips_of_a_node(pool: PlanPool, most: int) -> int:
    """Chips of each machine of a replica: as many as fit and share it evenly, whole groups of tensor parallelism first."""
    tp = pool.layout.tp
    even = [n for n in range(1, min(most, pool.chips) + 1) if pool.chips % n == 0]
    return max(even, key=lambda n: (n % tp == 0 or tp % n == 0, n))


def _device(chip: str) -> _Device | None:
    try:
        accelerator = load_accelerator(chip)
    except UsageError:  # an LPU or a system of them
        return None
    rows = (
        device
        for device in _servers().devices
        if device.vendor == accelerator.vendor and accelerator.kind in device.types
    )
    return next(rows, None)


def _names(pools: tuple[PlanPool, ...]) -> list[str]:
    """Role and chip; a number after those that would be alike."""
    names: list[str] = []
    for pool in pools:
        role = "" if pool.role == "both" else f"{pool.role}-"
        name = slug(f"{role}{pool.chip}")[:40].strip("-") or "pool"
        alike = sum(other == name or other.startswith(f"{name}-p") for other in names)
        names.append(f"{name}-p{alike + 1}" if alike else name)
    return names


def slug(text: str) -> str:
    """Lower-case letters, digits and dashes, as clusters want names."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return slug if slug[:1].isalpha() else f"x-{slug}"


@cache
def _servers() -> _Servers:
    path = files("takt.plan.export").joinpath("servers.toml")
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Servers)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{error}", file=str(path)) from error


@cache
def _repositories() -> dict[str, str]:
    path = files("takt.plan.export").joinpath("checkpoints.toml")
    rows = tomllib.loads(path.read_text(encoding="utf-8"))
    return msgspec.convert(rows["repositories"], dict[str, str])
