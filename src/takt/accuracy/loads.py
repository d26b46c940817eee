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
            fixed_bytes=steps.engine.fixed_bytes,
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
) -> tuple[Service, Floats, float]:
    """What users see, how many of all copies there are, and by what rates are multiplied, over cases of one load.

    `prompt`, `output`: tokens; `room`: users whose caches fit; `asked`: users or requests that the case names, 0 if none.
    """
    load, copies = cases[0].load, float(setup.workers)
    if load == "steps" or setup.model.encoder:
        # Texts are passes: of the batch that is given, or of a full one where as many as wanted wait.
        users = np.maximum(asked, 1.0) if load == "steps" else np.full(len(cases), FULL_BATCH)
        return one_batch(steps, users, prompt, np.ones_like(output)), users, copies
    if load == "static":
        users = np.maximum(asked / copies, 1.0)
        depth = np.asarray([c.depth_tokens for c in cases])
        return one_batch(steps, users, prompt, output, depth), users * copies, copies
    if load == "open" and cases[0].limits:
        users = _most_within(cases, steps, prompt, output, room / copies)
        return closed_loop(steps, users, prompt, output), users * copies, copies
    if load == "open" and cases[0].rate_per_s:
        rate = np.asarray([c.rate_per_s or 1.0 for c in cases]) / copies
        # However fast they come, no more are under way than there are.
        sent = np.asarray([min(c.n_requests or np.inf, c.concurrency or np.inf) for c in cases])
        most = np.maximum(np.minimum(room, sent) / copies, 1.0)
        service = open_loop(steps, rate, prompt, output, most_users=most)
        return service, service.users * copies, copies
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
    return service, users, 1.0


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
    cases: Sequence[Case],
    setup: Setup,
    service: Service,
    users: Floats,
    asked: Floats,
    copies: float,
) -> Floats:
    """Seconds that the median request waits beyond a steady load, before its prompt is read.

    Requests that come at once wait for half of what is before them: prompts of those who fit, and answers
    where not all fit. Of a constant number of users those without room wait for answers. Arrivals beyond what
    can be served wait for half of the backlog that has grown when the last comes.
    """
    load, rate = cases[0].load, np.maximum(service.requests_per_s * copies, 1e-9)
    if load == "closed":
        return np.maximum(asked - users, 0.0) / rate
    if load == "offline":
        groups = setup.workers * setup.deployment.dp * setup.deployment.pp
        prompts_s = 0.5 * users / groups * service.added_s
        return prompts_s + 0.5 * np.maximum(asked - users, 0.0) / rate
    if load == "open" and not cases[0].limits:
        sent = np.asarray([float(c.n_requests or 0.0) for c in cases])
        came = np.asarray([c.rate_per_s or np.inf for c in cases])
        return 0.5 * sent * np.maximum(1.0 / rate - 1.0 / came, 0.0)
    return np.zeros(len(cases))
