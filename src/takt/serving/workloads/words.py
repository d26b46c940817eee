"""Lengths and waits as a command line writes them: `1137`, `500-1500`, `exp:212`, `lognormal:1137,0.8,max=8192`.

Knows the text forms only.
"""

import math

from takt.errors import UsageError, did_you_mean

from .lengths import MOST_TOKENS, Constant, Exponential, Length, Lognormal, Uniform

__all__ = ["FORMS", "length_of", "number_of"]

FORMS = "1137, 500-1500, exp:212, lognormal:1137,0.8 (mean, cv); the last two also with ,max=8192"

_EXPONENTIAL = ("exp", "exponential", "geometric")
_LOGNORMAL = ("lognormal", "lognorm")
_UNIFORM = ("uniform",)
_CONSTANT = ("constant", "const", "fixed")
_KINDS = (*_EXPONENTIAL, *_LOGNORMAL, *_UNIFORM, *_CONSTANT)
_LONGEST_TEXT = 200


def length_of(text: str) -> Length:
    """The length that a text means. Raises UsageError that names the forms, or the kind that was nearly meant."""
    bare = text.strip().lower()
    if len(bare) > _LONGEST_TEXT:
        raise UsageError(f"no length {bare[:40]!r}…", hint=f"lengths are {FORMS}")
    kind, colon, rest = bare.partition(":")
    if not colon:
        return _plain(bare)
    kind = kind.strip()
    if kind not in _KINDS:
        hint = did_you_mean(kind, _KINDS) or f"lengths are {FORMS}"
        raise UsageError(f"no length of the kind {kind[:40]!r}", hint=hint)
    parts, most = _parts(rest, text)
    if kind in _LOGNORMAL:
        mean, cv = _exactly(parts, 2, text)
        return Lognormal(mean=mean, cv=cv, most=most)
    if kind in _UNIFORM:
        least, greatest = _exactly(parts, 2, text)
        return Uniform(least=_whole(least, text), most=_whole(greatest, text))
    (value,) = _exactly(parts, 1, text)
    if kind in _CONSTANT:
        return Constant(tokens=_whole(value, text))
    return Exponential(mean=value, most=most)


def number_of(text: str, what: str) -> float:
    """A finite number, as decimal text."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise UsageError(f"{what}: expected a number, got {text.strip()[:40]!r}")
    return value


def _plain(text: str) -> Length:
    least, dash, most = text.partition("-")
    if dash and least.strip().isdecimal() and most.strip().isdecimal():
        return Uniform(least=_whole(float(least), text), most=_whole(float(most), text))
    if not text.isdecimal():
        name = text.partition(",")[0].strip()
        near = did_you_mean(name, _KINDS) if name.isalpha() else None
        raise UsageError(f"no length {text[:40]!r}", hint=near or f"lengths are {FORMS}")
    return Constant(tokens=_whole(float(text), text))


def _parts(rest: str, text: str) -> tuple[list[float], int]:
    """The numbers after the kind, and the cut."""
    numbers, most = [], MOST_TOKENS
    for part in rest.split(","):
        name, equals, value = part.partition("=")
        if equals:
            if name.strip() != "max":
                raise UsageError(
                    f"length {text[:40]!r}: no setting {name.strip()[:40]!r}",
                    hint="did you mean 'max'?",
                )
            most = _whole(number_of(value, f"length {text[:40]!r}"), text)
        else:
            numbers.append(number_of(part, f"length {text[:40]!r}"))
    return numbers, most


def _exactly(parts: list[float], n: int, text: str) -> list[float]:
    if len(parts) != n:
        raise UsageError(
            f"length {text[:40]!r} has {len(parts)} numbers, expected {n}",
            hint=f"lengths are {FORMS}",
        )
    return parts


def _whole(value: float, text: str) -> int:
    if not 0 <= value <= 1e15 or value != int(value):
        raise UsageError(f"length {text[:40]!r}: tokens are whole numbers")
    return int(value)
