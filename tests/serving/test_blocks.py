"""The paged cache against one that numbers every block and moves each by hand."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from takt.serving.blocks import BlockCache, Held, Text

TEXTS = [
    Text(group=group, group_tokens=shared if group >= 0 else 0, session=session)
    for group, shared in ((-1, 0), (0, 9), (1, 21))
    for session in (-1, 0, 1, 2)
]


class Numbered:
    """The same rules, on lists of blocks that have numbers."""

    def __init__(self, n_blocks, block_tokens, prefixes):
        self.block_tokens, self.prefixes = block_tokens, prefixes
        self.free = list(range(n_blocks))
        self.chains = {}  # key → blocks from the start of the text
        self.readers = {}  # key → who reads
        self.unread = []  # keys nobody reads, the longest unread first

    def available(self):
        return len(self.free) + sum(len(self.chains[key]) for key in self.unread)

    def keys(self, text):
        return (True, text.group), (False, text.session)

    def whole_group(self, text):
        return text.group_tokens // self.block_tokens if text.group >= 0 else 0

    def found(self, text, tokens):
        """How far a text goes along its chains, block by block."""
        if not self.prefixes:
            return 0, 0
        group_key, session_key = self.keys(text)
        group = session = 0
        for _ in range(tokens // self.block_tokens):
            if group < self.whole_group(text):
                if group >= len(self.chains.get(group_key, [])):
                    break
                group += 1
            elif text.session >= 0 and session < len(self.chains.get(session_key, [])):
                session += 1
            else:
                break
        return group, session

    def open(self, who, key):
        self.readers.setdefault(key, set()).add(who)
        if key in self.unread:
            self.unread.remove(key)

    def take(self, n):
        while len(self.free) < n:
            key = self.unread[0]
            self.free.append(self.chains[key].pop())
            if not self.chains[key]:
                self.unread.pop(0)
                del self.chains[key], self.readers[key]
        taken, self.free = self.free[:n], self.free[n:]
        return taken

    def publish(self, who, key, own, read, whole):
        """Own blocks from `read` on become the chain's where it has none; the others are doubles. What stays own."""
        mine, rest = own[: whole - read], own[whole - read :]
        chain = self.chains.setdefault(key, [])
        self.open(who, key)
        for place, block in enumerate(mine, start=read):
            if place < len(chain):
                self.free.append(block)
            else:
                chain.append(block)
        return rest

    def close(self, who, key):
        self.readers[key].discard(who)
        if not self.readers[key]:
            self.unread.append(key)


class Request:
    def __init__(self, text):
        self.text, self.held, self.tokens = text, Held(), 0
        self.own, self.group, self.session = [], 0, 0
        self.opened = []


class CacheMachine(RuleBasedStateMachine):
    """Requests come, grow, publish and go, at both caches."""

    @initialize(n=st.integers(4, 40), size=st.sampled_from([1, 4, 5]), prefixes=st.booleans())
    def begin(self, n, size, prefixes):
        self.size, self.n = size, n
        self.cache, self.model = BlockCache(n, size, prefixes), Numbered(n, size, prefixes)
        self.here = []

    @rule(text=st.sampled_from(TEXTS), more=st.integers(1, 60))
    def enter(self, text, more):
        tokens = text.group_tokens + more
        found = self.cache.found(text, tokens - 1)
        assert found == self.model.found(text, tokens - 1)
        need = -(-tokens // self.size) - sum(found)
        kept = {key for key, n in zip(self.model.keys(text), found, strict=True) if n}
        idle = [len(self.model.chains[key]) for key in kept if key in self.model.unread]
        assert self.cache.takeable(text, *found) == self.model.available() - sum(idle)
        if need > self.cache.takeable(text, *found):
            return
        request = Request(text)
        request.tokens, (request.group, request.session) = tokens, found
        self.cache.read(request.held, text, *found)
        self.cache.take(request.held, need)
        for key in sorted(kept, reverse=True):
            self.model.open(request, key)
            request.opened.append(key)
        request.own = self.model.take(need)
        self.here.append(request)

    @precondition(lambda self: self.here)
    @rule(data=st.data(), more=st.integers(1, 9))
    def grow(self, data, more):
        request = data.draw(st.sampled_from(self.here))
        need = -(-(request.tokens + more) // self.size) - request.held.blocks
        if 0 <= need <= self.cache.available:
            request.tokens += more
            self.cache.take(request.held, need)
            request.own += self.model.take(need)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def publish_group(self, data):
        request = data.draw(st.sampled_from(self.here))
        self.cache.publish_group(request.held, request.text)
        whole = self.model.whole_group(request.text)
        if self.model.prefixes and whole > request.group:
            self.give(request, (True, request.text.group), request.group, whole)
            request.group = whole

    @precondition(lambda self: self.here)
    @rule(data=st.data(), keep=st.booleans())
    def leave(self, data, keep):
        request = data.draw(st.sampled_from(self.here))
        self.here.remove(request)
        tokens = request.tokens if keep else 0
        self.cache.release(request.held, request.text, tokens)
        text, model = request.text, self.model
        whole = tokens // self.size - request.group
        behind = text.session >= 0 and request.group == model.whole_group(text)
        if model.prefixes and behind and whole > request.session:
            self.give(request, (False, text.session), request.session, whole)
        model.free += request.own
        for key in sorted(request.opened, reverse=True):
            model.close(request, key)
        assert request.held == Held()

    def give(self, request, key, read, whole):
        request.own = self.model.publish(request, key, request.own, read, whole)
        if key not in request.opened:
            request.opened.append(key)

    @invariant()
    def both_hold_the_same(self):
        cache, model = self.cache, self.model
        assert cache.free == len(model.free)
        assert cache.available == model.available() == cache.n_blocks - cache.in_use
        assert {k: c.blocks for k, c in cache.chains.items()} == {
            k: len(blocks) for k, blocks in model.chains.items()
        }
        assert {k: c.readers for k, c in cache.chains.items()} == {
            k: len(who) for k, who in model.readers.items()
        }
        assert list(cache.idle) == model.unread

    @invariant()
    def every_block_is_in_one_place(self):
        places = [*self.model.free, *(b for chain in self.model.chains.values() for b in chain)]
        places += [block for request in self.here for block in request.own]
        assert sorted(places) == list(range(self.n))
        assert all(request.held.own == len(request.own) for request in self.here)


TestCache = pytest.mark.filterwarnings("error")(CacheMachine.TestCase)
TestCache.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_a_prefix_ends_where_its_groups_chain_does():
    cache, held = BlockCache(20, 4, True), Held()
    text = Text(group=1, group_tokens=8, session=5)
    cache.take(held, 6)
    cache.publish_group(held, text)
    cache.release(held, text, 22)
    assert cache.found(text, 100) == (2, 3)
    assert cache.found(text, 11) == (2, 0)
    assert cache.found(Text(group=2, group_tokens=8, session=5), 100) == (0, 0)
    assert cache.found(Text(group=1, group_tokens=8), 100) == (2, 0)


def test_an_idle_chain_gives_up_its_last_blocks_first():
    cache, held = BlockCache(5, 1, True), Held()
    cache.take(held, 5)
    cache.release(held, Text(session=1), 5)
    cache.take(Held(), 2)
    assert cache.found(Text(session=1), 5) == (0, 3)
