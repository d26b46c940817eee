"""Laws of a step's cost, whatever the model and the chip: what must grow, what must shrink, what bounds it."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takt.chips import Accelerator, load_accelerator
from takt.errors import UsageError
from takt.models.outlines import OUTLINES, Outline, outline_of
from takt.perf import Deployment, Precision, StepModel, step_cost
from takt.perf.work import step_work
from takt.serving.tables import table_of

# Full, sliding-window, latent, sparse, linear, state-space; dense and with experts.
MODELS = (
    "llama-3.3-70b",
    "gemma-3-27b",
    "gpt-oss-120b",
    "deepseek-v3",
    "deepseek-v3.2",
    "deepseek-v4-flash",
    "qwen3-235b-a22b",
    "qwen3.5-397b-a17b",
    "nemotron-3-nano-30b-a3b",
)
# Tables of its own, one that takes a nearest chip's, one with some tables, one with none.
CHIPS = ("h200-sxm", "h20", "mi300x", "gaudi3")
SPLITS = (
    {},
    {"tp": 8},
    {"tp": 4, "pp": 2},
    {"tp": 8, "ep": 8},
    {"dp": 8, "ep": 8},
    {"tp": 2, "dp": 4, "ep": 2},
)
ROUNDING = 1 + 1e-9
FP8 = Precision(weights="fp8", kv="fp8")

models, chips = st.sampled_from(MODELS), st.sampled_from(CHIPS)
splits = st.integers(0, len(SPLITS) - 1)
users = st.floats(1, 2000)
contexts = st.floats(1, 150_000)
growth = st.floats(1, 20)


@cache
def model(name: str) -> Outline:
    return outline_of(name)


@cache
def chip(name: str) -> Accelerator:
    return load_accelerator(name)


@cache
def steps(name: str, chip_name: str = "h200-sxm", split: int = 1) -> StepModel:
    here = Deployment(chip=chip(chip_name), precision=FP8, **SPLITS[split])
    return StepModel.of(model(name), here)


def on(split: dict | None = None, name: str = "llama-3.3-70b", chip_name: str = "h200-sxm", **more):
    here = Deployment(chip=chip(chip_name), **({"tp": 8} if split is None else split), **more)
    return StepModel.of(model(name), here)


# -- more work never takes less -------------------------------------------------------------------


@given(models, chips, splits, users, contexts, growth)
@settings(max_examples=120)
def test_more_users_and_longer_contexts_never_shorten_a_decode_step(
    name, where, split, n, long, more
):
    here = steps(name, where, split)
    once, crowd, far = here.decode([n, n * more, n], [long, long, long * more]).time_s
    assert 0 < once <= crowd * ROUNDING
    assert once <= far * ROUNDING


@given(models, chips, splits, st.floats(1, 64), st.floats(1, 30_000), growth)
@settings(max_examples=120)
def test_more_prompts_and_longer_ones_never_shorten_a_prompt_step(name, where, split, n, new, more):
    here = steps(name, where, split)
    once, crowd, far = here.prompt([n, n * more, n], [new, new, new * more]).time_s
    assert 0 < once <= crowd * ROUNDING
    assert once <= far * ROUNDING


@given(models, contexts, growth)
@settings(max_examples=40)
def test_cached_positions_never_shorten_a_prompt(name, cached, more):
    near, far = steps(name).prompt(1, 2048, [cached, cached * more]).time_s
    assert near <= far * ROUNDING


@given(models, chips, splits, users, contexts, st.floats(1, 8), st.floats(1, 8000))
@settings(max_examples=100)
def test_a_mixed_step_is_never_shorter_than_its_parts(name, where, split, n, long, texts, new):
    here = steps(name, where, split)
    mixed = here.mixed(n, long, texts, new).time_s
    assert mixed * ROUNDING >= here.decode(n, long).time_s
    assert mixed * ROUNDING >= here.prompt(texts, new).time_s


def test_only_where_one_call_serves_both_do_prompts_make_attention_of_others_longer():
    users, seen = np.asarray(64.0), np.asarray(1500.0)
    for chip_name, engine, longer in (
        ("a100-sxm", "vllm", True),
        ("h200-sxm", "vllm", False),
        ("a100-sxm", "trtllm", False),
    ):
        here = on(chip_name=chip_name, engine=engine)
        added = here.mixed(64, 1500, 1, 16).time_s - here.decode(64, 1500).time_s
        beside = here.beside_s(users, seen)
        assert (beside > 0) == longer
        assert added > beside


@given(st.sampled_from(("h20", "gaudi3")), models, splits, users, contexts, st.floats(1, 16))
@settings(max_examples=60)
def test_more_bandwidth_is_never_slower(where, name, split, n, long, more):
    """On chips without tables of their own: a table is what was measured, whatever a file says beside it."""
    slow = chip(where)
    memory = replace(slow.memory, bytes_per_s=slow.memory.bytes_per_s * more)
    fast = replace(slow, memory=memory)
    before, after = (
        StepModel.of(model(name), Deployment(chip=c, **SPLITS[split])).decode(n, long).time_s
        for c in (slow, fast)
    )
    assert after <= before * ROUNDING


@pytest.mark.parametrize("where", ["h20", "gaudi3"])
def test_twice_the_bandwidth_shortens_a_lone_users_step_by_nearly_half(where):
    slow = chip(where)
    fast = replace(slow, memory=replace(slow.memory, bytes_per_s=2 * slow.memory.bytes_per_s))
    engine_s = on({}, chip_name=where).engine.overhead_s(np.ones(()), 0.0)
    before, after = (
        StepModel.of(model("llama-3.3-70b"), Deployment(chip=c)).decode(1, 100).time_s - engine_s
        for c in (slow, fast)
    )
    assert 0.5 <= after / before < 0.62


# -- bounds ---------------------------------------------------------------------------------------


def floor_s(here: StepModel, n, long):
    """Seconds in which all chips together can move the bytes and do the operations."""
    split = here.deployment
    work = step_work(here.model, split, n, n, long)
    bytes_s = work.n_bytes / split.chip.memory.bytes_per_s
    return np.maximum(bytes_s, work.n_ops / split.chip.ops_per_s(split.compute)) / split.n_chips


@pytest.mark.parametrize("where", [*CHIPS, "b200-sxm", "tpu-v6e", "rtx-4090"])
@pytest.mark.parametrize("split", range(len(SPLITS)))
@pytest.mark.parametrize(
    ("name", "most"),
    # Real routing is uneven and meets fewer experts than the even one that `step_work` counts.
    [("llama-3.3-70b", 1.0), ("gemma-3-27b", 1.0), ("qwen3-235b-a22b", 0.8), ("deepseek-v3", 0.8)],
)
def test_no_step_is_faster_than_the_roofline_of_its_work(where, split, name, most):
    n = np.asarray([8.0, 64.0, 512.0, 4096.0])[:, None]
    n, long = np.broadcast_arrays(n, np.asarray([1.0, 1000.0, 30_000.0]))
    for types in (Precision(), FP8, Precision(weights="int4")):
        here = on(SPLITS[split], name, where, precision=types)
        assert np.all(here.decode(n, long).time_s >= most * floor_s(here, n, long))


@pytest.mark.parametrize(
    ("where", "engine"),
    [("h100-sxm", "vllm"), ("h100-sxm", "sglang"), ("l40s", "trtllm"), ("a100-sxm", "trtllm")],
)
@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-32b", "llama-3.3-70b"])
def test_no_correction_makes_a_step_quicker_than_its_bytes_can_be_read(where, engine, name):
    n = np.asarray([1.0, 4.0, 64.0, 512.0])
    for types in (Precision(weights="bf16"), FP8):
        split = Deployment(chip=chip(where), engine=engine, precision=types)
        least_s = floor_s(StepModel.of(model(name), split), n, np.full(4, 1000.0))
        made = step_cost(model(name), split, "decode", n, 1000.0)
        assert np.all(made.time_s >= least_s * (1 - 1e-9))
        table = table_of(StepModel.of(model(name), split), max_seqs=512)
        took_ns = [table.step(int(k), int(k) * 1000, int(k), [])[0] for k in n]
        assert np.all(np.asarray(took_ns) >= 0.999 * least_s * 1e9)  # between the table's places


@given(models, chips, splits, users, contexts)
@settings(max_examples=80)
def test_energy_is_a_power_that_chips_can_draw_times_the_step(name, where, split, n, long):
    here = steps(name, where, split)
    for step in (here.decode(n, long), here.prompt(4, long)):
        watts = step.energy_j / step.time_s / here.deployment.n_chips
        assert 0.05 * chip(where).power.tdp_w < watts <= 1.05 * chip(where).power.tdp_w


def test_a_chip_without_a_power_limit_has_a_time_and_no_energy():
    known = chip("h200-sxm")
    silent = replace(known, power=replace(known.power, tdp_w=None))
    step = step_cost(model("llama-3.3-70b"), Deployment(chip=silent, tp=4), "decode", [1, 8], 100)
    assert np.all(np.isfinite(step.time_s))
    assert np.all(np.isnan(step.energy_j))


def test_every_known_model_has_a_finite_cost():
    for name in OUTLINES:
        here = on(name=name)
        parts = (here.decode([1, 64], 900), here.prompt([1, 4], 900), here.mixed(8, 900, 1, 500))
        for step in parts:
            assert np.all(np.isfinite(step.time_s) & (step.time_s > 0)), name
            assert np.all(np.isfinite(step.energy_j) & (step.energy_j > 0)), name
            assert np.isfinite(step.error), name


# -- splits and types -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["h200-sxm", "mi300x", "b200-sxm"])
@pytest.mark.parametrize("name", ["llama-3.3-70b", "qwen3-235b-a22b", "mistral-large"])
def test_a_split_within_the_links_shortens_a_large_models_step(where, name):
    times = [on({"tp": tp}, name, where).decode(8, 2000).time_s for tp in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)
    assert times[-1] < times[0] / 2.5


@pytest.mark.parametrize("name", ["llama-3.3-70b", "deepseek-v3", "gpt-oss-120b"])
@pytest.mark.parametrize("n", [1.0, 64.0])
def test_stages_shorten_nobodys_step(name, n):
    """With `n` users in each stage, a token still passes every layer, and is sent on besides."""
    stages = [on({"tp": 4, "pp": pp}, name) for pp in (1, 2, 4)]
    times = [here.decode(n * here.deployment.pp, 2000).time_s for here in stages]
    sent_s = stages[0].kernels.send(n * stages[0].model.dim * 2)
    np.testing.assert_allclose(times, times[0] + sent_s * np.asarray([0, 1, 3]), rtol=1e-3)
    assert times[0] < times[1] < times[2]


@pytest.mark.parametrize("name", ["llama-3.3-70b", "deepseek-v3"])
def test_groups_with_users_of_their_own_take_one_share_of_attention_each(name):
    one, many = on({"tp": 2}, name), on({"tp": 2, "dp": 4}, name)
    attention_one = one.decode(16, 60_000).time_s - one.decode(16, 1).time_s
    attention_many = many.decode(64, 60_000).time_s - many.decode(64, 1).time_s
    assert attention_many == pytest.approx(attention_one)


def test_fewer_bits_are_faster_where_weights_and_caches_are_read():
    times = [
        on({"tp": 4}, precision=Precision(weights=kind)).decode(1, 100).time_s
        for kind in ("bf16", "fp8", "int4")
    ]
    assert times == sorted(times, reverse=True)
    long = [
        on({"tp": 4}, precision=Precision(kv=kind)).decode(64, 30_000).time_s
        for kind in ("bf16", "fp8")
    ]
    assert long[1] < long[0]


def test_a_type_that_the_chip_does_not_multiply_is_widened():
    assert Deployment(chip=chip("h200-sxm"), precision=FP8).compute == "fp8"
    assert Deployment(chip=chip("a100-sxm"), precision=FP8).compute == "bf16"
    assert Deployment(chip=chip("h200-sxm"), precision=Precision(weights="fp4")).compute == "bf16"
    assert Deployment(chip=chip("b200-sxm"), precision=Precision(weights="fp4")).compute == "fp4"
    stated = Precision(weights="fp8", compute="bf16")
    assert Deployment(chip=chip("h200-sxm"), precision=stated).compute == "bf16"


# -- drafts ---------------------------------------------------------------------------------------


def test_drafts_give_a_user_the_guesses_that_hold_until_the_first_that_does_not():
    assert on().tokens_per_step == 1.0
    assert on(draft_tokens=3, acceptance=0.0).tokens_per_step == 1.0
    assert on(draft_tokens=3, acceptance=1.0).tokens_per_step == 4.0
    assert on(draft_tokens=2, acceptance=0.5).tokens_per_step == 1.75


@given(st.integers(1, 7), st.floats(0.05, 0.95))
def test_more_drafts_and_better_ones_keep_more_tokens_of_a_longer_step(n, acceptance):
    def drafting(count, chance):
        here = Deployment(
            chip=chip("h200-sxm"), tp=8, draft_tokens=count, acceptance=chance, precision=FP8
        )
        return replace(steps("deepseek-v3"), deployment=here).tokens_per_step

    assert drafting(n, acceptance) < drafting(n + 1, acceptance) < n + 2
    assert drafting(n, acceptance) < drafting(n, acceptance + 0.04)


def test_a_drafting_step_takes_longer():
    plain, drafting = on(name="deepseek-v3"), on(name="deepseek-v3", draft_tokens=3, acceptance=0.6)
    assert drafting.decode(32, 2000).time_s > plain.decode(32, 2000).time_s


# -- the call -------------------------------------------------------------------------------------


def test_ten_thousand_steps_at_once_are_the_single_ones():
    random = np.random.default_rng(7)
    n, long = random.integers(1, 600, 10_000), random.integers(1, 60_000, 10_000)
    here = Deployment(chip=chip("h200-sxm"), tp=8, precision=FP8, engine="vllm")
    together = step_cost(model("deepseek-v3"), here, "decode", n, long)
    assert together.time_s.shape == together.energy_j.shape == (10_000,)
    for i in range(0, 10_000, 100):
        alone = step_cost(model("deepseek-v3"), here, "decode", n[i], long[i])
        assert alone.time_s == pytest.approx(together.time_s[i], rel=1e-12)
        assert alone.energy_j == pytest.approx(together.energy_j[i], rel=1e-12)


def test_batches_and_contexts_broadcast():
    here = Deployment(chip=chip("h200-sxm"), tp=8)
    step = step_cost(model("gpt-oss-120b"), here, "decode", np.ones((3, 1)), np.arange(1, 6))
    assert step.time_s.shape == step.energy_j.shape == (3, 5)


def test_each_phase_is_the_step_of_its_name():
    here = on()
    where = (here.model, here.deployment)
    same = (
        (step_cost(*where, "decode", 8, 900, corrected=False), here.decode(8, 900)),
        (
            step_cost(*where, "prompt", 2, 300, new_tokens=700, corrected=False),
            here.prompt(2, 700, 300),
        ),
        (
            step_cost(*where, "mixed", 8, 900, new_tokens=700, prompts=2, corrected=False),
            here.mixed(8, 900, 2, 700),
        ),
    )
    for asked, made in same:
        assert asked.time_s == made.time_s
        assert asked.basis == made.basis


@pytest.mark.parametrize("phase", ["prompt", "decode", "mixed"])
def test_corrections_multiply_time_and_energy_alike_and_say_so(phase):
    here = Deployment(chip=chip("h200-sxm"), tp=8, precision=FP8, engine="vllm")
    where = (model("llama-3.3-70b"), here, phase, [1, 64], 2000)
    plain, corrected = step_cost(*where, corrected=False), step_cost(*where)
    np.testing.assert_allclose(
        corrected.time_s / plain.time_s, corrected.energy_j / plain.energy_j, rtol=1e-12
    )
    assert corrected.basis - plain.basis == {"fitted: end-to-end corrections"}
    assert 0 < corrected.error < 1


def test_what_was_measured_is_known_better_than_what_was_not():
    tables, none = on(precision=FP8).decode(8, 900), on(chip_name="gaudi3").decode(8, 900)
    assert any(part.startswith("measured:") for part in tables.basis)
    assert not any(part.startswith("measured:") for part in none.basis)
    assert any(part.startswith("roofline") for part in none.basis)
    assert tables.error < none.error


def test_a_guessed_outline_says_so_in_the_basis():
    guessed = replace(model("llama-3.3-70b"), basis="assumed: sizes by its name")
    here = Deployment(chip=chip("h200-sxm"), tp=8)
    assert "assumed: sizes by its name" in step_cost(guessed, here, "decode", 1, 1).basis


@pytest.mark.parametrize("document", ["perf.md", "calibration.md"])
def test_the_examples_of_the_documents_run(document, repository, capsys):
    text = (repository / "docs" / document).read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(compile(example, document, "exec"), {})
    assert capsys.readouterr().out


# -- bad input ------------------------------------------------------------------------------------


def test_an_unknown_phase_has_a_near_miss():
    here = Deployment(chip=chip("h200-sxm"), tp=8)
    with pytest.raises(UsageError, match="no phase 'decod'") as e:
        step_cost(model("gpt-oss-120b"), here, "decod", 1, 1)
    assert "'decode'" in e.value.hint


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf")])
def test_impossible_sizes_are_refused(bad):
    here = on()
    for call in (
        lambda: here.decode(bad, 1),
        lambda: here.decode(1, bad),
        lambda: here.prompt(1, bad),
        lambda: here.mixed(1, 1, 1, bad),
    ):
        with pytest.raises(UsageError, match="finite and not negative"):
            call()


def test_an_impossible_split_is_refused():
    with pytest.raises(UsageError, match="experts over 3 chips do not divide tp 4 × dp 2") as e:
        Deployment(chip=chip("h200-sxm"), tp=4, dp=2, ep=3)
    assert "divisors of 8" in e.value.hint
    for name in ("tp", "pp", "dp", "ep"):
        with pytest.raises(UsageError, match=f"{name} is 0, expected at least 1"):
            Deployment(chip=chip("h200-sxm"), **{name: 0})


@pytest.mark.parametrize("field", ["weights", "experts", "kv", "compute"])
def test_an_unknown_number_type_has_a_near_miss(field):
    with pytest.raises(UsageError, match="no number type 'bf61'") as e:
        Precision(**{field: "bf61"})
    assert "bf16" in e.value.hint


# -- texts beside steps ---------------------------------------------------------------------------


def test_a_lone_prompt_is_not_cut_over_stages_or_groups():
    model = outline_of("llama-3.3-70b")
    chip = load_accelerator("h200-sxm")
    whole = StepModel.of(model, Deployment(chip=chip, tp=2)).prompt(1, 4096).time_s
    staged = StepModel.of(model, Deployment(chip=chip, tp=2, pp=4)).prompt(1, 4096).time_s
    assert staged >= whole


def test_no_texts_beside_a_step_cost_nothing():
    steps = StepModel.of(
        outline_of("llama-3.3-70b"), Deployment(chip=load_accelerator("h200-sxm"), tp=4)
    )
    assert steps.mixed(8, 2048, 0, 1024).time_s == pytest.approx(steps.decode(8, 2048).time_s)


def test_guessing_takes_time_in_decode_and_none_in_prompts():
    chip = load_accelerator("h200-sxm")
    plain = StepModel.of(outline_of("llama-3.3-70b"), Deployment(chip=chip, tp=4))
    drafting = StepModel.of(
        outline_of("llama-3.3-70b"),
        Deployment(chip=chip, tp=4, draft_tokens=3, acceptance=0.6),
    )
    assert drafting.prompt(2, 1024).time_s == pytest.approx(plain.prompt(2, 1024).time_s)
    assert drafting.decode(8, 1024).time_s > plain.decode(8, 1024).time_s
