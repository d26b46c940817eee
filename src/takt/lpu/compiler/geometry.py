"""Numbers the compiler derives from a chip: positions, queue numbers and latencies in the form scheduling wants them."""

from __future__ import annotations

from dataclasses import dataclass

from takt.chips import Chip
from takt.lpu.compiler.ir import EAST
from takt.lpu.isa.program import queues


@dataclass(frozen=True, slots=True)
class Geometry:
    """Positions in hops (east positive), queue numbers, latencies in cycles."""

    lanes: int
    n_side: int  # MEM slices a hemisphere
    x_mxm: int
    x_sxm: int
    slice_x: tuple[int, ...]
    queue: dict[str, int]
    read: int
    gather: int
    alu: int  # ALU to ALU
    exit: int  # dispatch to stream register
    depth: int  # abc to acc
    emit: int  # acc to stream register
    interval_f16: int
    install: int
    distribute: int
    shift: int
    select: int
    permute: int
    entries: int
    words: int
    columns: int
    per_group: int
    n_alus: int
    n_streams: int
    n_links: int
    n_c2c: int  # C2C queues a hemisphere
    link: int  # dispatch of receive to stream register
    link_slot: int  # cycles a vector occupies a link
    link_margin: int  # cycles a receive waits longer than it must, for clocks that differ

    def sign(self, side: int) -> int:
        """+1 for the eastern side, −1 for the western: positions grow eastward."""
        return 1 if side == EAST else -1

    def side_of(self, slice_: int) -> int:
        """The side that a MEM slice lies on."""
        return int(slice_ >= self.n_side)


def geometry(chip: Chip) -> Geometry:
    """Collect the numbers of a chip once."""
    all_queues = queues(chip)
    n_slices = 2 * chip.mem.slices_per_hemisphere
    return Geometry(
        lanes=chip.lanes,
        n_side=chip.mem.slices_per_hemisphere,
        x_mxm=chip.mxm_hops,
        x_sxm=chip.sxm_hops,
        slice_x=tuple(q.x for q in all_queues[:n_slices]),
        queue={q.name: q.number for q in all_queues},
        read=chip.mem.read_cycles,
        gather=chip.mem.read_cycles + chip.mem.gather_extra_cycles,
        alu=chip.vxm.alu_cycles,
        exit=chip.vxm.entry_cycles + chip.vxm.alu_cycles,
        depth=chip.mxm.activation_to_result_cycles,
        emit=chip.mxm.result_to_stream_cycles,
        interval_f16=chip.mxm.fp16_interval_cycles,
        install=chip.mxm.install_cycles,
        distribute=chip.sxm.distribute_cycles,
        shift=chip.sxm.shift_cycles,
        select=chip.sxm.select_cycles,
        permute=chip.sxm.permute_cycles,
        entries=chip.mxm.accumulator_entries,
        words=chip.mem.words_per_slice,
        columns=chip.mxm.cols,
        per_group=chip.mxm.load_streams,
        n_alus=chip.vxm.alus,
        n_streams=chip.core.streams_per_direction,
        n_links=chip.c2c.links,
        n_c2c=chip.c2c.queues_per_hemisphere,
        link=chip.c2c.link_cycles,
        link_slot=chip.c2c_vector_cycles,
        link_margin=chip.c2c.link_margin_cycles,
    )
