"""A setup under the load that was measured: how many users, and what they see.

Knows how each kind of load is computed (`takt.perf`); what a case measured is read only where it says how the load
was bounded.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from takt.perf import (
    Service,
    StepModel,
    closed_loop,
    max_users,
    memory_of,
    one_batch,
    open_loop,
)

from .case import Case
from .setups import Setup

__all__ = ["FULL_BATCH", "room_of", "service_of", "waiting_of"]

Floats = NDArray[np.float64]
_MOST_USERS = 4096.0
# Samples that share a pass where as many as wanted are at hand.
FULL_BATCH = 64.0


def room_of(setup: Setup, context: Floats, steps: StepModel) -> tuple[Floats, NDArray[np.bool_]]:
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


def service_of(
    cases: Sequence[Case],
    setup: Setup,
    steps: StepModel,
    prompt: Floats,
    output: Floats,
    room: Floats,
    asked: Floats,
) -> tuple[Service, Floats]:
    """What users of all copies see, and how many they are, elementwise over cases of one load.

    `prompt`, `output`: tokens; `room`: users whose caches fit; `asked`: users or requests that the case names, 0 if none.
    """
    load = cases[0].load
    if load == "steps" or setup.model.encoder:
        # Texts are passes: of the batch that is given, or of a full one where as many as wanted wait.
        users = np.maximum(asked, 1.0) if load == "steps" else np.full(len(cases), FULL_BATCH)
        return one_batch(steps, users, prompt, np.ones_like(output)), users
    if load == "static":
        users = np.maximum(asked / setup.workers, 1.0)
        depth = np.asarray([c.depth_tokens for c in cases])
        return one_batch(steps, users, prompt, output, depth), users * setup.workers
    if load == "open" and all(c.limits for c in cases):
        users = _most_within(cases, steps, prompt, output, room / setup.workers)
        return closed_loop(steps, users, prompt, output), users * setup.workers
    if load == "open" and all(c.rate_per_s for c in cases):
        rate = np.asarray([c.rate_per_s or 1.0 for c in cases]) / setup.workers
        # However fast they come, no more are under way than there are.
        sent = np.asarray([float(c.n_requests or np.inf) for c in cases])
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


def waiting_of(
    load: str, service: Service, users: Floats, asked: Floats, cases: Sequence[Case]
) -> Floats:
    """Time to the first token when requests come at once: the median request waits for half of what is before it."""
    together = np.asarray([load == "offline" for _ in cases])
    prompts_s = np.where(together, 0.5 * users * service.prompt_s, 0.0)
    queue = np.maximum(asked - users, 0.0) * np.where(together, 0.5, 1.0)
    return prompts_s + queue / np.maximum(service.requests_per_s, 1e-9)
