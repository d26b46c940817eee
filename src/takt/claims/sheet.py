"""Claims as data: what was published, by whom, under which conditions, and which computation answers it.

Reads ``claims.toml`` strictly: unknown keys, unknown sources and unknown computations are errors, all of a file at once.
Does not compute anything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from takt.errors import DataErrors, Problem, UsageError, did_you_mean

FILE = Path(__file__).parent / "claims.toml"


class Mark(StrEnum):
    """Who says so."""

    VENDOR = "V"
    PEER_REVIEWED = "P"
    THIRD_PARTY = "T"
    UNVERIFIED = "U"  # recalled, or a single weak reading: check before relying on it


class Relation(StrEnum):
    """How the published figure is meant."""

    EQUAL = "="
    ABOUT = "~"
    MORE = ">"
    LESS = "<"


Compute = Literal[
    "none", "barrier", "weight-load", "all-reduce", "chip", "rack", "reach", "hops", "image",
    "encode", "decode", "speculative", "fewest", "beside", "memory-ratio", "bandwidth-share",
    "work-price", "per-megawatt",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a claim was read: a key, and title with address."""

    key: str
    text: str


class Computation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of Takt's computations answers a claim, with its parameters; None where it has no such parameter.

    Without `chips`, `racks` takes the fewest whole racks that hold the model. `users` "most" are as many as fit.
    `beside` is the chip that `system` or `chip` is held against, with weights in `precision`; `also` are further ones, `gpu` works
    together with `system` over `link`, at `speed` tokens a second for each user. `assumed` are the conditions that the claim leaves open and Takt chose. `reason`: why there is none.
    """

    compute: Compute
    quantity: str = ""
    reason: str = ""
    chip: str | None = None
    system: str | None = None
    chips: int | None = None
    racks: bool = False
    model: str | None = None
    weights: str = "int8"
    context: int = 2048
    users: int | Literal["most"] = 1
    objective: str = "latency"
    draft: str | None = None
    draft_chips: int | None = None
    acceptance: float | None = None
    reach_gb: float | None = None
    beside: str | None = None
    also: tuple[str, ...] = ()
    gpu: str | None = None
    link: str | None = None
    precision: str = "fp8"
    speed: float | None = None
    assumed: tuple[str, ...] = ()


class _Stated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[claim]]` as the file has it."""

    id: str
    text: str
    source: str
    date: str
    mark: Mark
    conditions: str
    relation: Relation
    value: float
    unit: str
    better: Literal["higher", "lower"]
    why: str
    takt: Computation


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A published figure. `better` says which way is good; `why` where a difference to Takt's figure comes from."""

    id: str
    text: str
    source: Source
    date: str
    mark: Mark
    conditions: str
    relation: Relation
    value: float
    unit: str
    better: Literal["higher", "lower"]
    why: str
    takt: Computation


def load_claims(path: Path = FILE) -> tuple[Claim, ...]:
    """All claims of a file, in its order. DataErrors with every problem of it."""
    problems: list[Problem] = []
    raw = _parsed(path, problems)
    sources = {key: Source(key=key, text=str(text)) for key, text in _table(raw, "sources").items()}
    rows = raw.get("claim", [])
    claims: list[Claim] = []
    for number, row in enumerate(rows if isinstance(rows, list) else [], start=1):
        name = row.get("id", f"claim {number}") if isinstance(row, dict) else f"claim {number}"
        claim = _claim(row, sources, str(path), str(name), problems)
        if claim is not None and claim.id in {known.id for known in claims}:
            problems.append(_problem(path, claim.id, "an id of its own", "one given before"))
        claims += [claim] if claim is not None else []
    unused = sources.keys() - {claim.source.key for claim in claims}
    if not problems:
        problems += [_problem(path, f"sources.{key}", "a claim from it", "none") for key in unused]
    if problems:
        raise DataErrors(problems)
    return tuple(claims)


def find_claims(claims: Sequence[Claim], ids: Sequence[str]) -> tuple[Claim, ...]:
    """The claims of these ids, in the order of `claims`; all of them for no ids. UsageError with a near miss."""
    known = [claim.id for claim in claims]
    for wanted in ids:
        if wanted not in known:
            hint = did_you_mean(wanted, known) or "`takt claims` lists them all"
            raise UsageError(f"there is no claim {wanted[:60]!r}", hint=hint)
    return tuple(claim for claim in claims if not ids or claim.id in ids)


def _parsed(path: Path, problems: list[Problem]) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(_problem(path, "", "a TOML file", str(error)[:200]))
        return {}


def _table(raw: dict[str, object], key: str) -> dict[str, object]:
    table = raw.get(key, {})
    return table if isinstance(table, dict) else {}


def _claim(
    row: object, sources: dict[str, Source], file: str, name: str, problems: list[Problem]
) -> Claim | None:
    try:
        stated = msgspec.convert(row, _Stated)
    except msgspec.ValidationError as error:
        problems.append(_problem(file, name, "a claim", str(error)[:200]))
        return None
    before = len(problems)
    if stated.source not in sources:
        hint = did_you_mean(stated.source, sources)
        problems.append(
            Problem(
                file=file, key=f"{name}.source", expected="a key of [sources]",
                found=repr(stated.source), hint=hint,
            )
        )  # fmt: skip
    if (stated.takt.compute == "none") != bool(stated.takt.reason):
        problems.append(
            _problem(
                file,
                f"{name}.takt.reason",
                "a reason where nothing computes it, and only there",
                "",
            )
        )
    if not stated.value > 0:
        problems.append(_problem(file, f"{name}.value", "a positive number", f"{stated.value:g}"))
    if len(problems) > before:
        return None
    fields = {key: getattr(stated, key) for key in stated.__struct_fields__}
    return Claim(**(fields | {"source": sources[stated.source]}))


def _problem(file: Path | str, key: str, expected: str, found: str) -> Problem:
    return Problem(file=str(file), key=key, expected=expected, found=found)
