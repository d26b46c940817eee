"""Kinds of replicas with LPUs in them: pipelines, pipelines that only generate, and attention on GPUs beside LPUs.

Knows schedules by name and number of chips; `parts` has all other chips.
"""

from collections.abc import Iterator
from dataclasses import replace

from takt.chips import Accelerator
from takt.perf.lpu import LpuStepModel, lpu_assumptions
from takt.serving import Pool
from takt.serving.lpus import afd_pool, ffn_chips, hand_over, lpu_pool, without_ffn

from ..hybrids import link_beside
from ..layout import Layout, fitting_deployments
from ..lpus import Lpus, schedules_of
from ..money import Price, price_of
from ..plans import PlanPool
from ..precision import choose_precision, precision_name
from .parts import Part, fact_row, price_row, with_pool
from .question import Question
from .reach import reach_of
from .traffic import Sizes

__all__ = ["handing_over", "lpu_parts", "shared_parts"]

_COPIES = (1, 4, 16)
_MICROBATCHES = (1, 2, 4)
_DEPLOYMENTS = 3


def lpu_parts(question: Question, lpus: Lpus, sizes: Sizes) -> Iterator[Part]:
    """Every schedule of the model on a system, for prompts and tokens. Raises CapacityError or UnsupportedError for none."""
    context = max(1, round(sizes.prompt + sizes.output))
    request = question.request(sizes, question.precisions[0], longest=True)
    for steps, _ in schedules_of(question.model, lpus, request):
        pool = lpu_pool(
            steps,
            name=lpus.label,
            replicas=1,
            expected_context=min(context, request.context_tokens),
        )
        yield _part(question, lpus, steps, pool, sizes)


def handing_over(question: Question, reader: Part, lpus: Lpus, decode: Part, sizes: Sizes) -> Part:
    """The part of GPUs as readers whose caches cross to LPUs."""
    chip = reader.deployment.chip if reader.deployment else None
    ports = (chip.scale_out.bytes_per_s or 0.0) * reader.pool.chips if chip else 0.0
    n_links = max(1, decode.pool.chips // lpus.system.node.chips)
    pool = hand_over(
        reader.pool, question.model, link_beside(lpus), n_links=n_links,
        prompt_tokens=max(1, round(sizes.prompt)), ports_bytes_per_s=ports,
    )  # fmt: skip
    return with_pool(reader, pool, sizes)


def shared_parts(question: Question, gpu: Accelerator, lpus: Lpus, sizes: Sizes) -> Iterator[Part]:
    """Attention on one to 16 copies of a GPU deployment, feed-forward on the LPUs of the smallest schedule.

    Raises UsageError where attention fits no layout, CapacityError or UnsupportedError where LPUs hold nothing of the model.
    """
    wish = question.precisions[0]
    request = question.request(sizes, wish)
    steps = min(schedules_of(question.model, lpus, request), key=lambda each: each[0].n_chips)[0]
    precision = choose_precision(question.model, gpu, wish)
    part = without_ffn(question.model)
    found = fitting_deployments(part, gpu, precision, request)[:_DEPLOYMENTS]
    for deployment in found:
        for copies in _COPIES:
            for batches in _MICROBATCHES:
                pool = afd_pool(
                    question.model, deployment, steps, link=link_beside(lpus),
                    name=f"{gpu.id}+{lpus.label}", replicas=1, copies=copies, microbatches=batches,
                    expected_context=max(1, round(sizes.prompt + sizes.output)),
                    max_context=sizes.longest,
                )  # fmt: skip
                lpu = _part(
                    question, lpus, steps, pool, sizes, n_chips=ffn_chips(question.model, steps)
                )
                yield _with_attention(
                    question, lpu, gpu, Layout.of(deployment), copies, batches, pool
                )


def _part(
    question: Question,
    lpus: Lpus,
    steps: LpuStepModel,
    pool: Pool,
    sizes: Sizes,
    n_chips: int | None = None,
) -> Part:
    """LPUs as a part: all chips of a pipeline, or those that hold feed-forward weights only."""
    n_chips = n_chips or steps.pace.chips
    row, table, system = steps.pace.row, pool.table, lpus.system
    layout = Layout(tp=row.group, pp=row.stages)
    usd = question.prices.get(lpus.label)
    price = None if usd is None else Price(usd_per_h=usd, kind="given")
    drawn_w = max(float(table.decode_w.values.max()), table.prompt_w, table.idle_w)
    watts = drawn_w * question.site.overhead
    weights = steps.deployment.weights
    assumed = lpu_assumptions(lpus.source)
    shown = PlanPool(
        chip=lpus.label, name=f"{system.chip.name} in {system.name}", kind="lpu", role=pool.role,
        replicas=1, chips=n_chips, layout=layout, weights=weights, experts="", kv="fp16",
        engine="schedule", max_seqs=pool.policy.max_seqs,
        max_step_tokens=pool.policy.max_step_tokens, block_tokens=pool.policy.block_tokens,
        kv_tokens=pool.policy.kv_tokens, prefix_caching=pool.policy.prefix_caching,
        usd_per_h=None if usd is None else usd * n_chips, w=watts,
    )  # fmt: skip
    return Part(
        words=f"{lpus.label} {layout if layout.chips > 1 else '1'} {weights}",
        pool=replace(pool, usd_per_h=shown.usd_per_h),
        shown=(shown,),
        chips={lpus.label: n_chips},
        unpriced=(lpus.label,) if usd is None else (),
        usd_per_h=shown.usd_per_h or 0.0,
        meter_w=watts,
        m2=question.site.lpu_m2(system) * n_chips,
        at_meter=question.site.overhead,
        assumed=tuple(f"{fact.key} of {lpus.label}" for fact in assumed),
        assumptions=(
            price_row(lpus.label, price),
            *(fact_row(lpus.label, fact, dict(system.chip.sources)) for fact in assumed),
        ),
        reach=reach_of(pool, sizes, pool.entry_ns * 1e-9),
    )


def _with_attention(
    question: Question,
    lpu: Part,
    gpu: Accelerator,
    layout: Layout,
    copies: int,
    batches: int,
    pool: Pool,
) -> Part:
    """The part of LPUs with the GPUs that attend beside them."""
    price = price_of(gpu, question.tenure, question.prices)
    n_gpus = layout.chips * copies
    usd = None if price is None else price.usd_per_h * n_gpus
    chip_w, site = question.site.chip_w(gpu), question.site
    precision = choose_precision(question.model, gpu, question.precisions[0])
    lpu_w = (lpu.meter_w or 0.0) / site.overhead
    gpu_w = None if chip_w is None else chip_w * n_gpus
    held = lpu.chips[next(iter(lpu.chips))]
    pure_lpu_w = max(lpu_w - (gpu.power.tdp_w or 0.0) * n_gpus, 0.0) * site.overhead
    m2 = site.chip_m2(gpu.id, chip_w)
    ffn = replace(lpu.shown[0], role="ffn", w=pure_lpu_w)
    attention = replace(
        ffn, chip=gpu.id, name=gpu.name, kind=gpu.kind, role="attention", chips=n_gpus,
        layout=layout, weights=precision.weights, kv=precision.kv,
        engine=question.engine_on(gpu), usd_per_h=usd, w=gpu_w,
    )  # fmt: skip
    known = usd is not None
    return replace(
        lpu,
        words=f"{copies} of {gpu.id} {layout if layout.chips > 1 else '1'} "
        f"{precision_name(precision)} & {held} {next(iter(lpu.chips))} in {batches}",
        pool=replace(pool, usd_per_h=None),
        shown=(attention, ffn),
        chips={gpu.id: n_gpus, **lpu.chips},
        unpriced=(*(() if known else (gpu.id,)), *lpu.unpriced),
        usd_per_h=(usd or 0.0) + lpu.usd_per_h,
        meter_w=None if gpu_w is None else gpu_w + pure_lpu_w,
        m2=None if m2 is None or lpu.m2 is None else m2 * n_gpus + lpu.m2,
        assumptions=(price_row(gpu.id, price), *lpu.assumptions),
    )
