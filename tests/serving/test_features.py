"""Parts of a fleet in small cases worked out by hand, with both engines: what each does, to the nanosecond."""

import numpy as np
import pytest
from tests.serving.small import MS, US, S, pool, rows, run, table

from takt.errors import UsageError
from takt.serving import Autoscale, EventKind, Failure, Fate, Fleet, Tier, fast, reference
from takt.serving.source import checked

K = EventKind


@pytest.fixture(params=[reference, fast], ids=["slow", "fast"])
def engine(request):
    return request.param


def ms(values):
    """Milliseconds of a column, as whole numbers where they are."""
    return [float(value) / MS for value in values]


def moments(log, *kinds):
    """(kind, millisecond, request or replica) of what happened."""
    chosen = log.events[np.isin(log.events["kind"], kinds)]
    return [
        (K(int(e["kind"])).name, int(e["time_ns"]) / MS, int(max(e["request"], e["replica"])))
        for e in chosen
    ]


# Prompt and decode apart


def split(**facts):
    """Prompts take a microsecond a token, sending two and 5 ms more; a step of decode takes 10 ms."""
    read = pool(
        table(token_ns=US),
        name="read",
        role="prompt",
        max_seqs=4,
        send_ns_per_token=2.0 * US,
        send_ns=5 * MS,
    )
    write = pool(table(10 * MS), name="write", role="decode", **facts)
    return Fleet(pools=(read, write))


def test_caches_leave_one_after_the_other_and_arrive_after_the_way(engine):
    log = run(rows([0, 0], prompt_tokens=1000, output_tokens=3), split(), engine=engine)
    # both are read in one step of 2 ms; the first leaves from 2 to 4 and is there at 9, the second from 4 to 6 and at 11
    assert moments(log, K.SEND, K.RECEIVE) == [
        ("SEND", 2.0, 0), ("SEND", 2.0, 1), ("RECEIVE", 9.0, 1), ("RECEIVE", 11.0, 1),
    ]  # fmt: skip
    assert log.of(K.SEND)["b"].tolist() == [9 * MS, 11 * MS]
    done = log.by_request()
    assert ms(done["first_ns"]) == [2.0, 2.0]
    # steps at 9, 19 (both) and 29 (the second)
    assert ms(done["last_ns"]) == [29.0, 39.0]
    assert log.totals.replicas["sent_tokens"].tolist() == [2000, 0]
    assert log.totals.replicas["generated_tokens"].tolist() == [2, 4]


def test_an_answer_of_one_token_needs_nobody_to_decode(engine):
    log = run(rows([0], prompt_tokens=500), split(), engine=engine)
    assert ms(log.finished["last_ns"]) == [0.5]
    assert not len(log.of(K.SEND))


def test_caches_go_to_the_idlest_that_decodes_and_what_is_on_its_way_counts(engine):
    log = run(rows([0] * 4, prompt_tokens=1000, output_tokens=9), split(replicas=3), engine=engine)
    assert log.of(K.SEND)["a"].tolist() == [1, 2, 3, 1]


def test_the_cache_of_a_prompt_is_held_until_it_has_been_sent(engine):
    read = pool(table(MS), name="read", role="prompt", n_blocks=4, block_tokens=16, send_ns=20 * MS)
    fleet = Fleet(pools=(read, pool(table(MS), name="write", role="decode")))
    log = run(rows([0, 0], prompt_tokens=64, output_tokens=2), fleet, engine=engine)
    assert moments(log, K.ADMIT)[:2] == [("ADMIT", 0.0, 0), ("ADMIT", 21.0, 1)]


def test_a_cache_sent_to_one_who_has_failed_is_lost_and_read_again(engine):
    fleet = split()
    fleet = Fleet(pools=fleet.pools, failures=(Failure(at_ns=5 * MS, replica=1, down_ns=3 * MS),))
    log = run(rows([0], prompt_tokens=1000, output_tokens=3), fleet, engine=engine)
    # read by 1 ms, there at 8 ms for nothing; prompt and one token are read again by 9.001, and yield the second token
    assert moments(log, K.LOSE, K.ADMIT)[:3] == [
        ("ADMIT", 0.0, 0), ("LOSE", 8.0, 0), ("ADMIT", 8.0, 0),
    ]  # fmt: skip
    assert log.of(K.SEND)["time_ns"].tolist() == [MS, 9 * MS + US]
    assert log.of(K.SEND)["b"].tolist() == [8 * MS, 9 * MS + US + 2002 * US + 5 * MS]
    assert log.finished["output_tokens"].tolist() == [3]
    assert ms(log.finished["last_ns"]) == [26.003]


def test_what_happens_at_the_same_time_has_an_order(engine):
    """States of replicas, ends of steps, caches, arrivals, looks; then the steps that begin, by number of the replica."""
    pools = split().pools
    failures = (
        Failure(at_ns=8 * MS, replica=1, down_ns=MS),
    )  # up again at 9 ms, when all else happens
    read = pool(pools[0].table, 2, name="read", role="prompt", send_ns=5 * MS)
    fleet = Fleet(pools=(read, pools[1]), failures=failures, sample_ns=9 * MS)
    requests = rows([0, 0, 9 * MS], prompt_tokens=[4000, 1, 10], output_tokens=[2, 9000, 1])
    log = run(requests, fleet, engine=engine)
    now = [K(int(e["kind"])).name for e in log.events if e["time_ns"] == 9 * MS]
    assert now == ["UP", "RECEIVE", "ARRIVE", "ROUTE", *["SAMPLE"] * 3, "ADMIT", "STEP"]


# Failures


def test_a_failed_replica_loses_caches_but_no_answers(engine):
    fleet = Fleet(
        pools=(pool(table(10 * MS, token_ns=US), 1),),
        failures=(Failure(at_ns=35 * MS, replica=0, down_ns=100 * MS),),
    )
    log = run(rows([0], prompt_tokens=100, output_tokens=5), fleet, engine=engine)
    # steps end at 10.1, 20.101, 30.102; the fourth is cut off at 35. From 135 on 103 tokens are read again
    assert moments(log, K.FAIL, K.LOSE, K.UP, K.ADMIT, K.FIRST, K.FINISH) == [
        ("UP", 0.0, 0), ("ADMIT", 0.0, 0), ("FIRST", 10.1, 0), ("FAIL", 35.0, 0), ("LOSE", 35.0, 0), ("UP", 135.0, 0),
        ("ADMIT", 135.0, 0), ("FINISH", 155.104, 0),
    ]  # fmt: skip
    assert log.of(K.ADMIT)["b"].tolist() == [100, 103]
    assert log.totals.replicas["generated_tokens"].tolist() == [5]


def test_others_take_over_from_a_failed_replica(engine):
    fleet = Fleet(
        pools=(pool(table(10 * MS), 2, max_seqs=1),),
        failures=(Failure(at_ns=5 * MS, replica=0, down_ns=S),),
    )
    log = run(rows([0, 0], output_tokens=2), fleet, engine=engine)
    assert moments(log, K.LOSE, K.FINISH) == [
        ("LOSE", 5.0, 0), ("FINISH", 20.0, 1), ("FINISH", 40.0, 1),
    ]  # fmt: skip
    assert log.by_request()["replica"].tolist() == [1, 1]


def test_a_failure_of_one_who_is_down_changes_nothing(engine):
    failures = tuple(Failure(at_ns=at * MS, replica=0, down_ns=10 * MS) for at in (5, 7, 20))
    fleet = Fleet(pools=(pool(table(10 * MS)),), failures=failures)
    log = run(rows([0]), fleet, engine=engine)
    assert moments(log, K.FAIL, K.UP) == [
        ("UP", 0.0, 0), ("FAIL", 5.0, 0), ("UP", 15.0, 0), ("FAIL", 20.0, 0), ("UP", 30.0, 0),
    ]  # fmt: skip


# Autoscaling


SCALE = Autoscale(least=1, target_load=2, interval_ns=S, startup_ns=3 * S, cooldown_ns=4 * S)


def test_replicas_are_started_for_load_and_drained_when_it_has_been_low(engine):
    fleet = Fleet(pools=(pool(table(S), 3, max_seqs=4, autoscale=SCALE),))
    requests = rows([0, 0, 0, 0, 5 * S, 5 * S, 16 * S], output_tokens=[10, 10, 10, 10, 6, 6, 2])
    log = run(requests, fleet, engine=engine)
    # four are there at the first look: two replicas wanted, the second up at 4 s. Two more at 5 s: three wanted at the
    # next look. All but the last end by 11 s; at the look of that second one would do, and does until 15 s.
    assert moments(log, K.START, K.UP, K.DRAIN, K.OFF) == [
        ("UP", 0.0, 0), ("START", 1000.0, 1), ("UP", 4000.0, 1), ("START", 5000.0, 2), ("UP", 8000.0, 2),
        ("DRAIN", 14000.0, 2), ("DRAIN", 14000.0, 1), ("OFF", 14000.0, 1), ("OFF", 14000.0, 2),
    ]  # fmt: skip
    assert log.by_request()["replica"].tolist() == [0, 0, 0, 0, 1, 1, 0]
    paid = log.totals.replicas["on_ns"] / S
    assert paid.tolist() == [18.0, 13.0, 9.0]


def test_a_drained_replica_finishes_what_it_has(engine):
    fleet = Fleet(pools=(pool(table(S), 2, max_seqs=9, autoscale=SCALE),))
    requests = rows([0, 0, 0, 4 * S, 4 * S, 12 * S, 13 * S], output_tokens=[6, 6, 6, 20, 2, 1, 8])
    log = run(requests, fleet, engine=engine)
    (drained,) = log.of(K.DRAIN)
    (off,) = log.of(K.OFF)
    assert drained["replica"] == off["replica"] == 1
    here = log.finished[log.finished["replica"] == 1]
    assert off["time_ns"] == here["last_ns"].max() > drained["time_ns"]
    routed = log.of(K.ROUTE)
    assert not len(routed[(routed["replica"] == 1) & (routed["time_ns"] > drained["time_ns"])])
    assert (log.finished["fate"] == Fate.DONE).all()


# Routers


def routed(requests, engine, router, replicas=3, **facts):
    fleet = Fleet(
        pools=(pool(facts.pop("costs", table(MS)), replicas, **facts.pop("pool", {})),),
        router=router,
        **facts,
    )
    return run(requests, fleet, engine=engine)


def test_round_robin_takes_them_in_turn_and_skips_who_is_down(engine):
    failures = (Failure(at_ns=4 * MS + 1, replica=1, down_ns=S),)
    log = routed(rows(np.arange(9) * MS), engine, "round-robin", failures=failures)
    assert log.of(K.ROUTE)["replica"].tolist() == [0, 1, 2, 0, 1, 2, 0, 2, 0] + [2] * 1


def test_least_loaded_takes_who_has_fewest(engine):
    requests = rows([0, 0, 0, 5 * MS, 5 * MS], output_tokens=[2, 9, 3, 1, 1])
    log = routed(requests, engine, "least-loaded")
    # at 5 ms the first and the third are done
    assert log.of(K.ROUTE)["replica"].tolist() == [0, 1, 2, 0, 2]


def test_prefix_aware_follows_the_cache_until_it_is_too_crowded_there(engine):
    requests = rows(
        [0, 0, *([50 * MS] * 4)], prompt_tokens=64, output_tokens=2, session=[5, 6, 6, 6, 6, 6]
    )
    log = routed(requests, engine, "prefix-aware", replicas=2, imbalance=1)
    # the third and fourth go to the second replica, until it has two more than the first
    assert log.of(K.ROUTE)["replica"].tolist() == [0, 1, 1, 1, 0, 1]
    assert log.by_request()["cached_tokens"].tolist() == [0, 0, 48, 48, 0, 48]


def test_prefix_aware_finds_more_of_sessions_than_round_robin():
    """Forty sessions of ten turns on four replicas: who follows the cache reads a few new tokens, who does not most of it."""
    rng = np.random.default_rng(1)
    sessions, turns = 41, 10
    turn = np.tile(np.arange(turns), sessions)
    requests = rows(
        np.where(turn, rng.integers(0, 300, turns * sessions) * MS, np.repeat(np.arange(sessions) * 40 * MS, turns)),
        turn=turn,
        session=np.repeat(np.arange(sessions), turns),
        prompt_tokens=100 + turn * 150,
        output_tokens=rng.integers(20, 50, turns * sessions),
    )  # fmt: skip
    found = {
        router: routed(requests, fast, router, replicas=4).finished["cached_tokens"].sum()
        / requests["prompt_tokens"].sum()
        for router in ("round-robin", "prefix-aware")
    }
    assert found["round-robin"] < 0.55
    assert found["prefix-aware"] > 0.75


def test_deadline_aware_goes_where_the_prompt_is_read_in_time(engine):
    """The first replica has fewer requests, but one of them is long."""
    costs = table(token_ns=US)
    requests = rows([0, 0, 0, 0, 1], prompt_tokens=[4000, 10, 10, 10, 100])
    tiers = (Tier(ttft_ns=2 * MS),)
    in_time = routed(requests, engine, "deadline-aware", replicas=2, tiers=tiers, costs=costs)
    # the long one is late anywhere: to the lowest number of those that would read it first; the others beside it
    assert in_time.of(K.ROUTE)["replica"].tolist() == [0, 1, 1, 1, 1]
    fewest = routed(requests, engine, "least-loaded", replicas=2, tiers=tiers, costs=costs)
    assert fewest.of(K.ROUTE)["replica"].tolist() == [0, 1, 0, 1, 0]


def test_deadline_aware_counts_the_prompt_that_it_places(engine):
    requests = rows(
        [0, 0, 0], prompt_tokens=[1500, 10, 600]
    )  # the last would end at 2.1 ms or at 0.61 ms
    tiers = (Tier(ttft_ns=2 * MS),)
    costs = table(token_ns=US)
    log = routed(requests, engine, "deadline-aware", replicas=2, tiers=tiers, costs=costs)
    assert log.of(K.ROUTE)["replica"].tolist() == [0, 1, 1]


def test_deadlines_are_kept_more_often_by_who_knows_them():
    """One prompt in 20 is long, load 0.7, first token due in 20 ms: by deadline rather than by number, and urgent ones first."""
    rng = np.random.default_rng(3)
    n = 20_000
    prompts = np.where(rng.random(n) < 0.05, 30_000, 1000)
    requests = rows(
        np.cumsum(rng.exponential(2450 * US / 4 / 0.7, n)).astype(np.int64), prompt_tokens=prompts
    )
    costs = table(token_ns=US, most=8193)
    tiers = (Tier(ttft_ns=20 * MS),)
    met = {}
    for router in ("least-loaded", "deadline-aware"):
        each = {"max_step_tokens": 8192, "n_blocks": 1 << 16}
        log = routed(requests, fast, router, replicas=4, costs=costs, tiers=tiers, pool=each)
        done = log.by_request()
        met[router] = (done["first_ns"] - done["arrival_ns"] <= 20 * MS).mean()
    assert met["deadline-aware"] > met["least-loaded"] + 0.03


def test_a_queue_in_order_of_deadlines_serves_who_is_due_first(engine):
    tiers = (Tier(ttft_ns=S), Tier(ttft_ns=30 * MS), Tier())
    fleet = Fleet(pools=(pool(table(MS), max_seqs=1, order="deadline"),), tiers=tiers)
    requests = rows([0, 1, 2, 3, 4], tier=[2, 2, 0, 1, 0], output_tokens=3)
    log = run(requests, fleet, engine=engine)
    assert log.finished["request"].tolist() == [0, 3, 2, 4, 1]


# Who gets in


def test_the_lower_tier_is_shed_first(engine):
    tiers = (Tier(name="paid"), Tier(name="free", priority=1, max_waiting=2))
    fleet = Fleet(pools=(pool(table(MS), max_seqs=1, order="priority"),), tiers=tiers)
    requests = rows(np.arange(8) + 1, tier=[0, 1, 1, 1, 0, 1, 0, 0], output_tokens=2)
    log = run(requests, fleet, engine=engine)
    done = log.by_request()
    assert done["fate"].tolist() == [0, 0, 0, 1, 0, 1, 0, 0]
    shed = done[done["fate"] == Fate.REJECTED]
    assert (shed["tier"] == 1).all() and (shed["last_ns"] == shed["arrival_ns"]).all()
    assert (shed["scheduled_ns"] == -1).all() and (shed["first_ns"] == -1).all()
    assert log.finished["request"][2:].tolist() == [0, 4, 6, 7, 1, 2]


def test_one_that_fits_no_cache_is_too_long_and_the_rest_goes_on(engine):
    fleet = Fleet(pools=(pool(table(MS), n_blocks=4, block_tokens=16),))
    log = run(rows([0, 0], prompt_tokens=[65, 64]), fleet, engine=engine)
    assert log.by_request()["fate"].tolist() == [Fate.TOO_LONG, Fate.DONE]


def test_a_closed_loop_sends_the_next_when_one_has_ended(engine):
    fleet = Fleet(pools=(pool(table(MS), max_seqs=9),), concurrency=2)
    done = run(rows([0] * 5, output_tokens=[3, 5, 4, 1, 1]), fleet, engine=engine).by_request()
    assert ms(done["arrival_ns"]) == [0.0, 0.0, 3.0, 5.0, 6.0]
    assert ms(done["last_ns"]) == [3.0, 5.0, 7.0, 6.0, 7.0]


def test_a_closed_loop_waits_for_those_who_come_late(engine):
    fleet = Fleet(pools=(pool(table(MS)),), concurrency=1)
    done = run(rows([0, 1 * MS, 50 * MS], output_tokens=3), fleet, engine=engine).by_request()
    assert ms(done["arrival_ns"]) == [0.0, 3.0, 50.0]


def test_the_next_turn_is_sent_its_wait_after_the_last_answer(engine):
    fleet = Fleet(pools=(pool(table(MS), entry_ns=2 * MS),))
    requests = rows([5 * MS, 10 * MS, 0], turn=[0, 1, 2], session=1, output_tokens=4)
    log = run(requests, fleet, engine=engine)
    done = log.by_request()
    assert ms(done["arrival_ns"]) == [5.0, 21.0, 27.0]
    assert ms(done["scheduled_ns"]) == [7.0, 23.0, 29.0]
    assert ms(done["last_ns"]) == [11.0, 27.0, 33.0]


def test_a_turn_behind_a_rejected_one_is_still_sent(engine):
    fleet = Fleet(
        pools=(pool(table(MS), max_seqs=1),), tiers=(Tier(), Tier(name="free", max_waiting=1))
    )
    requests = rows([0, 1, 2, 20 * MS], tier=[0, 0, 1, 1], turn=[0, 0, 0, 1], output_tokens=5)
    done = run(requests, fleet, engine=engine).by_request()
    assert done["fate"].tolist() == [0, 0, 1, 0]
    assert done["arrival_ns"][3] == 20 * MS + 2


# Drafts


@pytest.mark.parametrize(("acceptance", "steps"), [(1.0, 4), (0.0, 12)])
def test_drafts_that_all_hold_save_steps_and_those_that_do_not_save_none(engine, acceptance, steps):
    fleet = Fleet(pools=(pool(table(MS), draft_tokens=3, acceptance=acceptance),))
    log = run(rows([0], output_tokens=12), fleet, engine=engine)
    # one token from the prompt, eleven behind it: four, four and the three that are left
    assert log.totals.replicas["steps"].tolist() == [steps]
    assert ms(log.finished["last_ns"]) == [float(steps)]
    assert log.totals.replicas["generated_tokens"].tolist() == [12]


def test_drafts_bring_what_theory_says():
    """Leviathan, Kalman and Matias (2023), eq. 1: (1 − a^(k+1)) / (1 − a) tokens a step."""
    a, k, n, tokens = 0.7, 4, 400, 600
    fleet = Fleet(pools=(pool(table(MS), draft_tokens=k, acceptance=a, max_seqs=1, n_blocks=99),))
    log = run(rows([0] * n, output_tokens=tokens), fleet, with_events=False)
    each = (tokens - 1) * n / (log.totals.replicas["steps"][0] - n)
    assert each == pytest.approx((1 - a ** (k + 1)) / (1 - a), rel=0.005)


# Fleets that cannot be


@pytest.mark.parametrize(
    "facts",
    [
        {"pools": ()},
        {"pools": (pool(role="decode"),)},
        {"pools": (pool(role="prompt"),)},
        {"pools": (pool(),), "router": "round-robbin"},
        {"pools": (pool(),), "failures": (Failure(at_ns=0, replica=1, down_ns=1),)},
        {"pools": (pool(),), "tiers": ()},
    ],
)
def test_fleets_that_cannot_serve_are_refused(facts):
    with pytest.raises(UsageError):
        Fleet(**facts)


def test_requests_are_checked_before_an_engine_sees_them():
    wanted = rows([0, 1])
    assert [len(chunk) for chunk in checked([wanted, wanted[:0]], 1)] == [2]


# Memory


def test_prompts_enter_only_whole(engine):
    """Four of 250 blocks fit; a fifth, let in with its first chunk, would put others out again and again."""
    costs = table(MS, token_ns=10 * US)
    each = pool(costs, n_blocks=1125, max_step_tokens=512, prefix_caching=False)
    requests = rows(np.arange(12) * 10 * MS, prompt_tokens=4000, output_tokens=200)
    totals = run(requests, Fleet(pools=(each,)), engine=engine).totals
    assert totals.replicas["read_tokens"].tolist() == [12 * 4000]
    assert totals.replicas["preemptions"].tolist() == [0]


# What engines got wrong once


def test_scaling_down_never_drains_the_last_that_is_up(engine):
    scale = Autoscale(target_load=1, interval_ns=S, startup_ns=60 * S, cooldown_ns=5 * S)
    fleet = Fleet(pools=(pool(table(MS), 2, autoscale=scale),))
    log = run(rows([0, 0, 0, 20 * S], output_tokens=1500), fleet, engine=engine)
    assert log.by_request()["scheduled_ns"][3] == 20 * S


def test_drafts_at_the_end_of_the_cache_cost_no_answer(engine):
    fleet = Fleet(pools=(pool(table(MS), n_blocks=8, block_tokens=4, draft_tokens=4),))
    log = run(rows([0], prompt_tokens=28, output_tokens=4), fleet, engine=engine)
    assert log.finished["fate"].tolist() == [Fate.DONE]


def test_a_closed_loop_dates_no_request_before_its_place_was_free(engine):
    fleet = Fleet(pools=(pool(table(MS), max_seqs=2, entry_ns=20 * MS),), concurrency=2)
    done = run(rows([0] * 4, output_tokens=[30, 35, 9, 9]), fleet, engine=engine).by_request()
    assert ms(done["last_ns"][:2]) == [50.0, 55.0]
    assert ms(done["arrival_ns"][2:]) == [50.0, 55.0]


def test_a_failed_replica_is_busy_until_it_fails(engine):
    fleet = Fleet(
        pools=(pool(table(S)),), failures=(Failure(at_ns=100 * MS, replica=0, down_ns=MS),)
    )
    totals = run(rows([0]), fleet, engine=engine).totals
    assert totals.replicas["busy_ns"].tolist() == [1100 * MS]


def test_drafts_beyond_the_cache_do_not_hold(engine):
    read = pool(name="read", role="prompt")
    facts = {"n_blocks": 32, "block_tokens": 1, "draft_tokens": 4, "acceptance": 1.0}
    fleet = Fleet(pools=(read, pool(name="write", role="decode", **facts)))
    log = run(rows([0], prompt_tokens=28, output_tokens=6, session=1), fleet, engine=engine)
    assert log.finished["fate"].tolist() == [Fate.TOO_LONG]
    assert log.finished["output_tokens"].tolist() == [5]
