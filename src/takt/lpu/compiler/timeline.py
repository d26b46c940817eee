"""Reservation tables: which cycles of a resource are taken, one Python integer a resource, one bit a cycle.

Big-integer shifts and ands test a whole pattern of cycles at once, which is what makes scheduling a model of 10⁵
instructions a matter of seconds. Knows nothing of what the resources are.
"""

from __future__ import annotations


def pattern(rows: int, interval: int) -> int:
    """Bits 0, interval, 2·interval … for `rows` rows."""
    if interval == 1:
        return (1 << rows) - 1
    bits, have = 1, 1
    while have < rows:
        n = min(have, rows - have)
        bits |= (bits & ((1 << (n * interval)) - 1)) << (have * interval)
        have += n
    return bits


class Timeline:
    """One resource's taken cycles."""

    __slots__ = ("bits",)

    def __init__(self) -> None:
        self.bits = 0

    def free(self, time: int, mask: int) -> bool:
        return not (self.bits >> time) & mask

    def take(self, time: int, mask: int) -> None:
        self.bits |= mask << time

    def wait(self, time: int, mask: int) -> int:
        """How many cycles later than `time` the pattern first fits (0 if it does now)."""
        rest = self.bits >> time
        solid = not mask & (mask + 1)
        delay = 0
        while clash := (rest >> delay) & mask:
            delay += clash.bit_length() if solid else 1
        return delay


def first_free(bits: int, time: int, count: int) -> list[int]:
    """The first `count` cycles at or after `time` whose bits are clear."""
    out: list[int] = []
    rest = bits >> time
    while len(out) < count:
        skip = (~rest & (rest + 1)).bit_length() - 1
        time += skip
        rest >>= skip
        run = (rest & -rest).bit_length() - 1 if rest else count
        take = min(run, count - len(out))
        out.extend(range(time, time + take))
        time += take
        rest >>= take
    return out
