"""What the plan room chooses: precisions, layouts, loads, prices; and laws that hold for any target."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.errors import UsageError
from takt.models.outlines import Outline, outline_of
from takt.plan import Compared, Request, compare
from takt.plan.compare import pareto
from takt.plan.layout import Layout, fitting_deployments, room_for_users
from takt.plan.money import Price, price_of, usd_per_mtok
from takt.plan.precision import choose_precision, precision_name
from takt.plan.serve import curve_of

from .chips import make_chip, with_bandwidth

DENSE = outline_of("llama-3.1-8b")
LARGE = outline_of("llama-3.3-70b")
EXPERTS = outline_of("deepseek-v3")


def row_of(model: Outline, request: Request, **chip: object) -> Compared:
    return compare(model, [make_chip(**chip)], request)[0]  # type: ignore[arg-type]


# What is asked


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"prompt_tokens": 0}, "prompt_tokens is 0"),
        ({"output_tokens": -3}, "output_tokens is -3"),
        ({"tpot_s": 0.0}, "tpot_s is 0 s"),
        ({"tpot_s": float("nan")}, "tpot_s is nan"),
        ({"ttft_s": 1e9}, "ttft_s is 1e\\+09"),
        ({"max_chips": 0}, "max_chips is 0"),
        ({"precision": "fp9"}, "no precision 'fp9'"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    fields: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        Request(**fields)  # type: ignore[arg-type]


def test_a_text_longer_than_the_model_reads_is_refused() -> None:
    short = replace(DENSE, max_context=1000)
    with pytest.raises(UsageError, match="has 1,000 positions, fewer than 1,024 \\+ 256"):
        compare(short, [make_chip()], Request())


def test_an_encoder_generates_nothing() -> None:
    with pytest.raises(UsageError, match="is an encoder"):
        compare(replace(DENSE, encoder=True), [make_chip()], Request())


# Precision


def test_auto_is_fp8_where_the_chip_has_it_and_bf16_elsewhere() -> None:
    with_fp8 = choose_precision(DENSE, make_chip(), "auto")
    without = choose_precision(DENSE, make_chip(fp8=False), "auto")
    assert (with_fp8.weights, with_fp8.kv, with_fp8.compute) == ("fp8", "fp8", "fp8")
    assert (without.weights, without.kv, without.compute) == ("bf16", "bf16", "bf16")


def test_auto_keeps_what_the_publisher_quantised() -> None:
    stored = replace(DENSE, stored="fp4")
    assert choose_precision(stored, make_chip(fp4=True), "auto").compute == "fp4"
    assert choose_precision(stored, make_chip(), "auto").compute == "fp8"
    assert choose_precision(stored, make_chip(fp8=False), "auto").compute == "bf16"
    mixed = choose_precision(
        replace(DENSE, stored="bf16", stored_experts="mxfp4"), make_chip(), "auto"
    )
    assert precision_name(mixed) == "bf16, experts mxfp4"


def test_fp4_is_not_taken_unasked() -> None:
    assert choose_precision(DENSE, make_chip(fp4=True), "auto").weights == "fp8"
    assert choose_precision(DENSE, make_chip(fp4=True), "fp4").weights == "fp4"


# Layouts


def layouts(model: Outline, request: Request, **chip: object) -> list[Layout]:
    made = make_chip(**chip)  # type: ignore[arg-type]
    precision = choose_precision(model, made, request.precision)
    return [Layout.of(d) for d in fitting_deployments(model, made, precision, request)]


def test_a_model_that_fits_one_chip_is_also_tried_on_more() -> None:
    assert layouts(DENSE, Request()) == [Layout(tp=n) for n in (1, 2, 4, 8)]


def test_the_fewest_chips_are_those_that_hold_the_weights() -> None:
    found = layouts(LARGE, Request(precision="bf16"))
    assert found[0] == Layout(tp=2)  # 141 GB in chips of 100 GB
    assert layouts(LARGE, Request(precision="fp8"))[0] == Layout(tp=1)


def test_beyond_a_domain_there_are_stages_or_whole_experts() -> None:
    found = layouts(EXPERTS, Request(), domain=4)
    assert Layout(tp=4, pp=2) in found
    assert Layout(dp=16, ep=16) in found
    assert all(each.chips <= 64 for each in found)


def test_chips_without_links_are_stages() -> None:
    found = layouts(LARGE, Request(), gigabytes=24, domain=1)
    assert {each.tp for each in found} == {1}
    assert found[0].pp == 4


def test_experts_are_tried_cut_or_dealt_and_with_copied_attention() -> None:
    wide = layouts(outline_of("gpt-oss-120b"), Request())
    assert {Layout(tp=2), Layout(dp=2, ep=2)} <= set(wide)
    narrow = layouts(outline_of("qwen3-30b-a3b"), Request())  # 768 wide: 192 on each of 4
    assert {Layout(tp=2), Layout(tp=4, ep=4), Layout(dp=4, ep=4)} <= set(narrow)


def test_a_model_too_large_says_by_how_much() -> None:
    row = row_of(LARGE, Request(max_chips=2), gigabytes=24)
    assert row.reason is not None
    assert row.reason.startswith("too small: 36.")
    assert "on each of 2 chips, room for 20." in row.reason
    assert (row.chips, row.served, row.alone, row.frontier) == (None, None, None, ())


def test_every_layout_tried_has_room_for_a_user() -> None:
    request = Request()
    chip = make_chip()
    for each in fitting_deployments(
        EXPERTS, chip, choose_precision(EXPERTS, chip, "auto"), request
    ):
        assert room_for_users(EXPERTS, each, request) >= 1


# Rows


def test_the_served_load_meets_the_target_and_one_more_would_not() -> None:
    request = Request(tpot_s=0.01)
    row = row_of(DENSE, request)
    assert row.served is not None
    assert row.served.tpot_s <= request.tpot_s
    chip = make_chip()
    served = row.served.layout
    for deployment in fitting_deployments(
        DENSE, chip, choose_precision(DENSE, chip, "auto"), request
    ):
        if Layout.of(deployment) == served:
            curve = curve_of(DENSE, deployment, request)
            more = curve.service.users > row.served.users
            assert not more.any() or (curve.service.tpot_s[more] > request.tpot_s).all()


def test_a_target_out_of_reach_leaves_a_row_that_says_what_was_reached() -> None:
    row = row_of(LARGE, Request(tpot_s=1e-5))
    assert row.reason is not None
    assert row.reason.startswith("target missed: ")
    assert row.reason.endswith("asked for 0.01 ms")
    assert row.served is None and row.chips is None
    assert row.tokens_per_s_user is not None and row.needs_chips == 1
    assert row.frontier


def test_a_first_token_out_of_reach_is_named() -> None:
    row = row_of(LARGE, Request(prompt_tokens=100_000, tpot_s=1.0, ttft_s=0.001))
    assert row.reason is not None and "first token after" in row.reason


def test_needing_more_chips_for_speed_than_for_room() -> None:
    request = Request(tpot_s=0.012)
    row = row_of(LARGE, request, terabytes_per_s=4)
    assert row.needs_chips == 1
    assert row.chips is not None and row.chips > 1


def test_power_and_price_are_per_chip() -> None:
    row = compare(DENSE, [make_chip()], Request(), prices={"round": 3.6})[0]
    assert row.served is not None
    assert row.tokens_per_s_mw == pytest.approx(row.served.tokens_per_s_chip / 1500 * 1e6)
    assert row.usd_per_mtok == pytest.approx(1e6 * 0.001 / row.served.tokens_per_s_chip)
    assert row.power_basis == "all-in"
    # At 700 W at most, and more than idle power.
    watts = row.j_per_token * row.served.tokens_per_s_chip  # type: ignore[operator]
    assert 50 < watts < 900


def test_without_a_price_there_is_no_cost_but_all_else() -> None:
    row = row_of(DENSE, Request())
    assert row.usd_per_mtok is None
    assert row.known["usd_per_mtok"].basis == "no price known"
    assert row.served is not None


def test_every_figure_says_what_it_rests_on() -> None:
    row = row_of(DENSE, Request())
    assert set(row.known) == {
        "ttft_ms",
        "tokens_per_s_user",
        "tokens_per_s_chip",
        "j_per_token",
        "usd_per_mtok",
    }
    assert all(known.basis for known in row.known.values())
    assert 0 < row.known["tokens_per_s_chip"].expected_error <= 2  # type: ignore[operator]


# Laws


@settings(max_examples=12)
@given(
    tight=st.floats(0.003, 0.1),
    factor=st.floats(1.0, 5.0),
    output=st.sampled_from([16, 256, 2000]),
    model=st.sampled_from([DENSE, EXPERTS]),
)
def test_a_looser_target_never_lowers_throughput_nor_needs_more_chips(
    tight: float, factor: float, output: int, model: Outline
) -> None:
    first = row_of(model, Request(tpot_s=tight, output_tokens=output))
    second = row_of(model, Request(tpot_s=tight * factor, output_tokens=output))
    if first.served is None or first.chips is None:
        return
    assert second.served is not None and second.chips is not None
    assert second.served.tokens_per_s_chip >= first.served.tokens_per_s_chip
    assert second.chips <= first.chips


@settings(max_examples=8)
@given(factor=st.floats(1.0, 8.0), model=st.sampled_from([DENSE, LARGE, EXPERTS]))
def test_more_bandwidth_is_never_slower(factor: float, model: Outline) -> None:
    chip = make_chip()
    slow, fast = compare(model, [chip, with_bandwidth(chip, factor)], Request(tpot_s=0.05))
    assert slow.tokens_per_s_user is not None and fast.tokens_per_s_user is not None
    assert fast.tokens_per_s_user >= slow.tokens_per_s_user * (1 - 1e-9)
    assert slow.served is not None and fast.served is not None
    assert fast.served.tokens_per_s_chip >= slow.served.tokens_per_s_chip * (1 - 1e-9)


def test_the_frontier_falls() -> None:
    row = row_of(LARGE, Request())
    speed = np.array([point.tokens_per_s_user for point in row.frontier])
    rate = np.array([point.tokens_per_s_chip for point in row.frontier])
    assert len(speed) > 10
    assert (np.diff(speed) < 0).all()
    assert (np.diff(rate) > 0).all()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_pareto_keeps_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    first, second = np.array(points, dtype=float).T
    kept = {points[i] for i in pareto(first, second)}
    best = {p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)}
    assert kept == best


# Money


def test_a_given_price_comes_before_the_catalogue() -> None:
    chip = make_chip()
    assert price_of(chip, "rent") is None
    assert price_of(chip, "rent", {"round": 2.0}) == Price(usd_per_h=2.0, kind="given")


def test_a_million_tokens_at_a_thousand_a_second_are_a_thousand_seconds() -> None:
    assert usd_per_mtok(Price(usd_per_h=3.6, kind="given"), 1000.0) == pytest.approx(1.0)
