"""Answers of `takt plan` as text and as JSON.

Knows how figures read, not how they come about.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from textwrap import fill

from takt.cli.table import aligned
from takt.plan.plans import Measure, Plan, PlanSet, Targets, WhatIf

__all__ = ["document_of", "text_of"]

_WIDTH = 118
_SHOWN = 12
_DROPPED = 6
FORMAT = "takt-plan-answer-1"


def document_of(plans: PlanSet, *, every: bool) -> dict[str, object]:
    """Everything that `--json` prints; keys are in docs/plan.md. `every`: dropped ways one by one, and beaten plans."""
    targets, limits = plans.targets, plans.limits
    document: dict[str, object] = {
        "format": FORMAT,
        "model": plans.model,
        "workload": plans.workload,
        "rate": plans.rate,
        "prompt_tokens": plans.prompt_tokens,
        "output_tokens": plans.output_tokens,
        "context_tokens": plans.context_tokens,
        "targets": asdict(targets),
        "limits": {**asdict(limits), "supply": dict(limits.supply)},
        "seed": plans.seed,
        "winner": plans.winner.id if plans.winner else None,
        "pareto": [_plan(plan) for plan in plans.pareto],
        "nearest": _plan(plans.nearest) if plans.nearest else None,
        "proof": list(plans.proof),
        "what_ifs": [asdict(row) for row in plans.what_ifs],
        "sensitivity": [asdict(row) for row in plans.sensitivity],
        "dropped_by_stage": dict(sorted(Counter(each.stage for each in plans.dropped).items())),
        "assumptions": [
            dict(zip(("what", "value", "kind", "source"), row, strict=True))
            for row in plans.assumptions
        ],
    }
    if every:
        document["others"] = [_plan(plan) for plan in plans.others]
        document["dropped"] = [asdict(each) for each in plans.dropped]
    return document


def _plan(plan: Plan) -> dict[str, object]:
    """One plan; latencies in milliseconds. Figures that are not known are null."""
    figures = plan.figures
    kinds: Counter[str] = Counter()
    for pool in plan.pools:
        kinds[pool.chip] += pool.replicas * pool.chips
    return {
        "id": plan.id,
        "chips": plan.chips,
        "chips_by_kind": dict(kinds),
        "layout": _layout(plan),
        "usd_per_mtok": figures.usd_per_mtok,
        "tokens_per_s_user": figures.tokens_per_s_user,
        "j_per_token": figures.j_per_token,
        "mw": figures.mw,
        "floor_m2": figures.floor_m2,
        "kg_co2_per_mtok": figures.kg_co2_per_mtok,
        "usd_per_h": figures.usd_per_h,
        "ttft_ms": _latency(figures.ttft_s),
        "tpot_ms": _latency(figures.tpot_s),
        "e2e_ms": _latency(figures.e2e_s),
        "goodput": figures.goodput,
        "throughput_tok_s": figures.throughput_tok_s,
        "utilisation": figures.utilisation,
        "kv_occupancy": figures.kv_occupancy,
        "requests": figures.requests,
        "replications": figures.replications,
        "meets": plan.meets,
        "misses": list(plan.misses),
        "router": plan.router,
        "pools": [asdict(pool) for pool in plan.pools],
        "basis": sorted(plan.basis),
        "expected_error": plan.expected_error,
        "assumed": list(plan.assumed),
    }


def _latency(measures: Mapping[str, Measure]) -> dict[str, dict[str, float | None]]:
    return {
        at: {
            "mean": 1e3 * measure.mean,
            "half_width": None if measure.half_width is None else 1e3 * measure.half_width,
        }
        for at, measure in measures.items()
    }


def _layout(plan: Plan) -> str:
    """`4 x 1 prompt, 1 x tp4 decode`."""
    parts = []
    for pool in plan.pools:
        split = "one chip" if pool.layout.chips == 1 else str(pool.layout)
        role = "" if pool.role == "both" else f" {pool.role}"
        parts.append(f"{pool.replicas:,} x {split} of {pool.chip}{role}")
    return ", ".join(parts)


def text_of(plans: PlanSet, *, every: bool) -> str:
    """What was asked, the plans, why the rest was dropped, what would change the answer."""
    blocks = [_title(plans)]
    if plans.pareto:
        shown = plans.pareto if every else plans.pareto[:_SHOWN]
        blocks.append(_table(shown, plans.targets))
        if len(shown) < len(plans.pareto):
            blocks.append(
                f"{len(plans.pareto) - len(shown)} more that no other beats: --all or --json.\n"
            )
        blocks.append(_notes(plans))
    elif plans.nearest is not None:
        blocks.append(
            "No plan meets this; the nearest is\n\n" + _table([plans.nearest], plans.targets)
        )
        blocks.append(_list("It misses", plans.nearest.misses))
    else:
        blocks.append("No plan meets this, and none comes near enough to be simulated.\n")
    blocks.append(_list("Why not the others", plans.proof))
    dropped = plans.dropped if every else plans.dropped[:_DROPPED] if not plans.pareto else ()
    if dropped:
        blocks.append(
            _list("Dropped", [f"{each.id} ({each.stage}): {each.reason}" for each in dropped])
        )
    if plans.what_ifs:
        blocks.append(_list("What if", [_what_if(row) for row in plans.what_ifs]))
    if plans.sensitivity:
        blocks.append(
            _list("The cheapest plan rests on", [_rests(row) for row in plans.sensitivity])
        )
    return "\n".join(blocks)


def _title(plans: PlanSet) -> str:
    targets = plans.targets
    wanted = [
        f"{words} {_seconds(seconds)} ({at})"
        for words, seconds, at in (
            ("first token within", targets.ttft_s, targets.ttft_at),
            ("a token in", targets.tpot_s, targets.tpot_at),
            ("the answer within", targets.e2e_s, targets.e2e_at),
        )
        if seconds is not None
    ]
    text = (
        f"{plans.model}, {plans.rate:,.6g} requests/s, {plans.prompt_tokens:,.6g} tokens in and "
        f"{plans.output_tokens:,.6g} out on average; {', '.join(wanted) or 'no targets'}"
    )
    return fill(text, _WIDTH, subsequent_indent="  ") + "\n"


def _table(plans: Sequence[Plan], targets: Targets) -> str:
    head = (
        *("CHIPS", "$/H", "$/MTOK", "TOK/S/USER", f"TTFT {targets.ttft_at.upper()}"),
        *("TPOT", "J/TOKEN", "KW", "M2", "KG CO2/MTOK", "±", "PLAN"),
    )
    rows = [_line(plan, targets) for plan in plans]
    return aligned([head, *rows], right=tuple(range(len(head) - 1)))


def _line(plan: Plan, targets: Targets) -> tuple[str, ...]:
    figures = plan.figures
    ttft, tpot = figures.ttft_s.get(targets.ttft_at), figures.tpot_s.get("mean")
    kw = None if figures.mw is None else 1e3 * figures.mw
    error = plan.expected_error
    return (
        f"{plan.chips:,}",
        _number(figures.usd_per_h),
        _number(figures.usd_per_mtok),
        _number(figures.tokens_per_s_user),
        _seconds(ttft.mean) if ttft else "–",
        _seconds(tpot.mean) if tpot else "–",
        _number(figures.j_per_token),
        _number(kw),
        _number(figures.floor_m2),
        _number(figures.kg_co2_per_mtok),
        "–" if error is None else f"{100 * error:.0f} %" if error else "exact",
        plan.id,
    )


def _notes(plans: PlanSet) -> str:
    lines = [
        "No other plan found beats these in all of dollars, tokens/s for each user, joules, megawatts and floor; "
        "differences under 5 % do not count. PLAN: replicas x chip, layout, type of weights; A -> B: A reads prompts, "
        "B generates. $/MTOK: for a million output tokens, the prompts' work in them. KW: at the meter, all chips at "
        "their limit. J/TOKEN: of the chips. ±: median relative error of the pace to expect."
    ]
    unpriced = sorted(
        {pool.chip for plan in plans.pareto for pool in plan.pools if pool.usd_per_h is None}
    )
    if unpriced:
        lines.append(
            f"No price by the hour known: {', '.join(unpriced)} (--price CHIP=USD gives one)."
        )
    return "".join(f"{fill(line, _WIDTH, subsequent_indent='  ')}\n" for line in lines)


def _what_if(row: WhatIf) -> str:
    cost = "" if row.usd_per_mtok is None else f", ${row.usd_per_mtok:.3g} a million tokens"
    tail = f" ({row.threshold})" if row.threshold else ""
    return f"{row.name} {row.value}: {row.winner}{cost}{tail}"


def _rests(row: WhatIf) -> str:
    return f"{row.name}, {row.value}: {row.threshold}"


def _list(title: str, lines: Sequence[str]) -> str:
    text = [fill(line, _WIDTH, initial_indent="  ", subsequent_indent="    ") for line in lines]
    return "\n".join([f"{title}:", *text]) + "\n"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{1e3 * seconds:.3g} ms"
