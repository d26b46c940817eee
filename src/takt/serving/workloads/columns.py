"""Which column of a log means what: usual spellings, units in names, and a user's own words.

Knows names only, no values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from takt.errors import DataError, UsageError, did_you_mean

__all__ = ["MEANINGS", "UNITS_NS", "Columns", "columns_of"]

# Spellings without case and punctuation, and without a unit at the end. Earlier ones win where a file has several.
_SPELLINGS = {
    "arrival": (
        "arrival", "arrivaltime", "arrivaltimestamp", "arrivedat", "arrivedtime", "arrivedattime", "timestamp",
        "starttimestamp", "requesttimestamp", "starttime", "requesttime", "sendtime", "createdat", "created",
        "datetime", "time", "ts", "start",
    ),
    "prompt": (
        "prompttokens", "inputtokens", "contexttokens", "requesttokens", "numprefilltokens", "prefilltokens",
        "numprompttokens", "numinputtokens", "inputlength", "inputlen", "promptlength", "promptlen",
        "inputtokencount", "prompttokencount", "isl", "ninput", "nprompt",
    ),
    "output": (
        "outputtokens", "generatedtokens", "completiontokens", "responsetokens", "numdecodetokens", "decodetokens",
        "numoutputtokens", "numgeneratedtokens", "outputlength", "outputlen", "generationlength", "responselength",
        "outputtokencount", "candidatestokencount", "osl", "noutput",
    ),
    "seen": (
        "seentokens", "prefixtokensseenbefore", "cachedtokens", "cachedprompttokens", "cachedinputtokens",
        "numcachedtokens", "prefixtokens", "prefixcachedtokens", "cachereadinputtokens", "prefixlen",
    ),
    "session": ("session", "sessionid", "conversation", "conversationid", "chatid", "threadid", "dialogueid", "convid"),
    "tier": ("tier", "servicetier", "priority", "userclass", "priorityclass", "serviceclass", "slo", "sloclass"),
    "took": ("e2e", "e2el", "latency", "e2elatency", "duration", "requestlatency", "elapsedtime", "elapsed", "took"),
    "hashes": ("hashids",),
}  # fmt: skip
MEANINGS = tuple(_SPELLINGS)
_TIMES = ("arrival", "took")
UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "sec": 1_000_000_000, "seconds": 1_000_000_000}  # fmt: skip
_MOST_COLUMNS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of the columns that mean something, by meaning; units of those that are times, None where names have none."""

    names: Mapping[str, str]
    arrival_unit_ns: int | None = None
    took_unit_ns: int | None = None


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _unit_of(name: str) -> tuple[str, int | None]:
    """A name without the unit at its end, and the unit: `arrival_ms`, `Duration (s)`."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    if len(words) > 1 and words[-1] in UNITS_NS:
        return "".join(words[:-1]), UNITS_NS[words[-1]]
    return _bare(name), None


def columns_of(header: Sequence[str], stated: Mapping[str, str], file: str) -> Columns:
    """What the columns of a header mean; `stated` names columns by meaning and goes first.

    Raises UsageError for a stated one that does not exist, DataError where lengths are missing.
    """
    if len(header) > _MOST_COLUMNS:
        raise DataError(f"more than {_MOST_COLUMNS:,} columns", file=file)
    names: dict[str, str] = {}
    units: dict[str, int | None] = {}
    for meaning, name in stated.items():
        if meaning not in MEANINGS:
            hint = did_you_mean(meaning, MEANINGS) or f"columns mean {', '.join(MEANINGS)}"
            raise UsageError(f"no column means {meaning[:40]!r}", hint=hint)
        if name not in header:
            hint = did_you_mean(name, header) or f"columns are {', '.join(header[:12])}"[:300]
            raise UsageError(f"{file} has no column {name[:40]!r}", hint=hint)
        names[meaning], units[meaning] = name, _unit_of(name)[1]
    for meaning, spellings in _SPELLINGS.items():
        if meaning not in names:
            found = _first(header, spellings, timed=meaning in _TIMES)
            if found is not None:
                names[meaning], units[meaning] = found
    _complete(header, names, file)
    return Columns(
        names=names, arrival_unit_ns=units.get("arrival"), took_unit_ns=units.get("took")
    )


def _first(
    header: Sequence[str], spellings: Sequence[str], *, timed: bool
) -> tuple[str, int | None] | None:
    by_spelling: dict[str, tuple[str, int | None]] = {}
    for name in header:
        bare, unit = _unit_of(name) if timed else (_bare(name), None)
        by_spelling.setdefault(bare, (name, unit))
    return next((by_spelling[each] for each in spellings if each in by_spelling), None)


def _complete(header: Sequence[str], names: Mapping[str, str], file: str) -> None:
    missing = [meaning for meaning in ("prompt", "output") if meaning not in names]
    if not missing:
        return
    known = {each: each for meaning in missing for each in _SPELLINGS[meaning]}
    near = next((n for n in header if _bare(n) and did_you_mean(_bare(n), known)), None)
    columns = ", ".join(header[:12])[:200]
    raise DataError(
        f"no column with the tokens of {' and '.join(f'{each}s' for each in missing)}",
        file=file,
        expected="columns such as arrival_s, prompt_tokens, output_tokens",
        found=columns or "none",
        hint=f"is it '{near[:60]}'? takt workload fit FILE --column {missing[0]}={near[:60]} reads it so"
        if near
        else f"takt workload fit FILE --column {missing[0]}=NAME names it",
    )
