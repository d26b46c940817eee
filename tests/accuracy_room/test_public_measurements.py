"""The public tables themselves, where they lie beside the repository: counts and what figures say."""

import csv
import gzip
import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from takt.accuracy import Case, read_cases
from takt.accuracy.readers.facts import benchmarks, checkpoints, lengths, round_dates


def rows_in(path: Path) -> int:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return sum(1 for row in csv.reader(io.StringIO(text, newline="")) if row) - 1


def cases_of(shared: Path, name: str) -> list[Case]:
    (path,) = shared.glob(name + "*")
    return read_cases(path)[0]


def busy_share(cases: list[Case]) -> Iterator[float]:
    """Share of the users that rate × time of a request explains (Little's law)."""
    for case in cases:
        rate, output = case.measured.output_tokens_per_s, case.output_tokens
        if case.load not in ("closed", "static") or not (rate and output and case.concurrency):
            continue
        if case.measured.tpot_ms:
            first = case.measured.ttft_ms or 0.0
            yield (
                rate
                / output
                * (first + (output - 1) * case.measured.tpot_ms)
                / 1e3
                / (case.concurrency)
            )


def test_all_tables_are_known_and_no_row_is_lost(shared: Path) -> None:
    tables = sorted(shared.iterdir())
    assert len(tables) == 15
    total, skipped = 0, Counter[str]()
    for path in tables:
        cases, skips = read_cases(path)
        assert sum(case.rows for case in cases) + len(skips) == rows_in(path), path.name
        total += rows_in(path)
        skipped.update(skip.reason for skip in skips)
    # Reasons are shared by rows of a kind: a reason for each row would explain nothing.
    assert len(skipped) < 30
    assert skipped.total() < 0.08 * total


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("inferencex", 0.80, 1.0),  # time to first token is not in the file
        ("mlenergy_v2", 0.85, 1.0),
        ("mlenergy_v3", 0.85, 1.0),
        ("aws", 0.98, 1.02),
        ("splitwise", 0.98, 1.02),
        ("serving_docs", 0.85, 1.05),
        ("dstack", 0.85, 1.05),
    ],
)
def test_rates_chips_and_users_agree_by_littles_law(
    shared: Path, name: str, low: float, high: float
) -> None:
    shares = list(busy_share(cases_of(shared, name)))
    assert len(shares) > 50
    assert low < median(shares) < high


def test_inferencex_counts_of_chips_hold_for_every_kind_of_split(shared: Path) -> None:
    by_kind = defaultdict(list)
    for case in cases_of(shared, "inferencex"):
        kind = (case.prefill is not None, case.split.dp > 1)
        by_kind[kind].extend(busy_share([case]))
    medians = {kind: median(shares) for kind, shares in by_kind.items()}
    # Aggregated, aggregated with data-parallel attention, disaggregated (first tokens wait longer).
    assert 0.94 < medians[False, False] < 0.98
    assert 0.90 < medians[False, True] < 0.98
    assert 0.85 < medians[True, False] < 0.98
    assert 0.70 < medians[True, True] < 0.98


def test_mlperf_tails_stay_under_the_limits_on_record(shared: Path) -> None:
    (path,) = shared.glob("mlperf_inference_llm*")
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ttft_p99_ms"]]
    checked = 0
    for row in rows:
        known = next(
            (b for id_, b in benchmarks().items() if id_ in row["benchmark"].lower()), None
        )
        limits = known.limits(row["scenario"].lower()) if known else None
        if limits is None or limits.ttft_ms is None:
            continue
        assert float(row["ttft_p99_ms"]) <= limits.ttft_ms
        if limits.tpot_ms and row["tpot_p99_ms"]:
            assert float(row["tpot_p99_ms"]) <= limits.tpot_ms
        checked += 1
    assert checked > 300


def test_mean_outputs_on_record_are_those_of_the_rows(shared: Path) -> None:
    seen = defaultdict(list)
    for case in cases_of(shared, "mlperf_inference_llm"):
        for id_, known in benchmarks().items():
            if case.model.lower().startswith(id_) and case.output_tokens != known.output_tokens:
                seen[id_].append((case.output_tokens or 0) / known.output_tokens)
    assert len(seen) >= 5
    assert all(0.9 < median(shares) < 1.1 for shares in seen.values())


def test_every_fact_has_a_source_and_dates_are_days() -> None:
    for fact in (*lengths().values(), *checkpoints()):
        assert fact.source
    for benchmark in benchmarks().values():
        assert benchmark.prompt_source
        assert benchmark.output_source
        assert benchmark.prompt_tokens > 0
    assert all(len(date) == 10 for date in round_dates().values())
