"""From a proved program to a tape: streams, cycles and queues go, values and their order stay.

Every issue becomes at most a few operations on vectors: widen the operands, compute, narrow or split the result. Their
order is that of dispatch; within a cycle everything that reads comes before everything that writes memory, as on the
machine. Byte vectors on streams are *planes*; results of ALUs and accumulators are also held as 32-bit *words*.

The parts: `scene` (what all share), `sources` (who produced a sample), `vectors` (VXM), `matrices` and `weights` (MXM),
`moves` (MEM, SXM, C2C), `tape` (passes over the whole). It trusts the proof of the program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.fast.links import LinkEvent
from takt.lpu.fast.matrices import Matrices
from takt.lpu.fast.moves import MOVES, lift_links, lift_memory, lift_switches, link_events
from takt.lpu.fast.scene import VXM_OPS, Scene
from takt.lpu.fast.tape import Placed, Tiles, drop_unused, place, share_memory
from takt.lpu.fast.vectors import lift_vxm
from takt.lpu.isa.program import Program
from takt.lpu.machine.timing import Issues, expand


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifted:
    """A tape without pointers; the operations' `issue` counts in `issues`."""

    placed: Placed
    tiles: Tiles
    constants: NDArray[np.uint32]
    issues: Issues
    links: tuple[LinkEvent, ...]


def lift(program: Program, chip: Chip) -> Lifted:
    """Lift a program that has been proved free of hazards. ProgramError where it evidently has not."""
    scene = Scene(expand(program), chip)
    tape, tiles = scene.tape, _emit(scene)
    ops = drop_unused(tape.ops(), tiles, tape.n_values)
    ops, tiles = share_memory(ops, tiles, tape.n_values, chip.mem.words_per_slice)
    placed = place(ops, tiles, tape.n_values, tape.n_fixed)
    return Lifted(
        placed=placed,
        tiles=tiles,
        constants=tape.constants,
        issues=scene.issues,
        links=link_events(scene, placed),
    )


def _emit(scene: Scene) -> Tiles:
    """Write all operations. Results are reserved first: an operand may be named before its producer is emitted."""
    tape = scene.tape
    vxm, acc = np.flatnonzero(np.isin(scene.issues.op, VXM_OPS)), scene.of("acc")
    scene.word[vxm] = tape.reserve(len(vxm))
    for issue in (vxm, acc, scene.of(*MOVES)):
        scene.plane[issue] = tape.reserve(len(issue))
    matrices = Matrices(scene, acc)
    lift_vxm(scene, vxm)
    lift_memory(scene)
    lift_switches(scene)
    lift_links(scene)
    return matrices.emit()
