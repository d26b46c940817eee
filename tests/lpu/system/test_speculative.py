"""Speculative decoding: the arithmetic against random draws, and the schedule of a round against one played out."""

import numpy as np
import pytest

from takt.errors import UsageError
from takt.lpu.system import Pace, best_speculation, speculate
from takt.lpu.system.speculative import MOST_DRAFT_TOKENS, expected_tokens

LARGE = Pace(step_cycles=1_200_000, interval_cycles=23_000, clock_hz=900_000_000, host_s=30e-6)
SMALL = Pace(step_cycles=80_000, interval_cycles=5_000, clock_hz=900_000_000, host_s=30e-6)


def drawn_tokens(acceptance: float, draft_tokens: int, rounds: int, seed: int) -> np.ndarray:
    """Tokens of each round: the accepted ones before the first refusal, and one of the large model's own."""
    stream = np.random.default_rng(seed)
    accepted = stream.random((rounds, draft_tokens)) < acceptance
    return accepted.cumprod(axis=1).sum(axis=1) + 1


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("draft_tokens", [1, 4, 9])
def test_the_expected_number_is_that_of_random_draws(acceptance: float, draft_tokens: int) -> None:
    rounds = 40_000
    drawn = drawn_tokens(acceptance, draft_tokens, rounds, seed=draft_tokens)
    error = 4 * drawn.std() / np.sqrt(rounds) + 1e-12
    assert expected_tokens(acceptance, draft_tokens) == pytest.approx(drawn.mean(), abs=error)


def test_the_sum_is_the_published_quotient() -> None:
    for acceptance in (0.1, 0.5, 0.9):
        for k in (1, 3, 8):
            quotient = (1 - acceptance ** (k + 1)) / (1 - acceptance)
            assert expected_tokens(acceptance, k) == pytest.approx(quotient)
    assert expected_tokens(1.0, 7) == 8


def test_a_round_drafts_one_by_one_and_checks_all_in_one_pass() -> None:
    """Played out: the draft's steps in sequence after its catching up, then tokens an interval apart."""
    k, now = 5, SMALL.interval_cycles
    for _ in range(k):
        now += SMALL.step_cycles
    sent = [now + i * LARGE.interval_cycles for i in range(k + 1)]
    done = max(cycle + LARGE.step_cycles for cycle in sent)
    made = speculate(LARGE, SMALL, 0.8, k)
    assert made.round_s * LARGE.clock_hz == pytest.approx(done)
    assert made.draft_s * SMALL.clock_hz == pytest.approx(now)
    assert made.tokens_per_s_user == pytest.approx(expected_tokens(0.8, k) / (done / 9e8))


def test_the_host_is_asked_for_every_drafted_token_and_every_check() -> None:
    made = speculate(LARGE, SMALL, 0.8, 4)
    without = 1 / made.tokens_per_s_user
    with_host = 1 / made.tokens_per_s_user_with_host
    assert (with_host - without) * made.tokens_per_round == pytest.approx(5 * 30e-6)


def test_a_draft_that_is_never_right_only_costs() -> None:
    made = speculate(LARGE, SMALL, 0.0, 3)
    assert made.tokens_per_round == 1
    assert made.speedup < 1


def test_many_users_share_the_pipeline() -> None:
    """Each round takes K + 1 intervals of it, so the total cannot pass what that leaves."""
    k = 4
    most = 9e8 / LARGE.interval_cycles * expected_tokens(0.8, k) / (k + 1)
    few, many = (speculate(LARGE, SMALL, 0.8, k, users=users) for users in (2, 500))
    assert few.tokens_per_s_total == pytest.approx(2 * few.tokens_per_s_user)
    assert few.tokens_per_s_total < most
    assert many.tokens_per_s_total == pytest.approx(most)


def test_the_best_number_is_the_best() -> None:
    best = best_speculation(LARGE, SMALL, 0.8)
    others = [speculate(LARGE, SMALL, 0.8, k) for k in range(1, MOST_DRAFT_TOKENS + 1)]
    assert best.tokens_per_s_user == max(other.tokens_per_s_user for other in others)
    assert 1 < best.draft_tokens < MOST_DRAFT_TOKENS
    assert best_speculation(LARGE, SMALL, 0.0).draft_tokens == 1


@pytest.mark.parametrize(("acceptance", "k"), [(-0.1, 3), (1.1, 3), (0.5, 0), (0.5, 33)])
def test_senseless_rates_are_refused(acceptance: float, k: int) -> None:
    with pytest.raises(UsageError):
        expected_tokens(acceptance, k)
