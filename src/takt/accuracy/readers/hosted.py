"""Rows of hosted services: speed for one user, and list prices.

Few name their hardware, none its amount. Rows on an LPU, a wafer or an RDU, whose services run on
nothing else, become cases with `n_chips` 0 (not recorded); rows that name GPUs and their number too.
Everything else bounds a speed, but of an unknown machine: skipped.
"""

import re
from collections.abc import Iterable, Iterator

from takt.accuracy.case import Case, Measured, Skip
from takt.accuracy.readers.build import Defaults, finish, one_group
from takt.accuracy.readers.cells import Row, Unusable, each
from takt.accuracy.readers.names import engine_of, stored_types

__all__ = ["NEEDED", "read"]

NEEDED = frozenset({"provider", "hardware", "model", "tok_s_per_user", "date", "confidence"})
_OWN_MACHINES = ("LPU", "CS-3", "SN40L", "HC1")
_COUNTED = re.compile(r"(\d+)x (\w+)")


def read(rows: Iterable[Row], defaults: Defaults) -> Iterator[Case | Skip]:
    """Rows that name their machine as cases of one user."""
    del defaults
    yield from each(rows, _case)


def _machine(row: Row) -> tuple[str, int]:
    hardware = row.need("hardware")
    if hardware == "not stated":
        raise Unusable("hardware not stated")
    if hardware == "GPU":
        raise Unusable("kind of GPU not stated")
    if found := _COUNTED.match(hardware):
        return found.group(2), int(found.group(1))
    if hardware.startswith(_OWN_MACHINES):
        return hardware.split(" (")[0], 0
    raise Unusable("number of chips not recorded")


def _case(row: Row) -> Case:
    chip, n_chips = _machine(row)
    speed = row.number("tok_s_per_user")
    ttft_s = row.number("ttft_s")
    model, note, hardware = row.need("model"), row.text("note"), row.need("hardware")
    words = f"{model} {note} {hardware}".lower()
    drafts = "specul" in words or "specdec" in words or "eagle" in words
    types = stored_types(model, "fp8" if "FP8" in hardware else "")
    case = Case(
        where=row.where,
        dataset="hosted",
        series="",
        chip=chip,
        model=model,
        engine=engine_of(hardware) if "TensorRT" in hardware else row.need("provider").lower(),
        date=row.text("date"),
        load="closed",
        n_chips=n_chips,
        split=one_group(n_chips),
        split_known=False,
        weights=types.weights or ("bf16" if "16-bit" in note else ""),
        experts=types.experts,
        concurrency=1.0,
        speculative="draft" if drafts else "",
        measured=Measured(
            tpot_ms=1e3 / speed if speed else None, ttft_ms=ttft_s * 1e3 if ttft_s else None
        ),
        source=row.text("source"),
        note="; ".join(filter(None, (row.text("confidence"), note))),
    )
    return finish(case, row.need("provider"))
