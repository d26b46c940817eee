"""How a measured configuration is set up, in Takt's own terms: model, chip, split, types, engine, copies.

What a case does not say is taken as the field usually has it; a case whose model or chip nobody knows is
refused in words. Knows no load and no figure.
"""

from dataclasses import dataclass, replace
from functools import cache

from takt.chips import Accelerator, find_accelerator
from takt.models.outlines import Outline, find_outline, why_not
from takt.perf import Deployment, Precision, memory_of

from .case import Case, Split

__all__ = ["Refused", "Setup", "known_chip", "setup_of"]

# Drafted tokens a step and how often a guess holds, where a file says only that there is multi-token prediction
# or a draft model.
_DRAFT_TOKENS, _ACCEPTANCE = 3, 0.6


class Refused(Exception):
    """Why a case has no figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A model on a deployment, `workers` times; prompts on `prefill`, `prefill_workers` times, if apart."""

    model: Outline
    deployment: Deployment
    prefill: Deployment | None
    workers: int
    prefill_workers: int


@cache
def _model(text: str) -> Outline | None:
    return find_outline(text)


def known_chip(case: Case) -> Accelerator:
    """The chip that a case means. Raises Refused."""
    chip = find_accelerator(case.chip)
    if chip is None:
        raise Refused("no chip of the catalogue is meant")
    return chip


def setup_of(case: Case) -> Setup:
    """The case's setup; equal setups can be computed together. Raises Refused."""
    chip = known_chip(case)
    model = _model(case.model)
    if model is None:
        raise Refused(why_not(case.model))
    deployment = _deployment(case, case.split, chip, model)
    if not case.split_known and not case.prefill:
        deployment = _narrowest(deployment, model)
    prefill = _deployment(case, case.prefill, chip, model) if case.prefill else None
    copies = case.split.workers
    if not case.split_known and not case.prefill:
        copies = case.n_chips // deployment.n_chips
    return Setup(
        model=model,
        deployment=deployment,
        prefill=prefill,
        workers=max(copies, 1),
        prefill_workers=case.prefill.workers if case.prefill else 1,
    )


def _deployment(case: Case, split: Split, chip: Accelerator, model: Outline) -> Deployment:
    """The case's split and types; experts in few bits leave the rest of the model in 16, as published checkpoints do."""
    weights = _type(case.weights) or model.stored
    experts = _type(case.experts) or (model.stored_experts if not case.weights else "")
    if model.stored_experts in _FOUR_BITS and weights == "fp8" and not experts:
        experts = model.stored_experts  # "fp8" of such a checkpoint is all but its experts
    if model.has_experts and not experts and weights in _FOUR_BITS:
        weights, experts = "bf16", weights
    guessed = bool(case.speculative)
    total = split.tp * split.dp
    ep = split.ep or 1
    return Deployment(
        chip=chip,
        tp=split.tp,
        pp=split.pp,
        dp=split.dp,
        ep=ep if total % ep == 0 else 1,
        precision=Precision(weights=weights, experts=experts, kv=_type(case.kv) or "bf16"),
        engine=_engine(case.engine),
        draft_tokens=_DRAFT_TOKENS if guessed else 0,
        acceptance=_ACCEPTANCE if guessed else 0.0,
    )


def _narrowest(whole: Deployment, model: Outline) -> Deployment:
    """Of a copy over all chips, the split into most copies that leaves half as much for caches as weights take.

    What who tunes for throughput does; used where a file does not say how many copies ran.
    """
    tp = 1
    while tp < whole.tp:
        trial = replace(whole, tp=tp, ep=1)
        memory = memory_of(model, trial, 2048.0, reserve_fraction=0.1, activation_tokens=8192)
        if whole.tp % tp == 0 and memory.free_bytes > 0.25 * memory.weight_bytes:
            return trial
        tp *= 2
    return whole


_FOUR_BITS = ("fp4", "mxfp4", "int4")
# Types that no kernel table knows, as the next one that a chip computes in.
_COMPUTED_AS = {"int2": "int4", "int3": "int4", "int5": "int4", "int6": "int8"}


def _type(text: str) -> str:
    return _COMPUTED_AS.get(text, text)


def _engine(text: str) -> str:
    low = text.lower()
    for part, name in (
        ("vllm", "vllm"),
        ("sglang", "sglang"),
        ("trt", "trtllm"),
        ("tensorrt", "trtllm"),
    ):
        if part in low:
            return name
    return "generic"
