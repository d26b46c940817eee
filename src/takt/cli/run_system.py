"""`takt run --system`: a prompt through a model that is cut over many chips.

Knows the loop and how it reads as text and as JSON (keys in docs/verbs.md). The chips and their schedule come from the
system's session; a prompt goes through it token by token.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from takt.chips import load_system
from takt.cli.common import open_model, print_json
from takt.cli.progress import waiting
from takt.cli.table import aligned
from takt.errors import UsageError
from takt.lpu import Sampler
from takt.lpu.system import SystemCompiled, SystemSession, compile_system, require_supported
from takt.models import Model
from takt.units import format_si

__all__ = ["SystemRun", "run_on_system"]

USUAL_CONTEXT = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRun:
    """What the command line asked for; None where it left the choice to Takt."""

    model: str
    prompt: str
    tokenizer: str | None
    system: str
    chips: int | None
    group: int | None
    weights: str
    context: int | None
    engine: str
    max_tokens: int
    stop: str


@dataclass(slots=True)
class _Output:
    """What has been made so far."""

    show: bool
    token_ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)  # of each generated token
    prompt_cycles: int = 0
    link_bytes: int = 0
    steps: int = 0
    stop: str = "length"

    def put(self, piece: str) -> None:
        """More text."""
        self.pieces.append(piece)
        if self.show:
            sys.stdout.write(piece)
            sys.stdout.flush()


def run_on_system(
    request: SystemRun,
    ids_of: Callable[[Model, str], list[int]],
    sampler: Sampler,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run and print; `ids_of` makes ids of a prompt. Raises UsageError, ModelError, UnsupportedError, CapacityError."""
    with open_model(request.model, request.tokenizer, "decoder") as model:
        ids = ids_of(model, request.prompt)
        start = time.perf_counter()
        compiled = _compiled(request, model)
        compile_s = time.perf_counter() - start
        if len(ids) > compiled.cut.context:
            raise UsageError(
                f"the prompt has {len(ids):,} tokens, the context {compiled.cut.context:,}",
                hint="shorten the prompt, or give --context if the model allows more",
            )
        with waiting(f"loading {model.shape.name} on {_used(compiled)} chips"):
            session = SystemSession(compiled, model, engine=request.engine)
        output = _Output(show=not as_json)
        start = time.perf_counter()
        _generate(model, session, ids, sampler, request, output)
        host_s = time.perf_counter() - start
    if as_json:
        print_json(_document(request, compiled, ids, output, compile_s))
        return
    sys.stdout.write("" if output.pieces and output.pieces[-1].endswith("\n") else "\n")
    if not quiet:
        sys.stdout.write("\n" + _describe(request, compiled, ids, output))
        sys.stdout.flush()
        rate = format_si(output.steps / host_s, "steps/s")
        sys.stderr.write(f"this machine: {rate}; compiled in {compile_s:.2f} s\n")


def _compiled(request: SystemRun, model: Model) -> SystemCompiled:
    system = load_system(request.system)
    require_supported(model.shape)
    context = (
        min(USUAL_CONTEXT, model.shape.max_context) if request.context is None else request.context
    )
    chips = min(system.node.chips, system.max_chips) if request.chips is None else request.chips
    with waiting(f"scheduling {model.shape.name} on {system.id}"):
        return compile_system(
            model.shape,
            system,
            n_chips=chips,
            weights=request.weights,
            context=context,
            group=request.group,
        )


def _generate(
    model: Model,
    session: SystemSession,
    ids: Sequence[int],
    sampler: Sampler,
    request: SystemRun,
    output: _Output,
) -> None:
    stream = model.tokenizer.stream(ids) if model.tokenizer else None
    stop_ids = model.shape.eos_ids if request.stop == "eos" else ()

    def step(token: int) -> int:
        made = session.step(token)
        output.steps += 1
        output.link_bytes += made.activity.link_bytes
        if output.steps <= len(ids):
            output.prompt_cycles += made.cycles
        if output.steps < len(ids):
            return -1
        output.cycles.append(made.cycles)
        return sampler.pick(made.logits)

    token = -1
    for known in ids:
        token = step(known)
    while True:
        output.token_ids.append(token)
        if stream is None:
            output.put(f"{' ' if output.pieces else ''}{token}")
        elif token not in stop_ids:
            output.put(stream.push(token))
        if token in stop_ids:
            output.stop = "eos"
            break
        if len(output.token_ids) == request.max_tokens:
            break
        if session.position >= session.compiled.cut.context:
            output.stop = "context"
            break
        token = step(token)
    if stream is not None:
        output.put(stream.flush())


def _used(compiled: SystemCompiled) -> int:
    return len(compiled.stages) * compiled.cut.group_chips


def _document(
    request: SystemRun,
    compiled: SystemCompiled,
    ids: Sequence[int],
    output: _Output,
    compile_s: float,
) -> dict[str, object]:
    last = output.cycles[-1]
    return {
        "text": "".join(output.pieces),
        "token_ids": output.token_ids,
        "stop": output.stop,
        "prompt": request.prompt,
        "prompt_tokens": len(ids),
        "model": compiled.shape.name,
        "system": compiled.system.id,
        "chips": compiled.n_chips,
        "chips_used": _used(compiled),
        "groups": len(compiled.stages),
        "group_chips": compiled.cut.group_chips,
        "weights": request.weights,
        "context": compiled.cut.context,
        "engine": request.engine,
        "clock_hz": compiled.cut.chip.clock_hz,
        "cycles": output.cycles,
        "prompt_cycles": output.prompt_cycles,
        "step_cycles": last,
        "tokens_per_s_user": compiled.cut.chip.clock_hz / last,
        "link_bytes_per_token": output.link_bytes / output.steps,
        "compile_s": compile_s,
    }


def _describe(
    request: SystemRun, compiled: SystemCompiled, ids: Sequence[int], output: _Output
) -> str:
    chip, last = compiled.cut.chip, output.cycles[-1]
    title = (
        f"{compiled.shape.name}, {request.weights} weights, on {_used(compiled)} of {compiled.n_chips} chips of "
        f"{compiled.system.id} at {format_si(chip.clock_hz, 'Hz')}, {request.engine} engine: {len(ids)} prompt tokens, "
        f"{len(output.token_ids)} generated, ended by {output.stop}\n\n"
    )
    groups, n = len(compiled.stages), compiled.cut.group_chips
    rows = [
        (
            "speed",
            f"{chip.clock_hz / last:,.0f} tokens/s",
            f"{last:,} cycles a token, {format_si(last / chip.clock_hz, 's')}; the host's part is not in it",
        ),
        (
            "cut",
            f"{groups} group{'s' * (groups > 1)} of {n}",
            "chips of a group share every layer that it holds",
        ),
        (
            "links",
            f"{format_si(output.link_bytes / output.steps, 'B')} a token",
            "sent from chip to chip",
        ),
    ]
    return title + aligned(rows)
