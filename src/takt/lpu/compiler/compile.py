"""The compiler's front door: a model on a chip, and its programs on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from takt.chips import Chip
from takt.errors import CapacityError, CompileError, UnsupportedError, UsageError
from takt.lpu.compiler.bound import Bound
from takt.lpu.compiler.encode import Encode
from takt.lpu.compiler.geometry import Geometry, geometry
from takt.lpu.compiler.host import write_chunk, write_step
from takt.lpu.compiler.image import fetch, new_image
from takt.lpu.compiler.ir import Plan
from takt.lpu.compiler.layout import Layout, lay_out
from takt.lpu.compiler.lower import Chunk, Decode
from takt.lpu.compiler.passes import Work, run_passes
from takt.lpu.compiler.schedule import Placed
from takt.lpu.isa import Program
from takt.lpu.isa.table import Type
from takt.lpu.machine import Activity, Memory
from takt.models import Model
from takt.units import format_bytes

DEFAULT_CONTEXT = 2048
"""Positions laid out if the caller names none and the model allows more."""

_TEXT_WORDS = {"decoder": 768, "encoder": 2048}
"""Words of each work slice kept for program text: 20 instructions a word; an encoder's program is one, but long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One compiled program with what the compiler knows of it. `program.cycles` is the claim."""

    program: Program
    bound: Bound
    activity: Activity
    placed: tuple[Placed, ...]
    sram_bytes: int


@dataclass(slots=True, eq=False)
class Compiled:
    """A model placed on a chip. `decode(position)` gives the step program for a position."""

    model: Model
    chip: Chip
    layout: Layout
    weights: str
    context: int
    steps: dict[str, Step] = field(default_factory=dict)

    def decode(self, position: int) -> Step:
        """The program of one decode step at `position`; one program serves each block of 320 positions."""
        if not 0 <= position < self.context:
            raise UsageError(
                f"position {position} is outside the compiled context of {self.context}"
            )
        block = position // self.chip.lanes
        return self._step(f"decode.{block}", lambda: Decode(self.layout, block).build())

    def prompt(self, start: int) -> Step:
        """The program that puts `layout.chunk` prompt positions from `start` (a multiple of it) into the caches."""
        if start % self.layout.chunk or not 0 <= start < self.context:
            raise UsageError(
                f"prompt chunks start at multiples of {self.layout.chunk} below {self.context}"
            )
        return self._step(f"prompt.{start}", lambda: Chunk(self.layout, start).build())

    def encode(self) -> Step:
        """The program of an encoder: a whole sequence."""
        return self._step("encode", lambda: Encode(self.layout).build())

    def _step(self, name: str, build: Callable[[], Plan]) -> Step:
        if name not in self.steps:
            g = self.layout.image.g
            work = run_passes(Work(chip=self.chip, geometry=g, layout=self.layout, build=build))
            if work.program is None or work.bound is None or work.activity is None:
                raise CompileError(f"the passes made no program for {name}")
            self.steps[name] = Step(
                program=work.program,
                bound=work.bound,
                activity=work.activity,
                placed=work.placed,
                sram_bytes=work.words_used * self.chip.lanes,
            )
        return self.steps[name]

    def load(self, memory: Memory) -> None:
        """Put weights and tables into SRAM."""
        self.layout.image.write(memory, self.model)

    def write_inputs(self, memory: Memory, token: int, position: int) -> None:
        """Write a decode step's descriptors (which token, which position)."""
        if not 0 <= token < self.model.shape.vocab_size:
            raise UsageError(
                f"token {token} is outside the vocabulary of {self.model.shape.vocab_size}"
            )
        write_step(self.layout, memory, token, position)

    def write_tokens(self, memory: Memory, tokens: Sequence[int]) -> None:
        """Write the tokens of a prompt chunk or of an encoder's sequence."""
        ids = np.asarray(tokens, np.int64)
        if ids.size and not (ids.min() >= 0 and ids.max() < self.model.shape.vocab_size):
            raise UsageError(f"a token is outside the vocabulary of {self.model.shape.vocab_size}")
        write_chunk(self.layout, memory, ids)

    def read_pooled(self, memory: Memory, which: str = "pooled") -> NDArray[np.float32]:
        """Encoder output, f32 [dim]: "pooled" (mean over tokens) or "first"."""
        return self._on_dims(
            fetch(memory, self.layout.outputs[which]), self.layout.hidden, self.model.shape.dim
        )

    def read_logits(self, memory: Memory) -> NDArray[np.float32]:
        """Logits of the last step, f32 [vocabulary]."""
        rows = fetch(memory, self.layout.outputs["logits"])
        return self._on_dims(rows, self.layout.vocab, self.model.shape.vocab_size)

    @staticmethod
    def _on_dims(rows: NDArray[np.generic], dims: NDArray[np.int64], n: int) -> NDArray[np.float32]:
        out = np.zeros(n, np.float32)
        out[dims[dims >= 0]] = rows[dims >= 0]
        return out


def compile_model(
    model: Model, chip: Chip, *, weights: str = "fp16", context: int | None = None
) -> Compiled:
    """Place `model` on `chip` for up to `context` positions (default: what the model allows, at most 2,048).

    Raises CapacityError if it does not fit, UnsupportedError for what this compiler cannot express.
    """
    if weights not in ("fp16", "int8"):
        raise UsageError(f"weights {weights!r}: expected 'fp16' or 'int8'")
    if model.shape.special_parts:
        parts = ", ".join(model.shape.special_parts)
        raise UnsupportedError(
            f"{model.shape.name} has {parts}: not compiled for one chip",
            hint="takt compile --system compiles some of these for many chips",
        )
    limit = model.shape.max_context
    context = min(limit, DEFAULT_CONTEXT) if context is None else context
    if not 1 <= context <= limit:
        raise UsageError(f"context {context}: the model allows 1 to {limit}")
    if chip.lanes != 320:
        raise UnsupportedError(
            f"the compiler lays vectors on 320 lanes, chip {chip.id} has {chip.lanes}"
        )
    g = geometry(chip)
    text_words = _TEXT_WORDS[model.shape.family]
    type_ = Type.I8 if weights == "int8" else Type.F16
    try:
        layout = lay_out(model, new_image(g, text_words), type_, context)
    except CapacityError:
        layout = _compact_layout(model, chip, g, text_words, type_, context)
    return Compiled(model=model, chip=chip, layout=layout, weights=weights, context=context)


def _compact_layout(
    model: Model, chip: Chip, g: Geometry, text_words: int, type_: Type, context: int
) -> Layout:
    """A layout that is a little slower but fits more. Raises CapacityError that says what might fit."""
    try:
        return lay_out(model, new_image(g, text_words, compact=True), type_, context)
    except CapacityError as error:
        ways = [] if type_ is Type.I8 else ["int8 weights"]
        ways += [f"a context shorter than {context}"] if context > chip.lanes else []
        ways += ["a chip file with a larger mem.words_per_slice"]
        size = model.shape.n_parameters * (1 if type_ is Type.I8 else 2)
        raise CapacityError(
            f"{model.shape.name} does not fit {chip.id}: {error.message}; its weights alone are "
            f"{format_bytes(size)} of {format_bytes(chip.sram_bytes)}, before padding to lanes, tables and caches",
            hint="try " + ", or ".join(ways),
        ) from None
