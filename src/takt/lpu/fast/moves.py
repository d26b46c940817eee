"""MEM, SXM and C2C instructions on the tape: everything that moves bytes and computes nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from takt.lpu.fast.codes import LANES, Code
from takt.lpu.fast.links import LinkEvent
from takt.lpu.fast.scene import Scene
from takt.lpu.fast.tape import OFFSET_BITS, Placed, in_memory
from takt.lpu.isa.table import BY_NAME, WRAP

Ints = NDArray[np.int64]

_MEM_READS = ("read", "readwrite")
_SXM: dict[str, tuple[Code, str]] = {
    "shift": (Code.SHIFT, "d"),
    "select": (Code.SELECT, "imm"),
    "permute": (Code.PERMUTE, "d"),
    "distribute": (Code.DISTRIBUTE, ""),
    "transpose": (Code.TRANSPOSE, ""),
    "rotate": (Code.ROTATE, "c"),
}
"""Opcode of each instruction, and the column with its width in the low bits."""

MOVES = (*_MEM_READS, "gather", "receive", *_SXM)
"""Instructions that drive streams with bytes they got somewhere."""


def lift_memory(scene: Scene) -> None:
    """Reads, writes, gathers and scatters; slices are numbered as their queues."""
    reads, writes = scene.of(*_MEM_READS), scene.of("write")
    both, gathers, scatters = scene.of("readwrite"), scene.of("gather"), scene.of("scatter")
    issues = scene.issues
    source = in_memory(_word_offset(scene, reads, issues.a))[:, np.newaxis]
    scene.tape.emit(
        Code.READ, scene.key(reads), source, issue=reads, into=scene.plane[reads], size=LANES
    )
    for issue, address in ((writes, issues.a), (both, issues.c)):
        target = in_memory(_word_offset(scene, issue, address))
        scene.tape.emit(
            Code.WRITE,
            scene.key(issue, writes=True),
            scene.inputs(issue, 0, 1),
            issue=issue,
            target=target,
        )
    base = in_memory(_word_offset(scene, gathers, issues.a * 0))[:, np.newaxis]
    args = np.concatenate([scene.inputs(gathers, 0, 2), base], axis=1)
    into = scene.plane[gathers]
    scene.tape.emit(
        Code.GATHER,
        scene.key(gathers),
        args,
        issue=gathers,
        into=into,
        size=LANES,
        imm=issues.c[gathers],
    )
    base = in_memory(_word_offset(scene, scatters, issues.a * 0))[:, np.newaxis]
    args = np.concatenate(
        [scene.inputs(scatters, 0, 2), scene.inputs(scatters, 1, 1), base], axis=1
    )
    for only_look in (1, 0):
        key = scene.key(scatters, writes=not only_look)
        slices = issues.queue[scatters].astype(np.int64)
        scene.tape.emit(
            Code.SCATTER,
            key,
            args,
            issue=scatters,
            n=only_look,
            imm=issues.c[scatters],
            target=slices,
        )


def _word_offset(scene: Scene, issue: Ints, address: NDArray[np.int32]) -> Ints:
    """Byte offset in memory of each issue's word."""
    words = scene.chip.mem.words_per_slice
    slices = scene.issues.queue[issue].astype(np.int64)
    return (slices * words + address[issue]) * LANES


def lift_switches(scene: Scene) -> None:
    """Instructions that move bytes between lanes; one block for each instruction and width."""
    issues = scene.issues
    for name, (code, column) in _SXM.items():
        everyone = scene.of(name)
        width = np.ones(len(everyone), np.int64)
        if column:
            width = getattr(issues, column)[everyone].astype(np.int64) & 7
        for w in np.unique(width).tolist():
            _switch(scene, name, code, everyone[width == w], w)


def _switch(scene: Scene, name: str, code: Code, issue: Ints, width: int) -> None:
    """Operations of one instruction at one width."""
    issues, inputs = scene.issues, scene.inputs
    args = inputs(issue, 0, 16 if name == "transpose" else width)
    n: int | NDArray[np.generic] = width
    imm: NDArray[np.generic] = np.zeros(1)
    planes = width
    if name == "shift":
        wrap = issues.d[issue] & WRAP != 0
        imm = (issues.c[issue].astype(np.int64) & 0xFFFFFFFF) + (wrap.astype(np.int64) << 32)
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
    into = scene.plane[issue]
    scene.tape.emit(
        code, scene.key(issue), args, issue=issue, into=into, size=planes * LANES, n=n, imm=imm
    )


def lift_links(scene: Scene) -> None:
    """Copies from and to the slots of the links' vectors."""
    sends = scene.issues.op[scene.links] == BY_NAME["send"].op
    slots = scene.tape.slots()
    issue = scene.links[sends]
    scene.tape.emit(
        Code.SEND, scene.key(issue), scene.inputs(issue, 0, 1), issue=issue, target=slots[sends]
    )
    issue, slot = scene.links[~sends], slots[~sends][:, np.newaxis]
    scene.tape.emit(
        Code.RECEIVE, scene.key(issue), slot, issue=issue, into=scene.plane[issue], size=LANES
    )


def link_events(scene: Scene, placed: Placed) -> tuple[LinkEvent, ...]:
    """Sends and receives in the order in which links see them."""
    issues, ops = scene.issues, placed.ops
    arg_of = np.full(len(issues), -1, np.int64)
    receives = np.flatnonzero(ops.code == Code.RECEIVE)
    arg_of[ops.issue[receives]] = (np.cumsum(ops.n_args) - ops.n_args)[receives]
    before = np.searchsorted(ops.key, scene.key(scene.links))
    slots = placed.offset[scene.tape.slots() >> OFFSET_BITS]
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
        for nth, i in enumerate(scene.links)
    )
