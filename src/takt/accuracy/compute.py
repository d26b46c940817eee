"""Figures computed for measured configurations, before any correction: cases in, logarithms of times out.

Cases of one setup (`setups`) under one kind of load (`loads`) are computed together, as arrays; networks without
tokens (`networks`) one by one. Measured values are not looked at.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from takt.errors import TaktError
from takt.perf import Service, StepModel, memory_of
from takt.perf.corrections import Situation, era_of, situation_of

from .case import Case
from .loads import FULL_BATCH, room_of, service_of, waiting_of
from .networks import Network, find_network, sample_s
from .setups import Refused, Setup, known_chip, setup_of

__all__ = ["Computed", "compute_cases"]

Floats = NDArray[np.float64]
# Lengths of a usual request where a file does not say.
_USUAL_PROMPT, _USUAL_OUTPUT = 512.0, 256.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """One case computed: ln of milliseconds or joules or of 1 ÷ rate by figure, and what corrections need to know."""

    case: Case
    log: dict[str, float]
    situation: Situation
    users: float
    context: float
    prompts: float
    fits: bool
    basis: frozenset[str]


def compute_cases(cases: Sequence[Case]) -> tuple[list[Computed], list[tuple[Case, str]]]:
    """(computed, refused with a reason), each in the order of the cases."""
    groups: dict[tuple[Setup, str, str], list[int]] = defaultdict(list)
    refused: dict[int, str] = {}
    done: dict[int, Computed] = {}
    for i, case in enumerate(cases):
        network = find_network(case.model)
        try:
            if network is not None:
                done[i] = _compute_network(case, network)
                continue
            setup = setup_of(case)
        except (Refused, TaktError) as error:
            refused[i] = str(error).split("\n")[0]
            continue
        groups[setup, case.load, _bounds(case)].append(i)
    for (setup, _, _), members in groups.items():
        together = [cases[i] for i in members]
        try:
            results = _compute_group(together, setup)
        except TaktError as error:
            for i in members:
                refused[i] = str(error).split("\n")[0]
            continue
        done.update(zip(members, results, strict=True))
    return (
        [done[i] for i in sorted(done)],
        [(cases[i], refused[i]) for i in sorted(refused)],
    )


def _bounds(case: Case) -> str:
    """What bounds a case's load: those bounded alike are computed together."""
    return "limits" if case.limits else "rate" if case.rate_per_s else ""


def _compute_network(case: Case, network: Network) -> Computed:
    """A network without tokens: one pass, or passes of a full batch on all chips."""
    chip = known_chip(case)
    batch = case.concurrency or 1.0 if case.load == "steps" else FULL_BATCH
    pass_s = sample_s(network, chip, batch)
    rate = batch / pass_s * max(case.n_chips, 1)
    log = {"throughput": -float(np.log(rate))}
    if case.load == "steps":
        log["step_time"] = float(np.log(1e3 * pass_s))
    return Computed(
        case=case,
        log=log,
        situation=Situation(
            figure="",
            engine=case.engine.lower() or "unknown",
            chip=chip.id,
            vendor=chip.vendor,
            architecture=chip.architecture,
            model=network.name,
            kind=f"network-{network.name}",
            weights="int8",
            mode=case.load,
            split="-",
            layout="-",
            n_chips=max(case.n_chips, 1),
            campaign=case.dataset,
            version=case.engine_version or "-",
        ),
        users=batch,
        context=1.0,
        prompts=1.0,
        fits=True,
        basis=frozenset({"roofline", network.basis}),
    )


def _compute_group(cases: Sequence[Case], setup: Setup) -> list[Computed]:
    steps = StepModel.of(setup.model, setup.deployment)
    prompt = np.asarray([_or(c.prompt_tokens, _USUAL_PROMPT) for c in cases])
    output = np.asarray([_or(c.output_tokens, _USUAL_OUTPUT) for c in cases])
    depth = np.asarray([c.depth_tokens for c in cases])
    load = cases[0].load
    room, fits = room_of(setup, prompt + output / 2 + depth, steps)
    asked = np.asarray([_or(c.concurrency, _or(c.n_requests, 0.0)) for c in cases])
    service, users, copies = service_of(cases, setup, steps, prompt, output, room, asked)
    waiting_s = waiting_of(cases, setup, service, users, asked, copies)
    logs = _logs(cases, service, waiting_s, setup, copies)
    if load == "steps" or setup.model.encoder:
        logs = [
            {"step_time": float(np.log(1e3 * service.prompt_s[i])), **log}
            for i, log in enumerate(logs)
        ]
    return [
        Computed(
            case=case,
            log=log,
            situation=_situation(case, setup),
            users=float(users[i] / setup.workers / setup.deployment.dp),
            context=float(prompt[i] + depth[i] + output[i] / 2),
            prompts=float(prompt[i] / max(output[i], 1.0)),
            fits=bool(fits[i]),
            basis=steps.basis,
        )
        for i, (case, log) in enumerate(zip(cases, logs, strict=True))
    ]


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def _logs(
    cases: Sequence[Case], service: Service, waiting_s: Floats, setup: Setup, copies: float
) -> list[dict[str, float]]:
    out = []
    for i, case in enumerate(cases):
        rate = service.output_tokens_per_s[i] * copies
        if case.measured.output_tokens_per_s is None:
            rate = (
                service.total_tokens_per_s[i]
                if case.measured.total_tokens_per_s is not None
                else service.requests_per_s[i]
            ) * copies
        figures = {
            "tpot": float(np.log(1e3 * service.tpot_s[i])),
            "ttft": float(np.log(1e3 * (service.ttft_s[i] + waiting_s[i]))),
            "throughput": float(-np.log(rate)),
            "energy": float(np.log(service.j_per_output_token[i])),
        }
        stored = _stored_log(case, setup)
        figures["tpot"] += stored
        # Where only pace was measured, the rate is its inverse.
        figures["throughput"] += stored if case.measured.tpot_ms is not None else 0.0
        out.append({name: log for name, log in figures.items() if np.isfinite(log)})
    return out


def _stored_log(case: Case, setup: Setup) -> float:
    """Ln of the bits that a weight really takes over those that were computed with.

    Files of llama.cpp mix types; a step of one user reads all weights once, so its time is in proportion.
    """
    if case.weight_bits is None or (case.concurrency or 1.0) > 1.0:
        return 0.0
    memory = memory_of(
        setup.model, setup.deployment, 1.0, reserve_fraction=0.0, activation_tokens=0
    )
    computed = 8.0 * memory.weight_bytes * setup.deployment.n_chips / setup.model.n_parameters
    return float(np.log(case.weight_bits / computed))


def _situation(case: Case, setup: Setup) -> Situation:
    """The deployment's own names, with what a file says beyond them."""
    mode = case.load + ("+apart" if case.prefill else "") + ("" if case.split_known else "+guessed")
    return replace(
        situation_of(setup.model, setup.deployment),
        engine=case.engine.lower() or "unknown",
        mode=mode + (f"+{case.speculative}" if case.speculative else ""),
        era=era_of(case.engine.lower(), case.date),
        campaign=case.dataset,
        version=case.engine_version or "-",
    )
