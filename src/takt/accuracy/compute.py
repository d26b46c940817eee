"""Figures computed for measured configurations, before any correction: cases in, logarithms of times out.

Cases of one model on one deployment are computed together, as arrays. What is not said in a case is taken as the
field usually has it (`_deployment`); a case whose model or chip nobody knows is refused in words. Knows no measured value.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from takt.chips import Accelerator, find_accelerator
from takt.errors import TaktError
from takt.models.outlines import Outline, find_outline, why_not
from takt.perf import (
    Deployment,
    Precision,
    Service,
    StepModel,
    closed_loop,
    max_users,
    memory_of,
    one_batch,
    open_loop,
)
from takt.perf.corrections import Situation, situation_of

from .case import Case, Split
from .networks import Network, find_network, sample_s

__all__ = ["Computed", "compute_cases"]

Floats = NDArray[np.float64]
# Prompts of a usual request where a file does not say.
_USUAL_PROMPT, _USUAL_OUTPUT = 512.0, 256.0
# Drafted tokens a step and how often a guess holds, where a file says only that there is multi-token prediction or a draft model.
_DRAFT_TOKENS, _ACCEPTANCE = 3, 0.6
_MOST_USERS = 4096.0


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
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    refused: dict[int, str] = {}
    setups: dict[int, _Setup] = {}
    done: dict[int, Computed] = {}
    for i, case in enumerate(cases):
        network = find_network(case.model)
        try:
            if network is not None:
                done[i] = _compute_network(case, network)
                continue
            setup = _setup(case)
        except _Refused as error:
            refused[i] = str(error)
            continue
        setups[i] = setup
        groups[(*setup.key, case.load, case.limits is None)].append(i)
    for members in groups.values():
        together = [cases[i] for i in members]
        try:
            results = _compute_group(together, setups[members[0]])
        except TaktError as error:
            for i in members:
                refused[i] = str(error).split("\n")[0]
            continue
        done.update(zip(members, results, strict=True))
    return (
        [done[i] for i in sorted(done)],
        [(cases[i], refused[i]) for i in sorted(refused)],
    )


class _Refused(Exception):
    """Why a case has no figure."""


@dataclass(frozen=True, slots=True)
class _Setup:
    model: Outline
    chip: Accelerator
    deployment: Deployment
    prefill: Deployment | None
    workers: int
    prefill_workers: int
    key: tuple[object, ...]


@cache
def _chip(text: str) -> Accelerator | None:
    return find_accelerator(text)


@cache
def _model(text: str) -> Outline | None:
    return find_outline(text)


def _known_chip(case: Case) -> Accelerator:
    chip = _chip(case.chip)
    if chip is None:
        raise _Refused("no chip of the catalogue is meant")
    return chip


# Samples that share a pass where as many as wanted are at hand.
_NETWORK_BATCH = 64.0


def _compute_network(case: Case, network: Network) -> Computed:
    """A network without tokens: one pass, or passes of a full batch on all chips."""
    chip = _known_chip(case)
    batch = case.concurrency or 1.0 if case.load == "steps" else _NETWORK_BATCH
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


def _setup(case: Case) -> _Setup:
    chip = _known_chip(case)
    model = _model(case.model)
    if model is None:
        raise _Refused(why_not(case.model))
    deployment = _deployment(case, case.split, chip, model)
    if not case.split_known and not case.prefill:
        deployment = _narrowest(deployment, model)
    prefill = _deployment(case, case.prefill, chip, model) if case.prefill else None
    key = (case.chip, case.model, deployment.engine, deployment.precision)
    splits = (case.split, case.prefill, case.speculative, case.n_chips)
    copies = case.split.workers
    if not case.split_known and not case.prefill:
        copies = case.n_chips // deployment.n_chips
    return _Setup(
        model=model,
        chip=chip,
        deployment=deployment,
        prefill=prefill,
        workers=max(copies, 1),
        prefill_workers=case.prefill.workers if case.prefill else 1,
        key=(*key, *splits),
    )


def _deployment(case: Case, split: Split, chip: Accelerator, model: Outline) -> Deployment:
    """The case's split and types; experts in few bits leave the rest of the model in 16, as published checkpoints do."""
    weights = _type(case.weights) or model.stored
    experts = _type(case.experts) or (model.stored_experts if not case.weights else "")
    if model.stored_experts in _FOUR_BITS and weights == "fp8" and not experts:
        experts = model.stored_experts  # "fp8" of such a checkpoint is all but its experts
    if model.has_experts and not experts and weights in _FOUR_BITS:
        weights, experts = "bf16", weights
    guessed = bool(case.speculative)
    total = split.tp * split.dp
    ep = split.ep or 1
    return Deployment(
        chip=chip,
        tp=split.tp,
        pp=split.pp,
        dp=split.dp,
        ep=ep if total % ep == 0 else 1,
        precision=Precision(weights=weights, experts=experts, kv=_type(case.kv) or "bf16"),
        engine=_engine(case.engine),
        draft_tokens=_DRAFT_TOKENS if guessed else 0,
        acceptance=_ACCEPTANCE if guessed else 0.0,
    )


def _narrowest(whole: Deployment, model: Outline) -> Deployment:
    """Of a copy over all chips, the split into most copies that leaves half as much for caches as weights take.

    What who tunes for throughput does; used where a file does not say how many copies ran.
    """
    tp = 1
    while tp < whole.tp:
        trial = replace(whole, tp=tp, ep=1)
        memory = memory_of(model, trial, 2048.0, reserve_fraction=0.1, activation_tokens=8192)
        if whole.tp % tp == 0 and memory.free_bytes > 0.25 * memory.weight_bytes:
            return trial
        tp *= 2
    return whole


_FOUR_BITS = ("fp4", "mxfp4", "int4")
# Types that no kernel table knows, as the next one that a chip computes in.
_COMPUTED_AS = {"int2": "int4", "int3": "int4", "int5": "int4", "int6": "int8"}


def _type(text: str) -> str:
    return _COMPUTED_AS.get(text, text)


def _engine(text: str) -> str:
    low = text.lower()
    for part, name in (
        ("vllm", "vllm"),
        ("sglang", "sglang"),
        ("trt", "trtllm"),
        ("tensorrt", "trtllm"),
    ):
        if part in low:
            return name
    return "generic"


def _compute_group(cases: Sequence[Case], setup: _Setup) -> list[Computed]:
    steps = StepModel.of(setup.model, setup.deployment)
    prompt = np.asarray([_or(c.prompt_tokens, _USUAL_PROMPT) for c in cases])
    output = np.asarray([_or(c.output_tokens, _USUAL_OUTPUT) for c in cases])
    depth = np.asarray([c.depth_tokens for c in cases])
    load = cases[0].load
    room, fits = _room(setup, prompt + output / 2 + depth, steps)
    asked = np.asarray([_or(c.concurrency, _or(c.n_requests, 0.0)) for c in cases])
    service, users = _service(cases, setup, steps, prompt, output, room, asked)
    waiting_s = _waiting_s(load, service, users, asked, cases)
    logs = _logs(cases, service, waiting_s, setup)
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


def _room(setup: _Setup, context: Floats, steps: StepModel) -> tuple[Floats, NDArray[np.bool_]]:
    """Users whose caches fit all copies, and whether the weights fit at all.

    Where they don't by our count, the case ran all the same: then nothing is known of its room.
    """
    room = np.empty(len(context))
    fits = np.ones(len(context), dtype=bool)
    for i, tokens in enumerate(context):
        memory = memory_of(
            setup.model,
            setup.deployment,
            float(tokens),
            reserve_fraction=steps.engine.reserve_fraction,
            activation_tokens=steps.engine.chunk_tokens,
        )
        fits[i] = memory.free_bytes > 0
        room[i] = max_users(memory, setup.deployment) if fits[i] else _MOST_USERS
    return np.clip(room * setup.workers, 1.0, _MOST_USERS * setup.workers), fits


def _service(
    cases: Sequence[Case],
    setup: _Setup,
    steps: StepModel,
    prompt: Floats,
    output: Floats,
    room: Floats,
    asked: Floats,
) -> tuple[Service, Floats]:
    load = cases[0].load
    if load == "steps" or setup.model.encoder:
        # Texts are passes: of the batch that is given, or of a full one where as many as wanted wait.
        users = np.maximum(asked, 1.0) if load == "steps" else np.full(len(cases), _NETWORK_BATCH)
        return one_batch(steps, users, prompt, np.ones_like(output)), users
    if load == "static":
        users = np.maximum(asked / setup.workers, 1.0)
        depth = np.asarray([c.depth_tokens for c in cases])
        return one_batch(steps, users, prompt, output, depth), users * setup.workers
    if load == "open" and all(c.limits for c in cases):
        users = _most_within(cases, steps, prompt, output, room / setup.workers)
        return closed_loop(steps, users, prompt, output), users * setup.workers
    if load == "open" and all(c.rate_per_s for c in cases):
        rate = np.asarray([_or(c.rate_per_s, 1.0) for c in cases]) / setup.workers
        # However fast they come, no more are under way than there are.
        sent = np.asarray([_or(c.n_requests, np.inf) for c in cases])
        most = np.maximum(np.minimum(room, sent) / setup.workers, 1.0)
        service = open_loop(steps, rate, prompt, output, most_users=most)
        return service, service.users * setup.workers
    users = np.where(asked > 0, np.minimum(asked, room), room)
    prefill = StepModel.of(setup.model, setup.prefill) if setup.prefill else None
    service = closed_loop(
        steps,
        users,
        prompt,
        output,
        prefill=prefill,
        prefill_workers=setup.prefill_workers,
        workers=setup.workers,
    )
    return service, users


# A 99th percentile lies about so far above the median that limits are compared with.
_TAIL = 1.3


def _most_within(
    cases: Sequence[Case], steps: StepModel, prompt: Floats, output: Floats, room: Floats
) -> Floats:
    """Users of one copy up to which every limit holds, at most as fit: rates were raised until one did not."""
    counts = 2.0 ** np.arange(0.0, 12.01, 0.25)
    best = np.ones(len(cases))
    for i, case in enumerate(cases):
        limits = case.limits
        assert limits is not None
        service = closed_loop(steps, counts, prompt[i], output[i])
        within = counts <= room[i]
        if limits.tpot_ms:
            within &= service.tpot_s * 1e3 * _TAIL <= limits.tpot_ms
        if limits.ttft_ms:
            within &= service.ttft_s * 1e3 * _TAIL <= limits.ttft_ms
        if limits.latency_ms:
            span_s = service.ttft_s + output[i] * service.tpot_s
            within &= span_s * 1e3 * _TAIL <= limits.latency_ms
        best[i] = counts[within].max(initial=1.0)
    return best


def _waiting_s(
    load: str, service: Service, users: Floats, asked: Floats, cases: Sequence[Case]
) -> Floats:
    """Time to the first token when requests come at once: the median request waits for half of what is before it."""
    together = np.asarray([load == "offline" for _ in cases])
    prompts_s = np.where(together, 0.5 * users * service.prompt_s, 0.0)
    queue = np.maximum(asked - users, 0.0) * np.where(together, 0.5, 1.0)
    return prompts_s + queue / np.maximum(service.requests_per_s, 1e-9)


def _logs(
    cases: Sequence[Case], service: Service, waiting_s: Floats, setup: _Setup
) -> list[dict[str, float]]:
    out = []
    for i, case in enumerate(cases):
        workers = 1.0
        if case.load in ("static", "open", "steps") or setup.model.encoder:
            workers = float(setup.workers)
        rate = service.output_tokens_per_s[i] * workers
        if case.measured.output_tokens_per_s is None:
            rate = (
                service.total_tokens_per_s[i]
                if case.measured.total_tokens_per_s is not None
                else service.requests_per_s[i]
            ) * workers
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


def _stored_log(case: Case, setup: _Setup) -> float:
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


def _situation(case: Case, setup: _Setup) -> Situation:
    """The deployment's own names, with what a file says beyond them."""
    mode = case.load + ("+apart" if case.prefill else "") + ("" if case.split_known else "+guessed")
    return replace(
        situation_of(setup.model, setup.deployment),
        engine=case.engine.lower() or "unknown",
        mode=mode + (f"+{case.speculative}" if case.speculative else ""),
        campaign=case.dataset,
        version=case.engine_version or "-",
    )
