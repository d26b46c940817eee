"""LPUs and pairs in a comparison: the closed loop in a pipeline, and what crosses between two kinds of chips."""

from dataclasses import replace

import numpy as np
import pytest

from takt.chips import load_accelerator
from takt.models.outlines import Outline, outline_of
from takt.plan import PairLayout, Request
from takt.plan.hybrids import SHARES, compare_pair
from takt.plan.lpus import Lpus, Pipeline, compare_system, pipelines_of, schedules_of

MODEL = outline_of("llama-3.1-8b")
REQUEST = Request()


@pytest.fixture(scope="module")
def racks() -> Lpus:
    return Lpus.of("groqrack-v1", "lpu-v1")


@pytest.fixture(scope="module")
def lines(racks: Lpus) -> tuple[Pipeline, ...]:
    return pipelines_of(MODEL, racks, REQUEST)


def test_one_user_alone_has_the_pace_of_the_schedule(
    racks: Lpus, lines: tuple[Pipeline, ...]
) -> None:
    schedules = schedules_of(MODEL, racks, REQUEST)
    for line, (steps, users) in zip(lines, schedules, strict=True):
        assert line.users[-1] == users
        assert line.tpot_s[0] == pytest.approx(float(steps.decode(1, 1024 + 128).time_s))
        assert line.ttft_s[0] == pytest.approx(float(steps.prompt(1, 1024).time_s))


def test_more_users_are_slower_each_and_faster_together(lines: tuple[Pipeline, ...]) -> None:
    assert any(line.users.size > 4 for line in lines)
    for line in lines:
        assert (np.diff(line.tpot_s) >= 0).all()
        assert (np.diff(line.ttft_s) >= 0).all()
        assert (np.diff(line.tokens_per_s) > 0).all()
        assert (np.diff(line.j_per_token) < 0).all()


def test_users_requests_and_time_agree(lines: tuple[Pipeline, ...]) -> None:
    """Little's law: users = requests a second × seconds of a request."""
    for line in lines:
        span_s = line.ttft_s + (REQUEST.output_tokens - 1) * line.tpot_s
        rate = line.tokens_per_s / REQUEST.output_tokens
        np.testing.assert_allclose(rate * span_s, line.users, rtol=1e-6)


def test_without_prompts_a_pipeline_makes_more_tokens(
    racks: Lpus, lines: tuple[Pipeline, ...]
) -> None:
    for line, alone in zip(lines, pipelines_of(MODEL, racks, REQUEST, reads=False), strict=True):
        assert (alone.tokens_per_s > line.tokens_per_s).all()
        assert (alone.ttft_s < line.ttft_s).all()


def test_a_system_without_a_price_has_no_cost_until_one_is_given(racks: Lpus) -> None:
    free = compare_system(MODEL, racks, REQUEST)
    paid = compare_system(MODEL, racks, REQUEST, prices={"lpu-v1": 0.1})
    assert free.usd_per_mtok is None
    assert paid.served is not None
    assert paid.usd_per_mtok == pytest.approx(1e5 / 3600 / paid.served.tokens_per_s_chip)


def test_a_target_out_of_reach_of_lpus_is_a_row_with_the_reason(racks: Lpus) -> None:
    row = compare_system(MODEL, racks, Request(tpot_s=1e-6))
    assert row.reason is not None and row.reason.startswith("target missed: ")
    assert row.alone is not None and row.served is None
    row = compare_system(MODEL, racks, Request(ttft_s=1e-6))
    assert row.reason is not None and "first token after" in row.reason


def test_a_model_without_a_schedule_is_judged_by_its_sizes(racks: Lpus) -> None:
    other = replace(MODEL, name="other", vocab_size=50_000)
    row = compare_system(other, racks, REQUEST)
    assert row.served is not None
    assert "fitted" in row.known["tokens_per_s_chip"].basis
    assert row.known["tokens_per_s_chip"].expected_error != 0


# Pairs


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("model", [MODEL, outline_of("gpt-oss-20b")], ids=lambda m: m.name)
def test_a_pair_meets_the_target_with_both_kinds_of_chips(
    racks: Lpus, share: str, model: Outline
) -> None:
    gpu = load_accelerator("h200-sxm")
    row = compare_pair(model, gpu, racks, REQUEST, share=share)  # type: ignore[arg-type]
    assert row.served is not None and row.chips is not None, row.reason
    layout = row.served.layout
    assert isinstance(layout, PairLayout)
    assert layout.first_chips >= 1 and layout.second.chips >= 1
    assert row.chips <= layout.chips
    assert row.served.tpot_s <= REQUEST.tpot_s
    assert row.served.ttft_s <= 1.0
    assert row.usd_per_mtok is None
    assert {"h200-sxm", "lpu-v1"} <= {*row.chip.split(" ")}
    assert "link" in row.known["ttft_ms"].basis


def test_the_cost_of_a_pair_is_that_of_both(racks: Lpus) -> None:
    gpu = load_accelerator("h200-sxm")
    row = compare_pair(
        MODEL, gpu, racks, REQUEST, share="tokens",
        prices={"h200-sxm": 3.0, "lpu-v1": 0.5},
    )  # fmt: skip
    assert row.served is not None and isinstance(row.served.layout, PairLayout)
    layout = row.served.layout
    hour = 3.0 * layout.first_chips + 0.5 * layout.second.chips
    tokens = row.served.tokens_per_s_chip * layout.chips * 3600
    assert row.usd_per_mtok == pytest.approx(hour / tokens * 1e6)


@pytest.mark.parametrize("share", SHARES)
def test_a_pair_of_too_few_chips_says_how_many_it_needs(racks: Lpus, share: str) -> None:
    gpu = load_accelerator("h200-sxm")
    row = compare_pair(MODEL, gpu, racks, REQUEST, share=share, max_chips=4)  # type: ignore[arg-type]
    assert row.reason == f"too small: the pair needs {row.needs_chips} chips"


def test_the_feed_forward_takes_fewer_lpus_than_the_model(racks: Lpus) -> None:
    gpu = load_accelerator("h200-sxm")
    row = compare_pair(MODEL, gpu, racks, REQUEST, share="ffn")
    whole = compare_system(MODEL, racks, REQUEST)
    assert row.served is not None and isinstance(row.served.layout, PairLayout)
    assert whole.needs_chips is not None
    assert row.served.layout.second.chips < whole.needs_chips


def test_a_faster_reader_gives_the_first_token_sooner(racks: Lpus) -> None:
    fast, slow = (
        compare_pair(MODEL, load_accelerator(name), racks, REQUEST, share="tokens").alone
        for name in ("b200-sxm", "l40s")
    )
    assert fast is not None and slow is not None
    assert fast.ttft_s < slow.ttft_s
    assert fast.tpot_s == slow.tpot_s
