"""Kinds of replicas a plan may be made of: a chip, a layout, number types, a role; with what one costs, draws and takes of floor.

Knows how to make them of accelerators; `lpu_parts` makes those of LPUs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from takt.chips import Accelerator, Fact, Kind
from takt.perf import Deployment, Precision, StepModel
from takt.serving import Policy, Pool
from takt.serving.tables import policy_of, pool_of

from ..layout import Layout, fitting_deployments
from ..money import Price, price_of
from ..plans import PlanPool
from ..precision import choose_precision, precision_name
from .question import Question
from .reach import Reach, reach_of
from .traffic import Sizes

__all__ = ["VARIED", "Part", "chip_parts", "fact_row", "part_of", "price_row", "with_pool"]

Role = Literal["both", "prompt", "decode"]
_ASSUMED = ("memory.", "peak.", "scale_up.", "power.")
VARIED = " seqs"  # words from here on are of batches
_UNUSED = "power.idle_w"  # power follows from the limit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One replica of a kind: `pool` with one replica, `shown` as a plan shows it (two where two kinds share it).

    - `words`: what tells it from others, such as "h200-sxm tp4 fp8".
    - `chips`: id → chips of one replica; `unpriced`: those of them of which no price is known.
    - `usd_per_h`: of the priced chips of a replica; `meter_w` at the meter, None where unknown; `m2`: floor.
    - `at_meter`: joules at the meter for each joule of the chips.
    """

    words: str
    pool: Pool
    shown: tuple[PlanPool, ...]
    chips: Mapping[str, int]
    unpriced: tuple[str, ...]
    usd_per_h: float
    meter_w: float | None
    m2: float | None
    at_meter: float
    assumed: tuple[str, ...]
    assumptions: tuple[tuple[str, str, str, str], ...]
    reach: Reach
    deployment: Deployment | None = None

    @property
    def base(self) -> str:
        """The words without what only batches are varied by."""
        return self.words.partition(VARIED)[0]

    @property
    def role(self) -> Role:
        """both, prompt or decode."""
        return self.pool.role

    @property
    def error(self) -> float | None:
        """Median relative error of its pace to expect."""
        table = self.pool.table
        return table.prompt_error if self.pool.role == "prompt" else table.decode_error


def with_pool(part: Part, pool: Pool, sizes: Sizes) -> Part:
    """The part with another pool (policy, table or role), its bound made anew."""
    policy = pool.policy
    shown = tuple(
        replace(
            each,
            max_seqs=policy.max_seqs,
            max_step_tokens=policy.max_step_tokens,
            role=pool.role if each.role in ("both", "prompt", "decode") else each.role,
        )
        for each in part.shown
    )
    reach = reach_of(pool, sizes, pool.entry_ns * 1e-9)
    return replace(part, pool=pool, shown=shown, reach=reach)


def chip_parts(question: Question, chip: Accelerator, sizes: Sizes) -> Iterator[Part]:
    """Every layout and precision of one chip, of role `both`. Raises UsageError where the model fits none."""
    known: set[Precision] = set()
    for wish in question.precisions:
        request = question.request(sizes, wish)
        precision = choose_precision(question.model, chip, wish)
        if precision in known:
            continue
        known.add(precision)
        for deployment in fitting_deployments(question.model, chip, precision, request):
            if question.drafts is not None:
                tokens, acceptance = question.drafts
                deployment = replace(deployment, draft_tokens=tokens, acceptance=acceptance)
            yield part_of(question, deployment, sizes)


def part_of(question: Question, deployment: Deployment, sizes: Sizes, role: Role = "both") -> Part:
    """One deployment as a part. UsageError where its memory is too small for the longest request."""
    chip, site = deployment.chip, question.site
    price = price_of(chip, question.tenure, question.prices)
    steps = StepModel.of(question.model, deployment)
    context = max(1, round(sizes.prompt + sizes.output))
    policy = policy_of(question.model, deployment, expected_context=context)
    usd = None if price is None else price.usd_per_h * deployment.n_chips
    pool = pool_of(
        question.model, deployment, name=f"{role}:{chip.id}", replicas=1, role=role,
        expected_context=context, usd_per_h=usd, policy=policy, steps=steps,
        max_context=max(sizes.longest, context),
        prompts_per_token=sizes.prompt / max(sizes.output, 1.0),
    )  # fmt: skip
    chip_w = site.chip_w(chip)
    watts = None if chip_w is None else chip_w * deployment.n_chips
    m2 = site.chip_m2(chip.id, chip_w)
    layout, assumed = Layout.of(deployment), _assumed(chip)
    words = (
        f"{chip.id} {layout if layout.chips > 1 else '1'} {precision_name(deployment.precision)}"
    )
    return Part(
        words=words.replace(",", ""),
        pool=pool,
        shown=(_shown(deployment, policy, role, usd, watts),),
        chips={chip.id: deployment.n_chips},
        unpriced=() if price else (chip.id,),
        usd_per_h=usd or 0.0,
        meter_w=watts,
        m2=None if m2 is None else m2 * deployment.n_chips,
        at_meter=site.at_meter(chip),
        assumed=tuple(f"{fact.key} of {chip.id}" for fact in assumed),
        assumptions=(
            price_row(chip.id, price),
            *(fact_row(chip.id, fact, dict(chip.sources)) for fact in assumed),
        ),
        reach=reach_of(pool, sizes, pool.entry_ns * 1e-9),
        deployment=deployment,
    )


def _shown(
    deployment: Deployment, policy: Policy, role: Role, usd: float | None, watts: float | None
) -> PlanPool:
    chip, precision = deployment.chip, deployment.precision
    return PlanPool(
        chip=chip.id,
        name=chip.name,
        kind=chip.kind,
        role=role,
        replicas=1,
        chips=deployment.n_chips,
        layout=Layout.of(deployment),
        weights=precision.weights,
        experts=precision.experts,
        kv=precision.kv,
        engine=deployment.engine,
        max_seqs=policy.max_seqs,
        max_step_tokens=policy.max_step_tokens,
        block_tokens=policy.block_tokens,
        kv_tokens=policy.kv_tokens,
        prefix_caching=policy.prefix_caching,
        draft_tokens=policy.draft_tokens,
        acceptance=policy.acceptance,
        usd_per_h=usd,
        w=watts,
    )


def _assumed(chip: Accelerator) -> list[Fact]:
    return [
        fact
        for fact in chip.facts
        if fact.kind is Kind.ASSUMED and fact.key.startswith(_ASSUMED) and fact.key != _UNUSED
    ]


def fact_row(owner: str, fact: Fact, sources: Mapping[str, str]) -> tuple[str, str, str, str]:
    """(what, value, kind, source) of a fact, its source written out."""
    value = "not published" if fact.value is None else f"{fact.value:g} {fact.unit}"
    titles = "; ".join(sources.get(key.strip(), key.strip()) for key in fact.source.split(","))
    return f"{fact.key} of {owner}", value, fact.kind.value, titles


def price_row(chip_id: str, price: Price | None) -> tuple[str, str, str, str]:
    """(what, value, kind, source) of a price."""
    what = f"price of {chip_id}"
    if price is None:
        return what, "unknown", "assumed", "no price by the hour is published"
    kind = "given" if price.kind == "given" else "published"
    dated = ", ".join(part for part in (price.source, price.date, price.note) if part)
    words = {"rent": "rented", "own": "owned", "given": "as given"}[price.kind]
    return what, f"{price.usd_per_h:g} USD/h, {words}", kind, dated
