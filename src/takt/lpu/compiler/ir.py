"""The compiler's own form of a program: buffers, tiles and rigid tasks, before they have a time.

A `Task` is a rigid pattern MEM → (MXM) → VXM → MEM over `rows` vectors: once its first cycle is chosen every other cycle
follows, because streams do not wait. Values rest in SRAM buffers between tasks, so tasks can be placed freely as soon
as their inputs are written. This module knows shapes and dependences only; `schedule` gives times and streams.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from takt.lpu.isa.table import Type

WEST, EAST = 0, 1


@dataclass(slots=True, eq=False)
class Buffer:
    """`rows` vectors of `type` in SRAM. Byte i of row r lies in slice `slices[i][r % k]`, word `bases[i] + r // k`.

    With `run`, that many successive rows lie in successive words of a slice before the next slice takes over: row r in
    slice `slices[i][r // run % k]`, word `bases[i] + r // (run · k) · run + r % run`.
    `slices` is empty until placed: fixed buffers (inputs, tables, caches, outputs) by `place`, temporaries by
    `schedule`. `written` holds, per byte stream, the dispatch cycle of the write of row 0 and `interval` the cycles
    between rows; `ideal` is the cycle it would be ready on a machine without resource limits.
    """

    name: str
    type: Type
    rows: int = 1
    fixed: bool = False
    constant: bool = False
    side: int = -1  # required side, −1 any
    apart: bool = False  # never in a slice of what it is read with (a copy made for that)
    slices: tuple[tuple[int, ...], ...] = ()
    bases: tuple[int, ...] = ()
    written: tuple[int, ...] = ()
    interval: int = 1
    done: int = -1  # dispatch cycle of the last write so far
    last_read: int = 0
    n_readers: int = 0
    ideal: int = 0
    ideal_done: int = 0
    run: int = 0
    zone: int = -1  # bank of weight slices that may hold it besides the work slices, −1 none

    def location(self, byte: int, row: int) -> tuple[int, int]:
        """(slice, word) of one byte-vector."""
        k = len(self.slices[byte])
        if self.run:
            turn, nth = divmod(row, self.run * k)
            which, word = divmod(nth, self.run)
            return self.slices[byte][which], self.bases[byte] + turn * self.run + word
        return self.slices[byte][row % k], self.bases[byte] + row // k


@dataclass(slots=True, eq=False)
class Tile:
    """A 320 × 320 (or narrower) weight tile: where its columns come from and where it must be loaded.

    Column group g, stream i is read from slice `slices[i]`, word `base + g` (`base` only if `uniform`: the same word
    for every group). f16 tiles have 32 streams (low bytes first), i8 tiles 16. An i8 tile of no plane (−1) is a twin:
    both planes of the side hold it, each for feeds of its own (`Feed.part`).
    """

    name: str
    type: Type
    side: int
    n_groups: int
    plane: int = -1  # i8 only: plane within the side, 0 or 1, −1 both
    uniform: bool = False
    slices: tuple[int, ...] = ()
    base: int = 0
    high: int = 0  # f16: how many words further on the high bytes lie
    first_group: int = 0
    sources: tuple[Buffer, ...] = ()  # buffers that must be written before it is loaded
    maps: Buffer | None = None  # looked up: row `map_row` holds a word that is added to `base`
    map_row: int = 0

    @property
    def planes(self) -> tuple[int, ...]:
        """All planes that the tile fills."""
        first = 2 * self.side
        return (first, first + 1) if self.plane < 0 else (first + self.plane,)


@dataclass(slots=True, eq=False)
class Feed:
    """One pass of a buffer's rows through a tile. `group` names the accumulation it belongs to."""

    tile: Tile
    source: Buffer
    group: Accumulator
    row: int = 0
    add: bool = False
    last: bool = True
    swap: bool = False  # also deliver a copy with neighbouring lanes swapped (SXM distribute)
    part: int = 0  # of a twin tile: the plane that takes this feed

    @property
    def plane(self) -> int:
        """The plane that takes the activations and gives the result."""
        return self.tile.planes[self.part]

    @property
    def planes(self) -> tuple[int, ...]:
        """All planes that work for this feed."""
        return self.tile.planes if self.tile.type is Type.F16 else (self.plane,)


@dataclass(slots=True, eq=False)
class Accumulator:
    """`rows` accumulator entries of one plane; `entry` and times are filled in by `schedule`.

    With `fold`, all rows of a feed go to one entry, one after the other (a sum over rows).
    """

    rows: int
    fold: bool = False
    entry: int = -1
    last_time: int = -1
    end_time: int = -1  # dispatch of the last `acc` so far
    finished: bool = False  # the feed that emits has been placed
    ideal: int = 0


@dataclass(frozen=True, slots=True)
class FromFeed:
    """The emitted result of feed `index` of the task."""

    index: int
    swapped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FromBuffer:
    """Rows of a buffer arriving from SRAM; `row` is the first; `fixed_row` reads the same row for every row."""

    buffer: Buffer
    row: int = 0
    fixed_row: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FromGather:
    """Rows of a table, each word given by a map buffer (u16 in each superlane). The table's bytes share a hop."""

    table: Buffer
    maps: Buffer
    row: int = 0


@dataclass(frozen=True, slots=True)
class FromNode:
    """The result of node `index`; with `via`, through a stream in that type (rounding on the way)."""

    index: int
    via: Type | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """An immediate f32 or i32."""

    value: float
    integer: bool = False


Source = FromFeed | FromBuffer | FromGather | FromNode | Constant


@dataclass(frozen=True, slots=True)
class Node:
    """One VXM operation."""

    op: str
    sources: tuple[Source, ...]


@dataclass(slots=True, eq=False)
class Task:
    """A rigid pattern; see the module docstring. `outputs` are (node index, buffer, first row)."""

    label: str
    layer: int
    rows: int = 1
    feeds: list[Feed] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[tuple[int, Buffer, int]] = field(default_factory=list)
    sxm: Append | None = None

    # building helpers ------------------------------------------------------------------------------------------
    def feed(
        self,
        tile: Tile,
        source: Buffer,
        group: Accumulator,
        *,
        row: int = 0,
        add: bool = False,
        last: bool = True,
        swap: bool = False,
        part: int = 0,
    ) -> FromFeed:
        """One more pass through a tile; its result as a source."""
        self.feeds.append(Feed(tile, source, group, row, add, last, swap, part))
        return FromFeed(len(self.feeds) - 1)

    def op(self, name: str, *sources: Source | float) -> FromNode:
        """One more VXM operation; bare floats become f32 immediates."""
        fixed = tuple(Constant(s) if isinstance(s, float) else s for s in sources)
        self.nodes.append(Node(name, fixed))
        return FromNode(len(self.nodes) - 1)

    def out(self, node: FromNode, buffer: Buffer, row: int = 0) -> None:
        """Store a result in a buffer from `row` on."""
        self.outputs.append((node.index, buffer, row))


@dataclass(slots=True, eq=False)
class Append:
    """Work at the SXM's end of a hemisphere: put one position into the caches, or a row on a link.

    `kind` "rotate": permute `source` by the map buffer into `target`. `kind` "lane": for every column d of the
    transposed value tile, lane ← source lane (rotated by −d) where `mask` is set. `kind` "scatter": store `source` as
    a row of an interleaved cache through `maps`. `kind` "exchange": `source` goes out over one of `links`; `target` is what
    the chip at their other end, which runs the same program, sends at the same time.
    """

    kind: str
    source: Buffer
    target: Buffer
    maps: Buffer | None = None
    mask: Buffer | None = None
    columns: int = 0
    links: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class Plan:
    """Everything `lower` decides: tasks in dependence order, and the buffers and tiles they touch.

    `reorder` lets the scheduler take tasks in another order as their inputs allow it.
    """

    name: str
    reorder: bool = False
    tasks: list[Task] = field(default_factory=list)
    inputs: dict[str, Buffer] = field(default_factory=dict)  # written by the host before a step
    outputs: dict[str, Buffer] = field(default_factory=dict)  # read by the host after it
