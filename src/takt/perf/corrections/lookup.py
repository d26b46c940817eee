"""The effects of a deployment: its names, what to multiply a computed figure by, and what error to expect.

A chip, model or engine that nobody measured gets the general effects and a wider error. Knows no figures.
"""

from dataclasses import replace

import numpy as np

from takt.models.outlines import Outline

from ..deployment import Deployment
from ..estimate import Floats
from .effects import Figure, shipped_corrections
from .held_out import expected_error
from .situation import TODAY, Situation, era_of, slopes

__all__ = ["figure_error", "situation_of", "time_factor"]


def situation_of(model: Outline, deployment: Deployment, mode: str = "closed") -> Situation:
    """The names by which effects of a deployment are looked up; the figure is left open."""
    kinds = {group.attention.kind for group in model.groups}
    kind = "experts" if model.has_experts else "dense"
    kind += "-latent" if "latent" in kinds else ""
    kind += "-linear" if "linear" in kinds else ""
    kind += "-sparse" if any(group.attention.topk for group in model.groups) else ""
    layout = "dp" if deployment.dp > 1 else "tp" if deployment.tp > 1 else "one"
    chip, d = deployment.chip, deployment
    return Situation(
        figure="",
        engine="" if d.engine == "generic" else d.engine,
        chip=chip.id,
        vendor=chip.vendor,
        architecture=chip.architecture,
        model=model.name,
        kind=kind,
        weights=d.precision.experts or d.precision.weights,
        mode=mode + ("+mtp" if d.draft_tokens else ""),
        split=f"tp{d.tp}pp{d.pp}dp{d.dp}ep{d.ep}",
        layout=layout + ("+ep" if d.ep > 1 else ""),
        n_chips=d.n_chips,
        era=era_of(d.engine, TODAY),
    )


def time_factor(
    model: Outline,
    deployment: Deployment,
    figure: Figure | None,
    users: Floats,
    context: Floats,
    prompts: Floats,
) -> Floats:
    """What to multiply a computed time or energy by; `figure` None: what all times of the deployment share.

    `users` of the whole copy, `context` positions, `prompts` prompt tokens for each generated one.
    """
    situation = replace(situation_of(model, deployment), figure=figure or "")
    factors = slopes(users / deployment.dp, context, prompts, np.asarray(deployment.n_chips))
    return np.exp(shipped_corrections().log_factor(situation, factors))


def figure_error(model: Outline, deployment: Deployment, figure: Figure) -> float:
    """Relative error to expect of a figure, from what held-out measurements showed of situations as well known."""
    return expected_error(replace(situation_of(model, deployment), figure=figure))
