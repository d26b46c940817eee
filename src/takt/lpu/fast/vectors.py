"""VXM instructions on the tape: operands to 32-bit words, the operation, its result to the type of the stream.

Words that go from one ALU to another, or straight from the MXM's accumulators, are never taken apart into bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from takt.lpu.fast.codes import LANES, Code
from takt.lpu.fast.scene import AFTER, BEFORE, Scene
from takt.lpu.fast.sources import PLANES
from takt.lpu.isa.table import ALU, IMM, ROWS, STREAM, Type, Unit

Ints = NDArray[np.int64]

_BINARY_OPS = np.array([row.op for row in ROWS if row.n_sources == 2])
_WIDEN = {Type.F16: Code.WIDEN16, Type.I8: Code.WIDEN_I8, Type.U8: Code.WIDEN_U8}
_NARROW = {Type.F16: Code.NARROW16, Type.I8: Code.NARROW_I8, Type.U8: Code.NARROW_U8}
_WIDE_TYPES = (Type.F32, Type.I32)


def lift_vxm(scene: Scene, vxm: Ints) -> None:
    """Emit all VXM issues."""
    issues, tape = scene.issues, scene.tape
    binary = np.isin(issues.op[vxm], _BINARY_OPS)
    y = np.zeros(len(vxm), np.int64)  # operations of one operand have zeros for the other
    # One block, so that an operand that several issues sample is widened once.
    both = np.concatenate([vxm, vxm[binary]])
    n = len(vxm)
    value = np.concatenate([issues.a[vxm], issues.b[vxm[binary]]])
    operand = np.repeat([0, 1], [n, len(both) - n])
    words = _operands(scene, vxm, both, value, operand)
    y[binary] = words[n:]
    args = np.stack([words[:n], y], axis=1)
    tape.emit(
        issues.op[vxm].astype(np.int64), scene.key(vxm), args, issue=vxm, into=scene.word[vxm]
    )
    _narrow(scene, vxm)


def _operands(
    scene: Scene, vxm: Ints, issue: Ints, value: NDArray[np.int32], operand: Ints
) -> Ints:
    """Words of operands, given as issue, encoded operand, and whether it is the first or second."""
    words = np.zeros(len(issue), np.int64)
    kind, type_ = value >> 10 & 3, value >> 7 & 7
    immediate, alu = kind == IMM, np.flatnonzero(kind == ALU)
    words[immediate] = scene.tape.constant(scene.imm[issue[immediate]])
    if len(alu):
        first = next(queue.number for queue in scene.queues if queue.unit is Unit.VXM)
        time = scene.issues.time[issue[alu]] - scene.chip.vxm.alu_cycles
        queue = first + (value[alu] & 127)
        words[alu] = scene.word[scene.dispatched(queue, time, vxm)]
    for each in Type:
        chosen = np.flatnonzero((kind == STREAM) & (type_ == each))
        if len(chosen):
            plane = scene.sources.of(issue[chosen], operand[chosen], each.n_streams)
            words[chosen] = _widen(scene, each, plane, issue[chosen])
    return words


def _widen(scene: Scene, type_: Type, plane: Ints, issue: Ints) -> Ints:
    """Words of stream operands of one type."""
    if type_ not in _WIDE_TYPES:
        return _widen_planes(scene, type_, plane, issue)
    words = _words_behind(scene, plane)
    other = np.flatnonzero(words < 0)
    words[other] = _widen_planes(scene, type_, plane[other], issue[other])
    return words


def _words_behind(scene: Scene, plane: Ints) -> Ints:
    """References to words where four planes are the bytes of one 32-bit result, in order; −1 elsewhere."""
    whole = plane[:, 0] % PLANES == 0
    whole &= np.all(plane == plane[:, :1] + np.arange(4), axis=1)
    return np.where(whole, scene.word[plane[:, 0] // PLANES], -1)


def _widen_planes(scene: Scene, type_: Type, plane: Ints, issue: Ints) -> Ints:
    """Words made from planes: one operation for each distinct set of planes, at its first use."""
    if not len(plane):
        return np.zeros(0, np.int64)
    order = np.lexsort((scene.key(issue), *plane.T))
    first = np.ones(len(plane), np.bool_)
    first[1:] = np.any(plane[order[1:]] != plane[order[:-1]], axis=1)
    chosen = order[first]
    made = scene.tape.emit(
        _WIDEN.get(type_, Code.JOIN),
        scene.key(issue[chosen], BEFORE),
        scene.planes_of(plane[chosen]),
        issue=issue[chosen],
    )
    words = np.zeros(len(plane), np.int64)
    words[order] = made[np.cumsum(first) - 1]
    return words


def _narrow(scene: Scene, vxm: Ints) -> None:
    """Results that go to a stream."""
    c = scene.issues.c[vxm]
    streams, kind = c >> 10 & 3 == STREAM, c >> 7 & 7
    scene.split(vxm[streams & np.isin(kind, [int(t) for t in _WIDE_TYPES])])
    for type_, code in _NARROW.items():
        issue = vxm[streams & (kind == type_)]
        args = scene.word[issue][:, np.newaxis]
        size = type_.n_streams * LANES
        scene.tape.emit(
            code, scene.key(issue, AFTER), args, issue=issue, into=scene.plane[issue], size=size
        )
