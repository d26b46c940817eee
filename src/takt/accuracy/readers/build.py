"""The last step of every reader: one Case, with its series, checked for having been measured.

Knows what makes two rows one series. Does not know any file's columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from takt.accuracy.case import Case, Split
from takt.accuracy.readers.cells import Unusable

__all__ = ["Defaults", "energy_within", "finish", "first", "one_group", "series_of"]

# Measurements that say something of speed: power alone is none.
_SPEEDS = (
    "tpot_ms",
    "ttft_ms",
    "output_tokens_per_s",
    "total_tokens_per_s",
    "requests_per_s",
    "step_ms",
)
# Part of its users that a closed load keeps busy even with long ramps at either end.
_BUSY = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the caller says of a file that does not say it itself; a file's own cells win."""

    chip: str = ""
    model: str = ""
    engine: str = ""
    n_chips: int | None = None
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None
    weights: str = ""
    experts: str = ""
    kv: str = ""
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    concurrency: float | None = None


def first(values: Sequence[float | None]) -> float | None:
    """The first that is known."""
    return next((value for value in values if value is not None), None)


def one_group(n_chips: int) -> Split:
    """All chips as one tensor-parallel group: what stands in where a file gives only their number."""
    return Split(tp=max(1, n_chips))


def series_of(case: Case, *extra: str) -> str:
    """What a case shares with those measured together with it: all but load, lengths and results."""
    parts = [
        case.dataset,
        case.chip,
        str(case.n_chips),
        case.engine,
        case.engine_version,
        case.model,
        _split_text(case.split),
        _split_text(case.prefill) if case.prefill else "",
        case.weights,
        case.experts,
        case.kv,
        case.speculative,
        *extra,
    ]
    return "|".join(parts)


def _split_text(split: Split) -> str:
    numbers = ((field.name, getattr(split, field.name)) for field in fields(split))
    return " ".join(f"{name}{value}" for name, value in numbers if value not in (None, 1))


def finish(case: Case, *extra: str) -> Case:
    """The case with its series (`extra`: what else tells series apart), if it holds together.

    Raises Unusable if nothing was measured, chips and split disagree, or the load lacks its number.
    """
    if all(getattr(case.measured, name) is None for name in _SPEEDS):
        raise Unusable("no latency and no rate measured")
    chips = case.split.chips + (case.prefill.chips if case.prefill else 0)
    if case.n_chips and chips != case.n_chips:
        raise Unusable("the split needs another number of chips than the row gives")
    if case.load in ("closed", "static", "steps") and case.concurrency is None:
        raise Unusable("neither concurrency nor batch given")
    if case.load == "open" and case.rate_per_s is None:
        raise Unusable("arrival rate not recorded")
    if _contradicts_itself(case):
        raise Unusable("rates and latencies contradict each other")
    return replace(case, series=case.series or series_of(case, *extra))


def _contradicts_itself(case: Case) -> bool:
    """Whether a closed load's users, by Little's law, were busy for less than a part of what they should.

    Runs that stalled or lost requests look so: their rate counts the time in which nothing happened.
    """
    measured, output = case.measured, case.output_tokens
    rate, ttft_ms, tpot_ms = measured.output_tokens_per_s, measured.ttft_ms, measured.tpot_ms
    if case.load != "closed" or not (rate and ttft_ms and tpot_ms and output and case.concurrency):
        return False
    busy = rate / output * (ttft_ms + (output - 1) * tpot_ms) / 1e3
    return busy < _BUSY * min(case.concurrency, case.n_requests or case.concurrency)


def energy_within(
    measured_j: float | None, output_tokens_per_s: float | None, most_w: float | None
) -> tuple[float | None, float | None]:
    """Energy and the power that it implies, both None where that is over what the boards may draw.

    `measured_j` for an output token, `most_w` for all chips (None: unknown, nothing is dropped).
    """
    if measured_j is None or output_tokens_per_s is None:
        return measured_j, None
    power_w = measured_j * output_tokens_per_s
    if most_w is not None and power_w > most_w:
        return None, None
    return measured_j, power_w
