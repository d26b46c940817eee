"""The fleet of `takt simulate`: pools, tiers with their targets, autoscaling, failures, and looks at it.

Knows how options become values of room `serving`; the pools are `simulate_pools`'.
"""

from dataclasses import dataclass, replace

import numpy as np

from takt.cli.simulate_pools import Made, Sizes, pools_of
from takt.cli.simulate_words import Scaling, System
from takt.errors import UsageError
from takt.models.outlines import Outline
from takt.plan import Request, check_length
from takt.serving import Autoscale, Failure, Fleet, Tier
from takt.serving.failures import failures_of
from takt.serving.workloads import Source

__all__ = ["Built", "build", "failures_for", "looking", "sizes_of"]

_NS = 1e9
_PROBE = 4096
_LOOKS = 2000
_LEAST_LOOK_S = 0.001
_UNKNOWN_LOOK_S = 0.1  # where nobody knows how long a run takes; a timeline thins what is too many


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A fleet without failures, what its pools were made of, and what to tell of both."""

    fleet: Fleet
    made: tuple[Made, ...]
    span_s: float | None
    notes: tuple[str, ...]


def sizes_of(model: Outline, source: Source, seed: int) -> tuple[Sizes, tuple[str, ...]]:
    """Sizes of requests, and a note where texts were cut to the model's context. UsageError for longer ones on average."""
    means = source.means()
    prompt, output = max(1, round(means.prompt_tokens)), max(1, round(means.output_tokens))
    check_length(model, Request(prompt_tokens=prompt, output_tokens=output))
    chunks = list(source.limited(_PROBE).requests(seed))
    if not chunks:
        raise UsageError(
            "no request comes in that time", hint="a higher --rate or a longer --duration"
        )
    rows = np.concatenate(chunks)
    whole = rows["prompt_tokens"].astype(np.int64) + rows["output_tokens"]
    longest = max(int(whole.max()), prompt + output)
    notes: tuple[str, ...] = ()
    cut = float((whole >= model.max_context).mean()) if model.max_context else 0.0
    if cut:
        notes = (
            f"{100 * cut:.2g} % of requests are cut to the {model.max_context:,} positions of {model.name}",
        )
    return Sizes(prompt=prompt, output=output, longest=longest), notes


def build(model: Outline, source: Source, system: System, seed: int) -> Built:
    """All but failures. Raises UsageError or CapacityError for what cannot be."""
    sizes, notes = sizes_of(model, source, seed)
    _check_targets(system)
    made = pools_of(model, system, sizes)
    if system.scaling is not None:
        made = tuple(_scaled(each, system.scaling) for each in made)
    fleet = Fleet(
        pools=tuple(each.pool for each in made),
        tiers=tuple(
            Tier(
                name=tier.name,
                priority=tier.priority,
                ttft_ns=_ns(system.ttft_s),
                tpot_ns=_ns(system.tpot_s),
                e2e_ns=_ns(system.e2e_s),
                max_waiting=system.max_waiting,
            )
            for tier in source.tiers
        ),
        router=system.router,
        concurrency=source.concurrency,
    )
    return Built(fleet=fleet, made=made, span_s=_span_s(source), notes=(*notes, *_notes(made)))


def _check_targets(system: System) -> None:
    for option, value in (("--order", system.order), ("--router", system.router)):
        if value.startswith("deadline") and system.ttft_s is None:
            raise UsageError(f"{option} {value} needs a deadline", hint="say --ttft, such as 1s")


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * _NS))


def _scaled(made: Made, scaling: Scaling) -> Made:
    pool = made.pool
    default = Autoscale()
    scale = Autoscale(
        least=min(scaling.least, pool.replicas),
        target_load=scaling.target_load or default.target_load,
        startup_ns=_ns(scaling.startup_s) or default.startup_ns,
    )
    return replace(made, pool=replace(pool, autoscale=scale))


def _span_s(source: Source) -> float | None:
    """How long requests are expected to come; None where all are there at once."""
    rate, count = source.requests_per_s, source.n_requests
    duration_s: float | None = getattr(source, "duration_s", None)
    if rate is None:
        return None
    spans = [span for span in (duration_s, count / rate if count else None) if span is not None]
    return min(spans) if spans else None


def _notes(made: tuple[Made, ...]) -> tuple[str, ...]:
    vendors = {each.deployment.chip.vendor for each in made if each.deployment}
    notes = [
        f"{each.label}: {each.layout} is {each.chosen}" for each in made if each.chosen is not None
    ]
    if len(vendors) > 1:
        notes.append("no engine is known to hand caches to another vendor's chips")
    return tuple(notes)


def failures_for(built: Built, system: System, seed: int) -> tuple[Failure, ...]:
    """Failures over twice the expected span, as a fleet that falls behind takes longer; none where none are asked for."""
    if system.failing is None:
        return ()
    if built.span_s is None:
        raise UsageError(
            "nobody knows how long such a run takes, so no failures can be drawn for it",
            hint="arrivals with a --rate",
        )
    return failures_of(
        built.fleet.n_replicas,
        mtbf_s=system.failing.mtbf_s,
        repair_s=system.failing.repair_s,
        span_s=2 * built.span_s,
        seed=seed,
    )


def looking(fleet: Fleet, span_s: float | None) -> Fleet:
    """The fleet, looked at often enough for a picture."""
    every_s = _UNKNOWN_LOOK_S if span_s is None else max(span_s / _LOOKS, _LEAST_LOOK_S)
    return replace(fleet, sample_ns=round(every_s * _NS))
