"""`takt run`: a prompt in, text out as it is made, and what it took on the chip.

Knows how a run reads as text and as JSON (keys in docs/verbs.md). Tokens come from the session,
figures from the report.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from takt.cli.common import (
    DEFAULT_CHIP,
    AsJson,
    ChipName,
    Context,
    Engine,
    TokenizerFile,
    Weights,
    compiled_for,
    open_model,
    prepare,
    print_json,
)
from takt.cli.progress import waiting
from takt.cli.run_host import HostOptions, run_on_host
from takt.cli.run_system import SystemRun, run_on_system
from takt.cli.see_system import Chips, Group, SystemName
from takt.cli.table import aligned
from takt.cli.text import layer_table, percent, sensitivity_text, unit_table
from takt.errors import UsageError
from takt.lpu import Generation, Sampler, Session
from takt.models import Model
from takt.report import RunSummary, summarise
from takt.units import format_bytes, format_si

__all__ = ["command"]

LIMITS = {
    "weights": "loading weights into the MXM",
    "mxm": "passes through the MXM",
    "vxm": "operations of the VXM",
    "sram": "reads and writes of SRAM",
    "chain": "the chain of dependences",
}
ENGINES = ("fast", "reference")
NOT_INCLUDED = "the host's round trip for each token: descriptors in, logits out, sampling"


def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] PROMPT",
            help="A catalogue name, hub id, directory or file (default: default), and the prompt; "
            "- reads the prompt from stdin.",
            show_default=False,
        ),
    ],
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", help="Stop after this many.")
    ] = 64,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="T", help="0: always the most likely token.")
    ] = 0.0,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="K", help="Only the K most likely; 0: all.")
    ] = 0,
    top_p: Annotated[
        float, typer.Option("--top-p", metavar="P", help="Only the fewest that reach P together.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Same seed, same text.")] = 0,
    stop: Annotated[
        str, typer.Option("--stop", metavar="eos|never", help="At the end-of-text token, or not.")
    ] = "eos",
    on: Annotated[
        str,
        typer.Option(
            "--on", metavar="lpu|host", help="A simulated LPU, or this machine's own processors."
        ),
    ] = "lpu",
    chip: ChipName = DEFAULT_CHIP,
    system: SystemName = None,
    chips: Chips = None,
    group: Group = None,
    weights: Weights = "fp16",
    context: Context = None,
    engine: Engine = "fast",
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            help="With --on host [default: all processors].",
            show_default=False,
        ),
    ] = None,
    tokenizer: TokenizerFile = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the text.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a model on one simulated LPU, or on many: its text, then cycles, energy and memory.

    \b
    Examples:
      takt run 'def read_file(path):'             the default model completes code
      takt run model.bin 'Once upon a time'       a file; tok*.bin beside it is found
      takt run HuggingFaceTB/SmolLM-135M 'Rain is' --weights int8
      takt run 'import os' --temperature 0.8 --top-p 0.9 --seed 7
      takt run 'import os' --chip my-chip.toml    what if it were another chip
      takt run random:stories15m '1 2 3'          no tokenizer: ids instead of text
      takt run 'import os' --system groqnode-v1   cut over the eight chips of a node
      takt run 'import os' --on host              this machine's processors: measured, predicted

    The same command prints the same bytes on stdout, on every machine; how fast this machine was
    goes to stderr. Cycles are exact: the compiler claims them and the machine confirms them.
    """
    if max_tokens < 1:
        raise UsageError(f"--max-tokens {max_tokens}: expected 1 or more")
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine!r}: expected {' or '.join(ENGINES)}")
    if stop not in ("eos", "never"):
        raise UsageError(f"--stop {stop!r}: expected eos or never")
    if on not in ("lpu", "host"):
        raise UsageError(f"--on {on!r}: expected lpu or host")
    model_name, prompt = _split(words)
    if on == "host":
        _only_for_lpus(chip=chip != DEFAULT_CHIP, system=system, chips=chips, group=group)
        _only_for_lpus(engine=engine != "fast")
        if temperature or top_k or top_p != 1.0:
            raise UsageError("--on host always takes the most likely token")
        options = HostOptions(
            model=model_name,
            prompt=prompt,
            tokenizer=tokenizer,
            weights=weights,
            context=context,
            threads=threads,
            max_tokens=max_tokens,
            stop=stop,
        )
        run_on_host(options, prompt_ids, quiet=quiet, as_json=as_json)
        return
    if threads is not None:
        raise UsageError("--threads is about this machine's processors", hint="add --on host")
    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    if system is not None:
        if chip != DEFAULT_CHIP:
            raise UsageError("--chip and --system: a system says which chip it has")
        request = SystemRun(
            model=model_name,
            prompt=prompt,
            tokenizer=tokenizer,
            system=system,
            chips=chips,
            group=group,
            weights=weights,
            context=context,
            engine=engine,
            max_tokens=max_tokens,
            stop=stop,
        )
        run_on_system(request, prompt_ids, sampler, quiet=quiet, as_json=as_json)
        return
    if chips is not None or group is not None:
        raise UsageError(
            "--chips and --group are about many chips", hint="name a system: --system ID"
        )
    with open_model(model_name, tokenizer, "decoder") as model:
        ids = prompt_ids(model, prompt)
        start = time.perf_counter()
        compiled = compiled_for(model, chip, weights, context)
        _check_length(ids, compiled.context)
        prepare(compiled, range(len(ids) - 1, min(len(ids) + max_tokens - 1, compiled.context)))
        compile_s = time.perf_counter() - start
        with waiting(f"loading {model.shape.name}"):
            session = Session(compiled, engine=engine)
        generation = Generation(
            session=session,
            prompt_ids=ids,
            sampler=sampler,
            max_tokens=max_tokens,
            stop_ids=model.shape.eos_ids if stop == "eos" else (),
        )
        text = _stream(model, generation, show=not as_json)
    summary = summarise(generation)
    if as_json:
        print_json(_document(prompt, text, engine, compile_s, generation, summary))
        return
    sys.stdout.write("" if text.endswith("\n") else "\n")
    if not quiet:
        sys.stdout.write("\n" + _describe(engine, generation, summary))
        sys.stdout.flush()
        sys.stderr.write(_host(compile_s, summary))


def _only_for_lpus(**options: object) -> None:
    for name, given in options.items():
        if given not in (None, False):
            raise UsageError(f"--{name} is about LPUs", hint="leave it out, or leave out --on host")


def _check_length(ids: Sequence[int], context: int) -> None:
    if len(ids) > context:
        raise UsageError(
            f"the prompt has {len(ids):,} tokens, the context {context:,}",
            hint="shorten the prompt, or give --context if the model allows more",
        )


def _split(words: Sequence[str]) -> tuple[str, str]:
    if len(words) > 2:
        raise UsageError(
            f"{len(words)} arguments, expected [MODEL] PROMPT", hint="put quotes around the prompt"
        )
    prompt = words[-1]
    return words[0] if len(words) == 2 else "default", sys.stdin.read() if prompt == "-" else prompt


def prompt_ids(model: Model, prompt: str) -> list[int]:
    """Ids of a prompt; a model without a tokenizer takes numbers. UsageError if there are none."""
    if model.tokenizer is not None:
        ids = model.tokenizer.encode(prompt)
        if not ids:
            raise UsageError("the prompt has no tokens")
        return ids
    words = prompt.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        raise UsageError(
            f"{model.shape.name} has no tokenizer, so its prompt must be token ids such as '1 2 3'",
            hint="--tokenizer FILE names one",
        )
    ids = [int(word) for word in words]
    if max(ids) >= model.shape.vocab_size:
        raise UsageError(
            f"token {max(ids)} is outside the vocabulary of {model.shape.vocab_size:,}"
        )
    return ids


def _stream(model: Model, generation: Generation, *, show: bool) -> str:
    """Run the generation and return its text; shown piece by piece as it comes."""
    stream = model.tokenizer.stream(generation.prompt_ids) if model.tokenizer else None
    pieces = []

    def put(piece: str) -> None:
        pieces.append(piece)
        if show:
            sys.stdout.write(piece)
            sys.stdout.flush()

    for made in generation:
        if stream is None:
            put(f"{' ' if pieces else ''}{made.token}")
        elif made.token not in generation.stop_ids:
            put(stream.push(made.token))
    if stream is not None:
        put(stream.flush())
    return "".join(pieces)


def _document(
    prompt: str,
    text: str,
    engine: str,
    compile_s: float,
    generation: Generation,
    summary: RunSummary,
) -> dict[str, object]:
    compiled = generation.session.compiled
    return {
        "text": text,
        "token_ids": [made.token for made in generation.tokens],
        "stop": generation.stop,
        "prompt": prompt,
        "prompt_tokens": len(generation.prompt_ids),
        "model": compiled.model.shape.name,
        "chip": compiled.chip.id,
        "clock_hz": compiled.chip.clock_hz,
        "weights": compiled.weights,
        "context": compiled.context,
        "engine": engine,
        "cycles": list(summary.cycles),
        "cycles_per_token": summary.cycles_per_token,
        "bound_cycles_per_token": summary.bound_cycles_per_token,
        "bound_limit": summary.bound_limit,
        "tokens_per_s": summary.tokens_per_s,
        "energy_j_per_token": summary.energy_j_per_token,
        "energy_parts_j": dict(summary.energy_parts_j),
        "energy_sensitivity_j": {
            cause: [low, high] for cause, low, high in summary.energy_sensitivity_j
        },
        "energy_basis": summary.energy_basis,
        "sram_bytes": summary.sram_bytes,
        "sram_used_fraction": summary.sram_used_fraction,
        "prompt_runs": summary.prompt_runs,
        "prompt_cycles": summary.prompt_cycles,
        "prompt_s": summary.prompt_s,
        "not_included": NOT_INCLUDED,
        "program": summary.program,
        "program_cycles": summary.program_cycles,
        "resource_cycles": dict(summary.resource_cycles),
        "by_unit": {
            use.kind: {key: value for key, value in asdict(use).items() if key != "kind"}
            for use in summary.by_unit
        },
        "by_layer": [asdict(layer) | {"stages": dict(layer.stages)} for layer in summary.by_layer],
        "by_stage": summary.by_stage,
        "compile_s": compile_s,
        "host_tokens_per_s": summary.host_tokens_per_s,
        "host_cycles_per_s": summary.host_cycles_per_s,
    }


def _describe(engine: str, generation: Generation, summary: RunSummary) -> str:
    compiled = generation.session.compiled
    ratio = summary.cycles_per_token / summary.bound_cycles_per_token
    title = (
        f"{compiled.model.shape.name}, {compiled.weights} weights, on {compiled.chip.id} at "
        f"{format_si(compiled.chip.clock_hz, 'Hz')}, {engine} engine: {len(generation.prompt_ids)} "
        f"prompt tokens, {len(generation.tokens)} generated, ended by {generation.stop}\n\n"
    )
    heads = aligned(_figures(compiled.chip.clock_hz, compiled.chip.sram_bytes, summary, ratio))
    return title + heads + "\n" + layer_table(summary) + "\n" + unit_table(summary)


def _figures(
    clock_hz: int, sram_bytes: int, summary: RunSummary, ratio: float
) -> list[tuple[str, str, str]]:
    parts = [
        f"{name} {percent(j, summary.energy_j_per_token)}"
        for name, j in summary.energy_parts_j
        if j
    ]
    seconds = summary.cycles_per_token / clock_hz
    return [
        (
            "speed",
            f"{summary.tokens_per_s:,.0f} tokens/s",
            f"{summary.cycles_per_token:,.0f} cycles a token, {format_si(seconds, 's')}",
        ),
        (
            "bound",
            f"{summary.bound_cycles_per_token:,.0f} cycles a token",
            f"set by {LIMITS[summary.bound_limit]}; the schedule takes {ratio:.2f} times that",
        ),
        (
            "resources",
            "if all else were free",
            ", ".join(
                f"{name} {percent(cycles, summary.program_cycles)}"
                for name, cycles in summary.resource_cycles
            ),
        ),
        (
            "energy",
            f"{format_si(summary.energy_j_per_token, 'J')} a token",
            summary.energy_basis,
        ),
        ("", "by cause", ", ".join(parts)),
        ("", "if assumptions err", sensitivity_text(summary.energy_sensitivity_j)),
        (
            "SRAM",
            format_bytes(summary.sram_bytes),
            f"{percent(summary.sram_bytes, sram_bytes)} of {format_bytes(sram_bytes)}",
        ),
        (
            "prompt",
            f"{summary.prompt_cycles:,} cycles",
            f"{format_si(summary.prompt_s, 's')} in {summary.prompt_runs} program runs",
        ),
        ("not included", "host", NOT_INCLUDED),
    ]


def _host(compile_s: float, summary: RunSummary) -> str:
    return (
        f"this machine: {format_si(summary.host_tokens_per_s, 'tokens/s')}, "
        f"{format_si(summary.host_cycles_per_s, 'cycles/s')}; compiled in {compile_s:.2f} s\n"
    )
