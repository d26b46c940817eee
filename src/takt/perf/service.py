"""What users see of a deployment under a steady load: waiting, pace, throughput, energy.

A closed-loop model at estimator speed: mean steps, no events. Prompts share steps with generating users, so
every generated token pays for its share of prompt work; a new prompt waits for those before it. The serving
room simulates what this averages.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from .corrections import Figure, time_factor
from .estimate import Estimate, Floats
from .step import StepModel

__all__ = ["Service", "closed_loop", "corrected", "one_batch", "open_loop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Elementwise over loads. Rates are of the whole deployment; `prompt_s` is a prompt alone, without waiting,
    `added_s` what one more adds to a busy reader."""

    users: Floats
    ttft_s: Floats
    tpot_s: Floats
    prompt_s: Floats
    added_s: Floats
    prompt_share: Floats
    requests_per_s: Floats
    output_tokens_per_s: Floats
    total_tokens_per_s: Floats
    j_per_output_token: Floats


def one_batch(
    steps: StepModel,
    users: ArrayLike,
    prompt_tokens: ArrayLike,
    output_tokens: ArrayLike,
    cached_tokens: ArrayLike = 0.0,
) -> Service:
    """A batch that starts and ends together: one prompt step, then `output_tokens` − 1 decode steps."""
    users, prompt, output, cached = _floats(users, prompt_tokens, output_tokens, cached_tokens)
    first = steps.prompt(users, np.maximum(prompt, 1.0), cached)
    step = steps.decode(users, cached + prompt + output / 2)
    tpot_s = step.time_s / steps.tokens_per_step
    n_steps = np.maximum(output - 1, 0.0) / steps.tokens_per_step
    span_s = first.time_s + n_steps * step.time_s
    energy_j = first.energy_j + n_steps * step.energy_j
    made = users * np.maximum(output, 1.0)
    return Service(
        users=users,
        ttft_s=first.time_s,
        tpot_s=tpot_s,
        prompt_s=first.time_s,
        added_s=first.time_s / users,
        prompt_share=first.time_s / span_s,
        requests_per_s=users / span_s,
        output_tokens_per_s=made / span_s,
        total_tokens_per_s=(made + users * prompt) / span_s,
        j_per_output_token=energy_j / made,
    )


def closed_loop(
    steps: StepModel,
    users: ArrayLike,
    prompt_tokens: ArrayLike,
    output_tokens: ArrayLike,
    *,
    prefill: StepModel | None = None,
    prefill_workers: int = 1,
    workers: int = 1,
) -> Service:
    """A constant number of `users`, each sending the next request when one is answered.

    A user is either waiting for the prompt or generating; how many generate follows from Little's law, by
    iteration. In one step of B generating users B / output_tokens requests end and as many prompts begin,
    whose work is done beside it. With `prefill` prompts are read elsewhere by `prefill_workers` copies, and
    the steps of the `workers` generating copies stay clean. A prompt waits for those under way: for ρ / 2(1 − ρ) services as
    at a busy single server (Pollaczek–Khinchine, constant service), and for the engine's `burst` share of
    all that may come at the same time, because users who began together stay in step.
    """
    users, prompt, output = _floats(users, prompt_tokens, output_tokens)
    output = np.maximum(output, 1.0)
    alone, added_s, readers = _prompt_s(steps, prefill, prompt, prefill_workers)
    share = np.maximum(users / workers, 1e-3)
    generating, context = share, prompt + output / 2
    for _ in range(_ROUNDS):
        clean_s = steps.decode_s(generating, context)
        ends = generating * steps.tokens_per_step / output
        # Prompts of one's own copy take turns with its steps; those read elsewhere don't.
        step_s = clean_s + (0.0 if prefill else ends * added_s)
        work_s = ends * workers * added_s / readers
        busy = np.minimum(work_s / np.maximum(step_s, work_s * 1.05), 0.95)
        others = np.minimum(share * workers / readers, _MOST_TOGETHER) - 1.0
        waiting_s = added_s * (
            busy / (2.0 * (1.0 - busy)) + steps.engine.burst * np.maximum(others, 0.0)
        )
        tpot_s = step_s / steps.tokens_per_step
        # No more can generate than readers keep supplied; the rest wait for them.
        supplied = output * tpot_s * readers / (workers * added_s)
        held_s = (users - supplied * workers) * added_s / readers
        waiting_s = np.maximum(waiting_s, held_s if prefill else 0.0)
        ttft_s = steps.engine.first_s + alone.time_s + waiting_s + clean_s
        span_s = ttft_s + (output - 1.0) * tpot_s
        wanted = share * (output * tpot_s) / (ttft_s + output * tpot_s)
        generating = 0.5 * (generating + np.clip(wanted, np.minimum(share, 0.5), share))
    rate = users / span_s
    made = generating * steps.tokens_per_step
    energy_j = steps.decode(generating, context).energy_j * output / made + alone.energy_j
    return Service(
        users=users,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        prompt_s=alone.time_s,
        added_s=added_s,
        prompt_share=work_s / np.maximum(step_s, work_s),
        requests_per_s=rate,
        output_tokens_per_s=rate * output,
        total_tokens_per_s=rate * (output + prompt),
        j_per_output_token=energy_j / output,
    )


# Enough for the number of generating users to settle within 1 %.
_ROUNDS = 12
# Beyond so many users, lengths drawn at random have spread them.
_MOST_TOGETHER = 512.0


def _prompt_s(
    steps: StepModel, prefill: StepModel | None, prompt: Floats, prefill_workers: int
) -> tuple[Estimate, Floats, float]:
    """A prompt alone, seconds that one more prompt adds to a busy reader, and readers at work side by side.

    Beside steps that run anyway only the tokens are paid, not the reading of the weights; a reader for prompts
    alone fills its steps with several of them. Groups of data-parallel attention read one each.
    """
    reader = prefill or steps
    prompt = np.maximum(prompt, 1.0)
    alone = reader.prompt(1.0, prompt)
    groups = float(reader.deployment.dp * reader.deployment.pp)
    chunk = float(reader.engine.chunk_tokens)
    many = np.maximum(chunk / prompt, 1.0)
    full = reader.prompt(many * groups, prompt)
    added_s = np.minimum(full.time_s / many, alone.time_s)
    return alone, added_s, groups * (prefill_workers if prefill else 1.0)


def open_loop(
    steps: StepModel,
    requests_per_s: ArrayLike,
    prompt_tokens: ArrayLike,
    output_tokens: ArrayLike,
    *,
    most_users: ArrayLike = 4096.0,
) -> Service:
    """Arrivals at a rate: the closed loop with as many users as the rate keeps in flight (Little's law), found by iteration."""
    rate, prompt, output = _floats(requests_per_s, prompt_tokens, output_tokens)
    users = np.ones_like(rate)
    for _ in range(30):
        now = closed_loop(steps, users, prompt, output)
        span_s = now.ttft_s + output * now.tpot_s
        users = np.clip(0.5 * users + 0.5 * rate * span_s, 1.0, most_users)
    return closed_loop(steps, users, prompt, output)


def corrected(
    service: Service, steps: StepModel, prompt_tokens: ArrayLike, output_tokens: ArrayLike
) -> Service:
    """A computed closed loop as measurements have it.

    Pace, waiting and energy by effects of their own; rates follow from the first two (Little's law), so that
    the figures agree with each other.
    """
    prompt, output = _floats(prompt_tokens, output_tokens)
    context, prompts = prompt + output / 2, prompt / np.maximum(output, 1.0)

    def factor(figure: Figure) -> Floats:
        return time_factor(
            steps.model, steps.deployment, figure, service.users, context, prompts
        )

    tpot_s, ttft_s = service.tpot_s * factor("tpot"), service.ttft_s * factor("ttft")
    rate = service.users / (ttft_s + np.maximum(output - 1.0, 0.0) * tpot_s)
    return replace(
        service,
        tpot_s=tpot_s,
        ttft_s=ttft_s,
        requests_per_s=rate,
        output_tokens_per_s=rate * output,
        total_tokens_per_s=rate * (output + prompt),
        j_per_output_token=service.j_per_output_token * factor("energy"),
    )


def _floats(*values: ArrayLike) -> tuple[Floats, ...]:
    return tuple(np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values)))
