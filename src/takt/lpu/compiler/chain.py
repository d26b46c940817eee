"""Timing of a task's VXM part: when each operation starts, relative to the task's first cycle.

Streams and ALU results do not wait, so two operands that are not ready together must be brought together: by copies
through an ALU (`alu` cycles each) or by a trip through a stream register (`exit` cycles). This module turns a task's
nodes into `Micro` operations with fixed offsets; it knows nothing of when the task runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from takt.errors import CompileError
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.ir import Constant, FromBuffer, FromFeed, FromGather, FromNode, Source, Task
from takt.lpu.isa.table import BY_NAME, Type


@dataclass(frozen=True, slots=True)
class FromMicro:
    """The result of another micro operation; through a stream if `via` is set."""

    index: int
    via: Type | None = None


MicroSource = FromFeed | FromBuffer | FromGather | FromMicro | Constant


@dataclass(slots=True)
class Micro:
    """One ALU operation at a fixed offset. At most one of `via` (a stream read back by the VXM) and `output`."""

    op: str
    offset: int
    sources: tuple[MicroSource, ...]
    via: Type | None = None
    output: int = -1  # index into Task.outputs
    integer: bool = False  # class of the result


@dataclass(slots=True)
class Chain:
    """The micro operations of a task and the offset at which each feed's result reaches the VXM."""

    micros: list[Micro] = field(default_factory=list)
    arrival: dict[int, int] = field(default_factory=dict)
    copies: dict[int, int] = field(
        default_factory=dict
    )  # a micro operation's copy one ALU step later
    interval: int = 1


def solve(task: Task, g: Geometry, delay: int = 0) -> Chain:
    """Fix the offsets of a task's operations; `delay` copies go before each output.

    Raises CompileError if no alignment is found.
    """
    first = _interval(task, g)
    for interval in range(first, first + (4 if task.rows > 1 else 1)):
        # feeds that share a plane may need more room between rows than they fill
        chain = Chain(interval=interval)
        node_micro = _align(task, chain, g)
        if node_micro is not None:
            break
    else:
        raise CompileError(f"operands of task {task.label} cannot be brought together")
    for index, (node_index, _, _) in enumerate(task.outputs):
        at = node_micro[node_index]
        for _ in range(delay):
            at = _copy(chain, at, g)
        while chain.micros[at].via is not None or chain.micros[at].output >= 0:
            at = _copy(chain, at, g)
        micro = chain.micros[at]
        micro.output = index
    if not task.nodes:
        chain.arrival = dict.fromkeys(range(len(task.feeds)), 0)
    return chain


def abc_offset(chain: Chain, index: int, g: Geometry) -> int:
    """Dispatch of a feed's first `abc`, in cycles from the task's first."""
    return chain.arrival.get(index, 0) - g.x_mxm - g.emit - g.depth


def buffer_reads(chain: Chain) -> Iterator[tuple[FromBuffer, int]]:
    """Each buffer operand, once, with the offset at which its first row must be at x = 0."""
    seen = set()
    for micro in chain.micros:
        for source in micro.sources:
            if isinstance(source, FromBuffer) and read_key(source, micro.offset) not in seen:
                seen.add(read_key(source, micro.offset))
                yield source, micro.offset


def read_key(source: FromBuffer, offset: int) -> tuple[int, int, bool, int]:
    """What makes two buffer operands one read."""
    return id(source.buffer), source.row, source.fixed_row, offset


def _align(task: Task, chain: Chain, g: Geometry) -> list[int] | None:
    """Give every node its offset; the micro operation of each node, or None if some cannot be aligned."""
    node_micro: list[int] = []
    for node in task.nodes:
        offset = _offset(task, chain, node_micro, node.sources, g)
        if offset is None:
            return None
        sources = tuple(_bring(chain, node_micro, s, offset, g) for s in node.sources)
        node_micro.append(len(chain.micros))
        integer = _is_integer(node.op, chain, sources, task)
        chain.micros.append(Micro(op=node.op, offset=offset, sources=sources, integer=integer))
    return node_micro


def _interval(task: Task, g: Geometry) -> int:
    load: dict[int, int] = {}
    for feed in task.feeds:
        key = feed.plane
        load[key] = load.get(key, 0) + (g.interval_f16 if feed.tile.type is Type.F16 else 1)
    return max(load.values(), default=1) if task.rows > 1 else 1


def _is_integer(op: str, chain: Chain, sources: tuple[MicroSource, ...], task: Task) -> bool:
    result = BY_NAME[op].result
    if result != "x":
        return result == "i"
    first = sources[0]
    if isinstance(first, FromMicro):
        return chain.micros[first.index].integer
    if isinstance(first, FromBuffer):
        return not first.buffer.type.is_float
    if isinstance(first, FromGather):
        return not first.table.type.is_float
    if isinstance(first, FromFeed):
        return task.feeds[first.index].tile.type is not Type.F16
    return first.integer


def _steps(distance: int, via: Type | None, g: Geometry, most: int) -> tuple[int, int] | None:
    """(copies, trips through a stream, at most `most`) that bridge `distance` cycles from producer to consumer, or None."""
    if via is None and distance >= g.alu and distance % g.alu == 0:
        return distance // g.alu - 1, 0
    for trips in range(1, most + 1):
        left = distance - trips * g.exit
        if left >= 0 and left % g.alu == 0:
            return left // g.alu, trips
    return None


def _offset(
    task: Task, chain: Chain, node_micro: list[int], sources: tuple[Source, ...], g: Geometry
) -> int | None:
    """The earliest offset at which all sources can be present; fixes the arrival of feeds used for the first time."""
    nodes = [
        (chain.micros[node_micro[s.index]].offset, s.via)
        for s in sources
        if isinstance(s, FromNode)
    ]
    feeds = [s for s in sources if isinstance(s, FromFeed)]
    earliest = max((o + (g.alu if via is None else g.exit) for o, via in nodes), default=0)
    for most in (1, g.alu):  # one trip through a stream is enough on most chips
        for offset in range(earliest, earliest + 64):
            if all(_steps(offset - o, via, g, most) is not None for o, via in nodes) and all(
                _feed_fits(task, chain, s, offset, g) for s in feeds
            ):
                for s in feeds:
                    chain.arrival[s.index] = offset - (g.distribute if s.swapped else 0)
                return offset
    return None


def _feed_fits(task: Task, chain: Chain, source: FromFeed, offset: int, g: Geometry) -> bool:
    arrival = offset - (g.distribute if source.swapped else 0)
    if source.index in chain.arrival:
        return chain.arrival[source.index] == arrival
    feed = task.feeds[source.index]
    busy = g.interval_f16 if feed.tile.type is Type.F16 else 1
    period = chain.interval if task.rows > 1 else 1 << 20
    for other, when in chain.arrival.items():
        if task.feeds[other].plane == feed.plane:
            gap = (arrival - when) % period
            if gap < busy or period - gap < busy:
                return False
    return True


def _copy(chain: Chain, index: int, g: Geometry) -> int:
    """The copy of a result one ALU step later, made once and shared."""
    if index not in chain.copies:
        source = chain.micros[index]
        chain.copies[index] = len(chain.micros)
        chain.micros.append(
            Micro(
                op="mov",
                offset=source.offset + g.alu,
                sources=(FromMicro(index),),
                integer=source.integer,
            )
        )
    return chain.copies[index]


def _bring(
    chain: Chain, node_micro: list[int], source: Source, offset: int, g: Geometry
) -> MicroSource:
    """Make `source` present at `offset`, adding copies as needed."""
    if not isinstance(source, FromNode):
        return source
    index = node_micro[source.index]
    bridge = _steps(offset - chain.micros[index].offset, source.via, g, g.alu)
    assert bridge is not None
    copies, trips = bridge
    for _ in range(copies):
        index = _copy(chain, index, g)
    if not trips:
        return FromMicro(index)
    for _ in range(trips - 1):  # copies that read their source from a stream
        through = _through_stream(chain, index, None)
        offset = chain.micros[index].offset + g.exit
        index = len(chain.micros)
        chain.micros.append(
            Micro(
                op="mov",
                offset=offset,
                sources=(through,),
                integer=chain.micros[through.index].integer,
            )
        )
    return _through_stream(chain, index, source.via)


def _through_stream(chain: Chain, index: int, via: Type | None) -> FromMicro:
    """The result of a micro operation as the VXM reads it back from a stream, of type `via` if that is given."""
    micro = chain.micros[index]
    wanted = via if via is not None else (Type.I32 if micro.integer else Type.F32)
    if micro.via not in (None, wanted):
        raise CompileError("two streams from one operation")
    micro.via = wanted
    return FromMicro(index, wanted)
