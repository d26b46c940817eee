"""What `takt simulate` does, from its options as values to the text that it prints; files are written on the way.

Knows the order of things and what goes together; imported when the verb runs.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from takt.cli.arguments import say_note, seconds_of
from takt.cli.simulate_files import Outputs, plot, sinks_of
from takt.cli.simulate_fleet import Built, build, failures_for, looking
from takt.cli.simulate_progress import counting
from takt.cli.simulate_result import About, Shown, json_of, shown_of, shown_of_seeds
from takt.cli.simulate_run import SIMULATORS, Run, perform, replications
from takt.cli.simulate_text import text_of
from takt.cli.simulate_words import Failing, Scaling, System, scaling_of, span_of
from takt.errors import UsageError, did_you_mean
from takt.models.outlines import Outline, outline_of
from takt.plan import Request, check_length
from takt.serving.workloads import Replay, Source, length_of, workload_of

__all__ = ["Given", "Outputs", "Requests", "failing", "report", "scaling", "seeds", "target"]

DEFAULT_REQUESTS = 10_000
MOST_REPLICATIONS = 10_000
_REPAIR_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Where requests come from: options of `workload_of`, as written."""

    trace: str | None
    rate: float | None
    prompt: str | None
    output: str | None
    arrivals: str | None
    cv: float | None
    requests: int | None
    duration: str | None
    turns: str | None
    think: str | None
    new: str | None
    prefix: str | None
    tiers: str | None
    concurrency: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One command line."""

    model: str
    source: Requests
    system: System
    outputs: Outputs
    seeds: tuple[int, ...]
    warmup: int
    simulator: str
    ray: str | None
    resume: str | None


def target(option: str, text: str | None) -> float | None:
    """Seconds of a target, None for none."""
    return None if text in (None, "any") else seconds_of(option, str(text))


def seeds(first: int, count: int) -> tuple[int, ...]:
    """So many seeds."""
    if not 0 <= first < 1 << 63:
        raise UsageError(f"--seed {first}: expected a whole number from 0")
    if not 1 <= count <= MOST_REPLICATIONS:
        raise UsageError(f"--replications {count:,}: expected 1 to {MOST_REPLICATIONS:,}")
    return tuple(range(first, first + count))


def scaling(text: str | None, startup: str | None) -> Scaling | None:
    """Replicas by load."""
    if text is None and startup is not None:
        raise UsageError("--startup goes with --autoscale")
    return None if text is None else scaling_of(text, startup)


def failing(mtbf: str | None, repair: str | None) -> Failing | None:
    """Failures."""
    if mtbf is None:
        if repair is not None:
            raise UsageError("--repair goes with --mtbf")
        return None
    repair_s = _REPAIR_S if repair is None else span_of("--repair", repair)
    return Failing(mtbf_s=span_of("--mtbf", mtbf), repair_s=repair_s)


def report(given: Given, *, as_json: bool, began: float) -> str:
    """Simulate, write files, and give what is to be printed; notes and times go to stderr."""
    _check(given)
    model = outline_of(given.model)
    notes: list[str] = []
    source = _source(given.source, model, notes)
    for note in notes:
        say_note(note)  # with --json too: who reads figures by machine may look at nothing else
    _check_warmup(given, source)
    built = build(model, source, given.system, given.seeds[0])
    about = About(
        model=model.name,
        workload=_workload(source),
        seeds=given.seeds,
        simulator=given.simulator,
        built=built,
        notes=tuple(notes),
    )
    shown = _one(given, source, about) if len(given.seeds) == 1 else _many(given, source, built)
    wall_s = round(time.perf_counter() - began, 3)
    if as_json:
        return json.dumps(json_of(shown, about, wall_s), indent=2, ensure_ascii=False) + "\n"
    for note in built.notes:
        say_note(note)
    if sys.stderr.isatty():  # where no one watches, stderr is the same each time too
        sys.stderr.write(f"simulated in {wall_s:.1f} s\n")
    return text_of(shown, about)


def _check(given: Given) -> None:
    """What can be wrong without looking at anything large."""
    if given.simulator not in SIMULATORS:
        hint = did_you_mean(given.simulator, SIMULATORS) or "fast or reference"
        raise UsageError(f"no simulator {given.simulator[:40]!r}", hint=hint)
    if given.warmup < 0:
        raise UsageError(f"--warmup {given.warmup}: expected 0 or more requests")
    given.outputs.check()
    for option, _ in given.outputs.stated:
        if len(given.seeds) > 1:
            raise UsageError(
                f"{option} shows one run, --replications makes {len(given.seeds)}",
                hint=f"run a seed alone for it: --seed {given.seeds[0]}",
            )
    if len(given.seeds) == 1 and (given.ray or given.resume):
        raise UsageError(
            f"--{'ray' if given.ray else 'resume'} is for several runs", hint="say --replications N"
        )


def _source(wishes: Requests, model: Outline, notes: list[str]) -> Source:
    """The requests, cut to the model's context, and `notes` of a recording. UsageError where lengths asked for are longer."""
    if wishes.prompt is not None and wishes.output is not None:
        lengths = (length_of(text).mean_tokens for text in (wishes.prompt, wishes.output))
        prompt, output = (max(1, round(tokens)) for tokens in lengths)
        check_length(model, Request(prompt_tokens=prompt, output_tokens=output))
    requests = wishes.requests
    if requests is None and wishes.trace is None and wishes.duration is None:
        requests = DEFAULT_REQUESTS
    return workload_of(
        wishes.trace,
        rate=wishes.rate,
        prompt=wishes.prompt,
        output=wishes.output,
        arrivals=wishes.arrivals,
        cv=wishes.cv,
        requests=requests,
        duration_s=None if wishes.duration is None else span_of("--duration", wishes.duration),
        turns=wishes.turns,
        think=wishes.think,
        new=wishes.new,
        prefix=wishes.prefix,
        tiers=wishes.tiers,
        concurrency=wishes.concurrency,
        max_context=model.max_context or None,
        note=notes.append,
    )


def _check_warmup(given: Given, source: Source) -> None:
    count = source.n_requests
    if count is not None and given.warmup >= count:
        raise UsageError(f"--warmup {given.warmup:,} leaves nothing of {count:,} requests")


def _workload(source: Source) -> str:
    count = source.n_requests
    return source.description if count is None else f"{count:,} requests; {source.description}"


def _run(given: Given, source: Source, built: Built, seed: int) -> Run:
    fleet = replace(built.fleet, failures=failures_for(built, given.system, seed))
    return Run(
        fleet=fleet, source=source, seed=seed, warmup=given.warmup, simulator=given.simulator
    )


def _one(given: Given, source: Source, about: About) -> Shown:
    """One run with its files."""
    built = about.built
    run = _run(given, source, built, given.seeds[0])
    outputs = given.outputs
    if outputs.timeline or outputs.perfetto:
        run = replace(run, fleet=looking(run.fleet, built.span_s))
    with ExitStack() as stack:
        tick = stack.enter_context(counting("requests served", source.n_requests))
        sinks = [stack.enter_context(each) for each in sinks_of(outputs, run.fleet, about)]
        with _told(outputs):
            outcome, steady = perform(run, events=sinks, tick=tick)
    if outputs.plot:
        plot(Path(outputs.plot), outcome, about)
    return shown_of(outcome, steady)


@contextmanager
def _told(outputs: Outputs) -> Iterator[None]:
    """Says what becomes of files when someone stops a run."""
    try:
        yield
    except KeyboardInterrupt:
        files = ", ".join(file for _, file in outputs.stated)
        kept = f"; {files}: left as before" if files else ""
        sys.stderr.write(f"stopped{kept}\n")
        raise


def _many(given: Given, source: Source, built: Built) -> Shown:
    """One run a seed, on processes or Ray."""
    alike = isinstance(source, Replay) and given.system.failing is None and not given.system.drafts
    if alike:
        raise UsageError(
            "a recording is the same under every seed: replications would say nothing of noise",
            hint="draw arrivals of its kind: --arrivals gamma --cv 1.5, or fit a workload to it",
        )
    runs = [_run(given, source, built, seed) for seed in given.seeds]
    with counting("seeds", len(runs)) as tick:
        before = 0

        def progress(done: int, _: int) -> None:
            nonlocal before
            tick(done - before)
            before = done

        resume = None if given.resume is None else Path(given.resume)
        try:
            found = replications(runs, ray=given.ray, resume=resume, progress=progress)
        except KeyboardInterrupt as stop:
            sys.stderr.write(f"{stop or 'stopped'}\n")
            raise
    return shown_of_seeds(found)
