"""The instruction buffers of the queues, word by word, as the reference engine fills and empties them.

It knows how many words an instruction is (with the `nop` and `repeat` words around it), not what they say.
"""

from __future__ import annotations

from takt.chips import Chip


class QueueBuffer:
    """One queue's buffer. Words arrive at the start of a cycle, before those of that cycle leave."""

    __slots__ = ("_depth", "_free_at", "_nop_max", "_text", "arrived", "left")

    def __init__(self, chip: Chip, text_words: int) -> None:
        self._depth: int = chip.icu.queue_depth_instructions
        self._nop_max = chip.icu.nop_max_cycles
        self._text = text_words
        self._free_at = 0
        self.arrived = min(self._depth, text_words)
        self.left = 0

    def refill(self, words: int) -> bool:
        """A fetch arrives with the next words of the text; False if the buffer has no room for them."""
        coming = min(words, self._text - self.arrived)
        self.arrived += coming
        return self.arrived - self.left <= self._depth

    def issue(self, time: int, is_first: bool, is_last_repeat: bool) -> bool:
        """The words that leave with an issue; False if one of them has not arrived."""
        if is_first:
            self.left += 1
            if time > self._free_at:
                self.left += nop_words(time - self._free_at, self._nop_max)
        if is_last_repeat:
            self.left += 1
        self._free_at = time + 1
        return self.left <= self.arrived


def nop_words(wait_cycles: int, nop_max_cycles: int) -> int:
    """Words that make a queue wait; 0 for no wait."""
    return -(-max(wait_cycles, 0) // nop_max_cycles)
