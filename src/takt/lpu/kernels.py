"""Small programs whose cycles are published: the barrier of the whole chip, all weights into the MXM, an all-reduce.

Each is written out as assembly for the chip at hand, and run on the reference machine or proved, which has the last
word. A face of its own beside that of `lpu`.
"""

from __future__ import annotations

from takt.chips import Chip, System
from takt.errors import MachineFault, UnsupportedError
from takt.lpu.isa import Program
from takt.lpu.isa.asm import parse_program
from takt.lpu.isa.program import queues
from takt.lpu.machine import (
    Instance,
    Memory,
    ReferenceEngine,
    RunResult,
    SystemProgram,
    prove_system,
)

__all__ = ["all_reduce_cycles", "all_reduce_program", "barrier_cycles", "weight_load_cycles"]

MOST_BARRIER_CYCLES = 1024
ALL_SUPERLANES = "0xfffff"


def barrier_cycles(chip: Chip) -> int:
    """Cycles from a notify to the first in which every parked queue of the chip may go on.

    Found by trying: a cycle less is a fault of the machine. Raises the last of them if no cycle will do.
    """
    low, high = 0, MOST_BARRIER_CYCLES
    _barrier(chip, high)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _barrier(chip, middle)
            high = middle
        except MachineFault:
            low = middle
    return high


def _barrier(chip: Chip, cycles: int) -> None:
    """All queues but one park in the first cycles, that one notifies, all go on `cycles` later."""
    names = [queue.name for queue in queues(chip) if queue.name != "vxm.0"]
    notify = 5
    parked = [f"{i % 3}: {name} sync" for i, name in enumerate(names)]
    released = [f"{notify + cycles}: {name} config {ALL_SUPERLANES}" for name in names]
    _run(chip, [*parked, f"{notify}: vxm.0 notify", *released])


def weight_load_cycles(chip: Chip) -> int:
    """Cycles in which the weights of all planes get from SRAM into the arrays, read and transit included.

    The outermost slices stream to the planes beside them; cycles count to the last install, without the stagger over
    superlanes in which every instruction ends.
    """
    planes, streams = chip.mxm.planes // 2, chip.mxm.load_streams
    per_hop, outermost = chip.layout.slices_per_hop, chip.mem.slices_per_hemisphere
    words, first = chip.weight_load_cycles, outermost - planes * streams
    # As late as the innermost of these slices has to start, counted from the cycle in which it does.
    latest = first // per_hop
    lines = []
    arrive = chip.mem.read_cycles + chip.mxm_hops - chip.mem_hops(first)
    for side in ("w", "e"):
        for plane in range(planes):
            number = plane + planes * (side == "e")
            for i in range(streams):
                stream = streams * plane + i
                place = first + stream
                start = place // per_hop - latest
                lines.append(f"{start}: mem.{side}{place} read 0 {side}{stream} x{words} +1")
            lines.append(f"{arrive}: mxm.{number}.w lw {side}{streams * plane} g0 x{words} +1")
            lines.append(f"{arrive + words}: mxm.{number}.w iw")
    return _run(chip, lines).cycles - chip.stagger_cycles


def all_reduce_cycles(system: System, n_chips: int) -> int:
    """Cycles in which every chip of (a part of) a node has the sum of one vector of bytes from each."""
    return prove_system(all_reduce_program(system, n_chips)).cycles


def all_reduce_program(system: System, n_chips: int) -> SystemProgram:
    """Each chip sends word 0 of `mem.e40` to all others and writes the sum, as int32, to word 1 of `mem.e36` to `e39`.

    Vectors go over all links at once; what comes in is received as the chain of ALUs takes it, one add after the
    other. Raises UnsupportedError for more chips than a node, or than the chain, has.
    """
    chip = system.chip
    most = min(system.node.chips, chip.vxm.alus)
    if not 2 <= n_chips <= most or n_chips & (n_chips - 1):
        raise UnsupportedError(
            f"an all-reduce over {n_chips} chips: a power of two up to {most} is"
        )
    network = system.network(n_chips)
    program = _parse(chip, _all_reduce(system, n_chips))
    return SystemProgram(
        chip=chip,
        programs=(program,),
        instances=tuple(Instance(chip=i, program=0, start_cycle=0) for i in range(n_chips)),
        wires=network.wires,
    )


def _all_reduce(system: System, n_chips: int) -> list[str]:
    chip, network = system.chip, system.network(n_chips)
    others = range(1, n_chips)
    out = [network.links(0, j)[0].source_link for j in others]
    back = [network.links(j, 0)[0] for j in others]
    lines = [f"0: mem.e40 read 0 e0 x{n_chips - 1}"]
    sent = chip.mem.read_cycles + chip.sxm_hops - chip.mem_hops(40)
    lines += [f"{sent + i}: sxm.c2c.e0 send e0 link{link}" for i, link in enumerate(out)]
    # The last of them decides: every chip receives as fast as its chain adds.
    first = max(sent + i + 1 + wire.extra_cycles for i, wire in enumerate(back))
    first = max(first - chip.vxm.alu_cycles * (len(back) - 1), sent + 1 + back[0].extra_cycles)
    add = first + chip.c2c.link_cycles + chip.sxm_hops
    lines.append(f"{add - chip.mem.read_cycles - chip.mem_hops(40)}: mem.e40 read 0 w{len(back)}")
    for i, wire in enumerate(back):
        later = chip.vxm.alu_cycles * i
        lines.append(f"{first + later}: sxm.c2c.e1 receive w{i} link{wire.target_link}")
        left = f"a{i - 1}.i32" if i else f"w{len(back)}.u8"
        target = "e0.i32" if wire is back[-1] else "-"
        lines.append(f"{add + later}: vxm.{i} addi {left} w{i}.u8 {target}")
    done = add + chip.vxm.alu_cycles * len(back) + chip.vxm.entry_cycles
    return lines + [f"{done + chip.mem_hops(36 + i)}: mem.e{36 + i} write 1 e{i}" for i in range(4)]


def _run(chip: Chip, lines: list[str]) -> RunResult:
    return ReferenceEngine(chip, Memory(chip)).run(_parse(chip, lines))


def _parse(chip: Chip, lines: list[str]) -> Program:
    return parse_program("\n".join([f".chip {chip.id}", *lines]) + "\n", chip)
