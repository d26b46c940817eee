"""A system program: which program runs on which chip, from which cycle on, and which wires join the chips.

A few distinct programs stand for all chips: an `Instance` runs one of them on one chip, with some of its memory
addresses moved and its links renamed (`relocated`). Here are the values, and what makes a system program well formed.
Whether it keeps the laws of the machine is judged in `system` (proof) and `lockstep` (steps).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip, Wire
from takt.errors import ProgramError
from takt.lpu.isa.program import Program
from takt.lpu.isa.table import BY_NAME, ROWS, Kind, Unit

Ints = NDArray[np.int64]

MAX_CYCLE = (1 << 40) - 1
"""Latest start of an instance."""
MAX_CHIPS = 1 << 16
"""Chips that a system may have."""
LINK_OPS = (BY_NAME["send"].op, BY_NAME["receive"].op)
_MAX_WORD = (1 << 16) - 1  # of an address column
MOVED_COLUMNS = tuple(
    (row.op, operand.column)
    for row in ROWS
    if row.unit is Unit.MEM
    for operand in row.operands
    if operand.kind is Kind.ADDRESS
)
"""Operands that a relocation moves. The text that `ifetch` reads is not among them: it stays where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Addresses in [first_word, end_word) of some slices (none named: of all) become `delta` words larger."""

    first_word: int
    end_word: int
    delta: int
    slices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One run of a program: on which chip, and the system cycle that is its cycle 0.

    Link n of the program is link `links[n]` of the chip; an empty tuple leaves all links as they are.
    """

    chip: int
    program: int
    start_cycle: int
    relocation: tuple[Move, ...] = ()
    links: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SystemProgram:
    """Programs, their runs on chips that are all alike, and the wires between those chips.

    Runs of one chip follow each other: between the last cycle of one and the start of the next lie at least
    `chip.launch_cycles`, in which the queues are filled; all starts are multiples of `c2c.epoch_cycles`. Each run begins
    with empty streams, planes at zero and full instruction buffers; memory lasts.
    """

    chip: Chip
    programs: tuple[Program, ...]
    instances: tuple[Instance, ...]
    wires: tuple[Wire, ...] = ()

    @property
    def n_chips(self) -> int:
        """One more than the largest number of a chip that runs anything or has a wire."""
        ends = (chip for wire in self.wires for chip in (wire.source_chip, wire.target_chip))
        return 1 + max((*(i.chip for i in self.instances), *ends), default=-1)


def relocated(program: Program, instance: Instance) -> Program:
    """The program as the instance runs it; the same object if nothing changes.

    A constant range moves with its words, in parts if need be. Raises ProgramError for a repeat that lies partly inside
    a move, for an address that leaves 0..65535, and for a link without a new number.
    """
    if not instance.relocation and not instance.links:
        return program
    rows = program.instructions.copy()
    for op, column in MOVED_COLUMNS if instance.relocation else ():
        chosen = np.flatnonzero(rows["op"] == op)
        rows[column][chosen] = _moved(rows[chosen], column, instance.relocation)
    if instance.links:
        chosen = np.flatnonzero(np.isin(rows["op"], LINK_OPS))
        rows["b"][chosen] = renamed(rows["b"][chosen].astype(np.int64), instance.links)
    constant, group = cut_ranges(program.constant, instance.relocation)
    constant[:, 1:] += deltas(instance.relocation)[group][:, np.newaxis]
    return replace(program, instructions=rows, constant=constant)


def _moved(rows: NDArray[np.void], column: str, moves: Sequence[Move]) -> Ints:
    """One address column of some rows after the moves."""
    low, high = reach(rows, column)
    group = groups(rows["queue"].astype(np.int64), low, high, moves)
    value: Ints = rows[column].astype(np.int64) + deltas(moves)[group]
    if np.any((value < 0) | (value > _MAX_WORD)):
        raise ProgramError(f"a relocation moves an address out of 0..{_MAX_WORD:,}")
    return value


def reach(rows: NDArray[np.void], column: str) -> tuple[Ints, Ints]:
    """Lowest and highest value of an address column over the repeats of each row."""
    first = rows[column].astype(np.int64)
    count = np.maximum(rows["count"].astype(np.int64), 1)
    last = first + (count - 1) * rows["step"]
    return np.minimum(first, last), np.maximum(first, last)


def deltas(moves: Sequence[Move]) -> Ints:
    """The words that each group is moved by; what `groups` numbers −1 is not moved."""
    return np.array([*(move.delta for move in moves), 0], np.int64)


def groups(slices: Ints, low: Ints, high: Ints, moves: Sequence[Move]) -> Ints:
    """Which move takes each run of words [low, high] of a slice; −1 for none.

    Raises ProgramError for a run that a move takes only in part.
    """
    group = np.full(len(low), -1, np.int64)
    for number, move in enumerate(moves):
        here = np.isin(slices, move.slices) if move.slices else np.ones(len(low), np.bool_)
        touches = here & (high >= move.first_word) & (low < move.end_word)
        inside = touches & (low >= move.first_word) & (high < move.end_word)
        if np.any(touches & ~inside):
            words = f"words {move.first_word:,}..{move.end_word - 1:,}"
            raise ProgramError(f"a repeated access lies partly in the {words} of a relocation")
        group[inside] = number
    return group


def cut_ranges(ranges: Ints, moves: Sequence[Move]) -> tuple[Ints, Ints]:
    """Rows (slice, first word, end word), cut at the edges of the moves, and which move takes each; −1 for none."""
    for edge in sorted({edge for move in moves for edge in (move.first_word, move.end_word)}):
        cut = (ranges[:, 1] < edge) & (edge < ranges[:, 2])
        upper = ranges[cut]
        upper[:, 1] = edge
        ranges = np.concatenate([ranges, upper])
        ranges[: len(cut), 2][cut] = edge
    ranges = ranges.copy()
    return ranges, groups(ranges[:, 0], ranges[:, 1], ranges[:, 2] - 1, moves)


def renamed(links: Ints, names: Sequence[int]) -> Ints:
    """Link numbers of a chip for those of a program. Raises ProgramError for a link that has no name."""
    if not names:
        return links
    if len(links) and links.max() >= len(names):
        raise ProgramError(f"link {links.max()} of a program is given no link of the chip")
    return np.array(names, np.int64)[links]


def verify_system(system: SystemProgram) -> None:
    """Raise ProgramError unless everything that is named exists, and wires and moves do not contradict each other."""
    for text in (*_program_faults(system), *_instance_faults(system), *_wire_faults(system)):
        raise ProgramError(text)


def _program_faults(system: SystemProgram) -> Iterator[str]:
    for program in system.programs:
        if program.chip_id != system.chip.id:
            yield f"program {program.name} is for chip {program.chip_id}, not {system.chip.id}"


def _instance_faults(system: SystemProgram) -> Iterator[str]:
    chip, n_programs = system.chip, len(system.programs)
    for i in system.instances:
        if (
            not 0 <= i.chip < MAX_CHIPS
            or not 0 <= i.start_cycle <= MAX_CYCLE
            or not 0 <= i.program < n_programs
        ):
            yield f"chip {i.chip} cannot start program {i.program} in cycle {i.start_cycle}"
    for names in {i.links for i in system.instances}:
        if any(not 0 <= link < chip.c2c.links for link in names):
            yield f"links are renamed to {names}; a chip has 0..{chip.c2c.links - 1}"
    yield from _rename_faults(system)
    for moves in {i.relocation for i in system.instances}:
        yield from _move_faults(moves, chip.mem_slices)


def _rename_faults(system: SystemProgram) -> Iterator[str]:
    """Programs that use a link beyond those that an instance renames."""
    highest = [
        int(rows["b"][np.isin(rows["op"], LINK_OPS)].max(initial=0))
        for rows in (program.instructions for program in system.programs)
    ]
    kinds = {(i.program, i.links) for i in system.instances if i.links}
    for program, names in kinds:
        if 0 <= program < len(highest) and highest[program] >= len(names):
            yield f"link {highest[program]} of program {program} is given no link of the chip"


def _move_faults(moves: Sequence[Move], n_slices: int) -> Iterator[str]:
    for n, move in enumerate(moves):
        if not 0 <= move.first_word < move.end_word or abs(move.delta) > _MAX_WORD:
            yield f"a relocation moves words {move.first_word}..{move.end_word} by {move.delta}"
        if any(not 0 <= slice_ < n_slices for slice_ in move.slices):
            yield f"a relocation names slices {move.slices}; a chip has 0..{n_slices - 1}"
        for other in moves[:n]:
            apart = move.end_word <= other.first_word or other.end_word <= move.first_word
            alike = not move.slices or not other.slices or {*move.slices} & {*other.slices}
            if alike and not apart:
                yield f"two moves of one relocation take word {max(move.first_word, other.first_word)}"


def _wire_faults(system: SystemProgram) -> Iterator[str]:
    n_links = system.chip.c2c.links
    sources = [(wire.source_chip, wire.source_link) for wire in system.wires]
    targets = [(wire.target_chip, wire.target_link) for wire in system.wires]
    for ends in (sources, targets):
        if len(set(ends)) < len(ends):
            yield "two wires share one end of a link"
        for chip, link in ends:
            if not 0 <= chip < MAX_CHIPS or not 0 <= link < n_links:
                yield f"a wire ends at link {link} of chip {chip}"
    if any(wire.extra_cycles < 0 for wire in system.wires):
        yield "a wire brings its vectors before they are sent"
