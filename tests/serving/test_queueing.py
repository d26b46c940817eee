"""What theory knows exactly: queues and closed networks whose solution is in the books, and what the engines make of them.

Each long run is held to its formula within four standard errors of batch means (a chance of 1 in 16,000 that a right
engine fails, and none in practice, for the seeds are fixed), plus what the discretisation of the case itself can shift,
stated where there is any. Formulae: Kleinrock, Queueing Systems I and II (1975, 1976); Harchol-Balter, Performance Modeling and
Design of Computer Systems (2013).
"""

from math import factorial, log, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.serving.small import MS, US, S, pool, rows, run, table

from takt.serving import EventKind, Failure, Fleet, Tier, fast, reference

N = 200_000
MEAN = 2000  # tokens of a prompt, a microsecond each: a job of 2 ms
LONGEST = 60_000


def queue(**policy: object):
    """One server: one request at a time, whose one step takes a microsecond for each token of its prompt."""
    costs = table(token_ns=US, most=LONGEST + 1)
    return pool(costs, **{"max_seqs": 1, "max_step_tokens": LONGEST, **policy})


def poisson(n: int, rng: np.random.Generator, gap_ns: float) -> NDArray[np.int64]:
    return np.cumsum(rng.exponential(gap_ns, n)).astype(np.int64)


def exponential(n: int, rng: np.random.Generator, mean: float = MEAN) -> NDArray[np.int64]:
    """Rounded up, so geometric; against a mean of 2,000 that is a matter of 1 in 4,000."""
    return np.clip(np.ceil(rng.exponential(mean, n)), 1, LONGEST).astype(np.int64)


def constant(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.full(n, MEAN)


def two_sizes(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Nine in ten of 1,000, the others of 11,000: a squared variation of 2.25."""
    return np.where(rng.random(n) < 0.9, 1000, 11_000)


def uniform(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(1, 2 * MEAN, n)


def mean_and_error(values: NDArray[np.float64], batches: int = 50) -> tuple[float, float]:
    """Mean, and its standard error from the means of batches, which see how neighbours depend on each other."""
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(1)
    return float(values.mean()), float(means.std(ddof=1) / sqrt(batches))


def assert_mean(
    values: NDArray[np.float64], expected: float, *, bias: float = 0.0, within: float = 0.12
) -> None:
    """Within four standard errors and `bias`; and the run is long enough for these to be less than `within` of it."""
    mean, error = mean_and_error(np.asarray(values, np.float64))
    assert 4 * error + bias < within * expected, f"± {error:.3g} of {mean:.4g} says nothing"
    assert abs(mean - expected) <= 4 * error + bias, f"{mean:.5g} ± {error:.2g}, not {expected:.5g}"


def waits(log_) -> NDArray[np.int64]:
    done = log_.by_request()
    return done["scheduled_ns"] - done["arrival_ns"]


def responses(log_) -> NDArray[np.int64]:
    done = log_.by_request()
    return done["last_ns"] - done["arrival_ns"]


@pytest.mark.parametrize("engine", [reference, fast])
@pytest.mark.parametrize("lengths", [exponential, constant, two_sizes])
def test_one_server_follows_lindleys_recursion_to_the_nanosecond(engine, lengths):
    rng = np.random.default_rng(11)
    n = 800
    arrivals, sizes = poisson(n, rng, 2.4 * MS), lengths(n, rng)
    done = run(rows(arrivals, prompt_tokens=sizes), Fleet(pools=(queue(),)), engine=engine)
    free_ns, ends = 0, []
    for arrival, size in zip(arrivals, sizes, strict=True):
        free_ns = max(free_ns, int(arrival)) + int(size) * US
        ends.append(free_ns)
    assert done.by_request()["last_ns"].tolist() == ends


@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize("lengths", [exponential, constant, two_sizes, uniform])
def test_waits_of_m_g_1_are_those_of_pollaczek_and_khinchine(lengths, load):
    """W = λ E[S²] / 2(1 − ρ): M/M/1, M/D/1 and two others."""
    rng = np.random.default_rng(7)
    sizes = lengths(N, rng)
    gap_ns = MEAN * US / load
    log_ = run(
        rows(poisson(N, rng, gap_ns), prompt_tokens=sizes),
        Fleet(pools=(queue(),)),
        with_events=False,
    )
    second = {exponential: 2.0, constant: 1.0, two_sizes: 3.25, uniform: 4 / 3}[lengths] * MEAN**2
    assert_mean(waits(log_) / US, second / (gap_ns / US) / (2 * (1 - load)), bias=1)


def test_responses_of_m_m_1_are_exponential():
    """P(T > t) = e^−(μ − λ)t, at the median, 90 and 98 %."""
    rng = np.random.default_rng(5)
    load = 0.6
    requests = rows(poisson(N, rng, MEAN * US / load), prompt_tokens=exponential(N, rng))
    took = responses(run(requests, Fleet(pools=(queue(),)), with_events=False))
    for share in (0.5, 0.9, 0.98):
        limit_ns = -log(1 - share) * MEAN * US / (1 - load)
        assert_mean(took <= limit_ns, share)
        assert_mean(took > limit_ns, 1 - share, within=0.3)


@pytest.mark.parametrize("engine", [reference, fast])
def test_answers_of_many_steps_make_the_same_queue(engine):
    """Geometric answers of mean k, a step a token: M/G/1 with E[S²] = (2 − 1/k) k² of steps."""
    n, k, load = (150_000 if engine is fast else 500), 20, 0.6
    rng = np.random.default_rng(3)
    requests = rows(poisson(n, rng, k * MS / load), output_tokens=rng.geometric(1 / k, n))
    log_ = run(
        requests, Fleet(pools=(pool(table(MS), max_seqs=1),)), engine=engine, with_events=False
    )
    expected = load / k * (2 - 1 / k) * k**2 / (2 * (1 - load))
    if engine is fast:
        assert_mean(waits(log_) / MS, expected)
    again = run(requests[:500], Fleet(pools=(pool(table(MS), max_seqs=1),)), with_events=False)
    assert np.array_equal(waits(log_)[:500], waits(again)[:500])  # FCFS: nobody later matters


@pytest.mark.parametrize(("servers", "load"), [(2, 0.7), (5, 0.7)])
def test_slots_of_a_batch_are_the_servers_of_m_m_c(servers, load):
    """Erlang's C: P(wait) / (cμ − λ). Slots are free only between steps: a request may wait one step more."""
    n, k, step_ns = 120_000, 80, 10 * US
    rng = np.random.default_rng(9)
    requests = rows(
        poisson(n, rng, k * step_ns / (load * servers)), output_tokens=rng.geometric(1 / k, n)
    )
    fleet = Fleet(pools=(pool(table(step_ns), max_seqs=servers),))
    offered = load * servers
    tail = offered**servers / factorial(servers) / (1 - load)
    p_wait = tail / (sum(offered**i / factorial(i) for i in range(servers)) + tail)
    expected = p_wait * k / (servers * (1 - load))
    waited = waits(run(requests, fleet, with_events=False)) / step_ns
    assert_mean(waited, expected, bias=1, within=0.3)


@pytest.mark.parametrize("lengths", ["geometric", "two sizes"])
def test_a_batch_whose_steps_take_as_long_as_it_is_large_shares_its_processor(lengths):
    """M/G/1-PS: T = E[S] / (1 − ρ), whatever the lengths. A newcomer waits for the step under way."""
    n, k, load = 60_000, 100, 0.6
    rng = np.random.default_rng(21)
    sizes = (
        rng.geometric(1 / k, n)
        if lengths == "geometric"
        else rng.choice([20, 420], n, p=[0.8, 0.2])
    )
    requests = rows(poisson(n, rng, k * 10 * US / load), output_tokens=sizes)
    fleet = Fleet(pools=(pool(table(row_ns=10 * US), max_seqs=1000),))
    took = responses(run(requests, fleet, with_events=False)) / (10 * US)
    n_inside = load / (1 - load)
    assert_mean(took, k / (1 - load), bias=1 + n_inside)


def test_with_a_slot_for_all_the_number_inside_is_poissons():
    """M/G/∞: mean and variance of the number inside are λ E[S], as looks at the replica find it."""
    n, k, offered = 60_000, 100, 12.0
    rng = np.random.default_rng(2)
    requests = rows(
        poisson(n, rng, k * MS / offered), output_tokens=rng.choice([20, 420], n, p=[0.8, 0.2])
    )
    fleet = Fleet(pools=(pool(table(MS), max_seqs=500),), sample_ns=37 * MS)
    seen = run(requests, fleet).of(EventKind.SAMPLE)
    seen = seen[seen["time_ns"] < requests["arrival_ns"][-1]]["a"][20:].astype(float)
    assert_mean(seen, offered, bias=offered / k)
    assert_mean((seen - offered) ** 2, offered, bias=2 * offered / k, within=0.2)


@pytest.mark.parametrize("order", ["fcfs", "priority"])
def test_tiers_wait_as_cobham_says(order):
    """W_k = W₀ / (1 − σ_{k−1})(1 − σ_k) where nobody is interrupted, σ_k the load of tiers up to k; without an order, all alike."""
    rng = np.random.default_rng(13)
    load, shares = 0.8, np.array([0.2, 0.3, 0.5])
    tier = rng.choice(3, N, p=shares)
    gap_ns = MEAN * US / load
    requests = rows(poisson(N, rng, gap_ns), prompt_tokens=exponential(N, rng), tier=tier)
    fleet = Fleet(
        pools=(queue(order=order),), tiers=tuple(Tier(name=str(i), priority=i) for i in range(3))
    )
    waited = waits(run(requests, fleet, with_events=False)) / US
    residual = load * MEAN  # λ E[S²] / 2 for exponential jobs
    loads = np.concatenate([[0], np.cumsum(shares)]) * load
    for i in range(3):
        below, up_to = (loads[i], loads[i + 1]) if order == "priority" else (0, load)
        assert_mean(waited[tier == i], residual / (1 - below) / (1 - up_to), bias=2)


def test_littles_law_holds_between_looks_and_latencies():
    """L = λ W: requests seen at looks against arrivals and times of ended ones, for all inside and for those who wait."""
    rng = np.random.default_rng(17)
    requests = rows(poisson(N // 2, rng, MEAN * US / 0.75), prompt_tokens=two_sizes(N // 2, rng))
    log_ = run(requests, Fleet(pools=(queue(),), sample_ns=1_700 * US))
    looks = log_.of(EventKind.SAMPLE)
    rate = len(requests) / log_.totals.span_ns
    assert looks["b"].mean() == pytest.approx(rate * waits(log_).mean(), rel=0.005)
    inside = (looks["a"] + looks["b"]).mean()
    assert inside == pytest.approx(rate * responses(log_).mean(), rel=0.005)


@pytest.mark.parametrize("engine", [reference, fast])
def test_the_law_of_utilisation_is_exact(engine):
    """Busy time is the sum of what was asked for, to the nanosecond; and its share of the run is λ E[S]."""
    rng = np.random.default_rng(19)
    n = 100_000 if engine is fast else 1_000
    sizes = uniform(n, rng)
    requests = rows(poisson(n, rng, MEAN * US / 0.6), prompt_tokens=sizes)
    totals = run(requests, Fleet(pools=(queue(),)), engine=engine, with_events=False).totals
    assert totals.replicas["busy_ns"].tolist() == [int(sizes.sum()) * US]
    assert totals.replicas["steps"].tolist() == [n]
    assert totals.replicas["busy_ns"][0] / totals.span_ns == pytest.approx(
        0.6,
        rel=4 * sqrt(4 / 3 / n),  # gaps vary by 1, lengths by 1/3, each relative to its mean
    )


def test_the_machine_repairman_has_the_throughput_of_mean_value_analysis():
    """N users who think and one server: R(n) = S (1 + Q(n − 1)), X(n) = n / (Z + R(n))."""
    users, turns, think_us = 8, 12_000, 9_000
    rng = np.random.default_rng(23)
    n = users * turns
    turn = np.tile(np.arange(turns), users)
    wait_ns = (rng.exponential(think_us, n) * US).astype(np.int64)
    requests = rows(np.where(turn, wait_ns, 0), prompt_tokens=exponential(n, rng), turn=turn)
    log_ = run(requests, Fleet(pools=(queue(),)), with_events=False)
    inside, response, rate = 0.0, 0.0, 0.0
    for i in range(1, users + 1):
        response = MEAN * (1 + inside)
        rate = i / (think_us + response)
        inside = rate * response
    assert_mean(responses(log_) / US, response, bias=1)
    full_ns = np.sort(log_.finished["last_ns"])[: n * 9 // 10]  # all users still have turns to come
    assert_mean(np.diff(full_ns) / US, 1 / rate, bias=1)


@pytest.mark.parametrize("engine", [reference, fast])
@pytest.mark.parametrize(("users", "slots"), [(1, 4), (3, 4), (4, 4), (9, 4)])
def test_a_closed_loop_answers_as_many_as_users_or_slots_allow(engine, users, slots):
    """X = min(N, c) / S, exactly: constant answers of ten steps, N users who ask again at once."""
    n, tokens = 60 * slots, 10
    fleet = Fleet(pools=(pool(table(MS), max_seqs=slots),), concurrency=users)
    log_ = run(rows(np.zeros(n, int), output_tokens=tokens), fleet, engine=engine)
    at_once = min(users, slots)
    assert log_.totals.end_ns == n // at_once * tokens * MS
    took = log_.by_request()["last_ns"] - log_.by_request()["arrival_ns"]
    if users <= slots:
        assert (took == tokens * MS).all()
    else:
        # Little again: N = X T, once the loop is in swing
        middle = took[users : n - users]
        assert middle.mean() * at_once / (tokens * MS) == pytest.approx(users, rel=0.02)


@pytest.mark.parametrize("users", [1, 3, 8])
def test_prompt_and_decode_are_a_closed_cycle_of_two_queues(users):
    """Gordon and Newell: two exponential servers of rate μ and N requests between them answer μ N / (N + 1)."""
    n, k = 40_000, 100
    rng = np.random.default_rng(29)
    # 100 steps on the mean behind the first token, 10 µs each; and prompts of 1,000 tokens, 1 µs each
    requests = rows(
        np.zeros(n, int),
        prompt_tokens=exponential(n, rng, 1000),
        output_tokens=1 + rng.geometric(1 / k, n),
    )
    read = queue(name="read", role="prompt")
    write = pool(table(10 * US), name="write", role="decode", max_seqs=1)
    totals = run(requests, Fleet(pools=(read, write), concurrency=users), with_events=False).totals
    rate = n / totals.span_ns * MS
    assert rate == pytest.approx(users / (users + 1), rel=0.015)


@pytest.mark.parametrize(("router", "replicas"), [("round-robin", 2), ("least-loaded", 2)])
def test_routers_make_the_queues_they_should(router, replicas):
    """In turn: each server is E₂/M/1, T = 1 / μ(1 − σ). The shorter queue lies between that and one queue for both, M/M/2."""
    rng = np.random.default_rng(31)
    load = 0.8
    requests = rows(poisson(N, rng, MEAN * US / load / replicas), prompt_tokens=exponential(N, rng))
    each = queue()
    fleet = Fleet(pools=(pool(each.table, replicas, policy=each.policy),), router=router)
    took = responses(run(requests, fleet, with_events=False)) / US
    sigma = 0.5  # σ = A*(μ − μσ), where A*(s) = (2λ / (2λ + s))² for gaps of two exponentials; in units of μ
    for _ in range(200):
        sigma = (2 * load / (2 * load + 1 - sigma)) ** 2
    in_turn = MEAN / (1 - sigma)
    if router == "round-robin":
        assert_mean(took, in_turn, bias=1)
    else:
        one_queue = MEAN / (1 - load**2)  # M/M/2
        assert one_queue * 1.02 < took.mean() < 0.9 * in_turn


def test_a_failed_replica_leaves_the_share_of_time_it_is_up():
    """Renewal: a server down a fifth of the time answers four fifths of what it could, saturated."""
    period, n = S, 4000
    failures = tuple(
        Failure(at_ns=i * period, replica=0, down_ns=period // 5) for i in range(1, 40)
    )
    fleet = Fleet(pools=(pool(table(MS), max_seqs=1),), failures=failures)
    log_ = run(rows(np.zeros(n, int), output_tokens=5), fleet)
    span = log_.totals.span_ns
    up_ns = span - int((log_.of(EventKind.FAIL)["a"]).sum())
    assert n * 5 * MS == pytest.approx(up_ns, rel=0.01)
