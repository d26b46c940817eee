"""What a task reads from SRAM, and which of its inputs get in each other's way in a slice."""

from __future__ import annotations

from takt.lpu.compiler.ir import Buffer, Feed, FromBuffer, FromGather, Node, Task


def inputs_of(task: Task) -> list[Buffer]:
    """Every buffer a task reads, once."""
    out: dict[int, Buffer] = {}
    for feed in task.feeds:
        out[id(feed.source)] = feed.source
        if feed.tile.maps is not None:
            out[id(feed.tile.maps)] = feed.tile.maps
    for node in task.nodes:
        for source in node.sources:
            if isinstance(source, FromBuffer):
                out[id(source.buffer)] = source.buffer
            elif isinstance(source, FromGather):
                out[id(source.maps)] = source.maps
                out[id(source.table)] = source.table
    if task.sxm is not None:
        for buffer in (task.sxm.source, task.sxm.maps, task.sxm.mask):
            if buffer is not None:
                out[id(buffer)] = buffer
    return list(out.values())


def read_together(task: Task) -> list[list[Buffer]]:
    """Groups of inputs whose reads meet if they lie in one slice.

    Single rows meet only if one operation takes both; long runs overlap whatever takes them, and the writes to fixed
    buffers as well.
    """
    if task.rows > 1 or task.sxm is not None:
        return [inputs_of(task) + [b for _, b, _ in task.outputs if b.fixed and b.run]]
    return [[s.buffer for s in node.sources if isinstance(s, FromBuffer)] for node in task.nodes]


def shared_slice(task: Task) -> Buffer | None:
    """A temporary input that lies in a slice of another input, or is read at more than one point of the task."""
    inputs = inputs_of(task)
    for buffer in inputs:
        feeds, nodes = _readers(task, buffer)
        if (not buffer.fixed or buffer.rows == 1) and len(feeds) + len(nodes) > 1:
            return buffer
    for buffer in inputs:
        mine = {s for byte in buffer.slices for s in byte}
        others = {
            s for other in inputs if other is not buffer for byte in other.slices for s in byte
        }
        if not buffer.fixed and mine & others:
            return buffer
    return None


def redirect(task: Task, buffer: Buffer, copy: Buffer) -> bool:
    """Let the task read the copy of a buffer. True if it still reads the buffer, too.

    A buffer read at several points clashes with itself: then only one of them takes the copy.
    """
    feeds, nodes = _readers(task, buffer)
    several = len(feeds) + len(nodes) > 1
    if several:
        feeds, nodes = feeds[:0] if nodes else feeds[:1], nodes[:1]
    for feed in feeds:
        feed.source = copy
    for i in nodes:
        node = task.nodes[i]
        sources = tuple(
            FromBuffer(copy, s.row, s.fixed_row)
            if isinstance(s, FromBuffer) and s.buffer is buffer
            else s
            for s in node.sources
        )
        task.nodes[i] = Node(node.op, sources)
    return several


def _readers(task: Task, buffer: Buffer) -> tuple[list[Feed], list[int]]:
    """Feeds, and the indices of operations, that read a buffer."""
    feeds = [feed for feed in task.feeds if feed.source is buffer]
    nodes = [
        i
        for i, node in enumerate(task.nodes)
        if any(isinstance(s, FromBuffer) and s.buffer is buffer for s in node.sources)
    ]
    return feeds, nodes
