"""The search for a plan: bounds that simulations respect, plans that nothing beats, thresholds that hold, and no plan at all."""

from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.chips import load_accelerator
from takt.errors import UsageError
from takt.models.outlines import outline_of
from takt.plan.export import json_of
from takt.plan.lpus import Lpus
from takt.plan.plans import Limits, PlanSet, Targets
from takt.plan.search import Offer, Question, Traffic, default_site, search
from takt.plan.search.candidates import ways_of
from takt.plan.search.front import Point, beats, hides, unbeaten
from takt.plan.search.parts import chip_parts
from takt.plan.search.solver import Kind, solve
from takt.plan.search.traffic import sizes_of
from takt.plan.search.trial import Trials, missed, misses
from takt.plan.search.ways import Way
from takt.serving.sweeps import Processes, Store
from takt.serving.workloads import workload_of

MODEL = outline_of("llama-3.1-8b")
ENDLESS = 1 << 30


def traffic(rate: float, prompt: str = "512", output: str = "64", **words: str) -> Traffic:
    source = workload_of(rate=rate, prompt=prompt, output=output, requests=ENDLESS, **words)  # type: ignore[arg-type]
    return Traffic(source=source, rate=rate)


def question(rate: float = 5.0, **fields: object) -> Question:
    usual = {"model": MODEL, "traffic": traffic(rate), "requests": 300, "replications": 3}
    return Question(**(usual | fields))  # type: ignore[arg-type]


@cache
def gpus(*names: str, apart: bool = True) -> Offer:
    return Offer(accelerators=tuple(load_accelerator(name) for name in names), apart=apart)


@cache
def answer() -> PlanSet:
    """Two chips, plans apart too."""
    return search(question(), gpus("h100-sxm", "l40s"))


# What is asked


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"requests": 5}, "5 requests a simulation"),
        ({"replications": 1}, "1 replications"),
        ({"max_chips": 0}, "max_chips is 0"),
        ({"precisions": ()}, "no precision"),
    ],
)
def test_a_question_out_of_range_is_refused(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        question(**fields)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 2e6])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="a rate of"):
        Traffic(source=traffic(1.0).source, rate=rate)


def test_no_chips_are_no_offer() -> None:
    with pytest.raises(UsageError, match="no chips to plan with"):
        Offer()


def test_sizes_leave_out_what_a_cache_can_hold() -> None:
    plain = question().sizes()
    assert (plain.prompt, plain.output, plain.fresh) == (512.0, 64.0, 512.0)
    assert plain.context == 512 + 32
    turns = traffic(5.0, turns="3", new="100").rows(5.0, 300, 0)
    sizes = sizes_of(turns)
    assert sizes.fresh < sizes.prompt  # later turns read what the ones before wrote
    shared = sizes_of(traffic(5.0, prefix="256").rows(5.0, 300, 0))
    assert shared.fresh == 512.0 and shared.prompt == 768.0


def test_more_traffic_than_a_simulation_takes_is_simulated_as_a_share() -> None:
    many = question(rate=100_000.0)
    requests, share = many.share(many.sizes(), 100_000.0)
    assert share > 1 and requests <= 40_000
    assert question().share(question().sizes(), 5.0) == (300, 1)


def test_a_workload_that_ends_soon_is_planned_for_as_traffic_that_goes_on() -> None:
    """Otherwise all its requests would be those while the fleet fills up, and no target could be missed."""
    short = workload_of(rate=5.0, prompt="512", output="64", requests=50)
    asked = question(rate=200.0, traffic=Traffic(source=short, rate=200.0))
    assert sum(map(len, asked.rows(200.0, 300, 0))) == 300
    endless = question(rate=200.0)
    offer = gpus("l40s", apart=False)
    assert search(asked, offer).pareto[0].chips == search(endless, offer).pareto[0].chips


def test_a_target_of_which_nothing_was_measured_is_missed() -> None:
    asked = question()
    part = next(iter(chip_parts(asked, load_accelerator("h100-sxm"), asked.sizes())))
    way = Way((part,), rate=5.0, output=64.0)
    run = Trials(asked, asked.sizes(), 5.0).run(way, (1,), 0)
    assert not misses([run], asked.targets) and not missed(run, asked.targets)
    nothing = replace(run, latency_ms={})
    assert missed(nothing, asked.targets) == ("ttft", "tpot")
    assert "nothing of 300 requests was measured" in misses([nothing], asked.targets)[0]


def test_answers_of_one_token_have_no_pace_and_miss_no_target_of_one() -> None:
    asked = question(traffic=traffic(5.0, output="1"), targets=Targets(tpot_s=1e-6))
    found = search(asked, gpus("l40s", apart=False))
    assert found.winner is not None and found.winner.figures.tokens_per_s_user is None
    assert found.targets.tpot_s is None and not found.winner.figures.tpot_s


# Bounds


@pytest.mark.parametrize("chip", ["h100-sxm", "l40s", "mi300x"])
def test_no_simulation_does_better_than_the_bound(chip: str) -> None:
    asked = question(rate=12.0)
    sizes = asked.sizes()
    part = next(iter(chip_parts(asked, load_accelerator(chip), sizes)))
    way = Way((part,), rate=12.0, output=sizes.output)
    trials = Trials(asked, sizes, 12.0)
    least = way.least(Targets(ttft_s=None, tpot_s=None))
    assert least is not None
    for n in (least[0], least[0] + 1, 3 * least[0]):
        point, run = way.point((n,)), trials.run(way, (n,), 0)
        assert run.latency_ms["tpot"]["mean"] >= 1e3 * point.pace_s
        assert run.latency_ms["ttft"]["p99"] >= 1e3 * way.first_s
        assert run.j_per_token is not None and point.j_per_token is not None
        assert (
            run.j_per_token >= point.j_per_token * 0.99
        )  # the last users of a run leave replicas idle


def check_bound(asked: Question, offer: Offer, *, every: int) -> None:
    """Each `every`-th way of an offer, at its fewest replicas and at more: no simulation beats the bound."""
    sizes, rate = asked.sizes(), asked.traffic.rate
    ways, _ = ways_of(asked, offer, sizes, lambda words: None)
    trials = Trials(asked, sizes, rate)
    for way in ways[::every]:
        least = way.least(Targets(ttft_s=None, tpot_s=None))
        assert least is not None
        for times in (1, 3):
            counts = tuple(n * times for n in least)
            point, run = way.point(counts), trials.run(way, counts, 0)
            words = f"{way.id_of(counts)} at {rate} requests/s"
            assert run.latency_ms["tpot"]["mean"] >= 1e3 * point.pace_s, words
            assert run.latency_ms["ttft"]["p99"] >= 1e3 * way.first_s, words
            assert run.j_per_token is not None and point.j_per_token is not None
            assert run.j_per_token >= point.j_per_token * 0.98, (
                words
            )  # fewer requests than a plan's


@pytest.mark.parametrize(
    ("rate", "fields"),
    [
        (0.1, {"prompt": "4096", "output": "8"}),  # nobody's tokens wait for a prompt
        (3.0, {"prompt": "lognormal:1500,0.9", "output": "exp:100"}),
        (3.0, {"prompt": "4000", "output": "8", "cv": 4.0}),  # all at once: prompts first
        (3.0, {"turns": "3", "new": "100"}),
        (20.0, {"prefix": "512"}),
    ],
)
@pytest.mark.parametrize("drafts", [None, (3, 0.7)])
def test_bounds_hold_of_experts_and_drafts_at_any_load(
    rate: float, fields: dict[str, object], drafts: tuple[int, float] | None
) -> None:
    asked = question(
        model=outline_of("qwen3-30b-a3b"), traffic=traffic(rate, **fields), drafts=drafts,
        max_chips=8, requests=2000,
    )  # fmt: skip
    check_bound(asked, gpus("mi300x"), every=3)


@pytest.mark.parametrize("rate", [0.2, 8.0])
def test_bounds_hold_of_lpus_and_pairs(rate: float) -> None:
    lpus = Lpus.of("lpx-rack", "lp30")
    offer = Offer(systems=(lpus,), pairs=((load_accelerator("h100-sxm"), lpus),))
    asked = question(traffic=traffic(rate, prompt="1024", output="64"), requests=2000)
    check_bound(asked, offer, every=7)


def test_fewer_replicas_than_the_bound_never_do() -> None:
    asked = question(rate=60.0)
    sizes = asked.sizes()
    part = next(iter(chip_parts(asked, load_accelerator("l40s"), sizes)))
    way = Way((part,), rate=60.0, output=sizes.output)
    least = way.least(asked.targets)
    assert least is not None and least[0] > 1
    run = Trials(asked, sizes, 60.0).run(way, (least[0] - 1,), 0)
    assert missed(run, asked.targets)


# Who beats whom


def point(usd: float = 1.0, pace_s: float = 0.01, **fields: object) -> Point:
    usual: dict[str, object] = {"unpriced": {}, "j_per_token": 1.0, "mw": 1.0, "m2": 1.0}
    return Point(usd_per_h=usd, pace_s=pace_s, **(usual | fields))  # type: ignore[arg-type]


def test_a_plan_hides_what_is_no_better_in_any_figure() -> None:
    assert hides(point(), point())
    assert hides(point(), point(usd=2.0, m2=3.0))
    assert not hides(point(), point(usd=0.9, m2=3.0))


def test_an_unknown_figure_is_not_compared_and_never_wins() -> None:
    assert hides(point(), point(j_per_token=None))
    assert not hides(point(j_per_token=None), point())
    lpus = point(usd=0.0, unpriced={"lp30": 4})
    assert hides(point(), lpus)  # nothing but its unknown price may speak for it
    assert not hides(point(), replace(lpus, pace_s=0.001))
    assert not hides(lpus, point(usd=50.0))  # its price may be anything
    assert hides(lpus, replace(lpus, unpriced={"lp30": 5}))
    assert not hides(lpus, replace(lpus, unpriced={"lp30": 3}))


def no_worse(a: Point, b: Point) -> bool:
    """Nowhere worse by a difference that counts (twice 5 % where one of equal cost came in between)."""
    pairs = [(a.usd_per_h, b.usd_per_h), (a.pace_s, b.pace_s), (a.m2, b.m2)]
    return all(
        ours is not None and theirs is not None and ours <= theirs * 1.11 for ours, theirs in pairs
    )


def test_small_differences_do_not_add_up_to_a_plan_that_is_lost() -> None:
    # Each is beaten by the one before by a difference that does not count; the last is 16 % faster than the first.
    chain = [point(usd=1.0 + 0.1 * i, pace_s=0.01 * 0.96**i, m2=1.0 + 0.1 * i) for i in range(5)]
    assert all(beats(a, b) for a, b in pairwise(chain))
    assert unbeaten(chain) == [0, 2, 4]


def test_of_plans_that_are_alike_and_cost_the_same_the_better_one_stays() -> None:
    slow, quick = point(j_per_token=1.04, first_s=0.8), point(first_s=0.09)
    assert unbeaten([slow, quick]) == [1]
    assert unbeaten([quick, slow]) == [0]
    assert unbeaten([slow, replace(quick, usd_per_h=1.02)]) == [0]  # no dearer one for that


FIGURE = st.floats(0.1, 10.0)


@given(st.lists(st.tuples(FIGURE, FIGURE, FIGURE), min_size=1, max_size=12))
def test_of_any_plans_those_stay_that_none_beats_and_the_cheapest_price_is_among_them(
    figures: list[tuple[float, float, float]],
) -> None:
    points = sorted((point(a, b, m2=c) for a, b, c in figures), key=lambda p: p.usd_per_h)
    kept = unbeaten(points)
    assert kept == sorted(kept) and points[kept[0]].usd_per_h == points[0].usd_per_h
    for i in kept:
        assert not any(beats(points[j], points[i]) for j in kept)
    for i in set(range(len(points))) - set(kept):
        assert any(no_worse(points[j], points[i]) for j in kept)
    for a, b in product(points, points):
        assert not (beats(a, b) and beats(b, a))


# The search


def test_plans_come_cheapest_first_and_keep_the_targets() -> None:
    found = answer()
    costs = [plan.figures.usd_per_mtok for plan in found.pareto]
    assert None not in costs and costs == sorted(costs)  # type: ignore[type-var]
    for plan in found.pareto:
        ttft, tpot = plan.figures.ttft_s["p99"], plan.figures.tpot_s["mean"]
        assert plan.meets and not plan.misses and plan.figures.replications == 3
        assert ttft.half_width is not None and ttft.mean + ttft.half_width <= 1.0
        assert tpot.half_width is not None and tpot.mean + tpot.half_width <= 0.020
    assert found.nearest is None and found.winner is found.pareto[0]


def test_no_plan_of_the_set_is_beaten_by_another() -> None:
    plans = answer().pareto
    for a, b in product(plans, plans):
        if a is not b:
            first, second = a.figures, b.figures
            assert (
                (first.usd_per_h or 0) > (second.usd_per_h or 0)
                or first.tokens_per_s_user < second.tokens_per_s_user
                or (first.j_per_token or 0) > (second.j_per_token or 0)
                or (first.mw or 0) > (second.mw or 0)
                or (first.floor_m2 or 0) > (second.floor_m2 or 0)
            )


def test_everything_that_is_no_plan_says_why_in_numbers() -> None:
    found = answer()
    assert found.dropped and all(any(c.isdigit() for c in each.reason) for each in found.dropped)
    shown = {plan.id for plan in found.pareto}
    assert not shown & {each.id for each in found.dropped if each.stage != "simulated"}
    assert any("ways to serve were looked at" in line for line in found.proof)


def test_the_same_question_gives_the_same_bytes_by_any_runner_and_store(tmp_path: Path) -> None:
    offer, asked = gpus("l40s", apart=False), question(max_chips=2)
    plain = json_of(search(asked, offer))
    with Store(tmp_path / "runs.sqlite") as store:
        assert json_of(search(asked, offer, store=store)) == plain
        assert json_of(search(asked, offer, store=store)) == plain
    assert json_of(search(asked, offer, runner=Processes(workers=2, chunk=8))) == plain


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path) -> None:
    offer, asked = gpus("h100-sxm", "l40s", apart=False), question()

    def stop(what: str, done: int, total: int) -> None:
        if total and done == 3:
            raise KeyboardInterrupt

    with Store(tmp_path / "runs.sqlite") as store, pytest.raises(KeyboardInterrupt):
        search(asked, offer, progress=stop, store=store)
    with Store(tmp_path / "runs.sqlite", new=False) as store:
        kept = len(list(store.rows()))
        assert kept > 0
        assert json_of(search(asked, offer, store=store)) == json_of(search(asked, offer))
        assert len(list(store.rows())) > kept


def test_the_winner_is_the_same_under_seeds_of_its_own() -> None:
    ours = answer().winner
    theirs = search(question(seed=500), gpus("h100-sxm", "l40s")).winner
    assert ours is not None and theirs is not None and ours.id == theirs.id


# Thresholds


def with_lpus(**fields: object) -> PlanSet:
    offer = Offer(
        accelerators=(load_accelerator("h100-sxm"),), systems=(Lpus.of("lpx-rack", "lp30"),)
    )
    return search(question(**fields), offer)


def test_an_lpu_wins_below_its_break_even_price_and_not_above() -> None:
    unknown = with_lpus()
    lpu = next(plan for plan in unknown.pareto if plan.pools[0].chip == "lp30")
    assert lpu.figures.usd_per_mtok is None
    winner = unknown.winner
    assert winner is not None and winner.figures.usd_per_h is not None
    row = next(row for row in unknown.sensitivity if row.name == "price of lp30")
    even = winner.figures.usd_per_h / lpu.chips
    assert f"${even:.3g} an hour" in row.threshold
    below = with_lpus(prices={"lp30": even * 0.98}).winner
    above = with_lpus(prices={"lp30": even * 1.02}).winner
    assert below is not None and below.pools[0].chip == "lp30"
    assert above is not None and above.pools[0].chip == "h100-sxm"


def test_the_winner_changes_at_the_price_that_is_said() -> None:
    found = answer()
    assert found.winner is not None
    chip = found.winner.pools[0].chip
    row = next(row for row in found.sensitivity if row.name == f"price of {chip}")
    price = float(row.threshold.split("$")[1].split(" ")[0])
    offer = gpus("h100-sxm", "l40s")
    stays = search(question(prices={chip: price * 0.99}), offer).winner
    goes = search(question(prices={chip: price * 1.01}), offer).winner
    assert stays is not None and stays.id == found.winner.id
    assert goes is not None and goes.id != found.winner.id
    assert f"then {goes.id}" in row.threshold


def test_dearer_power_costs_what_the_joules_say() -> None:
    offer = gpus("l40s", apart=False)
    usual = search(question(), offer).pareto[0].figures
    site = default_site()
    dear = site.changed(power_usd_per_kwh=site.power_usd_per_kwh + 1.0)
    figures = search(question(site=dear), offer).pareto[0].figures
    assert usual.usd_per_mtok and figures.usd_per_mtok and usual.kg_co2_per_mtok
    kwh_per_mtok = usual.kg_co2_per_mtok / site.carbon_kg_per_kwh
    assert figures.usd_per_mtok - usual.usd_per_mtok == pytest.approx(kwh_per_mtok, rel=1e-6)


def test_cheaper_power_takes_nothing_off_a_price_that_was_stated() -> None:
    offer = gpus("l40s", apart=False)
    cheap = default_site().changed(power_usd_per_kwh=0.0)
    stated = search(question(site=cheap, prices={"l40s": 0.01}), offer)
    usual = search(question(site=cheap), offer)
    assert stated.winner is not None and usual.winner is not None
    assert stated.winner.figures.usd_per_h == pytest.approx(0.01 * stated.winner.chips)
    of_catalogue = search(question(), offer).winner
    assert of_catalogue is not None
    assert (usual.winner.figures.usd_per_h or 0) < (of_catalogue.figures.usd_per_h or 0)
    assert all((row.usd_per_mtok or 0) >= 0 for row in stated.what_ifs)


def test_what_if_names_plans_of_the_answer_or_of_other_chips_and_the_winner_at_todays_prices() -> (
    None
):
    found = answer()
    assert found.winner is not None
    shown = {plan.id for plan in found.pareto}
    bases = {plan.id.partition(" seqs")[0].split(" x ")[1] for plan in found.pareto}
    for row in found.what_ifs:
        if row.name != "traffic":
            assert row.winner in shown or row.winner.split(" x ")[1] not in bases
    offer = gpus("h100-sxm", "l40s")
    for row in found.what_ifs:
        what = row.name.removeprefix("price of ")
        if what == row.name:
            continue
        price = float(row.value.split()[0].strip("$"))
        site = default_site().changed(power_usd_per_kwh=price)
        other = {"site": site} if what == "power" else {"prices": {what: price}}
        again = search(question(**other), offer).winner
        assert again is not None and again.id == row.winner
        assert again.figures.usd_per_mtok == pytest.approx(row.usd_per_mtok)


def test_more_traffic_needs_more_chips() -> None:
    rows = [row for row in answer().what_ifs if row.name == "traffic"]
    chips = [int(row.threshold.split()[1].replace(",", "")) for row in rows]
    assert len(rows) == 2 and answer().pareto[0].chips <= chips[0] <= chips[1]


# No plan


def test_targets_that_nothing_meets_get_the_nearest_plan_and_its_misses() -> None:
    found = search(question(targets=Targets(ttft_s=0.001, tpot_s=1e-5)), gpus("h100-sxm", "l40s"))
    assert found.pareto == () and found.winner is None
    assert found.nearest is not None and not found.nearest.meets
    assert any("asked for 1 ms" in miss for miss in found.nearest.misses)
    assert {each.stage for each in found.dropped} == {"target"}


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(usd_per_h=0.5), "at most $0.5 asked for"),
        (Limits(mw=1e-4), "MW, at most 0.0001 asked for"),
        (Limits(supply={"l40s": 0, "h100-sxm": 0}), "0 to be had"),
    ],
)
def test_limits_that_leave_nothing_show_what_would_do_without(limits: Limits, words: str) -> None:
    found = search(question(limits=limits), gpus("h100-sxm", "l40s", apart=False))
    assert found.pareto == () and found.nearest is not None
    assert any(words in miss for miss in found.nearest.misses)


def test_chips_without_a_price_cannot_keep_a_limit_on_money() -> None:
    found = with_lpus(limits=Limits(usd_per_h=50.0))
    assert all(plan.figures.usd_per_h is not None for plan in (*found.pareto, *found.others))
    reasons = [each.reason for each in found.dropped if each.stage == "limit"]
    assert any("no price of lp30 is known, at most $50" in reason for reason in reasons)


def test_a_model_that_no_chip_holds_leaves_nothing_to_show() -> None:
    huge = question(model=outline_of("deepseek-v3"), max_chips=2)
    found = search(huge, gpus("l40s", apart=False))
    assert found.pareto == () and found.nearest is None
    assert found.dropped[0].stage == "fit" and "too small" in found.dropped[0].reason


def test_texts_that_the_model_cannot_hold_are_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="fewer than"):
        search(question(traffic=traffic(5.0, prompt="200000")), gpus("h100-sxm"))


# Fleets of several kinds


def test_where_there_are_too_few_chips_of_a_kind_fleets_are_mixed() -> None:
    pytest.importorskip("ortools")
    limits = Limits(supply={"h100-sxm": 1, "l40s": 9})
    found = search(question(rate=200.0, limits=limits), gpus("h100-sxm", "l40s", apart=False))
    assert found.winner is not None and found.winner.meets
    used = {pool.chip: pool.replicas * pool.chips for pool in found.winner.pools}
    assert used.keys() == {"h100-sxm", "l40s"}
    assert all(used[chip] <= most for chip, most in limits.supply.items())


KIND = st.builds(
    Kind,
    rate=st.floats(0.5, 5.0),
    usd_per_h=st.floats(0.1, 9.0),
    meter_w=st.none() | st.floats(100.0, 2000.0),
    chips=st.sampled_from([{"a": 1}, {"a": 2}, {"b": 1}, {"b": 4}]),
)


@settings(deadline=None, max_examples=25)
@given(st.lists(KIND, min_size=1, max_size=3), st.floats(1.0, 12.0), st.integers(0, 8))
def test_the_cheapest_numbers_are_those_of_trying_all(
    kinds: list[Kind], rate: float, most: int
) -> None:
    pytest.importorskip("ortools")
    limits = Limits(supply={"a": most}, mw=0.02)
    found = solve(kinds, rate, limits)
    fitting = []
    for counts in product(*(range(int(np.ceil(rate / kind.rate)) + 1) for kind in kinds)):
        chips = sum(n * kind.chips.get("a", 0) for kind, n in zip(kinds, counts, strict=True))
        watts = sum(n * (kind.meter_w or 0.0) for kind, n in zip(kinds, counts, strict=True))
        served = sum(n * kind.rate for kind, n in zip(kinds, counts, strict=True))
        if chips <= most and served >= rate * (1 + 1e-5) and watts + 3 * sum(counts) <= 2e4:
            fitting.append(sum(n * k.usd_per_h for k, n in zip(kinds, counts, strict=True)))
    if found is None:
        assert not fitting
    elif fitting:
        cost = sum(n * kind.usd_per_h for kind, n in zip(kinds, found, strict=True))
        assert cost <= min(fitting) + 1e-4


# The site


def test_every_figure_of_a_site_says_how_it_is_known() -> None:
    rows = default_site().assumptions
    assert {"power_usd_per_kwh", "carbon_kg_per_kwh", "rack_m2"} <= {row[0] for row in rows}
    assert all(
        kind in ("published", "derived", "assumed") and source for _, _, kind, source in rows
    )


def test_the_overhead_is_the_median_that_its_source_says() -> None:
    from takt.chips import list_accelerators

    known = [
        chip.power.system_w / chip.power.tdp_w
        for chip in list_accelerators()
        if chip.power.system_w and chip.power.tdp_w and chip.power.system_w != chip.power.tdp_w
    ]
    assert default_site().overhead == pytest.approx(float(np.median(known)), rel=0.01)


def test_a_price_of_power_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="power_usd_per_kwh is -1"):
        default_site().changed(power_usd_per_kwh=-1.0)
