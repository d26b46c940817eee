"""The place pass: where everything that outlives a program lies in SRAM, and the bytes of it.

Inner slices of each hemisphere ("work") hold intermediate results, inputs, tables and outputs; the others ("banks" of
16 slices, one per weight stream) hold weight tiles and the key and value caches, so that a tile's columns can stream
out in parallel. All programs of a model share one image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from takt.errors import CapacityError
from takt.lpu.compiler.geometry import Geometry
from takt.lpu.compiler.ir import EAST, WEST, Buffer, Tile
from takt.lpu.compiler.lanes import Lanes
from takt.lpu.compiler.matrices import Matrix
from takt.lpu.isa.table import Type
from takt.lpu.machine import Memory
from takt.models import Model

_WORK_HOPS = 3  # hop groups (of 4 slices) a side kept for work; the rest are weight banks
_LEAST_SHARD = 2048  # rows: a look-up takes time for every shard


@dataclass(slots=True)
class Image:
    """Placement in progress and its result. Words are handed out from the bottom of each slice; word 0 stays zero."""

    g: Geometry
    next_word: list[int]
    work: dict[int, tuple[int, ...]]
    banks: dict[int, list[tuple[int, ...]]]
    tiles: dict[tuple[str, int, int], Tile] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    contents: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    matrices: dict[str, Matrix] = field(default_factory=dict)
    patterns: dict[tuple[str, int, int], NDArray[np.float32]] = field(default_factory=dict)
    groups_on: dict[tuple[int, int], int] = (
        field(  # columns by engine: side, plane (−1: both, as one f16 array)
            default_factory=lambda: {
                (side, plane): 0 for side in (WEST, EAST) for plane in (-1, 0, 1)
            }
        )
    )
    top: list[int] = field(default_factory=list)
    text_words: int = 0  # at the top of every work slice, kept for program text
    compact: bool = False
    even: bool = False  # of engines that are equally loaded, take one on the emptier side
    turn: int = 0

    # ------------------------------------------------------------------------------------------------- small buffers
    def buffer(
        self,
        name: str,
        type_: Type,
        rows: int,
        *,
        side: int | None = None,
        hop: int | None = None,
        content: NDArray[np.generic] | None = None,
    ) -> Buffer:
        """A fixed buffer in work slices of one side, its bytes in different slices (of one hop, if given)."""
        self.turn += 1
        order = (side,) if side is not None else ((EAST, WEST) if self.turn & 1 else (WEST, EAST))
        for s in order:
            pool = [c for c in self.work[s] if hop in (None, abs(self.g.slice_x[c]))]
            chosen = sorted(pool, key=lambda c: (self.next_word[c], (c + self.turn * 5) % 12))[
                : type_.n_streams
            ]
            if len(chosen) == type_.n_streams and all(
                self.next_word[c] + rows <= self.top[c] for c in chosen
            ):
                return self._fixed(name, type_, rows, tuple(chosen), content)
        raise CapacityError(f"no room in SRAM for {name} ({rows} vectors)")

    def constant_row(
        self,
        name: str,
        type_: Type,
        side: int,
        content: NDArray[np.generic] | None,
        place: int = 0,
    ) -> Buffer:
        """One constant row (without `content` one that the host writes) in the outermost work slices of a side, or further inside (`place` 1, 2 …).

        All rows of a place share its slices, so that what is read together with one of them has the others to choose
        from; a task must not read two rows of the same place.
        """
        end = len(self.work[side]) - place * type_.n_streams
        chosen = self.work[side][end - type_.n_streams : end]
        rows = 1 if content is None else len(content)
        if any(self.next_word[c] + rows > self.top[c] for c in chosen):
            raise CapacityError(f"no room in SRAM for {name}")
        return self._fixed(name, type_, rows, chosen, content)

    def _fixed(
        self,
        name: str,
        type_: Type,
        rows: int,
        slices: tuple[int, ...],
        content: NDArray[np.generic] | None,
    ) -> Buffer:
        bases = tuple(self.next_word[c] for c in slices)
        for c in slices:
            self.next_word[c] += rows
        made = Buffer(
            name,
            type_,
            rows,
            fixed=True,
            constant=content is not None,
            slices=tuple((c,) for c in slices),
            bases=bases,
        )
        self.buffers[name] = made
        if content is not None:
            self.contents[name] = content
        return made

    def tables(
        self, name: str, type_: Type, chunks: list[NDArray[np.generic]], room: int
    ) -> list[list[Buffer]]:
        """Tables looked up by gather, one a chunk, all split into the same shards of rows: [chunk][shard].

        They go to the work slices (leaving `room` words there for intermediate results), what is left to the tops of
        the weight slices. After its last row each shard has a word of zeros, for rows that another shard has.
        """
        out: list[list[Buffer]] = [[] for _ in chunks]
        start = 0
        for places, rows in self._shards(len(chunks[0]), type_, len(chunks), room):
            for c, chosen in enumerate(places):
                base = min(self.top[s] for s in chosen) - rows - 1
                for s in chosen:
                    self.top[s] = base
                shard = Buffer(
                    f"{name}{c}.{len(out[c])}",
                    type_,
                    rows,
                    fixed=True,
                    constant=True,
                    slices=tuple((s,) for s in chosen),
                    bases=(base,) * len(chosen),
                )
                self.buffers[shard.name] = shard
                self.contents[shard.name] = chunks[c][start : start + rows]
                out[c].append(shard)
            start += rows
        return out

    def _shards(
        self, rows: int, type_: Type, n_chunks: int, room: int
    ) -> list[tuple[list[tuple[int, ...]], int]]:
        """(slices of every chunk, rows) of each shard of a table of `rows` rows."""
        work = set(self.work_slices)
        hops: dict[int, list[int]] = {}
        for s in range(2 * self.g.n_side):
            hops.setdefault(self.g.slice_x[s], []).append(s)
        need = type_.n_streams
        places = [
            tuple(group[i : i + need])
            for group in hops.values()
            for i in range(0, len(group) - need + 1, need)
        ]

        def free(place: tuple[int, ...]) -> int:
            return min(self.top[s] for s in place) - max(self.next_word[s] for s in place) - 1

        inner = sorted(
            (p for p in places if set(p) <= work and abs(self.g.slice_x[p[0]]) > 1),
            key=free,
            reverse=True,
        )
        outer = [p for p in places if not set(p) & work]
        plan: list[tuple[list[tuple[int, ...]], int]] = []
        left = rows
        for pool, kept, share in (
            (inner, room, rows),
            (outer, 0, -(-rows * n_chunks // len(outer))),
        ):
            for i in range(0, len(pool) - n_chunks + 1, n_chunks):
                group = pool[i : i + n_chunks]
                take = min(left, max(share, _LEAST_SHARD), min(free(p) for p in group) - kept)
                if take > 0:
                    plan.append((group, take))
                    left -= take
        if left:
            raise CapacityError(
                f"no room in SRAM for a table of {rows} rows: {left} rows left over"
            )
        return plan

    # ------------------------------------------------------------------------------------------------------ tiles
    def columns(
        self, side: int, type_: Type, words: int, what: str, bank: int | None = None
    ) -> tuple[tuple[int, ...], int]:
        """Slices (16 per byte of `type_`) with `words` free words at a common base, on one side (i8: in one bank)."""
        need = 1 if type_ is Type.I8 else 2
        banks = self.banks[side]
        if bank is not None and need == 1:
            banks = banks[bank : bank + 1]
        choices = [
            tuple(s for bank in banks[i : i + need] for s in bank)
            for i in range(0, len(banks) - need + 1, need)
        ]
        slices = min(choices, key=lambda c: max(self.next_word[s] for s in c))
        base = max(self.next_word[s] for s in slices)
        if base + words > min(self.top[s] for s in slices):
            raise CapacityError(
                f"no room in SRAM for {what}: the {('west', 'east')[side]} weight slices are full"
            )
        for s in slices:
            self.next_word[s] = base + words
        return slices, base

    def add_matrix(
        self,
        matrix: Matrix,
        type_: Type,
        side: int | None = None,
        beside: str = "",
        *,
        twin: bool = False,
        bank: int | None = None,
        across: bool = False,
    ) -> None:
        """Place the tiles of a matrix; with `beside`, on the engines of another, whose sums it joins.

        Each output chunk goes to the MXM engine that has the fewest columns of this matrix, so that all load it at once;
        of equals, to the one with the fewest in all. In a `compact` image only the latter counts, which fits more.
        `twin`: i8 tiles that both planes of a side hold; `bank`: where i8 tiles lie. With `across` input chunks are dealt
        to the sides instead, and each side makes a part of every output chunk.
        """
        self.matrices[matrix.key] = matrix
        own = dict.fromkeys(self.groups_on, 0)
        kind = [
            e
            for e in self.groups_on
            if (e[1] < 0) == (twin or type_ is Type.F16) and side in (None, e[0])
        ]
        for out_chunk in range(len(matrix.out)):
            engine = self._engine(matrix, own, out_chunk, kind, beside)
            groups = matrix.n_groups(out_chunk)
            for in_chunk in range(len(matrix.into)):
                if across:
                    engine = next(e for e in kind if e[0] == in_chunk % 2)
                slices, base = self.columns(engine[0], type_, groups, matrix.key, bank)
                self.groups_on[engine] += groups
                own[engine] += groups
                self.tiles[matrix.key, out_chunk, in_chunk] = Tile(
                    f"{matrix.key}[{out_chunk},{in_chunk}]",
                    type_,
                    engine[0],
                    groups,
                    plane=engine[1],
                    slices=slices,
                    base=base,
                )

    def _engine(
        self,
        matrix: Matrix,
        own: dict[tuple[int, int], int],
        out_chunk: int,
        kind: list[tuple[int, int]],
        beside: str,
    ) -> tuple[int, int]:
        """The engine of an output chunk; `own`: columns of the matrix so far."""
        if beside:
            other = self.tiles[beside, out_chunk, 0]
            return other.side, other.plane
        return min(
            kind,
            key=lambda e: (
                0 if self.compact else own[e],
                self.groups_on[e],
                self._on_side(e[0]) if self.even else 0,
                e,
            ),
        )

    def _on_side(self, side: int) -> int:
        return sum(groups for (s, _), groups in self.groups_on.items() if s == side)

    def cache(
        self, name: str, rows: int, side: int, run: int = 0, bank: int | None = None
    ) -> Buffer:
        """An f16 buffer whose row r lies in slice r mod 16 of each byte's bank: readable as MXM columns. One spare word.

        With `run` (see `Buffer`) row r is column 16 · (r // (16 · run) · run + r % run) + r // run % 16.
        With a `bank` both bytes lie there, the high ones half a bank further on, so that a row never meets itself.
        """
        words = -(-rows // 16) + 1
        if bank is not None:
            place = self.columns(side, Type.I8, 2 * words, name, bank)
            return self._narrow_cache(name, rows, run, *place)
        slices, base = self.columns(side, Type.F16, words, name)
        half = len(slices) // 2
        made = Buffer(
            name,
            Type.F16,
            rows,
            fixed=True,
            slices=(slices[:half], slices[half:]),
            bases=(base, base),
            run=run,
        )
        self.buffers[name] = made
        return made

    def _narrow_cache(
        self, name: str, rows: int, run: int, slices: tuple[int, ...], base: int
    ) -> Buffer:
        half, words = len(slices) // 2, -(-rows // 16) + 1
        made = Buffer(
            name,
            Type.F16,
            rows,
            fixed=True,
            slices=(slices, slices[half:] + slices[:half]),
            bases=(base, base + words),
            run=run,
        )
        self.buffers[name] = made
        return made

    def ones(self, side: int) -> Tile:
        """The all-ones f16 tile of a side: sums lanes into every lane."""
        key = ("ones", side, 0)
        if key not in self.tiles:
            slices, base = self.columns(side, Type.F16, 1, "ones")
            self.tiles[key] = Tile(
                f"ones.{side}",
                Type.F16,
                side,
                self.g.columns // 16,
                uniform=True,
                slices=slices,
                base=base,
            )
        return self.tiles[key]

    def pattern(
        self,
        name: str,
        side: int,
        block: NDArray[np.float32] | None = None,
        type_: Type = Type.F16,
    ) -> Tile:
        """A constant tile of a side (i8: of its first plane); `block` [column, row] is needed when it is first asked for."""
        key = (name, side, 0)
        if key not in self.tiles:
            assert block is not None
            groups, plane = self.g.columns // 16, 0 if type_ is Type.I8 else -1
            slices, base = self.columns(side, type_, groups, name)
            self.tiles[key] = Tile(
                f"{name}.{side}", type_, side, groups, plane=plane, slices=slices, base=base
            )
            self.patterns[key] = block
        return self.tiles[key]

    def identity(self, side: int) -> Tile:
        """The f16 tile that hands its input through (for sums over rows)."""
        return self.pattern("identity", side, np.eye(self.g.lanes, dtype=np.float32))

    def head_ones(self, side: int, head_dim: int = 0) -> Tile:
        """The f16 tile that sums the lanes of each head into all of its lanes; `head_dim` when first made."""
        block = None
        if head_dim:
            head = np.arange(self.g.lanes) // head_dim
            block = (head[:, None] == head[None, :]).astype(np.float32)
        return self.pattern("head_ones", side, block)

    def zero_row(self) -> Buffer:
        """One f16 row of zeros: word 0 of two work slices, which nothing ever writes."""
        return Buffer(
            "zeros",
            Type.F16,
            fixed=True,
            constant=True,
            slices=tuple((s,) for s in self.work[EAST][:2]),
            bases=(0, 0),
        )

    # -------------------------------------------------------------------------------------------------------- bytes
    def write(self, memory: Memory, model: Model) -> None:
        """Put every constant into memory."""
        for name, content in self.contents.items():
            store(memory, self.buffers[name], np.asarray(content))
        for tile in self.tiles.values():
            if tile.uniform:
                half = len(tile.slices) // 2
                memory.data[list(tile.slices[half:]), tile.base] = 0x3C  # 1.0 in f16 is 0x3C00
        for place, block in self.patterns.items():
            store_tile(memory, self.tiles[place], block)
        for key, matrix in self.matrices.items():
            folded = matrix.folded(model)
            mine = {(o, i): tile for (owner, o, i), tile in self.tiles.items() if owner == key}
            if next(iter(mine.values())).type is Type.I8:
                folded = np.rint(folded / matrix.scales(folded)[:, None])
            for (o, i), tile in mine.items():
                store_tile(memory, tile, matrix.block(folded, o, i, self.g.lanes))

    @property
    def weight_slices(self) -> tuple[int, ...]:
        """Slices that hold weight tiles and caches."""
        return tuple(s for side in self.banks.values() for bank in side for s in bank)

    @property
    def work_slices(self) -> tuple[int, ...]:
        """Slices that hold everything else."""
        return tuple(s for side in self.work.values() for s in side)

    def text_ranges(self) -> list[tuple[int, int, int]]:
        """(slice, first word, end word) of what is kept for program text."""
        first, end = self.g.words - self.text_words, self.g.words
        return [(s, first, end) for s in self.work_slices]

    def table_words(self) -> int:
        """Words taken from the top of slices by look-up tables."""
        work = set(self.work_slices)
        return sum(
            self.g.words - (self.text_words if s in work else 0) - top
            for s, top in enumerate(self.top)
        )

    def constant_ranges(self) -> NDArray[np.int64]:
        """(slice, first word, end word) of everything no program writes."""
        rows = []
        for tile in self.tiles.values():
            words = 1 if tile.uniform else tile.n_groups
            rows += [(s, tile.base, tile.base + words) for s in tile.slices]
        for buffer in self.buffers.values():
            if buffer.constant:
                rows += [
                    (s, b, b + buffer.rows)
                    for (s,), b in zip(buffer.slices, buffer.bases, strict=True)
                ]
        return np.array(sorted(rows), np.int64).reshape(-1, 3)


def new_image(g: Geometry, text_words: int, *, compact: bool = False, even: bool = False) -> Image:
    """An empty image for a chip: work slices inside, weight banks of 16 slices outside."""
    work: dict[int, tuple[int, ...]] = {}
    banks: dict[int, list[tuple[int, ...]]] = {}
    for side in (WEST, EAST):
        mine = [side * g.n_side + m for m in range(g.n_side)]
        outer = [s for s in mine if abs(g.slice_x[s]) > _WORK_HOPS]
        n_banks = len(outer) // (2 * g.per_group) * 2
        outer = outer[len(outer) - n_banks * g.per_group :]
        banks[side] = [tuple(outer[i : i + g.per_group]) for i in range(0, len(outer), g.per_group)]
        taken = set(outer)
        work[side] = tuple(s for s in mine if s not in taken)[:12]
    top = [g.words] * (2 * g.n_side)
    for side in (WEST, EAST):
        for s in work[side]:
            top[s] -= text_words
    return Image(
        g=g,
        next_word=[1] * (2 * g.n_side),
        top=top,
        text_words=text_words,
        compact=compact,
        even=even,
        work=work,
        banks=banks,
    )


def store(memory: Memory, buffer: Buffer, rows: NDArray[np.generic], first: int = 0) -> None:
    """Write rows [n, 320] of the buffer's type into memory."""
    raw = to_bytes(rows, buffer.type)
    for byte, (slices, base) in enumerate(zip(buffer.slices, buffer.bases, strict=True)):
        if len(slices) == 1:  # one run of words, without index arrays
            memory.data[slices[0], base + first : base + first + len(rows)] = raw[:, byte]
            continue
        word, nth = _words(buffer, len(slices), np.arange(first, first + len(rows)))
        memory.data[np.array(slices)[nth], base + word] = raw[:, byte]


def fetch(memory: Memory, buffer: Buffer) -> NDArray[np.generic]:
    """Read a buffer back as [rows, 320] of its type."""
    raw = np.zeros((buffer.rows, memory.data.shape[2], buffer.type.n_streams), np.uint8)
    for byte, (slices, base) in enumerate(zip(buffer.slices, buffer.bases, strict=True)):
        if len(slices) == 1:
            raw[:, :, byte] = memory.data[slices[0], base : base + buffer.rows]
            continue
        word, nth = _words(buffer, len(slices), np.arange(buffer.rows))
        raw[:, :, byte] = memory.data[np.array(slices)[nth], base + word]
    return raw.view(_NUMPY[buffer.type])[..., 0]


def _words(
    buffer: Buffer, n_slices: int, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Word (from the base on) and slice of rows of a buffer that is spread over slices (`Buffer.location`)."""
    run = buffer.run or 1
    turn, inside = np.divmod(rows, run * n_slices)
    nth, word = np.divmod(inside, run)
    return turn * run + word, nth


_NUMPY: dict[Type, np.dtype[Any]] = {
    Type.F32: np.dtype("<f4"),
    Type.I32: np.dtype("<i4"),
    Type.F16: np.dtype("<f2"),
    Type.I8: np.dtype("i1"),
    Type.U8: np.dtype("u1"),
}


def to_bytes(rows: NDArray[np.generic], type_: Type) -> NDArray[np.uint8]:
    """[n, 320] values → [n, bytes, 320]. A u16 array passes as f16 (address maps)."""
    if rows.dtype.itemsize != type_.n_streams:
        rows = rows.astype(_NUMPY[type_])
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(*rows.shape, type_.n_streams)
    return raw.transpose(0, 2, 1)


def store_tile(memory: Memory, tile: Tile, block: NDArray[np.float32]) -> None:
    """Block [column, row] → column 16 g + s to slice s, word base + g (f16: low bytes first 16 slices, then high)."""
    if tile.type is Type.I8:
        planes = [block.astype(np.int8).view(np.uint8)]
    else:
        raw = block.clip(-65504, 65504).astype("<f2").view(np.uint8).reshape(*block.shape, 2)
        planes = [raw[..., 0], raw[..., 1]]
    for byte, plane in enumerate(planes):
        for s in range(16):
            rows = plane[s : 16 * tile.n_groups : 16]
            memory.data[tile.slices[16 * byte + s], tile.base : tile.base + tile.n_groups] = rows


def lanes_of(dims: Lanes, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A vector over dimensions laid on lanes, [chunks, 320], zero where no dimension lies."""
    out = np.zeros(dims.shape, np.float32)
    out[dims >= 0] = values[dims[dims >= 0]]
    return out
