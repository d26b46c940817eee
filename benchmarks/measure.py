"""The measurements behind `bench.py`: each function returns plain figures, with their units in the names.

Wall times on a shared machine swing, so what is compared runs in turn, round by round, and a ratio is taken within each
round: its median and its extremes are reported. CPU times (all threads of this process) are reported beside them.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from twin import Twin

from takt.chips import Chip
from takt.lpu import Session, compile_model
from takt.models import Model, ModelShape, random_model

PROMPT = (1, 5, 9, 14, 20, 27, 35, 44)
PEER_CYCLES_PER_S = 2600  # of a C++ simulator of a chip a tenth as wide
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median and extremes of the rounds."""

    median: float
    least: float
    most: float


def spread(values: list[float]) -> Spread:
    return Spread(median=statistics.median(values), least=min(values), most=max(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """Decode steps of one model on the fast engine and with `transformers`; `ratio` is ours ÷ theirs, ≥ 1 is the goal."""

    model: str
    parameters: int
    weights: str
    steps: int
    rounds: int
    ours_tokens_per_s: Spread
    theirs_tokens_per_s: Spread
    ratio: Spread
    cpu_ratio: Spread
    cycles_per_step: int
    cycles_per_s: float
    same_tokens: int  # greedy tokens before the first that differs; weights and numerics do
    logit_error: float  # largest difference after the prompt ÷ largest logit


def decode(
    shape: ModelShape, chip: Chip, *, weights: str, steps: int, rounds: int, threads: int
) -> Decode:
    """Both in turn: a short prompt, then `steps` timed greedy steps; round 0 warms up."""
    model = random_model(shape)
    compiled = compile_model(model, chip, weights=weights, context=len(PROMPT) + steps)
    # By itself the engine takes all processors, where a model is large enough for that to pay.
    own = None if threads >= (os.cpu_count() or 1) else threads
    session, twin = Session(compiled, threads=own), Twin(model, threads=threads)
    cycles = 0

    def ours(tokens: list[int]) -> np.ndarray:
        nonlocal cycles
        result = session.prompt(tokens)[-1] if len(tokens) > 1 else session.step(tokens[0])
        cycles = result.cycles
        return result.logits

    runs: list[tuple[_Run, _Run]] = []
    for nth in range(rounds + 1):
        pair = {}
        for is_ours in (True, False) if nth % 2 else (False, True):
            (session if is_ours else twin).reset()
            pair[is_ours] = _timed(ours if is_ours else twin.step, steps)
        runs.append((pair[True], pair[False]))
    first, second = runs[0]
    runs = runs[1:]
    rate = spread([steps / a.wall_s for a, _ in runs])
    return Decode(
        model=shape.name,
        parameters=shape.n_parameters,
        weights=weights,
        steps=steps,
        rounds=rounds,
        ours_tokens_per_s=rate,
        theirs_tokens_per_s=spread([steps / b.wall_s for _, b in runs]),
        ratio=spread([b.wall_s / a.wall_s for a, b in runs]),
        cpu_ratio=spread([b.cpu_s / a.cpu_s for a, b in runs]),
        cycles_per_step=cycles,
        cycles_per_s=cycles * rate.median,
        same_tokens=next(
            (i for i, (a, b) in enumerate(zip(first.tokens, second.tokens, strict=True)) if a != b),
            steps,
        ),
        logit_error=float(np.abs(first.logits - second.logits).max() / np.abs(second.logits).max()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    wall_s: float
    cpu_s: float
    tokens: list[int]
    logits: np.ndarray  # after the prompt


def _timed(step: Callable[[list[int]], np.ndarray], steps: int) -> _Run:
    after_prompt = step(list(PROMPT))
    token, tokens = int(after_prompt.argmax()), []
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        token = int(step([token]).argmax())
        tokens.append(token)
    return _Run(
        wall_s=time.perf_counter() - wall,
        cpu_s=max(time.process_time() - cpu, 1e-9),
        tokens=tokens,
        logits=after_prompt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """Layout and decode step of one model, in a process of its own."""

    model: str
    parameters: int
    weights: str
    context: int
    wall_s: float
    cpu_s: float
    peak_mib: float  # of the whole process, interpreter and packages included
    cycles: int
    bound_cycles: int
    instructions: int


def compilation(name: str, weights: str, context: int) -> Compilation:
    """Run `compile_here` in a fresh process, so that its peak memory is its own."""
    command = [sys.executable, str(Path(__file__).with_name("compile_one.py")), name, weights]
    done = subprocess.run([*command, str(context)], check=True, stdout=subprocess.PIPE, text=True)
    return Compilation(**json.loads(done.stdout))


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A model cut over a system and scheduled by `takt compile --system`, in a process of its own."""

    model: str
    system: str
    chips: int
    wall_s: float
    peak_mib: float
    step_cycles: int
    bound_cycles: int
    tokens_per_s_user: float
    published_tokens_per_s: float | None


def partition(model: str, system: str, chips: int, published: float | None) -> Partition:
    """Run the verb, weights int8 and context at most 4,096."""
    command = [sys.executable, "-m", "takt", "compile", model, "--system", system, "--json"]
    options = ["--chips", str(chips), "--weights", "int8"]
    done = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE, text=True)
    made = json.loads(done.stdout)
    return Partition(
        model=model,
        system=system,
        chips=chips,
        wall_s=made["compile_s"],
        peak_mib=made["compile_peak_bytes"] / 2**20,
        step_cycles=made["step_cycles"],
        bound_cycles=made["bound_cycles"],
        tokens_per_s_user=made["tokens_per_s_user"],
        published_tokens_per_s=published,
    )


def compile_here(shape: ModelShape, chip: Chip, *, weights: str, context: int) -> Compilation:
    """Compile a model's first decode step; `peak_mib` is the largest this process ever was."""
    wall, cpu = time.perf_counter(), time.process_time()
    compiled = compile_model(random_model(shape), chip, weights=weights, context=context)
    step = compiled.decode(0)
    return Compilation(
        model=shape.name,
        parameters=shape.n_parameters,
        weights=weights,
        context=context,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB,
        cycles=step.program.cycles,
        bound_cycles=step.bound.cycles,
        instructions=len(step.program.instructions),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """Both engines on the decode step of one model."""

    model: str
    cycles_per_step: int
    reference_cycles_per_s: Spread
    fast_cycles_per_s: Spread
    fast_over_reference: float
    fast_over_peer: float
    same_logits: bool


def engines(shape: ModelShape, chip: Chip, *, rounds: int, fast_steps: int) -> Engines:
    """The reference engine runs one step a round, the fast one `fast_steps`, in turn."""
    model: Model = random_model(shape)
    compiled = compile_model(model, chip, context=len(PROMPT))
    slow, fast = Session(compiled, engine="reference"), Session(compiled)
    same, rates = True, {"reference": [], "fast": []}
    fast.step(PROMPT[0])  # prepares the program
    for _ in range(rounds):
        for name, session, steps in (("reference", slow, 1), ("fast", fast, fast_steps)):
            begin = time.perf_counter()
            for _ in range(steps):
                session.reset()
                result = session.step(PROMPT[0])
            rates[name].append(result.cycles * steps / (time.perf_counter() - begin))
            if name == "reference":
                want = result.logits
        same &= bool(np.array_equal(want, result.logits))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return Engines(
        model=shape.name,
        cycles_per_step=result.cycles,
        reference_cycles_per_s=spread(rates["reference"]),
        fast_cycles_per_s=spread(rates["fast"]),
        fast_over_reference=medians["fast"] / medians["reference"],
        fast_over_peer=medians["fast"] / PEER_CYCLES_PER_S,
        same_logits=same,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """One sequence through an encoder: cycles on the chip, and published ones where there are any."""

    model: str
    tokens: int
    weights: str
    cycles: int
    bound_cycles: int
    published_cycles: int | None
    over_published: float | None


def encoding(
    shape: ModelShape, chip: Chip, *, tokens: int, weights: str, published: int | None
) -> Encoding:
    compiled = compile_model(random_model(shape), chip, context=tokens, weights=weights)
    step = compiled.encode()
    cycles = step.program.cycles
    return Encoding(
        model=shape.name,
        tokens=tokens,
        weights=weights,
        cycles=cycles,
        bound_cycles=step.bound.cycles,
        published_cycles=published,
        over_published=cycles / published if published else None,
    )


def as_json(value: object) -> str:
    """A list of the results above, as one JSON text."""
    return json.dumps(value, default=asdict, indent=2)
