"""One deployment under every load it has room for: pace, waiting, throughput and energy, and the load that meets a target.

A few hundred numbers of users at once, through the closed loop of room `perf`. Knows one deployment at a time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.models.outlines import Outline
from takt.perf import Deployment, Service, StepModel, closed_loop, corrected
from takt.perf.corrections import figure_error

from .layout import Layout, PairLayout, room_for_users
from .request import Request

__all__ = ["Curve", "Load", "curve_of"]

_DENSE_TO = 64  # every number of users to here, then 32 an octave: steps of 2 %
_MOST_USERS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A deployment at one number of users. Rates are of output tokens; energy is of the chips."""

    layout: Layout | PairLayout
    users: int
    ttft_s: float
    tpot_s: float
    tokens_per_s_chip: float
    j_per_token: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """All loads of a deployment, and one user alone on it."""

    layout: Layout
    service: Service
    alone: Load
    basis: frozenset[str]
    decode_error: float
    prompt_error: float
    energy_error: float
    power_basis: str

    @property
    def tokens_per_s_user(self) -> NDArray[np.float64]:
        """Speed that each user sees, at each load."""
        return 1.0 / self.service.tpot_s

    @property
    def tokens_per_s_chip(self) -> NDArray[np.float64]:
        """Output tokens of all users, for each chip."""
        return self.service.output_tokens_per_s / self.layout.chips

    def best_load(self, request: Request) -> Load | None:
        """The load of largest throughput that meets the target; None if not even one user gets it."""
        meets = self.service.tpot_s <= request.tpot_s
        if request.ttft_s is not None:
            meets &= self.service.ttft_s <= request.ttft_s
        if not meets.any():
            return None
        return self._load(int(np.argmax(np.where(meets, self.service.output_tokens_per_s, -1.0))))

    def _load(self, index: int) -> Load:
        return _load(self.layout, self.service, index)


def curve_of(model: Outline, deployment: Deployment, request: Request) -> Curve:
    """The deployment at every number of users whose caches fit (at least one must), as measurements correct it."""
    steps = StepModel.of(model, deployment)
    users = _grid(min(room_for_users(model, deployment, request), _MOST_USERS))
    prompt, output = request.prompt_tokens, request.output_tokens
    service = corrected(closed_loop(steps, users, prompt, output), steps, prompt, output)
    layout = Layout.of(deployment)
    return Curve(
        layout=layout,
        service=service,
        alone=_load(layout, service, 0),
        basis=steps.basis | {"fitted: end-to-end corrections"},
        decode_error=figure_error(model, deployment, "tpot"),
        prompt_error=figure_error(model, deployment, "ttft"),
        energy_error=figure_error(model, deployment, "energy"),
        power_basis=steps.kernels.basis("power", deployment.precision.weights),
    )


def _load(layout: Layout, service: Service, index: int) -> Load:
    return Load(
        layout=layout,
        users=int(service.users[index]),
        ttft_s=float(service.ttft_s[index]),
        tpot_s=float(service.tpot_s[index]),
        tokens_per_s_chip=float(service.output_tokens_per_s[index]) / layout.chips,
        j_per_token=float(service.j_per_output_token[index]),
    )


def _grid(most: int) -> NDArray[np.float64]:
    """1 to `most`, with `most` itself."""
    dense = np.arange(1, min(most, _DENSE_TO) + 1)
    octaves = np.log2(max(most, _DENSE_TO) / _DENSE_TO)
    wide = np.round(_DENSE_TO * 2.0 ** np.arange(1 / 32, octaves, 1 / 32))
    return np.unique(np.concatenate([dense, wide[wide <= most], [most]])).astype(np.float64)
