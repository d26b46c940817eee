"""From samples of all chips to what is shipped: tables, efficiencies, and how wrong each is.

- Engines whose calls were timed with the host in the way (the least time of a table is many times the others'):
  their short calls are replaced by the fastest of the other engines' for the same call. Captured graphs hide that
  time in service, and engines' own overheads are fitted elsewhere. Long calls hide the host and count.
- The generic engine is the median of the engines at each node: one odd kernel of one engine does not move it.
- All-reduces: engines use their own kernel where it is faster than NCCL's, so the faster counts.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from takt.chips import Accelerator, load_accelerator
from takt.perf.kernels.efficiency import Efficiency
from takt.perf.kernels.peaks import Peaks, carried_over, peaks_of
from takt.perf.kernels.surface import Surface

from .columns import fastest
from .fit import (
    cross_validated,
    fit_efficiency,
    is_usual,
    median_error,
    predicted,
    surface_of,
)
from .grids import grid_of
from .samples import Key, Samples, merged

__all__ = ["FitRow", "TableRow", "all_fits", "all_tables", "arranged", "in_memory"]

HOST_BOUND_S = 15e-6  # a least time above this …
HOST_BOUND_RATIO = 3.0  # … and so many times another engine's is the host's,
HOST_BOUND_UP_TO = 2.5  # and so are times up to so many times that least one
ENGINES = ("sglang", "trtllm", "vllm")
FASTER = 1.2  # beyond what rounding and a clock above its nominal rate explain
UNKNOWN_ERROR = 1.0  # where nothing at all was left out: as wrong as may be
FEWEST = 12  # samples that make a table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableRow:
    """One table to ship; `own` is the error at its own samples."""

    key: Key
    surface: Surface
    basis: str
    error: float
    own: float
    n_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRow:
    """One set of fitted parameters to ship."""

    chip: str
    family: str
    type_name: str
    parameters: tuple[float, ...]
    error: float
    n_samples: int


def arranged(samples: dict[Key, Samples]) -> dict[Key, Samples]:
    """Samples by the engines that use them: libraries' collectives under the engines, host-bound tables gone."""
    out: dict[Key, Samples] = {}
    for key, found in samples.items():
        if key.engine in ("nccl", "oneccl"):
            engines = [e for e in ENGINES if replace(key, engine=e) in samples]
            for engine in engines:
                both = merged([found, samples[replace(key, engine=engine)]])
                out[replace(key, engine=engine)] = fastest(
                    both.work, both.seconds, both.groups, both.source
                )
            if not engines:
                out[replace(key, engine="generic")] = found
        elif key not in out:
            out[key] = found
    out = {key: found for key, found in out.items() if len(found) >= FEWEST}
    groups = _by_engine(out)
    return {
        key: _without_host(found, [out[other] for other in groups[replace(key, engine="generic")]])
        for key, found in sorted(out.items())
    }


def _without_host(found: Samples, engines: list[Samples]) -> Samples:
    """The samples, or where the host was in their way: the long ones, and the others' for the short ones."""
    least = float(found.seconds.min())
    if least <= max(HOST_BOUND_S, HOST_BOUND_RATIO * min(float(e.seconds.min()) for e in engines)):
        return found
    long = found.take(found.seconds > HOST_BOUND_UP_TO * least)
    kept = {tuple(point) for point in np.round(long.points, 6)}
    others = merged(engine for engine in engines if engine is not found)
    others = fastest(others.work, others.seconds, others.groups, "short calls of other engines")
    short = np.array([tuple(point) not in kept for point in np.round(others.points, 6)])
    return merged([long, others.take(short)])


def _chips(samples: dict[Key, Samples]) -> dict[str, Accelerator]:
    return {chip: load_accelerator(chip) for chip in sorted({key.chip for key in samples})}


def in_memory(samples: dict[Key, Samples]) -> dict[Key, Samples]:
    """Without calls faster than the roofline: their data lay on the chip, where a model's weights do not."""
    peaks = _peaks(samples)
    out = {}
    for key, found in samples.items():
        kept = found.take(peaks[key].floor_s(found.work) <= FASTER * found.seconds)
        if len(kept) >= FEWEST:
            out[key] = kept
    return out


def _peaks(samples: dict[Key, Samples]) -> dict[Key, Peaks]:
    chips = _chips(samples)
    return {key: peaks_of(chips[key.chip], key.family, key.type_name) for key in samples}


def _by_engine(samples: dict[Key, Samples]) -> dict[Key, list[Key]]:
    groups = defaultdict(list)
    for key in samples:
        groups[replace(key, engine="generic")].append(key)
    return groups


def _table(key: Key, found: Samples, peaks: Peaks) -> TableRow:
    grid = grid_of(key.family)
    usual = is_usual(found, peaks, grid)
    error = cross_validated(key, found, usual, peaks, grid)
    clean = found.take(usual)
    surface = surface_of(key, clean, peaks, grid, fit_efficiency([(clean, peaks)]))
    return TableRow(
        key=key,
        surface=surface,
        basis=f"{found.source} {key.family} {key.type_name} {key.engine}",
        error=error,
        own=median_error(predicted(surface, peaks, found), found),
        n_samples=len(found),
    )


def _generic(key: Key, rows: list[TableRow], samples: dict[Key, Samples], peaks: Peaks) -> TableRow:
    """The median engine; its error counts how far each engine is from it, too."""
    surface = replace(
        rows[0].surface,
        seconds=np.exp(np.median([np.log(row.surface.seconds) for row in rows], axis=0)),
    )
    own = [
        median_error(predicted(surface, peaks, samples[row.key]), samples[row.key]) for row in rows
    ]
    return TableRow(
        key=key,
        surface=surface,
        basis=f"{rows[0].basis.split(' ')[0]} {key.family} {key.type_name} generic",
        error=max(float(np.mean([row.error for row in rows])), float(np.mean(own))),
        own=float(np.mean(own)),
        n_samples=sum(row.n_samples for row in rows),
    )


def all_tables(samples: dict[Key, Samples]) -> list[TableRow]:
    """A table for each key, and a generic one before the engines of each chip, family and type."""
    peaks = _peaks(samples)
    out = []
    for generic, keys in sorted(_by_engine(samples).items()):
        rows = [_table(key, samples[key], peaks[key]) for key in sorted(keys)]
        if rows[0].key.engine != "generic":
            rows.insert(0, _generic(generic, rows, samples, peaks[keys[0]]))
        out += rows
    return out


def _parameters(efficiency: Efficiency) -> tuple[float, ...]:
    return (
        efficiency.start_s,
        efficiency.bytes_share,
        efficiency.ops_share,
        efficiency.sharpness,
    )


def _error_of(efficiency: Efficiency, parts: list[tuple[Samples, Peaks]]) -> float:
    return float(
        np.mean(
            [
                median_error(efficiency.time_s(s.work, p.bytes_per_s, p.ops_per_s), s)
                for s, p in parts
            ]
        )
    )


def _most_alike(chip: str, measured: list[str]) -> list[str]:
    """Other measured chips of the same architecture, else of the same vendor, else all others."""
    here, others = load_accelerator(chip), [other for other in measured if other != chip]
    chips = {other: load_accelerator(other) for other in others}
    same = [other for other in others if chips[other].architecture == here.architecture]
    return same or [o for o in others if chips[o].vendor == here.vendor] or others


def _carried_error(
    family: str,
    type_name: str,
    chip: str,
    tables: dict[Key, TableRow],
    parts: dict[str, list[tuple[Samples, Peaks]]],
) -> float:
    """Median over the most alike measured chips of the error of this chip's table carried over to each."""
    own = tables[Key(chip=chip, family=family, type_name=type_name)]
    errors = []
    for other, calls in parts.items():
        if other in _most_alike(chip, list(parts)):
            there = calls[0][1]
            surface = carried_over(own.surface, family, type_name, parts[chip][0][1], there)
            errors.append(np.mean([median_error(predicted(surface, p, s), s) for s, p in calls]))
    return float(np.median(errors)) if errors else float("nan")


def all_fits(samples: dict[Key, Samples], rows: list[TableRow]) -> list[FitRow]:
    """Efficiencies of each chip, of all chips for each type, and of all for each family.

    The error of a chip's row is that of using its figures for another chip; that of the rows over all chips
    comes from leaving each chip out in turn; that of a family's row from leaving each type out as well.
    """
    peaks = _peaks(samples)
    tables = {row.key: row for row in rows}
    parts: dict[tuple[str, str], dict[str, list[tuple[Samples, Peaks]]]] = defaultdict(dict)
    for key, found in samples.items():
        clean = found.take(is_usual(found, peaks[key], grid_of(key.family)))
        parts[key.family, key.type_name].setdefault(key.chip, []).append((clean, peaks[key]))
    out = []
    for (family, kind), chips in sorted(parts.items()):
        for chip, calls in sorted(chips.items()):
            error = _carried_error(family, kind, chip, tables, chips)
            out.append(_fit_row(chip, family, kind, calls, error))
        vendors = {load_accelerator(chip).vendor for chip in chips}
        for vendor in ["", *sorted(vendors)]:
            mine = {
                chip: calls
                for chip, calls in chips.items()
                if vendor in ("", load_accelerator(chip).vendor)
            }
            if vendor and len(mine) in (1, len(chips)):
                continue  # says no more than the chip's own row or that of all chips
            every = [part for calls in mine.values() for part in calls]
            out.append(_fit_row(vendor, family, kind, every, _left_out_error(mine)))
    return _completed(out + _family_rows(parts))


def _left_out_error(chips: dict[str, list[tuple[Samples, Peaks]]]) -> float:
    """Median error of a fit over some chips on one that it was made without, each left out in turn."""
    errors = []
    for chip, calls in chips.items():
        rest = [part for other, them in chips.items() if other != chip for part in them]
        if rest:
            errors.append(_error_of(fit_efficiency(rest), calls))
    return float(np.median(errors)) if errors else float("nan")


def _fit_row(
    chip: str, family: str, kind: str, calls: list[tuple[Samples, Peaks]], error: float
) -> FitRow:
    return FitRow(
        chip=chip,
        family=family,
        type_name=kind,
        parameters=_parameters(fit_efficiency(calls)),
        error=error,
        n_samples=sum(len(s) for s, _ in calls),
    )


def _family_rows(
    parts: dict[tuple[str, str], dict[str, list[tuple[Samples, Peaks]]]],
) -> list[FitRow]:
    """One fit a family over all chips and types; its error from leaving out both the chip and the type."""
    families = sorted({family for family, _ in parts})
    out = []
    for family in families:
        kinds = {kind: chips for (name, kind), chips in parts.items() if name == family}
        every = [part for chips in kinds.values() for calls in chips.values() for part in calls]
        errors = []
        for kind, chips in kinds.items():
            rest = [
                part
                for other, them in kinds.items()
                if other != kind
                for calls in them.values()
                for part in calls
            ]
            if rest:
                fit = fit_efficiency(rest)
                errors.append(np.median([_error_of(fit, calls) for calls in chips.values()]))
        error = float(np.median(errors)) if errors else float("nan")
        out.append(_fit_row("", family, "any", every, error))
    return out


def _completed(rows: list[FitRow]) -> list[FitRow]:
    """Errors that could not be measured (only one chip, only one type) are the worst of their kind that were."""
    known = [row.error for row in rows if row.error == row.error]
    worst = float(np.quantile(known, 0.9)) if known else UNKNOWN_ERROR
    return [replace(row, error=row.error if row.error == row.error else worst) for row in rows]
