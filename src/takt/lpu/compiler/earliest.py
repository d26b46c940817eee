"""The first cycle a task could start at, by its inputs alone.

`earliest` asks when inputs are written and travel, and when accumulators are ready; `earliest_ideal` asks the
same of a machine with every resource without limit and at no distance. Whether anything else is in the way is not known
here.
"""

from __future__ import annotations

from takt.lpu.compiler.chain import Chain, abc_offset, buffer_reads
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.ir import Buffer, FromGather, Task


def earliest(task: Task, chain: Chain, g: Geometry) -> int:
    """The first cycle, at least 0, at which all inputs of a task can have arrived (its tiles apart)."""
    n, ii = task.rows, chain.interval
    first = _gather_start(chain, g)
    for source, offset in buffer_reads(chain):
        slack = _slack(n, ii, source.buffer, source.fixed_row)
        first = max(first, _arrival(source.buffer, source.row, slack, 0, g) - offset)
    for index, feed in enumerate(task.feeds):
        abc = abc_offset(chain, index, g)
        ready = feed.group.last_time + 1 - g.depth
        slack = _slack(n, ii, feed.source, False)
        target = g.sign(feed.tile.side) * g.x_mxm
        first = max(first, max(ready, _arrival(feed.source, feed.row, slack, target, g)) - abc)
    return first


def earliest_ideal(task: Task, chain: Chain, g: Geometry) -> int:
    """The first cycle, at least 0, on a machine without resource limits."""
    n, ii = task.rows, chain.interval
    first = _gather_start(chain, g, ideal=True)
    for source, offset in buffer_reads(chain):
        ready = source.buffer.ideal + _slack(n, ii, source.buffer, source.fixed_row)
        first = max(first, ready + g.read + 1 - offset)
    for index, feed in enumerate(task.feeds):
        abc = abc_offset(chain, index, g)
        ready = feed.source.ideal + _slack(n, ii, feed.source, False)
        first = max(first, ready + g.x_mxm - 1 + g.read - abc)
        for written in feed.tile.sources:
            first = max(first, written.ideal_done + g.read + g.install + 1 - abc)
        if feed.add:
            first = max(first, feed.group.ideal + 1 - abc - g.depth)
    return first


def _gather_start(chain: Chain, g: Geometry, *, ideal: bool = False) -> int:
    """When addresses of gathers can have travelled, whose reads must not be dispatched before cycle 0."""
    first = 0
    for micro in chain.micros:
        for source in micro.sources:
            if not isinstance(source, FromGather):
                continue
            first = max(first, 4 * g.x_mxm - micro.offset)
            maps, x = source.maps, g.slice_x[source.table.slices[0][0]]
            if ideal:
                first = max(first, maps.ideal_done + g.read + g.gather - micro.offset)
            elif maps.written:
                away = max(abs(x - g.slice_x[s]) for byte in maps.slices for s in byte)
                ready = maps.done + 1 + g.read + away + g.gather + abs(x)
                first = max(first, ready - micro.offset)
    return first


def _arrival(buffer: Buffer, row: int, slack: int, target: int, g: Geometry) -> int:
    """First cycle at which a row of a buffer can be at x = `target`, read `slack` cycles after it is written."""
    first = 0
    for byte in range(len(buffer.slices)):
        travel = g.read + abs(target - g.slice_x[buffer.location(byte, row)[0]])
        ready = 0
        if buffer.written:
            ready = max(0, buffer.written[byte] + row * buffer.interval + 1 + slack)
        first = max(first, ready + travel)
    return first


def _slack(rows: int, interval: int, buffer: Buffer, fixed: bool) -> int:
    """Extra wait when rows are read faster than they were written."""
    if fixed:
        return 0
    return max(0, (rows - 1) * (buffer.interval - interval))
