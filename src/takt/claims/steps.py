"""Steps of GPUs for claims: on the fastest or the fewest chips that hold a model, and how figures read in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from takt.chips import Accelerator
from takt.claims.sheet import Computation
from takt.errors import UnsupportedError, UsageError
from takt.models.outlines import Outline
from takt.perf import Deployment, Precision, StepModel, max_users, memory_of

SPLITS = (1, 2, 4, 8)
"""Chips that share each layer, as tried."""
_RESERVE, _ACTIVATION_TOKENS = 0.1, 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """One workload on one kind of chip."""

    users: int
    chips: int
    tokens_per_s_user: float
    j_per_token: float
    basis: frozenset[str]


def fastest_gpu(what: Computation, model: Outline, chip: Accelerator, users: int) -> At | None:
    """The split that is fastest for one of so many users."""
    found = [at for tp in SPLITS if (at := gpu_split(what, model, chip, tp, users))]
    return max(found, key=lambda at: at.tokens_per_s_user, default=None)


def fewest_gpus(what: Computation, model: Outline, chip: Accelerator, users: int) -> At | None:
    """The split over the fewest chips that hold so many users."""
    return next((at for tp in SPLITS if (at := gpu_split(what, model, chip, tp, users))), None)


def gpu_split(
    what: Computation, model: Outline, chip: Accelerator, tp: int, users: int
) -> At | None:
    """So many users on `tp` chips that share each layer; None where it does not fit or they are not joined."""
    deployment = Deployment(chip=chip, tp=tp, precision=Precision(weights=what.precision))
    if tp > chip.scale_up.chips or users > room_for(model, deployment, what.context):
        return None
    made = StepModel.of(model, deployment).decode(users, what.context)
    return At(
        users=users,
        chips=tp,
        tokens_per_s_user=1 / float(made.time_s),
        j_per_token=float(made.energy_j) / users,
        basis=made.basis,
    )


def room_for(model: Outline, deployment: Deployment, context: int) -> int:
    """Users whose caches fit beside the weights; 0 where these alone are too many."""
    try:
        memory = memory_of(
            model, deployment, context,
            reserve_fraction=_RESERVE, activation_tokens=_ACTIVATION_TOKENS,
        )  # fmt: skip
        return max_users(memory, deployment)
    except UsageError:
        return 0


def watts_of(chip: Accelerator) -> float:
    """Of one chip with its share of the server."""
    watts = chip.power.system_w or chip.power.tdp_w
    if watts is None:
        raise UnsupportedError(f"no power of {chip.id} is known")
    return watts


def given(text: str | None) -> str:
    """A parameter that the computation cannot do without; UnsupportedError where the claim lacks it."""
    if not text:
        raise UnsupportedError("the claim's computation lacks a model, system or chip")
    return text


def kinds_of(*bases: frozenset[str]) -> str:
    """How the figures behind an answer are known, without the particulars: `simulated, measured, assumed`."""
    found = {each.partition(":")[0].split("/")[0] for basis in bases for each in basis}
    order = ("simulated", "measured", "fitted", "roofline", "published", "derived", "assumed")
    known = [kind for kind in order if kind in found]
    return ", ".join([*known, *sorted(found - set(order))])


def listed(rows: Sequence[tuple[int, float]], unit: str = "") -> str:
    """`8.3 at 1 user, 4.3 at 4 users`."""
    return ", ".join(f"{value:.2g}{unit} at {users_text(count)}" for count, value in rows)


def users_text(count: int) -> str:
    """`1 user`, `4 users`."""
    return f"{count} user{'s' * (count != 1)}"
