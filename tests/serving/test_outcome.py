"""Figures of a run worked out by hand, and of a run of the slow engine against sums over its rows."""

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.serving import runs

from takt.errors import UsageError
from takt.serving.fleet import Fleet, Pool, Tier
from takt.serving.outcome import Collector, Outcome
from takt.serving.outcome_json import document, figure, figures
from takt.serving.records import FINISHED, REPLICA, REQUEST, Fate
from takt.serving.reference import run
from takt.serving.step_table import StepTable
from takt.serving.totals import Totals

S, MS = 10**9, 10**6


TABLE = StepTable(
    tokens_ns=np.array([0.0, 1e6]), rows_ns=np.zeros(1), decode_ns=runs.constant(1e6), prompt_ns=runs.constant(2e6),
    floor_ns=np.zeros(1), factor=runs.constant(1.0), decode_w=runs.constant(500.0), prompt_w=600.0, idle_w=100.0,
    basis=frozenset({"measured: here"}), decode_error=0.05, prompt_error=0.2, energy_error=0.1,
)  # fmt: skip


def pool(name: str = "gpu", **kinds: object) -> Pool:
    return runs.pool(name, **{"table": TABLE, **kinds})


PAID = Tier(name="paid", ttft_ns=400 * MS, tpot_ns=20 * MS, e2e_ns=2 * S)
FLEET = Fleet(pools=(pool(),), tiers=(PAID, Tier(name="free", priority=1)))


def ended(*rows: tuple[int, ...]) -> NDArray[np.void]:
    """request, arrival, scheduled, first, last (ms), prompt, output, cached, tier, fate."""
    out = np.zeros(len(rows), FINISHED)
    for i, (request, arrival, scheduled, first, last, *rest) in enumerate(rows):
        times = (t if t < 0 else t * MS for t in (arrival, scheduled, first, last))
        prompt, output, cached, tier, fate = rest
        out[i] = (request, *times, prompt, output, cached, tier, 0, 1, fate, 0)
    return out


ROWS = ended(
    # arrival, scheduled, first, last: ttft 300, tpot (1300 - 300) / 50 = 20, e2e 1300: good to the letter
    (0, 0, 100, 300, 1300, 1000, 51, 200, 0, Fate.DONE),
    # ttft 500 > 400: not good
    (1, 1000, 1400, 1500, 1700, 500, 11, 0, 0, Fate.DONE),
    # one token: no time between tokens, good
    (2, 2000, 2000, 2100, 2100, 10, 1, 0, 0, Fate.DONE),
    # tier without targets: good however long it takes; tpot 9000 / 9
    (3, 1000, 3000, 4000, 9500, 100, 12, 0, 1, Fate.DONE),
    (4, 5000, -1, -1, 5000, 100, 0, 0, 1, Fate.REJECTED),
    (5, 5000, -1, -1, 5000, 10**6, 0, 0, 0, Fate.TOO_LONG),
)


def totals(fleet: Fleet, **sums: int | float) -> Totals:
    rows = np.zeros(fleet.n_replicas, REPLICA)
    for name, value in sums.items():
        rows[name] = value
    return Totals(replicas=rows, start_ns=0, end_ns=10 * S, arrived=6, done=4, rejected=2)


SUMS = {
    "on_ns": 10 * S, "busy_ns": 4 * S, "block_ns": 100 * 2 * S, "steps": 30, "generated_tokens": 37,
    "read_tokens": 700, "cached_tokens": 300, "preemptions": 3, "failures": 1, "energy_j": 2000.0,
}  # fmt: skip


def outcome_of(
    rows: NDArray[np.void] = ROWS, fleet: Fleet = FLEET, *, warmup: int = 0, **sums: int | float
) -> Outcome:
    collector = Collector(fleet, warmup=warmup)
    collector.finished(rows[:2])
    collector.finished(rows[2:])
    return Outcome.of(fleet, collector, totals(fleet, **{**SUMS, **sums}))


def test_requests_and_tokens_are_counted_by_how_they_ended() -> None:
    got = outcome_of()
    assert (got.requests, got.completed, got.rejected, got.too_long) == (6, 4, 1, 1)
    assert (got.prompt_tokens, got.output_tokens, got.cached_tokens) == (1610, 75, 200)
    assert got.preemptions == 6
    assert (got.throughput_tok_s, got.requests_per_s) == (7.5, 0.6)
    assert [(t.name, t.requests, t.output_tokens) for t in got.tiers] == [
        ("paid", 4, 63),
        ("free", 2, 12),
    ]


def test_latencies_are_those_of_completed_requests() -> None:
    got = outcome_of()
    assert got.ttft_ms is not None and got.tpot_ms is not None
    assert got.e2e_ms is not None and got.queue_ms is not None
    assert got.ttft_ms.mean == (300 + 500 + 100 + 3000) / 4
    assert (got.ttft_ms.min, got.ttft_ms.max) == (100, 3000)
    assert got.ttft_ms.p50 == pytest.approx(400, rel=1 / 2048)
    assert got.tpot_ms.mean == pytest.approx((20 + 20 + 500) / 3, abs=1e-6)
    assert got.e2e_ms.max == 8500
    assert got.queue_ms.mean == (100 + 400 + 0 + 2000) / 4
    assert got.tiers[0].ttft_ms is not None
    assert got.tiers[0].ttft_ms.mean == 300


def test_goodput_counts_requests_within_all_targets_to_the_letter() -> None:
    got = outcome_of()
    assert got.goodput == 3 / 6
    assert got.goodput_per_s == 0.3
    assert [tier.goodput for tier in got.tiers] == [2 / 4, 1 / 2]
    late = ROWS.copy()
    late["last_ns"][0] += 1  # 20 ms and 0.02 ns a token
    assert outcome_of(late).goodput == 2 / 6


def test_a_warm_up_is_left_out_of_latencies_and_goodput_only() -> None:
    got = outcome_of(warmup=2)
    assert got.ttft_ms is not None
    assert got.ttft_ms.mean == (100 + 3000) / 2
    assert got.goodput == 2 / 4
    assert (got.requests, got.output_tokens, got.warmup) == (6, 75, 2)


def test_use_of_replicas_is_a_share_of_what_there_is() -> None:
    (gpu,) = outcome_of(peak_blocks=80).pools
    assert gpu.utilisation == 0.4
    assert gpu.kv_mean == 0.5  # 50 of 100 blocks while steps are under way
    assert gpu.kv_peak == 0.8
    assert (gpu.steps, gpu.preemptions, gpu.failures) == (60, 6, 2)
    assert gpu.cached_share == 0.3
    assert (gpu.on_s, gpu.read_tokens) == (20.0, 1400)


def test_energy_has_idle_time_in_it_and_money_is_for_the_time_on() -> None:
    got = outcome_of()
    assert got.energy_j == 2 * 2000 + 100 * 2 * 6
    assert got.energy_j_per_token == 5200 / 75
    assert got.mw == pytest.approx(5200 / 10 / 1e6)
    assert got.usd == pytest.approx(2 * 7.2 * 10 / 3600)
    assert got.usd_per_h == pytest.approx(14.4)
    assert got.usd_per_mtok == pytest.approx(0.04 / 75e-6)


def test_what_nobody_knows_of_one_pool_is_unknown_of_all() -> None:
    dark = replace(TABLE, basis=frozenset({"energy unknown"}), energy_error=None)
    fleet = replace(FLEET, pools=(pool(), pool("other", table=dark, usd_per_h=None)))
    got = outcome_of(fleet=fleet)
    assert (got.energy_j, got.energy_j_per_token, got.mw) == (None, None, None)
    assert (got.usd, got.usd_per_h, got.usd_per_mtok) == (None, None, None)
    assert got.pools[0].energy_j == 5200
    assert got.expected_error["energy"] is None
    assert got.expected_error["tpot"] == 0.05


def test_errors_to_expect_are_of_the_pools_that_do_the_work() -> None:
    slow = replace(TABLE, basis=frozenset({"roofline"}), decode_error=0.4, prompt_error=0.3)
    reading, writing = pool("read", role="prompt"), pool("write", role="decode", table=slow)
    got = outcome_of(fleet=replace(FLEET, pools=(reading, writing)))
    assert got.expected_error == {"ttft": 0.2, "tpot": 0.4, "e2e": 0.4, "energy": 0.1}
    assert got.basis == {"measured: here", "roofline"}


def test_a_run_without_a_completed_request_has_no_latency() -> None:
    fleet = replace(FLEET, pools=(pool(replicas=1),))
    collector = Collector(fleet)
    collector.finished(ROWS[4:])
    idle = Totals(
        replicas=np.zeros(1, REPLICA), start_ns=5, end_ns=5, arrived=2, done=0, rejected=2
    )
    got = Outcome.of(fleet, collector, idle)
    assert (got.ttft_ms, got.energy_j_per_token, got.usd_per_mtok) == (None, None, None)
    assert (got.goodput, got.throughput_tok_s, got.span_s) == (0.0, 0.0, 0.0)
    assert got.pools[0].utilisation is None
    assert got.curve("ttft") == ()
    assert document(got)["ttft_ms"] == dict.fromkeys(["mean", "p50", "p90", "p99", "min", "max"])


def test_what_does_not_belong_together_is_refused() -> None:
    collector = Collector(FLEET)
    with pytest.raises(UsageError, match="6 requests ended in the run, 0 of them were collected"):
        Outcome.of(FLEET, collector, totals(FLEET))
    with pytest.raises(UsageError, match="2 replicas ran, the fleet has 4"):
        Outcome.of(replace(FLEET, pools=(pool(), pool("b"))), collector, totals(FLEET))
    with pytest.raises(UsageError, match="FINISHED"):
        collector.finished(np.zeros(2, REQUEST))
    with pytest.raises(UsageError, match="tier 7"):
        collector.finished(ended((0, 0, 0, 1, 2, 1, 1, 0, 7, Fate.DONE)))


def test_the_object_has_the_promised_keys_and_is_json() -> None:
    got = document(outcome_of())
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    for key in ("requests", "completed", "throughput_tok_s", "energy_j_per_token", "usd_per_mtok"):
        assert isinstance(got[key], int | float)
    for key in ("ttft_ms", "tpot_ms", "e2e_ms", "queue_ms"):
        latency = got[key]
        assert isinstance(latency, dict)
        assert list(latency) == ["mean", "p50", "p90", "p99", "min", "max"]
    assert got["basis"] == ["measured: here"]


def test_single_figures_have_dotted_names() -> None:
    got = outcome_of()
    found = figures(got)
    assert found["tiers.free.goodput"] == 0.5
    assert found["pools.gpu.utilisation"] == 0.4
    assert found["expected_error.ttft"] == 0.2
    assert figure(got, "ttft_ms.mean") == 975
    unpriced = outcome_of(fleet=replace(FLEET, pools=(pool(usd_per_h=None),)))
    assert figure(unpriced, "usd_per_mtok") is None
    assert "usd_per_mtok" not in figures(unpriced)
    with pytest.raises(UsageError) as caught:
        figure(got, "ttft_ms.p98")
    assert caught.value.hint is not None and "ttft_ms.p9" in caught.value.hint


def test_curves_rise_from_the_least_to_the_most_in_seconds() -> None:
    curve = outcome_of().curve("e2e", 11)
    assert len(curve) == 11
    assert (curve[0], curve[-1]) == ((0.1, 0.0), (8.5, 1.0))
    with pytest.raises(UsageError, match="no latency 'ttfs'"):
        outcome_of().curve("ttfs")


def test_a_run_of_the_engine_gives_what_its_rows_say() -> None:
    rng = np.random.default_rng(11)
    requests = np.zeros(300, REQUEST)
    requests["arrival_ns"] = np.cumsum(rng.exponential(30 * MS, 300)).astype(np.int64)
    requests["session"] = requests["group"] = -1
    requests["prompt_tokens"] = rng.integers(1, 900, 300)
    requests["output_tokens"] = rng.integers(1, 60, 300)
    requests["tier"] = rng.integers(0, 2, 300)
    collector, kept = Collector(FLEET), list[NDArray[np.void]]()

    def both(rows: NDArray[np.void]) -> None:
        kept.append(rows.copy())
        collector.finished(rows)

    sums = run([requests], FLEET, seed=0, finished=both)
    got = Outcome.of(FLEET, collector, sums)
    rows = np.concatenate(kept)
    done = rows[rows["fate"] == Fate.DONE]
    ttft_ms = (done["first_ns"] - done["arrival_ns"]) / MS
    assert got.completed == len(done) > 200
    assert got.output_tokens == int(done["output_tokens"].sum()) > 0
    assert got.ttft_ms is not None
    assert got.ttft_ms.mean == pytest.approx(float(ttft_ms.mean()))
    assert got.ttft_ms.p99 == pytest.approx(float(np.quantile(ttft_ms, 0.99)), rel=1 / 2048)
    assert got.pools[0].generated_tokens >= got.output_tokens
    assert 0 < (got.pools[0].utilisation or 0) <= 1
    assert got.energy_j is not None
    assert 2 * 100 * got.span_s < got.energy_j < 2 * 600 * got.span_s * 1.01
