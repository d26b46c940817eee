"""The slow engine: one event after the other, in the plainest words. It says what is right; `fast` is held against it.

At each instant things happen in the order of their ranks; then every idle replica with work begins a step. The source is read
one conversation ahead; under a limit of concurrency, as many as there are places. Rules that need saying:

- A request is routed `entry_ns` after its arrival, to a replica that is up; where none is, it waits for one.
- A replica of role `prompt` keeps a cache until it has been sent, one after the other; the replica that decodes is chosen
  when the prompt is read. A cache that arrives where nobody is left is lost, and its request begins anew at the router.
- Failed replicas lose caches, not answers: what was generated is read again as part of the prompt.
- A later turn is sent its wait after the end of the turn before, even where that one was rejected.

Knows no statistics.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from math import ceil

import numpy as np
from numpy.typing import NDArray

from takt.errors import LawError

from .blocks import Text
from .clock import Clock
from .drafts import accepted, thresholds
from .fleet import Failure, Fleet, Pool
from .records import EVENT, FINISHED, NOBODY, EventKind, Fate
from .replica import Replica, State
from .routers import choose
from .scheduler import Row, Step, Ticket
from .source import checked, conversations
from .totals import Sink, Totals

__all__ = ["run"]

_BATCH = 4096
NEVER_NS = 1 << 62


class Rank(IntEnum):
    """What comes first at the same time."""

    STATE = 0
    STEP_END = 1
    RECEIVE = 2
    ARRIVE = 3
    SCALE = 4
    SAMPLE = 5


@dataclass(slots=True, eq=False)
class Job:
    """A request in the world: what the scheduler may not know of it, and what has become of it."""

    number: int
    row: np.void
    arrival_ns: int
    later: deque[tuple[int, np.void]]
    generated: int = 0
    scheduled_ns: int = -1
    first_ns: int = -1
    cached_tokens: int = -1
    preemptions: int = 0
    ticket: Ticket | None = None
    replica: Replica | None = None  # where it is; while its cache is sent: where it comes from
    bound_for: Replica | None = (
        None  # where its cache is going, and that one's epoch when it was sent
    )
    bound_epoch: int = 0
    lost: int = 0  # times that a failure took its cache: what was under way before is void


def run(
    requests: Iterable[NDArray[np.void]],
    fleet: Fleet,
    *,
    seed: int,
    finished: Sink,
    events: Sink | None = None,
) -> Totals:
    """Simulate until every request has ended. Raises DataError for bad rows, LawError for a defect of the engine."""
    return _World(requests, fleet, seed, finished, events).run()


@dataclass(slots=True)
class _Batch:
    """Records on their way to a sink."""

    dtype: np.dtype[np.void]
    sink: Sink | None
    rows: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, *row: int) -> None:
        if self.sink is not None:
            self.rows.append(row)
            if len(self.rows) >= _BATCH:
                self.flush()

    def flush(self) -> None:
        if self.sink is not None and self.rows:
            self.sink(np.array(self.rows, self.dtype))
            self.rows.clear()


class _World:
    """Everything that changes, and the only one that changes it."""

    def __init__(
        self,
        requests: Iterable[NDArray[np.void]],
        fleet: Fleet,
        seed: int,
        finished: Sink,
        events: Sink | None,
    ) -> None:
        self.fleet = fleet
        self.seed = seed
        self.clock: Clock[Callable[[], None]] = Clock()
        self.source = conversations(checked(requests, len(fleet.tiers)))
        self.finished = _Batch(FINISHED, finished)
        self.events = _Batch(EVENT, events)
        self.replicas = [
            Replica(0, i, pool) for i, pool in enumerate(fleet.pools) for _ in range(pool.replicas)
        ]
        for number, replica in enumerate(self.replicas):
            replica.number = number
        self.limits = [
            thresholds(pool.policy.draft_tokens, pool.policy.acceptance) for pool in fleet.pools
        ]
        self.low_since_ns = [-1] * len(fleet.pools)
        self.jobs: dict[int, Job] = {}
        self.inside = 0  # conversations let in and not over
        self.unrouted: list[Job] = []
        self.unsent: list[Job] = []
        self.turn = 0  # of round-robin
        self.arrived = self.done = self.rejected = 0
        self.start_ns = -1

    # The run

    def run(self) -> Totals:
        self._switch_on()
        self._read_source()
        while self.inside:
            if not self.clock:
                raise LawError(f"{len(self.jobs)} requests are left and nothing to happen", law=27)
            self._instant()
        for replica in self.replicas:
            if replica.state is not State.OFF:
                replica.switched_off(self.clock.now_ns)
        if self.arrived != self.done + self.rejected or self.jobs:
            raise LawError(f"{self.arrived} came, {self.done + self.rejected} went", law=24)
        self.finished.flush()
        self.events.flush()
        return Totals(
            replicas=np.array([replica.sums for replica in self.replicas]),
            start_ns=max(self.start_ns, 0),
            end_ns=self.clock.now_ns,
            arrived=self.arrived,
            done=self.done,
            rejected=self.rejected,
        )

    def _instant(self) -> None:
        """All that happens at the next time, then the steps that can begin."""
        now_ns = self.clock.next_ns
        while self.clock and self.clock.next_ns == now_ns:
            self.clock.pop()()
        for replica in self.replicas:
            if replica.is_working and replica.step is None and replica.scheduler.load:
                self._begin_step(replica)
            if replica.state is State.DRAINING and replica.is_empty:
                replica.switched_off(self.now_ns)
                self._log(EventKind.OFF, replica=replica)
            self._check_blocks(replica)

    @property
    def now_ns(self) -> int:
        return self.clock.now_ns

    def _log(
        self,
        kind: EventKind,
        *,
        job: Job | None = None,
        replica: Replica | None = None,
        a: int = 0,
        b: int = 0,
        c: int = 0,
        d: int = 0,
    ) -> None:
        number = NOBODY if job is None else job.number
        where = NOBODY if replica is None else replica.number
        self.events.add(self.now_ns, number, kind, where, a, b, c, d)

    def _check_blocks(self, replica: Replica) -> None:
        scheduler, cache = replica.scheduler, replica.scheduler.cache
        own = sum(ticket.held.own for ticket in [*scheduler.running, *scheduler.parked])
        kept = sum(chain.blocks for chain in cache.chains.values())
        if cache.free + own + kept != cache.n_blocks or cache.free < 0:
            raise LawError(
                f"replica {replica.number} has {cache.n_blocks} blocks, of them {cache.free} free, "
                f"{own} of requests and {kept} kept",
                law=25,
            )

    # Requests come

    def _read_source(self) -> None:
        """The next conversation of the source; under a limit as many as there are places, each from when there is one."""
        limit = self.fleet.concurrency
        while not limit or self.inside < limit:
            talk = next(self.source, None)
            if talk is None:
                return
            arrival_ns = int(talk[0][1]["arrival_ns"])
            self._let_in(talk, max(arrival_ns, self.now_ns) if limit else arrival_ns)
            if not limit:
                return

    def _let_in(self, talk: list[tuple[int, np.void]], arrival_ns: int) -> None:
        self.inside += 1
        if self.start_ns < 0:  # nothing is paid for before
            self.start_ns = arrival_ns
            for replica in self.replicas:
                replica.on_since_ns = arrival_ns
        job = self._job(deque(talk), arrival_ns)

        def arrive() -> None:
            self._arrive(job)
            if not self.fleet.concurrency:
                self._read_source()

        self.clock.at(arrival_ns + self.fleet.entry_ns, Rank.ARRIVE, arrive)

    def _job(self, turns: deque[tuple[int, np.void]], arrival_ns: int) -> Job:
        number, row = turns.popleft()
        return Job(number, row, arrival_ns, turns)

    def _arrive(self, job: Job) -> None:
        self.arrived += 1
        self.jobs[job.number] = job
        self._log(EventKind.ARRIVE, job=job, a=int(job.row["prompt_tokens"]))
        self._route(job)

    def _ticket(self, job: Job) -> Ticket:
        row = job.row
        return Ticket(
            request=job.number,
            key=(0, job.arrival_ns, job.number),
            tokens=int(row["prompt_tokens"]) + job.generated,
            text=Text(
                group=int(row["group"]),
                group_tokens=int(row["group_tokens"]),
                session=_session(job),
            ),
            seen_tokens=int(row["seen_tokens"]),
        )

    def _due_ns(self, job: Job) -> int:
        """When its first token is due."""
        ttft_ns = self.fleet.tiers[job.row["tier"]].ttft_ns
        return NEVER_NS if ttft_ns is None else job.arrival_ns + ttft_ns

    def _key(self, job: Job, pool: Pool) -> tuple[int, int, int]:
        """Its place in the order of a pool's queues."""
        rank = {
            "fcfs": 0,
            "priority": self.fleet.tiers[job.row["tier"]].priority,
            "deadline": self._due_ns(job),
        }[pool.policy.order]
        return rank, job.arrival_ns, job.number

    def _route(self, job: Job) -> None:
        """To a replica that reads prompts, or to wait for one."""
        ready = [
            each for each in self.replicas if each.pool.role != "decode" and each.state is State.UP
        ]
        if not ready:
            self.unrouted.append(job)
            return
        job.ticket = self._ticket(job)
        due_ns = self._due_ns(job)
        replica = choose(self.fleet, ready, self.turn, job.ticket, self.now_ns, due_ns)
        self.turn = replica.number + 1
        tier = self.fleet.tiers[job.row["tier"]]
        waiting = len(replica.scheduler.waiting)
        if tier.max_waiting and waiting >= tier.max_waiting and job.generated == 0:
            self._end(job, replica, Fate.REJECTED)
            return
        self._log(EventKind.ROUTE, job=job, replica=replica, a=replica.load)
        job.replica = replica
        job.ticket.key = self._key(job, replica.pool)
        replica.scheduler.add(job.ticket)

    # Steps

    def _begin_step(self, replica: Replica) -> None:
        step = replica.scheduler.next_step()
        for action in replica.scheduler.actions:
            job = self.jobs[action.ticket.request]
            if action.kind is EventKind.REJECT:
                self._end(job, replica, Fate.TOO_LONG)
                continue
            self._log(action.kind, job=job, replica=replica, a=action.a, b=action.b)
            if action.kind is EventKind.PREEMPT:
                job.preemptions += 1
                replica.sums["preemptions"] += 1
            elif job.scheduled_ns < 0:
                job.scheduled_ns, job.cached_tokens = self.now_ns, action.a
            replica.sums["cached_tokens"] += action.found
        if step is None:
            return
        read = sum(new for new, _ in step.chunks)
        time_ns, joules = replica.pool.table.step(
            step.users, step.context_tokens, step.tokens - read, step.chunks
        )
        blocks = replica.scheduler.cache.in_use
        self._log(EventKind.STEP, replica=replica, a=time_ns, b=step.users, c=read, d=blocks)
        replica.begin(step, self.now_ns, time_ns, joules)
        epoch = replica.epoch
        self.clock.at(
            self.now_ns + time_ns,
            Rank.STEP_END,
            lambda: self._end_step(replica, step) if replica.epoch == epoch else None,
        )

    def _end_step(self, replica: Replica, step: Step) -> None:
        replica.end_step(self.now_ns)
        for row in step.rows:
            job = self.jobs[row.ticket.request]
            n_tokens = self._tokens_of(replica, job, row)
            replica.scheduler.computed(row, n_tokens)
            if n_tokens:
                self._generated(replica, job, n_tokens)

    def _tokens_of(self, replica: Replica, job: Job, row: Row) -> int:
        """Tokens that a row yields: never more than the answer has left."""
        if row.reading:
            return int(row.yields)
        limits = self.limits[replica.pool_index]
        held = accepted(limits, self.seed, job.number, job.generated) if limits else 0
        return min(1 + held, row.new, int(job.row["output_tokens"]) - job.generated)

    def _generated(self, replica: Replica, job: Job, n_tokens: int) -> None:
        assert job.ticket is not None
        job.generated += n_tokens
        replica.sums["generated_tokens"] += n_tokens
        if job.first_ns < 0:
            job.first_ns = self.now_ns
            self._log(EventKind.FIRST, job=job, replica=replica)
        if job.generated >= int(job.row["output_tokens"]):
            replica.scheduler.finish(job.ticket)
            self._end(job, replica, Fate.DONE)
        elif replica.pool.role == "prompt":
            replica.scheduler.park(job.ticket)
            self._send(job)

    def _end(self, job: Job, replica: Replica, fate: Fate) -> None:
        """A request leaves the world; what waited for it comes."""
        if fate is Fate.DONE:
            self.done += 1
            self._log(EventKind.FINISH, job=job, replica=replica, a=job.generated)
        else:
            self.rejected += 1
            self._log(EventKind.REJECT, job=job, replica=replica, a=fate)
        row = job.row
        self.finished.add(
            job.number,
            job.arrival_ns,
            job.scheduled_ns,
            job.first_ns,
            self.now_ns,
            int(row["prompt_tokens"]),
            job.generated,
            max(job.cached_tokens, 0),
            int(row["tier"]),
            replica.number,
            job.preemptions,
            fate,
            int(row["turn"]),
        )
        del self.jobs[job.number]
        if job.later:
            self._next_turn(job)
            return
        self.inside -= 1
        if self.fleet.concurrency:
            self._read_source()

    def _next_turn(self, before: Job) -> None:
        wait_ns = int(before.later[0][1]["arrival_ns"])
        job = self._job(before.later, self.now_ns + wait_ns)
        self.clock.at(job.arrival_ns + self.fleet.entry_ns, Rank.ARRIVE, lambda: self._arrive(job))

    # Caches travel

    def _send(self, job: Job) -> None:
        """From the replica that read the prompt to the idlest that decodes."""
        assert job.replica is not None and job.ticket is not None
        ready = [
            each for each in self.replicas if each.pool.role == "decode" and each.state is State.UP
        ]
        if not ready:
            self.unsent.append(job)
            return
        source, target = job.replica, min(ready, key=lambda each: (each.load, each.number))
        job.bound_for, job.bound_epoch = target, target.epoch
        target.expected += 1
        pool = source.pool
        begin_ns = max(self.now_ns, source.link_free_ns)
        source.link_free_ns = begin_ns + ceil(job.ticket.computed * pool.send_ns_per_token)
        there_ns = source.link_free_ns + pool.send_ns
        source.sums["sent_tokens"] += job.ticket.computed
        self._log(EventKind.SEND, job=job, replica=source, a=target.number, b=there_ns)
        lost = job.lost
        self.clock.at(
            there_ns,
            Rank.RECEIVE,
            lambda: self._receive(job, source, target) if job.lost == lost else None,
        )

    def _receive(self, job: Job, source: Replica, target: Replica) -> None:
        assert job.ticket is not None
        source.scheduler.unpark(job.ticket)
        job.bound_for = None
        if target.epoch != job.bound_epoch:
            self._lose(job, source)
            return
        target.expected -= 1
        self._log(EventKind.RECEIVE, job=job, replica=target)
        ticket = self._ticket(job)
        ticket.has_cache, ticket.computed = True, ticket.tokens - 1
        ticket.key = self._key(job, target.pool)
        job.ticket, job.replica = ticket, target
        target.scheduler.add(ticket)

    # Replicas come and go

    def _switch_on(self) -> None:
        """Before the first request: replicas that are up, failures to come, and the looks at the fleet."""
        first = 0
        for pool in self.fleet.pools:
            up = pool.autoscale.least if pool.autoscale else pool.replicas
            for replica in self.replicas[first : first + up]:
                self._up(replica)
            first += pool.replicas
        for failure in self.fleet.failures:
            self.clock.at(failure.at_ns, Rank.STATE, self._failing(failure))
        for i, pool in enumerate(self.fleet.pools):
            if pool.autoscale:
                self._look_again(pool.autoscale.interval_ns, Rank.SCALE, self._scaling(i, pool))
        if self.fleet.sample_ns:
            self._look_again(self.fleet.sample_ns, Rank.SAMPLE, self._sample)

    def _look_again(self, every_ns: int, rank: Rank, look: Callable[[], None]) -> None:
        def looking() -> None:
            look()
            if self.inside:
                self.clock.at(self.now_ns + every_ns, rank, looking)

        self.clock.at(self.now_ns + every_ns, rank, looking)

    def _up(self, replica: Replica) -> None:
        """Requests that waited for a replica have one."""
        replica.state = State.UP
        self._log(EventKind.UP, replica=replica)
        if replica.pool.role == "decode":
            unsent, self.unsent = self.unsent, []
            for job in unsent:
                self._send(job)
        else:
            unrouted, self.unrouted = self.unrouted, []
            for job in unrouted:
                self._route(job)

    def _failing(self, failure: Failure) -> Callable[[], None]:
        return lambda: self._fail(self.replicas[failure.replica], failure.down_ns)

    def _fail(self, replica: Replica, down_ns: int) -> None:
        """Only a replica that works can fail; one that was being drained does not come back."""
        if not replica.is_working:
            return
        self._log(EventKind.FAIL, replica=replica, a=down_ns)
        replica.sums["failures"] += 1
        victims = sorted(
            (job for job in self.jobs.values() if job.replica is replica),
            key=lambda job: job.number,
        )
        was_up = replica.state is State.UP
        replica.end_step(self.now_ns)
        replica.forget()
        if was_up:
            replica.state = State.DOWN
            self.clock.at(self.now_ns + down_ns, Rank.STATE, lambda: self._up(replica))
        else:
            replica.switched_off(self.now_ns)
            self._log(EventKind.OFF, replica=replica)
        replica.expected = 0
        for job in victims:
            if job.bound_for is not None and job.bound_for.epoch == job.bound_epoch:
                job.bound_for.expected -= 1
            self._lose(job, replica)

    def _lose(self, job: Job, replica: Replica) -> None:
        """A request whose cache is gone goes to the router once more."""
        job.lost += 1
        job.replica = job.bound_for = None
        if job in self.unsent:
            self.unsent.remove(job)
        self._log(EventKind.LOSE, job=job, replica=replica)
        self._route(job)

    def _scaling(self, index: int, pool: Pool) -> Callable[[], None]:
        mine = [each for each in self.replicas if each.pool_index == index]
        return lambda: self._scale(index, pool, mine)

    def _scale(self, index: int, pool: Pool, mine: list[Replica]) -> None:
        """Start what is wanted at once; drain what has not been wanted for a while."""
        scale = pool.autoscale
        assert scale is not None
        waiting = self.unsent if pool.role == "decode" else self.unrouted
        load = sum(each.load for each in mine) + len(waiting)
        wanted = min(max(-(-load // scale.target_load), scale.least), pool.replicas)
        there = [each for each in mine if each.state in (State.UP, State.STARTING, State.DOWN)]
        if wanted >= len(there):
            self.low_since_ns[index] = -1
        elif self.low_since_ns[index] < 0:
            self.low_since_ns[index] = self.now_ns
        for replica in [each for each in mine if each.state is State.OFF][
            : max(wanted - len(there), 0)
        ]:
            self._start(replica, scale.startup_ns)
        low_ns = self.low_since_ns[index]
        if low_ns >= 0 and self.now_ns - low_ns >= scale.cooldown_ns:
            up = [each for each in mine if each.state is State.UP]
            for replica in up[::-1][: max(len(up) - wanted, 0)]:
                replica.state = State.DRAINING
                self._log(EventKind.DRAIN, replica=replica)
            self.low_since_ns[index] = -1

    def _start(self, replica: Replica, startup_ns: int) -> None:
        replica.state = State.STARTING
        replica.on_since_ns = self.now_ns
        self._log(EventKind.START, replica=replica)
        self.clock.at(self.now_ns + startup_ns, Rank.STATE, lambda: self._up(replica))

    def _sample(self) -> None:
        for replica in self.replicas:
            scheduler = replica.scheduler
            self._log(
                EventKind.SAMPLE,
                replica=replica,
                a=len(scheduler.running),
                b=len(scheduler.waiting),
                c=scheduler.cache.in_use,
                d=int(replica.state is State.UP),
            )


def _session(job: Job) -> int:
    """The session's number, or one of the request's own."""
    session = int(job.row["session"])
    return session if session != NOBODY else NOBODY - 1 - job.number
