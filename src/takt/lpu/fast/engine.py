"""The fast engine: proves a program's time once, then computes what it does to memory at native speed.

`prepare` checks the program and lifts it to a tape with pointers; `run` is one call into C. It gives the same bits in
memory, the same cycles and the same activity as the reference engine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.errors import UnsupportedError, UsageError
from takt.lpu.fast import _kernels
from takt.lpu.fast.codes import FAULTS, LANES, OP_DTYPE, SUPERLANES, WORD_BYTES, Code
from takt.lpu.fast.columns import make_columns
from takt.lpu.fast.lift import Lifted, lift
from takt.lpu.fast.links import LinkEvent, Links, route, settle
from takt.lpu.fast.tape import OFFSET_BITS
from takt.lpu.isa.program import Program, queues
from takt.lpu.machine.checker import prove
from takt.lpu.machine.faults import machine_fault
from takt.lpu.machine.state import Activity, Memory, RunResult

Ints = NDArray[np.int64]

_CACHE_LINE = 64
_MOST_THREADS = 64
_WORTH_THREADS = 32_000_000  # bytes of weights; below, helper threads cost more than they bring
_OFFSET_MASK = (1 << OFFSET_BITS) - 1


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


class FastEngine:
    """Runs prepared programs on one chip's memory.

    As on the machine, a run starts with empty streams, zero weights and zero accumulators. Words that a program
    declares constant must be in memory before `prepare` and stay as they are while what it returned is in use.
    """

    def __init__(self, chip: Chip, memory: Memory, *, threads: int | None = None) -> None:
        """`threads`: None takes TAKT_THREADS or, for programs with many weights, the number of processors.

        The bits do not depend on it. UsageError for a TAKT_THREADS that is no number of threads.
        """
        shape = (chip.lanes, chip.core.superlanes, chip.mxm.rows, chip.mxm.cols)
        if shape != (LANES, SUPERLANES, LANES, LANES):
            raise UnsupportedError(
                f"the fast engine is built for {LANES} lanes in {SUPERLANES} superlanes and square planes"
            )
        self.chip = chip
        self.memory = memory
        asked = _asked_threads() if threads is None else threads
        self.threads = asked or min(os.cpu_count() or 1, _MOST_THREADS)
        self._always = asked is not None

    def prepare(self, program: Program) -> Prepared:
        """Prove the program free of hazards and make it ready. MachineFault for the first broken law."""
        if program.chip_id != self.chip.id:
            raise UsageError(f"program is for chip {program.chip_id}, not {self.chip.id}")
        report = prove(program, self.chip)
        lifted = lift(program, self.chip)
        return self._resolve(program, lifted, report.cycles, report.activity)

    def run(self, prepared: Prepared, *, links: Links | None = None) -> RunResult:
        """Carry out a prepared program; memory and links (a FIFO of vectors each) are changed in place.

        MachineFault for what only data can break: addresses of gather and scatter, maps of permute, an empty link.
        Memory and links are then as they were before that cycle.
        """
        if prepared.memory is not self.memory:
            raise UsageError("the program was prepared for another memory")
        lines: Links = {} if links is None else links
        stop = route(prepared.links, lines, prepared.arena, prepared.args)
        kind, at = _kernels.run(
            prepared.ops,
            prepared.args,
            prepared.columns,
            prepared.tiles,
            prepared.n_ops if stop is None else stop.op,
            self.chip.mem.words_per_slice,
            self.threads if self._always or prepared.tile_bytes >= _WORTH_THREADS else 1,
        )
        fault: tuple[int, int, int, str] | None = None
        if kind:
            cycle, queue, row = prepared.issue[at].tolist()
            fault = cycle, queue, row, FAULTS[kind]
        elif stop is not None:
            fault = stop.cycle, stop.queue, stop.row, "link empty"
        settle(prepared.links, lines, prepared.arena, fault[0] if fault else None)
        if fault is None:
            return prepared.result
        cycle, queue, row, name = fault
        raise machine_fault(
            prepared.program,
            queues(self.chip),
            cycle=cycle,
            queue=queue,
            index=row,
            kind=name,
            why="found in the data of this run",
        )

    def _resolve(
        self, program: Program, lifted: Lifted, cycles: int, activity: Activity
    ) -> Prepared:
        """References to addresses."""
        placed, issues = lifted.placed, lifted.issues
        arena = _aligned(placed.arena_bytes)
        constants = arena[: len(lifted.constants) * WORD_BYTES].view(np.uint32).reshape(-1, LANES)
        constants[:] = lifted.constants[:, np.newaxis]
        base = placed.offset + arena.ctypes.data

        def address(references: Ints) -> NDArray[np.uint64]:
            value = np.maximum(references, 0)
            inside = base[value >> OFFSET_BITS] + (value & _OFFSET_MASK)
            return np.where(
                references < 0, self.memory.data.ctypes.data - 1 - references, inside
            ).astype(np.uint64)

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
        words = self.chip.mem.words_per_slice
        columns, tiles = make_columns(lifted.tiles, program.constant, words, address)
        issue = source.issue
        return Prepared(
            program=program,
            result=RunResult(cycles=cycles, activity=activity),
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
            memory=self.memory,
        )


def _tile_bytes(ops: NDArray[np.void], tiles: Ints) -> int:
    """Low and high bytes of the columns of every matrix operation's tile."""
    matrix = (ops["code"] == Code.MATRIX_F16) | (ops["code"] == Code.MATRIX_I8)
    tile = ops["imm"][matrix].astype(np.int64)
    return int((tiles[tile + 1] - tiles[tile]).sum()) * 2 * LANES


def _asked_threads() -> int | None:
    """TAKT_THREADS, if it is set. UsageError if it is no number of threads."""
    given = os.environ.get("TAKT_THREADS", "")
    if not given:
        return None
    if not given.isdecimal() or not 1 <= int(given) <= _MOST_THREADS:
        raise UsageError(f"TAKT_THREADS is '{given}', not a number from 1 to {_MOST_THREADS}")
    return int(given)


def _aligned(n_bytes: int) -> NDArray[np.uint8]:
    """Zeros that start on a cache line."""
    room = np.zeros(n_bytes + _CACHE_LINE, np.uint8)
    first = -room.ctypes.data % _CACHE_LINE
    return room[first : first + n_bytes]
