"""Convolutions: passes through the arrays, tiles behind the ones in use, sums through the chains.

A convolution goes round by round over its output chunks, batch by batch over its outputs, run by run over its tiles. In a run
each array takes one vector a cycle; the last run of a batch sends its sums through the chains, four operations each, and
into memory. `timeline` chooses when it starts.
"""

from __future__ import annotations

import numpy as np

from takt.lpu.isa.table import ADD, ALU, EMIT, KEEP, NONE, STREAM, Type, Unit, vxm_operand
from takt.lpu.vision.floor import ALUS_OF_CHAIN
from takt.lpu.vision.graph import Conv
from takt.lpu.vision.issues import Ints
from takt.lpu.vision.passes import Batch, Run, best_split, load_cycles, make_runs, share_out
from takt.lpu.vision.plan import Deal
from takt.lpu.vision.tensors import Tensor
from takt.lpu.vision.timeline import Draft, Scheduler
from takt.lpu.vision.weights import Loaded, Store, TileKey, TileMaker
from takt.lpu.vision.windows import WindowClass

_RESIDUAL = -1
_DENSE_WORDS = 24
"""Words of program text that a slice's queue may need before the passes leave it a cycle to fetch more."""

_LOADS_A_BREATH = 8
"""Tiles after which the queue that loads them gets a free cycle, for the same reason."""


def put_conv(
    scheduler: Scheduler,
    store: Store,
    conv: Conv,
    maker: TileMaker,
    classes: tuple[WindowClass, ...],
    deal: Deal,
    source: Tensor,
    target: Tensor,
    residual: Tensor | None,
    zero: int,
) -> None:
    """Put a convolution into the program. Vectors of `target` get their places and times."""
    floor, draft = scheduler.floor, Draft()
    splits = residual is not None and not floor.is_f16
    runs = [make_runs(c, source.layout.chunks, splits_bias=splits) for c in classes]
    groups = -(-maker.n_columns // 16)
    sizes = [
        (len(c.outputs), len(r.inputs)) for c, rs in zip(classes, runs, strict=True) for r in rs
    ]
    n_split = best_split(floor, sizes, target.layout.chunks, groups, deal)
    shares = floor.n_arrays // n_split
    runs = [tuple(sorted(rs, key=lambda r: _lateness(source, r, shares))) for rs in runs]
    batches = [
        batch
        for c, rs in zip(classes, runs, strict=True)
        for batch in share_out(
            c, rs, target.layout, deal, shares, scheduler.chip.mxm.accumulator_entries
        )
    ]
    work = _ConvWork(scheduler, store, draft, conv, maker, source, target, residual, n_split, zero)
    work.place(batches)
    for round_ in range(-(-target.layout.chunks // n_split)):
        for batch in batches:
            work.batch(batch, round_)
    scheduler.commit(conv.name, draft, is_conv=True)


class _ConvWork:
    """The issues of one convolution."""

    def __init__(
        self,
        scheduler: Scheduler,
        store: Store,
        draft: Draft,
        conv: Conv,
        maker: TileMaker,
        source: Tensor,
        target: Tensor,
        residual: Tensor | None,
        n_split: int,
        zero: int,
    ) -> None:
        self.s, self.store, self.draft = scheduler, store, draft
        self.conv, self.maker = conv, maker
        self.source, self.target, self.residual = source, target, residual
        self.floor, self.n_split = scheduler.floor, n_split
        self.is_final = target.copies == 1
        self.type = Type.F16 if self.floor.is_f16 else Type.I8
        self.tiles: dict[tuple[int, TileKey], Loaded] = {}
        self.constants = [store.put_constants(maker, n, zero) for n in range(target.layout.chunks)]
        self.start = 0  # of the run at hand
        self.n_loads = 0
        self.dense_words = 0  # of text since the last cycle without a pass
        self.is_first = True

    def chunk_of(self, array: int, round_: int) -> int | None:
        """Output chunk of an array in a round, if there is one left for it."""
        part = 0 if self.n_split == 1 else array * self.n_split // self.floor.n_arrays
        n = round_ * self.n_split + part
        return n if n < self.target.layout.chunks else None

    def share_of(self, batch: Batch, array: int) -> Ints:
        """Positions among the batch's outputs that an array works on."""
        return batch.shares[array % (self.floor.n_arrays // self.n_split)]

    def place(self, batches: list[Batch]) -> None:
        """Words for all outputs: what is made first in one bank, the rest, still to be written when it is read, in the other."""
        rounds = range(-(-self.target.layout.chunks // self.n_split))
        order = [(round_, batch) for round_ in rounds for batch in batches]
        for array in range(self.floor.n_arrays):
            made: dict[tuple[int, int], list[Ints]] = {}
            for i, (round_, batch) in enumerate(order):
                n = self.chunk_of(array, round_)
                outputs = batch.outputs[self.share_of(batch, array)]
                if n is None:
                    continue
                half = (
                    len(outputs) // 2
                    if len(order) == 1
                    else 0
                    if 2 * i >= len(order)
                    else len(outputs)
                )
                made.setdefault((n, 0), []).append(outputs[:half])
                made.setdefault((n, 1), []).append(outputs[half:])
            for (n, bank), parts in made.items():
                self.s.place(self.target, array, np.concatenate(parts), n, bank)

    def batch(self, batch: Batch, round_: int) -> None:
        """All runs of a batch, for the output chunks of one round."""
        floor = self.floor
        total, done = sum(len(run.inputs) for run in batch.runs), 0
        length = batch.length
        # Arrays of one side with different output chunks need their constants at different cycles.
        apart = length * floor.interval_cycles if self.n_split > 2 else 0
        for run in batch.runs:
            self._load(run, round_, apart)
            for array in range(floor.n_arrays):
                n = self.chunk_of(array, round_)
                share = self.share_of(batch, array)
                if n is None or not len(share):
                    continue
                start = self.start + apart * floor.lane_of_side(array)
                for i, inputs in enumerate(run.inputs):
                    time = start + (i * length + np.arange(len(share))) * floor.interval_cycles
                    self._pass(array, run.k, inputs[share], time)
                    self._accumulate(array, time, done + i, total)
                    if done + i == total - 1:
                        self._emit(array, n, batch.outputs[share], time)
            if done + len(run.inputs) == total:
                self._constants(batch, round_, apart, (len(run.inputs) - 1) * length)
            done += len(run.inputs)
            self.start += len(run.inputs) * length * floor.interval_cycles
            self._breathe(run, batch, round_, emits=done == total)
        self.draft.pass_end = self.start + apart

    def _breathe(self, run: Run, batch: Batch, round_: int, *, emits: bool) -> None:
        """A cycle without a pass where reads or writes in many pieces would starve their queue of text."""
        pieces = 0
        for array in range(self.floor.n_arrays):
            share, n = self.share_of(batch, array), self.chunk_of(array, round_)
            if n is not None and len(share):
                found = sum(_pieces(self.source, inputs[share], run.k) for inputs in run.inputs)
                if emits:
                    found = max(found, _pieces(self.target, batch.outputs[share], n))
                pieces = max(pieces, found)
        self.dense_words += 2 * pieces
        if self.dense_words > _DENSE_WORDS:
            self.start, self.dense_words = self.start + 1, 0

    def _load(self, run: Run, round_: int, apart: int) -> None:
        """Bring the run's tiles behind those in use, and install them just before its first pass."""
        floor, draft = self.floor, self.draft
        groups = -(-self.maker.n_columns // 16)
        cycles = load_cycles(floor, groups, self.n_split)
        begin = -cycles - 1 if self.is_first else draft.load_end
        if self.is_first:
            draft.first_load_cycles = cycles
        else:
            self.start = max(self.start, begin + cycles + 1)
        draft.load_cycles += cycles
        for side in (0, 1):
            at = begin
            arrays = [a for a in range(floor.n_arrays) if floor.side(a) == side]
            sharing = [arrays] if self.n_split <= 2 else [[a] for a in arrays]
            for group in sharing:
                n = self.chunk_of(group[0], round_)
                if n is None:
                    continue
                key = TileKey(n=n, k=run.k, placements=run.placements, has_bias=run.has_bias)
                tile = self._tile(side, key)
                for byte in range(floor.element_bytes):
                    planes = [floor.plane(a) + byte for a in group]
                    time = at + np.arange(tile.groups)
                    self._bring(side, planes, tile.word + byte * tile.groups, time)
                    at += tile.groups
                for array in group:
                    install = np.array([self.start - 1 + apart * floor.lane_of_side(array)])
                    for byte in range(floor.element_bytes):
                        queue = floor.mxm_queue[floor.plane(array) + byte, Unit.MXM_W]
                        draft.issues.add("iw", queue, install)
        self.n_loads += 1
        draft.load_end = self.start + apart + (self.n_loads % _LOADS_A_BREATH == 0)
        self.is_first = False

    def _tile(self, side: int, key: TileKey) -> Loaded:
        if (side, key) not in self.tiles:
            self.tiles[side, key] = self.store.put_tile(side, self.maker.tile(key))
        return self.tiles[side, key]

    def _bring(self, side: int, planes: list[int], word: int, time: Ints) -> None:
        floor, stream = self.floor, self.floor.weight_stream(side)
        n = np.arange(len(time))
        for i in range(16):
            slice_ = floor.weight_slice(side, i)
            when = time - floor.read_to_array_cycles(slice_, side)
            self.draft.issues.add("read", slice_.queue, when, a=word + n, b=stream + i)
        for plane in planes:
            self.draft.issues.add("lw", floor.mxm_queue[plane, Unit.MXM_W], time, a=stream, b=n)

    def _pass(self, array: int, k: int, index: Ints, time: Ints) -> None:
        """Activations to an array, and through it."""
        floor, draft, tensor = self.floor, self.draft, self.source
        side, stream = floor.side(array), floor.activation_stream(array)
        queue = floor.mxm_queue[floor.plane(array), Unit.MXM_A]
        draft.issues.add("abc", queue, time, a=stream, b=int(self.type))
        draft.passes += len(time)
        outside = index < 0
        spare = (array + floor.n_arrays // 2) % floor.n_arrays
        writer = np.where(outside, spare, tensor.chain[index, k])
        word = np.where(outside, tensor.rest_word, tensor.word[index, k])
        ready = np.where(outside, -1, tensor.ready[index, k])
        copy = array if tensor.copies > 1 else 0
        for chain in range(floor.n_arrays):
            here = writer == chain
            if not here.any():
                continue
            for byte in range(tensor.element_bytes):
                slice_ = floor.set_slice(tensor.set, chain, copy * tensor.element_bytes + byte)
                when = time[here] - floor.read_to_array_cycles(slice_, side)
                draft.issues.add("read", slice_.queue, when, a=word[here], b=stream + byte)
                written = ready[here] >= 0
                draft.needs.append((ready[here][written] + slice_.hops, when[written]))

    def _accumulate(self, array: int, time: Ints, nth: int, total: int) -> None:
        floor = self.floor
        flags = (ADD if nth else 0) | (EMIT if nth == total - 1 else KEEP)
        entry = np.arange(len(time)) if total > 1 else 0
        self.draft.issues.add(
            "acc",
            floor.mxm_queue[floor.plane(array), Unit.MXM_C],
            time + floor.sum_cycles,
            a=entry,
            b=floor.sum_stream(array) if flags & EMIT else 0,
            c=flags,
            d=int(Type.F32 if floor.is_f16 else Type.I32),
        )

    def _emit(self, array: int, n: int, outputs: Ints, time: Ints) -> None:
        """Sums through the array's chain into memory."""
        s, alu_cycles = self.s, self.s.chip.vxm.alu_cycles
        first = time + self.floor.to_chain_cycles
        ops = self._operations(array)
        extra = np.zeros(len(time), np.int64)
        at = first + (len(ops) - 1) * alu_cycles
        if self.residual is not None:
            index = [operand for _, operand in ops].index(_RESIDUAL)
            extra = s.bring(self.draft, self.residual, outputs, n, array, 0, first + index * alu_cycles)  # fmt: skip
        for i, (name, operand) in enumerate(ops):
            self._operation(array, i, name, operand, extra, first + i * alu_cycles, is_last=i == len(ops) - 1)  # fmt: skip
        self.draft.vxm_operations += len(ops) * len(time)
        s.write(self.draft, self.target, outputs, n, array, first, at)

    def _operations(self, array: int) -> list[tuple[str, int]]:
        """Mnemonic and second operand of each operation of a chain (0: none, `_RESIDUAL`)."""
        side = self.floor.side(array)
        factor = vxm_operand(STREAM, Type.F16, self.floor.constant_stream(side, 0))
        summand = vxm_operand(STREAM, Type.F16, self.floor.constant_stream(side, 2))
        if self.floor.is_f16:
            ops = [("add", summand)]
            ops += [("add", _RESIDUAL)] if self.residual is not None else []
            return [*ops, ("relu", 0)] if self.conv.relu else ops
        ops = [("itof", 0), ("mul", factor)]
        if self.is_final:
            return [*ops, ("add", summand), *([("relu", 0)] if self.conv.relu else [])]
        if self.residual is not None:
            return [*ops, ("ftoi", 0), ("addi", _RESIDUAL)]
        return [*ops, ("add", summand), ("ftoi", 0)]

    def _operation(
        self, array: int, i: int, name: str, operand: int, extra: Ints, time: Ints, *, is_last: bool
    ) -> None:
        floor = self.floor
        alu = ALUS_OF_CHAIN * array + i
        whole = name in ("itof", "addi")
        if i == 0:
            x = vxm_operand(STREAM, Type.I32 if whole else Type.F32, floor.sum_stream(array))
        else:
            x = vxm_operand(ALU, Type.I32 if whole else Type.F32, alu - 1)
        y: Ints | int = operand if operand >= 0 else vxm_operand(STREAM, self.type) + extra
        result = self.type if not self.is_final else Type.F16
        inner = Type.I32 if name in ("ftoi", "addi") else Type.F32
        z = vxm_operand(STREAM, result, floor.result_stream(array)) if is_last else vxm_operand(NONE, inner)  # fmt: skip
        columns = {"a": x, "c": z} | ({"b": y} if operand else {})
        self.draft.issues.add(name, floor.alu_queue[alu], time, **columns)

    def _constants(self, batch: Batch, round_: int, apart: int, before: int) -> None:
        """Factors and summands to the VXM, once for all chains of a side that work on one output chunk."""
        floor, alu_cycles = self.floor, self.s.chip.vxm.alu_cycles
        for side in (0, 1):
            wanted: dict[int, tuple[int, int]] = {}
            for array in range(floor.n_arrays):
                n = self.chunk_of(array, round_)
                if floor.side(array) == side and n is not None:
                    length = len(self.share_of(batch, array))
                    start = self.start + apart * floor.lane_of_side(array)
                    wanted[n] = max(wanted.get(n, (0, 0)), (length, start))
            for n, (length, start) in wanted.items():
                sums = start + (before + np.arange(length)) * floor.interval_cycles
                for which in (0, 1):
                    operand = vxm_operand(STREAM, Type.F16, floor.constant_stream(side, 2 * which))
                    mine = self._operations(0 if side == 0 else floor.n_arrays - 1)
                    index = [i for i, (_, y) in enumerate(mine) if y == operand]
                    if not index:
                        continue
                    time = sums + floor.to_chain_cycles + index[0] * alu_cycles
                    for byte in (2 * which, 2 * which + 1):
                        slice_ = floor.constant_slice(side, byte)
                        when = time - floor.read_to_vxm_cycles(slice_)
                        self.draft.issues.add("read", slice_.queue, when, a=self.constants[n], b=floor.constant_stream(side, byte))  # fmt: skip


def _lateness(source: Tensor, run: Run, n_shares: int) -> int:
    """By when the vectors of a run are there, if they are read one a cycle, about. Runs that can start early come first."""
    latest = 0
    for inputs in run.inputs:
        ready = np.where(inputs < 0, 0, source.ready[inputs, run.k])
        turn = np.arange(len(inputs)) % -(-len(inputs) // n_shares)
        latest = max(latest, int((ready - turn).max(initial=0)))
    return latest


def _pieces(tensor: Tensor, index: Ints, k: int) -> int:
    """Instructions that it takes to read or write these vectors, about."""
    word = np.where(index < 0, tensor.rest_word, tensor.word[index, k])
    step = np.diff(word + (tensor.chain[index, k] << 20))
    return 1 + int(np.count_nonzero(np.diff(step)) + 1) // 2
