"""From a proved program to a tape: streams, cycles and queues go, values and their order stay.

Every issue becomes at most a few operations on vectors: widen the operands, compute, narrow or split the result. Their
order is that of dispatch; within a cycle everything that reads comes before everything that writes memory, as on the
machine. Byte vectors on streams are *planes*; results of ALUs and accumulators are also held as 32-bit *words*, so that a
value that goes from one to another is not taken apart.

Planes of the MXM (weights) are `weights.py`'s, the passes over the tape `tape.py`'s. It trusts the proof of the program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.fast.codes import LANES, WORD_BYTES, Code
from takt.lpu.fast.links import LinkEvent
from takt.lpu.fast.sources import PLANES, Sources, find_sources
from takt.lpu.fast.tape import (
    OFFSET_BITS,
    Builder,
    Placed,
    Tiles,
    drop_unused,
    in_memory,
    place,
    share_memory,
)
from takt.lpu.fast.weights import Products, find_products
from takt.lpu.isa.program import Program, Queue, queues
from takt.lpu.isa.table import ADD, ALU, BY_NAME, EMIT, IMM, KEEP, ROWS, STREAM, WRAP, Type, Unit
from takt.lpu.machine.timing import Issues, Timing, expand

Ints = NDArray[np.int64]

_VXM_OPS = np.array([row.op for row in ROWS if row.unit is Unit.VXM])
_BINARY_OPS = np.array([row.op for row in ROWS if row.n_sources == 2])
_MEM_READS = ("read", "readwrite")
_WIDEN = {Type.F16: Code.WIDEN16, Type.I8: Code.WIDEN_I8, Type.U8: Code.WIDEN_U8}
_NARROW = {Type.F16: Code.NARROW16, Type.I8: Code.NARROW_I8, Type.U8: Code.NARROW_U8}
_WIDE_TYPES = (Type.F32, Type.I32)

_BEFORE, _COMPUTE, _AFTER = 0, 1, 2  # widening, the operation itself, narrowing
_QUEUE_BITS, _PART_BITS = 16, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifted:
    """A tape without pointers. `time` and `queue` tell of which issue each operation is."""

    placed: Placed
    tiles: Tiles
    constants: NDArray[np.uint32]
    issues: Issues
    links: tuple[LinkEvent, ...]


def lift(program: Program, chip: Chip) -> Lifted:
    """Lift a program that has been proved free of hazards. ProgramError where it evidently has not."""
    issues = expand(program)
    lifter = _Lifter(issues, chip)
    lifter.lift()
    ops = lifter.tape.ops()
    n_values = lifter.tape.n_values
    ops = drop_unused(ops, lifter.products.tiles, n_values)
    ops, tiles = share_memory(ops, lifter.products.tiles, n_values, chip.mem.words_per_slice)
    placed = place(ops, tiles, n_values, lifter.tape.n_fixed)
    return Lifted(
        placed=placed,
        tiles=tiles,
        constants=lifter.tape.constants,
        issues=issues,
        links=lifter.link_events(placed),
    )


class _Lifter:
    """One program on its way to the tape. `plane` and `word` hold the references to each issue's results."""

    def __init__(self, issues: Issues, chip: Chip) -> None:
        self.issues = issues
        self.chip = chip
        self.timing = Timing(chip)
        self.queues: tuple[Queue, ...] = queues(chip)
        self.sources: Sources = find_sources(issues, self.queues, self.timing)
        imm = (issues.imm & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        self.imm = imm
        links = self.of("send", "receive")
        # A vector sent in a cycle is there from the next one on.
        self.links = links[
            np.lexsort(
                (issues.queue[links], issues.op[links] == BY_NAME["send"].op, issues.time[links])
            )
        ]
        self.tape = Builder(np.unique(imm[np.isin(issues.op, _VXM_OPS)]), len(links))
        self.plane = np.full(len(issues), -1, np.int64)
        self.word = np.full(len(issues), -1, np.int64)
        self.products: Products

    def lift(self) -> None:
        """Reserve all results first: an operand may be written before its producer is emitted."""
        vxm = np.flatnonzero(np.isin(self.issues.op, _VXM_OPS))
        acc = self.of("acc")
        self.word[vxm] = self.tape.reserve(len(vxm))
        self.plane[vxm] = self.tape.reserve(len(vxm))
        self.plane[acc] = self.tape.reserve(len(acc))
        moves = [self.of(name) for name in ("read", "readwrite", "gather", "receive", *_SXM)]
        for issue in moves:
            self.plane[issue] = self.tape.reserve(len(issue))
        self.products = find_products(self.issues, self.queues, self.chip, self.sources)
        self.lift_products(acc)
        self.products = self.products.named(self.planes_of)
        self.lift_matrices()
        self.lift_accumulators(acc)
        self.lift_vxm(vxm)
        self.lift_memory()
        self.lift_switches()
        self.lift_links()

    # What all share

    def of(self, *names: str) -> Ints:
        """Issues of these instructions."""
        return np.flatnonzero(np.isin(self.issues.op, [BY_NAME[name].op for name in names]))

    def key(self, issue: Ints, part: int = _COMPUTE, *, writes: bool = False) -> Ints:
        """Place in the order: cycle, reads before writes, queue, part."""
        key = self.issues.time[issue] * 2 + writes
        key = (key << _QUEUE_BITS) + self.issues.queue[issue]
        return (key << _PART_BITS) + part

    def planes_of(self, plane: Ints) -> Ints:
        """References to planes as `Sources` names them; −1 is the vector of zeros."""
        issue = np.maximum(plane, 0) // PLANES
        return np.where(plane < 0, 0, self.plane[issue] + plane % PLANES * LANES)

    def inputs(self, issue: Ints, operand: int, width: int) -> Ints:
        """References [issues, width] to the planes of one operand."""
        return self.planes_of(self.sources.of(issue, operand, width))

    def at(self, queue: Ints, time: Ints, candidates: Ints) -> Ints:
        """Among the candidates, the issue that each queue dispatched at each time (the proof says there is one)."""
        when = self.issues.time[candidates] << _QUEUE_BITS | self.issues.queue[candidates]
        order = np.argsort(when)
        at = np.searchsorted(when[order], time << _QUEUE_BITS | queue)
        return candidates[order[np.minimum(at, len(order) - 1)]]

    # MXM

    def lift_products(self, acc: Ints) -> None:
        """Give every result of `abc` its reference, and with them every `acc` its words."""
        products, size = self.products, self.products.batch_rows * WORD_BYTES
        self.batch_value = self.tape.reserve(len(size))
        self.word[products.abc] = self.batch_value[products.batch] + products.row * WORD_BYTES
        before = self.chip.mxm.activation_to_result_cycles
        # The queues of a plane are numbered w, a, c.
        self.result = np.zeros(len(acc), np.int64)
        if len(acc):
            taken = self.at(
                self.issues.queue[acc] - 1, self.issues.time[acc] - before, products.abc
            )
            self.result = self.word[taken]
        adds = self.issues.c[acc] & ADD != 0
        self.word[acc] = self.result
        self.word[acc[adds]] = self.tape.reserve(int(adds.sum()))

    def lift_matrices(self) -> None:
        """One operation for each batch of activations, at the dispatch of its last one."""
        products = self.products
        for is_f16, code, width in ((True, Code.MATRIX_F16, 2), (False, Code.MATRIX_I8, 1)):
            for rows in np.unique(products.batch_rows).tolist():
                chosen = (products.tiles.is_f16[products.batch_tile] == is_f16) & (
                    products.batch_rows == rows
                )
                batch = np.flatnonzero(chosen)
                if not len(batch):
                    continue
                abc = products.abc[products.batch_first[batch][:, np.newaxis] + np.arange(rows)]
                args = self.inputs(abc.reshape(-1), 0, width).reshape(len(batch), rows * width)
                self.tape.emit(
                    code,
                    self.key(abc[:, -1]),
                    args,
                    issue=abc[:, -1],
                    into=self.batch_value[batch],
                    size=rows * WORD_BYTES,
                    n=rows,
                    imm=products.batch_tile[batch],
                )

    def lift_accumulators(self, acc: Ints) -> None:
        """Entries are values too: each `acc` that adds refers to the last one that kept."""
        issues = self.issues
        flags = issues.c[acc]
        order = np.lexsort((issues.time[acc], issues.a[acc], issues.queue[acc]))
        entry = issues.queue[acc][order].astype(np.int64) << 32 | issues.a[acc][order]
        kept = np.where(flags[order] & KEEP != 0, np.arange(len(acc)), -1)
        before = np.full(len(acc), -1, np.int64)
        before[1:] = np.maximum.accumulate(kept)[:-1]
        known = (before >= 0) & (entry[before] == entry)
        old = np.zeros(len(acc), np.int64)
        old[order] = np.where(known, self.word[acc[order[before]]], 0)
        for code, types in (
            (Code.ACC_F32, (Type.F32, Type.F16)),
            (Code.ACC_I32, (Type.I32, Type.I8, Type.U8)),
        ):
            adds = (flags & ADD != 0) & np.isin(issues.d[acc], [int(t) for t in types])
            issue = acc[adds]
            args = np.stack([old[adds], self.result[adds]], axis=1)
            self.tape.emit(code, self.key(issue), args, issue=issue, into=self.word[issue])
        self.split(acc[flags & EMIT != 0])

    def split(self, issue: Ints) -> None:
        """Planes of 32-bit words; dropped again where nobody wants the bytes one by one."""
        args = self.word[issue][:, np.newaxis]
        self.tape.emit(
            Code.SPLIT, self.key(issue, _AFTER), args, issue=issue, into=self.plane[issue]
        )

    # VXM

    def lift_vxm(self, vxm: Ints) -> None:
        """Operands to words, the operation, the result to the type of its stream."""
        issues = self.issues
        binary = np.isin(issues.op[vxm], _BINARY_OPS)
        self.widened: dict[str, Ints] = {
            "a": np.zeros(len(issues), np.int64),
            "b": np.zeros(len(issues), np.int64),
        }
        uses = ((vxm, "a", 0), (vxm[binary], "b", 1))
        for issue, column, _ in uses:
            self.immediates_and_alus(vxm, issue, column)
        for type_ in Type:
            self.widen(type_, uses)
        for issue in (vxm[~binary], vxm[binary]):
            x, y = self.widened["a"][issue], self.widened["b"][issue]
            args = np.stack([x, y], axis=1)
            self.tape.emit(
                issues.op[issue].astype(np.int64),
                self.key(issue),
                args,
                issue=issue,
                into=self.word[issue],
            )
        self.narrow(vxm)

    def immediates_and_alus(self, vxm: Ints, issue: Ints, column: str) -> None:
        """Operands that are not streams; an ALU's result is that of `alu_cycles` before."""
        value = getattr(self.issues, column)[issue]
        kind = value >> 10 & 3
        chosen = issue[kind == IMM]
        self.widened[column][chosen] = self.tape.constant(self.imm[chosen])
        chosen = issue[kind == ALU]
        if len(chosen):
            first = next(queue.number for queue in self.queues if queue.unit is Unit.VXM)
            time = self.issues.time[chosen] - self.chip.vxm.alu_cycles
            queue = first + (value[kind == ALU] & 127).astype(np.int64)
            self.widened[column][chosen] = self.word[self.at(queue, time, vxm)]

    def widen(self, type_: Type, uses: tuple[tuple[Ints, str, int], ...]) -> None:
        """All stream operands of one type; what several instructions sample is widened once, for the first."""
        parts, planes = [], []
        for issue, column, operand in uses:
            value = getattr(self.issues, column)[issue]
            mine = issue[(value >> 10 & 3 == STREAM) & (value >> 7 & 7 == type_)]
            found = (
                self.sources.of(mine, operand, type_.n_streams)
                if len(mine)
                else np.zeros((0, type_.n_streams), np.int64)
            )
            parts.append((mine, column))
            planes.append(found)
        plane = np.concatenate(planes)
        words = (
            self.words_behind(plane) if type_ in _WIDE_TYPES else np.full(len(plane), -1, np.int64)
        )
        other = np.flatnonzero(words < 0)
        issue = np.concatenate([mine for mine, _ in parts])
        words[other] = self.widen_planes(type_, plane[other], issue[other])
        end = 0
        for mine, column in parts:
            self.widened[column][mine] = words[end : end + len(mine)]
            end += len(mine)

    def words_behind(self, plane: Ints) -> Ints:
        """References to words where four planes are the bytes of one 32-bit result, in order; −1 elsewhere."""
        whole = plane[:, 0] % PLANES == 0
        whole &= np.all(plane == plane[:, :1] + np.arange(4), axis=1)
        return np.where(whole, self.word[plane[:, 0] // PLANES], -1)

    def widen_planes(self, type_: Type, plane: Ints, issue: Ints) -> Ints:
        """Words made from planes: one operation for each distinct set of planes, at its first use."""
        if not len(plane):
            return np.zeros(0, np.int64)
        order = np.lexsort((self.key(issue), *plane.T))
        first = np.ones(len(plane), np.bool_)
        first[1:] = np.any(plane[order[1:]] != plane[order[:-1]], axis=1)
        chosen = order[first]
        made = self.tape.emit(
            _WIDEN.get(type_, Code.JOIN),
            self.key(issue[chosen], _BEFORE),
            self.planes_of(plane[chosen]),
            issue=issue[chosen],
        )
        words = np.zeros(len(plane), np.int64)
        words[order] = made[np.cumsum(first) - 1]
        return words

    def narrow(self, vxm: Ints) -> None:
        """Results that go to a stream."""
        c = self.issues.c[vxm]
        streams, kind = c >> 10 & 3 == STREAM, c >> 7 & 7
        self.split(vxm[streams & np.isin(kind, [int(t) for t in _WIDE_TYPES])])
        for type_, code in _NARROW.items():
            issue = vxm[streams & (kind == type_)]
            args = self.word[issue][:, np.newaxis]
            size = type_.n_streams * LANES
            self.tape.emit(
                code, self.key(issue, _AFTER), args, issue=issue, into=self.plane[issue], size=size
            )

    # MEM

    def lift_memory(self) -> None:
        """Reads, writes, gathers and scatters; slices are numbered as their queues."""
        reads, writes = self.of(*_MEM_READS), self.of("write")
        both, gathers, scatters = self.of("readwrite"), self.of("gather"), self.of("scatter")
        issues = self.issues
        source = in_memory(self.word_offset(reads, issues.a))[:, np.newaxis]
        self.tape.emit(
            Code.READ, self.key(reads), source, issue=reads, into=self.plane[reads], size=LANES
        )
        for issue, address in ((writes, issues.a), (both, issues.c)):
            target = in_memory(self.word_offset(issue, address))
            self.tape.emit(
                Code.WRITE,
                self.key(issue, writes=True),
                self.inputs(issue, 0, 1),
                issue=issue,
                target=target,
            )
        base = in_memory(self.word_offset(gathers, issues.a * 0))[:, np.newaxis]
        args = np.concatenate([self.inputs(gathers, 0, 2), base], axis=1)
        into = self.plane[gathers]
        self.tape.emit(
            Code.GATHER,
            self.key(gathers),
            args,
            issue=gathers,
            into=into,
            size=LANES,
            imm=issues.c[gathers],
        )
        base = in_memory(self.word_offset(scatters, issues.a * 0))[:, np.newaxis]
        args = np.concatenate(
            [self.inputs(scatters, 0, 2), self.inputs(scatters, 1, 1), base], axis=1
        )
        for only_look in (1, 0):
            key = self.key(scatters, writes=not only_look)
            slices = issues.queue[scatters].astype(np.int64)
            self.tape.emit(
                Code.SCATTER,
                key,
                args,
                issue=scatters,
                n=only_look,
                imm=issues.c[scatters],
                target=slices,
            )

    def word_offset(self, issue: Ints, address: NDArray[np.int32]) -> Ints:
        """Byte offset in memory of each issue's word."""
        words = self.chip.mem.words_per_slice
        return (self.issues.queue[issue] * words + address[issue].astype(np.int64)) * LANES

    # SXM

    def lift_switches(self) -> None:
        """Instructions that move bytes between lanes; one block for each instruction and width."""
        issues = self.issues
        for name, (code, column) in _SXM.items():
            everyone = self.of(name)
            width = np.ones(len(everyone), np.int64)
            if column:
                width = getattr(issues, column)[everyone].astype(np.int64) & 7
            for w in np.unique(width).tolist():
                self.switch(name, code, everyone[width == w], w)

    def switch(self, name: str, code: Code, issue: Ints, width: int) -> None:
        """Operations of one instruction at one width."""
        issues, inputs = self.issues, self.inputs
        args, n, imm, planes = (
            inputs(issue, 0, 16 if name == "transpose" else width),
            width,
            np.zeros(1),
            width,
        )
        if name == "shift":
            wrap = (issues.d[issue] & WRAP != 0).astype(np.uint64)
            imm = (issues.c[issue].astype(np.int64) & 0xFFFFFFFF).astype(
                np.uint64
            ) | wrap << np.uint64(32)
        elif name == "select":
            args = np.concatenate([args, inputs(issue, 1, width), inputs(issue, 2, 1)], axis=1)
        elif name == "permute":
            args = np.concatenate([args, inputs(issue, 1, 2)], axis=1)
        elif name == "distribute":
            n, imm = issues.c[issue], issues.imm[issue]
        elif name == "rotate":
            planes = width * width
        elif name == "transpose":
            planes = 16
        into = self.plane[issue]
        self.tape.emit(
            code, self.key(issue), args, issue=issue, into=into, size=planes * LANES, n=n, imm=imm
        )

    # C2C

    def lift_links(self) -> None:
        """Copies from and to the slots of the links' vectors."""
        sends = self.issues.op[self.links] == BY_NAME["send"].op
        slots = self.tape.slots()
        issue = self.links[sends]
        self.tape.emit(
            Code.SEND, self.key(issue), self.inputs(issue, 0, 1), issue=issue, target=slots[sends]
        )
        issue, slot = self.links[~sends], slots[~sends][:, np.newaxis]
        self.tape.emit(
            Code.RECEIVE, self.key(issue), slot, issue=issue, into=self.plane[issue], size=LANES
        )

    def link_events(self, placed: Placed) -> tuple[LinkEvent, ...]:
        """Sends and receives in the order in which links see them."""
        issues, ops = self.issues, placed.ops
        arg_of = np.full(len(issues), -1, np.int64)
        receives = np.flatnonzero(ops.code == Code.RECEIVE)
        arg_of[ops.issue[receives]] = (np.cumsum(ops.n_args) - ops.n_args)[receives]
        before = np.searchsorted(ops.key, self.key(self.links))
        slots = placed.offset[self.tape.slots() >> OFFSET_BITS]
        return tuple(
            LinkEvent(
                cycle=int(issues.time[i]),
                queue=int(issues.queue[i]),
                row=int(issues.index[i]),
                link=int(issues.b[i]),
                sends=issues.op[i] == BY_NAME["send"].op,
                slot=int(slots[nth]),
                arg=int(arg_of[i]),
                op=int(before[nth]),
            )
            for nth, i in enumerate(self.links)
        )


_SXM: dict[str, tuple[Code, str]] = {
    "shift": (Code.SHIFT, "d"),
    "select": (Code.SELECT, "imm"),
    "permute": (Code.PERMUTE, "d"),
    "distribute": (Code.DISTRIBUTE, ""),
    "transpose": (Code.TRANSPOSE, ""),
    "rotate": (Code.ROTATE, "c"),
}
"""Opcode of each instruction, and the column with its width in the low bits."""
