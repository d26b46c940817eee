"""What ways to pair two kinds of chips have in common: their loads, and the copies that read prompts.

Knows times and chips, not what the second kind does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from takt.models.outlines import Outline
from takt.perf import Deployment, StepModel

from .layout import Layout, PairLayout
from .request import Request
from .serve import Load

__all__ = ["BUSY", "Floats", "Loads", "Reader", "reader_of"]

BUSY = 0.7  # of their time that copies which read prompts work: more waits too long, less is paid for nothing

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """Loads of one layout, elementwise."""

    layout: tuple[PairLayout, ...]
    users: Floats
    ttft_s: Floats
    tpot_s: Floats
    tokens_per_s: Floats
    j_per_token: Floats
    basis: frozenset[str]
    error: float | None

    @property
    def chips(self) -> Floats:
        """Chips of both kinds."""
        return np.array([each.chips for each in self.layout], np.float64)

    @property
    def per_chip(self) -> Floats:
        """Output tokens a second for each chip of either kind."""
        per_chip: Floats = self.tokens_per_s / self.chips
        return per_chip

    def load(self, i: int) -> Load:
        """The load at one place of the arrays."""
        return Load(
            layout=self.layout[i],
            users=int(self.users[i]),
            ttft_s=float(self.ttft_s[i]),
            tpot_s=float(self.tpot_s[i]),
            tokens_per_s_chip=float(self.per_chip[i]),
            j_per_token=float(self.j_per_token[i]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A copy that reads prompts: its layout, seconds and joules of one prompt, and what they rest on."""

    layout: Layout
    prompt_s: float
    prompt_j: float
    basis: frozenset[str]
    error: float

    def chips_for(self, rate: Floats) -> Floats:
        """Chips of as many copies as that many prompts a second keep `BUSY` busy at most."""
        return np.maximum(np.ceil(rate * self.prompt_s / BUSY), 1.0) * self.layout.chips

    def waited_s(self, rate: Floats) -> Floats:
        """A prompt with its wait for others: residual work of a busy server (Pollaczek–Khinchine)."""
        busy = rate * self.prompt_s * self.layout.chips / self.chips_for(rate)
        return self.prompt_s * (1.0 + busy / (2.0 * (1.0 - busy)))


def reader_of(model: Outline, deployment: Deployment, request: Request) -> Reader:
    """One prompt at a time on a deployment."""
    made = StepModel.of(model, deployment).prompt(1, request.prompt_tokens)
    return Reader(
        layout=Layout.of(deployment),
        prompt_s=float(made.time_s),
        prompt_j=float(made.energy_j),
        basis=made.basis,
        error=made.error,
    )
