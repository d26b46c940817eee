"""The few rules between facts: what follows from what, and what must divide what.

Knows no files: it gets all facts of a chip by key and notes what does not agree.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from takt.chips.chip import Fact, Kind
from takt.chips.problems import Report, describe

__all__ = ["check_agreement", "settle_dependents"]

_Counts = Mapping[str, int]


def _lanes(counts: _Counts) -> int:
    return counts["core.superlanes"] * counts["core.lanes_per_superlane"]


def _queues(counts: _Counts) -> int:
    hemisphere = (
        counts["mem.slices_per_hemisphere"]
        + counts["mxm.queues_per_hemisphere"]
        + counts["c2c.queues_per_hemisphere"]
        + sum(n for key, n in counts.items() if key.startswith("sxm.") and key.endswith("_units"))
    )
    return 2 * hemisphere + counts["vxm.alus"]


# Facts that are published and yet follow from others: (key, the arithmetic in words, and in code).
_DEPENDENTS: tuple[tuple[str, str, Callable[[_Counts], int]], ...] = (
    ("core.lanes", "superlanes x lanes_per_superlane", _lanes),
    ("mxm.rows", "core.lanes, for an activation arrives as one vector", _lanes),
    ("mxm.cols", "core.lanes, for a result leaves as one vector", _lanes),
    ("icu.queues", "2 x (MEM slices + MXM, SXM and C2C queues) + VXM ALUs", _queues),
)

# (key, divisor): so that halves, banks and groups are whole.
_MULTIPLES = (
    ("mem.words_per_slice", "mem.banks"),
    ("mem.slices_per_hemisphere", "layout.slices_per_hop"),
    ("mxm.planes", "mxm.fp16_planes_per_array"),
    ("icu.fetch_bytes", "icu.instruction_bytes"),
)


def settle_dependents(
    facts: Mapping[str, Fact], stated: Collection[str], report: Report
) -> dict[str, Fact]:
    """``facts`` with those that follow from others made right.

    A file that changes what they follow from need not restate them; one that states them (their key
    is in ``stated``) must be right. Facts must be complete.
    """
    settled = dict(facts)
    counts = _counts(facts)
    for key, words, formula in _DEPENDENTS:
        value = formula(counts)
        if value == counts[key]:
            continue
        if key in stated:
            report.note(key, f"{value} = {words}", describe(counts[key]))
            continue
        settled[key] = replace(
            facts[key],
            value=value,
            kind=Kind.DERIVED,
            source=report.file,
            date="",
            note=f"follows from what the file changes: {words}",
            history=(),
        )
    return settled


def check_agreement(facts: Mapping[str, Fact], report: Report) -> None:
    """Note every number that does not go with another. Facts must be complete."""
    counts = _counts(facts)
    for key, divisor in _MULTIPLES:
        if counts[key] % counts[divisor]:
            expected = f"a multiple of {divisor} = {counts[divisor]}"
            report.note(key, expected, describe(counts[key]))
    most = counts["core.streams_per_direction"]
    if counts["mxm.load_streams"] > most:
        expected = f"at most core.streams_per_direction = {most}"
        report.note("mxm.load_streams", expected, describe(counts["mxm.load_streams"]))


def _counts(facts: Mapping[str, Fact]) -> dict[str, int]:
    return {key: fact.value for key, fact in facts.items() if isinstance(fact.value, int)}
