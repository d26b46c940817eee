"""Effects by name: which apply, what they add up to, and how wide the error is where nothing is known."""

from dataclasses import asdict, replace
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from takt.chips import list_accelerators, load_accelerator
from takt.models.outlines import outline_of
from takt.perf import Deployment, Precision, step_cost
from takt.perf.corrections import (
    FAMILIES,
    SLOPES,
    Corrections,
    Situation,
    era_of,
    figure_error,
    held_out,
    lookup,
    shipped_corrections,
    situation_of,
    slopes,
    time_factor,
)

LLAMA = outline_of("llama-3.3-70b")
H200 = Deployment(chip=load_accelerator("h200-sxm"), tp=8, engine="vllm")
FULL = Situation(
    figure="tpot",
    engine="vllm",
    chip="h200-sxm",
    vendor="NVIDIA",
    architecture="Hopper",
    model="llama-3.3-70b",
    kind="dense",
    weights="fp8",
    mode="closed",
    split="tp8pp1dp1ep1",
    layout="tp",
    n_chips=8,
    era="recent",
    campaign="inferencex",
    version="0.10",
)
CONSTANT = np.asarray([1.0, 0, 0, 0, 0, 0])


def constants(named: dict[str, float]) -> Corrections:
    """Effects without slopes."""
    return Corrections(effects={name: CONSTANT * value for name, value in named.items()})


def known(monkeypatch, corrections: Corrections, table: dict | None = None) -> None:
    """Put these in place of what is shipped."""
    monkeypatch.setattr(lookup, "shipped_corrections", lambda: corrections)
    monkeypatch.setattr(held_out, "shipped_corrections", lambda: corrections)
    monkeypatch.setattr(held_out, "_table", lambda: table or {})


def at(users=16.0, context=2048.0, prompts=1.0, n_chips=4.0) -> np.ndarray:
    return slopes(*(np.asarray(value) for value in (users, context, prompts, n_chips)))


# -- names ----------------------------------------------------------------------------------------


def test_every_family_is_listed_once():
    assert len(set(FAMILIES)) == len(FAMILIES)
    assert len({frozenset(fields) for fields in FAMILIES}) == len(FAMILIES)
    assert all(hasattr(FULL, field) for fields in FAMILIES for field in fields)


def test_every_family_of_a_full_situation_is_named_once():
    found = list(FULL.effects())
    assert [family for family, _ in found] == list(range(len(FAMILIES)))
    assert len({name for _, name in found}) == len(FAMILIES)
    assert found[0] == (0, "all")
    assert (FAMILIES.index(("engine", "chip")), "engine=vllm chip=h200-sxm") in found


@pytest.mark.parametrize("other", [{"figure": "ttft"}, {"mode": "steps", "figure": "step_time"}])
def test_waiting_and_passes_share_no_effect_with_the_pace_of_tokens(other):
    names = {name for _, name in FULL.effects()}
    assert names.isdisjoint(name for _, name in replace(FULL, **other).effects())


@given(st.sets(st.sampled_from([name for name in asdict(FULL) if name != "n_chips"])))
def test_an_effect_applies_where_all_its_fields_are_known(unknown):
    here = replace(FULL, **dict.fromkeys(unknown, ""))
    expected = [fields for fields in FAMILIES if not unknown & set(fields)]
    assert [FAMILIES[family] for family, _ in here.effects()] == expected


def test_a_deployment_says_its_names():
    here = situation_of(LLAMA, H200)
    assert (here.engine, here.chip, here.model) == ("vllm", "h200-sxm", "llama-3.3-70b")
    assert (here.kind, here.mode, here.split, here.layout) == (
        "dense",
        "closed",
        "tp8pp1dp1ep1",
        "tp",
    )
    assert (here.weights, here.n_chips, here.campaign, here.figure) == ("bf16", 8, "", "")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gpt-oss-120b", "experts"),
        ("deepseek-v3", "experts-latent"),
        ("deepseek-v3.2", "experts-latent-sparse"),
        ("qwen3.5-397b-a17b", "experts-linear"),
    ],
)
def test_kinds_of_models(name, kind):
    assert situation_of(outline_of(name), H200).kind == kind


@pytest.mark.parametrize(
    ("split", "layout"),
    [({}, "one"), ({"tp": 4}, "tp"), ({"tp": 4, "ep": 4}, "tp+ep"), ({"dp": 8, "ep": 8}, "dp+ep")],
)
def test_layouts(split, layout):
    assert situation_of(LLAMA, Deployment(chip=H200.chip, **split)).layout == layout


def test_drafts_experts_and_an_unnamed_engine_show_in_the_names():
    drafting = replace(
        H200, draft_tokens=3, engine="generic", precision=Precision(weights="bf16", experts="mxfp4")
    )
    here = situation_of(LLAMA, drafting, mode="static")
    assert (here.mode, here.engine, here.weights) == ("static+mtp", "", "mxfp4")


# -- sums -----------------------------------------------------------------------------------------


def test_servers_that_were_rewritten_have_eras_and_a_deployment_of_today_is_recent():
    assert (era_of("vllm", "2024-10"), era_of("vllm", "2025-07")) == ("early", "recent")
    assert era_of("vllm", "") == era_of("llama.cpp", "2024-10") == ""
    assert situation_of(LLAMA, H200).era == "recent"
    assert situation_of(LLAMA, replace(H200, engine="generic")).era == ""


def test_effects_add_up_and_slopes_multiply_them():
    effects = {
        "all": np.asarray([0.1, 0.2, 0, 0, 0, 0]),
        "engine=vllm": np.asarray([0.3, 0, 0, 0.5, 0, 0]),
        "engine=sglang": np.asarray([9.0, 9, 9, 9, 9, 9]),
        "model=llama-3.3-70b figure=tpot": np.asarray([-0.2, 0, 0, 0, 0, 0.05]),
    }
    here = Corrections(effects=effects)
    factors = np.asarray([1.0, 0.5, 0.0, -1.0, 0.0, 2.0])
    expected = 0.1 + 0.3 - 0.2 + 0.2 * 0.5 - 0.5 + 0.05 * 2
    assert here.log_factor(FULL, factors) == pytest.approx(expected)
    without = expected - (-0.2 + 0.05 * 2)
    assert here.log_factor(replace(FULL, figure="energy"), factors) == pytest.approx(without)


def test_no_sum_of_effects_is_beyond_twenty_fold():
    far = constants({"all": 50.0})
    assert far.log_factor(FULL, CONSTANT) == pytest.approx(np.log(20))
    assert constants({"all": -50.0}).log_factor(FULL, CONSTANT) == pytest.approx(-np.log(20))


def test_what_nobody_measured_has_the_general_effects_only(monkeypatch):
    named = constants(
        {
            "all": 0.1,
            "figure=tpot": 0.02,
            "chip=h200-sxm": 0.5,
            "model=llama-3.3-70b": 0.6,
            "engine=vllm chip=h200-sxm": 0.7,
            "kind=dense": 0.8,
        }
    )
    assert named.log_factor(FULL, CONSTANT) == pytest.approx(2.72)
    unknown = replace(
        FULL, chip="new", vendor="new", architecture="new", model="new", kind="new", engine=""
    )
    assert named.log_factor(unknown, CONSTANT) == pytest.approx(0.12)
    known(monkeypatch, named)
    chip = replace(H200.chip, id="new", vendor="new", architecture="new")
    nobody = Deployment(chip=chip, engine="generic")
    stranger = replace(outline_of("gpt-oss-120b"), name="new")
    factor = time_factor(stranger, nobody, "tpot", *map(np.asarray, (1.0, 1.0, 1.0)))
    assert factor == pytest.approx(np.exp(0.12))


def test_no_file_corrects_nothing(monkeypatch):
    known(monkeypatch, Corrections(effects={}))
    users = np.asarray([1.0, 100.0])
    np.testing.assert_array_equal(time_factor(LLAMA, H200, "tpot", users, users, users), 1.0)


def test_a_prompt_step_takes_only_what_all_times_share(monkeypatch):
    """What is measured of prompts includes waiting: no effect of one figure applies to a step."""
    known(monkeypatch, constants({"all": 0.2, "figure=ttft": 2.0, "figure=tpot": 0.5}))
    plain, prompt = (
        step_cost(LLAMA, H200, "prompt", 1, 0, corrected=wanted).time_s for wanted in (False, True)
    )
    assert prompt == pytest.approx(plain * np.exp(0.2))
    plain, decode = (
        step_cost(LLAMA, H200, "decode", 1, 9, corrected=wanted).time_s for wanted in (False, True)
    )
    assert decode == pytest.approx(plain * np.exp(0.7))


def test_effects_of_users_see_those_of_one_attention_group(monkeypatch):
    known(monkeypatch, Corrections(effects={"all": np.asarray([0, 0.1, 0, 0, 0, 0])}))
    grouped = replace(H200, tp=1, dp=8)
    lengths = (np.asarray(1024.0), np.asarray(1.0))
    eight = time_factor(LLAMA, grouped, "tpot", np.asarray(128.0), *lengths)
    one = time_factor(LLAMA, H200, "tpot", np.asarray(16.0), *lengths)
    assert eight == pytest.approx(one)


@given(
    st.floats(0, 1e6), st.floats(0, 1e7), st.floats(0, 1e5), st.floats(1, 10_000), st.floats(1, 10)
)
def test_slopes_are_bounded_and_rise(users, context, prompts, n_chips, more):
    once, grown = (
        at(users, context, prompts, n_chips),
        at(users * more, context * more, prompts * more, n_chips * more),
    )
    assert once.shape == (len(SLOPES),)
    assert once[0] == 1.0
    assert np.all(np.abs(once[:5]) <= 4.0)
    for index in (1, 3, 4, 5):
        assert once[index] <= grown[index]


def test_slopes_vanish_in_the_middle_and_broadcast():
    np.testing.assert_allclose(at(), [1, 0, -0.5, 0, 0, 0], atol=1e-12)
    assert at(np.ones((3, 1)), np.ones(4)).shape == (3, 4, len(SLOPES))


# -- errors to expect -----------------------------------------------------------------------------

TABLE = {
    way: {"tpot": {"median_abs_error": error, "p90_abs_error": 1.0, "bias": 0.0, "n": 9}}
    for way, error in (("series", 0.1), ("model", 0.3), ("chip", 0.4))
}


def test_the_less_is_known_the_wider_the_error(monkeypatch):
    seen = ("chip=h200-sxm figure=tpot", "model=llama-3.3-70b figure=tpot")
    known(monkeypatch, Corrections(effects=dict.fromkeys(seen, CONSTANT)), TABLE)
    new_model = replace(LLAMA, name="new")
    new_chip = replace(H200, chip=replace(H200.chip, id="new"))
    assert figure_error(LLAMA, H200, "tpot") == 0.1
    assert figure_error(new_model, H200, "tpot") == pytest.approx(0.3)
    assert figure_error(LLAMA, new_chip, "tpot") == pytest.approx(0.4)
    assert figure_error(new_model, new_chip, "tpot") == pytest.approx(0.5)


def test_a_chip_seen_in_another_figure_is_as_good_as_new(monkeypatch):
    seen = ("chip=h200-sxm figure=throughput", "model=llama-3.3-70b figure=tpot")
    known(monkeypatch, Corrections(effects=dict.fromkeys(seen, CONSTANT)), TABLE)
    assert figure_error(LLAMA, H200, "tpot") == pytest.approx(0.4)


def test_a_figure_that_was_never_held_out_is_not_claimed_to_be_known(monkeypatch):
    effects = {"chip=h200-sxm": CONSTANT, "model=llama-3.3-70b": CONSTANT}
    known(monkeypatch, Corrections(effects=effects), TABLE)
    assert figure_error(LLAMA, H200, "energy") >= 0.5


# -- what is shipped ------------------------------------------------------------------------------


@pytest.fixture
def shipped() -> Corrections:
    if not files("takt.perf").joinpath("data/corrections.parquet").is_file():
        pytest.skip("no fitted corrections in this tree; tools/fit_perf.py writes them")
    return shipped_corrections()


def test_shipped_effects_are_finite_and_of_known_families(shipped):
    families = {fields: index for index, fields in enumerate(FAMILIES)}
    for name, values in shipped.effects.items():
        assert values.shape == (len(SLOPES),)
        assert np.all(np.isfinite(values)), name
        if name != "all":
            first_words = [part.partition("=")[0] for part in name.split(" ") if "=" in part]
            assert tuple(first_words) in families, name


def test_chips_of_shipped_effects_are_of_the_catalogue(shipped):
    chips = {name.removeprefix("chip=") for name in shipped.effects if name.startswith("chip=")}
    alone = {name for name in chips if " " not in name}
    assert alone
    assert alone <= {chip.id for chip in list_accelerators()}


@pytest.mark.parametrize("figure", ["tpot", "ttft", "throughput", "energy"])
def test_shipped_errors_widen_with_what_is_not_known(shipped, figure):
    measured = replace(LLAMA, name="llama-3.1-70b")
    new_model = replace(LLAMA, name="new")
    new_chip = replace(H200, chip=replace(H200.chip, id="new"))
    errors = [
        figure_error(measured, H200, figure),
        figure_error(new_model, H200, figure),
        figure_error(new_model, new_chip, figure),
    ]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert figure_error(measured, new_chip, figure) > errors[0]


@pytest.mark.parametrize("name", ["llama-3.3-70b", "deepseek-v3", "gpt-oss-120b"])
@pytest.mark.parametrize("chip", ["h200-sxm", "mi300x", "gaudi3", "tpu-v6e"])
def test_shipped_corrections_stay_within_reason(shipped, name, chip):
    here = Deployment(chip=load_accelerator(chip), tp=8, engine="vllm")
    users, context, prompts = np.asarray([1.0, 32, 512]), np.asarray(4000.0), np.asarray(1.0)
    factor = time_factor(outline_of(name), here, "tpot", users, context, prompts)
    assert np.all((factor > 0.2) & (factor < 5.0))
