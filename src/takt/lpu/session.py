"""A model in use: prompt in, logits out, step by step, on either engine.

The session is the host: it writes each step's descriptors, runs the step's program and reads the logits. It keeps count
of cycles and activity. Sampling and text are the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.lpu.compiler import Compiled, Step
from takt.lpu.fast import FastEngine
from takt.lpu.isa import Program
from takt.lpu.machine import Activity, Memory, ReferenceEngine, RunResult

ENGINES = ("fast", "reference")

_WORTH_A_CHUNK = 8  # prompt tokens below which single steps take fewer cycles than a padded chunk


class _Runner(Protocol):
    def __call__(self, program: Program) -> RunResult: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One step: logits f32 [vocabulary], cycles and activity as the engine saw them, and the program that ran."""

    logits: NDArray[np.float32]
    cycles: int
    activity: Activity
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeResult:
    """One sequence: its vector f32 [dim], pooled and normalised as the model says; cycles, activity, program."""

    vector: NDArray[np.float32]
    cycles: int
    activity: Activity
    step: Step


class Session:
    """One sequence on one chip. Not shared between threads."""

    def __init__(
        self, compiled: Compiled, *, engine: str = "fast", threads: int | None = None
    ) -> None:
        """Raises UsageError for an unknown engine."""
        if engine not in ENGINES:
            raise UsageError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
        self.compiled = compiled
        self.memory = Memory(compiled.chip)
        compiled.load(self.memory)
        self.position = 0
        self._run = _runner(engine, compiled, self.memory, threads)

    def step(self, token: int) -> StepResult:
        """Run one decode step: the token takes the next position; logits are for the one after it."""
        step = self.compiled.decode(self.position)
        self.compiled.write_inputs(self.memory, token, self.position)
        result = self._run(step.program)
        self.position += 1
        return StepResult(
            logits=self.compiled.read_logits(self.memory),
            cycles=result.cycles,
            activity=result.activity,
            step=step,
        )

    def prompt(self, tokens: Sequence[int]) -> list[StepResult]:
        """Run a prompt: its tokens but the last in chunks, the last as a decode step, whose logits come last.

        One result per program run. A chunk's logits are empty.
        """
        if not tokens:
            raise UsageError("the prompt has no tokens")
        if self.position + len(tokens) > self.compiled.context:
            raise UsageError(
                f"{len(tokens)} prompt tokens do not fit the {self.compiled.context - self.position} positions left"
            )
        results = []
        size, rest = self.compiled.layout.chunk, list(tokens)
        while len(rest) > 1:
            if self.position % size or len(rest) - 1 < _WORTH_A_CHUNK:
                results.append(self.step(rest.pop(0)))
                continue
            now = rest[: min(size, len(rest) - 1)]
            results.append(self._chunk(now))
            rest = rest[len(now) :]
        results.append(self.step(rest[0]))
        return results

    def _chunk(self, tokens: Sequence[int]) -> StepResult:
        step = self.compiled.prompt(self.position)
        self.compiled.write_tokens(self.memory, tokens)
        result = self._run(step.program)
        self.position += len(tokens)
        return StepResult(
            logits=np.zeros(0, np.float32),
            cycles=result.cycles,
            activity=result.activity,
            step=step,
        )

    def encode(self, tokens: Sequence[int]) -> EncodeResult:
        """Run an encoder on one sequence. Raises UsageError for a decoder, or a sequence that is too long."""
        compiled = self.compiled
        if compiled.model.shape.family != "encoder":
            raise UsageError(
                f"{compiled.model.shape.name} is a decoder: it has no sentence vectors"
            )
        if not 1 <= len(tokens) <= compiled.layout.chunk:
            raise UsageError(
                f"{len(tokens)} tokens: this encoder was compiled for 1 to {compiled.layout.chunk}"
            )
        step = compiled.encode()
        compiled.write_tokens(self.memory, tokens)
        result = self._run(step.program)
        which = "first" if compiled.model.shape.pooling == "cls" else "pooled"
        vector = compiled.read_pooled(self.memory, which)
        if compiled.model.shape.normalize:
            vector = vector / np.float32(
                max(float(np.linalg.norm(vector.astype(np.float64))), 1e-12)
            )
        return EncodeResult(
            vector=vector, cycles=result.cycles, activity=result.activity, step=step
        )

    def reset(self) -> None:
        """Forget the sequence. The caches keep stale values, which masks hide."""
        self.position = 0


def _runner(engine: str, compiled: Compiled, memory: Memory, threads: int | None) -> _Runner:
    if engine == "reference":
        return ReferenceEngine(compiled.chip, memory).run
    fast = (
        FastEngine(compiled.chip, memory)
        if threads is None
        else FastEngine(compiled.chip, memory, threads=threads)
    )
    prepared = {}

    def run(program: Program) -> RunResult:
        key = id(program)
        if key not in prepared:
            prepared[key] = fast.prepare(program)
        return fast.run(prepared[key])

    return run
