"""MXM instructions on the tape: products by batches, accumulator entries as values.

`weights` finds which weights every activation meets; here its batches become operations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from takt.lpu.fast.codes import WORD_BYTES, Code
from takt.lpu.fast.scene import Scene
from takt.lpu.fast.tape import Tiles
from takt.lpu.fast.weights import Products, find_products
from takt.lpu.isa.table import ADD, EMIT, KEEP, Type

Ints = NDArray[np.int64]

_FLOATS = (Type.F32, Type.F16)


class Matrices:
    """The MXM's part of a program: products, and for every `acc` the result that it takes.

    Creating it gives words to all issues that have any; `emit` writes the operations, when all planes have values.
    """

    def __init__(self, scene: Scene, acc: Ints) -> None:
        self.scene = scene
        self.acc = acc
        issues = scene.issues
        self.products: Products = find_products(issues, scene.queues, scene.chip, scene.sources)
        products = self.products
        self.value = scene.tape.reserve(len(products.batch_rows))
        scene.word[products.abc] = self.value[products.batch] + products.row * WORD_BYTES
        self.result = np.zeros(len(acc), np.int64)
        if len(acc):
            time = issues.time[acc] - scene.chip.mxm.activation_to_result_cycles
            # The queues of a plane are numbered w, a, c.
            taken = scene.dispatched(issues.queue[acc] - 1, time, products.abc)
            self.result = scene.word[taken]
        adds = issues.c[acc] & ADD != 0
        scene.word[acc] = self.result
        scene.word[acc[adds]] = scene.tape.reserve(int(adds.sum()))

    def emit(self) -> Tiles:
        """Write all operations; returns the tiles that the products refer to."""
        for is_f16 in (True, False):
            for rows in np.unique(self.products.batch_rows).tolist():
                self._emit_products(is_f16, rows)
        self._emit_accumulators()
        tiles = self.products.tiles
        return Tiles(rows=self.scene.planes_of(tiles.rows), is_f16=tiles.is_f16)

    def _emit_products(self, is_f16: bool, rows: int) -> None:
        """One operation for each batch of so many activations, at the dispatch of its last one."""
        products, scene = self.products, self.scene
        chosen = products.tiles.is_f16[products.batch_tile] == is_f16
        batch = np.flatnonzero(chosen & (products.batch_rows == rows))
        if not len(batch):
            return
        width = 2 if is_f16 else 1
        abc = products.abc[products.batch_first[batch][:, np.newaxis] + np.arange(rows)]
        args = scene.inputs(abc.reshape(-1), 0, width).reshape(len(batch), rows * width)
        scene.tape.emit(
            Code.MATRIX_F16 if is_f16 else Code.MATRIX_I8,
            scene.key(abc[:, -1]),
            args,
            issue=abc[:, -1],
            into=self.value[batch],
            size=rows * WORD_BYTES,
            n=rows,
            imm=products.batch_tile[batch],
        )

    def _emit_accumulators(self) -> None:
        """Entries are values too: each `acc` that adds refers to the last one that kept."""
        acc, scene, issues = self.acc, self.scene, self.scene.issues
        flags, old = issues.c[acc], self._entries()
        is_float = np.isin(issues.d[acc], [int(kind) for kind in _FLOATS])
        for code, of_type in ((Code.ACC_F32, is_float), (Code.ACC_I32, ~is_float)):
            adds = (flags & ADD != 0) & of_type
            issue = acc[adds]
            args = np.stack([old[adds], self.result[adds]], axis=1)
            scene.tape.emit(code, scene.key(issue), args, issue=issue, into=scene.word[issue])
        scene.split(acc[flags & EMIT != 0])

    def _entries(self) -> Ints:
        """References to what each `acc` finds in its entry; zeros if nothing was kept there before."""
        acc, issues = self.acc, self.scene.issues
        order = np.lexsort((issues.time[acc], issues.a[acc], issues.queue[acc]))
        entry = issues.queue[acc][order].astype(np.int64) << 32 | issues.a[acc][order]
        kept = np.where(issues.c[acc][order] & KEEP != 0, np.arange(len(acc)), -1)
        before = np.full(len(acc), -1, np.int64)
        before[1:] = np.maximum.accumulate(kept)[:-1]
        known = (before >= 0) & (entry[before] == entry)
        old = np.zeros(len(acc), np.int64)
        old[order] = np.where(known, self.scene.word[acc[order[before]]], 0)
        return old
