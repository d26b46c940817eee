"""What always holds of a simulation, whoever serves whom: the log of random fleets, read again by an auditor who knows the laws.

The auditor follows each request and each replica by its events alone, and knows nothing of how an engine works. Laws are those
of docs/laws.md, section Serving.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.fleets import fleets, requests
from tests.serving.small import Log, pool, run, table
from tests.serving.small import rows as plain

from takt.serving import EventKind, Fate, Fleet, fast, reference

K = EventKind
NEVER_NS = 1 << 62

# What may happen to a request where it stands.
NEXT = {
    "outside": {K.ARRIVE: "at the router"},
    "at the router": {K.ROUTE: "waiting", K.REJECT: "over"},
    "waiting": {K.ADMIT: "running", K.LOSE: "at the router", K.REJECT: "over"},
    "running": {
        K.FIRST: "running",
        K.FINISH: "over",
        K.PREEMPT: "waiting",
        K.SEND: "sent",
        K.LOSE: "at the router",
        K.REJECT: "over",
    },
    "sent": {K.RECEIVE: "waiting", K.LOSE: "at the router"},
    "over": {},
}


@dataclass
class Story:
    """One request, as its events tell it."""

    place: str = "outside"
    replica: int = -1
    there_ns: int = -1
    firsts: int = 0
    preemptions: int = 0
    admitted_ns: int = -1
    cached: int = 0
    key: tuple = ()


@dataclass
class Machine:
    """One replica, as its events tell it."""

    state: str = "off"
    step_ends_ns: int = -1
    step_blocks: int = 0
    link_free_ns: int = -1
    steps: Counter = field(default_factory=Counter)


class Auditor:
    """Reads a log from its start; every assertion is a law."""

    def __init__(self, fleet: Fleet, rows, log: Log) -> None:
        self.fleet, self.rows, self.log = fleet, rows, log
        self.pools = [each for each in fleet.pools for _ in range(each.replicas)]
        self.stories = defaultdict(Story)
        self.machines = [Machine() for _ in self.pools]
        self.ended = {int(row["request"]): row for row in log.finished}
        self.first_turns = np.cumsum(rows["turn"] == 0)
        self.now_ns = 0

    def audit(self) -> None:
        for event in self.log.events:
            time_ns = int(event["time_ns"])
            assert time_ns >= self.now_ns, "time goes back"
            if time_ns > self.now_ns:
                self.nobody_idles()
            self.now_ns = time_ns
            kind = K(int(event["kind"]))
            if kind <= K.LOSE:
                self.request(kind, event)
            elif kind is not K.SAMPLE:
                self.replica(kind, event)
            else:
                self.sample(event)
        self.nobody_idles()
        self.sums()
        self.endings()

    def request(self, kind: EventKind, event) -> None:
        number, where = int(event["request"]), int(event["replica"])
        story, row = self.stories[number], self.rows[number]
        assert kind in NEXT[story.place], f"{kind.name} of one who is {story.place}"
        if kind in (K.ADMIT, K.PREEMPT, K.FIRST, K.SEND, K.FINISH, K.LOSE):
            assert where == story.replica, "elsewhere"
        if kind is K.ARRIVE:
            assert event["a"] == row["prompt_tokens"]
        elif kind is K.ROUTE:
            assert self.machines[where].state == "up" and self.pools[where].role != "decode"
            self.joins(story, number, where)
        elif kind is K.ADMIT:
            self.admit(story, row, event)
        elif kind is K.PREEMPT:
            running = self.at(where, "running")
            assert self.may_park(where) or all(story.key >= each.key for each in running)
            story.preemptions += 1
        elif kind is K.FIRST:
            story.firsts += 1
        elif kind is K.SEND:
            self.send(story, event)
        elif kind is K.RECEIVE:
            assert self.now_ns == story.there_ns
            self.joins(story, number, where)
        story.place = NEXT[story.place][kind]

    def joins(self, story: Story, number: int, where: int) -> None:
        story.replica = where
        pool, tier = self.pools[where], self.fleet.tiers[self.rows[number]["tier"]]
        arrival_ns = int(self.ended[number]["arrival_ns"])
        due_ns = NEVER_NS if tier.ttft_ns is None else arrival_ns + tier.ttft_ns
        rank = {"fcfs": 0, "priority": tier.priority, "deadline": due_ns}[pool.policy.order]
        story.key = (rank, arrival_ns, number)

    def admit(self, story: Story, row, event) -> None:
        machine, policy = self.machines[story.replica], self.pools[story.replica].policy
        assert machine.state in ("up", "draining") and machine.step_ends_ns <= self.now_ns
        assert event["a"] >= 0 and event["b"] >= 1, "somebody has nothing to compute"
        assert all(story.key <= each.key for each in self.at(story.replica, "waiting"))
        running = len(self.at(story.replica, "running"))
        assert running < policy.max_seqs or self.may_park(story.replica)
        if story.admitted_ns < 0:
            assert event["a"] + event["b"] == row["prompt_tokens"]
            story.admitted_ns, story.cached = self.now_ns, int(event["a"])
            if not policy.prefix_caching:
                assert story.cached == 0

    def may_park(self, where: int) -> bool:
        """Whether some who seem to run here may have been read, and wait for somebody who decodes."""
        return self.pools[where].role == "prompt"

    def send(self, story: Story, event) -> None:
        pool, machine = self.pools[story.replica], self.machines[story.replica]
        target = self.machines[int(event["a"])]
        assert pool.role == "prompt" and self.pools[int(event["a"])].role == "decode"
        assert target.state == "up"
        story.there_ns = int(event["b"])
        begin_ns = max(self.now_ns, machine.link_free_ns)
        machine.link_free_ns = story.there_ns - pool.send_ns
        tokens = (machine.link_free_ns - begin_ns) / max(pool.send_ns_per_token, 1)
        assert machine.link_free_ns >= begin_ns, "two caches on a link"
        if pool.send_ns_per_token:
            assert tokens >= self.rows[int(event["request"])]["prompt_tokens"]

    def replica(self, kind: EventKind, event) -> None:
        machine = self.machines[int(event["replica"])]
        before, after = {
            K.STEP: (("up", "draining"), machine.state),
            K.START: (("off",), "starting"),
            K.UP: (("off", "starting", "down"), "up"),
            K.DRAIN: (("up",), "draining"),
            K.OFF: (("draining", "down"), "off"),
            K.FAIL: (("up", "draining"), "down"),
        }[kind]
        assert machine.state in before, f"{kind.name} of a replica that is {machine.state}"
        machine.state = after
        if kind is K.STEP:
            self.step(machine, event)
        elif kind is K.FAIL:
            cut_ns = max(machine.step_ends_ns - self.now_ns, 0)
            machine.steps.subtract(busy_ns=cut_ns, block_ns=machine.step_blocks * cut_ns)
            machine.step_ends_ns = machine.link_free_ns = -1

    def step(self, machine: Machine, event) -> None:
        where, (ns, users, new, blocks) = event["replica"], (int(event[x]) for x in "abcd")
        policy = self.pools[where].policy
        assert machine.step_ends_ns <= self.now_ns, "two steps at once"
        assert ns >= 1 and users + new >= 1
        assert users + new <= policy.max_step_tokens
        assert users <= policy.max_seqs and users <= len(self.at(where, "running"))
        assert 1 <= blocks <= policy.n_blocks
        assert policy.mixed or not (users and new)
        machine.step_ends_ns = self.now_ns + ns
        machine.step_blocks = blocks
        machine.steps.update(steps=1, busy_ns=ns, read_tokens=new, block_ns=blocks * ns)
        machine.steps["peak_blocks"] = max(machine.steps["peak_blocks"], blocks)

    def sample(self, event) -> None:
        where = event["replica"]
        policy = self.pools[where].policy
        assert event["a"] <= policy.max_seqs and 0 <= event["c"] <= policy.n_blocks
        assert event["d"] == (self.machines[where].state == "up")
        assert event["b"] == len(self.at(where, "waiting"))

    def at(self, where: int, *places: str) -> list[Story]:
        return [x for x in self.stories.values() if x.replica == where and x.place in places]

    def nobody_idles(self) -> None:
        """Who works and has work is in a step; one that only waits may do so for room that is held until it is sent."""
        for where, machine in enumerate(self.machines):
            if machine.state in ("up", "draining") and machine.step_ends_ns <= self.now_ns:
                held = self.at(where, "running", "sent")
                parking = self.may_park(where) and held
                assert not self.at(where, "waiting", "running") or parking, "idle with work"
        held_back = [x for x in self.stories.values() if x.place == "at the router"]
        up = [m for m, pool in zip(self.machines, self.pools, strict=True) if pool.role != "decode" and m.state == "up"]  # fmt: skip
        assert not (held_back and up), "nobody routes"

    def sums(self) -> None:
        totals = self.log.totals
        for machine, sums in zip(self.machines, totals.replicas, strict=True):
            for name in ("steps", "busy_ns", "read_tokens", "block_ns", "peak_blocks"):
                assert sums[name] == machine.steps[name], name
            assert sums["on_ns"] >= 0 and sums["energy_j"] >= 0
            assert sums["busy_ns"] <= sums["on_ns"] <= totals.end_ns
        assert totals.replicas["preemptions"].sum() == len(self.log.of(K.PREEMPT))
        assert totals.replicas["failures"].sum() == len(self.log.of(K.FAIL))
        generated = int(self.log.finished["output_tokens"].sum())
        assert totals.replicas["generated_tokens"].sum() == generated, "a token twice, or none"

    def endings(self) -> None:
        """Requests are conserved, and what is said of each at its end is what its events said."""
        finished, totals = self.log.finished, self.log.totals
        assert sorted(finished["request"]) == list(range(len(self.rows)))
        assert all(story.place == "over" for story in self.stories.values())
        assert totals.done == (finished["fate"] == Fate.DONE).sum()
        assert totals.rejected == (finished["fate"] != Fate.DONE).sum()
        assert (np.diff(finished["last_ns"]) >= 0).all()
        for end in finished:
            number = int(end["request"])
            story, row = self.stories[number], self.rows[number]
            assert end["preemptions"] == story.preemptions
            assert end["scheduled_ns"] == story.admitted_ns
            assert end["cached_tokens"] == story.cached <= row["prompt_tokens"] - 1
            assert story.firsts == (end["output_tokens"] > 0) == (end["first_ns"] >= 0)
            if end["fate"] == Fate.DONE:
                assert end["output_tokens"] == row["output_tokens"]
                assert end["arrival_ns"] + self.fleet.entry_ns <= end["scheduled_ns"]
                assert end["scheduled_ns"] < end["first_ns"] <= end["last_ns"]
            else:
                assert 0 <= end["output_tokens"] < row["output_tokens"]


def some_fleets():
    return {
        "fleet": fleets(),
        "n": st.integers(1, 60),
        "seed": st.integers(0, 2**32),
        "gap": st.sampled_from([1e5, 2e7, 2e8]),
    }


@settings(max_examples=60)
@given(**some_fleets())
def test_the_log_of_any_fleet_keeps_the_laws(fleet, n, seed, gap):
    rows = requests(n, seed, gap)
    Auditor(fleet, rows, run(rows, fleet, seed=seed)).audit()


@settings(max_examples=15)
@given(**some_fleets())
def test_the_slow_engine_keeps_them_too(fleet, n, seed, gap):
    rows = requests(n // 2 + 1, seed, gap)
    Auditor(fleet, rows, run(rows, fleet, seed=seed, engine=reference)).audit()


@settings(max_examples=30)
@given(**some_fleets())
def test_times_inside_are_the_area_under_the_number_inside(fleet, n, seed, gap):
    """Little's law without a limit: Σ (end − arrival at the router) = ∫ requests inside, to the nanosecond."""
    rows = requests(n, seed, gap)
    log = run(rows, fleet, seed=seed)
    moves = log.events[np.isin(log.events["kind"], [K.ARRIVE, K.FINISH, K.REJECT])]
    inside = np.cumsum(np.where(moves["kind"] == K.ARRIVE, 1, -1))
    area = int((inside[:-1] * np.diff(moves["time_ns"])).sum())
    took = log.finished["last_ns"] - log.finished["arrival_ns"] - fleet.entry_ns
    assert area == int(took.sum())


@settings(max_examples=30)
@given(**some_fleets())
def test_no_more_conversations_are_inside_than_may_be(fleet, n, seed, gap):
    rows = requests(n, seed, gap)
    log = run(rows, fleet, seed=seed)
    if not fleet.concurrency:
        return
    first = np.cumsum(rows["turn"] == 0) - 1  # the conversation of each row
    ends = log.by_request()
    moves = [
        (when, change)
        for talk in range(int(first[-1]) + 1)
        for when, change in (
            (int(ends["arrival_ns"][first == talk].min()) + fleet.entry_ns, 1),
            (int(ends["last_ns"][first == talk].max()), -1),
        )
    ]
    inside = np.cumsum([change for _, change in sorted(moves)])
    assert inside.max() <= fleet.concurrency


@settings(max_examples=15)
@given(**some_fleets())
def test_the_same_seed_gives_the_same_bytes_in_chunks_of_any_size(fleet, n, seed, gap):
    rows = requests(n, seed, gap)
    once, again = run(rows, fleet, seed=seed), run(rows, fleet, seed=seed)
    events = []
    fast.run(
        [rows[i : i + 3] for i in range(0, n, 3)],
        fleet,
        seed=seed,
        finished=lambda _: None,
        events=events.append,
    )
    assert once.events.tobytes() == again.events.tobytes() == np.concatenate(events).tobytes()
    assert once.finished.tobytes() == again.finished.tobytes()
    assert once.totals.replicas.tobytes() == again.totals.replicas.tobytes()


def test_the_auditor_sees_what_is_wrong():
    """Laws that accept anything are none: a log with one event gone, doubled or moved is refused."""
    fleet = Fleet(pools=(pool(table(10**6), n_blocks=40, max_seqs=4, block_tokens=4),))
    wanted = plain(np.arange(30) * 10**6, prompt_tokens=20, output_tokens=np.arange(30) % 7 + 1)
    log = run(wanted, fleet)
    Auditor(fleet, wanted, log).audit()
    refused = 0
    for i in range(len(log.events)):
        for bad in (
            np.delete(log.events, i),
            np.insert(log.events, i, log.events[i]),
        ):
            try:
                Auditor(fleet, wanted, log._replace(events=bad)).audit()
            except AssertionError:
                refused += 1
    looks = 2  # UP may be gone or come twice only where somebody looks
    assert refused >= 2 * len(log.events) - looks
    with pytest.raises((AssertionError, KeyError)):
        Auditor(fleet, wanted, log._replace(finished=log.finished[1:])).audit()
