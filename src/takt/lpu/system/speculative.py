"""Speculative decoding: a small model drafts some tokens, the large one checks them all in one pass.

From times that schedules gave (`Pace`) and a per-token acceptance rate that the user gives. With rate A and K drafted
tokens a round yields E = (1 − A^(K+1)) / (1 − A) tokens on average (Leviathan et al. 2023, arXiv 2211.17192, equation
1): the accepted ones and one of the large model's own. A is taken to be the same for every token and independent.

One round of one user:
- The draft makes K tokens, one after the other: K of its steps. If the round before was accepted whole, its cache lacks
  that round's last token too, which goes ahead one interval earlier; the round always leaves that time.
- K + 1 tokens follow each other through the large model's pipeline an interval apart: a position's keys are in each
  stage before the next position gets there. The last one's logits are out after T + K · I.
"""

from __future__ import annotations

from dataclasses import dataclass

from takt.errors import CapacityError, UsageError
from takt.lpu.system.compile import SystemCompiled

MOST_DRAFT_TOKENS = 32
"""Draft tokens of a round, at the most; a search for the best number goes up to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a model goes: cycles of a step, cycles after which the next token may follow, the host's part."""

    step_cycles: int
    interval_cycles: int
    clock_hz: int
    host_s: float = 0.0

    @classmethod
    def of(cls, compiled: SystemCompiled, host_s: float = 0.0) -> Pace:
        """That of a compiled system."""
        return cls(
            step_cycles=compiled.step_cycles,
            interval_cycles=compiled.interval_cycles,
            clock_hz=compiled.cut.chip.clock_hz,
            host_s=host_s,
        )

    @property
    def step_s(self) -> float:
        """Seconds of a step on the chips."""
        return self.step_cycles / self.clock_hz

    @property
    def interval_s(self) -> float:
        """Seconds after which the next token may follow."""
        return self.interval_cycles / self.clock_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """What drafting `draft_tokens` at a time comes to. Rates are of the chips, without the host unless named so."""

    draft_tokens: int
    acceptance: float
    tokens_per_round: float
    draft_s: float
    verify_s: float
    tokens_per_s_user: float
    tokens_per_s_total: float
    tokens_per_s_user_with_host: float
    speedup: float  # over the large model alone, one user

    @property
    def round_s(self) -> float:
        """Seconds of one round on the chips."""
        return self.draft_s + self.verify_s


def expected_tokens(acceptance: float, draft_tokens: int) -> float:
    """Tokens that a round yields on average.

    UsageError outside 0 ≤ acceptance ≤ 1 and 1 ≤ draft_tokens ≤ `MOST_DRAFT_TOKENS`.
    """
    if not 0 <= acceptance <= 1:
        raise UsageError(f"acceptance {acceptance:g}: expected a rate from 0 to 1")
    if not 1 <= draft_tokens <= MOST_DRAFT_TOKENS:
        raise UsageError(f"draft tokens {draft_tokens}: expected 1 to {MOST_DRAFT_TOKENS}")
    # The sum, not the quotient: exact at acceptance 1, where the quotient is 0 / 0.
    return sum(acceptance**k for k in range(draft_tokens + 1))


def speculate(
    model: Pace, draft: Pace, acceptance: float, draft_tokens: int, *, users: int = 1
) -> Speculation:
    """What a round of `draft_tokens` comes to, with `users` served in turn.

    The two models may be on different chips, and of several users one is drafted for while another is verified; on
    chips that both share this needs `users` = 1.
    """
    expected = expected_tokens(acceptance, draft_tokens)
    draft_s = draft_tokens * draft.step_s + draft.interval_s
    verify_s = model.step_s + draft_tokens * model.interval_s
    busy = max(
        (draft_tokens + 1) * model.interval_s,
        (draft_tokens + 1) * draft.interval_s,
    )
    host_s = draft_tokens * draft.host_s + model.host_s
    period = max(draft_s + verify_s, users * busy)
    with_host = max(draft_s + verify_s + host_s, users * busy)
    alone = max(model.step_s, users * model.interval_s)
    return Speculation(
        draft_tokens=draft_tokens,
        acceptance=acceptance,
        tokens_per_round=expected,
        draft_s=draft_s,
        verify_s=verify_s,
        tokens_per_s_user=expected / period,
        tokens_per_s_total=users * expected / period,
        tokens_per_s_user_with_host=expected / with_host,
        speedup=expected / period * alone,
    )


def best_speculation(model: Pace, draft: Pace, acceptance: float, *, users: int = 1) -> Speculation:
    """The number of draft tokens that serves a user fastest, of 1 to `MOST_DRAFT_TOKENS`; of equals the smallest."""
    tried = [
        speculate(model, draft, acceptance, k, users=users) for k in range(1, MOST_DRAFT_TOKENS + 1)
    ]
    return max(tried, key=lambda s: (s.tokens_per_s_user, -s.draft_tokens))


def draft_beside(model: SystemCompiled) -> int:
    """Chips that the model leaves free, for a draft model. CapacityError if there are none."""
    used = {chip for visit in model.visits for chip in visit.chips}
    free = model.n_chips - len(used)
    if free < 1:
        raise CapacityError(
            f"{model.shape.name} takes all {model.n_chips} chips and leaves none for a draft model",
            hint="give the draft chips of its own with --draft-chips N, or more --chips",
        )
    return free
