"""Claims that hold one kind of chip against another: LPUs, wafers and FPGAs beside GPUs.

Steps come from room `perf`: LPUs' from exact schedules, other chips' from measured kernels or rooflines. Each answer
names the workloads it was asked for one by one, since such claims hold for some and not for others.
"""

from collections.abc import Iterator

from takt.chips import Accelerator, load_accelerator
from takt.claims.found import Answer
from takt.claims.sheet import Computation
from takt.claims.steps import (
    SPLITS,
    At,
    fastest_gpu,
    fewest_gpus,
    given,
    gpu_split,
    kinds_of,
    listed,
    users_text,
    watts_of,
)
from takt.errors import CapacityError, UnsupportedError
from takt.models.outlines import Outline, outline_of
from takt.perf.lpu import LpuDeployment, LpuStepModel

__all__ = ["bandwidth_share", "beside", "memory_ratio", "work_price"]

BATCHES = (1, 4, 16, 64, 256)
_WEIGHT_BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625}
_KV_BYTES = 2.0


# ---------------------------------------------------------------------------------------------------------- LPU and GPU
def beside(what: Computation) -> Answer:
    """An LPU against a GPU, users by users: times as fast for each of them, times less energy a token.

    `speed_ratio`: one user each, the GPUs on the fastest split of 1, 2, 4 or 8. `energy_ratio`: joules of the GPU at one
    user over those of the LPU with as many users as fit, which is how such claims come about. `latency_percent`: the LPU's
    time of one user's token, of the GPU's.
    """
    model, chip = outline_of(given(what.model)), load_accelerator(given(what.beside))
    rows = [
        (lpu, gpu)
        for n in BATCHES
        if (lpu := _lpu(what, n)) and (gpu := fastest_gpu(what, model, chip, n))
    ]
    if not rows or rows[0][0].users != 1:
        raise UnsupportedError(f"{model.name} fits not even one user on both")
    lpu, gpu = rows[0]
    full = min(_lpu_full(what), min(a.j_per_token for a, _ in rows))
    speeds = [(a.users, a.tokens_per_s_user / b.tokens_per_s_user) for a, b in rows]
    joules = [(a.users, b.j_per_token / a.j_per_token) for a, b in rows]
    return Answer(
        values={
            "speed_ratio": speeds[0][1],
            "energy_ratio": gpu.j_per_token / full,
            "latency_percent": 100 / speeds[0][1],
        },
        basis=kinds_of(lpu.basis, gpu.basis),
        detail=f"{lpu.chips} {what.system} beside {gpu.chips} {chip.id} ({what.precision}); GPU {gpu.j_per_token:.3g} "
        f"J/token at 1 user, LPU {full:.3g} with all it holds",
        workloads=f"times as fast: {listed(speeds)}; times less energy, as many users on each: {listed(joules)}",
    )


def _lpu(what: Computation, users: int) -> At | None:
    """On the given chips, or the fewest that hold so many users."""
    deployment = LpuDeployment(
        system=given(what.system), n_chips=what.chips or 0, weights=what.weights,
        context_tokens=what.context, with_host=False,
    )  # fmt: skip
    try:
        steps = LpuStepModel.of(given(what.model), deployment, users=users)
    except CapacityError:
        return None
    made = steps.decode(users, what.context - 1)
    return At(
        users=users,
        chips=steps.n_chips,
        tokens_per_s_user=1 / float(made.time_s),
        j_per_token=float(made.energy_j) / users,
        basis=made.basis,
    )


def _lpu_full(what: Computation) -> float:
    """Least joules a token of any number of users."""
    return min(at.j_per_token for n in range(1, 65) if (at := _lpu(what, n)))


# --------------------------------------------------------------------------------------------------------------- facts
def memory_ratio(what: Computation) -> Answer:
    """Bytes a second of one chip's memory over another's, from the facts of both."""
    chip, other = load_accelerator(given(what.chip)), load_accelerator(given(what.beside))
    ratio = chip.memory.bytes_per_s / other.memory.bytes_per_s
    parameters = chip.memory.capacity_bytes / 2e9
    held = other.memory.capacity_bytes / 2e9
    return Answer(
        values={"bandwidth_ratio": ratio},
        basis="arithmetic on the facts of both chips",
        detail=f"{chip.memory.bytes_per_s / 1e12:,.2f} TB/s over {other.memory.bytes_per_s / 1e12:,.2f} TB/s",
        workloads=f"for what lies in its {chip.memory.capacity_bytes / 1e9:.0f} GB: up to {parameters:.0f} G parameters in 16 "
        f"bits, caches not counted ({other.id}: {held:.0f} G)",
    )


def bandwidth_share(what: Computation) -> Answer:
    """Percent of a decode step that reading each weight and cached value once would take at the memory's full rate.

    `share_percent` is that of one user on `beside`; `workloads` has it by chip and users, LPUs too, whose memory is SRAM.
    """
    model = outline_of(given(what.model))
    chips = (given(what.beside), *what.also)
    shares = {name: list(_shares(what, model, load_accelerator(name))) for name in chips}
    if what.system:
        shares[what.system] = list(_lpu_shares(what, model))
    if not shares[chips[0]]:
        raise UnsupportedError(f"{model.name} does not fit on {chips[0]}")
    bases = [basis for rows in shares.values() for _, _, basis in rows]
    return Answer(
        values={"share_percent": shares[chips[0]][0][1]},
        basis=kinds_of(*bases),
        detail=f"weights and caches read once, over the memory's full rate; {what.precision} weights",
        workloads="; ".join(
            f"{name} {listed([row[:2] for row in rows], ' %')}"
            for name, rows in shares.items()
            if rows
        ),
    )


def _shares(
    what: Computation, model: Outline, chip: Accelerator
) -> Iterator[tuple[int, float, frozenset[str]]]:
    for users in BATCHES:
        at = fewest_gpus(what, model, chip, users)
        if at is not None:
            rate = at.chips * chip.memory.bytes_per_s
            read = _read_bytes(model, users, what.context, _WEIGHT_BYTES[what.precision])
            yield users, 100 * read / rate * at.tokens_per_s_user, at.basis


def _lpu_shares(what: Computation, model: Outline) -> Iterator[tuple[int, float, frozenset[str]]]:
    for users in BATCHES[:3]:
        deployment = LpuDeployment(
            system=given(what.system), context_tokens=what.context, with_host=False
        )
        steps = LpuStepModel.of(model, deployment, users=users)
        rate = steps.n_chips * steps.pace.sram_bytes_per_s
        # Every user's token reads the weights anew: a pipeline has no batches.
        read = users * _read_bytes(model, 1, what.context, 1.0)
        made = steps.decode(users, what.context - 1)
        yield users, 100 * read / rate / float(made.time_s), made.basis


def _read_bytes(model: Outline, users: int, context: int, weight_bytes: float) -> float:
    """Weights that a step of so many users reads once (of experts those met on average), and all their caches."""
    routed = dense = 0.0
    for group in model.groups:
        ffn = group.ffn
        dense += group.count * (model.attention_parameters(group) + model.dense_parameters(group))
        if ffn.n_experts:
            met = ffn.n_experts * (1 - (1 - ffn.top_k / ffn.n_experts) ** users)
            routed += group.count * met * model.expert_parameters(group)
    head = model.vocab_size * model.dim * 2.0
    return (dense + routed) * weight_bytes + head + users * model.kv_bytes(context, _KV_BYTES)


# --------------------------------------------------------------------------------------------------------------- money
def work_price(what: Computation) -> Answer:
    """What the same tokens take of another chip: cards, watts, and the price below which they cost a fifth.

    `tokens_per_s_user`: one user on a whole server of `chip`. `per_watt_ratio`: tokens a second and watt, one user
    on a server of each. `usd_ratio`: dollars of `beside` over those of `chip`, only where both have a price.
    """
    model = outline_of(given(what.model))
    chip, other = load_accelerator(given(what.chip)), load_accelerator(given(what.beside))
    pairs = [
        (a, b)
        for users in BATCHES
        if (a := fastest_gpu(what, model, chip, users))
        and (b := fastest_gpu(what, model, other, users))
    ]
    ones = _server(what, model, chip), _server(what, model, other)
    work = [(a.users, _rate(b) / _rate(a)) for a, b in pairs]
    values = {
        "tokens_per_s_user": ones[0].tokens_per_s_user,
        "per_watt_ratio": _per_watt(ones[0], chip) / _per_watt(ones[1], other),
    }
    mine, theirs = chip.price.rent_usd_per_h, other.price.rent_usd_per_h
    if mine and theirs:
        values["usd_ratio"] = theirs / mine / work[0][1]
    elif what.quantity == "usd_ratio" and theirs:
        limits = [(users, theirs / cards / 5) for users, cards in work]
        raise UnsupportedError(
            f"no price of {chip.id} is published; a fifth of the cost takes less than "
            + ", ".join(f"${usd:.2g}/h at {users_text(users)}" for users, usd in limits)
            + f" a card beside {other.id} at ${theirs:.2f}/h"
        )
    return Answer(
        values=values,
        basis=kinds_of(ones[0].basis, ones[1].basis),
        detail=f"{ones[0].chips} {chip.id} beside {ones[1].chips} {other.id}, one user, {what.precision}",
        workloads=f"cards of {chip.id} that do the work of one {other.id}: {listed(work)}",
    )


def _server(what: Computation, model: Outline, chip: Accelerator) -> At:
    """One user on as many chips as a server has, eight at most."""
    for tp in reversed(SPLITS):
        at = gpu_split(what, model, chip, tp, 1)
        if at is not None:
            return at
    raise UnsupportedError(f"{model.name} does not fit on {chip.id}")


def _rate(at: At) -> float:
    return at.users * at.tokens_per_s_user / at.chips


def _per_watt(at: At, chip: Accelerator) -> float:
    return at.tokens_per_s_user / (at.chips * watts_of(chip))
