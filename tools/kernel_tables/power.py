"""Board power from kernel power that was logged beside kernel times, by the share of the peaks in use."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from takt.chips import load_accelerator
from takt.perf.kernels.book import PowerFit
from takt.perf.kernels.peaks import peaks_of
from takt.perf.kernels.power import power_share
from takt.perf.kernels.work import decode_work, gemm_work, prompt_work

from .columns import CHIPS, Table, each, read_columns, rows_where
from .raw_aiconfigurator import GEMM_TYPES, KV_TYPES
from .tables import FitRow

__all__ = ["power_fits"]

Floats = NDArray[np.float64]
# Shorter calls were over before the power meter saw them: many report the power of a chip at rest. They say
# what that is, and nothing else.
LEAST_MS = 0.3
Rows = tuple[
    Floats, Floats, Floats, Floats
]  # shares of bandwidth, peak rate and power limit; milliseconds


def _shares(chip: str, family: str, kind: str, work, part) -> Rows:  # type: ignore[no-untyped-def]
    peaks = peaks_of(load_accelerator(chip), family, kind)
    seconds = part["latency_ms"] * 1e-3
    limit = load_accelerator(chip).power.tdp_w
    return (
        np.minimum(work.n_bytes / peaks.bytes_per_s / seconds, 1),
        np.minimum(work.n_ops / peaks.ops_per_s / seconds, 1),
        part["power_w"] / limit,
        part["latency_ms"],
    )


def _logged(table: Table) -> NDArray[np.bool_]:
    return np.isfinite(table["power_w"].astype(float))


def _rows(folder: Path) -> dict[str, list[Rows]]:
    found: dict[str, list[Rows]] = {}
    table = read_columns(folder / "aic_gemm.csv.gz")
    table = rows_where(table, _logged(table))
    for (system, dtype), part in each(table, "system", "gemm_dtype"):
        kind, stored, multiplied = GEMM_TYPES[dtype]
        work = gemm_work(part["m"], part["n"], part["k"], stored, multiplied)
        found.setdefault(CHIPS[system], []).append(_shares(CHIPS[system], "gemm", kind, work, part))
    table = read_columns(folder / "aic_attention.csv.gz")
    table = rows_where(table, _logged(table))
    for (system, phase, dtype), part in each(table, "system", "phase", "kv_cache_dtype"):
        sizes = [part[c] for c in ("num_heads", "num_kv_heads", "head_dim")]
        batch, length, kv = part["batch_size"], part["seq_len_tokens"], KV_TYPES[dtype]
        if phase == "context":
            work = prompt_work(batch, length, 0 * batch, *sizes, kv)
        else:
            work = decode_work(batch, length, *sizes, kv)
        found.setdefault(CHIPS[system], []).append(
            _shares(CHIPS[system], "attention_decode", kv, work, part)
        )
    return found


def _decoded(raw: Floats, idle: float, most: float) -> PowerFit:
    logistic = 1 / (1 + np.exp(-raw))
    return PowerFit(
        idle_share=idle,
        bytes_share=float(1.5 * logistic[0]),
        ops_share=float(2.0 * logistic[1]),
        bend=float(0.5 + 4 * logistic[2]),
        most_share=most,
        error=0.0,
    )


def _long(rows: Rows) -> Rows:
    keep = rows[3] >= LEAST_MS
    memory, compute, share, ms = (column[keep] for column in rows)
    return memory, compute, share, ms


def _fit(rows: Rows) -> PowerFit:
    idle = float(np.quantile(rows[2], 0.02))
    memory, compute, share, _ = _long(rows)
    most = float(np.quantile(share, 0.995))
    every = slice(None, None, max(1, len(share) // 3000))
    memory, compute, share = memory[every], compute[every], share[every]
    best, step = np.zeros(3), np.full(3, 1.0)

    def loss(raw: Floats) -> float:
        return float(
            np.mean(np.abs(power_share(_decoded(raw, idle, most), memory, compute) / share - 1))
        )

    least = loss(best)
    for _ in range(60):
        moved = False
        for axis in range(3):
            for sign in (1.0, -1.0):
                trial = best.copy()
                trial[axis] += sign * step[axis]
                value = loss(trial)
                if value < least - 1e-7:
                    best, least, moved = trial, value, True
        if not moved:
            step = step / 2
    return _decoded(best, idle, most)


def _error(fit: PowerFit, rows: Rows) -> float:
    memory, compute, share, _ = _long(rows)
    return float(np.median(np.abs(power_share(fit, memory, compute) / share - 1)))


def _joined(parts: list[Rows]) -> Rows:
    memory, compute, share, ms = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return memory, compute, share, ms


def _fit_row(chip: str, rows: Rows, error: float) -> FitRow:
    fit = _fit(rows)
    parameters = (fit.idle_share, fit.bytes_share, fit.ops_share, fit.bend, fit.most_share)
    return FitRow(
        chip=chip,
        family="power",
        type_name="any",
        parameters=parameters,
        error=error,
        n_samples=len(_long(rows)[2]),
    )


def power_fits(folder: Path) -> list[FitRow]:
    """One fit a chip with logged power, its error over folds of its rows; one over all, a chip left out in turn."""
    chips = {chip: _joined(parts) for chip, parts in _rows(folder).items()}
    out, left_out = [], []
    for chip, rows in sorted(chips.items()):
        order = np.random.default_rng(0).permutation(len(rows[2]))
        errors = []
        for fold in range(4):
            held = np.zeros(len(order), dtype=bool)
            held[order[fold::4]] = True
            rest = tuple(column[~held] for column in rows)
            errors.append(_error(_fit(rest), tuple(column[held] for column in rows)))  # type: ignore[arg-type]
        out.append(_fit_row(chip, rows, float(np.mean(errors))))
        others = [them for other, them in chips.items() if other != chip]
        left_out.append(_error(_fit(_joined(others)), rows))
    out.append(_fit_row("", _joined(list(chips.values())), float(np.max(left_out))))
    return out
