"""A constant number of users on a setup, simulated: each sends its next request when one is answered.

Every user is a conversation of requests that share nothing, so that as many are under way as there are users, whoever
ends when. Of a run whose length is known all requests count, as its benchmark counted them; of a long one only those in
between: the first of each user come all at once, and beside the last others have left already. Knows no measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from takt.errors import UsageError
from takt.perf import StepModel
from takt.serving import REQUEST, Fleet, Policy, Pool
from takt.serving.fast import run
from takt.serving.tables import policy_of, pool_of

from ..setups import Setup
from .protocol import Protocol

__all__ = ["MOST_STEPS_OF_USERS", "Steady", "SteadySetup", "steady_of"]

Floats = NDArray[np.float64]
_TURNS = 4  # one to begin, two that count, one to end
_LEAST_COUNTED = 16  # requests that count, however few users there are
# Users × tokens of their answers, all turns together: some seconds and some hundred megabytes.
MOST_STEPS_OF_USERS = 400_000_000
_ENOUGH_BLOCKS = (
    1 << 24
)  # where weights don't fit by our count, but the run was made: then nothing is known of its room


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What users see, in seconds: `tpot_s` and `ttft_median_s` are medians over requests; rates are of the whole setup."""

    ttft_mean_s: float
    ttft_median_s: float
    tpot_s: float
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    n_requests: int


@dataclass(frozen=True, kw_only=True)
class SteadySetup:
    """A setup with the tables of its steps, looked up once for texts up to `max_context` and so many users of a copy."""

    setup: Setup
    max_users: int
    max_context: int

    @cached_property
    def steps(self) -> StepModel:
        """Steps of the copies that generate."""
        return StepModel.of(self.setup.model, self.setup.deployment)

    @cached_property
    def pools(self) -> tuple[Pool, ...]:
        """One copy that does both, or all that read and all that generate."""
        setup = self.setup
        if setup.prefill is None:
            return (self._pool("both", 1),)
        return (
            self._pool("prompt", setup.prefill_workers),
            self._pool("decode", setup.workers),
        )

    def _pool(self, role: str, replicas: int) -> Pool:
        reads = role == "prompt"
        deployment = self.setup.prefill if reads and self.setup.prefill else self.setup.deployment
        return pool_of(
            self.setup.model,
            deployment,
            name=role,
            replicas=replicas,
            role="prompt" if reads else "decode" if role == "decode" else "both",
            expected_context=self.max_context,
            max_context=self.max_context,
            policy=self.policy(reads, self.max_context),
            corrections=False,
            steps=None if reads else self.steps,
        )

    def policy(self, reads: bool, context: int) -> Policy:
        """The engine's defaults, but for a number of requests that no run was held back by."""
        deployment = self.setup.prefill if reads and self.setup.prefill else self.setup.deployment
        try:
            policy = policy_of(self.setup.model, deployment, expected_context=context)
        except UsageError:
            # The weights are too large by our count, but the run was made.
            policy = policy_of(
                self.setup.model, deployment, expected_context=context, reserve_fraction=-64.0
            )
            policy = replace(policy, n_blocks=_ENOUGH_BLOCKS)
        seqs = min(max(policy.max_seqs, self.max_users), policy.max_step_tokens)
        return replace(policy, max_seqs=seqs, prefix_caching=False)


def steady_of(
    table: SteadySetup,
    protocol: Protocol,
    *,
    prompt_tokens: float,
    output_tokens: float,
    factor: float = 1.0,
    seed: int = 0,
) -> Steady:
    """The users of a protocol on all copies of the setup; times of steps are multiplied by `factor`.

    Copies that both read and generate are alike, so that one of them with its share of the users stands for all.
    Raises UsageError where more users and tokens are asked for than a simulation is made for, or the cache is too small.
    """
    setup = table.setup
    copies = 1 if setup.prefill else setup.workers
    here = max(round(protocol.users / copies), 1)
    if protocol.n_requests is None:
        n_requests = here * max(_TURNS, 2 + -(-_LEAST_COUNTED // here))
    else:
        n_requests = max(round(protocol.n_requests / copies), here)
    if n_requests * max(output_tokens, 1.0) > MOST_STEPS_OF_USERS:
        raise UsageError("more users and tokens than a simulation is made for")
    context = max(int(prompt_tokens + output_tokens / 2), 1)
    pools = tuple(_fitted(pool, table, context, factor) for pool in table.pools)
    if protocol.poll_steps > 1:
        pools = tuple(_polled(pool, protocol.poll_steps, here, context) for pool in pools)
    draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(5,)))
    rows = _requests(here, n_requests)
    rows["prompt_tokens"] = _lengths(draw, prompt_tokens, protocol.prompt_spread, n_requests)
    rows["output_tokens"] = _lengths(draw, output_tokens, protocol.output_spread, n_requests)
    batches: list[NDArray[np.void]] = []
    run([rows], Fleet(pools=pools), seed=seed, finished=batches.append)
    done = np.concatenate(batches)
    if (done["first_ns"] < 0).any():
        raise UsageError("requests do not fit the cache")
    if protocol.n_requests is None:
        last = rows["turn"].max()
        between = done[(done["turn"] > 0) & (done["turn"] < last)]
        span_s = float(((between["last_ns"] - between["arrival_ns"]) * 1e-9).mean())
        return _figures(between, protocol.users / span_s)  # Little's law
    span_s = float(done["last_ns"].max() - done["arrival_ns"].min()) * 1e-9
    return _figures(done, copies * len(done) / span_s)


def _fitted(pool: Pool, table: SteadySetup, context: int, factor: float) -> Pool:
    """With the cache that texts of this length have room in, and steps of `factor` times the length."""
    policy = table.policy(pool.role == "prompt", context)
    plain = pool.table.factor  # 1 everywhere: the table was made without corrections
    grid = replace(plain, values=plain.values * factor)
    return replace(pool, policy=policy, table=replace(pool.table, factor=grid))


def _polled(pool: Pool, n_steps: int, users: int, context: int) -> Pool:
    """A server that looks for new requests once in `n_steps` steps of users alone: they wait for half of those between."""
    step_ns, _ = pool.table.step(users, users * context, users, [])
    return replace(pool, entry_ns=pool.entry_ns + round((n_steps - 1) / 2 * step_ns))


def _requests(users: int, n_requests: int) -> NDArray[np.void]:
    """Conversations of requests that share nothing, all begun at once, none longer than another by more than one."""
    rows = np.zeros(n_requests, REQUEST)
    rows["session"] = rows["group"] = -1
    each, longer = divmod(n_requests, users)
    turns = [np.arange(each + (user < longer)) for user in range(users)]
    rows["turn"] = np.concatenate(turns)
    return rows


def _lengths(draw: np.random.Generator, mean: float, spread: float, n: int) -> NDArray[np.int64]:
    lengths = mean * draw.uniform(1.0 - spread, 1.0 + spread, n)
    return np.maximum(np.round(lengths), 1).astype(np.int64)


def _figures(counted: NDArray[np.void], requests_per_s: float) -> Steady:
    output = float(counted["output_tokens"].mean())
    prompt = float(counted["prompt_tokens"].mean())
    first_s = (counted["first_ns"] - counted["arrival_ns"]) * 1e-9
    return Steady(
        ttft_mean_s=float(first_s.mean()),
        ttft_median_s=float(np.median(first_s)),
        tpot_s=_pace_s(counted),
        requests_per_s=requests_per_s,
        output_tokens_per_s=requests_per_s * output,
        total_tokens_per_s=requests_per_s * (output + prompt),
        n_requests=len(counted),
    )


def _pace_s(done: NDArray[np.void]) -> float:
    """Median seconds between the tokens of a request; NaN where all answers are one token."""
    several = done[done["output_tokens"] > 1]
    if not len(several):
        return float("nan")
    gaps = (several["last_ns"] - several["first_ns"]) / (several["output_tokens"] - 1)
    return float(np.median(gaps)) * 1e-9


def largest(values: Sequence[float]) -> int:
    """The largest of some sizes, rounded up."""
    return int(np.ceil(max(values)))
