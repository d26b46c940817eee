"""A model in use on many chips: token in, logits out.

The host writes each chip the descriptors of a step and reads the logits from the chips that make them; in between
everything happens on the chips and the wires between them.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.lpu.compiler.host import write_step
from takt.lpu.compiler.image import fetch
from takt.lpu.fast.system import FastSystem
from takt.lpu.machine import Activity, Memory, ReferenceSystem, SystemProgram
from takt.lpu.machine.lockstep import SystemResult
from takt.lpu.system.compile import SystemCompiled
from takt.lpu.system.fill import fill_chip, moved_row, quantised_rows
from takt.lpu.system.place import SplitLayout, rows_of
from takt.lpu.system.stages import Slot
from takt.models import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStep:
    """One step: logits f32 [vocabulary], cycles and activity of all chips as the engine saw them."""

    logits: NDArray[np.float32]
    cycles: int
    activity: Activity


class SystemSession:
    """One user's sequence on a system. Not shared between threads."""

    def __init__(
        self, compiled: SystemCompiled, model: Model, *, engine: str = "fast", user: int = 0
    ) -> None:
        """Raises UsageError for an unknown engine or user."""
        if engine not in ("fast", "reference"):
            raise UsageError(f"engine {engine!r}: expected 'fast' or 'reference'")
        _check_user(compiled, user)
        self.compiled = compiled
        self.model = model
        self.user = user
        self.position = 0
        n_chips = 1 + max(chip for group in compiled.groups for chip in group)
        self.memories = [Memory(compiled.cut.chip) for _ in range(n_chips)]
        for stage, group in zip(compiled.stages, compiled.groups, strict=True):
            for place, chip in enumerate(group):
                fill_chip(self.memories[chip], model, compiled.cut, stage.slots, place)
        self._layouts: dict[tuple[object, int], tuple[SplitLayout, ...]] = {}
        self._scales: NDArray[np.float32] | None = None
        self._run = _runner(engine, compiled, self.memories)

    def beside(self, user: int) -> SystemSession:
        """Another user's sequence, from its first token on, on the same chips. UsageError for an unknown user."""
        _check_user(self.compiled, user)
        other = copy(self)
        other.user, other.position = user, 0
        return other

    def step(self, token: int) -> SystemStep:
        """Run one token through all chips; logits are for the position after it."""
        if not 0 <= token < self.model.shape.vocab_size:
            raise UsageError(f"token {token} is outside the vocabulary")
        if self.position >= self.compiled.cut.context:
            raise UsageError(f"the context of {self.compiled.cut.context} positions is full")
        self._each_slot(lambda memory, out, slot: self._write(memory, out, slot, token))
        result = self._run(self.compiled.at(self.position).program(self.user))
        logits = np.zeros(self.model.shape.vocab_size, np.float32)
        self._each_slot(lambda memory, out, slot: _read(memory, out, slot, logits))
        self.position += 1
        return SystemStep(logits=logits, cycles=result.cycles, activity=result.activity)

    def _each_slot(self, visit: Callable[[Memory, SplitLayout, Slot], None]) -> None:
        compiled = self.compiled
        for stage, group in zip(compiled.stages, compiled.groups, strict=True):
            for place, chip in enumerate(group):
                for slot in stage.slots:
                    key = slot.kind, place
                    if key not in self._layouts:
                        self._layouts[key] = compiled.cut.layouts(slot.kind, place)
                    for out in self._layouts[key]:
                        visit(self.memories[chip], out, slot)

    def _write(self, memory: Memory, out: SplitLayout, slot: Slot, token: int) -> None:
        if slot.kind.embed[1]:
            rows = rows_of(self.model.shape.vocab_size, slot.kind.embed)
            if "token_scale" in out.inputs:
                if self._scales is None:
                    self._scales = quantised_rows(self.model.tensor("embed.weight"))[1]
                out.embed_scale = self._scales[rows.start : rows.stop]
            token -= rows.start
        write_step(out, memory, token, self.position, out.part)


def _check_user(compiled: SystemCompiled, user: int) -> None:
    if not 0 <= user < compiled.users:
        raise UsageError(f"user {user}: the system was compiled for {compiled.users}")


def _read(memory: Memory, out: SplitLayout, slot: Slot, logits: NDArray[np.float32]) -> None:
    if not slot.kind.head[1]:
        return
    rows = fetch(memory, moved_row(out, slot, "head", out.outputs["logits"]))
    logits[out.vocab[out.vocab >= 0]] = rows[out.vocab >= 0]


def _runner(
    engine: str, compiled: SystemCompiled, memories: list[Memory]
) -> Callable[[SystemProgram], SystemResult]:
    if engine == "reference":
        return ReferenceSystem(compiled.cut.chip, memories).run
    fast = FastSystem(compiled.cut.chip, memories)
    prepared = {}

    def run(program: SystemProgram) -> SystemResult:
        if id(program) not in prepared:
            prepared[id(program)] = fast.prepare(program)
        return fast.run(prepared[id(program)])

    return run
