"""Pools of `takt simulate`: its chips laid out and priced, alone, or prompts and tokens apart.

Knows which room answers for which kind of chip, and imports what LPUs need only for them. The rest of a fleet (tiers,
failures) is `simulate_fleet`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from takt.chips import Accelerator
from takt.cli.arguments import engine_named, prices_of
from takt.cli.compare_chips import Chosen, choose_chips
from takt.cli.simulate_words import Decoders, Split, System
from takt.errors import UsageError
from takt.models.outlines import Outline
from takt.perf import Deployment
from takt.plan import Layout, Price, Request
from takt.plan.layout import fitting_deployments
from takt.plan.money import price_of
from takt.plan.precision import choose_precision, precision_name
from takt.serving import Pool
from takt.serving.tables import policy_of, pool_of

if TYPE_CHECKING:
    from takt.perf.lpu import LpuStepModel
    from takt.plan.lpus import Lpus

__all__ = ["Made", "Sizes", "pools_of"]

Role = Literal["both", "prompt", "decode"]
MOST_GROUPS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Tokens of a request, rounded: means, and prompt with output of the longest that was looked at."""

    prompt: int
    output: int
    longest: int

    @property
    def context(self) -> int:
        """Positions of a mean request at its end."""
        return self.prompt + self.output


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A pool, and what it was made of; `label` is the chip as it was named, `chosen` says why a layout that was not asked for."""

    pool: Pool
    label: str
    layout: Layout
    precision: str
    kv: str
    engine: str
    price: Price | None
    chosen: str | None
    deployment: Deployment | None = None


def pools_of(model: Outline, system: System, sizes: Sizes) -> tuple[Made, ...]:
    """The pool of --chip, with --decode also the one that generates. UsageError where a model or a wish does not fit."""
    entry = _one_kind(system.chip)
    second = _one_kind(system.decode.chip) if system.decode else None
    names = [*entry.ids, *(second.ids if second else ())]
    prices = prices_of(system.prices, names)
    if system.decode is None or second is None:
        return (_pool(model, system, sizes, entry, "both", prices),)
    return _apart(model, system, sizes, (entry, second), system.decode, prices)


def _one_kind(name: str) -> Chosen:
    if "," in name:
        raise UsageError(
            f"{name[:60]!r}: a pool is of one kind of chip", hint="--decode adds a second pool"
        )
    return choose_chips(name)


def _apart(
    model: Outline,
    system: System,
    sizes: Sizes,
    kinds: tuple[Chosen, Chosen],
    decode: Decoders,
    prices: Mapping[str, float],
) -> tuple[Made, ...]:
    """Readers of prompts, and those that generate from the caches they are handed."""
    if not kinds[0].accelerators:
        raise UsageError(
            f"{system.chip} reads no prompts for others",
            hint="LPUs generate: --chip h200-sxm --decode lpu-v1:1",
        )
    theirs = replace(system, replicas=decode.replicas, split=Split(tp=decode.tp), decode=None)
    second = _pool(model, theirs, sizes, kinds[1], "decode", prices)
    if kinds[1].systems:
        first = _pool(model, system, sizes, kinds[0], "both", prices)
        return _handing_over(model, first, second, kinds, sizes), second
    first = _pool(model, system, sizes, kinds[0], "prompt", prices)
    if first.kv != second.kv:
        raise UsageError(
            f"caches of {first.kv} cannot be handed to replicas that keep {second.kv}",
            hint="--precision bf16 gives both the same type",
        )
    return first, second


def _handing_over(
    model: Outline, first: Made, second: Made, kinds: tuple[Chosen, Chosen], sizes: Sizes
) -> Made:
    from takt.plan.hybrids import link_beside  # brings the LPU's compiler along
    from takt.plan.lpus import Lpus
    from takt.serving.lpus import hand_over

    ((name, source),) = kinds[1].systems.items()
    lpus = Lpus.of(source, name)
    port = kinds[0].accelerators[0].scale_out.bytes_per_s or 0.0
    pool = hand_over(
        first.pool,
        model,
        link_beside(lpus),
        n_links=max(1, second.pool.chips // lpus.system.node.chips),
        prompt_tokens=sizes.prompt,
        ports_bytes_per_s=port * first.pool.chips,
    )
    return replace(first, pool=replace(pool, name=_name("prompt", first.label)))


def _pool(
    model: Outline,
    system: System,
    sizes: Sizes,
    kind: Chosen,
    role: Role,
    prices: Mapping[str, float],
) -> Made:
    made = (
        _accelerators(model, system, sizes, kind.accelerators[0], role, prices)
        if kind.accelerators
        else _lpus(model, system, sizes, kind, role, prices)
    )
    pool = made.pool
    return replace(made, pool=replace(pool, policy=replace(pool.policy, order=system.order)))


def _accelerators(
    model: Outline,
    system: System,
    sizes: Sizes,
    chip: Accelerator,
    role: Role,
    prices: Mapping[str, float],
) -> Made:
    deployment = _deployment(model, system, sizes, chip)
    price = price_of(chip, "own" if system.own else "rent", prices)
    policy = policy_of(
        model,
        deployment,
        expected_context=sizes.context,
        max_seqs=system.max_seqs,
        max_step_tokens=system.max_step_tokens,
        prefix_caching=None if system.prefix_caching else False,
    )
    longest = max(sizes.longest, min(model.max_context or 131_072, 16 * sizes.context))
    pool = pool_of(
        model,
        deployment,
        name=_name(role, chip.id),
        replicas=system.replicas,
        expected_context=sizes.context,
        role=role,
        usd_per_h=None if price is None else price.usd_per_h * deployment.n_chips,
        policy=policy,
        max_context=longest,
        prompts_per_token=sizes.prompt / sizes.output,
        corrections=system.corrections,
    )
    return Made(
        pool=pool,
        label=chip.id,
        layout=Layout.of(deployment),
        precision=precision_name(deployment.precision),
        kv=deployment.precision.kv,
        engine=deployment.engine,
        price=price,
        chosen=None if system.split.stated else "the smallest layout that fits",
        deployment=deployment,
    )


def _name(role: Role, chip: str) -> str:
    return chip if role == "both" else f"{role}: {chip}"


def _deployment(model: Outline, system: System, sizes: Sizes, chip: Accelerator) -> Deployment:
    """The layout asked for, else the smallest that holds the model and one request."""
    request = Request(
        prompt_tokens=sizes.prompt,
        output_tokens=sizes.output,
        precision=system.precision,
        engine=engine_named(system.engine),
    )
    precision = choose_precision(model, chip, system.precision)
    drafts, acceptance = system.drafts or (0, 0.0)
    split = system.split
    if not split.stated:
        smallest = fitting_deployments(model, chip, precision, request)[0]
        return replace(smallest, draft_tokens=drafts, acceptance=acceptance)
    _check_split(model, split)
    return Deployment(
        chip=chip,
        tp=split.tp or 1,
        pp=split.pp or 1,
        dp=split.dp or 1,
        ep=split.ep or 1,
        precision=precision,
        engine=request.engine_on(chip),
        draft_tokens=drafts,
        acceptance=acceptance,
    )


def _check_split(model: Outline, split: Split) -> None:
    """UsageError for a layout that no engine makes: heads are dealt whole and evenly, as layers and experts are dealt whole."""
    tp, pp, ep = split.tp or 1, split.pp or 1, split.ep or 1
    heads = {group.attention.n_heads for group in model.groups if group.attention.n_heads}
    if any(n % tp for n in heads):
        counts = " and ".join(str(n) for n in sorted(heads))
        raise UsageError(
            f"--tp {tp:,} does not divide the {counts} attention heads of {model.name}"
        )
    if pp > model.n_layers:
        raise UsageError(f"--pp {pp:,}: {model.name} has {model.n_layers} layers")
    experts = max((group.ffn.n_experts for group in model.groups), default=0)
    if ep > max(experts, 1):
        has = f"has {experts} experts" if experts else "has no experts"
        raise UsageError(f"--ep {ep:,}: {model.name} {has}")
    if (split.dp or 1) > MOST_GROUPS:
        raise UsageError(f"--dp {split.dp:,}: expected 1 to {MOST_GROUPS:,}")


def _lpus(
    model: Outline,
    system: System,
    sizes: Sizes,
    kind: Chosen,
    role: Role,
    prices: Mapping[str, float],
) -> Made:
    from takt.plan.lpus import Lpus  # brings the LPU's compiler along
    from takt.serving.lpus import lpu_pool

    if system.drafts:
        raise UsageError("LPUs guess no tokens ahead", hint="leave out --drafts")
    ((name, source),) = kind.systems.items()
    lpus = Lpus.of(source, name)
    steps, layouts = _schedule(model, lpus, system, sizes)
    price = Price(usd_per_h=prices[name], kind="given") if name in prices else None
    pool = lpu_pool(
        steps,
        name=_name(role, name),
        replicas=system.replicas,
        expected_context=sizes.context,
        role=role,
        max_seqs=system.max_seqs,
        usd_per_h=None if price is None else price.usd_per_h * steps.pace.chips,
    )
    return Made(
        pool=pool,
        label=name,
        layout=Layout(tp=steps.pace.row.group, pp=steps.pace.row.stages),
        precision=steps.deployment.weights,
        kv="fp16",
        engine="schedule",
        price=price,
        chosen=None if system.split.stated else f"the schedule on the fewest chips of {layouts}",
    )


def _schedule(
    model: Outline, lpus: "Lpus", system: System, sizes: Sizes
) -> "tuple[LpuStepModel, str]":
    """The schedule on the fewest chips with places for the longest request, of the layout asked for if one is; all layouts."""
    from takt.plan.lpus import schedules_of

    output = max(1, min(sizes.output, sizes.longest - 1))
    request = Request(
        prompt_tokens=sizes.longest - output, output_tokens=output, precision=system.precision
    )
    every = [steps for steps, _ in schedules_of(model, lpus, request)]
    known = {(each.pace.row.group, each.pace.row.stages): each for each in every}
    split = system.split
    if (split.dp or 1) > 1 or (split.ep or 1) > 1:
        raise UsageError(f"{lpus.label} has layouts of tp and pp only")
    wanted = [
        steps
        for (group, stages), steps in known.items()
        if split.tp in (None, group) and split.pp in (None, stages)
    ]
    layouts = ", ".join(f"tp{group} pp{stages}" for group, stages in sorted(known))
    if not wanted:
        raise UsageError(
            f"no schedule of {model.name} on {lpus.label} with tp {split.tp or 'any'}, pp {split.pp or 'any'}",
            hint=f"there are {layouts}",
        )
    return min(wanted, key=lambda each: each.pace.chips), layouts
