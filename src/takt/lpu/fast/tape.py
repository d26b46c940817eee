"""A tape being written: blocks of alike operations on values, and the passes over all of them.

A *reference* names bytes: value number · 2¹⁶ + offset, or −1 − offset into the chip's memory. Operations are given in
blocks (numpy arrays), each with its place in the order (`key`); `finish` drops what nobody uses, lets values that are
plain copies of unchanging memory be that memory, sorts, and gives every value a place in the arena.
It knows values and order, nothing of streams or units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.lpu.fast import _kernels
from takt.lpu.fast.codes import LANES, WORD_BYTES, Code

Ints = NDArray[np.int64]

OFFSET_BITS = 16
_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_EFFECTS = (
    Code.WRITE,
    Code.SCATTER,
    Code.GATHER,
    Code.PERMUTE,
    Code.SEND,
)  # kept though nobody may use the result
_END = np.iinfo(np.int64).max


def in_memory(offset: Ints) -> Ints:
    """References to memory at byte offsets."""
    return -1 - offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Ops:
    """Operations as columns.

    `value` is the number of the value each makes (−1: none), `size` its bytes; operands of operation i are the references
    `args[start[i] : start[i] + n_args[i]]`; `target` is the reference that a WRITE or SEND fills, for a SCATTER the slice;
    `issue` is the issue behind it.
    """

    code: Ints
    n: Ints
    key: Ints
    imm: NDArray[np.uint64]
    value: Ints
    size: Ints
    target: Ints
    issue: Ints
    start: Ints
    n_args: Ints
    args: Ints

    def __len__(self) -> int:
        return len(self.code)

    def chosen(self, which: NDArray[np.generic]) -> Ops:
        """A subset or permutation of the operations; `args` stays whole."""
        names = ("code", "n", "key", "imm", "value", "size", "target", "issue", "start", "n_args")
        return Ops(**{name: getattr(self, name)[which] for name in names}, args=self.args)

    def uses(self) -> tuple[Ints, Ints]:
        """(operation, index into args) of every operand."""
        op = np.repeat(np.arange(len(self)), self.n_args)
        nth = np.arange(len(op)) - np.repeat(np.cumsum(self.n_args) - self.n_args, self.n_args)
        return op, self.start[op] + nth


class Builder:
    """Collects operations.

    Value 0 is a vector of zeros; then come constants of 32-bit lanes, then slots for vectors on links; all of these keep
    one place for good.
    """

    def __init__(self, constants: NDArray[np.uint32], n_slots: int = 0) -> None:
        self.constants = np.concatenate([np.zeros(1, np.uint32), constants])
        self.n_fixed = len(self.constants) + n_slots
        self.n_values = self.n_fixed
        self._blocks: list[dict[str, NDArray[np.generic]]] = []

    def constant(self, words: NDArray[np.uint32]) -> Ints:
        """References to the constants with these patterns, which must have been announced."""
        return (np.searchsorted(self.constants[1:], words) + 1).astype(np.int64) << OFFSET_BITS

    def slots(self) -> Ints:
        """References to the slots."""
        return np.arange(len(self.constants), self.n_fixed, dtype=np.int64) << OFFSET_BITS

    def reserve(self, n: int) -> Ints:
        """References to `n` new values, made by a block emitted later."""
        first, self.n_values = self.n_values, self.n_values + n
        return np.arange(first, first + n, dtype=np.int64) << OFFSET_BITS

    def emit(
        self,
        code: int | Ints,
        key: Ints,
        args: Ints,
        *,
        issue: Ints,
        into: Ints | None = None,
        size: int | Ints = WORD_BYTES,
        n: int | NDArray[np.generic] = 0,
        imm: int | NDArray[np.generic] = 0,
        target: Ints | None = None,
    ) -> Ints:
        """Add operations; `args` is [operations, operands]. Returns references to the values they make."""
        count = len(key)
        makes = target is None
        if into is None:
            into = self.reserve(count) if makes else np.full(count, -1, np.int64)

        def column(value: int | NDArray[np.generic], dtype: type) -> NDArray[np.generic]:
            return np.broadcast_to(np.asarray(value), count).astype(dtype)

        self._blocks.append(
            {
                "code": column(code, np.int64),
                "n": column(n, np.int64),
                "key": key,
                "imm": column(imm, np.uint64),
                "value": into >> OFFSET_BITS if makes else into,
                "size": column(size if makes else 0, np.int64),
                "target": into * 0 if target is None else target,
                "issue": issue,
                "n_args": np.full(count, args.shape[1], np.int64),
                "args": np.ascontiguousarray(args).reshape(-1),
            }
        )
        return into

    def ops(self) -> Ops:
        """All operations so far."""
        names = ("code", "n", "key", "imm", "value", "size", "target", "issue", "n_args", "args")
        empty = np.zeros(0, np.int64)
        columns = {
            k: np.concatenate(
                [empty.astype(np.uint64 if k == "imm" else np.int64), *(b[k] for b in self._blocks)]
            )
            for k in names
        }
        start = np.cumsum(columns["n_args"]) - columns["n_args"]
        return Ops(start=start, **columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """Rows that each matrix operation reads beside its operands: `rows[tile]` are references."""

    rows: Ints  # [tiles, columns, 2]
    is_f16: NDArray[np.bool_]


def _tile_of(ops: Ops) -> tuple[Ints, Ints]:
    """(operation, tile) of all matrix operations."""
    matrix = np.flatnonzero((ops.code == Code.MATRIX_F16) | (ops.code == Code.MATRIX_I8))
    return matrix, ops.imm[matrix].astype(np.int64)


def drop_unused(ops: Ops, tiles: Tiles, n_values: int) -> Ops:
    """Without the operations whose value no kept operation uses, directly or in steps."""
    effects = np.isin(ops.code, _EFFECTS)
    while True:
        used = np.zeros(n_values, np.bool_)
        _, at = ops.uses()
        named = ops.args[at]
        used[named[named >= 0] >> OFFSET_BITS] = True
        _, tile = _tile_of(ops)
        rows = tiles.rows[np.unique(tile)]
        used[rows[rows >= 0] >> OFFSET_BITS] = True
        keep = effects | used[ops.value]
        if keep.all():
            return ops
        ops, effects = ops.chosen(keep), effects[keep]


def last_uses(ops: Ops, tiles: Tiles, n_values: int, when: Ints) -> Ints:
    """For every value the largest `when` (one number an operation) among the operations that use it; −1 for none."""
    last = np.full(n_values, -1, np.int64)
    op, at = ops.uses()
    named = ops.args[at]
    real = named >= 0
    np.maximum.at(last, named[real] >> OFFSET_BITS, when[op[real]])
    matrix, tile = _tile_of(ops)
    last_of_tile = np.full(len(tiles.rows), -1, np.int64)
    np.maximum.at(last_of_tile, tile, when[matrix])
    of_row = np.broadcast_to(last_of_tile[:, np.newaxis, np.newaxis], tiles.rows.shape)
    real = (tiles.rows >= 0) & (of_row >= 0)
    np.maximum.at(last, tiles.rows[real] >> OFFSET_BITS, of_row[real])
    return last


def share_memory(ops: Ops, tiles: Tiles, n_values: int, words: int) -> tuple[Ops, Tiles]:
    """Without the READs of words that nothing writes before the last use: users refer to memory itself."""
    reads = np.flatnonzero(ops.code == Code.READ)
    source = ops.args[ops.start[reads]]
    word = (-1 - source) // LANES
    last = last_uses(ops, tiles, n_values, ops.key)[ops.value[reads]]
    changed = np.minimum(
        _next_write(ops, word, ops.key[reads]), _next_scatter(ops, word // words, ops.key[reads])
    )
    shared = (changed > last) & (source < 0)
    instead = np.arange(n_values, dtype=np.int64) << OFFSET_BITS
    instead[ops.value[reads[shared]]] = source[shared]
    keep = np.ones(len(ops), np.bool_)
    keep[reads[shared]] = False
    kept = ops.chosen(keep)
    return (
        Ops(
            **{
                **{name: getattr(kept, name) for name in Ops.__slots__},
                "args": _replaced(ops.args, instead),
            }
        ),
        Tiles(rows=_replaced(tiles.rows, instead), is_f16=tiles.is_f16),
    )


def _replaced(references: Ints, instead: Ints) -> Ints:
    """References with the values' stand-ins; only values without offset are ever replaced."""
    value = np.maximum(references, 0)
    standing_in = instead[value >> OFFSET_BITS]
    offset = np.where(standing_in < 0, 0, value & _OFFSET_MASK)
    return np.where(references < 0, references, standing_in + offset)


def _next_write(ops: Ops, word: Ints, key: Ints) -> Ints:
    """Key of the first WRITE to each word that comes after the given key."""
    writes = np.flatnonzero(ops.code == Code.WRITE)
    if not len(writes) or not len(word):
        return np.full(len(word), _END)
    written = (-1 - ops.target[writes]) // LANES
    order = np.lexsort((ops.key[writes], written))
    written, when = written[order], ops.key[writes][order]
    # Search by (word, key) with the keys replaced by their ranks, so that both fit one integer.
    ranks = np.sort(when)
    n = len(ranks) + 1
    packed = written * n + np.searchsorted(ranks, when)
    at = np.searchsorted(packed, word * n + np.searchsorted(ranks, key))
    found = at < len(packed)
    at = np.minimum(at, len(packed) - 1)
    return np.where(found & (written[at] == word), when[at], _END)


def _next_scatter(ops: Ops, slices: Ints, key: Ints) -> Ints:
    """Key of the first SCATTER into each slice after the given key."""
    out = np.full(len(slices), _END)
    scatters = np.flatnonzero((ops.code == Code.SCATTER) & (ops.n == 0))
    for target in np.unique(ops.target[scatters]):
        when = np.sort(ops.key[scatters[ops.target[scatters] == target]])
        here = slices == target
        at = np.searchsorted(when, key[here])
        out[here] = np.append(when, _END)[at]
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Operations in order, and the arena offset of every value."""

    ops: Ops
    offset: Ints
    arena_bytes: int


def place(ops: Ops, tiles: Tiles, n_values: int, n_fixed: int) -> Placed:
    """Sort by key and give values places, fixed ones first."""
    ops = ops.chosen(np.argsort(ops.key, kind="stable"))
    here = np.arange(len(ops))
    makes = ops.value >= 0
    last = last_uses(ops, tiles, n_values, here)
    last_of_op = np.where(makes, np.maximum(last[ops.value], here), here)
    offset_of_op = np.zeros(len(ops), np.int64)
    size = np.where(makes, ops.size, 0)
    used = _kernels.place(size, np.ascontiguousarray(last_of_op), offset_of_op)
    first = n_fixed * WORD_BYTES
    offset = np.arange(n_values, dtype=np.int64) * WORD_BYTES  # right for fixed ones
    offset[ops.value[makes]] = offset_of_op[makes] + first
    return Placed(ops=ops, offset=offset, arena_bytes=first + used)
