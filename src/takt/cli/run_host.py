"""`takt run --on host`: the same model on this machine's own processors, measured beside what was to be expected.

Knows how such a run reads as text and as JSON (keys in docs/verbs.md). The engine and the expectation are those of
`takt.perf.host`. A GGUF file is run as it is; of any other model one is made.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from takt.cli.common import open_model, print_json
from takt.cli.progress import waiting
from takt.cli.table import aligned
from takt.errors import UnsupportedError, UsageError
from takt.models import Model
from takt.perf.host import (
    HostMachine,
    HostPrediction,
    HostRequest,
    HostRun,
    gguf_of,
    layer_time_s,
    measure_machine,
    predict,
    require_engine,
    run_engine,
    usable_processors,
    work_of,
)
from takt.units import format_bytes, format_si

__all__ = ["HostOptions", "run_on_host"]

# --weights -> how they lie in a file made here
STORED: Mapping[str, Literal["f16", "q8_0"]] = MappingProxyType({"fp16": "f16", "int8": "q8_0"})
GGUF_MAGIC = b"GGUF"
SPARE_POSITIONS = 16  # for what the engine puts in front of a text, and its rule for the last token


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """What the command line asked for; None where it left the choice to Takt."""

    model: str
    prompt: str
    tokenizer: str | None
    weights: str
    context: int | None
    threads: int | None
    max_tokens: int
    stop: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A file and what to do with it. `model` is None for a file that only the engine can read."""

    model: Model | None
    name: str
    weights: str
    request: HostRequest
    max_tokens: int
    by_ids: bool  # text comes from the ids, by the tokenizer of `model`; else from the engine


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What came out, and what was expected."""

    job: _Job
    text: str
    run: HostRun
    machine: HostMachine
    layer_s: float
    predicted: HostPrediction


def run_on_host(
    options: HostOptions,
    ids_of: Callable[[Model, str], list[int]],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run and print; `ids_of` makes ids of a prompt. Raises UsageError, ModelError, UnsupportedError, CapacityError."""
    require_engine()
    threads = usable_processors() if options.threads is None else options.threads
    if not 1 <= threads <= usable_processors():
        raise UsageError(f"--threads {threads}: expected 1 to {usable_processors()}")
    with ExitStack() as stack:
        model = _opened(options, stack)
        job = _job(options, model, ids_of, threads)
        text, run = _run(job, show=not as_json)
        if quiet and not as_json:
            sys.stdout.write("" if text.endswith("\n") else "\n")
            return
        outcome = _compared(job, text, run)
    if as_json:
        print_json(_document(options, outcome))
        return
    sys.stdout.write("" if text.endswith("\n") else "\n")
    sys.stdout.flush()
    sys.stderr.write("\n" + _describe(outcome))


def _opened(options: HostOptions, stack: ExitStack) -> Model | None:
    """The model, or None for a GGUF file in a form that Takt does not read but the engine may."""
    try:
        return stack.enter_context(open_model(options.model, options.tokenizer, "decoder"))
    except UnsupportedError:
        if not _is_gguf(options.model):
            raise
        return None


def _is_gguf(name: str) -> bool:
    try:
        with Path(name).open("rb") as file:
            return file.read(4) == GGUF_MAGIC
    except (OSError, ValueError):  # a catalogue name, a directory
        return False


def _job(
    options: HostOptions,
    model: Model | None,
    ids_of: Callable[[Model, str], list[int]],
    threads: int,
) -> _Job:
    given = _is_gguf(options.model)
    if options.weights not in STORED:
        raise UsageError(f"--weights {options.weights!r}: expected {' or '.join(STORED)}")
    ids = None if model is None else ids_of(model, options.prompt)
    context, tokens = _room(options, model, ids)
    eos = options.stop == "eos"
    request = HostRequest(
        path=Path(options.model) if given else _made(model, options),
        prompt=options.prompt if ids is None else tuple(ids),
        max_tokens=tokens,
        context=context,
        threads=threads,
        stop_ids=model.shape.eos_ids if model is not None and eos else (),
        ignore_eos=given and not eos,
    )
    return _Job(
        model=model,
        name=Path(options.model).stem if model is None else model.shape.name,
        weights="as in the file" if given else STORED[options.weights],
        request=request,
        max_tokens=options.max_tokens,
        by_ids=not given or options.tokenizer is not None,
    )


def _room(options: HostOptions, model: Model | None, ids: list[int] | None) -> tuple[int, int]:
    """Positions that the engine makes room for, and tokens to generate: no more than the context has room for."""
    if model is None or ids is None:  # a token is at least a byte of the prompt
        needed = len(options.prompt.encode()) + options.max_tokens + SPARE_POSITIONS
        return options.context or needed, options.max_tokens
    most = model.shape.max_context
    if options.context is not None and not 1 <= options.context <= most:
        raise UsageError(f"--context {options.context}: {model.shape.name} has 1 to {most:,}")
    allowed = options.context or most
    if len(ids) > allowed:
        raise UsageError(
            f"the prompt has {len(ids):,} tokens, the context {allowed:,}",
            hint="shorten the prompt, or give --context if the model allows more",
        )
    tokens = min(options.max_tokens, allowed - len(ids) + 1)  # the last one takes no position
    return len(ids) + tokens + SPARE_POSITIONS, tokens


def _made(model: Model | None, options: HostOptions) -> Path:
    """A GGUF file of the model."""
    assert model is not None  # only a GGUF file may be beyond Takt
    files = Path(options.model) if Path(options.model).exists() else None
    with waiting(f"writing {model.shape.name} as GGUF"):
        return gguf_of(model, files, STORED[options.weights])


def _run(job: _Job, *, show: bool) -> tuple[str, HostRun]:
    """The text, shown as it comes, and the run."""
    pieces: list[str] = []
    stream = job.model.tokenizer.stream(_ids(job)) if job.model and job.model.tokenizer else None

    def put(piece: str) -> None:
        pieces.append(piece)
        if show:
            sys.stdout.write(piece)
            sys.stdout.flush()

    def take(ids: tuple[int, ...], text: str) -> None:
        if not job.by_ids:
            put(text)
        elif stream is None:
            put((" " if pieces else "") + " ".join(map(str, ids)))
        else:
            for token in ids:
                put("" if token in job.request.stop_ids else stream.push(token))

    with waiting(f"loading {job.name}"):
        run = run_engine(job.request, take)
    if stream is not None and job.by_ids:
        put(stream.flush())
    return "".join(pieces), run


def _ids(job: _Job) -> tuple[int, ...]:
    return job.request.prompt if isinstance(job.request.prompt, tuple) else ()


def _compared(job: _Job, text: str, run: HostRun) -> _Outcome:
    size = job.request.path.stat().st_size
    work = work_of(None if job.model is None else job.model.shape, size)
    done = run.rounds[0]
    with waiting("measuring this machine"):
        machine = measure_machine(work.weight_bytes, job.request.threads)
        layer_s = layer_time_s(job.request.threads)
    predicted = predict(
        work, machine, layer_s, prompt_tokens=done.prompt_tokens, tokens=done.n_tokens
    )
    return _Outcome(
        job=job, text=text, run=run, machine=machine, layer_s=layer_s, predicted=predicted
    )


def _stop(job: _Job, run: HostRun) -> str:
    done = run.rounds[0]
    full = done.stop == "length" and done.n_tokens < job.max_tokens
    return "context" if full else done.stop


def _document(options: HostOptions, outcome: _Outcome) -> dict[str, object]:
    job, done = outcome.job, outcome.run.rounds[0]
    return {
        "text": outcome.text,
        "token_ids": list(done.token_ids),
        "tokens": done.n_tokens,
        "stop": _stop(job, outcome.run),
        "prompt": options.prompt,
        "prompt_tokens": done.prompt_tokens,
        "model": job.name,
        "weights": job.weights,
        "file": str(job.request.path),
        "file_bytes": job.request.path.stat().st_size,
        "engine": outcome.run.engine,
        "threads": job.request.threads,
        "load_s": outcome.run.load_s,
        "ttft_s": done.prompt_s,
        "tpot_s": done.token_s,
        "tokens_per_s": None if done.token_s is None else 1 / done.token_s,
        "predicted": asdict(outcome.predicted),
        "tpot_measured_over_predicted": _ratio(done.token_s, outcome.predicted.token_s),
        "ttft_measured_over_predicted": _ratio(done.prompt_s, outcome.predicted.prompt_s),
        "machine": asdict(outcome.machine) | {"layer_s": outcome.layer_s},
    }


def _ratio(measured: float | None, predicted: float | None) -> float | None:
    return None if measured is None or predicted is None else measured / predicted


def _describe(outcome: _Outcome) -> str:
    job, done, predicted = outcome.job, outcome.run.rounds[0], outcome.predicted
    machine = outcome.machine
    threads = "thread" if machine.threads == 1 else "threads"
    title = (
        f"{job.name}, weights {job.weights}, on {machine.threads} {threads} of this machine, {outcome.run.engine}: "
        f"{done.prompt_tokens} prompt tokens, {done.n_tokens} generated, ended by {_stop(job, outcome.run)}\n\n"
    )
    rows = [
        ("", "measured", "predicted", "ratio", ""),
        _row("time to first token", done.prompt_s, predicted.prompt_s, "roofline"),
        _row("time per output token", done.token_s, predicted.token_s, _shares(predicted)),
    ]
    rates = (
        f"{format_si(machine.read_bytes_per_s, 'B/s')} read over {format_bytes(machine.working_set_bytes)}, "
        f"{format_si(machine.matrix_ops_per_s, 'op/s')} in matrix products"
    )
    if done.token_s is not None:
        rates = f"{1 / done.token_s:,.1f} tokens/s; measured of the machine: {rates}"
    return title + aligned(rows) + f"\n{rates}\n"


def _row(
    name: str, measured: float | None, predicted: float | None, note: str
) -> tuple[str, str, str, str, str]:
    ratio = _ratio(measured, predicted)
    return (
        name,
        "–" if measured is None else format_si(measured, "s"),
        "–" if predicted is None else format_si(predicted, "s"),
        "–" if ratio is None else f"{ratio:.2f}",
        note,
    )


def _shares(predicted: HostPrediction) -> str:
    parts = {
        "weights": predicted.weights_s,
        "cache": predicted.cache_s,
        "layers": predicted.layers_s,
    }
    return ", ".join(f"{name} {part / predicted.token_s:.0%}" for name, part in parts.items())
