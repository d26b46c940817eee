"""An encoder in use on many chips: tokens in, one vector out.

The host writes the descriptors of a sequence and reads its vector; in between everything happens on the chips. This is
the only place where an encoder's weights are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.lpu.compiler.host import write_chunk
from takt.lpu.compiler.image import fetch, store
from takt.lpu.fast.system import FastSystem
from takt.lpu.machine import Activity, Memory, ReferenceSystem
from takt.lpu.machine.lockstep import SystemResult
from takt.lpu.system.encoder import EncoderCompiled
from takt.lpu.system.encoder_place import (
    EncoderLayout,
    layer_model,
    place_embedding,
    place_layer,
)
from takt.models import Model

ENGINES = ("fast", "reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSequence:
    """One sequence: its vector f32 [dim], pooled and normalised as the model says; cycles and activity of all chips."""

    vector: NDArray[np.float32]
    cycles: int
    activity: Activity


class EncoderSession:
    """An encoder's weights on the chips of a system. Not shared between threads."""

    def __init__(self, compiled: EncoderCompiled, model: Model, *, engine: str = "fast") -> None:
        """Raises UsageError for an unknown engine, or a model of another shape."""
        if engine not in ENGINES:
            raise UsageError(f"engine {engine!r}: expected 'fast' or 'reference'")
        if model.shape != compiled.shape:
            raise UsageError(f"compiled for {compiled.shape.name}, not for {model.shape.name}")
        self.compiled = compiled
        self.model = model
        n_chips = compiled.program().n_chips
        self.memories = [Memory(compiled.chip) for _ in range(n_chips)]
        self._tables = self._load()
        self._run = _runner(engine, compiled, self.memories)

    def encode(self, tokens: Sequence[int]) -> EncodedSequence:
        """Run one sequence. Raises UsageError for none or too many tokens, or one outside the vocabulary."""
        compiled, shape = self.compiled, self.model.shape
        if not 1 <= len(tokens) <= compiled.length:
            raise UsageError(
                f"{len(tokens)} tokens: this encoder was compiled for 1 to {compiled.length}"
            )
        if not all(0 <= token < shape.vocab_size for token in tokens):
            raise UsageError(f"a token is outside the vocabulary of {shape.vocab_size}")
        self._write(np.asarray(tokens, np.int64))
        result = self._run()
        which = "pooled" if shape.pooling == "mean" else "first"
        layout = compiled.parts.layout
        rows = fetch(self.memories[compiled.pool_chip], layout.outputs[which])
        vector = np.zeros(shape.dim, np.float32)
        vector[layout.hidden[layout.hidden >= 0]] = rows[layout.hidden >= 0]
        if shape.normalize:
            length = float(np.linalg.norm(vector.astype(np.float64)))
            vector = vector / np.float32(max(length, 1e-12))
        return EncodedSequence(vector=vector, cycles=result.cycles, activity=result.activity)

    def _load(self) -> EncoderLayout:
        """Weights, tables and constants of every chip; the layout of the token tables."""
        compiled, model = self.compiled, self.model.keeping()
        parts = compiled.parts
        slot = parts.layout.slot
        size = slot.words, slot.work_words
        first = layer_model(model, 0)
        tables = place_embedding(first, parts.plan, parts.room_beside_tables)
        tables.image.write(self.memories[compiled.token_chip], first)
        for held in compiled.held:
            one = layer_model(model, held.layer)
            for chip, number in zip(held.chips, held.slots, strict=True):
                out = place_layer(one, parts.plan, slot=number, size=size)
                out.image.write(self.memories[chip], one)
        return tables

    def _write(self, tokens: NDArray[np.int64]) -> None:
        """Descriptors: table addresses where tokens are looked up, who is seen and who counts in each chip's order."""
        compiled = self.compiled
        layout, n = compiled.parts.layout, len(tokens)
        write_chunk(self._tables, self.memories[compiled.token_chip], tokens)
        rows = layout.chunk // compiled.group_chips
        for group in compiled.groups:
            for place, chip in enumerate(group):
                if chip >= len(self.memories):
                    continue
                row = np.arange(layout.chunk)
                position = (row // rows ^ place) * rows + row % rows
                assert layout.packs is not None
                at = layout.packs.position
                seen = ((at >= 0) & (position[np.maximum(at, 0)] < n)).astype(np.uint8)[None]
                for side in (0, 1):
                    store(self.memories[chip], layout.inputs[f"seen{side}"], seen)
                share = np.where(position < n, np.float32(1.0 / n), np.float32(0))
                wide = np.repeat(share[:, None].astype(np.float32), layout.lanes, axis=1)
                store(self.memories[chip], layout.inputs["share"], wide)


def _runner(
    engine: str, compiled: EncoderCompiled, memories: list[Memory]
) -> Callable[[], SystemResult]:
    program = compiled.program()
    if engine == "reference":
        slow = ReferenceSystem(compiled.chip, memories)
        return lambda: slow.run(program)
    fast = FastSystem(compiled.chip, memories)
    prepared = fast.prepare(program)
    return lambda: fast.run(prepared)
