"""How kernel tables are made from raw calls: known laws come back, odd calls go, the same bytes each time."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tools.kernel_tables.columns import version_key
from tools.kernel_tables.fit import (
    cross_validated,
    fit_efficiency,
    is_usual,
    monotone,
    predicted,
    surface_of,
)
from tools.kernel_tables.grids import grid_of
from tools.kernel_tables.raw_aiconfigurator import read_gemm
from tools.kernel_tables.samples import Key, Samples
from tools.kernel_tables.tables import all_fits, all_tables, arranged, in_memory
from tools.kernel_tables.write import write_fits, write_tables

from takt.perf.kernels.book import decode_seconds
from takt.perf.kernels.efficiency import Efficiency
from takt.perf.kernels.families import FAMILIES, work_at
from takt.perf.kernels.peaks import Peaks, carried_over
from takt.perf.kernels.routing import active_share, hottest
from takt.perf.kernels.surface import Surface
from takt.perf.kernels.work import gemm_work, prompt_work

SLICE = Path(__file__).parent / "data" / "aic_gemm_slice.csv"
PEAKS = Peaks(bytes_per_s=4e12, ops_per_s=1e15)
KEY = Key(chip="h200-sxm", family="gemm", type_name="bf16")


def calls(truth: Efficiency, n: int = 300, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    m = 2.0 ** rng.integers(0, 14, n)
    wide, deep = (2.0 ** rng.integers(9, 15, n) for _ in range(2))
    work = gemm_work(m, wide, deep, "bf16", "bf16")
    seconds = truth.time_s(work, PEAKS.bytes_per_s, PEAKS.ops_per_s)
    return Samples(work=work, seconds=seconds, groups=np.full(n, ""), source="made up")


TRUTH = Efficiency(start_s=4e-6, bytes_share=0.8, ops_share=0.7, sharpness=3.0)


def test_efficiencies_that_made_the_calls_are_found():
    found = fit_efficiency([(calls(TRUTH), PEAKS)])
    assert found.start_s == pytest.approx(4e-6, rel=0.05)
    assert found.bytes_share == pytest.approx(0.8, abs=0.03)
    assert found.ops_share == pytest.approx(0.7, abs=0.03)


def test_a_table_gives_its_own_calls_and_others_like_them():
    samples, grid = calls(TRUTH), grid_of("gemm")
    surface = surface_of(KEY, samples, PEAKS, grid, fit_efficiency([(samples, PEAKS)]))
    others = calls(TRUTH, seed=1)
    for found in (samples, others):
        away = np.abs(predicted(surface, PEAKS, found) / found.seconds - 1)
        assert np.median(away) < 0.01
        assert away.max() < 0.1
    every = np.ones(len(samples), dtype=bool)
    assert cross_validated(KEY, samples, every, PEAKS, grid) < 0.02


def test_the_error_of_noise_is_about_the_noise():
    samples = calls(TRUTH, n=600)
    noise = np.exp(np.random.default_rng(2).normal(0, 0.2, len(samples)))
    noisy = Samples(
        work=samples.work, seconds=samples.seconds * noise, groups=samples.groups, source=""
    )
    every = np.ones(len(noisy), dtype=bool)
    error = cross_validated(KEY, noisy, every, PEAKS, grid_of("gemm"))
    assert 0.08 < error < 0.25  # median |x| of that noise is 0.13


def test_one_call_twenty_times_too_slow_is_left_out():
    samples = calls(TRUTH)
    seconds = samples.seconds.copy()
    seconds[7] *= 20
    odd = Samples(work=samples.work, seconds=seconds, groups=samples.groups, source="")
    usual = is_usual(odd, PEAKS, grid_of("gemm"))
    assert np.flatnonzero(~usual).tolist() == [7]


def test_calls_faster_than_memory_are_left_out():
    samples = calls(TRUTH)
    seconds = samples.seconds.copy()
    seconds[3] = 1e-12
    odd = Samples(work=samples.work, seconds=seconds, groups=samples.groups, source="")
    assert len(in_memory({KEY: odd})[KEY]) == len(samples) - 1


def test_short_calls_with_the_host_in_the_way_are_replaced_by_other_engines():
    fast = calls(TRUTH)
    host = 2e-4
    slow = Samples(
        work=fast.work,
        seconds=np.maximum(fast.seconds * 1.3, host),
        groups=fast.groups,
        source="made up",
    )
    keys = [
        Key(chip="h200-sxm", family="gemm", type_name="bf16", engine=e) for e in ("sglang", "vllm")
    ]
    found = arranged(dict(zip(keys, (fast, slow), strict=True)))
    assert np.array_equal(found[keys[0]].seconds, fast.seconds)
    assert found[keys[1]].seconds.min() == fast.seconds.min()
    assert found[keys[1]].seconds.max() == slow.seconds.max()


@given(arrays(np.float64, (4, 5, 3), elements=st.floats(-20, 5)))
@settings(max_examples=100, deadline=None)
def test_made_monotone_a_table_rises_and_stays_within_what_it_was(table):
    rising = monotone(table, (0, 1, 2))
    for axis in range(3):
        assert np.all(np.diff(rising, axis=axis) >= -1e-12)
    assert rising.min() >= table.min() - 1e-12
    assert rising.max() <= table.max() + 1e-12
    assert np.allclose(monotone(rising, (0, 1, 2)), rising)


def test_between_nodes_a_constant_plus_something_proportional_is_exact():
    nodes = (np.array([1.0, 2.0, 8.0]), np.array([1.0, 4.0]))
    grid = np.meshgrid(*nodes, indexing="ij")
    surface = Surface(nodes=nodes, seconds=3 + 2 * grid[0] * grid[1], growth=(1.0, 1.0))
    x, y = np.array([1.5, 3.0, 7.0]), np.array([1.0, 2.5, 4.0])
    assert np.allclose(surface.time_s((x, y)), 3 + 2 * x * y)
    assert surface.time_s((np.asarray(3.0), np.asarray(2.0))) == pytest.approx(15)
    assert surface.time_s((np.asarray(16.0), np.asarray(4.0))) == pytest.approx(2 * 67)


def test_a_table_carried_over_to_twice_the_peaks_halves_all_but_the_start():
    samples, grid = calls(TRUTH), grid_of("gemm")
    surface = surface_of(KEY, samples, PEAKS, grid, fit_efficiency([(samples, PEAKS)]))
    faster = Peaks(bytes_per_s=8e12, ops_per_s=2e15)
    there = carried_over(surface, "gemm", "bf16", PEAKS, faster)
    start = surface.seconds.min()
    assert np.allclose(there.seconds, start + (surface.seconds - start) / 2, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_work_at_a_node_lies_at_that_node(family):
    grid = grid_of(family)
    points = grid.points()
    work = work_at(family, "bf16", tuple(points.T))
    for axis, wanted in zip(work.at, points.T, strict=True):
        assert np.allclose(axis, wanted)
    assert np.all(work.n_bytes > 0)


def test_a_prompt_in_two_halves_has_the_pairs_of_a_whole_one():
    whole = prompt_work(1, 1000, 0, 8, 8, 128, "bf16")
    halves = [prompt_work(1, 500, before, 8, 8, 128, "bf16") for before in (0, 500)]
    assert whole.n_ops == pytest.approx(sum(float(half.n_ops) for half in halves))
    windowed = prompt_work(1, 1000, 0, 8, 8, 128, "bf16", window=100)
    assert windowed.n_ops == pytest.approx(4 * 8 * 128 * (100 * 101 / 2 + 900 * 100))


def test_routing_meets_every_expert_in_the_end_and_no_more_than_there_are():
    share = active_share(np.array([0.01, 1.0, 1000.0]), even=False)
    assert np.all(np.diff(share) > 0)
    assert share[0] == pytest.approx(0.01, rel=0.05)
    assert share[-1] == pytest.approx(1, abs=1e-3)
    assert active_share(np.array([0.5, 3.0]), even=True).tolist() == [0.5, 1.0]
    assert hottest(np.array(256.0), np.array(1.0)) == 1
    assert 1 < hottest(np.array(32.0), np.array(8.0)) < hottest(np.array(4.0), np.array(64.0)) < 5


def test_release_candidates_sort_by_number():
    versions = ["1.3.0rc15", "0.24.0", "1.3.0rc20", "0.5.14"]
    assert max(versions, key=version_key) == "1.3.0rc20"


def folder_with(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    with SLICE.open("rb") as plain, gzip.open(folder / "aic_gemm.csv.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    return folder


def test_the_same_calls_give_the_same_bytes(tmp_path):
    folder = folder_with(tmp_path)
    written = []
    for name in ("one", "two"):
        samples = in_memory(arranged(dict(read_gemm(folder))))
        tables = all_tables(samples)
        out = tmp_path / name
        out.mkdir()
        write_tables(tables, out)
        write_fits(all_fits(samples, tables), out)
        written.append({path.name: path.read_bytes() for path in sorted(out.iterdir())})
    assert list(written[0]) == ["kernels-h200-sxm.parquet", "kernels.parquet"]
    assert written[0] == written[1]


def test_a_written_table_reads_back_within_its_step(tmp_path):
    samples = in_memory(arranged(dict(read_gemm(folder_with(tmp_path)))))
    tables = all_tables(samples)
    write_tables(tables, tmp_path)
    rows = pq.ParquetFile(tmp_path / "kernels-h200-sxm.parquet").read().to_pylist()
    assert [row["engine"] for row in rows] == ["generic", "sglang", "vllm"]
    for row, table in zip(rows, tables, strict=True):
        seconds = decode_seconds(row["seconds"], tuple(row["shape"]))
        assert np.allclose(seconds, table.surface.seconds, rtol=3e-4)
        assert row["basis"].startswith("aiconfigurator@")
        assert 0 < row["error"] < 0.3
