"""Reservation tables: which cycles of a resource are taken, one Python integer a resource, one bit a cycle.

Big-integer shifts and ands test a whole pattern of cycles at once, which is what makes scheduling a model of 10⁵
instructions a matter of seconds. `Undo` keeps the claims of a placement that may yet fail. Knows nothing of what the
resources are.
"""

from __future__ import annotations

TRIES = 4096
"""Cycles tried for one placement (those that a known clash rules out are skipped) before giving up."""


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


def span(rows: int, interval: int) -> int:
    """Queue cycles of a repeated instruction: it owns its queue from first to last issue."""
    return (1 << ((rows - 1) * interval + 1)) - 1


class Timeline:
    """One resource's taken cycles, and those a placement being tried wants: `wanted`, its bit 0 at cycle `since`."""

    __slots__ = ("bits", "since", "wanted")

    def __init__(self) -> None:
        self.bits = 0
        self.wanted = 0
        self.since = 0

    def clash(self, time: int, mask: int) -> int:
        """The cycles of `mask`, its bit 0 at cycle `time`, that are taken or wanted."""
        taken = (self.bits >> time) & mask
        if self.wanted:
            ahead = time - self.since
            taken |= (self.wanted >> ahead if ahead >= 0 else self.wanted << -ahead) & mask
        return taken

    def free(self, time: int, mask: int) -> bool:
        """Whether no cycle of `mask`, its bit 0 at cycle `time`, is taken or wanted."""
        return not self.clash(time, mask)

    def want(self, time: int, mask: int) -> None:
        """Add cycles to those that are wanted; `drop` gives them all back."""
        ahead = time - self.since
        if not self.wanted:
            self.wanted, self.since = mask, time
        elif ahead >= 0:
            self.wanted |= mask << ahead
        else:
            self.wanted, self.since = self.wanted << -ahead | mask, time

    def drop(self) -> None:
        """Want nothing any more."""
        self.wanted = 0

    def take(self, time: int, mask: int) -> None:
        """Mark the cycles of `mask`, its bit 0 at cycle `time`, as taken."""
        self.bits |= mask << time

    def wait(self, time: int, mask: int) -> int:
        """How many cycles later than `time` the pattern first fits (0 if it does now)."""
        rest = self.bits >> time
        solid = not mask & (mask + 1)
        delay = 0
        while clash := (rest >> delay) & mask:
            delay += clash.bit_length() if solid else 1
        return delay


class Undo:
    """Claims of a placement being tried, to be given back if it does not fit after all.

    Timelines grow long, so a claim that is more often given back than kept had better not touch them: with `lazy`
    they are only wanted, and taken by `keep`. `rigid`: the claim that failed met another of the same placement, so no
    other cycle would help.
    """

    __slots__ = ("_clash", "_lazy", "_taken", "rigid")

    def __init__(self, *, lazy: bool = False) -> None:
        self._lazy = lazy
        self._taken: list[tuple[Timeline, int, int]] = []
        self._clash: tuple[Timeline, int, int] | None = None
        self.rigid = False

    def take(self, line: Timeline, time: int, mask: int) -> bool:
        """Claim cycles of a resource; False, and nothing claimed, if one of them is taken."""
        if line.clash(time, mask):
            self.rigid = any(
                own is line and ((m << at) >> time) & mask for own, at, m in self._taken
            )
            self._clash = (line, time, mask)
            return False
        if self._lazy:
            line.want(time, mask)
        else:
            line.take(time, mask)
        self._taken.append((line, time, mask))
        return True

    def keep(self) -> None:
        """Take for good what a lazy placement wants."""
        for line, time, mask in self._taken:
            line.take(time, mask)
            line.drop()

    def skip(self) -> int:
        """Cycles until the claim that failed may fit, at least 1; to be asked after `rollback`."""
        if self._clash is None:
            return 1
        line, time, mask = self._clash
        return max(1, line.wait(time, mask))

    def forget(self) -> None:
        """What failed is no claim: nothing is known of when it may fit, later cycles are worth a try."""
        self._clash, self.rigid = None, False

    def rollback(self) -> None:
        """Give back every claim."""
        for line, time, mask in self._taken:
            if self._lazy:
                line.drop()
            else:
                line.bits ^= mask << time
        self._taken.clear()


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
