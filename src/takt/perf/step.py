"""What a step of a model costs on a deployment: the one call that the rest of Takt rests on.

    steps = StepModel.of(model, deployment)          a few milliseconds: kernels of the chip, curves of the model
    steps.decode(batch, context)                     Estimate, elementwise
    step_cost(model, deployment, "decode", batch, context)

Kernels give the time of each part (`layers`), the engine's named overheads come on top (`engines`), energy
follows from how busy memory and arithmetic are (`work`). Knows nothing of requests, queues or schedules.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from takt.errors import UsageError, did_you_mean
from takt.models.outlines import Outline

from .corrections import Figure, figure_error, time_factor
from .deployment import Deployment
from .engines import Engine, engine_of
from .estimate import Estimate, Floats, sizes
from .kernels import Kernels, kernels_of
from .layers import LinearCurve, attention_decode_s, attention_prompt_s, head_curve, linear_curve
from .work import Work, step_work

__all__ = ["PHASES", "Phase", "StepModel", "step_cost"]

Phase = Literal["prompt", "decode", "mixed"]
PHASES = ("prompt", "decode", "mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """A model on a deployment, ready to be asked for many steps.

    Batches count users of the whole copy; with data-parallel attention each group has its share of them,
    with pipeline stages as many batches are under way as there are stages.
    """

    model: Outline
    deployment: Deployment
    kernels: Kernels
    curve: LinearCurve
    head: LinearCurve
    engine: Engine

    @classmethod
    def of(cls, model: Outline, deployment: Deployment) -> "StepModel":
        """Look up the kernels of the chip and sum the parts that depend on tokens alone."""
        kernels = kernels_of(deployment.chip, deployment.engine)
        return cls(
            model=model,
            deployment=deployment,
            kernels=kernels,
            curve=linear_curve(model, deployment, kernels),
            head=head_curve(model, deployment, kernels),
            engine=engine_of(deployment.engine),
        )

    def decode_s(self, users: Floats, context: Floats) -> Floats:
        """Seconds of a decode step, without what an Estimate says beyond them: for loops that settle on a load."""
        group = self._of_a_group(users)
        tokens = group * (1 + self.deployment.draft_tokens)
        time_s = self.curve(tokens) + self.head(tokens) + self._draft_s(group)
        time_s = time_s + attention_decode_s(
            self.model, self.deployment, self.kernels, np.maximum(group, 1.0), context
        )
        return time_s + self.engine.overhead_s(group, self._launches())

    def floor_s(self, users: Floats, context: Floats) -> Floats:
        """Seconds that a decode step takes at least: its bytes and operations at the chips' full rates.

        0 for models with experts: how many of them a step meets is a matter of routing.
        """
        if self.model.has_experts:
            return np.zeros(np.broadcast_shapes(users.shape, context.shape))
        deployment = self.deployment
        tokens = users * (1 + deployment.draft_tokens)
        work = step_work(self.model, deployment, *np.broadcast_arrays(tokens, users, context))
        chip, n_chips = deployment.chip, deployment.n_chips
        bytes_s = work.n_bytes / chip.memory.bytes_per_s
        return np.maximum(bytes_s, work.n_ops / chip.ops_per_s(deployment.compute)) / n_chips

    def beside_s(self, users: Floats, context: Floats) -> Floats:
        """Seconds that attention of generating users takes longer in a step that also reads prompts."""
        longer = np.zeros(np.broadcast_shapes(users.shape, context.shape))
        if self.deployment.chip.architecture not in self.engine.one_call:
            return longer
        group = np.maximum(self._of_a_group(users), 1.0)
        of = (self.model, self.deployment, self.kernels, group, context)
        together = attention_decode_s(*of, beside=True)
        return together - attention_decode_s(*of)

    def _draft_s(self, group: Floats) -> Floats | float:
        """Guessing: a token each pass, through a draft layer as long as a layer of the model and the head."""
        if not self.deployment.draft_tokens:
            return 0.0
        once = self.curve(group) / max(self.model.n_layers, 1) + self.head(group)
        return self.deployment.draft_tokens * once

    def decode(self, batch: ArrayLike, context: ArrayLike) -> Estimate:
        """One step in which each of `batch` users at `context` cached positions gets a token.

        With drafts, `1 + draft_tokens` tokens of each user are computed and `tokens_per_step` of them kept.
        """
        users, seen = sizes(batch, context)
        drafted = users * (1 + self.deployment.draft_tokens)
        work = step_work(self.model, self.deployment, drafted, users, seen)
        return self._estimate(self.decode_s(users, seen), work)

    def prompt(self, batch: ArrayLike, new_tokens: ArrayLike, context: ArrayLike = 0) -> Estimate:
        """One step that reads `new_tokens` of each of `batch` texts after `context` cached positions."""
        users, new, seen = sizes(batch, new_tokens, context)
        group = self._texts_of_a_group(users)
        time_s = self.curve(group * new) + self.head(group)
        time_s = time_s + attention_prompt_s(
            self.model, self.deployment, self.kernels, np.maximum(group, 1e-9), new, seen
        )
        time_s = time_s + self.engine.overhead_s(group, self._launches())
        work = step_work(
            self.model, self.deployment, users * new, users, seen + new / 2, sampled=users
        )
        return self._estimate(time_s, work)

    def mixed(
        self,
        batch: ArrayLike,
        context: ArrayLike,
        prompts: ArrayLike,
        new_tokens: ArrayLike,
        cached: ArrayLike = 0,
    ) -> Estimate:
        """One step with `batch` users generating and `prompts` chunks of `new_tokens` read beside them."""
        users, seen, texts, new, before = sizes(batch, context, prompts, new_tokens, cached)
        group, chunk = self._of_a_group(users), self._texts_of_a_group(texts)
        drafted = 1 + self.deployment.draft_tokens
        time_s = self.curve(group * drafted + chunk * new) + self.head(group * drafted + chunk)
        time_s = time_s + self._draft_s(group)
        time_s = time_s + attention_decode_s(
            self.model, self.deployment, self.kernels, np.maximum(group, 1.0), seen
        )
        read_s = attention_prompt_s(
            self.model, self.deployment, self.kernels, np.maximum(chunk, 1e-9), new, before
        )
        read_s = read_s + np.where(users > 0, self.beside_s(users, seen), 0.0)
        time_s = time_s + np.where(texts > 0, read_s, 0.0)
        time_s = time_s + self.engine.overhead_s(group + chunk, self._launches())
        work = step_work(
            self.model,
            self.deployment,
            users * drafted + texts * new,
            users + texts,
            seen,
            sampled=users * drafted + texts,
        )
        return self._estimate(time_s, work)

    @property
    def tokens_per_step(self) -> float:
        """Tokens a user gets each step: one, and the drafted ones that hold until the first that doesn't."""
        a = self.deployment.acceptance
        return float(sum(a**i for i in range(self.deployment.draft_tokens + 1)))

    def _of_a_group(self, users: Floats) -> Floats:
        """Users that one attention group has in one step: stages of a pipeline work on different ones."""
        return users / (self.deployment.dp * self.deployment.pp)

    def _texts_of_a_group(self, texts: Floats) -> Floats:
        """Texts that one group reads in one step: a single one is not cut, whoever else stands idle."""
        return np.maximum(self._of_a_group(texts), np.minimum(texts, 1.0))

    def _launches(self) -> float:
        """Kernels of a step: what an engine without graphs starts one by one."""
        return 12.0 * self.model.n_layers

    def _estimate(self, time_s: Floats, work: Work) -> Estimate:
        chip, n_chips = self.deployment.chip, self.deployment.n_chips
        busy_s = np.maximum(time_s, 1e-12) * n_chips
        kind = self.deployment.precision.experts or self.deployment.precision.weights
        memory = np.minimum(work.n_bytes / (busy_s * chip.memory.bytes_per_s), 1.0)
        compute = np.minimum(work.n_ops / (busy_s * chip.ops_per_s(kind)), 1.0)
        # A chip whose power nobody publishes has no energy either: not a number, not zero.
        known = chip.power.tdp_w is not None
        watts = self.kernels.power_w(memory, compute) if known else np.full(busy_s.shape, np.nan)
        return Estimate(
            time_s=time_s,
            energy_j=watts * busy_s,
            error=self._error(),
            basis=self.basis,
        )

    def _families(self) -> list[tuple[str, str]]:
        precision = self.deployment.precision
        kinds = {group.attention.kind for group in self.model.groups}
        families = [("gemm", precision.weights)]
        if "latent" in kinds:
            families.append(("latent_decode", precision.kv))
        if "full" in kinds:
            families.append(("attention_decode", precision.kv))
        if self.model.has_experts:
            families.append(("experts", precision.experts or precision.weights))
        if self.deployment.tp > 1:
            families.append(("all_reduce", "bf16"))
        return families

    @property
    def basis(self) -> frozenset[str]:
        """What figures of this model on this deployment rest on."""
        parts = {self.kernels.basis(*family) for family in self._families()}
        if self.model.basis != "published":
            parts.add(self.model.basis)
        return frozenset(parts | {self.engine.basis})

    def _error(self) -> float:
        """The largest of the parts' errors: what dominates a step decides how well it is known."""
        return max(self.kernels.error(*family) for family in self._families())


def step_cost(
    model: Outline,
    deployment: Deployment,
    phase: Phase,
    batch: ArrayLike,
    context: ArrayLike,
    *,
    new_tokens: ArrayLike = 1024,
    prompts: ArrayLike = 1,
    corrected: bool = True,
) -> Estimate:
    """Time and energy of steps, elementwise over arrays of `batch` and `context`.

    `decode`: `batch` users at `context` cached positions. `prompt`: `batch` texts of `new_tokens` after `context`
    cached positions. `mixed`: a decode step with `prompts` chunks of `new_tokens` beside it. `corrected`
    multiplies what kernels and overheads give by the effects that end-to-end measurements showed.
    Raises UsageError for another phase.
    """
    steps = StepModel.of(model, deployment)
    if phase == "decode":
        computed = steps.decode(batch, context)
    elif phase == "prompt":
        computed = steps.prompt(batch, new_tokens, context)
    elif phase == "mixed":
        computed = steps.mixed(batch, context, prompts, new_tokens)
    else:
        hint = did_you_mean(phase, PHASES) or f"phases are {', '.join(PHASES)}"
        raise UsageError(f"no phase '{phase}'", hint=hint)
    if not corrected:
        return computed
    # What is measured of prompts includes waiting: only what all times share applies to one step.
    figure: Figure | None = "tpot" if phase == "decode" else None
    users, seen = sizes(batch, context)
    factor = time_factor(model, deployment, figure, users, seen, np.ones(()))
    time_s = computed.time_s * factor
    if phase == "decode":
        time_s = np.maximum(time_s, steps.floor_s(users, seen))
    return replace(
        computed,
        time_s=time_s,
        energy_j=computed.energy_j * factor,
        error=figure_error(model, deployment, figure or "step_time"),
        basis=computed.basis | {"fitted: end-to-end corrections"},
    )
