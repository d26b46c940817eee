"""The answer of a search as JSON, whole, and back.

    {"format": "takt-plan-1", "model": …, "pareto": [{"id": …, "pools": […], "figures": {…}}], …}

Keys are the fields of `PlanSet` and of what is in it, in their order; docs/export.md lists them. Knows no files.
"""

import math
from typing import Any

import msgspec

from takt.errors import DataError

from ..plans import PlanSet

__all__ = ["FORMAT", "document_of", "json_of", "plan_set_of"]

FORMAT = "takt-plan-1"


def document_of(plan_set: PlanSet) -> dict[str, Any]:
    """Everything of a plan set in lists, texts and numbers. Sets are sorted: the same answer gives the same bytes.

    Raises DataError for a number that is none (NaN) or without bound, which JSON can't hold.
    """
    document = {"format": FORMAT, **msgspec.to_builtins(plan_set, order="deterministic")}
    _check_finite(document, "")
    return document


def json_of(plan_set: PlanSet) -> bytes:
    """The document as indented JSON in UTF-8."""
    return msgspec.json.format(msgspec.json.encode(document_of(plan_set)), indent=1) + b"\n"


def plan_set_of(document: dict[str, Any] | bytes) -> PlanSet:
    """The plan set of a document, or of its JSON.

    Strict: raises DataError for another format, a key that is missing or unknown, and a value of the wrong type.
    """
    if isinstance(document, bytes):
        try:
            document = msgspec.json.decode(document, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise DataError(f"the plan is not JSON: {error}") from error
    if document.get("format") != FORMAT:
        raise DataError(
            "the plan", key="format", expected=FORMAT, found=f"{document.get('format')}"
        )
    fields = {key: value for key, value in document.items() if key != "format"}
    try:
        plan_set = msgspec.convert(fields, PlanSet)
    except msgspec.ValidationError as error:
        raise DataError(f"the plan is wrong: {error}") from error
    # Dataclasses take what they know; whatever else was there would be lost.
    _check_same(document, document_of(plan_set), "")
    return plan_set


def _check_finite(value: object, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError("the plan", key=where, expected="a finite number", found=f"{value}")
    if isinstance(value, dict):
        for key, part in value.items():
            _check_finite(part, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            _check_finite(part, f"{where}[{i}]")


def _check_same(given: object, read: object, where: str) -> None:
    if isinstance(given, dict) and isinstance(read, dict):
        for key in given:
            if key not in read:
                raise DataError("the plan has an unknown key", key=f"{where}.{key}".strip("."))
        for key in read:
            if key not in given:
                raise DataError("the plan lacks a key", key=f"{where}.{key}".strip("."))
            _check_same(given[key], read[key], f"{where}.{key}".strip("."))
    elif isinstance(given, list) and isinstance(read, list | tuple) and len(given) == len(read):
        for i, (a, b) in enumerate(zip(given, read, strict=True)):
            _check_same(a, b, f"{where}[{i}]")
