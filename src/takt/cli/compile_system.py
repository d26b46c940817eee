"""`takt compile --system`: how a schedule over many chips reads as text and as JSON (keys in docs/verbs.md).

Finds the number of chips where none is given, and says what would fit where a model does not. All figures come from
the system's summary.
"""

import resource
import sys
import time
from dataclasses import dataclass

from takt.chips import Fact, System, list_systems, load_system
from takt.cli.common import print_json
from takt.cli.progress import waiting
from takt.cli.table import aligned
from takt.cli.text import percent, sensitivity_text
from takt.errors import CapacityError, UsageError
from takt.lpu.encoders import EncoderSummary, compile_encoder, summarise_encoder
from takt.lpu.system import (
    Pace,
    Speculation,
    SystemCompiled,
    SystemSummary,
    best_speculation,
    compile_system,
    draft_beside,
    fewest_chips,
    host_seconds,
    require_supported,
    speculate,
    summarise_system,
)
from takt.models import ModelShape, shape_of
from takt.units import format_bytes, format_si

__all__ = ["Request", "report_system"]

USUAL_CONTEXT = 4096
USUAL_LENGTH = 128  # of an encoder's sequence
HOST_NOTE = "the host's round trip for each token: descriptors in, logits out, sampling"
LIMITS_SHOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asked for; None where it left the choice to Takt."""

    model: str
    system: str
    chips: int | None
    weights: str
    context: int | None
    users: int
    objective: str
    group: int | None
    draft: str | None
    draft_tokens: int | None
    acceptance: float | None
    draft_chips: int | None
    chips_option: str = "--chips"  # how errors call the option behind `chips`


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drafting:
    """A draft model beside the model, and what the two come to."""

    summary: SystemSummary
    own_chips: bool
    result: Speculation


def report_system(request: Request, *, as_json: bool) -> None:
    """Schedule and print. Raises UsageError, ModelError, UnsupportedError, CapacityError."""
    _check_draft(request)
    shape, system = shape_of(request.model), load_system(request.system)
    if shape.family == "encoder":
        report_encoder(request, shape, system, as_json=as_json)
        return
    start = time.perf_counter()
    compiled = _compile(request, shape, system, request.chips)
    drafting = _draft(request, compiled) if request.draft is not None else None
    summary = summarise_system(compiled)
    compile_s = time.perf_counter() - start
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if as_json:
        print_json(_document(summary, drafting, compile_s, peak_bytes))
        return
    sys.stdout.write(_describe(summary, system, drafting))
    sys.stdout.flush()
    sys.stderr.write(f"compiled in {compile_s:.2f} s, at most {format_bytes(peak_bytes)}\n")


# ----------------------------------------------------------------------------------------------------------- encoders
def report_encoder(request: Request, shape: ModelShape, system: System, *, as_json: bool) -> None:
    """The same for an encoder: one sequence of `--context` tokens."""
    if request.draft is not None or request.users != 1:
        raise UsageError(f"--users and --draft: {shape.name} is an encoder, it makes no tokens")
    start = time.perf_counter()
    chips = min(system.node.chips, system.max_chips) if request.chips is None else request.chips
    length = min(USUAL_LENGTH, shape.max_context) if request.context is None else request.context
    with waiting(f"scheduling {shape.name} on {system.id}"):
        compiled = compile_encoder(
            shape,
            system,
            n_chips=chips,
            weights=request.weights,
            length=length,
            objective=request.objective,
            group=request.group,
        )
    summary = summarise_encoder(compiled)
    compile_s = time.perf_counter() - start
    if as_json:
        print_json(_encoder_document(summary, compile_s))
        return
    sys.stdout.write(_describe_encoder(summary, system))
    sys.stdout.flush()
    sys.stderr.write(f"compiled in {compile_s:.2f} s\n")


def _encoder_document(summary: EncoderSummary, compile_s: float) -> dict[str, object]:
    energy = summary.energy
    return {
        "model": summary.model,
        "system": summary.system,
        "weights": summary.weights,
        "context": summary.length,
        "objective": summary.objective,
        "chips": summary.chips,
        "chips_used": summary.chips_used,
        "groups": summary.groups,
        "group_chips": summary.group_chips,
        "clock_hz": summary.clock_hz,
        "sequences_per_s": summary.sequences_per_s,
        "step_cycles": summary.step_cycles,
        "step_us": summary.step_s * 1e6,
        "bound_cycles": summary.bound_cycles,
        "bound_ratio": summary.bound_ratio,
        "interval_cycles": summary.interval_cycles,
        "energy_j_per_sequence": energy.total_j,
        "energy_parts_j": dict(energy.parts),
        "energy_sensitivity_j": {row.cause: [row.low_j, row.high_j] for row in summary.sensitivity},
        "energy_basis": energy.basis,
        "sram_used_fraction": summary.sram_used_fraction,
        "programs": program_rows(summary),
        "gap_cycles": summary.gap_cycles,
        "basis": summary.basis,
        "compile_s": compile_s,
    }


def _describe_encoder(summary: EncoderSummary, system: System) -> str:
    energy = summary.energy
    sram_bytes = summary.chips * system.chip.sram_bytes
    title = (
        f"{summary.model}, {summary.weights} weights, on {summary.chips:,} chips of {summary.system} "
        f"at {format_si(summary.clock_hz, 'Hz')}, {summary.length} tokens, for {summary.objective}\n\n"
    )
    rows = [
        (
            "one sequence",
            format_si(summary.step_s, "s"),
            f"{summary.step_cycles:,} cycles from its tokens to its vector",
        ),
        (
            "in a row",
            f"{summary.sequences_per_s:,.0f} a second",
            f"one every {summary.interval_cycles:,} cycles",
        ),
        (
            "bound",
            f"{summary.bound_cycles:,} cycles",
            f"every program at its own bound, without gaps; the schedule takes "
            f"{summary.bound_ratio:.2f} times that",
        ),
        (
            "cut",
            f"{summary.chips_used:,} of {summary.chips:,} chips",
            f"layers in a line; {summary.shared_layers} of them shared by chips",
        ),
        ("SRAM", percent(summary.sram_used_fraction, 1), f"of {format_bytes(sram_bytes)}"),
        (
            "energy",
            f"{format_si(energy.total_j, 'J')} a sequence",
            f"{energy.basis}; all {summary.chips:,} chips powered, sequences in a row",
        ),
        (
            "",
            "if assumptions err",
            sensitivity_text((s.cause, s.low_j, s.high_j) for s in summary.sensitivity),
        ),
    ]
    return title + aligned(rows) + "\n" + visit_table(summary)


# ---------------------------------------------------------------------------------------------------------- compiling
def _check_draft(request: Request) -> None:
    if request.draft is None:
        for name in ("draft_tokens", "acceptance", "draft_chips"):
            if getattr(request, name) is not None:
                option = name.replace("_", "-")
                raise UsageError(
                    f"--{option} is about a draft model", hint="name it: --draft MODEL"
                )
        return
    if request.acceptance is None:
        raise UsageError(
            "--draft needs --acceptance A, the share of drafted tokens that are accepted",
            hint="it depends on the two models and the text; 0.6 to 0.9 is usual",
        )
    if not 0 <= request.acceptance <= 1:
        raise UsageError(f"--acceptance {request.acceptance:g}: expected a rate from 0 to 1")


def _compile(
    request: Request, shape: ModelShape, system: System, n_chips: int | None
) -> SystemCompiled:
    require_supported(shape)
    context = min(USUAL_CONTEXT, shape.max_context) if request.context is None else request.context
    with waiting(f"scheduling {shape.name} on {system.id}"):
        if n_chips is not None:
            return _compile_on(request, shape, system, n_chips, context)
        node = min(system.node.chips, system.max_chips)
        try:
            return _compile_on(request, shape, system, node, context)
        except CapacityError as error:
            fewest = _fewest(request, shape, system, context)
            if not fewest or fewest[0][1] > system.max_chips:
                raise error
            return _compile_on(request, shape, system, fewest[0][1], context)


def _compile_on(
    request: Request, shape: ModelShape, system: System, n_chips: int, context: int
) -> SystemCompiled:
    try:
        return compile_system(
            shape,
            system,
            n_chips=n_chips,
            weights=request.weights,
            context=context,
            users=request.users,
            objective=request.objective,
            group=request.group,
        )
    except CapacityError as error:
        fewest = _fewest(request, shape, system, context)
        if not fewest or fewest[0][1] <= n_chips:
            raise
        raise _too_few(request, shape, system, n_chips, context, fewest) from error


def _fewest(
    request: Request, shape: ModelShape, system: System, context: int
) -> tuple[tuple[int, int], ...]:
    return fewest_chips(
        shape,
        system,
        weights=request.weights,
        context=context,
        users=request.users,
        group=request.group,
    )


def _too_few(
    request: Request,
    shape: ModelShape,
    system: System,
    n_chips: int,
    context: int,
    fewest: tuple[tuple[int, int], ...],
) -> CapacityError:
    """What would fit: on this system, or else on another one of the same chips."""
    group, needed = fewest[0]
    hint = f"{request.chips_option} {needed} fits, in groups of {group}"
    if needed > system.max_chips:
        larger = [s for s in list_systems() if s.chip == system.chip and s.max_chips >= needed]
        hint = (
            f"--system {larger[0].id} {request.chips_option} {needed} fits"
            if larger
            else f"{system.id} is too small"
        )
    less = ["a shorter --context", *(["fewer --users"] if request.users > 1 else [])]
    less += ["--weights int8"] if request.weights != "int8" else []
    return CapacityError(
        f"{shape.name} ({request.weights}, context {context:,}, {_users(request.users)}) does not fit on {n_chips:,} "
        f"chips of {system.id}",
        resource="the chips",
        needed=needed,
        available=n_chips,
        hint=f"{hint}; less: {', '.join(less)}",
    )


def _draft(request: Request, compiled: SystemCompiled) -> _Drafting:
    assert request.draft is not None and request.acceptance is not None
    shape = shape_of(request.draft)
    if shape.vocab_size != compiled.shape.vocab_size:
        raise UsageError(
            f"{shape.name} has {shape.vocab_size:,} tokens, {compiled.shape.name} "
            f"{compiled.shape.vocab_size:,}",
            hint="a draft model needs the vocabulary of the model it drafts for",
        )
    own = request.draft_chips is not None
    n_chips = request.draft_chips if own else draft_beside(compiled)
    context = min(compiled.cut.context, shape.max_context)
    wanted = Request(
        model=request.draft, system=request.system, chips=n_chips, weights=request.weights,
        context=context, users=request.users, objective="latency", group=None,
        draft=None, draft_tokens=None, acceptance=None, draft_chips=None, chips_option="--draft-chips",
    )  # fmt: skip
    made = _compile(wanted, shape, compiled.system, n_chips)
    result = _speculate(request, compiled, made)
    return _Drafting(summary=summarise_system(made), own_chips=own, result=result)


def _speculate(request: Request, model: SystemCompiled, draft: SystemCompiled) -> Speculation:
    assert request.acceptance is not None
    large, small = (Pace.of(each, host_seconds(each)) for each in (model, draft))
    if request.draft_tokens is None:
        return best_speculation(large, small, request.acceptance, users=request.users)
    return speculate(large, small, request.acceptance, request.draft_tokens, users=request.users)


# --------------------------------------------------------------------------------------------------------------- JSON
def _document(
    summary: SystemSummary, drafting: _Drafting | None, compile_s: float, peak_bytes: int
) -> dict[str, object]:
    energy = summary.energy
    return {
        "model": summary.model,
        "system": summary.system,
        "weights": summary.weights,
        "context": summary.context,
        "objective": summary.objective,
        "chips": summary.chips,
        "chips_used": summary.chips_used,
        "groups": summary.groups,
        "group_chips": summary.group_chips,
        "stages": summary.stages,
        "clock_hz": summary.clock_hz,
        "users": summary.users,
        "max_users": summary.max_users,
        "users_to_fill": summary.users_to_fill,
        "max_context": summary.max_context,
        "tokens_per_s_user": summary.tokens_per_s_user,
        "tokens_per_s_total": summary.tokens_per_s_total,
        "step_cycles": summary.step_cycles,
        "step_us": summary.step_s * 1e6,
        "bound_cycles": summary.bound_cycles,
        "bound_ratio": summary.bound_ratio,
        "interval_cycles": summary.interval_cycles,
        "host_us": summary.host_s * 1e6,
        "tokens_per_s_user_with_host": summary.tokens_per_s_user_with_host,
        "not_included": HOST_NOTE,
        "energy_j_per_token": energy.total_j,
        "energy_parts_j": dict(energy.parts),
        "energy_sensitivity_j": {row.cause: [row.low_j, row.high_j] for row in summary.sensitivity},
        "energy_basis": energy.basis,
        "sram_used_fraction": summary.sram_used_fraction,
        "programs": program_rows(summary),
        "gap_cycles": summary.gap_cycles,
        "basis": summary.basis,
        "assumptions": [_assumption(fact) for fact in summary.assumptions],
        "speculative": _speculative(drafting) if drafting else None,
        "compile_s": compile_s,
        "compile_peak_bytes": peak_bytes,
    }


def program_rows(summary: SystemSummary | EncoderSummary) -> list[dict[str, object]]:
    return [
        {
            "name": kind.name,
            "cycles": cycles,
            "bound_cycles": bound,
            "bound_limit": limit,
            "count": count,
        }
        for kind in summary.visits
        for cycles, bound, limit, count in kind.programs
    ]


def _assumption(fact: Fact) -> dict[str, object]:
    return {
        "fact": fact.key,
        "value": fact.value,
        "unit": fact.unit,
        "source": fact.source,
        "note": fact.note,
    }


def _speculative(drafting: _Drafting) -> dict[str, object]:
    made, draft = drafting.result, drafting.summary
    return {
        "draft": draft.model,
        "draft_chips": draft.chips,
        "own_chips": drafting.own_chips,
        "draft_step_cycles": draft.step_cycles,
        "draft_tokens": made.draft_tokens,
        "acceptance": made.acceptance,
        "tokens_per_round": made.tokens_per_round,
        "draft_us": made.draft_s * 1e6,
        "verify_us": made.verify_s * 1e6,
        "tokens_per_s_user": made.tokens_per_s_user,
        "tokens_per_s_total": made.tokens_per_s_total,
        "tokens_per_s_user_with_host": made.tokens_per_s_user_with_host,
        "speedup": made.speedup,
    }


# --------------------------------------------------------------------------------------------------------------- text
def _describe(summary: SystemSummary, system: System, drafting: _Drafting | None) -> str:
    title = (
        f"{summary.model}, {summary.weights} weights, on {summary.chips:,} chips of {summary.system} "
        f"at {format_si(summary.clock_hz, 'Hz')}, context {summary.context:,}, for {summary.objective}\n\n"
    )
    lines = aligned(_figures(summary, system))
    if drafting is not None:
        lines += "\n" + _drafted(drafting, summary)
    return title + lines + "\n" + visit_table(summary) + "\n" + _assumptions(summary)


def _figures(summary: SystemSummary, system: System) -> list[tuple[str, str, str]]:
    total, energy = summary.tokens_per_s_total, summary.energy
    fill = summary.users_to_fill
    sram_bytes = summary.chips * system.chip.sram_bytes
    most = "any number of users" if summary.max_users is None else _users(summary.max_users)
    shares = [f"{cause} {percent(j, energy.total_j)}" for cause, j in energy.parts if j]
    return [
        (
            "speed",
            f"{_rate(summary.tokens_per_s_user)} a user",
            f"{_rate(total)} in all, with {_users(summary.users)}",
        ),
        (
            "step",
            f"{summary.step_cycles:,} cycles",
            f"{format_si(summary.step_s, 's')} from a token to its logits; another user's follows after "
            f"{summary.interval_cycles:,}, so {fill:,} fill the pipeline",
        ),
        (
            "bound",
            f"{summary.bound_cycles:,} cycles",
            f"every program at its own bound, without gaps; the schedule takes "
            f"{summary.bound_ratio:.2f} times that",
        ),
        (
            "cut",
            f"{summary.groups:,} group{'s' * (summary.groups != 1)} of {summary.group_chips}",
            f"{summary.chips_used:,} of {summary.chips:,} chips: a group shares its layers, groups "
            "follow each other",
        ),
        (
            "SRAM",
            percent(summary.sram_used_fraction, 1),
            f"of {format_bytes(sram_bytes)}; room for {most}, or a context of "
            f"{summary.max_context:,}",
        ),
        (
            "energy",
            f"{format_si(energy.total_j, 'J')} a token",
            f"{energy.basis}; all {summary.chips:,} chips powered",
        ),
        ("", "by cause", ", ".join(shares)),
        (
            "",
            "if assumptions err",
            sensitivity_text((s.cause, s.low_j, s.high_j) for s in summary.sensitivity),
        ),
        (
            "not included",
            f"host, {format_si(summary.host_s, 's')} a token",
            f"{HOST_NOTE}; with it {_rate(summary.tokens_per_s_user_with_host)} a user",
        ),
    ]


def _users(count: int) -> str:
    return f"{count:,} user{'s' * (count != 1)}"


def _rate(tokens_per_s: float) -> str:
    digits = 0 if tokens_per_s >= 100 else 2
    return f"{tokens_per_s:,.{digits}f} tokens/s"


def _drafted(drafting: _Drafting, summary: SystemSummary) -> str:
    made, draft = drafting.result, drafting.summary
    where = "of its own" if drafting.own_chips else "that the model leaves free"
    rows = [
        (
            "with a draft",
            f"{_rate(made.tokens_per_s_user)} a user",
            f"{made.speedup:.2f} times as fast; {_rate(made.tokens_per_s_total)} in all",
        ),
        (
            "draft",
            f"{draft.model}",
            f"{draft.step_cycles:,} cycles a step on {draft.chips:,} chips {where}",
        ),
        (
            "round",
            f"{format_si(made.round_s, 's')}",
            f"{made.draft_tokens} drafted in {format_si(made.draft_s, 's')}, checked in "
            f"{format_si(made.verify_s, 's')}: {made.tokens_per_round:.2f} tokens at acceptance "
            f"{made.acceptance:g}",
        ),
        (
            "not included",
            "host",
            f"a round trip for each drafted token and each check; with it "
            f"{_rate(made.tokens_per_s_user_with_host)} a user",
        ),
    ]
    return aligned(rows)


def visit_table(summary: SystemSummary | EncoderSummary) -> str:
    """Kinds of program a token meets on its way: how often, how long, what sets the bound."""
    header = ("PROGRAM", "COUNT", "CYCLES", "BOUND", "RATIO", "SET BY", "SHARE")
    rows = [
        (
            kind.name,
            f"{kind.count:,}",
            f"{kind.cycles / kind.count:,.0f}",
            f"{kind.bound_cycles / kind.count:,.0f}",
            f"{kind.cycles / kind.bound_cycles:.2f}" if kind.bound_cycles else "",
            ", ".join(kind.limits[:LIMITS_SHOWN]),
            percent(kind.cycles, summary.step_cycles),
        )
        for kind in summary.visits
    ]
    n_gaps = max(sum(kind.count for kind in summary.visits) - 1, 0)
    if n_gaps:
        mean = f"{summary.gap_cycles / n_gaps:,.0f}"
        share = percent(summary.gap_cycles, summary.step_cycles)
        rows.append(("(between two)", f"{n_gaps:,}", mean, "", "", "launch, epochs", share))
    title = "What a token meets on its way; mean cycles of each:\n"
    return title + aligned([header, *rows], right=(1, 2, 3, 4, 6))


def _assumptions(summary: SystemSummary) -> str:
    rows = [(fact.key, _value(fact), fact.note) for fact in summary.assumptions]
    title = "These figures rest on facts that nobody has published, and Takt assumes:\n"
    return title + aligned(rows) if rows else ""


def _value(fact: Fact) -> str:
    if isinstance(fact.value, float):
        return format_si(fact.value, fact.unit)
    return f"{fact.value:,} {fact.unit}"
