"""Words that several verbs understand alike: times, paces, prices, engines.

Each raises UsageError with what would have been right. Knows no verb.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from math import isfinite

from takt.errors import UsageError, did_you_mean
from takt.perf import ENGINES

__all__ = [
    "check_named",
    "engine_named",
    "number_pairs",
    "pace_of",
    "prices_of",
    "say_note",
    "seconds_of",
]

_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "": 1e-3}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?(us|µs|ms|s|)")


def seconds_of(option: str, text: str) -> float:
    """`20ms`, `0.5s`, `800us`; a bare number is milliseconds."""
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found and len(text) < 40 else 0.0
    if not 0 < seconds <= 3600:
        hint = "a time such as 20ms, 1.5s or 800us, more than 0 and at most an hour"
        raise UsageError(f"{option} {text[:40]!r} is no time", hint=hint)
    return seconds


def pace_of(tpot: str | None, speed: float | None) -> float:
    """Seconds a token, said as time or as tokens a second; 20 ms where neither is."""
    if tpot is not None and speed is not None:
        raise UsageError("--tpot and --speed say the same thing", hint="choose one of them")
    if speed is None:
        return seconds_of("--tpot", tpot or "20ms")
    if not (isfinite(speed) and 1 / 3600 <= speed <= 1e6):
        raise UsageError(f"--speed {speed:g}: expected tokens a second, more than 0")
    return 1.0 / speed


def engine_named(name: str) -> str:
    """`auto` or one of the engines."""
    known = ("auto", *ENGINES)
    if name not in known:
        hint = did_you_mean(name, known) or f"known engines are {', '.join(known)}"
        raise UsageError(f"no engine '{name[:40]}'", hint=hint)
    return name


def prices_of(texts: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """`h200-sxm=2.5` → {"h200-sxm": 2.5}, for chips of this comparison only."""
    out: dict[str, float] = {}
    for name, number in number_pairs(
        "--price", texts, "price", "dollars an hour of one chip: --price h200-sxm=2.5"
    ):
        if not 0 <= number <= 1e6:
            raise UsageError(
                f"--price {name}={number:g} is no price", hint="0 to 1,000,000 dollars"
            )
        check_named("--price for", name, names)
        out[name] = number
    return out


def number_pairs(
    option: str, texts: Iterable[str], what: str, hint: str
) -> list[tuple[str, float]]:
    """NAME=NUMBER of each text."""
    out = []
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not equals or not name or not isfinite(value) or "_" in number:
            raise UsageError(f"{option} {text[:60]!r} is no {what}", hint=hint)
        out.append((name.strip(), value))
    return out


def say_note(note: str) -> None:
    """A line on stderr of what was chosen, left out or changed; the `note` of `workload_of`."""
    sys.stderr.write(f"note: {note}\n")


def check_named(what: str, name: str, names: Sequence[str]) -> None:
    """UsageError unless the chip is among those looked at."""
    if name not in names:
        hint = did_you_mean(name, names) or f"compared are {', '.join(names)}"
        raise UsageError(f"{what} {name[:40]!r}, which is not compared", hint=hint)
