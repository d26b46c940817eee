"""The paged cache of one replica: blocks of tokens that are free, held by requests, or kept in case they are needed again.

A kept prefix is a chain of blocks from the start of a text: of a group (a shared system prompt) or of a session
behind it. Chains that nobody reads give up their last blocks first, the longest unread chain before others. Blocks are
counted, not numbered: which one is which changes nothing. Knows no time.
"""

from collections import OrderedDict
from dataclasses import dataclass

from .records import NOBODY

__all__ = ["BlockCache", "Chain", "Held"]


@dataclass(slots=True)
class Chain:
    """Blocks of one group or session, and how many requests read them now."""

    blocks: int = 0
    readers: int = 0


@dataclass(slots=True)
class Held:
    """What one request holds: blocks of its own, and the first ones of its group's and its session's chain."""

    own: int = 0
    group_blocks: int = 0
    session_blocks: int = 0
    reads_group: bool = False
    reads_session: bool = False

    @property
    def blocks(self) -> int:
        """Blocks of its text, whoever else reads them."""
        return self.own + self.group_blocks + self.session_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Of whose text a request's is a part: `group_tokens` tokens of the group, then the session's.

    One of no session has a number of its own below NOBODY: its chain serves itself alone, after a preemption.
    """

    group: int = NOBODY
    group_tokens: int = 0
    session: int = NOBODY

    @property
    def is_private(self) -> bool:
        """Nobody else will ever read what is behind the group's part."""
        return self.session < 0


class BlockCache:
    """Blocks of one replica. `free` are empty; `idle_blocks` lie in chains that nobody reads."""

    __slots__ = ("block_tokens", "chains", "free", "idle", "idle_blocks", "n_blocks", "prefixes")

    def __init__(self, n_blocks: int, block_tokens: int, prefixes: bool) -> None:
        self.n_blocks = n_blocks
        self.block_tokens = block_tokens
        self.prefixes = prefixes
        self.free = n_blocks
        self.idle_blocks = 0
        self.chains: dict[tuple[bool, int], Chain] = {}
        self.idle: OrderedDict[tuple[bool, int], Chain] = OrderedDict()  # longest unread first

    @property
    def available(self) -> int:
        """Blocks that can be taken."""
        return self.free + self.idle_blocks

    @property
    def in_use(self) -> int:
        """Blocks that requests hold."""
        return self.n_blocks - self.available

    def blocks_of(self, tokens: int) -> int:
        """Blocks that hold so many tokens."""
        return -(-tokens // self.block_tokens)

    def found(self, text: Text, tokens: int) -> tuple[int, int]:
        """Whole blocks of the group's and of the session's chain that the first `tokens` tokens of a text begin with."""
        if not self.prefixes:
            return 0, 0
        most = tokens // self.block_tokens
        whole = self._group_blocks(text)
        group = 0
        if whole:
            chain = self.chains.get((True, text.group))
            group = min(whole, most, chain.blocks if chain else 0)
            if group < whole:
                return group, 0
        chain = self.chains.get((False, text.session)) if text.session != NOBODY else None
        return group, min(most - group, chain.blocks if chain else 0)

    def fits(self, text: Text, tokens: int, group_blocks: int, session_blocks: int) -> bool:
        """Whether a text can ever be held behind blocks of its chains: these stay whole while their start is read."""
        chains = self._chains(text, group_blocks, session_blocks)
        beyond = self.blocks_of(tokens) - group_blocks - session_blocks
        return beyond + sum(chain.blocks for chain in chains) <= self.n_blocks

    def takeable(self, text: Text, group_blocks: int, session_blocks: int) -> int:
        """Blocks that can be taken beside chains which are about to be read."""
        chains = self._chains(text, group_blocks, session_blocks)
        return self.available - sum(chain.blocks for chain in chains if not chain.readers)

    def _chains(self, text: Text, group_blocks: int, session_blocks: int) -> list[Chain]:
        keys = ((True, text.group), group_blocks), ((False, text.session), session_blocks)
        return [self.chains[key] for key, blocks in keys if blocks]

    def read(self, held: Held, text: Text, group_blocks: int, session_blocks: int) -> None:
        """Begin to read blocks that `found` found."""
        if group_blocks:
            self._open((True, text.group))
            held.group_blocks, held.reads_group = group_blocks, True
        if session_blocks:
            self._open((False, text.session))
            held.session_blocks, held.reads_session = session_blocks, True

    def take(self, held: Held, blocks: int) -> None:
        """Take blocks, emptying idle chains where too few are free; the caller has looked that there are enough."""
        while self.free < blocks:
            key, chain = next(iter(self.idle.items()))
            given = min(chain.blocks, blocks - self.free)
            chain.blocks -= given
            self.free += given
            self.idle_blocks -= given
            if not chain.blocks:
                del self.idle[key], self.chains[key]
        self.free -= blocks
        held.own += blocks

    def publish_group(self, held: Held, text: Text) -> None:
        """Keep the group's part of a text that has just been read, for others of the group."""
        whole = self._group_blocks(text)
        if self.prefixes and whole > held.group_blocks:
            self._publish(held, (True, text.group), whole, held.group_blocks, held.reads_group)
            held.group_blocks, held.reads_group = whole, True

    def release(self, held: Held, text: Text, tokens: int = 0) -> None:
        """Give all back; the session's chain keeps what is whole of the first `tokens` tokens, 0: nothing new."""
        if (
            self.prefixes
            and text.session != NOBODY
            and held.group_blocks == self._group_blocks(text)
        ):
            whole = tokens // self.block_tokens - held.group_blocks
            if whole > held.session_blocks:
                key = (False, text.session)
                self._publish(held, key, whole, held.session_blocks, held.reads_session)
                held.session_blocks, held.reads_session = whole, True
        self.free += held.own
        if held.reads_group:
            self._close((True, text.group))
        if held.reads_session:
            self._close((False, text.session))
        held.own = held.group_blocks = held.session_blocks = 0
        held.reads_group = held.reads_session = False

    def drop(self, text: Text) -> None:
        """Empty the chain behind the group's part, which nobody reads or will read."""
        key = (False, text.session)
        chain = self.chains.pop(key, None)
        if chain is not None:
            del self.idle[key]
            self.idle_blocks -= chain.blocks
            self.free += chain.blocks

    def _group_blocks(self, text: Text) -> int:
        return text.group_tokens // self.block_tokens if text.group != NOBODY else 0

    def _publish(
        self, held: Held, key: tuple[bool, int], whole: int, read: int, reads: bool
    ) -> None:
        """Own blocks `read` … `whole` become the chain's; those that it has got from others meanwhile are freed."""
        chain = self.chains.setdefault(key, Chain())
        if not reads:
            self._open(key)
        held.own -= whole - read
        if chain.blocks >= whole:
            self.free += whole - read
        else:
            self.free += chain.blocks - read
            chain.blocks = whole

    def _open(self, key: tuple[bool, int]) -> None:
        chain = self.chains[key]
        if not chain.readers and key in self.idle:
            del self.idle[key]
            self.idle_blocks -= chain.blocks
        chain.readers += 1

    def _close(self, key: tuple[bool, int]) -> None:
        chain = self.chains[key]
        chain.readers -= 1
        if not chain.readers:
            self.idle[key] = chain
            self.idle_blocks += chain.blocks
