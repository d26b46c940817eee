"""Time: every step's issues, each step as early as the machine allows.

A step is rigid: once the cycle of its first pass is chosen, all else follows. It starts when the arrays are free, its first tile is
there, every vector it reads is written before, its sums reach the chains after those of the steps before it, and no slice of
activations has more to do in a cycle than it can. All else has its own streams and queues (`floor`), in order.

What a step's issues are is known to `convolve` and `pool`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from takt.errors import CompileError
from takt.lpu.isa.table import BY_NAME
from takt.lpu.vision.floor import Floor
from takt.lpu.vision.issues import Ints, Issues
from takt.lpu.vision.tensors import NOT_YET, Tensor, place_vectors

_TAP = 64
_HORIZON = 4096
_MOST_APART = 12
"""Reads that meet writes of another step, in a slice, without one repeat for both: more would starve its queue of text."""
_START = 64
"""No step begins before; the way of its first tile is behind it then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """When a step had the arrays (or, a pool, the VXM), and what it did: passes, weight loads, VXM operations."""

    name: str
    start_cycle: int
    end_cycle: int
    passes: int
    load_cycles: int
    vxm_operations: int


@dataclass(slots=True, eq=False)
class Draft:
    """One step with its first pass at cycle 0."""

    issues: Issues = field(default_factory=Issues)  # of all queues
    needs: list[tuple[Ints, Ints]] = field(default_factory=list)  # (ready, cycle by which)
    made: list[tuple[Tensor, Ints, int, Ints]] = field(default_factory=list)
    first_load_cycles: int = 0
    load_end: int = 0
    pass_end: int = 0
    passes: int = 0
    load_cycles: int = 0
    vxm_operations: int = 0
    chain_times: list[Ints] = field(default_factory=list)
    result_times: list[Ints] = field(default_factory=list)


class Scheduler:
    """Steps in, issues out; one owner of the machine's time."""

    def __init__(self, floor: Floor) -> None:
        self.floor, self.chip = floor, floor.chip
        self.issues = Issues()
        self.times: list[StepTime] = []
        self.words = np.zeros((3, floor.n_arrays, 2), np.int64)
        self.bank_words = self.chip.mem.words_per_slice // self.chip.mem.banks
        shape = (2, 2 * self.chip.mem.slices_per_hemisphere, _HORIZON)
        self._busy = np.zeros(shape, np.int8)  # bank from 1 on, by (kind, queue, cycle)
        self._step = np.zeros(shape, np.int16)  # to the word of the next issue
        self._pass_free = self._load_free = _START
        self._chain_free = self._result_free = 0

    def bring(
        self,
        draft: Draft,
        tensor: Tensor,
        index: Ints,
        chunk: int,
        chain: int,
        number: int,
        time: Ints,
    ) -> Ints:
        """Bring vectors to the VXM at `time`, as operand `number` of a chain; gives the stream of each."""
        floor = self.floor
        stream = np.zeros(len(index), np.int64)
        for writer in range(floor.n_arrays):
            here = tensor.chain[index, chunk] == writer
            if not here.any():
                continue
            at = index[here]
            for byte in range(tensor.element_bytes):
                slice_ = floor.set_slice(tensor.set, writer, chain * tensor.element_bytes + byte)
                when = time[here] - floor.read_to_vxm_cycles(slice_)
                s = floor.operand_stream(chain, number, slice_.side)
                stream[here] = s
                draft.issues.add("read", slice_.queue, when, a=tensor.word[at, chunk], b=s + byte)
                draft.needs.append((tensor.ready[at, chunk] + slice_.hops, when))
        return stream

    def place(self, tensor: Tensor, chain: int, outputs: Ints, chunk: int, bank: int) -> None:
        """Give vectors of one chain their words in a bank, in the order of the grid."""
        bank = min(bank, self.floor.pace.banks - 1)
        first = bank * self.bank_words
        word = first + int(self.words[tensor.set, chain, bank])
        end = place_vectors(tensor, chain, np.sort(outputs), chunk, word)
        self.words[tensor.set, chain, bank] = end - first

    def write(
        self,
        draft: Draft,
        tensor: Tensor,
        outputs: Ints,
        chunk: int,
        chain: int,
        first: Ints,
        last: Ints,
    ) -> None:
        """Write what a chain's last operation, dispatched at `last`, gives; `first`: its first operation."""
        floor = self.floor
        ready = last + self.chip.vxm.entry_cycles + self.chip.vxm.alu_cycles
        slices = [floor.set_slice(tensor.set, chain, slot) for slot in range(tensor.slots)]
        for slot, slice_ in enumerate(slices):
            stream = floor.result_stream(chain) + slot % tensor.element_bytes
            farther = any(other.hops > slice_.hops for other in slices)
            draft.issues.add("write", slice_.queue, ready + slice_.hops, a=tensor.word[outputs, chunk], b=stream | (_TAP if farther else 0))  # fmt: skip
        draft.made.append((tensor, outputs, chunk, ready))
        draft.chain_times.append(first)
        draft.result_times.append(ready)

    def commit(self, name: str, draft: Draft, *, is_conv: bool) -> None:
        """Choose the step's first cycle and make its issues the program's."""
        start = self._pass_free if is_conv else 0
        if is_conv:
            start = max(start, self._load_free + draft.first_load_cycles + 1)
        for ready, when in draft.needs:
            start = max(start, int((ready + 1 - when).max(initial=0)))
        start = max(
            start, self._chain_free - min(int(t.min()) for t in draft.chain_times if len(t))
        )
        start = max(
            start, self._result_free - min(int(t.min()) for t in draft.result_times if len(t))
        )
        rows = draft.issues.rows()
        start = self._fit(rows, start)
        if start >= NOT_YET // 2:
            raise CompileError(f"{name} reads what is never written", stage="schedule")
        self.issues.take(draft.issues, start)
        for tensor, outputs, chunk, ready in draft.made:
            tensor.ready[outputs, chunk] = ready + start
        self._chain_free = start + 1 + max(int(t.max()) for t in draft.chain_times if len(t))
        self._result_free = start + 1 + max(int(t.max()) for t in draft.result_times if len(t))
        end = start + draft.pass_end if is_conv else self._chain_free
        if is_conv:
            self._pass_free, self._load_free = end, start + draft.load_end
        self.times.append(
            StepTime(
                name=name,
                start_cycle=start,
                end_cycle=end,
                passes=draft.passes,
                load_cycles=draft.load_cycles,
                vxm_operations=draft.vxm_operations,
            )
        )

    def _fit(self, rows: NDArray[np.void], start: int) -> int:
        """The first start from `start` on at which every slice can do what it is asked.

        A slice reads and writes in one cycle only in different banks.
        """
        use = self._uses(rows)
        start = max(start, -int(use.time.min(initial=0)))
        last = int(use.time.max(initial=0)) + 1
        self._reach(start + last)
        while self._clashes(use, start):
            start += 1
            self._reach(start + last)
        self._busy[use.kind, use.queue, use.time + start] = use.bank
        self._step[use.kind, use.queue, use.time + start] = use.step
        return start

    def _reach(self, end: int) -> None:
        """Make the tables long enough."""
        more = end - self._busy.shape[2]
        if more > 0:
            self._busy = np.pad(self._busy, ((0, 0), (0, 0), (0, more + _HORIZON)))
            self._step = np.pad(self._step, ((0, 0), (0, 0), (0, more + _HORIZON)))

    def _clashes(self, use: _Uses, start: int) -> bool:
        """Also where reads and writes meet that no repeat could issue together: too many such starve a queue of text."""
        time = use.time + start
        other = self._busy[1 - use.kind, use.queue, time]
        if ((self._busy[use.kind, use.queue, time] != 0) | (other == use.bank)).any():
            return True
        apart = (other != 0) & (self._step[1 - use.kind, use.queue, time] != use.step)
        return int(np.bincount(use.queue[apart]).max(initial=0)) > _MOST_APART

    def _uses(self, rows: NDArray[np.void]) -> _Uses:
        ours = np.array([s.queue for s in self.floor.set_slices()])
        rows = rows[np.isin(rows["queue"], ours)]
        rows = rows[np.lexsort((rows["time"], rows["op"], rows["queue"]))]
        word = rows["a"].astype(np.int64)
        return _Uses(
            queue=rows["queue"].astype(np.int64),
            time=rows["time"].astype(np.int64),
            kind=(rows["op"] == BY_NAME["write"].op).astype(np.int64),
            bank=(word // self.bank_words + 1).astype(np.int8),
            step=np.diff(word, append=word[-1:]).astype(np.int16),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Uses:
    """What a step asks of the slices of activations: `kind` 0 read, 1 write; banks count from 1."""

    queue: Ints
    time: Ints
    kind: Ints
    bank: NDArray[np.int8]
    step: NDArray[np.int16]
