"""What a step costs on LPUs: the same question as to other chips, answered from exact schedules.

    lpu_step_cost("llama-3.3-70b", LpuDeployment(system="groqrack-v1"), "decode", batch, context) -> Estimate
    lpu_curve(model, system) -> rows of (users, speed of a user, speed in all, joules)
    lpu_chips(model, system) -> fewest chips

A table of compiled schedules is shipped (`lpu_table`); between its positions figures lie on a line. Models without a row
are judged by their sizes (`lpu_sizes`), and say so; `exact=True` compiles instead (`lpu_exact`). More users than one
pipeline holds get copies of it. What joins LPUs to GPUs is in `lpu_hybrid`. Knows nothing of requests or prices.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from takt.chips import Fact, System, load_system
from takt.errors import CapacityError, ModelError, UsageError, did_you_mean
from takt.models import shape_of
from takt.models.outlines import Outline, outline_of

from .estimate import Estimate, Floats
from .lpu_deployment import LpuDeployment
from .lpu_exact import exact_chips, exact_row
from .lpu_hybrid import Link, afd_step, kv_transfer_s, link_of, split_ttft_s
from .lpu_pace import Pace, assumed_facts, best_pace, candidates, pace_of
from .lpu_sizes import guessed_row, size_law
from .lpu_table import load_rows, machine_digest

__all__ = [
    "Link",
    "LpuDeployment",
    "LpuPoint",
    "LpuStepModel",
    "afd_step",
    "kv_transfer_s",
    "link_of",
    "lpu_assumptions",
    "lpu_chips",
    "lpu_curve",
    "lpu_models",
    "lpu_step_cost",
    "split_ttft_s",
]

PHASES = ("decode", "prompt")
Phase = Literal["decode", "prompt"]
_MOST_USERS = 1 << 20
_GUESSED_USERS = (1, 4, 16, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LpuPoint:
    """One point of a curve: `users` at once on `chips`, in `copies` of the pipeline."""

    users: int
    chips: int
    copies: int
    tokens_per_s_user: float
    tokens_per_s: float
    j_per_token: float
    error: float
    basis: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LpuStepModel:
    """A model on a deployment of LPUs, ready to be asked for many steps of at most `users` at once."""

    deployment: LpuDeployment
    pace: Pace
    copies: int
    n_chips: int

    @classmethod
    def of(
        cls, model: str | Outline, deployment: LpuDeployment, *, users: int = 1, exact: bool = False
    ) -> "LpuStepModel":
        """The schedule of the table that serves `users` fastest on these chips, or the one on the fewest.

        Raises CapacityError where so many users do not fit, ModelError for an unknown model.
        """
        system = _system(deployment.system)
        if not 1 <= users <= _MOST_USERS:
            raise UsageError(f"users {users}: expected 1 to {_MOST_USERS:,}")
        if deployment.n_chips > system.max_chips:
            raise UsageError(
                f"{system.id} has no {deployment.n_chips:,} chips",
                hint=f"it takes from 1 to {system.max_chips:,}",
            )
        pace = (
            _compiled(model, system, deployment, users)
            if exact
            else _tabled(model, system, deployment, users)
        )
        copies = _copies(pace, deployment, users)
        return cls(
            deployment=deployment,
            pace=pace,
            copies=copies,
            n_chips=deployment.n_chips or copies * pace.chips,
        )

    def decode(self, batch: ArrayLike, context: ArrayLike) -> Estimate:
        """One token for each of `batch` users at `context` cached positions: the time between two tokens of a user."""
        users, seen = self._checked(batch, context)
        step, interval = self.pace.step_s(seen), self.pace.interval_s(seen)
        host = self.pace.host_s if self.deployment.with_host else 0.0
        period = np.maximum(step + host, self._of_a_copy(users) * interval)
        return self._estimate(period, users * self.pace.active_j(seen), seen)

    def prompt(self, batch: ArrayLike, new_tokens: ArrayLike, context: ArrayLike = 0) -> Estimate:
        """Read `new_tokens` of each of `batch` texts after `context` cached positions, one token after the other.

        All follow each other through the pipeline an interval apart, texts in turn.
        """
        users, new, seen = self._checked(batch, new_tokens, context)
        end = seen + new
        last = np.maximum(end - 1, 0)
        self._checked(users, end)
        texts = self._of_a_copy(users)
        between = self.pace.intervals_s(seen, end)
        time_s = self.pace.step_s(last) + np.maximum(
            texts * between - self.pace.interval_s(last), 0
        )
        host = self.pace.host_s if self.deployment.with_host else 0.0
        time_s = np.where(new > 0, time_s + host, 0.0)
        return self._estimate(time_s, users * self.pace.actives_j(seen, end), last)

    def ffn_s_per_layer(self) -> float:
        """Seconds that one user's token takes in one layer's feed-forward; from the schedule, else by share of weights."""
        return self.pace.ffn_s_per_layer

    def _of_a_copy(self, users: Floats) -> Floats:
        return np.ceil(users / self.copies)

    def _checked(self, *values: ArrayLike) -> tuple[Floats, ...]:
        arrays = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in values))
        if any(np.any(~np.isfinite(array) | (array < 0)) for array in arrays):
            raise UsageError("batches, contexts and tokens are finite and not negative")
        most = self.copies * self.pace.max_users
        if np.any(arrays[0] > most):
            raise CapacityError(
                "so many users do not fit",
                resource="caches",
                needed=int(arrays[0].max()),
                available=most,
                hint="ask for the step model with as many users, or more chips",
            )
        if np.any(arrays[-1] > self.deployment.context_tokens):
            raise UsageError(
                f"a context of {int(arrays[-1].max()):,} positions, room for {self.deployment.context_tokens:,}",
                hint="a deployment with more context_tokens",
            )
        return tuple(arrays)

    def _estimate(self, time_s: Floats, active_j: Floats, seen: Floats) -> Estimate:
        basis = {self.pace.basis_at(seen), *self.pace.assumptions}
        if self.deployment.with_host:
            basis.add(self.pace.host_basis)
        return Estimate(
            time_s=np.asarray(time_s),
            energy_j=np.asarray(active_j + self.pace.idle_w * self.n_chips * time_s),
            error=self.pace.error_at(seen),
            basis=frozenset(basis),
        )


def lpu_step_cost(
    model: str | Outline,
    deployment: LpuDeployment,
    phase: Phase,
    batch: ArrayLike,
    context: ArrayLike,
    *,
    new_tokens: ArrayLike = 1024,
    exact: bool = False,
) -> Estimate:
    """Time and energy of steps, elementwise over arrays of `batch` and `context`.

    `decode`: one token for each of `batch` users in flight at `context` cached positions. `prompt`: `batch` texts of `new_tokens`
    after `context` cached positions. Raises UsageError for another phase, CapacityError where it does not fit.
    """
    if phase not in PHASES:
        hint = did_you_mean(phase, PHASES) or f"phases are {', '.join(PHASES)}"
        raise UsageError(f"no phase '{phase}' on LPUs", hint=hint)
    users = max(1, int(np.ceil(np.max(np.asarray(batch, np.float64), initial=1.0))))
    steps = LpuStepModel.of(model, deployment, users=users, exact=exact)
    if phase == "decode":
        return steps.decode(batch, context)
    return steps.prompt(batch, new_tokens, context)


def lpu_chips(
    model: str | Outline,
    system: str,
    weights: str = "int8",
    context: int = 2048,
    users: int = 1,
    *,
    exact: bool = False,
) -> int:
    """Chips that hold weights and the caches of `users`, copies included: the fewest of the table's deployments.

    `exact`: the fewest of one pipeline, placed in SRAM afresh (seconds).
    """
    deployment = LpuDeployment(system=system, weights=weights, context_tokens=context)
    if exact:
        return exact_chips(
            shape_of(model if isinstance(model, str) else model.name),
            _system(system),
            weights=weights,
            context=context,
            users=users,
        )
    return LpuStepModel.of(model, deployment, users=users).n_chips


def lpu_curve(
    model: str | Outline,
    system: str,
    weights: str = "int8",
    context: int = 2048,
    *,
    n_chips: int = 0,
    position: int | None = None,
    with_host: bool = True,
) -> tuple[LpuPoint, ...]:
    """Speed of each user against speed in all: every schedule that fits, with 1 user to as many as fit.

    Tokens are at `position` (default: the end of the context). Fewest chips first, then fewest users.
    """
    deployment = LpuDeployment(
        system=system,
        n_chips=n_chips,
        weights=weights,
        context_tokens=context,
        with_host=with_host,
    )
    at = context - 1 if position is None else position
    found = candidates(_name(model, system), _system(system), weights, context, n_chips)
    paces = found or _guesses(model, _system(system), deployment)
    points: list[LpuPoint] = []
    for pace in sorted(paces, key=lambda each: (each.chips, each.max_users)):
        chips = n_chips or pace.chips
        steps = LpuStepModel(deployment=deployment, pace=pace, copies=1, n_chips=chips)
        users = _doubling(min(pace.max_users, 4 * pace.users_to_fill))
        made = steps.decode(np.array(users, np.float64), float(at))
        points += [_point(steps, n, made, i) for i, n in enumerate(users)]
    return tuple(points)


@cache
def lpu_models(system: str) -> tuple[str, ...]:
    """Names of the models that the table has schedules of on that system."""
    return tuple(
        sorted({name for row in load_rows() if row.system == system for name in row.models})
    )


def lpu_assumptions(system: str) -> tuple[Fact, ...]:
    """Facts of a system and its chip that nobody has published and that all figures here rest on."""
    return assumed_facts(_system(system))


def _point(steps: LpuStepModel, users: int, made: Estimate, i: int) -> LpuPoint:
    period = float(made.time_s[i])
    return LpuPoint(
        users=users,
        chips=steps.n_chips,
        copies=steps.copies,
        tokens_per_s_user=1 / period,
        tokens_per_s=users / period,
        j_per_token=float(made.energy_j[i]) / users,
        error=made.error,
        basis=made.basis,
    )


def _doubling(most: int) -> list[int]:
    return [*(1 << k for k in range((most - 1).bit_length())), most]


@cache
def _system(name: str) -> System:
    return load_system(name)


def _name(model: str | Outline, system: str) -> str:
    """The name under which the table may have it: only if the sizes are those of that name; else ""."""
    if isinstance(model, str) and model in lpu_models(system):
        return model
    outline = outline_of(model) if isinstance(model, str) else model
    return outline.name if _is_catalogued(outline, system) else ""


def _is_catalogued(outline: Outline, system: str) -> bool:
    if outline.name not in lpu_models(system):
        return False
    known = outline_of(outline.name)
    same = (known.dim, known.vocab_size, known.groups)
    return (outline.dim, outline.vocab_size, outline.groups) == same


def _tabled(model: str | Outline, system: System, deployment: LpuDeployment, users: int) -> Pace:
    """From the table, or from sizes where it has no such model, system, type or context."""
    wanted = deployment.weights, deployment.context_tokens, deployment.n_chips
    found = candidates(_name(model, system.id), system, *wanted)
    if found:
        pace = best_pace(found, deployment.n_chips, users)
        if pace is not None:
            return pace
        raise _too_many(_name(model, system.id), system, deployment, users)
    outline = outline_of(model) if isinstance(model, str) else model
    return _guessed(outline, system, deployment, users)


def _guesses(model: str | Outline, system: System, deployment: LpuDeployment) -> list[Pace]:
    """For some numbers of users, as many as fit. CapacityError if not even one does."""
    made: list[Pace] = []
    for users in _GUESSED_USERS:
        try:
            made.append(_tabled(model, system, deployment, users))
        except CapacityError:
            if not made:
                raise
            break
    return made


def _guessed(model: Outline, system: System, deployment: LpuDeployment, users: int) -> Pace:
    law = size_law(system.id, system.chip.id)
    row = guessed_row(
        model, system, chips=0, weights=deployment.weights,
        context=deployment.context_tokens, users=users,
    )  # fmt: skip
    most = deployment.n_chips or system.max_chips
    if row.chips > most:
        raise CapacityError(
            f"{model.name} ({deployment.weights}, context {deployment.context_tokens:,}, {users:,} users) does not "
            f"fit on {system.id}",
            resource="chips", needed=row.chips, available=most,
            hint="a shorter context, fewer users, or int8 weights",
        )  # fmt: skip
    other = "" if law.machine == machine_digest(system) else ", whose facts are others"
    basis = (
        f"fitted: cycles from sizes over {law.n_rows} schedules of {law.system}, "
        f"bound × {law.bound_ratio:.1f}{other}"
    )
    error = max(law.step_error, law.chips_error)
    if deployment.context_tokens > law.longest_context:
        error = max(error, law.context_error)
    return pace_of(row, system, basis=basis, error=error)


def _compiled(model: str | Outline, system: System, deployment: LpuDeployment, users: int) -> Pace:
    shape, lanes = shape_of(model if isinstance(model, str) else model.name), system.chip.lanes
    context = deployment.context_tokens
    if context > shape.max_context:
        raise ModelError(f"{shape.name} allows a context of 1 to {shape.max_context:,}")
    row = exact_row(
        shape, system, n_chips=deployment.n_chips, weights=deployment.weights, context=context, users=users,
        positions=sorted({*range(0, context, max(lanes, context // 8)), context - 1}),
    )  # fmt: skip
    return pace_of(row, system)


def _copies(pace: Pace, deployment: LpuDeployment, users: int) -> int:
    if deployment.n_chips:
        return max(1, deployment.n_chips // pace.chips)
    return -(-users // pace.max_users)


def _too_many(name: str, system: System, deployment: LpuDeployment, users: int) -> CapacityError:
    every = candidates(name, system, deployment.weights, deployment.context_tokens, 0)
    enough = best_pace(every, 0, users)
    needed = -(-users // enough.max_users) * enough.chips if enough is not None else None
    return CapacityError(
        f"{name} ({deployment.weights}, context {deployment.context_tokens:,}, {users:,} users) does not fit on "
        f"{deployment.n_chips:,} chips of {system.id}",
        resource="chips",
        needed=needed,
        available=deployment.n_chips,
        hint="fewer users, a shorter context, or n_chips 0 for as many as it takes",
    )
