"""A lifted program with pointers into one chip's memory, and the call that carries out a stretch of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.lpu.fast import _kernels
from takt.lpu.fast.codes import LANES, OP_DTYPE, WORD_BYTES, Code
from takt.lpu.fast.columns import make_columns
from takt.lpu.fast.lift import Lifted
from takt.lpu.fast.links import LinkEvent
from takt.lpu.fast.tape import OFFSET_BITS
from takt.lpu.isa.program import Program
from takt.lpu.machine.state import Memory, RunResult

Ints = NDArray[np.int64]

_CACHE_LINE = 64
_WORTH_THREADS = 32_000_000  # bytes of weights; below, helper threads cost more than they bring
_OFFSET_MASK = (1 << OFFSET_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    """How many threads to use: `always`, or only where there are many weights."""

    number: int
    always: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A program ready to run on one engine's memory: result known, operations resolved to addresses.

    It holds on to the memory that its operations point into. `host_bytes` is what it adds to the host's memory.
    """

    program: Program
    result: RunResult
    ops: NDArray[np.void]
    args: NDArray[np.uint64]
    columns: NDArray[np.void]
    tiles: Ints
    issue: NDArray[np.int32]  # of every operation, as (cycle, queue, row of the program)
    arena: NDArray[np.uint8]
    tile_bytes: int  # of weights that a run looks at, at most
    links: tuple[LinkEvent, ...]
    memory: Memory

    @property
    def n_ops(self) -> int:
        """Operations of the tape."""
        return len(self.ops)

    @property
    def host_bytes(self) -> int:
        """Bytes of tape and working vectors; weights are used where they lie in the chip's memory."""
        parts = (self.ops, self.args, self.columns, self.tiles, self.issue, self.arena)
        return sum(part.nbytes for part in parts)

    def carry_out(self, first: int, end: int, threads: Threads) -> tuple[int, int]:
        """Run the operations [first, end); (0, −1), or the kind of a fault and the operation at fault."""
        chosen = threads.number if threads.always or self.tile_bytes >= _WORTH_THREADS else 1
        kind, at = _kernels.run(
            self.ops[first:end],
            self.args,
            self.columns,
            self.tiles,
            end - first,
            self.memory.data.shape[1],
            chosen,
        )
        return (kind, first + at) if kind else (0, -1)


def resolve(
    program: Program,
    lifted: Lifted,
    chip: Chip,
    memory: Memory,
    *,
    result: RunResult,
    constant: Ints,
) -> Prepared:
    """References to addresses; the ranges `constant` may be measured once and for all."""
    placed, issues = lifted.placed, lifted.issues
    arena = _aligned(placed.arena_bytes)
    constants = arena[: len(lifted.constants) * WORD_BYTES].view(np.uint32).reshape(-1, LANES)
    constants[:] = lifted.constants[:, np.newaxis]
    base = placed.offset + arena.ctypes.data

    def address(references: Ints) -> NDArray[np.uint64]:
        value = np.maximum(references, 0)
        inside = base[value >> OFFSET_BITS] + (value & _OFFSET_MASK)
        return np.where(references < 0, memory.data.ctypes.data - 1 - references, inside).astype(
            np.uint64
        )

    source = placed.ops
    ops = np.zeros(len(source), OP_DTYPE)
    ops["code"], ops["n"], ops["imm"] = source.code, source.n, source.imm
    ops["args"] = np.cumsum(source.n_args) - source.n_args
    made = np.where(
        source.value >= 0,
        source.value << OFFSET_BITS,
        np.where(source.code == Code.SCATTER, 0, source.target),
    )
    ops["out"] = address(made)
    _, at = source.uses()
    words = chip.mem.words_per_slice
    columns, tiles = make_columns(lifted.tiles, constant, words, address)
    issue = source.issue
    return Prepared(
        program=program,
        result=result,
        ops=ops,
        args=np.append(address(source.args[at]), np.zeros(1, np.uint64)),
        columns=columns,
        tiles=tiles,
        issue=np.stack(
            [issues.time[issue], issues.queue[issue], issues.index[issue]], axis=1
        ).astype(np.int32),
        arena=arena,
        tile_bytes=_tile_bytes(ops, tiles),
        links=lifted.links,
        memory=memory,
    )


def _tile_bytes(ops: NDArray[np.void], tiles: Ints) -> int:
    """Low and high bytes of the columns of every matrix operation's tile."""
    matrix = (ops["code"] == Code.MATRIX_F16) | (ops["code"] == Code.MATRIX_I8)
    tile = ops["imm"][matrix].astype(np.int64)
    return int((tiles[tile + 1] - tiles[tile]).sum()) * 2 * LANES


def _aligned(n_bytes: int) -> NDArray[np.uint8]:
    """Zeros that start on a cache line."""
    room = np.zeros(n_bytes + _CACHE_LINE, np.uint8)
    first = -room.ctypes.data % _CACHE_LINE
    return room[first : first + n_bytes]
