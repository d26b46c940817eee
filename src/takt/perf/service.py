"""What users see of a deployment under a steady load: waiting, pace, throughput, energy.

A closed-loop model at estimator speed: mean steps, no events. Prompts share steps with generating users, so
every generated token pays for its share of prompt work; a new prompt waits for those before it. The serving
room simulates what this averages.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from .corrections import Figure, time_factor
from .estimate import Estimate, Floats, sizes
from .step import StepModel

__all__ = ["Service", "closed_loop", "corrected", "one_batch", "open_loop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What users of a load see, elementwise over loads; rates are of all copies together.

    - `ttft_s`: from a request sent to its first token; `tpot_s`: between the tokens of one user.
    - `prompt_s`: a prompt alone, without waiting; `added_s`: what one more adds to a busy reader.
    - `prompt_share`: share of the readers' time that prompts take.
    - `j_per_output_token`: of all chips; NaN where a chip's power is unknown.
    """

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
    """A batch that starts and ends together: one prompt step, then `output_tokens` − 1 decode steps.

    Prompts lie behind `cached_tokens` positions that need no reading. Raises UsageError for negative sizes.
    """
    users, prompt, output, cached = sizes(users, prompt_tokens, output_tokens, cached_tokens)
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
    users, prompt, output = sizes(users, prompt_tokens, output_tokens)
    reading = _reading(prefill or steps, prompt, prefill_workers if prefill else workers)
    load = _Load(
        steps=steps,
        users=users,
        prompt=prompt,
        output=np.maximum(output, 1.0),
        reading=reading,
        workers=workers,
        apart=prefill is not None,
    )
    generating = np.maximum(users / workers, _FEWEST)
    for _ in range(_ROUNDS):
        pace, generating = load.settle(generating)
    return load.service(pace, generating)


# Enough for the number of generating users to settle within 1 %.
_ROUNDS = 12
# The same for users under way at a rate, each round a closed loop.
_OPEN_ROUNDS = 30
# A trickle of requests: fewer users than one are under way most of the time.
_FEWEST = 1e-6
# Beyond so many users, lengths drawn at random have spread them.
_MOST_TOGETHER = 512.0


@dataclass(frozen=True, slots=True)
class _Reading:
    """A prompt alone, seconds that one more adds to a busy reader, and readers at work side by side."""

    alone: Estimate
    added_s: Floats
    readers: float


def _reading(reader: StepModel, prompt: Floats, workers: int) -> _Reading:
    """How `workers` copies of a reader read prompts.

    Beside steps that run anyway only the tokens are paid, not the reading of the weights; a reader for prompts
    alone fills its steps with several of them. Groups of data-parallel attention read one each.
    """
    prompt = np.maximum(prompt, 1.0)
    alone = reader.prompt(1.0, prompt)
    groups = float(reader.deployment.dp * reader.deployment.pp)
    many = np.maximum(float(reader.engine.chunk_tokens) / prompt, 1.0)
    full = reader.prompt(many * groups, prompt)
    added_s = np.minimum(full.time_s / many, alone.time_s)
    return _Reading(alone=alone, added_s=added_s, readers=groups * workers)


@dataclass(frozen=True, slots=True)
class _Pace:
    """Times of a load at one guess of how many users generate."""

    step_s: Floats
    work_s: Floats
    tpot_s: Floats
    ttft_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """A closed loop to be settled; `users` of all `workers`, `apart`: prompts are read elsewhere."""

    steps: StepModel
    users: Floats
    prompt: Floats
    output: Floats
    reading: _Reading
    workers: int
    apart: bool

    @property
    def share(self) -> Floats:
        """Users of one copy."""
        return np.maximum(self.users / self.workers, _FEWEST)

    @property
    def context(self) -> Floats:
        """Positions that a generating user has on average."""
        return self.prompt + self.output / 2

    def settle(self, generating: Floats) -> tuple[_Pace, Floats]:
        """Times with so many users generating on one copy, and how many would then (Little's law), half-way."""
        output, tokens = self.output, self.steps.tokens_per_step
        clean_s = self.steps.decode_s(generating, self.context)
        ends = generating * tokens / output
        # Prompts of one's own copy take turns with its steps; those read elsewhere don't.
        own_s = ends * self.reading.added_s * self.workers / self.reading.readers
        step_s = clean_s + (0.0 if self.apart else own_s + self._beside_s(generating, ends))
        work_s = ends * self.workers * self.reading.added_s / self.reading.readers
        tpot_s = step_s / tokens
        waiting_s = self._waiting_s(step_s, work_s, tpot_s)
        ttft_s = self.steps.engine.first_s + self.reading.alone.time_s + waiting_s + clean_s
        share = self.share
        wanted = share * (output * tpot_s) / (ttft_s + output * tpot_s)
        pace = _Pace(step_s=step_s, work_s=work_s, tpot_s=tpot_s, ttft_s=ttft_s)
        return pace, 0.5 * (generating + np.clip(wanted, np.minimum(share, 0.5), share))

    def _beside_s(self, generating: Floats, ends: Floats) -> Floats:
        """What steps are longer on average because attention of users shares its call with prompts, in some of them."""
        chunks = np.maximum(self.prompt / self.steps.engine.chunk_tokens, 1.0)
        longer_s = self.steps.beside_s(generating, self.context)
        return np.minimum(ends * chunks * self.workers / self.reading.readers, 1.0) * longer_s

    def _waiting_s(self, step_s: Floats, work_s: Floats, tpot_s: Floats) -> Floats:
        """How long a prompt waits for others, where readers have `work_s` to do in each step."""
        added_s, readers = self.reading.added_s, self.reading.readers
        busy = np.minimum(work_s / np.maximum(step_s, work_s * 1.05), 0.95)
        others = np.minimum(self.share * self.workers / readers, _MOST_TOGETHER) - 1.0
        queue = busy / (2.0 * (1.0 - busy)) + self.steps.engine.burst * np.maximum(others, 0.0)
        if not self.apart:
            return added_s * queue
        # No more can generate than readers keep supplied; the rest wait for them.
        supplied = self.output * tpot_s * readers / (self.workers * added_s)
        held_s = (self.users - supplied * self.workers) * added_s / readers
        return np.maximum(added_s * queue, held_s)

    def service(self, pace: _Pace, generating: Floats) -> Service:
        """The figures of a settled load."""
        output, tpot_s = self.output, pace.tpot_s
        rate = self.users / (pace.ttft_s + (output - 1.0) * tpot_s)
        made = generating * self.steps.tokens_per_step
        decode_j = self.steps.decode(generating, self.context).energy_j * output / made
        return Service(
            users=self.users,
            ttft_s=pace.ttft_s,
            tpot_s=tpot_s,
            prompt_s=self.reading.alone.time_s,
            added_s=self.reading.added_s,
            prompt_share=pace.work_s / np.maximum(pace.step_s, pace.work_s),
            requests_per_s=rate,
            output_tokens_per_s=rate * output,
            total_tokens_per_s=rate * (output + self.prompt),
            j_per_output_token=(decode_j + self.reading.alone.energy_j) / output,
        )


def open_loop(
    steps: StepModel,
    requests_per_s: ArrayLike,
    prompt_tokens: ArrayLike,
    output_tokens: ArrayLike,
    *,
    most_users: ArrayLike = 4096.0,
) -> Service:
    """Arrivals at a rate: the closed loop with as many users as the rate keeps in flight (Little's law).

    Found by iteration, between one user and `most_users`: rates of the result are those of that loop, the asked
    one where it lies between.
    """
    rate, prompt, output = sizes(requests_per_s, prompt_tokens, output_tokens)
    users = np.ones_like(rate)
    for _ in range(_OPEN_ROUNDS):
        now = closed_loop(steps, users, prompt, output)
        span_s = now.ttft_s + output * now.tpot_s
        users = np.clip(0.5 * users + 0.5 * rate * span_s, _FEWEST, most_users)
    return closed_loop(steps, users, prompt, output)


def corrected(
    service: Service, steps: StepModel, prompt_tokens: ArrayLike, output_tokens: ArrayLike
) -> Service:
    """A computed closed loop as measurements have it.

    Pace, waiting and energy by effects of their own; rates follow from the first two (Little's law), so that
    the figures agree with each other. No effect makes a token quicker than weights can be read. Of one copy: its
    joules are no more than its boards may draw, however the effects, which were fitted apart, multiply.
    """
    prompt, output = sizes(prompt_tokens, output_tokens)
    context, prompts = prompt + output / 2, prompt / np.maximum(output, 1.0)

    def factor(figure: Figure) -> Floats:
        return time_factor(steps.model, steps.deployment, figure, service.users, context, prompts)

    least_s = steps.floor_s(np.ones(()), context) / steps.tokens_per_step
    tpot_s = np.maximum(service.tpot_s * factor("tpot"), least_s)
    ttft_s = service.ttft_s * factor("ttft")
    rate = service.users / (ttft_s + np.maximum(output - 1.0, 0.0) * tpot_s)
    most_w = (steps.deployment.chip.power.tdp_w or np.inf) * steps.deployment.n_chips
    energy_j = np.minimum(service.j_per_output_token * factor("energy"), most_w / (rate * output))
    return replace(
        service,
        tpot_s=tpot_s,
        ttft_s=ttft_s,
        requests_per_s=rate,
        output_tokens_per_s=rate * output,
        total_tokens_per_s=rate * (output + prompt),
        j_per_output_token=energy_j,
    )
