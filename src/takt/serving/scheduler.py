"""What one replica does next: continuous batching over a paged cache, without input or output.

    scheduler.add(ticket)                 a request joins the queue
    step = scheduler.next_step()          who computes how many tokens; None: nothing to do
    …the step runs, somewhere…
    scheduler.computed(row, tokens)       for each row: its cache is written, so many tokens came out
    scheduler.finish(ticket)              its answer is complete

The rules are those of vLLM's engine (V1): requests under way first, each with one token (and drafts) or the next chunk of its
prompt; then the queue, while slots, tokens of the step and blocks for whole prompts last; where blocks run out, the request last
in order gives up its own, and is read anew later but for what nobody has taken. A simulation and a server drive the same object. It never knows how long an answer will be.
"""

import heapq
from dataclasses import dataclass, field

from .blocks import BlockCache, Held, Text
from .fleet import Policy
from .records import EventKind, Fate

__all__ = ["Row", "Scheduler", "Step", "Ticket"]


@dataclass(slots=True, eq=False)
class Ticket:
    """A request at a replica. `key` is its place in the order: smaller goes first, and is unique.

    - `tokens`: prompt and what has been generated so far; `computed`: of them, tokens whose cache is there.
    - `has_cache`: the cache of all but the last token came from elsewhere.
    - `seen_tokens`: tokens at its start that count as cached wherever it goes.
    """

    request: int
    key: tuple[int, int, int]
    tokens: int
    text: Text
    seen_tokens: int = 0
    has_cache: bool = False
    computed: int = 0
    target: int = 0
    reading: bool = False
    running: bool = False
    held: Held = field(default_factory=Held)


@dataclass(slots=True)
class Row:
    """One request's part of a step: `new` tokens after `cached` ones, of its prompt where it is `reading`."""

    ticket: Ticket
    new: int
    cached: int
    reading: bool

    @property
    def yields(self) -> bool:
        """A token comes of it: the request generates, or its prompt ends here."""
        return not self.reading or self.cached + self.new == self.ticket.target


@dataclass(slots=True)
class Step:
    """What is computed together, in the order in which it was chosen."""

    rows: list[Row] = field(default_factory=list)
    tokens: int = 0

    @property
    def users(self) -> int:
        """Requests that generate."""
        return sum(not row.reading for row in self.rows)

    @property
    def context_tokens(self) -> int:
        """Cached positions of all that generate."""
        return sum(row.cached for row in self.rows if not row.reading)

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """(new, cached) of each prompt that is read."""
        return [(row.new, row.cached) for row in self.rows if row.reading]


@dataclass(frozen=True, slots=True)
class Action:
    """Something the scheduler did on the way to a step: ADMIT, PREEMPT or REJECT, with `a` and `b` as in a record.

    `found`: tokens that an admitted one found cached here.
    """

    kind: EventKind
    ticket: Ticket
    a: int
    b: int = 0
    found: int = 0


class Scheduler:
    """Queue, running requests and cache of one replica. `actions` collects what led to the last step."""

    __slots__ = ("actions", "cache", "parked", "policy", "running", "waiting")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.cache = BlockCache(policy.n_blocks, policy.block_tokens, policy.prefix_caching)
        self.waiting: list[tuple[tuple[int, int, int], Ticket]] = []  # a heap
        self.running: list[Ticket] = []  # in the order of admission
        self.parked: list[Ticket] = []  # done here, their cache not yet sent
        self.actions: list[Action] = []

    @property
    def load(self) -> int:
        """Requests that wait or run here."""
        return len(self.waiting) + len(self.running)

    @property
    def backlog_tokens(self) -> int:
        """Tokens still to be computed before each request here has its next one."""
        waiting = sum(ticket.tokens - ticket.computed for _, ticket in self.waiting)
        return waiting + sum(ticket.tokens - ticket.computed for ticket in self.running)

    def add(self, ticket: Ticket) -> None:
        """A request joins the queue."""
        heapq.heappush(self.waiting, (ticket.key, ticket))

    def next_step(self) -> Step | None:
        """What to compute now; None where there is nothing, or nothing fits until something is given back."""
        self.actions = []
        while True:
            n_before = len(self.actions)
            step = self._attempt()
            if step.rows:
                return step
            # Those who made room are in the queue again, and may fit now that nobody else is served.
            if all(action.kind == EventKind.ADMIT for action in self.actions[n_before:]):
                return None

    def computed(self, row: Row, tokens: int) -> None:
        """A row's cache is written and `tokens` tokens came out: 0 in the midst of a prompt, else 1 or more."""
        ticket = row.ticket
        if row.reading:
            ticket.computed += row.new
            if ticket.computed == ticket.target:
                ticket.reading = False
                self.cache.publish_group(ticket.held, ticket.text)
        else:
            ticket.computed += tokens
        ticket.tokens += tokens

    def finish(self, ticket: Ticket) -> None:
        """An answer is complete: its blocks are given back, what its session may read again is kept."""
        self._leave(ticket)
        self._give_back(ticket)

    def park(self, ticket: Ticket) -> None:
        """A request is done here, but its cache must stay until `unpark`."""
        self._leave(ticket)
        self.parked.append(ticket)

    def unpark(self, ticket: Ticket) -> None:
        """The cache of a parked request has been sent."""
        self.parked.remove(ticket)
        self._give_back(ticket)

    def _leave(self, ticket: Ticket) -> None:
        self.running.remove(ticket)
        ticket.running = False

    def _give_back(self, ticket: Ticket) -> None:
        """All blocks of a request that does not come back."""
        kept = ticket.computed if ticket.held.blocks and not ticket.text.is_private else 0
        self.cache.release(ticket.held, ticket.text, kept)
        if ticket.text.is_private:
            self.cache.drop(ticket.text)

    def _attempt(self) -> Step:
        step = Step()
        n_before = len(self.actions)
        self._continue(step, reading_only=not self.policy.mixed)
        if not any(a.kind == EventKind.PREEMPT for a in self.actions[n_before:]):
            self._admit(step)
        if not self.policy.mixed and not step.rows:
            self._continue(step, reading_only=False)
        return step

    def _continue(self, step: Step, *, reading_only: bool) -> None:
        """The next tokens of requests that run."""
        for ticket in list(self.running):
            if not ticket.running or (reading_only and not ticket.reading):
                continue
            left = self.policy.max_step_tokens - step.tokens
            new = self._wanted(ticket, left)
            if new and self._make_room(ticket, new, step):
                self._schedule(step, ticket, new)

    def _wanted(self, ticket: Ticket, left: int) -> int:
        """Tokens that a running request computes next where `left` fit the step."""
        if ticket.reading:
            return self._chunk(ticket.target - ticket.computed, left)
        new = self._drafting(ticket)
        return new if new <= left else 0

    def _drafting(self, ticket: Ticket) -> int:
        """A token and its drafts, of these no more than the cache has places for."""
        room = self.policy.kv_tokens - ticket.computed
        return max(min(1 + self.policy.draft_tokens, room), 1)

    def _chunk(self, unread: int, left: int) -> int:
        """Tokens of a prompt that are read in one step."""
        return min(unread, left, self.policy.max_chunk_tokens or left)

    def _schedule(self, step: Step, ticket: Ticket, new: int) -> None:
        step.rows.append(Row(ticket, new, ticket.computed, ticket.reading))
        step.tokens += new

    def _make_room(self, ticket: Ticket, new: int, step: Step) -> bool:
        """Blocks for `new` more tokens, taken from those last in order; False where that is the request itself."""
        need = self.cache.blocks_of(ticket.computed + new)
        if need > self.cache.n_blocks:
            self._give_up(ticket)
            return False
        while need - ticket.held.blocks > self.cache.available:
            victim = max(self.running, key=lambda each: each.key)
            self._preempt(victim, step)
            if victim is ticket:
                return False
        self.cache.take(ticket.held, max(need - ticket.held.blocks, 0))
        return True

    def _preempt(self, ticket: Ticket, step: Step) -> None:
        for i, row in enumerate(step.rows):
            if row.ticket is ticket:
                step.tokens -= row.new
                del step.rows[i]
                break
        self.actions.append(Action(EventKind.PREEMPT, ticket, ticket.computed))
        self._leave(ticket)
        # Until someone takes them its blocks are there to be found again.
        self.cache.release(ticket.held, ticket.text, ticket.computed)
        ticket.computed = 0
        ticket.has_cache = ticket.reading = False
        self.add(ticket)

    def _give_up(self, ticket: Ticket) -> None:
        """A text that is longer than the whole cache."""
        self.actions.append(Action(EventKind.REJECT, ticket, Fate.TOO_LONG))
        if ticket.running:
            self._leave(ticket)
        self._give_back(ticket)

    def _admit(self, step: Step) -> None:
        """Requests from the queue in its order, until the first that does not fit."""
        while self.waiting and len(self.running) < self.policy.max_seqs:
            ticket = self.waiting[0][1]
            if self.cache.blocks_of(ticket.tokens) > self.cache.n_blocks:
                heapq.heappop(self.waiting)
                self._give_up(ticket)
                continue
            left = self.policy.max_step_tokens - step.tokens
            admitted = (
                self._admit_cached(step, ticket, left)
                if ticket.has_cache
                else self._admit_reading(step, ticket, left)
            )
            if not admitted:
                return

    def _admit_cached(self, step: Step, ticket: Ticket, left: int) -> bool:
        """One whose cache came from elsewhere."""
        new = self._drafting(ticket)
        need = self.cache.blocks_of(ticket.computed + new)
        if need > self.cache.available or (self.policy.mixed and new > left):
            return False
        self._enter(ticket, ticket.computed)
        self.cache.take(ticket.held, need)
        if self.policy.mixed:
            self._schedule(step, ticket, new)
        return True

    def _admit_reading(self, step: Step, ticket: Ticket, left: int) -> bool:
        """One whose prompt is to be read, from where the cache ends."""
        group, session = self.cache.found(ticket.text, ticket.tokens - 1)
        if not self.cache.fits(ticket.text, ticket.tokens, group, session):
            group = session = 0
        cached = self._cached_tokens(ticket, group + session)
        new = self._chunk(ticket.tokens - cached, left)
        # Only a chunk is taken, but the whole text must fit: it would be in others' way half read.
        whole = self.cache.blocks_of(ticket.tokens) - group - session
        if new < 1 or whole > self.cache.takeable(ticket.text, group, session):
            return False
        ticket.reading, ticket.target = True, ticket.tokens
        self._enter(ticket, cached)
        self.cache.read(ticket.held, ticket.text, group, session)
        self.cache.take(ticket.held, self.cache.blocks_of(cached + new) - group - session)
        self._schedule(step, ticket, new)
        return True

    def _cached_tokens(self, ticket: Ticket, blocks: int) -> int:
        """Tokens that need no reading behind so many blocks; the last one always does, for its logits."""
        if self.policy.prefix_caching:
            seen = min(ticket.seen_tokens, ticket.tokens - 1)
            blocks = max(blocks, seen // self.policy.block_tokens)
        return blocks * self.policy.block_tokens

    def _enter(self, ticket: Ticket, cached: int) -> None:
        heapq.heappop(self.waiting)
        ticket.computed, ticket.running = cached, True
        self.running.append(ticket)
        found = 0 if ticket.has_cache else cached
        self.actions.append(Action(EventKind.ADMIT, ticket, cached, ticket.tokens - cached, found))
