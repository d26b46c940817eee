"""Maximum pools: half a pool at a time, in the chains of the VXM.

Each chain reads the vectors of its windows from three slices and takes their maxima in ALUs one behind the other. Chains are
independent; each window is read as soon as no slice has to be read twice in a cycle.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from takt.errors import CompileError
from takt.lpu.isa.table import ALU, NONE, STREAM, Type, vxm_operand
from takt.lpu.vision.floor import ALUS_OF_CHAIN, Floor
from takt.lpu.vision.issues import Ints
from takt.lpu.vision.passes import deal_out
from takt.lpu.vision.plan import Deal, HalfPool
from takt.lpu.vision.tensors import Tensor
from takt.lpu.vision.timeline import Draft, Scheduler

_BREATH = 64
"""Windows after which each queue gets a cycle without a read."""
_MOST_CYCLES = 16
"""For one window; so long only if its vectors can never be read together."""


def put_half_pool(
    scheduler: Scheduler, pool: HalfPool, deal: Deal, source: Tensor, target: Tensor
) -> None:
    """Put half a pool into the program: maxima along one axis of the grid."""
    floor, draft = scheduler.floor, Draft()
    gy, gx = np.divmod(np.arange(target.layout.size), target.layout.grid[1])
    # The middle one joins last: its neighbours lie in other slices, also when a later window reads them.
    order = [0, *range(2, pool.kernel), 1][: pool.kernel]
    late = [max(i - 1, 0) * scheduler.chip.vxm.alu_cycles for i in range(pool.kernel)]
    for chain, share in enumerate(deal_out(deal, target.layout, floor.n_arrays)):
        half = len(share) // 2
        scheduler.place(target, chain, share[:half], 0, 0)
        scheduler.place(target, chain, share[half:], 0, 1)
        # Along the other axis windows lie in the same slices, one word after the other.
        outputs = share if pool.axis == 0 else share[np.argsort(gx[share], kind="stable")]
        first = (gy, gx)[pool.axis][outputs] * pool.stride - pool.pad
        indices = []
        for k in order:
            at = np.clip(first + k, 0, source.layout.grid[pool.axis] - 1)
            y, x = (at, gx[outputs]) if pool.axis == 0 else (gy[outputs], at)
            indices.append(source.layout.index(y, x))
        windows = np.stack(indices)
        time, turn = _turns(windows, source.chain[:, 0], late, floor.pace.spacing)
        windows = np.take_along_axis(windows, turn, axis=0)
        streams = np.zeros_like(windows)
        for i, index in enumerate(windows):
            # At the image's edge the first two may be one and the same vector.
            twice = (index == windows[0]) & (i == 1)
            streams[i, twice] = streams[0, twice]
            when = (time + late[i])[~twice]
            streams[i, ~twice] = scheduler.bring(draft, source, index[~twice], 0, chain, i, when)
        _maxima(floor, draft, chain, streams, time)
        scheduler.write(draft, target, outputs, 0, chain, time, time + late[-1])
    scheduler.commit(pool.name, draft, is_conv=False)


def _maxima(floor: Floor, draft: Draft, chain: int, streams: Ints, time: Ints) -> None:
    """One ALU after the other takes the larger of what came before and one more operand [operands, windows]."""
    f16, alu_cycles = floor.is_f16, floor.chip.vxm.alu_cycles
    name, type_, inner = ("max", Type.F16, Type.F32) if f16 else ("maxi", Type.I8, Type.I32)
    out = vxm_operand(STREAM, type_, floor.result_stream(chain))
    streams = streams + vxm_operand(STREAM, type_, 0)
    n = max(len(streams) - 1, 1)
    for i in range(n):
        alu = ALUS_OF_CHAIN * chain + i
        first = streams[0] if i == 0 else vxm_operand(ALU, inner, alu - 1)
        second = streams[min(i + 1, len(streams) - 1)]
        draft.issues.add(name, floor.alu_queue[alu], time + i * alu_cycles, a=first, b=second, c=out if i == n - 1 else vxm_operand(NONE, inner))  # fmt: skip
    draft.vxm_operations += n * len(time)


def _turns(windows: Ints, writer: Ints, late: list[int], spacing: int) -> tuple[Ints, Ints]:
    """A cycle for each window [windows], as early as no slice is read twice in one, and the order of its vectors.

    `windows` [operands, windows]: vectors; `writer`: whose slices hold each vector; `late`: cycles by which each operand is
    read later. The order [operands, windows] says which vector of a window is which operand.
    """
    orders = list(permutations(range(len(windows))))
    taken: set[tuple[int, int]] = set()
    times, turns, time = [], [], -spacing
    for number, window in enumerate(windows.T.tolist()):
        # A cycle now and then without a read, for fetches of program text.
        time += spacing + (number % _BREATH == _BREATH - 1)
        homes = writer[window].tolist()
        while (order := _fitting(orders, window, homes, late, time, taken)) is None:
            time += 1
            if time > _MOST_CYCLES * spacing * (number + 1):
                raise CompileError("a window whose vectors lie in one slice", stage="schedule")
        taken |= {(homes[which], time + later) for which, later in zip(order, late, strict=True)}
        times.append(time)
        turns.append(order)
    return np.array(times, np.int64), np.array(turns, np.int64).reshape(-1, len(windows)).T


def _fitting(
    orders: list[tuple[int, ...]],
    window: list[int],
    homes: list[int],
    late: list[int],
    time: int,
    taken: set[tuple[int, int]],
) -> tuple[int, ...] | None:
    """The first order in which the vectors can be read from `time` on."""
    for order in orders:
        when = [(which, time + later) for which, later in zip(order, late, strict=True)]
        reads = {(homes[which], cycle) for which, cycle in when}
        vectors = {(window[which], cycle) for which, cycle in when}
        if len(reads) == len(vectors) and not reads & taken:
            return order
    return None
