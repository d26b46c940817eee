"""Claims that hold one kind of chip against another: LPUs, wafers and FPGAs beside GPUs.

Steps come from room `perf`: LPUs' from exact schedules, other chips' from measured kernels or rooflines. Each answer
names the workloads it was asked for one by one, since such claims hold for some and not for others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from takt.chips import Accelerator, load_accelerator
from takt.claims.found import Answer
from takt.claims.sheet import Computation
from takt.errors import CapacityError, UnsupportedError, UsageError
from takt.models.outlines import FeedForward, Outline, outline_of
from takt.perf import Deployment, Precision, StepModel, max_users, memory_of
from takt.perf.lpu import LpuDeployment, LpuStepModel, afd_step, link_of

__all__ = ["bandwidth_share", "beside", "memory_ratio", "per_megawatt", "work_price"]

BATCHES = (1, 4, 16, 64, 256)
_TP = (1, 2, 4, 8)
_WIDE = (8, 16, 32, 64)
_MICROBATCHES = (1, 2, 4, 8, 16, 32, 64)
_USERS = tuple(1 << k for k in range(13))
_RESERVE, _ACTIVATION_TOKENS = 0.1, 8192
_BITS = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625}
_KV_BYTES = 2.0
_SPEEDS = (10, 25, 50, 100, 200, 400)


@dataclass(frozen=True, slots=True, kw_only=True)
class _At:
    """One workload on one kind of chip."""

    users: int
    chips: int
    tokens_per_s_user: float
    j_per_token: float
    basis: frozenset[str]


# ---------------------------------------------------------------------------------------------------------- LPU and GPU
def beside(what: Computation) -> Answer:
    """An LPU against a GPU, users by users: times as fast for each of them, times less energy a token.

    `speed_ratio`: one user each, the GPUs on the fastest split of 1, 2, 4 or 8. `energy_ratio`: joules of the GPU at one
    user over those of the LPU with as many users as fit, which is how such claims come about. `latency_percent`: the LPU's
    time of one user's token, of the GPU's.
    """
    model, chip = outline_of(_given(what.model)), load_accelerator(_given(what.beside))
    rows = [
        (lpu, gpu)
        for n in BATCHES
        if (lpu := _lpu(what, n)) and (gpu := _gpu(what, model, chip, n))
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
        basis=_kinds(lpu.basis, gpu.basis),
        detail=f"{lpu.chips} {what.system} beside {gpu.chips} {chip.id} ({what.precision}); GPU {gpu.j_per_token:.3g} "
        f"J/token at 1 user, LPU {full:.3g} with all it holds",
        workloads=f"times as fast: {_listed(speeds)}; times less energy, as many users on each: {_listed(joules)}",
    )


def _lpu(what: Computation, users: int) -> _At | None:
    """On the given chips, or the fewest that hold so many users."""
    deployment = LpuDeployment(
        system=_given(what.system), n_chips=what.chips or 0, weights=what.weights,
        context_tokens=what.context, with_host=False,
    )  # fmt: skip
    try:
        steps = LpuStepModel.of(_given(what.model), deployment, users=users)
    except CapacityError:
        return None
    made = steps.decode(users, what.context - 1)
    return _At(
        users=users,
        chips=steps.n_chips,
        tokens_per_s_user=1 / float(made.time_s),
        j_per_token=float(made.energy_j) / users,
        basis=made.basis,
    )


def _lpu_full(what: Computation) -> float:
    """Least joules a token of any number of users."""
    return min(at.j_per_token for n in range(1, 65) if (at := _lpu(what, n)))


def _gpu(what: Computation, model: Outline, chip: Accelerator, users: int) -> _At | None:
    """The split that is fastest for one of so many users."""
    found = [at for tp in _TP if (at := _gpu_split(what, model, chip, tp, users))]
    return max(found, key=lambda at: at.tokens_per_s_user, default=None)


def _fewest(what: Computation, model: Outline, chip: Accelerator, users: int) -> _At | None:
    """The split over the fewest chips that hold so many users."""
    return next((at for tp in _TP if (at := _gpu_split(what, model, chip, tp, users))), None)


def _gpu_split(
    what: Computation, model: Outline, chip: Accelerator, tp: int, users: int
) -> _At | None:
    deployment = Deployment(chip=chip, tp=tp, precision=Precision(weights=what.precision))
    if tp > chip.scale_up.chips or users > _room(model, deployment, what.context):
        return None
    made = StepModel.of(model, deployment).decode(users, what.context)
    return _At(
        users=users,
        chips=tp,
        tokens_per_s_user=1 / float(made.time_s),
        j_per_token=float(made.energy_j) / users,
        basis=made.basis,
    )


def _room(model: Outline, deployment: Deployment, context: int) -> int:
    try:
        memory = memory_of(
            model, deployment, context,
            reserve_fraction=_RESERVE, activation_tokens=_ACTIVATION_TOKENS,
        )  # fmt: skip
        return max_users(memory, deployment)
    except UsageError:
        return 0


# --------------------------------------------------------------------------------------------------------------- facts
def memory_ratio(what: Computation) -> Answer:
    """Bytes a second of one chip's memory over another's, from the facts of both."""
    chip, other = load_accelerator(_given(what.chip)), load_accelerator(_given(what.beside))
    ratio = chip.memory.bytes_per_s / other.memory.bytes_per_s
    parameters = chip.memory.capacity_bytes / 2e9
    held = other.memory.capacity_bytes / 2e9
    return Answer(
        values={"bandwidth_ratio": ratio},
        basis="arithmetic on the facts of both chips",
        detail=f"{chip.memory.bytes_per_s / 1e12:,.4g} TB/s over {other.memory.bytes_per_s / 1e12:,.4g} TB/s",
        workloads=f"for what lies in its {chip.memory.capacity_bytes / 1e9:.0f} GB: up to {parameters:.0f} G parameters in 16 "
        f"bits, caches not counted ({other.id}: {held:.0f} G)",
    )


def bandwidth_share(what: Computation) -> Answer:
    """Percent of a decode step that reading each weight and cached value once would take at the memory's full rate.

    `share_percent` is that of one user on `beside`; `workloads` has it by chip and users, LPUs too, whose memory is SRAM.
    """
    model = outline_of(_given(what.model))
    chips = (_given(what.beside), *what.also)
    shares = {name: list(_shares(what, model, load_accelerator(name))) for name in chips}
    if what.system:
        shares[what.system] = list(_lpu_shares(what, model))
    if not shares[chips[0]]:
        raise UnsupportedError(f"{model.name} does not fit on {chips[0]}")
    bases = [basis for rows in shares.values() for _, _, basis in rows]
    return Answer(
        values={"share_percent": shares[chips[0]][0][1]},
        basis=_kinds(*bases),
        detail=f"weights and caches read once, over the memory's full rate; {what.precision} weights",
        workloads="; ".join(
            f"{name} {_listed([row[:2] for row in rows], ' %')}"
            for name, rows in shares.items()
            if rows
        ),
    )


def _shares(
    what: Computation, model: Outline, chip: Accelerator
) -> Iterator[tuple[int, float, frozenset[str]]]:
    for users in BATCHES:
        at = _fewest(what, model, chip, users)
        if at is not None:
            rate = at.chips * chip.memory.bytes_per_s
            read = _read_bytes(model, users, what.context, _BITS[what.precision])
            yield users, 100 * read / rate * at.tokens_per_s_user, at.basis


def _lpu_shares(what: Computation, model: Outline) -> Iterator[tuple[int, float, frozenset[str]]]:
    for users in BATCHES[:3]:
        deployment = LpuDeployment(
            system=_given(what.system), context_tokens=what.context, with_host=False
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
    model = outline_of(_given(what.model))
    chip, other = load_accelerator(_given(what.chip)), load_accelerator(_given(what.beside))
    pairs = [
        (a, b)
        for users in BATCHES
        if (a := _gpu(what, model, chip, users)) and (b := _gpu(what, model, other, users))
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
            + ", ".join(f"${usd:.2g}/h at {_users(users)}" for users, usd in limits)
            + f" a card beside {other.id} at ${theirs:.2f}/h"
        )
    return Answer(
        values=values,
        basis=_kinds(ones[0].basis, ones[1].basis),
        detail=f"{ones[0].chips} {chip.id} beside {ones[1].chips} {other.id}, one user, {what.precision}",
        workloads=f"cards of {chip.id} that do the work of one {other.id}: {_listed(work)}",
    )


def _server(what: Computation, model: Outline, chip: Accelerator) -> _At:
    """One user on as many chips as a server has, eight at most."""
    for tp in reversed(_TP):
        at = _gpu_split(what, model, chip, tp, 1)
        if at is not None:
            return at
    raise UnsupportedError(f"{model.name} does not fit on {chip.id}")


def _rate(at: _At) -> float:
    return at.users * at.tokens_per_s_user / at.chips


def _per_watt(at: _At, chip: Accelerator) -> float:
    return at.tokens_per_s_user / (at.chips * _watts(chip))


def _watts(chip: Accelerator) -> float:
    """Of one chip with its share of the server."""
    watts = chip.power.system_w or chip.power.tdp_w
    if watts is None:
        raise UnsupportedError(f"no power of {chip.id} is known")
    return watts


# ------------------------------------------------------------------------------------------------------------ megawatts
def per_megawatt(what: Computation) -> Answer:
    """Tokens a second and megawatt at a speed for each user: GPUs with LPUs for the feed-forward, over GPUs alone.

    `beside` alone against `gpu` with `system`; `speed` tokens a second for each user at least. UnsupportedError, with how fast they
    get, where either misses it: there is no ratio then. `fastest_ratio`: times as fast for one user, at any power.
    """
    model = outline_of(_given(what.model))
    alone = list(_alone(what, model))
    both = list(_split(what, model))
    if not alone or not both:
        raise UnsupportedError(f"{model.name} does not fit at a context of {what.context:,}")
    fastest = [max(speed for speed, _ in each) for each in (alone, both)]
    wanted = what.speed or 0.0
    best = [_best_rate(each, wanted) for each in (alone, both)]
    speeds = [s for s in _SPEEDS if s <= min(fastest)]
    rows = [
        f"{_best_rate(both, s) / _best_rate(alone, s):.2g} at {s} tokens/s a user" for s in speeds
    ]
    workloads = "times the tokens a second and megawatt: " + ", ".join(rows)
    if what.quantity == "per_mw_ratio" and not all(best):
        raise UnsupportedError(
            f"at {wanted:,.0f} tokens/s a user there is no ratio: {what.beside} alone gets to {fastest[0]:,.0f}, "
            f"{what.gpu} with {what.system} to {fastest[1]:,.0f} ({model.name}, context {what.context:,}); {workloads}"
        )
    return Answer(
        values={
            "fastest_ratio": fastest[1] / fastest[0],
            **({"per_mw_ratio": best[1] / best[0]} if all(best) else {}),
        },
        basis="estimated GPUs × simulated LPUs × assumed power",
        detail=f"at best {fastest[0]:,.0f} tokens/s a user alone, {fastest[1]:,.0f} together",
        workloads=workloads,
    )


def _best_rate(points: Sequence[tuple[float, float]], speed: float) -> float:
    """Most tokens a second and megawatt with at least that speed for each user; 0 where none has it."""
    return max((rate for each, rate in points if each >= speed), default=0.0)


def _alone(what: Computation, model: Outline) -> Iterator[tuple[float, float]]:
    """(tokens/s of a user, tokens/s/MW of all) of the GPUs alone, by split and users."""
    chip = load_accelerator(_given(what.beside))
    for deployment in _wide(chip, what.precision):
        room = _room(model, deployment, what.context)
        users = np.array([n for n in _USERS if n <= room], np.float64)
        if users.size:
            made = StepModel.of(model, deployment).decode(users, what.context)
            watts = deployment.n_chips * _watts(chip)
            for n, time_s in zip(users, made.time_s, strict=True):
                yield 1 / float(time_s), float(n / time_s) / watts * 1e6


def _split(what: Computation, model: Outline) -> Iterator[tuple[float, float]]:
    """The same with attention on GPUs and feed-forward on LPUs, whose chips hold its weights only."""
    chip = load_accelerator(_given(what.gpu))
    part = _without_ffn(model)
    link = link_of(_given(what.link))
    deployment = LpuDeployment(system=_given(what.system), context_tokens=2048, with_host=False)
    steps = LpuStepModel.of(model, deployment, users=1)
    pace = steps.pace
    share = 1 - part.n_parameters / model.n_parameters
    held = share * steps.n_chips
    end = np.float64(what.context)
    for split in _wide(chip, what.precision):
        room = _room(part, split, what.context)
        gpus = StepModel.of(part, split)
        for batches in _MICROBATCHES:
            users = np.array([n for n in _USERS if n * batches <= room], np.float64)
            if not users.size:
                continue
            attention_s = gpus.decode(users, end).time_s / model.n_layers
            feed_s = pace.ffn_s_per_layer + (users - 1) * float(pace.interval_s(np.float64(0)))
            step_s = afd_step(
                attention_s, feed_s, dim=model.dim, n_layers=model.n_layers, users=users * batches,
                link=link, microbatches=batches,
            )  # fmt: skip
            active_w = users * batches * share * float(pace.active_j(np.float64(0))) / step_s
            watts = split.n_chips * _watts(chip) + held * pace.idle_w + active_w
            rates = users * batches / step_s / watts * 1e6
            for time_s, rate in zip(step_s, rates, strict=True):
                yield 1 / float(time_s), float(rate)


def _wide(chip: Accelerator, precision: str) -> Iterator[Deployment]:
    """Splits of models with many experts: attention over a few chips each, experts over all."""
    for n_chips in _WIDE:
        if n_chips <= chip.scale_up.chips:
            for tp in (each for each in _TP if each <= n_chips):
                yield Deployment(
                    chip=chip, tp=tp, dp=n_chips // tp, ep=n_chips,
                    precision=Precision(weights=precision),
                )  # fmt: skip


def _without_ffn(model: Outline) -> Outline:
    groups = tuple(replace(group, ffn=FeedForward(hidden_dim=0)) for group in model.groups)
    return replace(model, groups=groups)


# ---------------------------------------------------------------------------------------------------------------- text
def _given(text: str | None) -> str:
    if not text:
        raise UnsupportedError("the claim's computation lacks a model, system or chip")
    return text


def _kinds(*bases: frozenset[str]) -> str:
    """How the figures behind an answer are known, without the particulars: `simulated, measured, assumed`."""
    found = {each.partition(":")[0].split("/")[0] for basis in bases for each in basis}
    order = ("simulated", "measured", "fitted", "roofline", "published", "derived", "assumed")
    known = [kind for kind in order if kind in found]
    return ", ".join([*known, *sorted(found - set(order))])


def _listed(rows: Sequence[tuple[int, float]], unit: str = "") -> str:
    return ", ".join(f"{value:.2g}{unit} at {_users(count)}" for count, value in rows)


def _users(count: int) -> str:
    return f"{count} user{'s' * (count != 1)}"
